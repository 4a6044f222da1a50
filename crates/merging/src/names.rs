//! The names of tensors, compared between adapters of different names.

use std::collections::BTreeMap;

use burn_adapters_checkpoint::{RawTensor, Tensors};

use crate::MergeError;

/// The modules of the reference that are followed by the adapter's name.
const CONTAINERS: [&str; 8] = [
    "adapters",
    "loras",
    "refts",
    "prefix_gates",
    "prefix_tunings",
    "prompt_tunings",
    "invertible_adapters",
    "shared_parameters",
];

/// What a file of the bare base model may start with; anything else that all names start with is the family's prefix
/// (`bert.`), which a file of a class with heads has.
const ROOTS: [&str; 9] = [
    "encoder",
    "decoder",
    "layer",
    "layers",
    "h",
    "prefix_tuning",
    "prompt_tuning",
    "invertible_adapters",
    "shared_parameters",
];

/// The name of a parameter, without the adapter's and the family's prefix.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    /// The path of the module that holds the method's modules, with its dot; empty for none.
    pub(crate) module: String,
    /// Such as `loras`.
    pub(crate) container: &'static str,
    /// The parameter within: `lora_A`.
    pub(crate) local: String,
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}.{}", self.module, self.container, self.local)
    }
}

impl Key {
    /// The same place's other parameter.
    pub(crate) fn sibling(&self, local: &str) -> Self {
        Self { local: local.to_owned(), ..self.clone() }
    }
}

/// A tensor's full name, taken apart.
#[derive(Debug, Clone)]
struct Name {
    prefix: String,
    key: Key,
}

impl Name {
    fn with_adapter(&self, adapter: &str) -> String {
        let Key { module, container, local } = &self.key;
        format!("{}{module}{container}.{adapter}.{local}", self.prefix)
    }
}

/// The parameters of an adapter.
#[derive(Debug)]
pub(crate) struct Parameters<'a> {
    pub(crate) adapter: &'a str,
    /// Each once, by key.
    pub(crate) by_key: BTreeMap<Key, &'a RawTensor>,
    /// Every name that the file has: where a parameter is registered more than once, it has several.
    names: Vec<(Name, Key)>,
}

impl<'a> Parameters<'a> {
    pub(crate) fn new(adapter: &'a str, tensors: &'a Tensors) -> Result<Self, MergeError> {
        let prefix = prefix(tensors);
        let mut parameters = Self { adapter, by_key: BTreeMap::new(), names: Vec::new() };
        for (full, tensor) in tensors {
            check_values(adapter, full, tensor)?;
            let stray = || MergeError::Stray { tensor: full.clone(), name: adapter.to_owned() };
            let name = full.strip_prefix(prefix.as_str()).and_then(|name| parse(name, adapter)).ok_or_else(stray)?;
            let key = parameter_of(&name, tensors, adapter, &prefix);
            let name = Name { prefix: prefix.clone(), key: name };
            if let Some(other) = parameters.by_key.insert(key.clone(), tensor)
                && !bit_equal(other, tensor)
            {
                let first = parameters.names.iter().find(|(_, other)| *other == key);
                let first = first.map(|(name, _)| name.with_adapter(adapter)).unwrap_or_default();
                return Err(MergeError::Disagreement { name: adapter.to_owned(), first, second: full.clone() });
            }
            parameters.names.push((name, key));
        }
        Ok(parameters)
    }

    /// The tensors of an adapter of another name with these values, under the names that this one's file has.
    pub(crate) fn rename(&self, adapter: &str, values: &BTreeMap<Key, RawTensor>) -> Tensors {
        let renamed = |(name, key): &(Name, Key)| Some((name.with_adapter(adapter), values.get(key)?.clone()));
        self.names.iter().filter_map(renamed).collect()
    }
}

fn check_values(adapter: &str, name: &str, tensor: &RawTensor) -> Result<(), MergeError> {
    let count = tensor.shape.iter().try_fold(1usize, |product, extent| product.checked_mul(*extent));
    if count != Some(tensor.values.len()) {
        return Err(MergeError::Malformed {
            tensor: name.to_owned(),
            name: adapter.to_owned(),
            found: tensor.shape.clone(),
            expected: format!("a shape for its {} values", tensor.values.len()),
        });
    }
    Ok(())
}

