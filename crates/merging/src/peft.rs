//! Against peft, with the random masks that it drew. The goldens are made by `tests/goldens/make.py`.
#![allow(clippy::unwrap_used)]

use burn_adapters_checkpoint::{AdapterFolder, FolderMeta, RawTensor, Tensors};
use burn_adapters_config::LoraConfig;
use serde_json::Value;

use crate::adapter::merge_with_masks;
use crate::names::Key;
use crate::{MajoritySign, Strategy};

fn tensors(value: &Value) -> Tensors {
    let of = |value: &Value| RawTensor {
        shape: serde_json::from_value(value["shape"].clone()).unwrap(),
        values: serde_json::from_value(value["values"].clone()).unwrap(),
    };
    value.as_object().unwrap().iter().map(|(name, value)| (name.clone(), of(value))).collect()
}

fn folder(name: &str, value: &Value) -> AdapterFolder {
    let config =
        LoraConfig::lora().with_r(value["r"].as_u64().unwrap() as usize).with_alpha(value["alpha"].as_f64().unwrap());
    let meta = FolderMeta {
        name: name.to_owned(),
        model_type: Some("bert".to_owned()),
        hidden_size: Some(8),
        model_name: None,
        model_class: None,
        version: None,
    };
    AdapterFolder::new(meta, config.into(), tensors(&value["tensors"]))
}

fn strategy(run: &Value) -> Strategy {
    let density = run["density"].as_f64().unwrap_or_default();
    let majority_sign = match run["sign"].as_str().unwrap() {
        "total" => MajoritySign::Total,
        _ => MajoritySign::Frequency,
    };
    match run["strategy"].as_str().unwrap() {
        "ties" => Strategy::Ties { density, majority_sign },
        "dare_linear" => Strategy::DareLinear { density, seed: 0 },
        "dare_ties" => Strategy::DareTies { density, majority_sign, seed: 0 },
        "svd" => Strategy::LoraDeltaWSvd { rank: 3, normalize: false },
        other => panic!("{other}"),
    }
}

/// `B A` of each module, with the adapter's factor.
fn updates(name: &str, tensors: &Tensors, scale: f32) -> Vec<f32> {
    let mut found = Vec::new();
    for (key, a) in tensors.iter().filter(|(key, _)| key.ends_with(&format!(".{name}.lora_A"))) {
        let b = &tensors[&key.replace("lora_A", "lora_B")];
        let (rank, columns, rows) = (a.shape[0], a.shape[1], b.shape[0]);
        for row in 0..rows {
            for column in 0..columns {
                let sum: f32 = (0..rank).map(|at| b.values[row * rank + at] * a.values[at * columns + column]).sum();
                found.push(sum * scale);
            }
        }
    }
    found
}

#[test]
fn merged_loras_are_those_of_peft() {
    let golden = burn_adapters_goldens::text(include_bytes!("../tests/goldens/peft.json.xz"));
    let golden: Value = serde_json::from_str(&golden).unwrap();
    let runs = golden["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 8);
    for run in runs {
        let adapters: Vec<&str> =
            run["adapters"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        let weights = run["weights"].as_array().unwrap().iter().map(|weight| weight.as_f64().unwrap());
        let inputs: Vec<_> = adapters
            .iter()
            .zip(weights)
            .map(|(name, weight)| (folder(name, &golden["inputs"][name]), weight))
            .collect();
        let masks = |key: &Key, input: usize, count: usize| {
            let mut masks = run["masks"].as_object().unwrap().iter();
            let (_, masks) = masks.find(|(name, _)| name.ends_with(&format!(".{key}"))).unwrap();
            let mask = masks[input].as_str().unwrap();
            assert_eq!(mask.len(), count);
            mask.bytes().map(|byte| byte == b'1').collect()
        };
        let name = run["name"].as_str().unwrap();
        let merged = merge_with_masks(&inputs, &strategy(run), name, &masks).unwrap();
        let expected = tensors(&run["output"]);
        assert!(merged.tensors.keys().eq(expected.keys()));
        let methods = merged.config.methods();
        let [burn_adapters_config::MethodConfig::Lora(config)] = methods else { panic!("{methods:?}") };
        // peft puts every factor into the matrices, and leaves 1.
        let scale = (config.alpha / config.r as f64) as f32;
        assert_eq!(scale, 1.0);
        let pairs = if run["strategy"] == "svd" {
            vec![(updates(name, &merged.tensors, scale), updates(name, &expected, 1.0))]
        } else {
            let values = |(name, tensor): (&String, &RawTensor)| (tensor.values.clone(), expected[name].values.clone());
            merged.tensors.iter().map(values).collect()
        };
        for (found, expected) in pairs {
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(&expected) {
                assert!((found - expected).abs() < 2e-6, "{run:?}: {found} is not {expected}");
            }
        }
    }
}
