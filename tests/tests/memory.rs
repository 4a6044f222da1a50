//! Inference records no graph: memory stays flat however many passes there are. A binary of its own, for the memory is
//! that of the process.

#![allow(clippy::unwrap_used)]

use burn::tensor::Device;
use burn_adapters_config::identifiers;
use burn_adapters_core::Mode;
use burn_adapters_heads::HeadConfig;
use burn_adapters_model::{AdapterBank, BaseModel, Forward, MergedModel, Setup, TokenBatch};
use burn_adapters_transformers::{AutoModel, BertConfig};

/// The process' resident memory in MiB; none where the system does not say.
fn resident() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<f64>().ok()? / 1024.0)
}

fn batch() -> TokenBatch {
    TokenBatch::new([[2, 17, 5, 3, 8, 9, 4, 1].as_slice(), &[7, 6, 5, 4, 3, 2, 1, 0]])
}

/// Runs `pass` many times; memory must not grow after the first quarter.
fn stays_flat(what: &str, passes: usize, mut pass: impl FnMut(usize)) {
    let mut after_a_quarter = None;
    for index in 0..passes {
        if index == passes / 4 {
            after_a_quarter = resident();
        }
        pass(index);
    }
    let Some((before, after)) = after_a_quarter.zip(resident()) else { return };
    assert!(after - before < 8.0, "{what}: resident memory grew from {before:.0} to {after:.0} MiB");
}

#[test]
fn inference_on_an_autodiff_bank_records_no_graph_and_keeps_no_memory() {
    // There tensors lie in the device's memory, and the process grows with each kernel that is compiled.
    if std::env::var("BURN_DEVICE").is_ok_and(|device| device == "wgpu") {
        return;
    }
    let device = Device::default();
    let bert = AutoModel::new_seeded(&BertConfig::new(100, 32, 2, 4, 64), 1, &device);
    let mut bank = AdapterBank::new(bert.spec(), &device.clone().autodiff());
    let setup = Setup::adapter("a");
    bank.add_head_seeded("a", &HeadConfig::classification(3), 1).unwrap();
    let run = |bank: &AdapterBank, setup: &Setup| {
        let output = bert.forward(&batch(), &bank.hooks(setup).unwrap()).unwrap();
        assert!(!output.hidden.is_autodiff());
        let logits = bank.logits(setup, &output).unwrap().remove(0).logits;
        assert!(!logits.values().is_autodiff());
        let alone = bank.head_of(setup).unwrap().forward(&output, Mode::Inference).unwrap();
        assert!(!alone.values().is_autodiff());
    };

    let method = |name: &str| match name {
        "compacter" | "compacter++" => format!("{name}[reduction_factor=8]"),
        name => name.to_owned(),
    };
    let methods: Vec<String> = identifiers().iter().map(|known| method(known.name)).collect();
    stays_flat("adding, running and removing", 2000, |index| {
        let config = methods[index % methods.len()].parse().unwrap();
        bank.add_for(&bert, "a", config, index as u64).unwrap();
        run(&bank, &setup);
        bank.remove("a").unwrap();
    });

    for (name, passes) in [("unipelt", 500), ("seq_bn_inv|lora", 100), ("dora", 100)] {
        bank.add_for(&bert, "a", name.parse().unwrap(), 1).unwrap();
        stays_flat(name, passes, |_| run(&bank, &setup));
        bank.remove("a").unwrap();
    }

    bank.add_seeded("a", "seq_bn".parse().unwrap(), 1).unwrap();
    bank.add_seeded("b", "seq_bn".parse().unwrap(), 2).unwrap();
    bank.add_fusion("a,b", &["a", "b"], &Default::default(), 3).unwrap();
    let fused = Setup::compose("Fuse(a, b)".parse().unwrap()).with_head("a".to_owned());
    stays_flat("a fusion", 100, |_| run(&bank, &fused));

    bank.add_for(&bert, "m", "dora".parse().unwrap(), 1).unwrap();
    let mut model = Some(bert.clone());
    stays_flat("merging", 100, |_| {
        let merged = MergedModel::merge(model.take().unwrap(), bank.adapter("m").unwrap()).unwrap();
        model = Some(merged.unmerge());
    });
}
