//! What architectures of GGUF files have of their own: factors and scalings of rotary positions, GPT-2's matrices.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use burn_adapters_core::has_own_kernels;
use burn_adapters_model::{BaseModel, Forward, Hooks, TokenBatch};
use burn_adapters_tensors::{
    BlockType, Gguf, GgufTensor, GgufValue, RawTensor, TensorFileError, encode_safetensors, write_gguf,
};
use burn_adapters_tests::{largest_difference, values};
use burn_adapters_transformers::{AutoModel, GgufFormat, ModelConfig, WeightFormat};
use serde_json::{Value, json};

use crate::gguf::{as_folder, file};

const FACTORS: &str = "rope_freqs.weight";

/// The contents of a file.
struct Contents {
    metadata: BTreeMap<String, GgufValue>,
    tensors: BTreeMap<String, (BlockType, Vec<usize>, Vec<f32>)>,
}

impl Contents {
    fn of(name: &str) -> Self {
        let golden = Gguf::open(&file(name), u64::MAX).unwrap();
        let tensor = |(name, shape): (&str, &[usize])| {
            (name.to_owned(), (BlockType::F32, shape.to_vec(), golden.read(name).unwrap()))
        };
        Self { metadata: golden.metadata().clone(), tensors: golden.tensors().map(tensor).collect() }
    }

    fn set(mut self, key: &str, value: impl Into<GgufValue>) -> Self {
        self.metadata.insert(key.to_owned(), value.into());
        self
    }

    fn tensor(mut self, name: &str, shape: &[usize], values: &[f32]) -> Self {
        self.tensors.insert(name.to_owned(), (BlockType::F32, shape.to_vec(), values.to_vec()));
        self
    }

    fn without(mut self, name: &str) -> Self {
        assert!(self.metadata.remove(name).is_some() || self.tensors.remove(name).is_some(), "{name}");
        self
    }

    fn write(&self) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.gguf");
        let metadata: Vec<_> = self.metadata.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
        let tensors = self.tensors.iter();
        let tensors: Vec<_> = tensors
            .map(|(name, (kind, shape, _))| GgufTensor { name: name.clone(), shape: shape.clone(), kind: *kind })
            .collect();
        write_gguf::<TensorFileError>(&path, &metadata, &tensors, |name| Ok(self.tensors[name].2.clone())).unwrap();
        (dir, path)
    }

    fn config(&self) -> Result<ModelConfig, String> {
        ModelConfig::from_dir(&self.write().1).map_err(|error| error.to_string())
    }

    fn load(&self) -> Result<AutoModel, String> {
        AutoModel::from_dir(&self.write().1, &Device::default())
            .map(|(model, _)| model)
            .map_err(|error| error.to_string())
    }
}

/// The logits of a text.
fn logits(model: &AutoModel) -> Vec<f32> {
    let batch = TokenBatch::new([[5, 6, 7, 8, 9, 30, 31, 12, 3, 14].as_slice()]);
    let hidden = model.forward(&batch, &Hooks::none()).unwrap().hidden;
    values(model.token_logits(hidden.flatten(0, 1)).unwrap())
}

fn from_dir(path: &Path) -> AutoModel {
    AutoModel::from_dir(path, &Device::default()).unwrap().0
}

#[test]
fn factors_of_frequencies_change_what_a_model_computes() {
    let with = logits(&from_dir(&file("llama3")));
    let without = logits(&Contents::of("llama3").without(FACTORS).load().unwrap());
    assert!(largest_difference(&with, &without) > 1e-2);
    let ones = Contents::of("llama3").tensor(FACTORS, &[4], &[1.0; 4]);
    assert_eq!(logits(&ones.load().unwrap()), without);
}

