//! Folders are read in every format, and what does not fit or is broken is an error.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use burn_adapters_core::{Place, Site};
use burn_adapters_model::{AdapterBank, BaseModel, Forward, Hooks, Mergeable, Setup, TokenBatch};
use burn_adapters_transformers::{AutoModel, LoadError, Mismatch, ModelConfig, ModelLoadReport};
use safetensors::Dtype;

use crate::common::{Folder, Tensors, batch, difference, folder, read, to_safetensors, values};

fn weights() -> Tensors {
    read(&folder("tiny-a").join("model.safetensors"))
}

fn load(folder: &Folder) -> Result<(AutoModel, ModelLoadReport), LoadError> {
    AutoModel::from_dir(folder.path(), &Device::default())
}

fn load_bytes(bytes: impl AsRef<[u8]>) -> Result<(AutoModel, ModelLoadReport), LoadError> {
    load(&Folder::of("tiny-a").with("model.safetensors", bytes))
}

fn load_tensors(tensors: &Tensors) -> Result<(AutoModel, ModelLoadReport), LoadError> {
    load_bytes(to_safetensors(tensors, Dtype::F32))
}

fn mismatch(result: Result<(AutoModel, ModelLoadReport), LoadError>) -> Mismatch {
    match result {
        Err(LoadError::Mismatch { mismatch, .. }) => *mismatch,
        Err(other) => panic!("{other}"),
        Ok((_, report)) => panic!("{report}"),
    }
}

/// The largest difference of the last hidden states to the reference's.
fn error_of(bert: &AutoModel) -> f32 {
    let goldens = read(&folder("tiny-a").join("hidden.safetensors"));
    let output = bert.forward(&batch(&goldens), &Hooks::none()).unwrap();
    difference(&values(&output.hidden), &goldens["last_hidden_state"].1)
}

fn renamed(rename: impl Fn(&str) -> String) -> Tensors {
    weights().into_iter().map(|(name, tensor)| (rename(&name), tensor)).collect()
}

#[test]
fn the_report_says_what_was_loaded() {
    let (bert, report) = AutoModel::from_dir(&folder("tiny-a"), &Device::default()).unwrap();
    assert_eq!(report.parameters, bert.spec().parameters);
    assert_eq!(report.parameters, Module::num_params(&bert));
    assert_eq!(report.tensors, 5 + 2 * 16 + 2);
    assert_eq!(report.files, [folder("tiny-a").join("model.safetensors")]);
    assert!(report.unused.is_empty() && !report.missing_pooler);
}

#[test]
fn numbers_of_sixteen_bits_are_widened() {
    for (dtype, tolerance) in [(Dtype::F16, 0.02), (Dtype::BF16, 0.2)] {
        let (bert, _) = load_bytes(to_safetensors(&weights(), dtype)).unwrap();
        let error = error_of(&bert);
        assert!(error > 0.0 && error < tolerance, "{dtype}: {error}");
    }
}

#[test]
fn a_model_is_saved_over_the_file_that_it_was_read_from() {
    let folder = Folder::of("tiny-a").with("model.safetensors", to_safetensors(&weights(), Dtype::F32));
    let file = folder.path().join("model.safetensors");
    let (bert, _) = load(&folder).unwrap();
    let report = bert.save(folder.path(), &file).unwrap();
    assert_eq!((report.changed, report.converted, report.tensors), (0, 0, weights().len()));
    assert_eq!(read(&file), weights());
}

#[test]
fn weights_in_several_files_are_joined() {
    let names: Vec<String> = weights().into_keys().collect();
    let part = |odd: usize| -> Tensors {
        weights().into_iter().enumerate().filter(|(index, _)| index % 2 == odd).map(|(_, entry)| entry).collect()
    };
    let map: serde_json::Map<_, _> = names
        .iter()
        .enumerate()
        .map(|(index, name)| (name.clone(), format!("model-{}.safetensors", index % 2).into()))
        .collect();
    let folder = Folder::of("tiny-a")
        .with("model-0.safetensors", to_safetensors(&part(0), Dtype::F32))
        .with("model-1.safetensors", to_safetensors(&part(1), Dtype::F32))
        .with("model.safetensors.index.json", serde_json::json!({ "weight_map": map }).to_string());
    let (bert, report) = load(&folder).unwrap();
    assert_eq!(report.files.len(), 2);
    assert!(error_of(&bert) < 9.9e-5);

    let lost = Folder::of("tiny-a")
        .with("model-0.safetensors", to_safetensors(&part(0), Dtype::F32))
        .with("model.safetensors.index.json", serde_json::json!({ "weight_map": map }).to_string());
    assert!(matches!(load(&lost), Err(LoadError::Unreadable { file, .. }) if file.ends_with("model-1.safetensors")));
}