fn prefix(tensors: &Tensors) -> String {
    let first = |name: &String| name.split_once('.').map(|(first, _)| first.to_owned());
    match tensors.keys().next().and_then(first) {
        Some(prefix) if !ROOTS.contains(&prefix.as_str()) => {
            let prefix = format!("{prefix}.");
            if tensors.keys().all(|name| name.starts_with(&prefix)) { prefix } else { String::new() }
        }
        _ => String::new(),
    }
}

/// Takes a name apart at the first module that is followed by the adapter's name.
fn parse(name: &str, adapter: &str) -> Option<Key> {
    let find = |container: &'static str| {
        let marker = format!("{container}.{adapter}.");
        let mut starts = name.match_indices(&marker).map(|(at, _)| at);
        let at = starts.find(|at| *at == 0 || name[..*at].ends_with('.'))?;
        let (module, local) = (name[..at].to_owned(), name[at + marker.len()..].to_owned());
        Some((at, Key { module, container, local }))
    };
    CONTAINERS.into_iter().filter_map(find).min_by_key(|(at, _)| *at).map(|(_, key)| key)
}

/// The parameter that a name stands for. The reference registers the pool of prefixes in each layer again, and a norm
/// before the down-projection as the first module of `adapter_down` too.
fn parameter_of(key: &Key, tensors: &Tensors, adapter: &str, prefix: &str) -> Key {
    if key.container == "prefix_tunings" {
        return Key { module: "prefix_tuning.".to_owned(), ..key.clone() };
    }
    if let Some(kind) = key.local.strip_prefix("adapter_down.0.") {
        let norm = key.sibling(&format!("adapter_norm_before.{kind}"));
        let name = Name { prefix: prefix.to_owned(), key: norm.clone() };
        if tensors.contains_key(&name.with_adapter(adapter)) {
            return norm;
        }
    }
    key.clone()
}

/// Whether two tensors are the same in every bit.
pub(crate) fn bit_equal(a: &RawTensor, b: &RawTensor) -> bool {
    a.shape == b.shape && a.values.iter().zip(&b.values).all(|(a, b)| a.to_bits() == b.to_bits())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn tensors(names: &[&str]) -> Tensors {
        names.iter().map(|name| ((*name).to_owned(), RawTensor { shape: vec![1], values: vec![1.0] })).collect()
    }

    #[test]
    fn names_of_modules_that_are_names_of_adapters_are_taken_apart() {
        for (name, adapter, module, local) in [
            ("layer.0.output.adapters.adapters.adapter_up.bias", "adapters", "layer.0.output.", "adapter_up.bias"),
            ("layer.0.query.loras.a.b.lora_A", "a.b", "layer.0.query.", "lora_A"),
            ("layer.0.query.loras.0.lora_A", "0", "layer.0.query.", "lora_A"),
        ] {
            let key = parse(name, adapter).unwrap();
            assert_eq!((key.module.as_str(), key.local.as_str()), (module, local));
        }
        assert_eq!(parse("layer.0.query.loras.other.lora_A", "a"), None);
    }

    #[test]
    fn a_prefix_of_the_family_does_not_count() {
        let with = tensors(&["bert.encoder.layer.0.x.loras.a.lora_A", "bert.encoder.layer.0.x.loras.a.lora_B"]);
        let without = tensors(&["encoder.layer.0.x.loras.b.lora_A", "encoder.layer.0.x.loras.b.lora_B"]);
        let (with, without) = (Parameters::new("a", &with).unwrap(), Parameters::new("b", &without).unwrap());
        assert!(with.by_key.keys().eq(without.by_key.keys()));
    }

    #[test]
    fn a_parameter_under_several_names_is_one() {
        let names = [
            "bert.encoder.layer.0.attention.self.prefix_tuning.pool.prefix_tunings.a.self_prefix.control_trans",
            "bert.prefix_tuning.prefix_tunings.a.self_prefix.control_trans",
            "bert.encoder.layer.0.output.adapters.a.adapter_down.0.weight",
            "bert.encoder.layer.0.output.adapters.a.adapter_norm_before.weight",
        ];
        let mut tensors = tensors(&names);
        assert_eq!(Parameters::new("a", &tensors).unwrap().by_key.len(), 2);
        tensors.get_mut(names[0]).unwrap().values = vec![2.0];
        assert!(matches!(Parameters::new("a", &tensors), Err(MergeError::Disagreement { .. })));
    }
}
