//! Each operation of `burn-adapters-ops` beside Burn's own, forward and backward.
//!
//! `cargo bench -p burn-adapters-bench --bench operations [-- FILTER]`

#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;

use burn::tensor::{Bool, Device, Distribution, FloatDType, Tensor};
use burn_adapters_ops::{AttentionOptions, attention, gelu, keep_freed_memory, layer_norm, linear, packed_attention};
use criterion::{Criterion, criterion_group, criterion_main};

/// A batch of 16 rows of 128 positions.
const BATCH: [usize; 2] = [16, 128];

fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), &Device::default())
}

/// A name and its function.
type Function<'a> = (&'a str, &'a dyn Fn(Tensor<3>) -> Tensor<3>);

/// Times functions with equal results in turn: forward alone, and with the backward pass to x.
fn compare(criterion: &mut Criterion, name: &str, x: &Tensor<3>, functions: &[Function<'_>]) {
    keep_freed_memory();
    let mut group = criterion.benchmark_group(name);
    group.sample_size(20);
    for (label, function) in functions {
        group.bench_function(format!("{label}, forward"), |bencher| bencher.iter(|| black_box(function(x.clone()))));
        let tracked = Tensor::from_data(x.to_data(), &Device::default().autodiff()).require_grad();
        group.bench_function(format!("{label}, forward and backward"), |bencher| {
            bencher.iter(|| black_box(function(tracked.clone()).sum().backward()));
        });
    }
    group.finish();
}

fn linears(criterion: &mut Criterion) {
    for [d_input, d_output] in [[384, 1536], [1536, 384], [768, 3072], [3072, 768]] {
        let (weight, bias) = (random([d_input, d_output]), random([d_output]));
        let half = weight.clone().cast(FloatDType::BF16);
        compare(
            criterion,
            &format!("linear {d_input} to {d_output}"),
            &random([BATCH[0], BATCH[1], d_input]),
            &[
                ("ours", &|x| linear(x, weight.clone(), Some(bias.clone()))),
                ("ours, bf16", &|x| linear(x, half.clone(), Some(bias.clone()))),
                ("Burn's", &|x| burn::tensor::module::linear(x, weight.clone(), Some(bias.clone()))),
            ],
        );
    }
}

fn elementwise(criterion: &mut Criterion) {
    let x = random([BATCH[0], BATCH[1], 1536]);
    let exact = |x: Tensor<3>| {
        let cdf = (x.clone() / std::f64::consts::SQRT_2).erf() + 1.0;
        x * cdf * 0.5
    };
    compare(criterion, "gelu", &x, &[("ours", &|x| gelu(x)), ("Burn's", &exact)]);
    let (gamma, beta) = (random([384]), random([384]));
    compare(
        criterion,
        "layer norm",
        &random([BATCH[0], BATCH[1], 384]),
        &[
            ("ours", &|x| layer_norm(x, gamma.clone(), Some(beta.clone()), 1e-12)),
            ("Burn's", &|x| burn::tensor::module::layer_norm(x, gamma.clone(), Some(beta.clone()), 1e-12)),
        ],
    );
}

/// Self-attention of rows of 8 to 128 positions: without padding, and with it.
fn attentions(criterion: &mut Criterion) {
    let [rows, positions] = BATCH;
    let (heads, head) = (12, 32);
    let lengths: Vec<usize> = (1..=rows).map(|row| row * positions / rows).collect();
    let options = AttentionOptions::default();
    let mut group = criterion.benchmark_group("attention of rows of 8 to 128 positions");
    group.sample_size(20);
    let device = Device::default().autodiff();
    let x = random([lengths.iter().sum(), heads, head]);
    let tracked = Tensor::from_data(x.to_data(), &device).require_grad();
    let packed = |x: &Tensor<3>| packed_attention(x.clone(), x.clone(), x.clone(), &lengths, &lengths, options);
    group.bench_function("packed, forward", |bencher| bencher.iter(|| black_box(packed(&x))));
    group.bench_function("packed, forward and backward", |bencher| {
        bencher.iter(|| black_box(packed(&tracked).sum().backward()));
    });
    let padding: Vec<bool> =
        lengths.iter().flat_map(|length| (0..positions).map(move |position| position >= *length)).collect();
    let mask = Tensor::<1, Bool>::from_data(padding.as_slice(), &Device::default()).reshape([rows, 1, 1, positions]);
    let x = random([rows, heads, positions, head]);
    let tracked = Tensor::from_data(x.to_data(), &device).require_grad();
    let padded = |x: &Tensor<4>| attention(x.clone(), x.clone(), x.clone(), Some(mask.clone()), options);
    group.bench_function("padded, forward", |bencher| bencher.iter(|| black_box(padded(&x))));
    group.bench_function("padded, forward and backward", |bencher| {
        bencher.iter(|| black_box(padded(&tracked).sum().backward()));
    });
    group.finish();
}

criterion_group!(benches, linears, elementwise, attentions);
criterion_main!(benches);
