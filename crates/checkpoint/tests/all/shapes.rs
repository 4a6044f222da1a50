//! Shapes follow from the configuration and the model, never from the file: a tensor of any other shape is an error.

use std::fs;
use std::time::Instant;

use crate::common::{bank, json, spec};
use burn::tensor::Device;
use burn_adapters_checkpoint::{
    AdapterFolder, CheckpointError, FusionFolder, HeadFolder, RawTensor, SaveOptions, load_adapter, load_fusion,
    save_adapter, save_fusion, save_head,
};
use burn_adapters_fusion::FusionConfig;
use burn_adapters_heads::HeadConfig;
use burn_adapters_model::AdapterBank;

/// Configurations that between them have every kind of parameter of every method.
const CONFIGS: [&str; 17] = [
    "double_seq_bn[reduction_factor=2,ln_before=True,ln_after=True,use_gating=True,scaling='learned']",
    "par_bn[reduction_factor=4,scaling='channel']",
    "seq_bn_inv[reduction_factor=2,inv_adapter_reduction_factor=2]",
    "seq_bn[reduction_factor=2,inv_adapter='glow',inv_adapter_reduction_factor=2]",
    "compacter[reduction_factor=2,phm_dim=2]",
    "compacter[reduction_factor=2,phm_dim=2,shared_phm_rule=False,factorized_phm_W=False,factorized_phm_rule=True]",
    "compacter[reduction_factor=2,phm_dim=2,shared_W_phm=True]",
    "lora[r=2,use_gating=True,intermediate_lora=True]",
    "vera[r=3]",
    "mtl_lora[r=2,n_up_projection=3]",
    "mtl_lora[r=2,n_up_projection=1,task_specific_matrix_type='linear',use_gating=True]",
    "ia3",
    "prefix_tuning[prefix_length=3,bottleneck_size=4,use_gating=True]",
    "prefix_tuning_flat[prefix_length=3]",
    "prompt_tuning[prompt_length=3]",
    "loreft[r=2]",
    "noreft[r=2,tied_weights=True]",
];

/// Other shapes than this one, with other numbers of elements, too.
fn others(shape: &[usize]) -> Vec<Vec<usize>> {
    let mut others: Vec<Vec<usize>> = vec![
        vec![],
        vec![0],
        vec![1],
        vec![shape.iter().product()],
        [shape, &[1]].concat(),
        [&[1], shape].concat(),
        [shape, &[0]].concat(),
        shape.iter().rev().copied().collect(),
        shape.iter().map(|size| size + 1).collect(),
        shape.iter().map(|size| size - 1).collect(),
        shape.iter().map(|size| size * 2).collect(),
    ];
    for side in [1, 2, 3, 5, 8, 16, 17] {
        others.push(vec![side, side]);
        others.push(vec![side; 3]);
    }
    others.retain(|other| other != shape);
    others
}

/// A tensor that is zero nowhere, beside a diagonal either.
fn tensor(shape: &[usize]) -> RawTensor {
    RawTensor { shape: shape.to_vec(), values: (0..shape.iter().product()).map(|index| 0.5 + index as f32).collect() }
}

/// The error must name the tensor, and what was expected and found.
fn check(error: &CheckpointError, name: &str, expected: &[usize], found: &[usize], context: &str) {
    let CheckpointError::Mismatch { mismatch, .. } = error else { panic!("{context}: {name} {found:?}: {error}") };
    let reshaped = mismatch.reshaped.iter().find(|reshaped| reshaped.name == name);
    let reshaped = reshaped.unwrap_or_else(|| panic!("{context}: {name} {found:?}: {error}"));
    assert_eq!((reshaped.expected.as_slice(), reshaped.found.as_slice()), (expected, found), "{context}");
    let text = error.to_string();
    for part in [name, &format!("{expected:?}"), &format!("{found:?}")] {
        assert!(text.contains(part), "{context}: {text}");
    }
}

#[test]
fn every_tensor_of_every_method_must_have_its_shape() {
    let mut mutations = 0;
    for config in CONFIGS {
        let dir = tempfile::tempdir().unwrap();
        save_adapter(dir.path(), &bank(config), "a", &SaveOptions::default()).unwrap();
        let folder = AdapterFolder::read(dir.path()).unwrap();
        folder.clone().into_adapter(&spec(2), &Device::default(), None).unwrap();
        for (name, original) in &folder.tensors {
            for shape in others(&original.shape) {
                let mut other = folder.clone();
                other.tensors.insert(name.clone(), tensor(&shape));
                let error = other.into_adapter(&spec(2), &Device::default(), None).unwrap_err();
                check(&error, name, &original.shape, &shape, config);
                mutations += 1;
            }
        }
    }
    assert!(mutations > 2000, "{mutations}");
}

