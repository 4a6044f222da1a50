//! AdapterFusions that the Python library saved, and our own.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{contents, folders, golden_spec, goldens, json, spec};
use burn::tensor::Device;
use burn_adapters_checkpoint::{CheckpointError, FusionFolder, SaveOptions, load_adapter, load_fusion, save_fusion};
use burn_adapters_core::{Place, Site};
use burn_adapters_fusion::FusionConfig;
use burn_adapters_model::AdapterBank;
use serde_json::json;

const CONFIG: &str = "adapter_fusion_config.json";

fn compositions() -> PathBuf {
    goldens().join("compositions")
}

/// A bank with the adapters that a golden's fusion fuses, and the golden's model.
fn bank_for(folder: &Path) -> (AdapterBank, String) {
    let model = folder.file_name().unwrap().to_str().unwrap().split_once("__").unwrap().0.to_owned();
    let mut bank = AdapterBank::new(golden_spec(&model), &Device::default());
    for name in FusionFolder::read(folder).unwrap().adapters {
        load_adapter(compositions().join("adapters").join(format!("{model}__{name}")), &mut bank, None).unwrap();
    }
    (bank, model)
}

/// A bank with the adapters `a` and `b`, and the fusion `a,b`.
fn fused(config: &FusionConfig) -> AdapterBank {
    let mut bank = AdapterBank::new(spec(2), &Device::default());
    for name in ["a", "b"] {
        bank.add_seeded(name, "double_seq_bn[reduction_factor=2]".parse().unwrap(), 3).unwrap();
    }
    bank.add_fusion("a,b", &["a", "b"], config, 5).unwrap();
    bank
}

#[test]
fn every_fusion_is_loaded_whole_and_saved_as_it_was() {
    let goldens = folders(&compositions().join("fusions"));
    assert!(goldens.len() > 15, "{}", goldens.len());
    for folder in goldens {
        let (mut bank, model) = bank_for(&folder);
        let report = load_fusion(&folder, &mut bank, None).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
        let file = FusionFolder::read(&folder).unwrap();
        assert!(report.applied.iter().eq(file.tensors.keys()), "{folder:?}");
        assert_eq!(report.name, file.meta.name);
        assert_eq!(report.parameters, file.tensors.values().map(|tensor| tensor.values.len()).sum::<usize>());
        assert_eq!(bank.fusion(&report.name).unwrap().adapters(), file.adapters);

        let saved = tempfile::tempdir().unwrap();
        let options = SaveOptions::new(format!("models/{model}"));
        save_fusion(saved.path(), &bank, &report.name, &options).unwrap();
        assert_eq!(FusionFolder::read(saved.path()).unwrap().tensors, file.tensors, "{folder:?}");
        assert_eq!(json(&saved.path().join(CONFIG)), json(&folder.join(CONFIG)), "{folder:?}");
        let written = |dir: &Path| fs::read_to_string(dir.join(CONFIG)).unwrap();
        assert_eq!(written(saved.path()).trim_end(), written(&folder).trim_end(), "{folder:?}");
    }
}

#[test]
fn a_weight_lands_transposed_at_its_site() {
    let folder = compositions().join("fusions/tiny-a__seq_dynamic");
    let (mut bank, _) = bank_for(&folder);
    load_fusion(&folder, &mut bank, None).unwrap();
    let file = FusionFolder::read(&folder).unwrap();
    let raw = &file.tensors["bert.encoder.layer.1.output.adapter_fusion_layer.seq_a,seq_b.value.weight"];
    let layer = bank.fusion("seq_a,seq_b").unwrap().at(Site::encoder(1, Place::FeedForward)).unwrap();
    let ours: Vec<f32> = layer.value.as_ref().unwrap().weight.val().into_data().try_to_vec().unwrap();
    let size = raw.shape[0];
    for (index, value) in ours.into_iter().enumerate() {
        assert_eq!(value, raw.values[index % size * size + index / size]);
    }
}

