//! What the tests of folders share.

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use burn_adapters_core::{AttentionNames, ModelSpec, Place, SiteName, SiteNames, StackKind, StackNames, StackSpec};
use burn_adapters_model::AdapterBank;
use serde_json::Value;

/// BERT's names, as the crate of base models has them.
pub(crate) const BERT: SiteNames = SiteNames {
    model_class: Some("BertAdapterModel"),
    prefix: Some("bert"),
    stacks: &[StackNames {
        kind: StackKind::Encoder,
        root: "",
        layer: "encoder.layer.{}",
        places: &[
            (Place::Query, SiteName::Whole("attention.self.query")),
            (Place::Key, SiteName::Whole("attention.self.key")),
            (Place::Value, SiteName::Whole("attention.self.value")),
            (Place::FeedForwardUp, SiteName::Whole("intermediate.dense")),
            (Place::FeedForwardDown, SiteName::Whole("output.dense")),
            (Place::Attention, SiteName::Whole("attention.output")),
            (Place::FeedForward, SiteName::Whole("output")),
            (Place::Layer, SiteName::Whole("reft_layer")),
        ],
        attentions: &[AttentionNames { place: Place::Attention, module: "attention.self", prefix_key: None }],
    }],
    ..SiteNames::OWN
};

/// A small BERT's sites.
pub(crate) fn spec(layers: usize) -> ModelSpec {
    ModelSpec::new("bert", 8).with_stack(StackSpec::encoder(layers, 8, 2, 16)).with_names(BERT)
}

/// A bank with one adapter `a`, its weights drawn.
pub(crate) fn bank(config: &str) -> AdapterBank {
    let mut bank = AdapterBank::new(spec(2), &Device::default());
    bank.add_seeded("a", config.parse().unwrap(), 7).unwrap();
    bank
}

/// The folder of the numbers of the Python library.
pub(crate) fn goldens() -> PathBuf {
    burn_adapters_goldens::folder().to_owned()
}

/// The sites of a golden's model.
pub(crate) fn golden_spec(model: &str) -> ModelSpec {
    let config = json(&goldens().join("models").join(model).join("config.json"));
    let size = |key: &str| config[key].as_u64().unwrap() as usize;
    let stack = StackSpec::encoder(
        size("num_hidden_layers"),
        size("hidden_size"),
        size("num_attention_heads"),
        size("intermediate_size"),
    );
    ModelSpec::new(config["model_type"].as_str().unwrap(), size("hidden_size")).with_stack(stack).with_names(BERT)
}

/// The goldens of these methods, as (folder, model).
pub(crate) fn golden_cases(methods: &[&str]) -> Vec<(PathBuf, String)> {
    let index = json(&goldens().join("cases/index.json"));
    let cases = index.as_array().unwrap().iter();
    cases
        .filter(|case| methods.contains(&case["method"].as_str().unwrap()))
        .map(|case| {
            let folder = goldens().join("cases").join(case["folder"].as_str().unwrap());
            (folder, case["model"].as_str().unwrap().to_owned())
        })
        .collect()
}

/// A file's JSON.
pub(crate) fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The files in a folder, with their bytes.
pub(crate) fn contents(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(path).unwrap())
        })
        .collect();
    files.sort();
    files
}

/// The folders in a folder, in order.
pub(crate) fn folders(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<_> = entries.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}