#[test]
fn an_index_cannot_lead_out_of_the_folder() {
    for file in ["../model.safetensors", "/etc/passwd", "a/b.safetensors", "..", "", "model.pkl"] {
        let index = serde_json::json!({ "weight_map": { "x": file } }).to_string();
        let result = load(&Folder::of("tiny-a").with("model.safetensors.index.json", index));
        assert!(matches!(result, Err(LoadError::Broken { .. })), "{file}");
    }
    for index in ["", "[]", "{}", r#"{"weight_map": []}"#, r#"{"weight_map": {}}"#, r#"{"weight_map": {"x": 1}}"#] {
        let result = load(&Folder::of("tiny-a").with("model.safetensors.index.json", index));
        assert!(matches!(result, Err(LoadError::Broken { .. })), "{index}");
    }
}

#[test]
fn a_task_model_is_read_without_its_prefix_and_head() {
    let mut tensors = renamed(|name| format!("bert.{name}"));
    tensors.insert("classifier.weight".into(), (vec![2, 32], vec![0.0; 64]));
    tensors.insert("cls.predictions.bias".into(), (vec![80], vec![0.0; 80]));
    tensors.insert("bert.embeddings.position_ids".into(), (vec![1, 40], vec![0.0; 40]));
    let (bert, report) = load_tensors(&tensors).unwrap();
    assert_eq!(report.unused, ["classifier.weight", "cls.predictions.bias", "bert.embeddings.position_ids"]);
    assert!(error_of(&bert) < 9.9e-5);
}

#[test]
fn the_heads_of_old_files_are_listed() {
    let (_, report) = AutoModel::from_dir(&folder("bert"), &Device::default()).unwrap();
    assert!(report.unused.iter().any(|name| name == "bert.embeddings.position_ids"), "{report}");
    assert!(report.unused.iter().any(|name| name.starts_with("cls.")), "{report}");
    assert_eq!(report.files.len(), 2);
    let (_, report) = AutoModel::from_dir(&folder("roberta"), &Device::default()).unwrap();
    assert!(report.missing_pooler && report.unused.iter().any(|name| name == "classifier.dense.weight"));
}

#[test]
fn norms_may_have_their_old_names() {
    let old =
        |name: &str| name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta");
    let (bert, _) = load_tensors(&renamed(old)).unwrap();
    assert!(error_of(&bert) < 9.9e-5);

    let mut twice = renamed(old);
    twice.extend(weights());
    assert!(matches!(load_tensors(&twice), Err(LoadError::Duplicate { .. })));
}

#[test]
fn a_pooler_may_be_missing_but_not_half_of_it() {
    let mut tensors = weights();
    tensors.remove("pooler.dense.bias");
    assert_eq!(mismatch(load_tensors(&tensors)).missing[0].name, "pooler.dense.bias");
    tensors.remove("pooler.dense.weight");
    let (bert, report) = load_tensors(&tensors).unwrap();
    assert!(report.missing_pooler);
    assert!(error_of(&bert) < 9.9e-5);
    let goldens = read(&folder("tiny-a").join("hidden.safetensors"));
    let output = bert.forward(&batch(&goldens), &Hooks::none()).unwrap();
    assert!(output.pooled.is_none());
}

#[test]
fn missing_unexpected_and_reshaped_weights_are_listed_together() {
    let mut tensors = weights();
    tensors.remove("encoder.layer.0.output.dense.bias");
    tensors.insert("encoder.layer.2.output.dense.bias".into(), (vec![32], vec![0.0; 32]));
    tensors.insert("encoder.layer.1.output.dense.bias".into(), (vec![16], vec![0.0; 16]));
    let error = load_tensors(&tensors).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("\n  missing: encoder.layer.0.output.dense.bias [32]"), "{text}");
    assert!(text.contains("\n  unexpected: encoder.layer.2.output.dense.bias [32]"), "{text}");
    assert!(text.contains("encoder.layer.1.output.dense.bias, expected [32], found [16]"), "{text}");
}

#[test]
fn a_transposed_matrix_is_another_shape() {
    let mut tensors = weights();
    let weight = tensors.get_mut("encoder.layer.0.intermediate.dense.weight").unwrap();
    weight.0.reverse();
    let mismatch = mismatch(load_tensors(&tensors));
    assert_eq!((&mismatch.reshaped[0].expected, &mismatch.reshaped[0].found), (&vec![64, 32], &vec![32, 64]));
}

#[test]
fn weights_of_another_model_are_refused() {
    let other = read(&folder("tiny-b").join("model.safetensors"));
    let mismatch = mismatch(load_tensors(&other));
    assert!(mismatch.reshaped.len() > 20 && !mismatch.unexpected.is_empty());
    assert!(mismatch.to_string().contains("more"), "{mismatch}");
}

