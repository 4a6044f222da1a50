//! Names of tensors that can be compared between adapters of different names.

use std::collections::{BTreeMap, BTreeSet};

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

/// The name of a parameter, without the adapter's and without the path that all parameters of the adapter start with.
///
/// That path is `bert.encoder.layer.` in a file of a class with heads and `encoder.layer.` in one of the bare base model;
/// what is left is the same in both, whatever the family calls its modules.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    /// The path of the module that holds the method's modules, with a final dot; may be empty.
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
    /// Another parameter at the same place.
    pub(crate) fn sibling(&self, local: &str) -> Self {
        Self { local: local.to_owned(), ..self.clone() }
    }

    fn with_adapter(&self, adapter: &str) -> String {
        let Self { module, container, local } = self;
        format!("{module}{container}.{adapter}.{local}")
    }
}

/// The parameters of an adapter.
#[derive(Debug)]
pub(crate) struct Parameters<'a> {
    pub(crate) adapter: &'a str,
    /// Each once, by key.
    pub(crate) by_key: BTreeMap<Key, &'a RawTensor>,
    /// The path that the modules of all parameters start with, with a final dot; may be empty.
    common: String,
    /// Every name that the file has, with its whole path, and the parameter that it stands for: where one is registered
    /// more than once, it has several.
    names: Vec<(Key, Key)>,
}

impl<'a> Parameters<'a> {
    pub(crate) fn new(adapter: &'a str, tensors: &'a Tensors) -> Result<Self, MergeError> {
        let mut parsed = Vec::with_capacity(tensors.len());
        for (full, tensor) in tensors {
            check_values(adapter, full, tensor)?;
            let stray = || MergeError::Stray { tensor: full.clone(), name: adapter.to_owned() };
            parsed.push((parse(full, adapter).ok_or_else(stray)?, tensor));
        }
        let pools = pools(parsed.iter().map(|(name, _)| name));
        let named =
            parsed.into_iter().map(|(name, tensor)| (parameter_of(&name, tensors, adapter, &pools), name, tensor));
        let named: Vec<(Key, Key, &RawTensor)> = named.collect();
        let common = common(named.iter().map(|(parameter, ..)| parameter.module.as_str())).to_owned();
        let mut parameters = Self { adapter, by_key: BTreeMap::new(), common, names: Vec::with_capacity(named.len()) };
        for (mut key, name, tensor) in named {
            key.module.drain(..parameters.common.len());
            if let Some(other) = parameters.by_key.insert(key.clone(), tensor)
                && !bit_equal(other, tensor)
            {
                let first = parameters.names.iter().find(|(_, other)| *other == key);
                let first = first.map(|(name, _)| name.with_adapter(adapter)).unwrap_or_default();
                let second = name.with_adapter(adapter);
                return Err(MergeError::Disagreement { name: adapter.to_owned(), first, second });
            }
            parameters.names.push((name, key));
        }
        Ok(parameters)
    }

    /// The full name of a parameter, to be shown.
    pub(crate) fn path(&self, key: &Key) -> String {
        format!("{}{key}", self.common)
    }

    /// Whether the parameters of another adapter are at the same place in a model: their paths are equal, apart from the
    /// prefix that a class with heads adds.
    pub(crate) fn is_beside(&self, other: &Self) -> bool {
        let (long, short) = if self.common.len() < other.common.len() {
            (&other.common, &self.common)
        } else {
            (&self.common, &other.common)
        };
        long.strip_suffix(short.as_str()).is_some_and(|prefix| prefix.is_empty() || prefix.ends_with('.'))
    }

    /// Tensors with these values for an adapter of another name, under the names of this adapter's file.
    pub(crate) fn rename(&self, adapter: &str, values: &BTreeMap<Key, RawTensor>) -> Tensors {
        let renamed = |(name, key): &(Key, Key)| Some((name.with_adapter(adapter), values.get(key)?.clone()));
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

/// Splits a name at the first module that is followed by the adapter's name.
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

/// The longest path, with a final dot, that all of these start with.
fn common<'a>(mut modules: impl Iterator<Item = &'a str>) -> &'a str {
    let first = modules.next().unwrap_or_default();
    let length = modules.fold(first.len(), |length, other| {
        first.bytes().take(length).zip(other.bytes()).take_while(|(a, b)| a == b).count()
    });
    // A dot is never part of another character in UTF-8, so that the slice ends between characters.
    let end = first.as_bytes()[..length].iter().rposition(|byte| *byte == b'.');
    &first[..end.map_or(0, |dot| dot + 1)]
}

const PREFIXES: &str = "prefix_tunings";

/// The end of the paths of a pool of prefixes, and of the copies that the reference registers in each layer.
const POOL: &str = "prefix_tuning.";

/// The paths of the pools of prefixes, without their copies.
fn pools<'a>(names: impl Iterator<Item = &'a Key>) -> BTreeSet<String> {
    names
        .filter(|name| name.container == PREFIXES && name.module.ends_with(POOL))
        .map(|name| name.module.clone())
        .collect()
}

/// The parameter that a name stands for. The reference registers the pool of prefixes again in each layer, and a norm
/// before the down-projection also as the first module of `adapter_down`.
fn parameter_of(name: &Key, tensors: &Tensors, adapter: &str, pools: &BTreeSet<String>) -> Key {
    if name.container == PREFIXES {
        // The pool of the innermost model that holds the copy.
        let holds = |pool: &&String| name.module.starts_with(pool.trim_end_matches(POOL));
        let pool = pools.iter().filter(holds).max_by_key(|pool| pool.len());
        return Key { module: pool.map_or(POOL, String::as_str).to_owned(), ..name.clone() };
    }
    if let Some(kind) = name.local.strip_prefix("adapter_down.0.") {
        let norm = name.sibling(&format!("adapter_norm_before.{kind}"));
        if tensors.contains_key(&norm.with_adapter(adapter)) {
            return norm;
        }
    }
    name.clone()
}

/// Whether two tensors have the same shape and are equal bit for bit.
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
    fn adapters_of_different_layers_are_not_at_the_same_place() {
        let parameters = |tensors| Parameters::new("a", tensors).unwrap();
        let names = ["bert.encoder.layer.0.x", "encoder.layer.0.x", "encoder.layer.1.x", "ert.encoder.layer.0.x"];
        let all = names.map(|module| tensors(&[&format!("{module}.loras.a.lora_A")]));
        let [with, without, other, odd] = [&all[0], &all[1], &all[2], &all[3]].map(parameters);
        assert!(with.by_key.keys().eq(other.by_key.keys()), "only the paths tell them apart");
        assert!(with.is_beside(&without) && without.is_beside(&with));
        assert!(!with.is_beside(&other) && !other.is_beside(&without) && !with.is_beside(&odd));
        let key = with.by_key.keys().next().unwrap();
        assert_eq!(with.path(key), "bert.encoder.layer.0.x.loras.lora_A");
    }

    #[test]
    fn each_of_two_models_has_its_own_pool_of_prefixes() {
        let names = [
            "encoder.prefix_tuning.prefix_tunings.a.self_prefix.control_trans",
            "encoder.encoder.layer.0.attention.self.prefix_tuning.pool.prefix_tunings.a.self_prefix.control_trans",
            "decoder.bert.prefix_tuning.prefix_tunings.a.self_prefix.control_trans",
            "decoder.bert.encoder.layer.0.attention.self.prefix_tuning.pool.prefix_tunings.a.self_prefix.control_trans",
        ];
        let tensors = tensors(&names);
        assert_eq!(Parameters::new("a", &tensors).unwrap().by_key.len(), 2);
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
