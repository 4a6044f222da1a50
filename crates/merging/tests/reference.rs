//! Against the Python library `adapters`. The goldens are made by `goldens/make.py`.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use burn_adapters_checkpoint::{AdapterFolder, FolderMeta, HeadFolder, RawTensor, Tensors};
use burn_adapters_config::{AdapterConfig, MethodConfig};
use burn_adapters_heads::HeadConfig;
use burn_adapters_merging::{Strategy, merge_folders, merge_heads};
use serde_json::Value;

fn golden() -> Value {
    serde_json::from_str(&burn_adapters_goldens::text(include_bytes!("goldens/reference.json.xz"))).unwrap()
}

fn tensors(value: &Value) -> Tensors {
    let of = |value: &Value| RawTensor {
        shape: serde_json::from_value(value["shape"].clone()).unwrap(),
        values: serde_json::from_value(value["values"].clone()).unwrap(),
    };
    value.as_object().unwrap().iter().map(|(name, value)| (name.clone(), of(value))).collect()
}

fn meta(file: &Value) -> FolderMeta {
    let text = |key: &str| file[key].as_str().map(str::to_owned);
    FolderMeta {
        name: text("name").unwrap(),
        model_type: text("model_type"),
        hidden_size: file["hidden_size"].as_u64().map(|size| size as usize),
        model_name: text("model_name"),
        model_class: text("model_class"),
        version: text("version"),
    }
}

fn adapter(value: &Value) -> AdapterFolder {
    let config = AdapterConfig::from_json_value(&value["config"]).unwrap();
    AdapterFolder::new(meta(&value["config"]), config, tensors(&value["tensors"]))
}

fn head(value: &Value) -> HeadFolder {
    let config = HeadConfig::from_json_value(&value["config"]["config"]).unwrap();
    HeadFolder::new(meta(&value["config"]), config, tensors(&value["tensors"]))
}

fn weighted<T>(folders: Vec<T>, weights: &Value) -> Vec<(T, f64)> {
    folders.into_iter().zip(weights.as_array().unwrap().iter().map(|weight| weight.as_f64().unwrap())).collect()
}

fn assert_close(found: &Tensors, expected: &Tensors, what: &str) {
    assert!(found.keys().eq(expected.keys()), "{what}: {:?}\n{:?}", found.keys(), expected.keys());
    for (name, expected) in expected {
        let found = &found[name];
        assert_eq!(found.shape, expected.shape, "{what}: {name}");
        for (found, expected) in found.values.iter().zip(&expected.values) {
            assert!((found - expected).abs() < 2e-6, "{what}: {name}: {found} is not {expected}");
        }
    }
}

/// Turns the rows of each `lora_A`, and with them the columns of `lora_B`, so that the sum of a row is positive.
fn turned(mut tensors: Tensors) -> Tensors {
    let names: Vec<String> = tensors.keys().filter(|name| name.ends_with("lora_A")).cloned().collect();
    for name in names {
        let a = tensors.get_mut(&name).unwrap();
        let (rank, columns) = (a.shape[0], a.shape[1]);
        let mut signs = Vec::new();
        for row in a.values.chunks_mut(columns) {
            let sign = row.iter().sum::<f32>().signum();
            row.iter_mut().for_each(|value| *value *= sign);
            signs.push(sign);
        }
        let b = tensors.get_mut(&name.replace("lora_A", "lora_B")).unwrap();
        b.values.iter_mut().enumerate().for_each(|(at, value)| *value *= signs[at % rank]);
    }
    tensors
}

/// What singular values of 0 belong to is arbitrary.
fn without_null_space(mut tensors: Tensors) -> Tensors {
    let names: Vec<String> = tensors.keys().filter(|name| name.ends_with("lora_A")).cloned().collect();
    for name in names {
        let (rank, columns) = (tensors[&name].shape[0], tensors[&name].shape[1]);
        let b = tensors[&name.replace("lora_A", "lora_B")].clone();
        for at in 0..rank {
            if b.values.iter().skip(at).step_by(rank).all(|value| value.abs() < 1e-6) {
                tensors.get_mut(&name).unwrap().values[at * columns..(at + 1) * columns].fill(0.0);
            }
        }
    }
    tensors
}

#[test]
fn averages_are_those_of_the_reference() {
    let golden = golden();
    let mut runs_of_svd = 0;
    for case in golden["adapters"].as_array().unwrap() {
        let method = case["method"].as_str().unwrap();
        for run in case["runs"].as_array().unwrap() {
            let folders = case["inputs"].as_array().unwrap().iter().map(adapter).collect();
            let inputs = weighted(folders, &run["weights"]);
            let normalize = run["normalize"].as_bool().unwrap();
            let strategy = match run["strategy"].as_str().unwrap() {
                "linear" => Strategy::Linear { normalize },
                "lora_linear_only_negate_b" => Strategy::LoraLinearOnlyNegateB { normalize },
                "lora_delta_w_svd" => {
                    Strategy::LoraDeltaWSvd { rank: run["rank"].as_u64().unwrap() as usize, normalize }
                }
                other => panic!("{other}"),
            };
            let merged = merge_folders(&inputs, &strategy, run["name"].as_str().unwrap()).unwrap();
            let (mut found, mut expected) = (merged.tensors, tensors(&run["output"]));
            if matches!(strategy, Strategy::LoraDeltaWSvd { .. }) {
                runs_of_svd += 1;
                let [MethodConfig::Lora(config)] = merged.config.methods() else { panic!("{}", merged.config) };
                assert_eq!((config.r as u64, config.alpha), (run["rank"].as_u64().unwrap(), 2.0 * config.r as f64));
                found = turned(without_null_space(found));
                expected = turned(without_null_space(expected));
            } else {
                assert_eq!(merged.config, inputs[0].0.config);
            }
            assert_close(&found, &expected, &format!("{method} {run}"));
        }
    }
    assert_eq!(runs_of_svd, 5);
}

#[test]
fn averages_of_heads_are_those_of_the_reference() {
    let golden = golden();
    let case = &golden["heads"];
    let inputs = weighted(case["inputs"].as_array().unwrap().iter().map(head).collect(), &case["weights"]);
    let merged = merge_heads(&inputs, true, "m").unwrap();
    assert_close(&merged.tensors, &tensors(&case["output"]), "heads");
    assert_eq!(merged.config.labels(), ["bad", "fair", "good"]);
}