#[test]
fn factors_are_written_with_the_model() {
    let golden: Vec<f32> = Gguf::open(&file("llama3"), u64::MAX).unwrap().read(FACTORS).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (folder, path) = (dir.path().join("llama"), dir.path().join("llama.gguf"));
    // Whatever the format of the matrices, as they were read.
    from_dir(&file("llama3")).save_gguf(&file("llama3"), &path, GgufFormat::Q8_0).unwrap();
    let written = Gguf::open(&path, u64::MAX).unwrap();
    assert_eq!(
        (written.read::<f32>(FACTORS).unwrap(), written.block_type(FACTORS).unwrap()),
        (golden.clone(), BlockType::F32)
    );
    // Of a folder, they follow from its configuration.
    as_folder(&folder);
    let scaling = json!({
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 128,
    });
    change_config(&folder, "rope_scaling", scaling);
    let model = from_dir(&folder);
    model.save_gguf(&folder, &path, GgufFormat::F32).unwrap();
    let found: Vec<f32> = Gguf::open(&path, u64::MAX).unwrap().read(FACTORS).unwrap();
    let is_near = |(one, other): (&f32, &f32)| (one / other - 1.0).abs() < 2e-7;
    assert!(found.len() == 4 && found.iter().zip(&golden).all(is_near), "{found:?} {golden:?}");
    assert!(largest_difference(&logits(&from_dir(&path)), &logits(&model)) < 1e-5);
}

fn change_config(folder: &Path, key: &str, value: Value) {
    let path = folder.join("config.json");
    let mut config: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    config[key] = value;
    std::fs::write(&path, config.to_string()).unwrap();
}

#[test]
fn factors_that_are_not_read_say_why() {
    let with = |shape: &[usize], values: &[f32]| Contents::of("llama3").tensor(FACTORS, shape, values);
    let mut half = with(&[4], &[1.0; 4]);
    half.tensors.get_mut(FACTORS).unwrap().0 = BlockType::F16;
    for (contents, part) in [
        (with(&[3], &[1.0; 3]), "has the shape [3], expected [4]: a factor for each pair"),
        (with(&[4, 1], &[1.0; 4]), "has the shape [4, 1], expected [4]"),
        (with(&[4], &[1.0, 0.0, 1.0, 1.0]), "has the factor 0 at 1, expected finite numbers above 0"),
        (with(&[4], &[1.0, 1.0, -8.0, 1.0]), "has the factor -8 at 2"),
        (with(&[4], &[1.0, 1.0, 1.0, 1e-45]), "at 3, expected finite numbers above 0"),
        (half, "is in F16, expected F32"),
        (Contents::of("qwen2").tensor(FACTORS, &[4], &[1.0; 4]), FACTORS),
    ] {
        let error = contents.load().unwrap_err();
        assert!(error.contains(part) && error.contains("rope_freqs.weight"), "{error}");
    }
    // Numbers that are not finite are not written either, so the file is changed.
    let (_dir, path) = with(&[4], &[1.0, 1.0, 1.0, 77.125]).write();
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(4).position(|window| window == 77.125_f32.to_le_bytes()).unwrap();
    for value in [f32::NAN, f32::INFINITY] {
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        std::fs::write(&path, &bytes).unwrap();
        let error = AutoModel::from_dir(&path, &Device::default()).unwrap_err().to_string();
        assert!(error.contains(FACTORS), "{error}");
    }
}

#[test]
fn scalings_of_rotary_positions_are_those_of_folders() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("llama");
    as_folder(&folder);
    // In single precision it would be another number.
    change_config(&folder, "rms_norm_eps", json!(1e-5));
    let of_folder = |scaling: Value| {
        change_config(&folder, "rope_scaling", scaling);
        ModelConfig::from_dir(&folder).unwrap()
    };
    let text = |kind: &str| GgufValue::Text(kind.to_owned());
    let of_file = |keys: &[(&str, GgufValue)]| {
        let set = |contents: Contents, (key, value): &(&str, GgufValue)| {
            contents.set(&format!("llama.rope.{key}"), value.clone())
        };
        keys.iter().fold(Contents::of("llama"), set).config().unwrap()
    };
    let (kind, factor) = ("scaling.type", ("scaling.factor", GgufValue::F32(4.0)));
    let linear = of_folder(json!({ "rope_type": "linear", "factor": 4.0 }));
    assert_ne!(linear, of_folder(Value::Null));
    assert_eq!(of_file(&[(kind, text("linear")), factor.clone()]), linear);
    // As in llama.cpp, a factor alone is that of "linear", and its key has an old name; 0 is no factor.
    assert_eq!(of_file(std::slice::from_ref(&factor)), linear);
    assert_eq!(of_file(&[("scale_linear", GgufValue::F32(4.0))]), linear);
    for keys in [
        vec![(kind, text("none")), factor.clone()],
        vec![(kind, text("linear"))],
        vec![("scaling.factor", GgufValue::F32(0.0))],
        vec![("scaling.attn_factor", GgufValue::F32(1.0)), ("scaling.yarn_ext_factor", GgufValue::F32(1.0))],
    ] {
        assert_eq!(of_file(&keys), of_folder(Value::Null), "{keys:?}");
    }
    let yarn = [(kind, text("yarn")), factor];
    assert_eq!(of_file(&yarn), of_folder(json!({ "rope_type": "yarn", "factor": 4.0 })));
    let more = [
        ("scaling.original_context_length", GgufValue::Unsigned(16)),
        ("scaling.finetuned", GgufValue::Bool(true)),
        ("scaling.yarn_beta_fast", GgufValue::F32(32.0)),
        ("scaling.yarn_beta_slow", GgufValue::F32(1.0)),
        ("scaling.attn_factor", GgufValue::F32(0.5)),
    ];
    let expected = json!({
        "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16,
        "attention_factor": 0.5 * (1.0 + 0.1 * 4_f64.ln()),
    });
    assert_eq!(of_file(&[yarn.as_slice(), &more].concat()), of_folder(expected));
}

