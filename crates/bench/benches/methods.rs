//! Hooks, and a forward and backward pass of one layer of MiniLM's width with each method.
//!
//! `cargo bench -p burn-adapters-bench --bench methods [-- FILTER]`

#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;

use burn::tensor::{Device, Distribution, Tensor};
use burn_adapters_config::identifiers;
use burn_adapters_core::{Place, Site};
use burn_adapters_model::{AdapterBank, BaseModel, Forward, Hooks, Matrices, Row, Setup, TokenBatch};
use burn_adapters_transformers::{AutoModel, BertConfig};
use criterion::{Criterion, criterion_group, criterion_main};

const ROWS: usize = 8;
const POSITIONS: usize = 32;

fn bert(layers: usize) -> AutoModel {
    AutoModel::new_seeded(&BertConfig::new(1000, 384, layers, 12, 1536), 1, &Device::default())
}

fn batch() -> TokenBatch {
    let row = |row: usize| Row::new((0..POSITIONS).map(|position| (row * 37 + position * 11) as u32 % 1000).collect());
    let rows: Vec<Row> = (0..ROWS).map(row).collect();
    TokenBatch::from_rows(&rows)
}

/// The cost of checking a setup, and of calling a hook while nothing is active.
fn hooks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hooks");
    let bert = bert(6);
    let mut bank = AdapterBank::new(bert.spec(), &Device::default());
    for index in 0..100 {
        bank.add_seeded(&format!("a{index}"), "seq_bn".parse().unwrap(), index).unwrap();
    }
    let one = Setup::adapter("a50");
    group
        .bench_function("of one adapter in a hundred", |bencher| bencher.iter(|| black_box(bank.hooks(&one)).unwrap()));
    let routed = Setup::compose(format!("Route([{}])", ["a1", "a2", "a3", "a4"].repeat(8).join(",")).parse().unwrap());
    group.bench_function("of a routed batch", |bencher| bencher.iter(|| black_box(bank.hooks(&routed)).unwrap()));

    let x = Tensor::<3>::random([ROWS, POSITIONS, 384], Distribution::Default, &Device::default());
    let site = Site::encoder(0, Place::Query);
    let linear = bert.linear(site).unwrap();
    group.bench_function("linear alone", |bencher| bencher.iter(|| black_box(linear.forward(x.clone()))));
    let none = Hooks::none();
    group.bench_function("linear through a hook without adapters", |bencher| {
        bencher.iter(|| black_box(none.run(|hooks| hooks.linear(site, linear, x.clone())).unwrap()));
    });
    group.finish();
}

/// Each method in one layer: forward, and forward and backward.
fn methods(criterion: &mut Criterion) {
    let bert = bert(1);
    let device = Device::default().autodiff();
    let mut forward = criterion.benchmark_group("forward");
    forward.sample_size(20);
    forward.bench_function("no adapter", |bencher| {
        bencher.iter(|| black_box(bert.forward(&batch(), &Hooks::none()).unwrap().hidden));
    });
    let names: Vec<&str> = identifiers().iter().map(|method| method.name).collect();
    let bank = |name: &str, device: &Device| {
        let mut bank = AdapterBank::new(bert.spec(), device);
        bank.add_for(&bert, "a", name.parse().unwrap(), 1).ok().map(|_| bank)
    };
    let setup = Setup::adapter("a");
    for name in &names {
        let Some(bank) = bank(name, &Device::default()) else { continue };
        forward.bench_function(*name, |bencher| {
            bencher.iter(|| black_box(bert.forward(&batch(), &bank.hooks(&setup).unwrap()).unwrap().hidden));
        });
    }
    forward.finish();

    let mut backward = criterion.benchmark_group("forward and backward");
    backward.sample_size(20);
    for name in &names {
        let Some(mut bank) = bank(name, &device) else { continue };
        bank.train_only(&setup).unwrap();
        let training = setup.clone().training();
        backward.bench_function(*name, |bencher| {
            bencher.iter(|| {
                let hidden = bert.forward(&batch(), &bank.hooks(&training).unwrap()).unwrap().hidden;
                black_box(hidden.sum().backward())
            });
        });
    }
    backward.finish();
}

criterion_group!(benches, hooks, methods);
criterion_main!(benches);
