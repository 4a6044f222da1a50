//! The output layers of language models: logits of tokens as the classes of Hugging Face compute them.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use burn_adapters_checkpoint::{load_adapter, load_head};
use burn_adapters_heads::HeadConfig;
use burn_adapters_model::{AdapterBank, BaseError, BaseModel, Forward, HeadOutput, Hooks, Setup};
use burn_adapters_tests::{Golden, goldens, largest_difference, values};
use burn_adapters_transformers::{AutoModel, WeightFormat};
use safetensors::SafeTensors;

/// Absolute, on numbers of the order of one: 1e-4, less the rounding of the goldens.
const TOLERANCE: f32 = 9.9e-5;

/// The folders of the models.
fn folders() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(goldens().join("outputs/language_models")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// The logits of the only row.
fn logits(model: &AutoModel, golden: &Golden) -> Result<Vec<f32>, BaseError> {
    let output = model.forward(&golden.batch(), &Hooks::none())?;
    Ok(values(model.token_logits(output.hidden.flatten(0, 1))?))
}

fn check(model: &AutoModel, dir: &Path, tolerance: f32) {
    let golden = Golden::read(&dir.join("golden.safetensors"));
    let difference = largest_difference(&logits(model, &golden).unwrap(), golden.values("logits"));
    assert!(difference <= tolerance, "{}: the logits differ by {difference:e}", dir.display());
}

#[test]
fn logits_of_tokens_are_those_of_the_reference() {
    assert!(folders().len() > 15);
    for dir in folders() {
        for device in [Device::default(), Device::default().autodiff()] {
            let (model, report) = AutoModel::from_dir(&dir, &device).unwrap();
            assert!(report.unused.is_empty(), "{report}");
            check(&model, &dir, TOLERANCE);
        }
    }
}

#[test]
fn a_language_model_is_saved_with_its_head() {
    for dir in folders() {
        let (model, _) = AutoModel::from_dir(&dir, &Device::default()).unwrap();
        let copy = tempfile::tempdir().unwrap();
        std::fs::copy(dir.join("config.json"), copy.path().join("config.json")).unwrap();
        let report = model.save(&dir, &copy.path().join("model.safetensors")).unwrap();
        assert_eq!((report.changed, report.converted), (0, 0), "{}", dir.display());
        let (again, _) = AutoModel::from_dir(copy.path(), &Device::default()).unwrap();
        check(&again, &dir, TOLERANCE);
    }
}

#[test]
fn a_head_in_bf16_gives_similar_logits() {
    let device = Device::default();
    for name in ["llama", "bert_untied", "gpt2"] {
        let dir = goldens().join("outputs/language_models").join(name);
        let Ok((model, _)) = AutoModel::from_dir_as(&dir, WeightFormat::Bf16, &device) else { continue };
        check(&model, &dir, 0.1);
    }
}

/// A copy of a folder without the tensors whose names contain one of these parts.
fn without(dir: &Path, parts: &[&str]) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    std::fs::copy(dir.join("config.json"), copy.path().join("config.json")).unwrap();
    let bytes = std::fs::read(dir.join("model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let kept = tensors.iter().filter(|(name, _)| !parts.iter().any(|part| name.contains(part)));
    safetensors::serialize_to_file(kept, None, &copy.path().join("model.safetensors")).unwrap();
    copy
}

#[test]
fn a_base_model_without_a_head_has_logits_only_where_the_head_is_its_word_embeddings() {
    for dir in folders() {
        let head =
            ["lm_head", "final_logits_bias", "cls.", "generator_", "vocab_", "predictions.", "head.", "decoder.bias"];
        let copy = without(&dir, &head);
        let (model, report) = AutoModel::from_dir(copy.path(), &Device::default()).unwrap();
        assert!(report.parameters <= model.spec().parameters, "{}", dir.display());
        let golden = Golden::read(&dir.join("golden.safetensors"));
        let name = dir.file_name().unwrap().to_str().unwrap();
        let is_tied =
            ["gpt2", "llama_tied", "qwen3", "gemma2", "gemma3", "t5", "bart", "mbart", "plbart"].contains(&name);
        match logits(&model, &golden) {
            Ok(_) => assert!(is_tied, "{name}"),
            Err(error) => assert!(!is_tied && matches!(error, BaseError::NoOutputEmbeddings), "{name}: {error}"),
        }
    }
}

#[test]
fn half_of_a_head_is_left_out() {
    let dir = goldens().join("outputs/language_models/bert");
    let copy = without(&dir, &["cls.predictions.transform.LayerNorm"]);
    let (model, report) = AutoModel::from_dir(copy.path(), &Device::default()).unwrap();
    assert!(report.unused.iter().any(|name| name == "cls.predictions.bias"), "{report}");
    let golden = Golden::read(&dir.join("golden.safetensors"));
    let error = logits(&model, &golden).unwrap_err().to_string();
    assert!(error.contains("saved with its head"), "{error}");
}

#[test]
fn states_of_another_width_are_an_error() {
    let (model, _) = AutoModel::from_dir(&goldens().join("outputs/language_models/gpt2"), &Device::default()).unwrap();
    let states = burn::tensor::Tensor::zeros([2, 7], &Device::default());
    assert!(matches!(model.token_logits(states), Err(BaseError::HiddenSize { expected: 8, found: 7 })));
}

/// Adapters of Hugging Face's own classes, saved with their heads: those of masked language models are trained and read;
/// others are the model's own output layer. The inverse of the invertible adapter acts as in the reference.
#[test]
fn adapters_of_language_models_own_classes_compute_what_the_reference_computes() {
    let (mut read, mut own) = (0, 0);
    for dir in folders() {
        let name = dir.file_name().unwrap().to_str().unwrap();
        let adapter = goldens().join("outputs/static").join(name);
        let (model, _) = AutoModel::from_dir(&dir, &Device::default()).unwrap();
        let mut bank = AdapterBank::new(model.spec(), &Device::default());
        load_adapter(&adapter, &mut bank, Some("static")).unwrap_or_else(|error| panic!("{name}: {error}"));
        match load_head(&adapter, &mut bank, Some("static")) {
            Ok(report) => {
                assert!(report.notes[0].contains("ForMaskedLM"), "{:?}", report.notes);
                read += 1;
            }
            Err(error) => {
                assert!(error.is_unknown_head(), "{name}: {error}");
                bank.add_model_head("static", &HeadConfig::causal_lm(model.limits().vocabulary)).unwrap();
                own += 1;
            }
        }
        let golden = Golden::read(&adapter.join("golden.safetensors"));
        let setup = Setup::adapter("static");
        let output = model.forward(&golden.batch(), &bank.hooks(&setup).unwrap()).unwrap();
        let HeadOutput::States(states) = bank.outputs(&model, &setup, &output, None).unwrap().remove(0) else {
            panic!("{name}: no states")
        };
        let found = values(bank.token_logits(&model, "static", states.states, setup.mode()).unwrap());
        let difference = largest_difference(&found, golden.values("logits"));
        assert!(difference <= TOLERANCE, "{name}: the logits differ by {difference:e}");
    }
    assert!(read > 4 && own > 15, "{read} heads are read, {own} are the model's own");
}
