//! Reading: configurations, compositions, folders of adapters and models.
//!
//! `cargo bench -p burn-adapters-bench --bench text [-- FILTER]`

#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;

use burn::tensor::Device;
use burn_adapters_checkpoint::{SaveOptions, load_adapter, save_adapter};
use burn_adapters_composition::Composition;
use burn_adapters_config::AdapterConfig;
use burn_adapters_core::{ModelSpec, StackSpec};
use burn_adapters_model::AdapterBank;
use criterion::{Criterion, criterion_group, criterion_main};

fn grammar(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("grammar");
    let configs = [
        ("an identifier", "seq_bn"),
        ("attributes", "double_seq_bn[reduction_factor={'0': 2, 'default': 16},non_linearity='gelu',leave_out=[0,1]]"),
        ("a union", "prefix_tuning[bottleneck_size=800] | par_bn[reduction_factor=2,scaling=4.0] | lora[r=4,alpha=16]"),
    ];
    for (name, text) in configs {
        group.bench_function(name, |bencher| bencher.iter(|| black_box(text).parse::<AdapterConfig>().unwrap()));
        let config: AdapterConfig = text.parse().unwrap();
        group.bench_function(format!("{name}, written"), |bencher| bencher.iter(|| black_box(&config).to_string()));
    }
    group.bench_function("a mistake", |bencher| {
        bencher.iter(|| black_box("lora[r=0,alfa=8]|seqbn").parse::<AdapterConfig>().unwrap_err());
    });
    let composition = "Stack(language, Fuse(a, b, c), Parallel(d, Stack(e, f)))";
    group.bench_function("a composition", |bencher| {
        bencher.iter(|| black_box(composition).parse::<Composition>().unwrap());
    });
    group.finish();
}

fn loading(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("loading");
    let device = Device::default();
    let spec = ModelSpec::new("bert", 384).with_stack(StackSpec::encoder(6, 384, 12, 1536));
    for config in ["seq_bn", "lora", "prefix_tuning_flat", "compacter"] {
        let folder = tempfile::tempdir().unwrap();
        let mut bank = AdapterBank::new(spec.clone(), &device);
        bank.add_seeded("a", config.parse().unwrap(), 1).unwrap();
        save_adapter(folder.path(), &bank, "a", &SaveOptions::default()).unwrap();
        group.bench_function(format!("{config} from its folder"), |bencher| {
            bencher.iter(|| {
                let mut bank = AdapterBank::new(spec.clone(), &device);
                load_adapter(folder.path(), &mut bank, None).unwrap();
                black_box(bank)
            });
        });
        group.bench_function(format!("{config} new"), |bencher| {
            bencher.iter(|| {
                let mut bank = AdapterBank::new(spec.clone(), &device);
                bank.add_seeded("a", config.parse().unwrap(), 1).unwrap();
                black_box(bank)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, grammar, loading);
criterion_main!(benches);
