//! The goldens of pairs of an encoder and a decoder.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor};
use burn_adapters_model::{Forward, Hooks, TokenBatch};
use burn_adapters_transformers::AutoModel;
use serde::Deserialize;

use crate::{Golden, goldens, read_json};

/// The entries of a folder, in order.
fn entries(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut entries: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries
}

/// The folder of each pair.
pub fn pairs() -> Vec<PathBuf> {
    let pairs = entries(&goldens().join("pairs"));
    assert_eq!(pairs.len(), 8);
    pairs
}

/// The model, and a golden with a batch and the model's logits.
pub fn load(pair: &Path) -> (AutoModel, Golden) {
    let (model, report) = AutoModel::from_dir(&pair.join("model"), &Device::default()).unwrap();
    // Nothing reads the pooler of the encoder.
    assert!(report.unused.iter().all(|name| name.contains("pooler") || name.ends_with("decoder.bias")), "{report:?}");
    (model, Golden::read(&pair.join("golden.safetensors")))
}

/// The configurations of the adapters of a pair, with their folders.
pub fn cases(pair: &Path) -> Vec<(PathBuf, String)> {
    #[derive(Deserialize)]
    struct Case {
        config: String,
    }
    let case = |dir: PathBuf| {
        let Case { config } = read_json(&dir.join("case.json"));
        (dir, config)
    };
    entries(&pair.join("cases")).into_iter().map(case).collect()
}

/// `[tokens, vocabulary]`
pub fn logits(model: &AutoModel, hooks: &Hooks<'_>, batch: &TokenBatch) -> Tensor<2> {
    let output = model.forward(batch, hooks).unwrap();
    model.token_logits(output.hidden.flatten(0, 1)).unwrap()
}
