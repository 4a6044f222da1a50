//! Rotary positions in GGUF files: factors of frequencies, and scalings.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use burn::tensor::Device;
use burn_adapters_tensors::{BlockType, Gguf, GgufValue};
use burn_adapters_tests::largest_difference;
use burn_adapters_transformers::{AutoModel, GgufFormat, ModelConfig};
use serde_json::{Value, json};

use crate::gguf::{as_folder, file};
use crate::gguf_architectures::{Contents, change_config, from_dir, logits};

const FACTORS: &str = "rope_freqs.weight";

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
        (set("scaling.yarn_beta_fast", GgufValue::F32(16.0)), "scaling.yarn_beta_fast` is 16, which is not supported"),
        (set("scaling.yarn_beta_slow", GgufValue::F32(4.0)), "scaling.yarn_beta_slow` is 4, which is not supported"),
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
