//! Times of products with a quantized weight and with the same weight in f32.
//!
//! ```text
//! cargo run --release -p burn-adapters-ops --features flex --example quantized_times [-- --quick]
//! ```

#![allow(missing_docs)]

use std::error::Error;
use std::time::Instant;

use burn::tensor::{Device, Distribution, Tensor};
use burn_adapters_ops::{QuantizedMatrix, keep_freed_memory, linear, quantized_linear};
use burn_adapters_quantization::BlockType;

/// The median of the milliseconds of some runs.
fn median(runs: usize, mut run: impl FnMut(usize)) -> f64 {
    run(0);
    let mut times: Vec<f64> = (0..runs)
        .map(|number| {
            let start = Instant::now();
            run(number);
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn main() -> Result<(), Box<dyn Error>> {
    keep_freed_memory();
    let quick = std::env::args().any(|argument| argument == "--quick");
    let runs = if quick { 1 } else { 15 };
    let device = Device::default();
    let [d_output, d_input] = if quick { [64, 256] } else { [1536, 2304] };
    // Several of them, so that a weight does not stay in the cache, as in a model.
    let copies = if quick { 1 } else { 24 };
    let random = |rows| Tensor::<2>::random([rows, d_input], Distribution::Normal(0.0, 1.0), &device);
    let values = random(d_output).into_data().try_to_vec::<f32>()?;
    let matrices = |kind: BlockType| -> Result<Vec<QuantizedMatrix>, Box<dyn Error>> {
        let made = if kind.is_made() { kind } else { BlockType::Q8_0 };
        let mut blocks = made.quantize(&values)?;
        // Small numbers in blocks of any type.
        blocks.resize(values.len() / kind.elements() * kind.bytes(), 0);
        (0..copies).map(|_| Ok(QuantizedMatrix::new(kind, [d_output, d_input], blocks.clone())?)).collect()
    };
    println!(
        "weights of [{d_output}, {d_input}], {copies} in turn; milliseconds of a product, and of its backward pass"
    );
    for rows in [1, 2, 4, 8, 16, 64, 512] {
        let x = random(rows);
        let tracked = Tensor::<2>::from_data(x.to_data(), &device.clone().autodiff()).require_grad();
        let report = |name: &str, bytes: usize, product: &dyn Fn(usize, Tensor<2>) -> Tensor<2>| {
            let forward = median(runs, |run| drop(product(run, x.clone())));
            let both = median(runs, |run| drop(product(run, tracked.clone()).sum().backward()));
            let rate = bytes as f64 / forward / 1e6;
            println!("{rows:4} rows, {name:5}: {forward:8.3} {:8.3} ms, {rate:6.1} GB/s of the weight", both - forward);
        };
        let dense: Vec<_> = matrices(BlockType::F32)?.iter().map(|one| one.dequantize(&device).transpose()).collect();
        let product = |run: usize, x: Tensor<2>| linear(x, dense[run % copies].clone(), None);
        report("dense", values.len() * 4, &product);
        for kind in [BlockType::Q4_1, BlockType::Q4_0, BlockType::Q8_0, BlockType::Q4K, BlockType::Q6K, BlockType::F16]
        {
            let matrices = matrices(kind)?;
            let product = |run: usize, x: Tensor<2>| quantized_linear(x, &matrices[run % copies], None);
            report(&kind.to_string(), matrices[0].blocks().len(), &product);
        }
    }
    Ok(())
}