#[test]
fn whole_numbers_are_no_weights() {
    let error = load_bytes(to_safetensors(&weights(), Dtype::I32)).unwrap_err();
    assert!(matches!(error, LoadError::ElementType { ref found, .. } if found == "I32"), "{error}");
}

#[test]
fn a_safetensors_file_that_is_broken_anywhere_is_an_error() {
    let good = to_safetensors(&weights(), Dtype::F32);
    let length = |length: u64| [length.to_le_bytes().as_slice(), &good[8..]].concat();
    let header = |header: &str| [(header.len() as u64).to_le_bytes().as_slice(), header.as_bytes()].concat();
    let mut longer = good.clone();
    longer.push(0);
    let files = [
        ("empty", vec![]),
        ("seven bytes", good[..7].to_vec()),
        ("cut in the header", good[..100].to_vec()),
        ("cut in the data", good[..good.len() - 1].to_vec()),
        ("one byte too long", longer),
        ("a header length that is no number", length(u64::from_le_bytes(f64::NAN.to_le_bytes()))),
        ("the largest header length", length(u64::MAX)),
        ("a header length past the end", length(good.len() as u64)),
        ("a header length of 0", length(0)),
        ("no JSON", header("{{{{")),
        ("no object", header("[]")),
        ("no tensor", header(r#"{"x": 1}"#)),
        ("offsets that run backwards", header(r#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#)),
        (
            "a shape that overflows",
            header(&format!(r#"{{"x":{{"dtype":"F32","shape":[{0},{0}],"data_offsets":[0,4]}}}}"#, u64::MAX)),
        ),
        ("data that is not there", header(r#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#)),
        ("an unknown type", header(r#"{"x":{"dtype":"Q7","shape":[1],"data_offsets":[0,4]}}"#)),
    ];
    for (what, bytes) in files {
        match load_bytes(bytes) {
            Err(LoadError::Broken { file, .. }) => assert!(file.ends_with("model.safetensors"), "{what}"),
            Err(other) => panic!("{what}: {other}"),
            Ok(_) => panic!("{what} was loaded"),
        }
    }
    let nothing = mismatch(load_bytes(header("{}")));
    assert_eq!(nothing.missing.len(), 5 + 2 * 16);
}

#[test]
fn a_pytorch_file_that_is_broken_anywhere_is_an_error() {
    let good = std::fs::read(folder("roberta").join("pytorch_model.bin")).unwrap();
    let load = |bytes: &[u8]| load(&Folder::of("roberta").with("pytorch_model.bin", bytes));
    assert!(load(&good).is_ok());
    for end in (0..good.len()).step_by(997) {
        assert!(load(&good[..end]).is_err(), "cut to {end} bytes");
    }
    // What a pickle would execute is not: this one calls `os.system`.
    assert!(load(b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00exit\x85R.").is_err());
    // Any byte may be wrong: that may change a number or be an error, but never a panic.
    for position in (0..good.len()).step_by(613) {
        let mut bytes = good.clone();
        bytes[position] ^= 0x5a;
        let _ = load(&bytes);
    }
}

#[test]
fn a_folder_without_weights_or_config_says_what_it_lacks() {
    let error = load(&Folder::of("tiny-a")).unwrap_err().to_string();
    assert!(error.contains("model.safetensors") && error.contains("pytorch_model.bin.index.json"), "{error}");
    let empty = tempfile::tempdir().unwrap();
    let error = AutoModel::from_dir(empty.path(), &Device::default()).unwrap_err().to_string();
    assert!(error.contains("config.json"), "{error}");
}

#[test]
fn weights_that_are_not_finite_are_refused_with_their_file_and_tensor() {
    for value in [f32::NAN, f32::INFINITY] {
        let mut tensors = weights();
        tensors.get_mut("encoder.layer.1.output.dense.weight").unwrap().1[33] = value;
        let error = load_tensors(&tensors).unwrap_err();
        let LoadError::NotFinite { file, tensor, found } = &error else { panic!("{error}") };
        assert!(file.ends_with("model.safetensors") && tensor == "encoder.layer.1.output.dense.weight");
        assert_eq!((found.count, found.first.as_slice()), (1, &[0, 33][..]), "{error}");
    }
}

#[test]
fn what_is_no_file_is_refused_whichever_file_it_stands_for() {
    for name in ["config.json", "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"] {
        let made = |put: &dyn Fn(&std::path::Path)| {
            let folder = Folder::of("tiny-a");
            let path = folder.path().join(name);
            let _ = std::fs::remove_file(&path);
            put(&path);
            let error = load(&folder).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
            error
        };
        assert!(made(&|path| std::fs::create_dir(path).unwrap()).contains("a directory"), "{name}");
        made(&|path| std::fs::File::create(path).unwrap().set_len(1 << 40).unwrap());
        let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 1\n";
        assert!(made(&|path| std::fs::write(path, pointer).unwrap()).contains("git lfs pull"), "{name}");
        if cfg!(unix) {
            let pipe = |path: &std::path::Path| {
                assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
            };
            assert!(made(&pipe).contains("a pipe"), "{name}");
        }
    }
}

#[test]
fn a_folder_of_another_kind_is_named() {
    for (file, text, expected) in [
        ("adapter_config.json", r#"{"name": "a", "config": {}}"#, "an AdapterHub adapter"),
        ("adapter_config.json", r#"{"peft_type": "LORA"}"#, "a LoRA adapter of PEFT"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(file), text).unwrap();
        let error = AutoModel::from_dir(dir.path(), &Device::default()).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("its base model"), "{error}");
    }
}

#[test]
fn a_key_that_stands_twice_in_the_configuration_or_the_index_is_refused() {
    let config = std::fs::read_to_string(folder("tiny-a").join("config.json")).unwrap();
    let twice = config.replacen('{', r#"{"hidden_size": 16,"#, 1);
    let error = load(&Folder::of("tiny-a").with("config.json", twice)).unwrap_err().to_string();
    assert!(error.contains("\"hidden_size\" appears twice"), "{error}");
    let index = r#"{"weight_map": {"x": "a.safetensors", "x": "b.safetensors"}}"#;
    let error = load(&Folder::of("tiny-a").with("model.safetensors.index.json", index)).unwrap_err().to_string();
    assert!(error.contains("\"x\" appears twice"), "{error}");
}

// Adapters of encoder-decoders that the reference refuses, or fails to run.

/// A model whose stacks have different numbers of heads.
fn model() -> AutoModel {
    let config = ModelConfig::from_json_str(
        r#"{"model_type": "bart", "vocab_size": 40, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1,
        "encoder_attention_heads": 4, "decoder_attention_heads": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24,
        "max_position_embeddings": 24}"#,
    );
    AutoModel::new_seeded(config.unwrap(), 1, &Device::default())
}

/// How far an adapter moves the states of the decoder.
fn change(config: &str) -> f32 {
    let model = model();
    let mut bank = AdapterBank::new(model.spec(), &Device::default());
    bank.add_seeded("a", config.parse().unwrap(), 1).unwrap();
    let batch = TokenBatch::new([[5, 6, 7, 2].as_slice(), &[8, 2]]);
    let plain = model.forward(&batch, &Hooks::none()).unwrap().hidden;
    let adapted = model.forward(&batch, &bank.hooks(&Setup::adapter("a")).unwrap()).unwrap().hidden;
    assert_eq!(plain.dims(), adapted.dims(), "{config}");
    (plain - adapted).abs().max().into_scalar()
}

#[test]
fn prefixes_fit_stacks_with_different_numbers_of_heads() {
    for place in ["encoder_prefix=True,cross_prefix=False", "encoder_prefix=False,cross_prefix=True"] {
        assert!(change(&format!("prefix_tuning_flat[prefix_length=3,{place}]")) > 1e-4, "{place}");
    }
}

#[test]
fn a_prompt_is_a_part_of_the_encoder_s_input() {
    assert!(change("prompt_tuning[prompt_length=3,random_uniform_scale=2.0]") > 1e-4);
}

#[test]
fn a_relative_bias_acts_in_layers_with_prefixes_after_a_layer_without() {
    let config = ModelConfig::from_json_str(
        r#"{"model_type": "t5", "vocab_size": 40, "d_model": 16, "d_kv": 4, "d_ff": 24, "num_layers": 2, "num_heads": 4}"#,
    );
    let mut model = AutoModel::new_seeded(config.unwrap(), 1, &Device::default());
    // The first layer's attention adds nothing, so only the second can tell positions apart.
    let value = model.linear_mut(Site::encoder(0, Place::Value)).unwrap();
    value.weight = value.weight.clone().map(|weight| weight * 0.0);
    let mut bank = AdapterBank::new(model.spec(), &Device::default());
    bank.add_seeded("a", "prefix_tuning_flat[prefix_length=3,leave_out=[0]]".parse().unwrap(), 1).unwrap();
    let hooks = bank.hooks(&Setup::adapter("a")).unwrap();
    // Of the same token at two positions, after the embeddings and so many layers.
    let difference = |layers: usize| -> f32 {
        let state = |tokens: [u32; 4], position: usize| -> Tensor<3> {
            let states = model.hidden_states(&TokenBatch::new([tokens.as_slice()]), &hooks).unwrap();
            states[layers].clone().narrow(1, position, 1)
        };
        (state([5, 6, 7, 8], 0) - state([8, 7, 6, 5], 3)).abs().max().into_scalar()
    };
    assert!(difference(1) < 1e-6, "{}", difference(1));
    assert!(difference(2) > 1e-4, "{}", difference(2));
}