#[test]
fn scalings_of_folders_are_written_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, path) = (dir.path().join("llama"), dir.path().join("llama.gguf"));
    as_folder(&folder);
    let written = |scaling: Value| {
        change_config(&folder, "rope_scaling", scaling);
        let saved = from_dir(&folder).save_gguf(&folder, &path, GgufFormat::F32);
        saved.map_err(|error| error.to_string())?;
        assert_eq!(logits(&from_dir(&path)), logits(&from_dir(&folder)));
        Ok::<_, String>(Gguf::open(&path, u64::MAX).unwrap().metadata().clone())
    };
    let keys = written(json!({ "type": "linear", "factor": 2.5 })).unwrap();
    assert_eq!(keys["llama.rope.scaling.factor"], GgufValue::F32(2.5));
    let keys =
        written(json!({ "rope_type": "yarn", "factor": 2.5, "original_max_position_embeddings": 16, "beta_fast": 32 }));
    assert_eq!(keys.unwrap()["llama.rope.scaling.original_context_length"], GgufValue::Unsigned(16));
    assert!(!written(Value::Null).unwrap().keys().any(|key| key.contains("scaling")));
    for (scaling, part) in [
        (json!({ "rope_type": "yarn", "factor": 2.5, "beta_fast": 8.0 }), "GGUF files have no `beta_fast`"),
        (json!({ "rope_type": "yarn", "factor": 2.5, "truncate": false }), "GGUF files have no `truncate`"),
        (json!({ "rope_type": "yarn", "factor": 0.5 }), "which is not written to GGUF files"),
    ] {
        let error = written(scaling).unwrap_err();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn scalings_that_are_not_known_are_errors() {
    let set = |key: &str, value: GgufValue| {
        let yarn =
            Contents::of("llama").set("llama.rope.scaling.type", "yarn").set("llama.rope.scaling.factor", 4.0_f32);
        yarn.set(&format!("llama.rope.{key}"), value).config().unwrap_err()
    };
    for (found, part) in [
        (set("scaling.type", "longrope".into()), "`llama.rope.scaling.type` is \"longrope\", which is not supported"),
        (set("scaling.type", 3.into()), "`llama.rope.scaling.type` is a whole number, expected a text"),
        (set("scaling.factor", "4".into()), "`llama.rope.scaling.factor` is a text, expected a number of at least 0"),
        (set("scaling.factor", GgufValue::F32(-4.0)), "is -4, expected a number of at least 0"),
        (set("scaling.factor", GgufValue::F32(f32::NAN)), "is NaN, expected a number of at least 0"),
        (set("scaling.factor", GgufValue::F32(0.5)), "`llama.rope.scaling.factor` is 0.5, which is not supported"),
        (
            set("scaling.factor", GgufValue::F32(0.0)),
            "is missing, which is not supported; supported: with \"yarn\", a number",
        ),
        (set("scaling.attn_factor", GgufValue::F32(0.0)), "`llama.rope.scaling.attn_factor` is 0"),
        (set("scaling.yarn_ext_factor", GgufValue::F32(0.5)), "scaling.yarn_ext_factor` is 0.5"),
        (set("scaling.yarn_log_multiplier", GgufValue::F32(0.1)), "scaling.yarn_log_multiplier` is 0.1"),
        (set("scaling.alpha", GgufValue::F32(1000.0)), "scaling.alpha` is 1000"),
        (
            set("dimension_sections", GgufValue::Integers(vec![1, 2])),
            "the key `llama.rope.dimension_sections` is not known",
        ),
    ] {
        assert!(found.contains(part), "{found}");
    }
    let linear = Contents::of("llama").set("llama.rope.scaling.attn_factor", 1.2_f32);
    let error = linear.config().unwrap_err();
    assert!(error.contains("attn_factor` is 1.2"), "{error}");
}

/// GPT-2 as a folder of Hugging Face, with the tokenizer of the file.
fn gpt2_as_folder(dir: &Path) {
    // The other model has the same tokenizer.
    as_folder(dir);
    let config = json!({
        "model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 4, "n_inner": 48, "vocab_size": 320, "n_positions": 40,
        "layer_norm_epsilon": 1e-4, "bos_token_id": 1, "eos_token_id": 2,
    });
    std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
    let names = [
        ("token_embd", "wte"),
        ("position_embd", "wpe"),
        ("output_norm", "ln_f"),
        ("blk", "h"),
        ("attn_norm", "ln_1"),
        ("ffn_norm", "ln_2"),
        ("attn_qkv", "attn.c_attn"),
        ("attn_output", "attn.c_proj"),
        ("ffn_up", "mlp.c_fc"),
        ("ffn_down", "mlp.c_proj"),
    ];
    let part = |part: &str| {
        names.iter().find(|(stored, _)| *stored == part).map_or(part.to_owned(), |(_, own)| (*own).to_owned())
    };
    let mut tensors = BTreeMap::new();
    for (name, (_, mut shape, mut values)) in Contents::of("gpt2").tensors {
        let own: Vec<String> = name.split('.').map(part).collect();
        if name.starts_with("blk") && shape.len() == 2 {
            let [rows, columns] = [shape[0], shape[1]];
            values = (0..rows * columns).map(|at| values[at % rows * columns + at / rows]).collect();
            shape.reverse();
        }
        tensors.insert(format!("transformer.{}", own.join(".")), RawTensor { shape, values });
    }
    let bytes = encode_safetensors(dir, &tensors, &[("format", "pt")]).unwrap();
    std::fs::write(dir.join("model.safetensors"), bytes).unwrap();
}

#[test]
fn a_folder_of_gpt_2_becomes_the_file_that_python_writes() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, path) = (dir.path().join("gpt2"), dir.path().join("gpt2.gguf"));
    gpt2_as_folder(&folder);
    let model = from_dir(&folder);
    assert_eq!(logits(&model), logits(&from_dir(&file("gpt2"))));
    model.save_gguf(&folder, &path, GgufFormat::F32).unwrap();
    let (written, golden) = (Gguf::open(&path, u64::MAX).unwrap(), Gguf::open(&file("gpt2"), u64::MAX).unwrap());
    assert!(written.tensors().eq(golden.tensors()));
    for (name, _) in golden.tensors() {
        assert_eq!(written.read::<f32>(name).unwrap(), golden.read::<f32>(name).unwrap(), "{name}");
    }
    for (key, value) in golden.metadata() {
        let found = written.metadata().get(key);
        let is_name = |found: &GgufValue| found.as_text().is_some() && key.ends_with(".pre");
        assert!(found == Some(value) || found.is_some_and(is_name), "{key}: {found:?}, expected {value:?}");
    }
    assert!(!written.metadata().keys().any(|key| key.contains("rope") || key.contains("head_count_kv")));
    // The configuration may leave out what has a default, and llama.cpp computes one activation.
    let config = json!({ "model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 4, "n_inner": 48, "vocab_size": 320,
        "n_positions": 40, "activation_function": "relu" });
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let error = from_dir(&folder).save_gguf(&folder, &path, GgufFormat::F32).unwrap_err().to_string();
    assert!(error.contains("its activation is relu, but llama.cpp computes gelu_new"), "{error}");
    change_config(&folder, "activation_function", Value::Null);
    from_dir(&folder).save_gguf(&folder, &path, GgufFormat::F32).unwrap();
    let written = Gguf::open(&path, u64::MAX).unwrap();
    assert_eq!(written.metadata()["gpt2.attention.layer_norm_epsilon"], GgufValue::F32(1e-5));
}

