//! Milliseconds of each operation, forward and forward + backward: composed of Burn's operations, and as one operation.
//!
//! ```text
//! cargo run --release -p burn-adapters-ops --features flex --example ops_times [-- --quick]
//! ```

#![allow(missing_docs)]

use std::time::Instant;

use burn::tensor::activation::softmax as burn_softmax;
use burn::tensor::{Bool, Device, Distribution, Tensor};
use burn_adapters_ops::{AttentionOptions, Dropout, attention, dropout, gelu, layer_norm, softmax};

/// One run of small tensors, to check that everything works.
fn quick() -> bool {
    std::env::args().any(|argument| argument == "--quick")
}

fn median(mut run: impl FnMut()) -> f64 {
    run();
    let mut times: Vec<f64> = (0..if quick() { 1 } else { 15 })
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

type Function<'a, const D: usize> = &'a dyn Fn(Vec<Tensor<D>>) -> Tensor<D>;

fn compare<const D: usize>(name: &str, inputs: &[Tensor<D>], old: Function<D>, new: Function<D>) {
    let device = Device::default().autodiff();
    let time = |function: Function<D>| {
        let leaves: Vec<_> =
            inputs.iter().map(|x| Tensor::<D>::from_data(x.to_data(), &device).require_grad()).collect();
        let forward = median(|| drop(function(leaves.clone())));
        let both = median(|| drop(function(leaves.clone()).sum().backward()));
        let plain = median(|| drop(function(inputs.to_vec())));
        (forward, both, plain)
    };
    let ((f0, b0, p0), (f1, b1, p1)) = (time(old), time(new));
    println!(
        "{name:22} {:?}: forward {f0:8.3} → {f1:7.3}  forward+backward {b0:8.3} → {b1:7.3}  no graph {p0:8.3} → {p1:7.3} ms",
        inputs[0].dims()
    );
}

fn old_dropout<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let keep = x.random_like(Distribution::Bernoulli(0.9)).without_autodiff();
    x * (keep / 0.9)
}

fn main() {
    let device = Device::default();
    let random = |shape: [usize; 3]| Tensor::<3>::random(shape, Distribution::Normal(0.0, 1.0), &device);
    for [batch, tokens, width] in if quick() { [[2, 4, 48], [3, 5, 48]] } else { [[32, 24, 384], [16, 128, 384]] } {
        let x = [random([batch, tokens, width])];
        let wide = [random([batch, tokens, 4 * width])];
        let (gamma, beta) = (Tensor::<1>::ones([width], &device), Tensor::<1>::zeros([width], &device));
        let take = |x: Vec<Tensor<3>>| x.into_iter().next().unwrap_or_else(|| random([1, 1, 1]));
        compare(
            "layer norm",
            &x,
            &|x| burn::tensor::module::layer_norm(take(x), gamma.clone(), Some(beta.clone()), 1e-12),
            &|x| layer_norm(take(x), gamma.clone(), Some(beta.clone()), 1e-12),
        );
        compare("gelu (Burn's)", &wide, &|x| burn::tensor::activation::gelu(take(x)), &|x| gelu(take(x)));
        compare("dropout", &x, &|x| old_dropout(take(x)), &|x| dropout(take(x), 0.1, 5));
        let qkv: Vec<Tensor<4>> = (0..3)
            .map(|_| random([batch, tokens, width]).reshape([batch, tokens, 12, width / 12]).swap_dims(1, 2))
            .collect();
        let scores = [qkv[0].clone().matmul(qkv[1].clone().swap_dims(2, 3))];
        let first = |x: Vec<Tensor<4>>| x[0].clone();
        compare("softmax", &scores, &|x| burn_softmax(first(x), 3), &|x| softmax(first(x)));
        let mask = Tensor::<4, Bool>::full([batch, 1, 1, tokens], false, &device);
        for drops in [false, true] {
            let scale = 1.0 / (width as f64 / 12.0).sqrt();
            let old = |x: Vec<Tensor<4>>| {
                let lowest = Tensor::<4>::zeros(mask.dims(), &device).mask_fill(mask.clone(), f32::MIN);
                let scores = (x[0].clone() * scale).matmul(x[1].clone().swap_dims(2, 3)) + lowest;
                let shares = burn_softmax(scores, 3);
                (if drops { old_dropout(shares) } else { shares }).matmul(x[2].clone())
            };
            let dropout = drops.then_some(Dropout { probability: 0.1, seed: 5 });
            let options = AttentionOptions { scale: Some(scale), dropout, ..Default::default() };
            let new =
                |x: Vec<Tensor<4>>| attention(x[0].clone(), x[1].clone(), x[2].clone(), Some(mask.clone()), options);
            compare(if drops { "attention + dropout" } else { "attention" }, &qkv, &old, &new);
        }
    }
}
