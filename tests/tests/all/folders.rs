//! Folders that are unlike today's, read as the reference reads them.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use burn::tensor::Device;
use burn_adapters_checkpoint::{LoadReport, load_adapter, load_head};
use burn_adapters_config::{Activation, AdapterConfig};
use burn_adapters_heads::HeadConfig;
use burn_adapters_model::{AdapterBank, BaseModel, Setup};
use burn_adapters_tests::{Golden, goldens, largest_difference, logits, values};
use burn_adapters_transformers::AutoModel;

/// Absolute, on numbers of the order of one.
const TOLERANCE: f32 = 1e-4;

/// Reads the adapter and the head of a folder, and compares the logits with the reference's.
fn read(name: &str) -> (AdapterBank, Vec<LoadReport>) {
    let (folder, device) = (goldens().join("folders").join(name), Device::default());
    let own: PathBuf = folder.join("model");
    let model = if own.is_dir() { own } else { goldens().join("models/tiny-a") };
    let (model, _) = AutoModel::from_dir(&model, &device).unwrap();
    let mut bank = AdapterBank::new(model.spec(), &device);
    let adapter = load_adapter(folder.join("adapter"), &mut bank, None).unwrap();
    let head = load_head(folder.join("adapter"), &mut bank, None).unwrap();
    assert_eq!(adapter.name, head.name, "a head without a name has that of its adapter");

    let golden = Golden::read(&folder.join("golden.safetensors"));
    let setup = Setup::adapter(adapter.name.as_str());
    let hooks = bank.hooks(&setup).unwrap();
    let found = values(logits(&model, &bank, &setup, &hooks, &golden.batch()).into_values());
    let difference = largest_difference(&found, golden.values("logits"));
    assert!(difference <= TOLERANCE, "{name}: the logits differ by {difference:e}");
    drop(hooks);
    (bank, vec![adapter, head])
}

#[test]
fn heads_of_hugging_face_s_own_classes_are_read_as_the_reference_reads_them() {
    let cases = [
        ("static_bert", 1, None, true),
        ("static_roberta", 2, Some(Activation::Tanh), false),
        ("static_electra", 2, Some(Activation::Gelu), false),
    ];
    for (name, layers, activation, use_pooler) in cases {
        let (bank, reports) = read(name);
        let expected = HeadConfig::classification(3)
            .with_layers(layers)
            .with_activation_function(activation)
            .with_use_pooler(use_pooler)
            .with_labels(["bad", "fine", "good"]);
        assert_eq!(*bank.head("static").unwrap().config(), expected, "{name}");
        assert!(reports[1].notes[0].contains("ForSequenceClassification"), "{:?}", reports[1].notes);
    }
}

#[test]
fn task_adapters_of_version_1_are_read_without_the_invertible_adapter_that_they_never_had() {
    let (bank, reports) = read("v1_task");
    let expected: AdapterConfig = "seq_bn[reduction_factor=4]".parse().unwrap();
    assert_eq!(*bank.adapter("task").unwrap().config(), expected);
    assert!(reports[0].notes.iter().any(|note| note.contains("invertible adapter")), "{:?}", reports[0].notes);
}
