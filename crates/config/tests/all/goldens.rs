//! Parity of the registry, the strings and the dictionaries with the Python reference.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use burn_adapters_config::{Activation, AdapterConfig, identifiers};
use serde_json::{Map, Value, json};

fn goldens() -> Value {
    serde_json::from_str(include_str!("../goldens/reference_configs.json")).unwrap()
}

fn methods(dictionary: &Value) -> Vec<Value> {
    match dictionary.get("configs") {
        Some(configs) => configs.as_array().unwrap().clone(),
        None => vec![dictionary.clone()],
    }
}

/// The reference does not write these two keys; all others must be present.
fn without_what_the_reference_forgets(mut dictionary: Value) -> Value {
    let keys = dictionary.as_object_mut().unwrap();
    keys.remove("subtract_projection");
    keys.remove("random_uniform_scale");
    dictionary
}

#[test]
fn every_identifier_gives_the_dictionary_of_the_reference() {
    let goldens = goldens();
    for (name, expected) in goldens["registry"].as_object().unwrap() {
        let config: AdapterConfig = name.parse().unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(config, AdapterConfig::from_identifier(name).unwrap());
        let written = config.to_json_value();
        let written = if name == "direft" { without_what_the_reference_forgets(written) } else { written };
        assert_eq!(&written, expected, "{name}");
    }
    assert_eq!(AdapterConfig::from_identifier("adapter_plus").unwrap().to_json_value(), goldens["adapter_plus"]);
}

#[test]
fn the_registry_has_every_name_of_the_reference_in_its_order() {
    let goldens = goldens();
    let registry: &Map<String, Value> = goldens["registry"].as_object().unwrap();
    let known = identifiers().iter().flat_map(|identifier| identifier.aliases.iter().chain([&identifier.name]));
    let mut known: Vec<_> = known.filter(|name| **name != "adapter_plus").copied().collect();
    known.sort_unstable();
    assert_eq!(known, registry.keys().collect::<Vec<_>>());
    // A map of `serde_json` is sorted, so the order is taken from the lines of the file.
    let places: Vec<_> = include_str!("../goldens/reference_configs.json")
        .lines()
        .filter_map(|line| line.trim().strip_prefix('"')?.split_once("\": {\"").map(|(name, _)| name.to_owned()))
        .filter(|name| identifiers().iter().any(|identifier| identifier.name == name))
        .collect();
    let names: Vec<_> = identifiers().iter().map(|identifier| identifier.name).collect();
    // The class without a name in the reference comes last.
    assert_eq!(names, places);
}

#[test]
fn the_activations_are_those_of_the_reference() {
    let names: Vec<_> = Activation::ALL.iter().map(|activation| activation.name()).collect();
    assert_eq!(json!(names), goldens()["activations"]);
}

#[test]
fn strings_mean_what_they_mean_to_the_reference() {
    let goldens = goldens();
    for (string, expected) in goldens["strings"].as_object().unwrap() {
        let config: AdapterConfig = string.parse().unwrap_or_else(|error| panic!("{string}: {error}"));
        let expected: Vec<Value> = expected
            .as_array()
            .unwrap()
            .iter()
            .map(|method| {
                let base = &goldens["registry"][method[0].as_str().unwrap()];
                let mut dictionary = methods(base)[method[1].as_u64().unwrap() as usize].clone();
                dictionary.as_object_mut().unwrap().extend(method[2].as_object().unwrap().clone());
                dictionary
            })
            .collect();
        let written = methods(&config.to_json_value()).into_iter().map(without_what_the_reference_forgets);
        assert_eq!(written.collect::<Vec<_>>(), expected, "{string}");
    }
}

#[test]
fn dictionaries_of_the_reference_are_read_back() {
    let goldens = goldens();
    for (name, dictionary) in goldens["registry"].as_object().unwrap() {
        let expected = match name.as_str() {
            // The reference loses the setting of this one when it reloads it.
            "direft" => "noreft",
            name => name,
        };
        let expected: AdapterConfig = expected.parse().unwrap();
        assert_eq!(AdapterConfig::from_json_value(dictionary).unwrap(), expected, "{name}");
        let file =
            json!({ "config": dictionary, "hidden_size": 768, "model_type": "bert", "version": "adapters.1.3.0" });
        assert_eq!(AdapterConfig::from_json_value(&file).unwrap(), expected, "{name}");
    }
}

#[test]
fn every_string_people_use_is_read_and_written_back() {
    for string in include_str!("../goldens/config_strings.txt").lines() {
        let config: AdapterConfig = string.parse().unwrap_or_else(|error| panic!("{string}: {error}"));
        let shortest = config.to_string();
        let old_name = ["pfeiffer", "houlsby", "parallel"].iter().any(|name| string.contains(name));
        assert!(shortest.len() <= string.len() || old_name, "{string} became {shortest}");
        assert_eq!(shortest.parse::<AdapterConfig>().unwrap(), config, "{string} became {shortest}");
        assert_eq!(AdapterConfig::from_json_value(&config.to_json_value()).unwrap(), config, "{string}");
    }
}
