//! Adapters of PEFT: equal to PEFT where they are read, and errors that name what is not.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use burn_adapters_checkpoint::{
    ExportOptions, FolderSave, HeadFolder, SaveOptions, load_adapter, load_head, save_adapter, stage_mlx, stage_peft,
};
use burn_adapters_heads::HeadConfig;
use burn_adapters_lora::Lora;
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

fn model_dir(name: &str) -> PathBuf {
    let Case { model } = read_json(&folder(name).join("case.json"));
    goldens().join(if model == "bert" { "models/tiny-a".to_owned() } else { format!("{model}/models/tiny") })
}

fn model(name: &str) -> AutoModel {
    AutoModel::from_dir(&model_dir(name), &Device::default()).unwrap().0
}

/// The hidden states of the tokens, without those of a prompt.
fn hidden(model: &AutoModel, bank: &AdapterBank, golden: &Golden, name: &str) -> Vec<f32> {
    let hooks = bank.hooks(&Setup::adapter(name)).unwrap();
    values(model.forward(&golden.batch(), &hooks).unwrap().hidden)
}

const READ: [&str; 26] = [
    "llama",
    "llama_causal",
    "llama_all",
    "llama_stabilized",
    "llama_patterns",
    "llama_layers",
    "llama_regular",
    "gpt2",
    "bert",
    "t5",
    "update_bias",
    "bias",
    "bias_fused",
    "bias_all",
    "bias_both",
    "dora",
    "head",
    "ia3",
    "ia3_outputs",
    "vera",
    "prefix",
    "prefix_projected",
    "prefix_partial",
    "prefix_neighbors",
    "prompt",
    "p_tuning",
];

