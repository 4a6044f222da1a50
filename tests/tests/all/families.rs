//! The model families beside BERT: their hidden states, their static heads, and what is saved of an adapter, from a
//! model's specification alone. (Their cases are run by `parity.rs` and `roundtrip.rs`.)

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::Device;
use burn_adapters_checkpoint::{SaveOptions, load_adapter, load_head, save_adapter};
use burn_adapters_composition::{Composition, Route};
use burn_adapters_core::ModelSpec;
use burn_adapters_model::{AdapterBank, BaseModel, Forward, Hooks, Setup};
use burn_adapters_tests::{Golden, cases_in, families, largest_difference, logits, read_json, values};
use burn_adapters_transformers::{AutoModel, ModelConfig};
use serde::Deserialize;

/// Absolute, on numbers of the order of one: 1e-4, less the rounding of the goldens.
const TOLERANCE: f32 = 9.9e-5;

/// The tensors that the reference saves for a configuration.
#[derive(Deserialize)]
struct Saved {
    /// The shapes of the tensors.
    tensors: BTreeMap<String, Vec<usize>>,
    /// The number of parameters, each once.
    parameters: usize,
}

/// The hidden states of a family's tiny model in this folder, after the embeddings and after each layer.
fn check_hidden_states(family: &Path, model_name: &str, device: &Device) {
    let (model, _) = AutoModel::from_dir(&family.join("models").join(model_name), device).unwrap();
    let of = if model_name == "with_head" { "tiny" } else { model_name };
    let goldens = Golden::read(&family.join("models").join(of).join("hidden.safetensors"));
    for prefix in ["", "full."] {
        let of_batch = goldens.0.iter().filter_map(|(name, tensor)| Some((name.strip_prefix(prefix)?, tensor.clone())));
        let golden = Golden(of_batch.map(|(name, tensor)| (name.to_owned(), tensor)).collect());
        let states = model.hidden_states(&golden.batch(), &Hooks::none()).unwrap();
        assert!(states.len() > 1 && !golden.0.contains_key(&format!("hidden_states.{}", states.len())));
        for (depth, found) in states.into_iter().enumerate() {
            let difference = difference_of_tokens(&golden, &format!("hidden_states.{depth}"), &values(found));
            assert!(difference <= TOLERANCE, "{}: {prefix}{depth} differs by {difference:e}", family.display());
        }
    }
}

#[test]
fn hidden_states_are_those_of_the_reference() {
    for family in families() {
        let device = Device::default();
        for model in base_models(&family) {
            check_hidden_states(&family, &model, &device);
            check_hidden_states(&family, &model, &device.clone().autodiff());
        }
    }
}

/// The folders of a family's base models.
fn base_models(family: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(family.join("models")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| family.join("models").join(name).join("hidden.safetensors").is_file()).collect()
}

#[test]
fn rows_with_the_adapters_of_their_languages_are_those_of_a_base_model_with_language_modules() {
    let folders = families().into_iter().flat_map(|family| {
        let names = base_models(&family);
        names.into_iter().map(move |name| family.join("models").join(name))
    });
    let folders: Vec<_> = folders.filter(|folder| folder.join("languages.safetensors").is_file()).collect();
    assert!(!folders.is_empty());
    for folder in folders {
        let device = Device::default();
        let (model, _) = AutoModel::from_dir(&folder, &device).unwrap();
        let mut bank = AdapterBank::new(model.spec(), &device);
        let names = AutoModel::add_languages(&folder, &mut bank).unwrap();
        let golden = Golden::read(&folder.join("languages.safetensors"));
        let rows = golden.values("languages").iter().map(|index| Some(names[*index as usize].as_str()));
        let setup = Setup::compose(Composition::Route(Route::new(rows)));
        let found = model.forward(&golden.batch(), &bank.hooks(&setup).unwrap()).unwrap().hidden;
        let difference = difference_of_tokens(&golden, "last_hidden_state", &values(found));
        assert!(difference <= TOLERANCE, "{} differs by {difference:e}", folder.display());
        // A second time the names are taken, and the bank is unchanged.
        assert!(AutoModel::add_languages(&folder, &mut bank).is_err() && bank.names().count() == names.len());
    }
}

/// The largest difference of the states of tokens.
fn difference_of_tokens(golden: &Golden, name: &str, found: &[f32]) -> f32 {
    let (shape, expected) = &golden.0[name];
    let rows = found.chunks(shape[2]).zip(expected.chunks(shape[2])).zip(golden.values("attention_mask"));
    let rows = rows.filter(|(_, attended)| **attended == 1.0);
    rows.map(|((found, expected), _)| largest_difference(found, expected)).fold(0.0, f32::max)
}

#[test]
fn the_checkpoint_of_a_class_with_a_head_holds_the_same_base_model() {
    for family in families() {
        check_hidden_states(&family, "with_head", &Device::default());
        let (_, report) = AutoModel::from_dir(&family.join("models/with_head"), &Device::default()).unwrap();
        let is_head = |name: &String| {
            ["classifier", "lm_head", "final_logits_bias", "adapter_modules", "pooler", "head.", "decoder."]
                .iter()
                .any(|head| name.contains(head))
        };
        assert!(report.unused.iter().all(is_head), "{:?}", report.unused);
    }
}

