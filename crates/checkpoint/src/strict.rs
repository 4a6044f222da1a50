//! Files against modules: every tensor finds its parameter and every parameter its tensor, or it is an error.

use std::collections::{BTreeMap, BTreeSet};
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
    tensors: Tensors,
    entries: &[Entry],
    prefix: Option<&str>,
) -> Result<Matched, CheckpointError> {
    // A file of the bare base model lacks the prefix.
    let prefix = prefix.map(|prefix| format!("{prefix}.")).unwrap_or_default();
    let prefix = if tensors.keys().any(|name| name.starts_with(&prefix)) { prefix } else { String::new() };
    let mut matched = Matched { values: BTreeMap::new(), applied: Vec::new() };
    let mut mismatch = Mismatch { path: path.to_owned(), missing: vec![], unexpected: vec![], reshaped: vec![] };
    // Parameters that are rows of one tensor have its name in common: it is reported once.
    let mut seen = BTreeSet::new();
    for entry in entries {
        let names = entry.names.iter().map(|name| format!("{prefix}{name}"));
        let found: Vec<(String, &RawTensor)> =
            names.filter_map(|name| tensors.get(&name).map(|tensor| (name, tensor))).collect();
        let name = entry.names.first().map(|name| format!("{prefix}{name}")).unwrap_or_default();
        let is_new = seen.insert(found.first().map_or(name.clone(), |(name, _)| name.clone()));
        seen.extend(found.iter().skip(1).map(|(name, _)| name.clone()));
        let reshaped = found.iter().filter(|(_, tensor)| tensor.shape != entry.shape).map(|(name, tensor)| Reshaped {
            name: name.clone(),
            expected: entry.shape.clone(),
            found: tensor.shape.clone(),
        });
        let reshaped: Vec<Reshaped> = reshaped.collect();
        if !reshaped.is_empty() {
            mismatch.reshaped.extend(reshaped.into_iter().filter(|_| is_new));
            continue;
        }
        matched.applied.extend(found.iter().filter(|_| is_new).map(|(name, _)| name.clone()));
        let mut found = found.into_iter();
        let Some((first, tensor)) = found.next() else {
            if is_new {
                mismatch.missing.push(TensorShape { name, shape: entry.shape.clone() });
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
        for name in entry.written() {
            let zeros = || RawTensor { shape: entry.shape.clone(), values: vec![0.0; entry.shape.iter().product()] };
            entry.put(values.clone(), &mut tensors.entry(rename(name)).or_insert_with(zeros).values);
        }
    }
    tensors
}

fn bit_equal(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}