#[test]
fn query_key_and_value_of_gpt_2_stay_in_the_blocks_of_their_matrix() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gpt2.gguf");
    from_dir(&file("gpt2")).save_gguf(&file("gpt2"), &path, GgufFormat::Q8_0).unwrap();
    let written = Gguf::open(&path, u64::MAX).unwrap();
    assert_eq!(written.block_type("blk.0.attn_qkv.weight").unwrap(), BlockType::Q8_0);
    assert_eq!(written.block_type("position_embd.weight").unwrap(), BlockType::F32);
    let device = Device::default();
    let (kept, report) = AutoModel::from_dir_as(&path, WeightFormat::AsStored, &device).unwrap();
    if has_own_kernels(&device) {
        // Of each layer three parts and two matrices, and the word embeddings; rows of 48 are no whole blocks of 32.
        assert_eq!(report.formats.formats["Q8_0"].0, 11, "{}", report.formats);
        assert_eq!(report.formats.formats["BF16"].0, 2, "{}", report.formats);
    }
    let dense = logits(&from_dir(&path));
    assert!(largest_difference(&logits(&kept), &dense) < 1e-4);
    assert!(largest_difference(&logits(&from_dir(&file("gpt2"))), &dense) < 0.2);
    let (made, _) = AutoModel::from_dir_as(&file("gpt2"), WeightFormat::Int8, &device).unwrap();
    assert!(largest_difference(&logits(&made), &dense) < 0.2);
}

