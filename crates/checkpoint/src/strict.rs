//! Files against modules: every tensor finds its parameter and every parameter its tensor, or it is an error.

use std::collections::BTreeMap;
use std::path::Path;

use crate::names::Entry;
use crate::{CheckpointError, Mismatch, RawTensor, Reshaped, TensorShape, Tensors};

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
    mut tensors: Tensors,
    entries: &[Entry],
    prefix: Option<&str>,
) -> Result<Matched, CheckpointError> {
    // A file of the bare base model lacks the prefix.
    let prefix = prefix.map(|prefix| format!("{prefix}.")).unwrap_or_default();
    let prefix = if tensors.keys().any(|name| name.starts_with(&prefix)) { prefix } else { String::new() };
    let mut matched = Matched { values: BTreeMap::new(), applied: Vec::new() };
    let mut mismatch = Mismatch { path: path.to_owned(), missing: vec![], unexpected: vec![], reshaped: vec![] };
    for entry in entries {
        let names = entry.names.iter().map(|name| format!("{prefix}{name}"));
        let found: Vec<(String, RawTensor)> =
            names.filter_map(|name| tensors.remove(&name).map(|tensor| (name, tensor))).collect();
        let reshaped = found.iter().filter(|(_, tensor)| tensor.shape != entry.shape).map(|(name, tensor)| Reshaped {
            name: name.clone(),
            expected: entry.shape.clone(),
            found: tensor.shape.clone(),
        });
        let fitting = mismatch.reshaped.len();
        mismatch.reshaped.extend(reshaped);
        if mismatch.reshaped.len() > fitting {
            continue;
        }
        matched.applied.extend(found.iter().map(|(name, _)| name.clone()));
        let mut found = found.into_iter();
        let Some((first, tensor)) = found.next() else {
            let name = entry.names.first().map(|name| format!("{prefix}{name}")).unwrap_or_default();
            mismatch.missing.push(TensorShape { name, shape: entry.shape.clone() });
            continue;
        };
        if let Some((second, _)) = found.find(|(_, other)| !bit_equal(&other.values, &tensor.values)) {
            return Err(CheckpointError::Disagreement { path: path.to_owned(), first, second });
        }
        matched.values.insert(entry.path.clone(), entry.layout.to_ours(tensor.values, &entry.shape));
    }
    mismatch.unexpected = tensors.into_iter().map(|(name, tensor)| TensorShape { name, shape: tensor.shape }).collect();
    if mismatch.missing.is_empty() && mismatch.unexpected.is_empty() && mismatch.reshaped.is_empty() {
        matched.applied.sort();
        Ok(matched)
    } else {
        Err(CheckpointError::Mismatch(Box::new(mismatch)))
    }
}

/// The tensors of a module under the file's names.
pub(crate) fn to_tensors(
    mut values: BTreeMap<String, Vec<f32>>,
    entries: &[Entry],
    rename: impl Fn(&str) -> String,
) -> Tensors {
    let mut tensors = Tensors::new();
    for entry in entries {
        let Some(values) = values.remove(&entry.path) else {
            continue;
        };
        let values = entry.layout.to_file(values, &entry.shape);
        for name in entry.written() {
            tensors.insert(rename(name), RawTensor { shape: entry.shape.clone(), values: values.clone() });
        }
    }
    tensors
}

fn bit_equal(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}
