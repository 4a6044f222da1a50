//! Saved, loaded and saved again.

use std::fs;

use crate::common::{bank, contents, json, spec};
use burn::tensor::{Device, Tensor};
use burn_adapters_checkpoint::{
    AdapterFolder, CheckpointError, HeadFolder, SaveOptions, load_adapter, load_head, save_adapter, save_head,
};
use burn_adapters_core::{Mode, ModelSpec, StackSpec};
use burn_adapters_heads::HeadConfig;
use burn_adapters_model::AdapterBank;
use proptest::prelude::*;

/// Configurations that between them have every kind of parameter.
const CONFIGS: [&str; 6] = [
    "seq_bn[reduction_factor=2]",
    "double_seq_bn[reduction_factor={'0': 2, 'default': 4},ln_before=True,ln_after=True,use_gating=True]",
    "par_bn[reduction_factor=2,scaling='learned',init_weights='bert']",
    "seq_bn[reduction_factor=2,scaling='channel',leave_out=[1]]",
    "lora[r=2,intermediate_lora=True,output_lora=True,use_gating=True,init_weights='bert']",
    "lora[r=1,attn_matrices=['k']]|seq_bn[reduction_factor=4]",
];

#[test]
fn save_load_save_gives_the_same_bytes() {
    for config in CONFIGS {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let before = bank(config);
        let options = SaveOptions::new("some/model");
        let report = save_adapter(first.path(), &before, "a", &options).unwrap();
        let mut after = AdapterBank::new(spec(2), &Device::default());
        let loaded = load_adapter(first.path(), &mut after, None).unwrap();
        save_adapter(second.path(), &after, "a", &options).unwrap();
        assert_eq!(contents(first.path()), contents(second.path()), "{config}");
        assert_eq!(loaded.parameters, before.adapter("a").unwrap().parameters());
        let size: usize = contents(first.path()).iter().map(|(_, bytes)| bytes.len()).sum();
        assert_eq!(report.bytes, size as u64);
    }
}

#[test]
fn an_adapter_can_be_loaded_under_another_name() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut bank = bank(CONFIGS[0]);
    save_adapter(first.path(), &bank, "a", &SaveOptions::default()).unwrap();
    let taken = load_adapter(first.path(), &mut bank, None).unwrap_err();
    assert!(matches!(taken, CheckpointError::Bank(_)), "{taken}");
    let report = load_adapter(first.path(), &mut bank, Some("b")).unwrap();
    assert_eq!((report.name.as_str(), report.saved_name.as_str()), ("b", "a"));
    save_adapter(second.path(), &bank, "b", &SaveOptions::default()).unwrap();
    let names = AdapterFolder::read(second.path()).unwrap().tensors;
    assert!(names.keys().all(|name| name.contains(".adapters.b.")), "{names:?}");
}

#[test]
fn a_file_of_the_bare_base_model_is_loaded_too() {
    let dir = tempfile::tempdir().unwrap();
    let bank = bank(CONFIGS[1]);
    save_adapter(dir.path(), &bank, "a", &SaveOptions::default()).unwrap();
    let mut folder = AdapterFolder::read(dir.path()).unwrap();
    let strip = |name: String| name.strip_prefix("bert.").unwrap().to_owned();
    folder.tensors = folder.tensors.into_iter().map(|(name, tensor)| (strip(name), tensor)).collect();
    let (_, report) = folder.into_adapter(&spec(2), &Device::default(), None).unwrap();
    assert!(report.applied[0].starts_with("encoder.layer.0."), "{:?}", report.applied);
}

#[test]
fn a_model_of_ones_own_can_be_saved_and_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let spec = ModelSpec::new("mine", 8).with_stack(StackSpec::encoder(2, 8, 2, 16));
    let mut bank = AdapterBank::new(spec, &Device::default());
    bank.add_seeded("a", CONFIGS[4].parse().unwrap(), 1).unwrap();
    save_adapter(dir.path(), &bank, "a", &SaveOptions::default()).unwrap();
    load_adapter(dir.path(), &mut bank, Some("b")).unwrap();
    assert_eq!(json(&dir.path().join("adapter_config.json"))["model_type"], "mine");
}

#[test]
fn loaded_parameters_are_trained_where_the_bank_is_for_training() {
    let dir = tempfile::tempdir().unwrap();
    save_adapter(dir.path(), &bank(CONFIGS[0]), "a", &SaveOptions::default()).unwrap();
    let mut bank = AdapterBank::new(spec(2), &Device::default().autodiff());
    load_adapter(dir.path(), &mut bank, None).unwrap();
    let module = bank.adapter("a").unwrap().bottleneck.values().next().unwrap();
    let weight = module.down_project.as_linear().unwrap().weight.val();
    assert!(weight.is_require_grad());
    let gradients = (weight.clone() * weight.clone()).sum().backward();
    assert!(weight.grad(&gradients).is_some());
}