#[test]
fn adapters_of_peft_compute_what_they_compute_there() {
    for name in READ {
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

/// Writes an adapter of a bank as PEFT has it, with its head if there is one.
fn write(dir: &Path, bank: &AdapterBank, name: &str) {
    let head = bank.head(name).is_ok().then(|| name.to_owned());
    let mut save = FolderSave::new(dir).unwrap();
    stage_peft(&mut save, bank, name, &ExportOptions { base_model: "org/base".into(), head }).unwrap();
    save.commit().unwrap();
}

/// With `BURN_ADAPTERS_PEFT_DIR` the folders stay there, for `tests/python/check_written.py`.
#[test]
fn what_is_written_for_peft_is_the_same_adapter() {
    let kept = std::env::var_os("BURN_ADAPTERS_PEFT_DIR");
    let temporary = tempfile::tempdir().unwrap();
    let root = kept.as_ref().map_or(temporary.path(), Path::new);
    for name in READ {
        let model = model(name);
        let golden = Golden::read(&folder(name).join("golden.safetensors"));
        let mut bank = AdapterBank::new(model.spec(), &Device::default());
        load_adapter(folder(name), &mut bank, None).unwrap();
        if HeadFolder::exists(folder(name)) {
            load_head(folder(name), &mut bank, None).unwrap();
        }
        let dir = root.join(name);
        write(&dir, &bank, name);
        let mut again = AdapterBank::new(model.spec(), &Device::default());
        load_adapter(&dir, &mut again, None).unwrap_or_else(|error| panic!("{name}: {error}"));
        let found = hidden(&model, &again, &golden, name);
        let difference = largest_difference(&found, &hidden(&model, &bank, &golden, name));
        // Keys of prefixes are turned and turned back, and rounded twice; all else is the same to the last bits.
        let is_turned = name.starts_with("prefix");
        assert!(difference < if is_turned { 4e-6 } else { 1e-6 }, "{name}: {difference:e}");
        let parameters = |bank: &AdapterBank| bank.adapter(name).unwrap().parameters();
        assert_eq!(parameters(&again), parameters(&bank), "{name}");
        // Where nothing was filled up, joined or multiplied into another, the tensors are PEFT's own.
        const CHANGED: [&str; 10] = [
            "llama_patterns",
            "llama_layers",
            "llama_regular",
            "gpt2",
            "bias_fused",
            "bias_all",
            "bias_both",
            "dora",
            "ia3",
            "ia3_outputs",
        ];
        if !CHANGED.contains(&name) {
            let plain = |name: &str| {
                let path = name.trim_start_matches("base_model.model.");
                path.trim_start_matches("model.").trim_start_matches("bert.").to_owned()
            };
            let tensors = |dir: &Path| -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
                let file = Golden::read(&dir.join("adapter_model.safetensors"));
                let tensors = file.0.iter();
                tensors.map(|(name, tensor)| (plain(name), tensor.clone())).collect()
            };
            let (written, read) = (tensors(&dir), tensors(&folder(name)));
            if is_turned {
                let [written, read] = [written, read].map(|tensors| tensors["prompt_embeddings"].1.clone());
                assert!(largest_difference(&written, &read) < 2.0_f32.powi(-23), "{name}");
            } else {
                assert!(written == read, "{name}");
            }
        }
        if kept.is_some() {
            std::fs::copy(folder(name).join("golden.safetensors"), dir.join("golden.safetensors")).unwrap();
            std::fs::write(dir.join("model.txt"), model_dir(name).to_str().unwrap()).unwrap();
        }
    }
}

/// With `BURN_ADAPTERS_MLX_DIR` the folders stay there, for `tests/python/check_written.py`.
#[test]
fn what_is_written_for_mlx_is_the_same_adapter() {
    let kept = std::env::var_os("BURN_ADAPTERS_MLX_DIR");
    let temporary = tempfile::tempdir().unwrap();
    let root = kept.as_ref().map_or(temporary.path(), Path::new);
    for name in READ.into_iter().filter(|name| name.starts_with("llama")) {
        let model = model(name);
        let golden = Golden::read(&folder(name).join("golden.safetensors"));
        let mut bank = AdapterBank::new(model.spec(), &Device::default());
        load_adapter(folder(name), &mut bank, None).unwrap();
        let dir = root.join(name);
        let mut save = FolderSave::new(&dir).unwrap();
        stage_mlx(&mut save, &bank, name).unwrap();
        save.commit().unwrap();
        let mut again = AdapterBank::new(model.spec(), &Device::default());
        load_adapter(&dir, &mut again, None).unwrap_or_else(|error| panic!("{name}: {error}"));
        let difference =
            largest_difference(&hidden(&model, &again, &golden, name), &hidden(&model, &bank, &golden, name));
        assert!(difference < 1e-6, "{name}: {difference:e}");
        if kept.is_some() {
            std::fs::copy(folder(name).join("golden.safetensors"), dir.join("golden.safetensors")).unwrap();
            std::fs::write(dir.join("model.txt"), model_dir(name).to_str().unwrap()).unwrap();
        }
    }
}

/// GPT-2 computes query, key and value by one module, of which PEFT has one update.
#[test]
fn a_part_of_a_fused_module_has_the_ranks_that_it_uses() {
    let model = model("gpt2");
    let written_and_read = |config: &str| {
        let mut bank = AdapterBank::new(model.spec(), &Device::default());
        bank.add_for(&model, "a", config.parse().unwrap(), 1).unwrap();
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &bank, "a");
        let mut again = AdapterBank::new(model.spec(), &Device::default());
        load_adapter(dir.path(), &mut again, Some("a")).unwrap();
        (bank, again)
    };
    // In the order of the module, with the key between them, which is not adapted.
    let (bank, again) = written_and_read("lora[r=2,init_weights='bert',alpha=6,attn_matrices=['q','v']]");
    let (before, after) = (bank.adapter("a").unwrap(), again.adapter("a").unwrap());
    assert_eq!(after.config().to_string(), "lora[r=2,alpha=6]");
    for (site, lora) in before.lora.iter() {
        let other = after.lora.get(site).unwrap();
        assert_eq!(
            (lora.a.val().into_data(), lora.b.val().into_data()),
            (other.a.val().into_data(), other.b.val().into_data())
        );
    }
    // Where nothing says what a part uses, it keeps all, so that it can still be trained.
    let (bank, again) = written_and_read("lora[r=2,attn_matrices=['q','v']]");
    let (before, after) = (bank.adapter("a").unwrap(), again.adapter("a").unwrap());
    for (site, lora) in before.lora.iter() {
        let other = after.lora.get(site).unwrap();
        assert_eq!(other.scaling, lora.scaling);
        assert_eq!(other.a.lazy_shape().dims(), [lora.shape()[0], 4]);
        let columns = |lora: &Lora| values(lora.a.val().transpose());
        assert!(columns(other).windows(columns(lora).len()).any(|window| window == columns(lora)), "{site}");
    }
}