#[test]
fn the_head_of_hugging_face_s_own_class_is_read_as_the_reference_reads_it() {
    let families: Vec<_> = families().into_iter().filter(|family| family.join("static").is_dir()).collect();
    assert!(!families.is_empty());
    for family in families {
        let (model, _) = AutoModel::from_dir(&family.join("models/tiny"), &Device::default()).unwrap();
        let mut bank = AdapterBank::new(model.spec(), &Device::default());
        let dir = family.join("static/adapter");
        load_adapter(&dir, &mut bank, None).unwrap();
        let report = load_head(&dir, &mut bank, None).unwrap();
        assert!(report.notes[0].contains("ForSequenceClassification"), "{:?}", report.notes);
        assert_eq!(bank.head("static").unwrap().config().labels(), ["bad", "fine", "good"]);
        let golden = Golden::read(&family.join("static/golden.safetensors"));
        let setup = Setup::adapter("static");
        let hooks = bank.hooks(&setup).unwrap();
        let found = values(logits(&model, &bank, &setup, &hooks, &golden.batch()).into_values());
        let difference = largest_difference(&found, golden.values("logits"));
        assert!(difference <= TOLERANCE, "{}: the logits differ by {difference:e}", family.display());
    }
}

#[test]
fn what_is_saved_has_the_names_and_shapes_of_the_reference() {
    for family in families() {
        let text = std::fs::read_to_string(family.join("names_config.json")).unwrap();
        let config = ModelConfig::from_json_str(&text).unwrap();
        let saved: BTreeMap<String, Saved> = read_json(&family.join("names.json"));
        // DoRA starts at the weights of the model.
        for (adapter, expected) in saved.iter().filter(|(adapter, _)| *adapter != "dora") {
            check_saved(config.spec(), adapter, expected);
        }
    }
}

fn check_saved(spec: &ModelSpec, config: &str, expected: &Saved) {
    let mut bank = AdapterBank::new(spec, &Device::default());
    bank.add("x", config.parse().unwrap()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let report = save_adapter(dir.path(), &bank, "x", &SaveOptions::default()).unwrap();
    // VeRA's diagonals are vectors here, and its frozen matrices do not count.
    if config != "vera" {
        assert_eq!(report.parameters, expected.parameters, "{} {config}", spec.model_type);
    }
    let found = Golden::read(&dir.path().join("adapter.safetensors")).0;
    let found: BTreeMap<String, Vec<usize>> = found.into_iter().map(|(name, (shape, _))| (name, shape)).collect();
    // The reference saves the pool of prefixes once more for each layer.
    let once = expected.tensors.iter().filter(|(name, _)| !name.contains(".prefix_tuning.pool."));
    assert!(found.iter().eq(once), "{} {config}: {found:?}", spec.model_type);
    let saved: serde_json::Value = read_json(&dir.path().join("adapter_config.json"));
    let class = saved["model_class"].as_str().unwrap();
    let is_interface = dir.path().join("adapter_interface.json").is_file();
    assert!(if is_interface { class.contains("For") } else { class.ends_with("AdapterModel") }, "{saved}");
}

#[test]
fn a_model_is_saved_as_it_was_read() {
    for family in families() {
        for model in ["tiny", "with_head"] {
            let dir = family.join("models").join(model);
            let (model, _) = AutoModel::from_dir(&dir, &Device::default()).unwrap();
            let copy = tempfile::tempdir().unwrap();
            std::fs::copy(dir.join("config.json"), copy.path().join("config.json")).unwrap();
            let report = model.save(&dir, &copy.path().join("model.safetensors")).unwrap();
            assert_eq!((report.changed, report.converted), (0, 0), "{}", dir.display());
            let (again, _) = AutoModel::from_dir(copy.path(), &Device::default()).unwrap();
            let golden = Golden::read(&family.join("models/tiny/hidden.safetensors"));
            let hidden = |model: &AutoModel| values(model.forward(&golden.batch(), &Hooks::none()).unwrap().hidden);
            assert_eq!(hidden(&again), hidden(&model), "{}", dir.display());
        }
    }
}

#[test]
fn adapters_that_have_another_form_here_compute_the_same() {
    let converted: Vec<_> = families().into_iter().filter(|family| family.join("converted").is_dir()).collect();
    assert!(!converted.is_empty());
    for family in converted {
        let name = family.file_name().unwrap().to_str().unwrap().to_owned();
        for case in cases_in(&format!("families/{name}/converted"), |_| true) {
            let (model, bank) = case.load(&Device::default());
            let golden = case.golden();
            let run = |bank: &AdapterBank| {
                let setup = case.setup();
                let hooks = bank.hooks(&setup).unwrap();
                values(logits(&model, bank, &setup, &hooks, &golden.batch()).into_values())
            };
            let found = run(&bank);
            let difference = largest_difference(&found, golden.values("logits"));
            assert!(difference <= TOLERANCE, "{name} {}: the logits differ by {difference:e}", case.folder);

            // It is saved in our form, which a note says.
            let dir = tempfile::tempdir().unwrap();
            let report = save_adapter(dir.path(), &bank, &case.name, &SaveOptions::default()).unwrap();
            assert!(report.notes.iter().any(|note| note.contains("Python library cannot read")), "{:?}", report.notes);
            let mut again = AdapterBank::new(model.spec(), bank.device());
            load_adapter(dir.path(), &mut again, None).unwrap();
            load_head(case.dir(), &mut again, None).unwrap();
            assert_eq!(run(&again), found, "{name} {}", case.folder);
        }
    }
}