#[test]
fn an_old_bin_does_not_stay_beside_new_weights() {
    let dir = tempfile::tempdir().unwrap();
    let old = dir.path().join("pytorch_adapter.bin");
    fs::write(&old, b"the adapter that was here before").unwrap();
    let report = save_adapter(dir.path(), &bank(CONFIGS[0]), "a", &SaveOptions::default()).unwrap();
    assert_eq!(report.removed, std::slice::from_ref(&old));
    assert!(!old.exists());
}

#[test]
fn a_failed_save_leaves_the_old_files_whole() {
    let dir = tempfile::tempdir().unwrap();
    let bank = bank(CONFIGS[0]);
    save_adapter(dir.path(), &bank, "a", &SaveOptions::default()).unwrap();
    let weights = fs::read(dir.path().join("adapter.safetensors")).unwrap();
    // A folder in the configuration's place: nothing can be renamed to it.
    let config = dir.path().join("adapter_config.json");
    fs::remove_file(&config).unwrap();
    fs::create_dir_all(config.join("in the way")).unwrap();
    let mut other = AdapterBank::new(spec(2), &Device::default());
    other.add_seeded("a", CONFIGS[0].parse().unwrap(), 99).unwrap();
    let error = save_adapter(dir.path(), &other, "a", &SaveOptions::default()).unwrap_err();
    assert!(matches!(error, CheckpointError::Io { .. }), "{error}");
    assert_eq!(fs::read(dir.path().join("adapter.safetensors")).unwrap(), weights);
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn adapter_and_head_share_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let device = Device::default();
    let config = HeadConfig::classification(3).with_labels(["a", "b", "c"]).with_layers(3);
    let mut bank = bank(CONFIGS[0]);
    bank.add_head_seeded("a", &config, 4).unwrap();
    save_adapter(dir.path(), &bank, "a", &SaveOptions::default()).unwrap();
    save_head(dir.path(), &bank, "a", &SaveOptions::default()).unwrap();
    let report = load_head(dir.path(), &mut bank, Some("b")).unwrap();
    assert_eq!((report.name.as_str(), report.saved_name.as_str()), ("b", "a"));
    assert_eq!(bank.head("b").unwrap().config(), &config);
    let states = Tensor::<2>::ones([2, 8], &device);
    let logits = |name| bank.head(name).unwrap().forward_vector(states.clone(), Mode::Inference).unwrap().into_data();
    assert_eq!(logits("a"), logits("b"));
    load_adapter(dir.path(), &mut AdapterBank::new(spec(2), &device), None).unwrap();
    let folder = HeadFolder::read(dir.path()).unwrap();
    let wide = folder.into_head(16, &device, None).unwrap_err().to_string();
    assert!(wide.contains("hidden size 8") && wide.contains("hidden size 16"), "{wide}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    #[test]
    fn every_bit_of_every_value_survives(config in prop::sample::select(&CONFIGS[..]), seed: u32) {
        let dir = tempfile::tempdir().unwrap();
        let bank = bank(config);
        save_adapter(dir.path(), &bank, "a", &SaveOptions::default()).unwrap();
        let mut folder = AdapterFolder::read(dir.path()).unwrap();
        // Any bits, also those of infinities and of numbers too small to be normal; NaN's bits may change on a device.
        let mut bits = seed;
        for tensor in folder.tensors.values_mut() {
            for value in &mut tensor.values {
                bits = bits.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *value = Some(f32::from_bits(bits)).filter(|value| !value.is_nan()).unwrap_or(1.0);
            }
        }
        // A norm before the down-projection has two names.
        for (second, first) in [("adapter_down.0.weight", "adapter_norm_before.weight"),
                                ("adapter_down.0.bias", "adapter_norm_before.bias")] {
            let copies: Vec<_> = folder.tensors.iter().filter(|(name, _)| name.ends_with(first))
                .map(|(name, tensor)| (name.replace(first, second), tensor.clone())).collect();
            folder.tensors.extend(copies);
        }
        let expected = folder.tensors.clone();
        let (adapter, _) = folder.into_adapter(&spec(2), &Device::default(), None).unwrap();
        let mut other = AdapterBank::new(spec(2), &Device::default());
        other.insert(adapter).unwrap();
        let again = tempfile::tempdir().unwrap();
        save_adapter(again.path(), &other, "a", &SaveOptions::default()).unwrap();
        let found = AdapterFolder::read(again.path()).unwrap().tensors;
        prop_assert!(found.keys().eq(expected.keys()));
        for (name, tensor) in &found {
            let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&tensor.values), bits(&expected[name].values), "{}", name);
        }
    }
}