#[test]
fn a_file_on_disk_with_a_square_matrix_of_another_size_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    save_adapter(dir.path(), &bank("vera[r=3]"), "a", &SaveOptions::default()).unwrap();
    let mut folder = AdapterFolder::read(dir.path()).unwrap();
    let name = folder.tensors.keys().find(|name| name.ends_with("vera_D")).unwrap().clone();
    assert_eq!(folder.tensors[&name].shape, [3, 3]);
    folder.tensors.insert(name.clone(), tensor(&[5, 5]));
    folder.write(dir.path()).unwrap();
    let mut bank = AdapterBank::new(spec(2), &Device::default());
    let error = load_adapter(dir.path(), &mut bank, None).unwrap_err();
    check(&error, &name, &[3, 3], &[5, 5], "vera");
    assert_eq!(bank.names().count(), 0);
    // A full matrix of the right size is what the Python library trains.
    let mut folder = AdapterFolder::read(dir.path()).unwrap();
    folder.tensors.insert(name, tensor(&[3, 3]));
    folder.into_adapter(&spec(2), &Device::default(), None).unwrap();
}

#[test]
fn every_tensor_of_a_head_and_of_a_fusion_must_have_its_shape() {
    let dir = tempfile::tempdir().unwrap();
    let mut bank = bank("seq_bn[reduction_factor=2]");
    bank.add_seeded("b", "seq_bn[reduction_factor=2]".parse().unwrap(), 1).unwrap();
    bank.add_head_seeded("a", &HeadConfig::classification(3), 1).unwrap();
    bank.add_fusion("a,b", &["a", "b"], &FusionConfig::dynamic(), 1).unwrap();
    save_head(dir.path(), &bank, "a", &SaveOptions::default()).unwrap();
    save_fusion(dir.path(), &bank, "a,b", &SaveOptions::default()).unwrap();
    let head = HeadFolder::read(dir.path()).unwrap();
    for (name, original) in &head.tensors {
        for shape in others(&original.shape) {
            let mut other = head.clone();
            other.tensors.insert(name.clone(), tensor(&shape));
            let error = other.into_head(8, &Device::default(), None).unwrap_err();
            check(&error, name, &original.shape, &shape, "head");
        }
    }
    let fusion = FusionFolder::read(dir.path()).unwrap();
    for (name, original) in &fusion.tensors {
        for shape in others(&original.shape) {
            let mut other = fusion.clone();
            other.tensors.insert(name.clone(), tensor(&shape));
            let error = other.into_fusion(&bank, None).unwrap_err();
            check(&error, name, &original.shape, &shape, "fusion");
        }
    }
    assert!(load_fusion(dir.path(), &mut bank, Some("other")).is_ok());
}

#[test]
fn a_configuration_of_a_huge_size_beside_a_small_file_is_an_error_at_once() {
    let sizes = [
        ("lora[r=2]", "r"),
        ("vera[r=2]", "r"),
        ("mtl_lora[r=2]", "n_up_projection"),
        ("prefix_tuning[prefix_length=2,bottleneck_size=2]", "bottleneck_size"),
        ("prefix_tuning_flat[prefix_length=2]", "prefix_length"),
        ("prompt_tuning[prompt_length=2]", "prompt_length"),
        ("noreft[r=2]", "r"),
    ];
    for (config, key) in sizes {
        for size in [1_u64 << 20, 1 << 31, 1 << 40, 1 << 63, u64::MAX] {
            let dir = tempfile::tempdir().unwrap();
            save_adapter(dir.path(), &bank(config), "a", &SaveOptions::default()).unwrap();
            let path = dir.path().join("adapter_config.json");
            let mut value = json(&path);
            assert!(!value["config"][key].is_null(), "{config} has no {key}");
            value["config"][key] = size.into();
            fs::write(&path, value.to_string()).unwrap();
            let started = Instant::now();
            let mut bank = AdapterBank::new(spec(2), &Device::default());
            load_adapter(dir.path(), &mut bank, None).unwrap_err();
            assert!(started.elapsed().as_secs() < 2, "{config} {key}={size}");
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let mut bank = bank("lora[r=2]");
    bank.add_head_seeded("a", &HeadConfig::classification(2), 1).unwrap();
    save_head(dir.path(), &bank, "a", &SaveOptions::default()).unwrap();
    let path = dir.path().join("head_config.json");
    for (key, size) in [("num_labels", 1_u64 << 24), ("num_labels", 1 << 40), ("layers", 1024), ("layers", 1 << 40)] {
        let mut value = json(&path);
        value["config"][key] = size.into();
        let other = tempfile::tempdir().unwrap();
        fs::write(other.path().join("head_config.json"), value.to_string()).unwrap();
        fs::copy(dir.path().join("model_head.safetensors"), other.path().join("model_head.safetensors")).unwrap();
        let started = Instant::now();
        let head = HeadFolder::read(other.path()).and_then(|head| head.into_head(8, &Device::default(), None));
        assert!(head.is_err(), "{key}={size}");
        assert!(started.elapsed().as_secs() < 2, "{key}={size}");
    }
}
