//! Times a product with a PHM weight, forward and backward, through the dense weight and through the factors.
//!
//! Reports the fastest of many runs, which is least affected by other work on the machine.
//!
//! ```text
//! MALLOC_TRIM_THRESHOLD_=2000000000 MALLOC_MMAP_THRESHOLD_=2000000000 MALLOC_TOP_PAD_=500000000 RAYON_NUM_THREADS=1 \
//!     cargo run -p burn-adapters-compacter --features flex --example kronecker [-- --quick]
//! ```

use std::time::Instant;

use burn::tensor::{Device, Distribution, Tensor};
use burn_adapters_compacter::kronecker::Strategy;
use burn_adapters_compacter::{CompacterError, PhmLinear, Position};
use burn_adapters_config::BottleneckConfig;
use burn_adapters_core::Init;

fn main() -> Result<(), CompacterError> {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let device = Device::default().autodiff();
    println!("{device:?}, forward + backward, microseconds");
    println!("size          rank  tokens     dense  fold right  fold left  chosen");
    for size in [[384, 12], [12, 384], [768, 24], [24, 768]] {
        for rank in [1, 4] {
            let config = BottleneckConfig::compacter().with_shared_phm_rule(false).with_phm_rank(rank);
            let mut layer = PhmLinear::new(&config, size, Position::Down, &mut Init::from_seed(1), &device)?;
            let chosen = layer.strategy;
            for tokens in if quick { [32, 64] } else { [32, 2048] } {
                let x = Tensor::<3>::random([1, tokens, size[0]], Distribution::Default, &device).require_grad();
                let times = [Strategy::Dense, Strategy::FoldRight, Strategy::FoldLeft].map(|strategy| {
                    layer.strategy = strategy;
                    let repeats = if tokens < 100 { 1000 } else { 150 };
                    fastest(if quick { 1 } else { repeats }, || step(&layer, &x))
                });
                println!(
                    "{:12}  {rank:4}  {tokens:6}  {:8.0}  {:10.0}  {:9.0}  {chosen:?}",
                    format!("{} → {}", size[0], size[1]),
                    times[0],
                    times[1],
                    times[2],
                );
            }
        }
    }
    Ok(())
}

/// One forward and backward pass, with gradients of the input and all parameters.
fn step(layer: &PhmLinear, x: &Tensor<3>) {
    let gradients = layer.forward(x.clone(), None).sum().backward();
    std::hint::black_box(x.grad(&gradients).map(Tensor::into_data));
}

/// Time in microseconds.
fn fastest(repeats: usize, mut run: impl FnMut()) -> f64 {
    let times = (0..repeats).map(|_| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64() * 1e6
    });
    times.fold(f64::INFINITY, f64::min)
}