#[test]
fn what_peft_does_not_have_is_not_written_for_it() {
    let (llama, bert, gpt2) = (model("llama"), model("bert"), model("gpt2"));
    let refused = |model: &AutoModel, config: &str, head: Option<HeadConfig>| {
        let mut bank = AdapterBank::new(model.spec(), &Device::default());
        bank.add_for(model, "a", config.parse().unwrap(), 1).unwrap();
        if let Some(head) = &head {
            bank.add_head("a", head).unwrap();
        }
        let dir = tempfile::tempdir().unwrap();
        let mut save = FolderSave::new(dir.path()).unwrap();
        let options = ExportOptions { head: head.map(|_| "a".to_owned()), ..ExportOptions::default() };
        stage_peft(&mut save, &bank, "a", &options).unwrap_err().to_string()
    };
    for (model, config, part) in [
        (&llama, "seq_bn", "it has bottleneck adapters; PEFT has LoRA"),
        (&llama, "mam", "it has bottleneck adapters and prefix tuning"),
        (&llama, "lora[use_gating=True]", "has gates (`use_gating`)"),
        (&gpt2, "lora[bias='base']", "adapt all of them"),
        (&llama, "prefix_tuning_flat[use_gating=True]", "has gates (`use_gating`)"),
        (&llama, "prefix_tuning[leave_out=[0]]", "leaves out layers (`leave_out`)"),
        (&gpt2, "prefix_tuning", "in the table of positions of this gpt2 model"),
        (&bert, "prefix_tuning", "this bert model is an encoder"),
        (&llama, "lora|prompt_tuning", "it has prompt tuning and LoRA"),
        (&bert, "dora", "the matrix has no bias"),
        (&bert, "prompt_tuning", "in the table of positions of this bert model"),
    ] {
        let found = refused(model, config, None);
        assert!(found.contains(part), "{config}: {found}");
    }
    let found = refused(&bert, "lora", Some(HeadConfig::classification(2)));
    let part = "its classification head has 2 layers, tanh, a bias, and that of BertForSequenceClassification has 1 layer, \
                no activation, a bias, on the pooled output; export the adapter without its head";
    assert!(found.contains(part), "{found}");
}

#[test]
fn the_head_of_a_class_is_read_beside_its_adapter() {
    let (name, model) = ("head", model("head"));
    let golden = Golden::read(&folder(name).join("golden.safetensors"));
    let mut bank = AdapterBank::new(model.spec(), &Device::default());
    load_adapter(folder(name), &mut bank, None).unwrap();
    load_head(folder(name), &mut bank, None).unwrap();
    let hooks = bank.hooks(&Setup::adapter(name)).unwrap();
    let output = model.forward(&golden.batch(), &hooks).unwrap();
    let mut logits = bank.logits(&Setup::adapter(name), &output).unwrap();
    let found = values(logits.remove(0).logits.into_values());
    let difference = largest_difference(&found, golden.values("logits"));
    assert!(difference < 1e-4, "{difference:e}");
    assert!(!HeadFolder::exists(folder("llama")));
}

fn error(dir: &Path, model: &AutoModel) -> String {
    let mut bank = AdapterBank::new(model.spec(), &Device::default());
    load_adapter(dir, &mut bank, None).unwrap_err().to_string()
}

#[test]
fn what_has_no_counterpart_here_is_an_error_that_names_it() {
    for (name, part) in [
        ("bias_norms", "it trained the bias of `embeddings.LayerNorm` (bias=\"all\")"),
        ("bias_layers", "only some layers have `lora.encoder-0-value.bias.vector`"),
        ("dora_bias", "has a bias, which DoRA scales in AdapterHub"),
        ("embeddings", "embed_tokens"),
        ("whole", "it trained `embed_tokens` whole"),
        ("tokens", "`trainable_token_indices`"),
        ("pissa", "changed base model"),
        ("ia3_input", "it scales the input of `h.0.mlp.c_proj`, after an activation"),
        ("vera_unsaved", "`save_projection=True`"),
        ("prompt_positions", "in the table of positions of this gpt2 model"),
        ("prefix_positions", "in the table of positions of this gpt2 model"),
        ("prefix_window", "layers of this gemma2 model whose attention has a window"),
        ("prefix_t5", "the decoder of this t5 model has other positions than rotary ones"),
        ("norms", "it holds LN_TUNING"),
    ] {
        let found = error(&folder(name), &model(name));
        assert!(found.contains(part), "{name}: {found}");
    }
    let found = error(&folder("prefix"), &model("bert"));
    assert!(found.contains("this bert model is an encoder"), "{found}");
    let found = error(&folder("prefix"), &model("prefix_partial"));
    assert!(found.contains("keys and values of the model's 2 layers are"), "{found}");
    let found = error(&folder("bert"), &model("llama"));
    assert!(found.contains("is not a matrix that adapters change in this llama model"), "{found}");
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