#[test]
fn damaged_files_of_gpt_2_are_errors_that_name_the_part() {
    let gpt2 = || Contents::of("gpt2");
    let zeros = [0.0; 96 * 48];
    for (contents, part) in [
        (gpt2().without("position_embd.weight"), "wpe.weight"),
        (gpt2().without("blk.1.attn_qkv.bias"), "h.1.attn.c_attn.bias"),
        (gpt2().tensor("blk.0.attn_qkv.weight", &[64, 32], &zeros[..64 * 32]), "h.0.attn.c_attn.weight"),
        (gpt2().tensor("blk.0.ffn_up.weight", &[32, 48], &zeros[..32 * 48]), "h.0.mlp.c_fc.weight"),
        (gpt2().tensor("blk.0.ffn_up.weight", &[32 * 48], &zeros[..32 * 48]), "h.0.mlp.c_fc.weight"),
        (gpt2().tensor("blk.0.attn_q.weight", &[32, 32], &zeros[..32 * 32]), "blk.0.attn_q.weight"),
        (gpt2().tensor("blk.2.ffn_up.bias", &[48], &zeros[..48]), "blk.2.ffn_up.bias"),
        (gpt2().set("gpt2.attention.head_count_kv", 2), "`attention.head_count_kv` is 2, which is not supported"),
        (gpt2().set("gpt2.attention.head_count", 5), "n_embd (32) is not a multiple of n_head (5)"),
        (gpt2().set("gpt2.attention.head_count", "4"), "n_head"),
        (gpt2().set("gpt2.rope.freq_base", 10_000.0_f32), "`gpt2.rope.freq_base`, but gpt2 has no rotary positions"),
        (gpt2().set("gpt2.context_length", 41), "wpe.weight"),
        (gpt2().without("gpt2.block_count"), "the key `block_count` is missing"),
        (gpt2().without("gpt2.attention.head_count"), "the key `attention.head_count` is missing"),
        (gpt2().without("gpt2.attention.layer_norm_epsilon"), "the key `attention.layer_norm_epsilon` is missing"),
    ] {
        let error = contents.load().unwrap_err();
        assert!(error.contains(part), "{error}");
    }
    assert!(gpt2().set("gpt2.attention.head_count_kv", 4).load().is_ok());
}
