//! Prints a configuration as the shortest equivalent string.

use std::fmt;

use serde_json::Value;

use crate::literal::write;
use crate::registry::identifiers;
use crate::{AdapterConfig, MethodConfig};

/// `name[key=value,…]`
fn string(name: &str, attributes: &[(&'static str, Value)]) -> String {
    let mut out = name.to_owned();
    for (index, (key, value)) in attributes.iter().enumerate() {
        out.push(if index == 0 { '[' } else { ',' });
        out.push_str(key);
        out.push('=');
        write(value, &mut out);
    }
    if !attributes.is_empty() {
        out.push(']');
    }
    out
}

/// The attributes in which a configuration differs from `base`; `None` if it is of another kind.
fn differences(base: &MethodConfig, config: &MethodConfig) -> Option<Vec<(&'static str, Value)>> {
    if base.architecture() != config.architecture() {
        return None;
    }
    let pairs = base.list().into_iter().zip(config.list());
    Some(pairs.filter(|(before, after)| before != after).map(|(_, after)| after).collect())
}

/// The attributes that turn a named union into `methods`, each set in every method.
fn union_differences(base: &AdapterConfig, methods: &[MethodConfig]) -> Option<Vec<(&'static str, Value)>> {
    if base.methods.len() != methods.len() {
        return None;
    }
    let mut all: Vec<(&'static str, Value)> = Vec::new();
    for (base, config) in base.methods.iter().zip(methods) {
        for (key, value) in differences(base, config)? {
            if !all.iter().any(|(known, _)| *known == key) {
                all.push((key, value));
            }
        }
    }
    let lists: Vec<_> = methods.iter().map(MethodConfig::list).collect();
    let common = all.iter().all(|attribute| lists.iter().all(|list| list.contains(attribute)));
    common.then_some(all)
}

/// The shortest string; of equally short ones, the one with the fewest attributes, then the first.
pub(crate) fn shortest(candidates: impl Iterator<Item = (&'static str, Vec<(&'static str, Value)>)>) -> Option<String> {
    let strings = candidates.map(|(name, attributes)| (string(name, &attributes), attributes.len()));
    strings.min_by_key(|(string, attributes)| (string.chars().count(), *attributes)).map(|(string, _)| string)
}

impl fmt::Display for MethodConfig {
    /// The shortest configuration string of this method, with the registry's current names.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let candidates = identifiers().iter().filter_map(|identifier| match identifier.config().methods() {
            [base] => Some((identifier.name, differences(base, self)?)),
            _ => None,
        });
        f.write_str(&shortest(candidates).unwrap_or_default())
    }
}

impl fmt::Display for AdapterConfig {
    /// The shortest equivalent configuration string, with the registry's current names.
    ///
    /// Numbers that the reference reads as floats are written as floats (`scaling=1.0`), because the reference
    /// distinguishes them. Only `adapter_plus`, `subtract_projection` and `random_uniform_scale` cannot occur in a
    /// string of the reference; they can in its JSON.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<_> = self.methods.iter().map(ToString::to_string).collect();
        let parts = parts.join("|");
        let named = identifiers().iter().filter_map(|identifier| {
            let base = identifier.config();
            if base.methods.len() < 2 {
                return None;
            }
            Some((identifier.name, union_differences(&base, &self.methods)?))
        });
        match shortest(named) {
            Some(named) if named.chars().count() <= parts.chars().count() => f.write_str(&named),
            _ => f.write_str(&parts),
        }
    }
}