#[test]
fn save_load_save_gives_the_same_bytes_under_another_name_too() {
    let [first, second, third] = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let options = SaveOptions::default();
    let mut bank = fused(&FusionConfig::dynamic());
    save_fusion(first.path(), &bank, "a,b", &options).unwrap();
    let taken = load_fusion(first.path(), &mut bank, None).unwrap_err();
    assert!(matches!(taken, CheckpointError::Bank(_)), "{taken}");
    load_fusion(first.path(), &mut bank, Some("mixture")).unwrap();
    save_fusion(second.path(), &bank, "mixture", &options).unwrap();
    let file = FusionFolder::read(second.path()).unwrap();
    assert!(
        file.tensors.keys().all(|name| name.contains(".adapter_fusion_layer.mixture.")),
        "{:?}",
        file.tensors.keys()
    );
    assert_eq!(file.adapters, ["a", "b"]);

    let mut other = fused(&FusionConfig::r#static());
    load_fusion(second.path(), &mut other, Some("again")).unwrap();
    save_fusion(third.path(), &other, "again", &options).unwrap();
    load_fusion(third.path(), &mut other, Some("mixture")).unwrap();
    save_fusion(third.path(), &other, "mixture", &options).unwrap();
    assert_eq!(contents(third.path()), contents(second.path()));
    assert_ne!(contents(first.path()), contents(second.path()));
}

#[test]
fn the_temperature_is_saved_where_it_has_cooled_and_only_there() {
    let dir = tempfile::tempdir().unwrap();
    let temperature = || json(&dir.path().join(CONFIG)).get("temperature").cloned();
    let mut bank = fused(&FusionConfig::r#static().with_temperature(true));
    save_fusion(dir.path(), &bank, "a,b", &SaveOptions::default()).unwrap();
    assert_eq!(temperature(), None);

    let cool =
        |bank: &mut AdapterBank| bank.fusion_mut("a,b").unwrap().layers.iter_mut().for_each(|(_, layer)| layer.cool());
    cool(&mut bank);
    save_fusion(dir.path(), &bank, "a,b", &SaveOptions::default()).unwrap();
    assert_eq!(temperature(), Some(json!(49.95)));
    load_fusion(dir.path(), &mut bank, Some("copy")).unwrap();
    assert!(bank.fusion("copy").unwrap().layers.values().all(|layer| layer.temperature == 49.95));

    bank.fusion_mut("a,b").unwrap().layers.iter_mut().next().unwrap().1.cool();
    let before = contents(dir.path());
    let error = save_fusion(dir.path(), &bank, "a,b", &SaveOptions::default()).unwrap_err();
    assert!(matches!(error, CheckpointError::Encode { .. }), "{error}");
    assert_eq!(contents(dir.path()), before);
}

#[test]
fn adapters_that_are_missing_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut bank = fused(&FusionConfig::dynamic());
    save_fusion(dir.path(), &bank, "a,b", &SaveOptions::default()).unwrap();
    bank.remove("b").unwrap();
    let error = load_fusion(dir.path(), &mut bank, Some("copy")).unwrap_err();
    let expected = "the fusion `copy` fuses `a`, `b`, but the bank has no `b`; load them first, under these names";
    assert_eq!(error.to_string(), expected);
    assert!(bank.fusion("copy").is_err());
}

type Change = fn(&mut serde_json::Value);

/// Loads a saved fusion whose configuration was changed.
fn load_changed(change: impl FnOnce(&mut serde_json::Value)) -> Result<(), CheckpointError> {
    let dir = tempfile::tempdir().unwrap();
    let mut bank = fused(&FusionConfig::dynamic());
    save_fusion(dir.path(), &bank, "a,b", &SaveOptions::default()).unwrap();
    let mut config = json(&dir.path().join(CONFIG));
    change(&mut config);
    fs::write(dir.path().join(CONFIG), config.to_string()).unwrap();
    load_fusion(dir.path(), &mut bank, Some("copy")).map(drop)
}

#[test]
fn without_a_list_of_adapters_their_names_are_in_the_fusions_name() {
    load_changed(|config| drop(config.as_object_mut().unwrap().remove("adapter_names"))).unwrap();
    load_changed(|config| config["adapter_names"] = json!("a,b")).unwrap();
}

#[test]
fn a_configuration_that_is_wrong_says_what_was_expected() {
    let error = |change: Change| load_changed(change).unwrap_err().to_string();
    let cases: [(Change, &str); 8] = [
        (|config| config["adapter_names"] = json!(["a", 1]), "`adapter_names` must be a list of names"),
        (|config| config["adapter_names"] = json!([]), "`adapter_names` is empty"),
        (|config| config["adapter_names"] = json!("a,"), "`adapter_names` holds an empty name"),
        (|config| config["temperature"] = json!(0), "`temperature` must be a number above 0, found 0"),
        (|config| config["config"]["query"] = json!("yes"), "query"),
        (|config| config["config"] = json!(null), "AdapterFusion"),
        (|config| config["model_type"] = json!("gpt2"), "the fusion `a,b` is for a model of type `gpt2`"),
        (|config| config["hidden_size"] = json!(16), "the fusion `a,b` is for a model with hidden size 16"),
    ];
    for (change, expected) in cases {
        let error = error(change);
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn tensors_that_do_not_fit_are_an_error_but_those_of_a_longer_name_are_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let mut bank = fused(&FusionConfig::dynamic());
    save_fusion(dir.path(), &bank, "a,b", &SaveOptions::default()).unwrap();
    let file = FusionFolder::read(dir.path()).unwrap();
    let (first, tensor) = file.tensors.iter().next().map(|(name, tensor)| (name.clone(), tensor.clone())).unwrap();

    let mut longer = file.clone();
    longer.tensors.insert(first.replace(".a,b.", ".a,b,c."), tensor.clone());
    longer.write(dir.path()).unwrap();
    let report = load_fusion(dir.path(), &mut bank, Some("copy")).unwrap();
    assert_eq!(report.applied.len(), file.tensors.len());
    assert_eq!(report.notes, ["left out 1 tensors of other fusions, whose names start with `a,b`"]);

    let mut other = file.clone();
    other.tensors.insert(first.replace(".a,b.", ".c,d."), tensor);
    other.tensors.remove(&first);
    other.write(dir.path()).unwrap();
    let error = load_fusion(dir.path(), &mut bank, Some("other")).unwrap_err().to_string();
    assert!(error.contains("1 missing, 1 unexpected"), "{error}");
    assert!(bank.fusion("other").is_err());
}

#[test]
fn a_fusion_of_another_depth_is_an_error_that_names_both() {
    let dir = tempfile::tempdir().unwrap();
    let bank = fused(&FusionConfig::dynamic());
    save_fusion(dir.path(), &bank, "a,b", &SaveOptions::default()).unwrap();
    for layers in [1, 3] {
        let other = AdapterBank::new(spec(layers), &Device::default());
        let error = FusionFolder::read(dir.path()).unwrap().into_fusion(&other, None).unwrap_err();
        let expected = format!("the fusion `a,b` is for a model with 2 layers, but this model has {layers} layers");
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn a_folder_without_a_fusion_says_what_was_looked_for() {
    let dir = tempfile::tempdir().unwrap();
    assert!(!FusionFolder::exists(dir.path()));
    let error = FusionFolder::read(dir.path()).unwrap_err().to_string();
    assert!(error.contains("holds no fusion: expected adapter_fusion_config.json in it"), "{error}");
}
