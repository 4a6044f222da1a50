//! Averaging heads.

use std::collections::BTreeMap;

use burn_adapters_checkpoint::{FolderMeta, HeadFolder, RawTensor, Tensors};
use burn_adapters_heads::{HeadConfig, reference_names};
use serde_json::Value;

use crate::{MergeError, check, combine};

/// The weighted average of heads, as folders; no model is needed. `normalize` divides the weights by their sum.
///
/// All heads must be for the same base model and the same labels, and have the same configuration except for dropout. If
/// the order of the labels differs, their rows are reordered as in the first head. Heads of weight 0 are ignored.
///
/// # Errors
/// If there are no inputs; if a weight is not finite, or weights to be normalized sum to 0; if the heads differ in their
/// base model, configuration, labels or tensors.
pub fn merge_heads(inputs: &[(HeadFolder, f64)], normalize: bool, name: &str) -> Result<HeadFolder, MergeError> {
    let named = inputs.iter().map(|(folder, weight)| (folder.meta.name.as_str(), *weight));
    let weights = check::weights(named, normalize)?;
    let Some((first, _)) = inputs.first() else {
        return Err(MergeError::NoInputs);
    };
    check::name(name)?;
    let mut aligned = Vec::with_capacity(inputs.len());
    for (folder, _) in inputs {
        check::model(&first.meta, &folder.meta)?;
        same_config(first, folder)?;
        aligned.push(in_order(first, folder)?);
    }
    let mut tensors = Tensors::new();
    for (key, tensor) in &aligned[0] {
        let mut values = Vec::with_capacity(inputs.len());
        for ((folder, _), (tensors, weight)) in inputs.iter().zip(aligned.iter().zip(&weights)) {
            let other = tensors.get(key).ok_or_else(|| missing(key, first, folder))?;
            if other.shape != tensor.shape {
                return Err(MergeError::Shape {
                    tensor: key.clone(),
                    first: first.meta.name.clone(),
                    other: folder.meta.name.clone(),
                    in_first: tensor.shape.clone(),
                    in_other: other.shape.clone(),
                });
            }
            if *weight != 0.0 {
                finite(key, &folder.meta.name, &other.values)?;
            }
            values.push(other.values.as_slice());
        }
        let values = combine::linear(&values, &weights);
        finite(key, name, &values)?;
        tensors.insert(format!("heads.{name}.{key}"), RawTensor { shape: tensor.shape.clone(), values });
    }
    for ((folder, _), tensors) in inputs.iter().zip(&aligned) {
        if let Some(key) = tensors.keys().find(|key| !aligned[0].contains_key(*key)) {
            return Err(missing(key, folder, first));
        }
    }
    let meta = FolderMeta { name: name.to_owned(), ..first.meta.clone() };
    Ok(HeadFolder::new(meta, first.config.clone(), tensors))
}

fn missing(tensor: &str, with: &HeadFolder, without: &HeadFolder) -> MergeError {
    let (with, without) = (with.meta.name.clone(), without.meta.name.clone());
    MergeError::Missing { tensor: tensor.to_owned(), with, without }
}

fn finite(tensor: &str, name: &str, values: &[f32]) -> Result<(), MergeError> {
    if values.iter().all(|value| value.is_finite()) {
        return Ok(());
    }
    Err(MergeError::NotFinite { tensor: tensor.to_owned(), name: name.to_owned() })
}

fn same_config(first: &HeadFolder, other: &HeadFolder) -> Result<(), MergeError> {
    let essence = |config: &HeadConfig| HeadConfig { dropout_prob: None, label2id: None, ..config.clone() };
    let (a, b) = (essence(&first.config), essence(&other.config));
    if a == b {
        return Ok(());
    }
    let differences = match (a.to_json_value(), b.to_json_value()) {
        (Value::Object(a), Value::Object(b)) => check::json_differences(&a, &b),
        _ => vec![],
    };
    Err(MergeError::Config { first: first.meta.name.clone(), other: other.meta.name.clone(), differences })
}

/// A head's tensors without its name, with the rows of the last layer in the order of the first head's labels.
fn in_order(first: &HeadFolder, folder: &HeadFolder) -> Result<BTreeMap<String, RawTensor>, MergeError> {
    let name = &folder.meta.name;
    let prefix = format!("heads.{name}.");
    let mut tensors = BTreeMap::new();
    for (full, tensor) in &folder.tensors {
        let stray = || MergeError::Stray { tensor: full.clone(), name: name.clone() };
        let key = full.strip_prefix(&prefix).ok_or_else(stray)?;
        if tensor.shape.iter().try_fold(1usize, |product, extent| product.checked_mul(*extent))
            != Some(tensor.values.len())
        {
            return Err(malformed(full, name, tensor, format!("a shape for its {} values", tensor.values.len())));
        }
        tensors.insert(key.to_owned(), tensor.clone());
    }
    let Some(order) = order(first, folder)? else {
        return Ok(tensors);
    };
    for parameter in reference_names(&folder.config, name) {
        let last = parameter.path.starts_with("output.");
        let key = parameter.reference.strip_prefix(&prefix).unwrap_or_default();
        if let Some(tensor) = tensors.get_mut(key).filter(|_| last) {
            if tensor.shape.first() != Some(&order.len()) {
                return Err(malformed(key, name, tensor, format!("{} rows", order.len())));
            }
            let row = tensor.values.len() / order.len();
            let rows = order.iter().flat_map(|label| &tensor.values[label * row..(label + 1) * row]);
            tensor.values = rows.copied().collect();
        }
    }
    Ok(tensors)
}

/// The index in a head of each label of the first head; `None` if the indices are the same.
fn order(first: &HeadFolder, folder: &HeadFolder) -> Result<Option<Vec<usize>>, MergeError> {
    let (in_first, in_other) = (first.config.labels(), folder.config.labels());
    // The name of a regression's number means nothing.
    if in_first == in_other || !first.config.task().has_classes() {
        return Ok(None);
    }
    let number = |label: &String| in_other.iter().position(|other| other == label);
    match in_first.iter().map(number).collect::<Option<Vec<_>>>() {
        Some(order) => Ok(Some(order)),
        None => Err(MergeError::Labels {
            first: first.meta.name.clone(),
            other: folder.meta.name.clone(),
            in_first,
            in_other,
        }),
    }
}

fn malformed(tensor: &str, name: &str, found: &RawTensor, expected: String) -> MergeError {
    MergeError::Malformed { tensor: tensor.to_owned(), name: name.to_owned(), found: found.shape.clone(), expected }
}
