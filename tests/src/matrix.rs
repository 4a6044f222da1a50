//! The matrix of all configurations on all families: weights by a formula, and the reference's numbers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn_adapters_goldens::mixed;
use safetensors::tensor::{Dtype, TensorView};
use serde::Deserialize;
use serde_json::Value;

use crate::{Golden, goldens, read_json};

/// A configuration on a family: what the reference computes, or why it refuses.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Entry {
    /// It fails.
    Refused {
        /// The configuration, as a string.
        config: String,
        /// What it says.
        refused: String,
    },
    /// It works.
    Case(Box<MatrixCase>),
}

/// A configuration that the reference runs.
#[derive(Debug, Deserialize)]
pub struct MatrixCase {
    /// The configuration, as a string.
    pub config: String,
    adapter_config: Value,
    head_config: Value,
    adapter_interface: Option<Value>,
    tensors: BTreeMap<String, BTreeMap<String, Vec<Value>>>,
    salt: u64,
    /// Whether rows are padded.
    pub padding: bool,
    /// The implementation of attention that the reference ran with.
    pub attention: String,
    /// The class of each row.
    pub labels: Vec<usize>,
    /// The logits.
    pub logits: Vec<f32>,
    /// The loss.
    pub loss: f32,
    /// Two sums over each parameter after a step of SGD.
    pub after: BTreeMap<String, [f64; 2]>,
}

/// The configurations of every family, by name: those of the folder `families` beside it.
pub fn matrix() -> Vec<(PathBuf, BTreeMap<String, Entry>)> {
    let read = |family: PathBuf| {
        let name = family.file_name().unwrap().to_str().unwrap().to_owned();
        let entries = read_json(&goldens().join("matrix").join(format!("{name}.json")));
        (family, entries)
    };
    crate::families().into_iter().map(read).collect()
}

impl MatrixCase {
    /// Writes the adapter and the head as the reference saves them.
    pub fn write(&self, dir: &Path) {
        let mut adapter = self.adapter_config.clone();
        // The reference does not save that DiReFT does not subtract the projection.
        if self.config.starts_with("direft") {
            adapter["config"]["subtract_projection"] = false.into();
        }
        std::fs::write(dir.join("adapter_config.json"), adapter.to_string()).unwrap();
        std::fs::write(dir.join("head_config.json"), self.head_config.to_string()).unwrap();
        if let Some(interface) = &self.adapter_interface {
            std::fs::write(dir.join("adapter_interface.json"), interface.to_string()).unwrap();
        }
        for (part, file) in [("adapter", "adapter.safetensors"), ("head", "model_head.safetensors")] {
            let tensors: Vec<(&String, Vec<usize>, Vec<u8>)> =
                self.tensors[part].iter().map(|(name, tensor)| self.tensor(name, tensor)).collect();
            let views = tensors.iter();
            let views =
                views.map(|(name, shape, data)| (name, TensorView::new(Dtype::F32, shape.clone(), data).unwrap()));
            std::fs::write(dir.join(file), safetensors::serialize(views, None).unwrap()).unwrap();
        }
    }

    /// The names and shapes of the tensors that the reference saves.
    pub fn shapes(&self) -> BTreeMap<&str, Vec<usize>> {
        let tensors = self.tensors.values().flatten();
        tensors.map(|(name, tensor)| (name.as_str(), serde_json::from_value(tensor[0].clone()).unwrap())).collect()
    }

    /// A tensor: `[shape, values]`, or `[shape, mean, spread]` and the name of the parameter if it has another.
    fn tensor<'a>(&self, name: &'a String, tensor: &[Value]) -> (&'a String, Vec<usize>, Vec<u8>) {
        let shape: Vec<usize> = serde_json::from_value(tensor[0].clone()).unwrap();
        let values: Vec<f32> = match &tensor[1] {
            Value::Array(_) => serde_json::from_value(tensor[1].clone()).unwrap(),
            mean => {
                let source = tensor.get(3).map_or(name.as_str(), |source| source.as_str().unwrap());
                let (mean, spread) = (mean.as_f64().unwrap(), tensor[2].as_f64().unwrap());
                let unit = |value: u64| (value >> 40) as f64 / f64::from(1 << 23) - 1.0;
                let value = |value: u64| (mean + spread * unit(value)) as f32;
                mixed(source, self.salt).take(shape.iter().product()).map(value).collect()
            }
        };
        (name, shape, values.into_iter().flat_map(f32::to_le_bytes).collect())
    }
}

/// The batch of a family, padded or not.
pub fn batch(family: &Path, padding: bool) -> Golden {
    let golden = Golden::read(&family.join("models/tiny/hidden.safetensors"));
    let prefix = if padding { "" } else { "full." };
    let inputs = ["input_ids", "attention_mask", "token_type_ids"];
    let named = inputs.into_iter().filter_map(|name| Some((name, golden.0.get(&format!("{prefix}{name}"))?.clone())));
    Golden(named.map(|(name, tensor)| (name.to_owned(), tensor)).collect())
}
