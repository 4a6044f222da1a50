//! The numbers of parameters of released models and of adapters for them, from `config.json` alone: those of the
//! reference, which has the weights to count. (VeRA is not among them: the reference counts frozen zeros.)

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;

use burn::tensor::Device;
use burn_adapters_model::AdapterBank;
use burn_adapters_transformers::ModelConfig;
use serde::Deserialize;
use serde_json::Value;

/// A released model.
#[derive(Deserialize)]
struct Model {
    /// The keys of its `config.json` that matter.
    config: Value,
    /// The number of its parameters, without a head.
    parameters: usize,
    /// The number of parameters of adapters, by their configurations.
    adapters: BTreeMap<String, usize>,
}

#[test]
fn parameters_are_counted_as_in_the_reference() {
    let models: BTreeMap<String, Model> = serde_json::from_str(include_str!("counts.json")).unwrap();
    let mut wrong = Vec::new();
    for (name, model) in &models {
        let config = ModelConfig::from_json_str(&model.config.to_string()).unwrap();
        let mut check = |what: &str, found: usize, expected: usize| {
            if found != expected {
                wrong.push(format!("{name}, {what}: {found}, not {expected}"));
            }
        };
        check("the base model", config.spec().parameters, model.parameters);
        let bank = AdapterBank::new(config.spec(), &Device::default());
        for (adapter, expected) in &model.adapters {
            let (_, report) = bank.plan("counted", adapter.parse().unwrap()).unwrap();
            check(adapter, report.parameters(), *expected);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
