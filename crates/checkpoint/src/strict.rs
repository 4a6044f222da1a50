//! Files against modules: every tensor finds its parameter and every parameter its tensor, or it is an error.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use burn::module::Module;
use burn::tensor::TensorData;
use burn_adapters_tensors::{Mismatch, RawTensor, TensorShape, Tensors, fill, values};

use crate::CheckpointError;
use crate::names::Entry;

/// Tensors that found their parameters.
#[derive(Debug)]
pub(crate) struct Matched {
    /// The values, by path in our module.
    pub(crate) values: BTreeMap<String, Vec<f32>>,
    /// The tensors' names in the file.
    pub(crate) applied: Vec<String>,
}

/// Matches the tensors of a file, whose names may all carry a prefix, with the parameters of a module.
pub(crate) fn match_tensors(
    path: &Path,
    tensors: Tensors,
    entries: &[Entry],
    prefix: Option<&str>,
) -> Result<Matched, CheckpointError> {
    // A file of the bare base model lacks the prefix.
    let prefix = prefix.map(|prefix| format!("{prefix}.")).unwrap_or_default();
    let prefix = if tensors.keys().any(|name| name.starts_with(&prefix)) { prefix } else { String::new() };
    let mut matched = Matched { values: BTreeMap::new(), applied: Vec::new() };
    let mut mismatch = Mismatch::default();
    // Parameters that are rows of one tensor have its name in common: it is reported once.
    let mut seen = BTreeSet::new();
    for entry in entries {
        let names = entry.names.iter().map(|name| format!("{prefix}{name}"));
        let found: Vec<(String, &RawTensor)> =
            names.filter_map(|name| tensors.get(&name).map(|tensor| (name, tensor))).collect();
        let name = entry.names.first().map(|name| format!("{prefix}{name}")).unwrap_or_default();
        let is_new = seen.insert(found.first().map_or(name.clone(), |(name, _)| name.clone()));
        seen.extend(found.iter().skip(1).map(|(name, _)| name.clone()));
        if found.iter().any(|(_, tensor)| tensor.shape != entry.shape) {
            for (name, tensor) in found.iter().filter(|_| is_new) {
                mismatch.compare(name, &entry.shape, Some(&tensor.shape));
            }
            continue;
        }
        matched.applied.extend(found.iter().filter(|_| is_new).map(|(name, _)| name.clone()));
        let mut found = found.into_iter();
        let Some((first, tensor)) = found.next() else {
            if is_new {
                mismatch.compare(&name, &entry.shape, None);
            }
            continue;
        };
        if let Some((second, _)) = found.find(|(_, other)| !bit_equal(&other.values, &tensor.values)) {
            return Err(CheckpointError::Disagreement { path: path.to_owned(), first, second });
        }
        matched.values.insert(entry.path.clone(), entry.to_ours(&tensor.values));
    }
    let unexpected = tensors.into_iter().filter(|(name, _)| !seen.contains(name));
    mismatch.unexpected = unexpected.map(|(name, tensor)| TensorShape { name, shape: tensor.shape }).collect();
    if mismatch.is_empty() {
        matched.applied.sort();
        Ok(matched)
    } else {
        Err(CheckpointError::Mismatch { path: path.to_owned(), mismatch: Box::new(mismatch) })
    }
}

impl Matched {
    /// The module with these values, which are taken out.
    pub(crate) fn fill<M: Module>(&mut self, module: M) -> M {
        fill(module, |path, shape| Some(TensorData::new(self.values.remove(&path.to_string())?, shape)))
    }
}

/// The tensors of a module under the file's names.
pub(crate) fn to_tensors<M: Module>(
    module: &M,
    entries: &[Entry],
    rename: impl Fn(&str) -> String,
) -> Result<Tensors, CheckpointError> {
    let values = values(module, |path| Some(path.to_string()));
    let mut values = values.map_err(|error| CheckpointError::Device(error.to_string()))?;
    let mut tensors = Tensors::new();
    for entry in entries {
        // Data that was just converted to f32 is f32.
        let data = values.remove(&entry.path).map(TensorData::convert::<f32>);
        let Some(values) = data.and_then(|data| data.try_into_vec::<f32>().ok()) else {
            continue;
        };
        for name in entry.written() {
            let zeros = || RawTensor { shape: entry.shape.clone(), values: vec![0.0; entry.shape.iter().product()] };
            entry.put(values.clone(), &mut tensors.entry(rename(name)).or_insert_with(zeros).values);
        }
    }
    Ok(tensors)
}

fn bit_equal(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}
