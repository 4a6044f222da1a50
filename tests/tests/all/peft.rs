//! LoRA adapters of PEFT: equal to PEFT where they are read, and errors that name what is not.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use burn_adapters_checkpoint::{SaveOptions, load_adapter, save_adapter};
use burn_adapters_model::{AdapterBank, BaseModel, Forward, Setup};
use burn_adapters_tests::{Golden, goldens, largest_difference, read_json, values};
use burn_adapters_transformers::AutoModel;
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    model: String,
}

fn folder(name: &str) -> PathBuf {
    goldens().join("peft").join(name)
}

fn model(name: &str) -> AutoModel {
    let Case { model } = read_json(&folder(name).join("case.json"));
    let dir = if model == "bert" { "models/tiny-a".to_owned() } else { format!("{model}/models/tiny") };
    AutoModel::from_dir(&goldens().join(dir), &Device::default()).unwrap().0
}

fn hidden(model: &AutoModel, bank: &AdapterBank, golden: &Golden, name: &str) -> Vec<f32> {
    let hooks = bank.hooks(&Setup::adapter(name)).unwrap();
    values(model.forward(&golden.batch(), &hooks).unwrap().hidden)
}

#[test]
fn lora_of_peft_computes_what_it_computes_there() {
    for name in ["llama", "llama_causal", "llama_stabilized", "llama_patterns", "llama_layers", "gpt2", "bert", "t5"] {
        let model = model(name);
        let golden = Golden::read(&folder(name).join("golden.safetensors"));
        let mut bank = AdapterBank::new(model.spec(), &Device::default());
        let report = load_adapter(folder(name), &mut bank, None).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(report.name, name, "that of its folder");
        let found = hidden(&model, &bank, &golden, name);
        let difference = largest_difference(&found, golden.values("hidden"));
        assert!(difference < 1e-4, "{name}: {difference:e}");
        // As an adapter of AdapterHub it computes the same.
        let dir = tempfile::tempdir().unwrap();
        save_adapter(dir.path(), &bank, name, &SaveOptions::default()).unwrap();
        let mut again = AdapterBank::new(model.spec(), &Device::default());
        load_adapter(dir.path(), &mut again, None).unwrap();
        assert!(largest_difference(&hidden(&model, &again, &golden, name), &found) < 1e-6, "{name}");
    }
}

fn error(dir: &Path, model: &AutoModel) -> String {
    let mut bank = AdapterBank::new(model.spec(), &Device::default());
    load_adapter(dir, &mut bank, None).unwrap_err().to_string()
}

#[test]
fn what_lora_here_does_not_have_is_an_error_that_names_it() {
    for (name, part) in [
        ("output", "`layers.0.self_attn.o_proj` is not a matrix"),
        ("dora", "`use_dora`"),
        ("bias", "bias=\"lora_only\""),
        ("regular", "is a regular expression"),
        ("ia3", "IA3 of PEFT, of which only LoRA is read"),
    ] {
        let found = error(&folder(name), &model(name));
        assert!(found.contains(part), "{name}: {found}");
    }
    let found = error(&folder("bert"), &model("llama"));
    assert!(found.contains("is not a matrix that AdapterHub's LoRA adapts in this llama"), "{found}");
}

#[test]
fn a_damaged_folder_of_peft_is_an_error() {
    let model = model("llama");
    let with = |change: &dyn Fn(&Path)| {
        let dir = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(folder("llama")).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
        }
        change(dir.path());
        error(dir.path(), &model)
    };
    let config = |key: &'static str, value: serde_json::Value| {
        with(&|dir| {
            let path = dir.join("adapter_config.json");
            let mut config: serde_json::Value = read_json(&path);
            config[key] = value.clone();
            std::fs::write(path, config.to_string()).unwrap();
        })
    };
    assert!(config("r", 3.into()).contains("has the rank 2, but the configuration says 3"));
    assert!(config("r", "x".into()).contains("`r` must be a number"));
    assert!(config("lora_alpha", 0.into()).contains("changes nothing"));
    assert!(config("init_lora_weights", "pissa_niter_4".into()).contains("changed base model"));
    assert!(
        with(&|dir| std::fs::remove_file(dir.join("adapter_model.safetensors")).unwrap()).contains("adapter_model.bin")
    );
    assert!(with(&|dir| std::fs::write(dir.join("adapter_model.safetensors"), b"x").unwrap()).contains("safetensors"));
}
