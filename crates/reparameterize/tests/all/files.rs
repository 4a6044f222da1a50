//! Saving and loading one adapter.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::HashMap;
use std::fs;

use crate::common::{METHODS, Model, WIDTH, adapted, data, input, lora_config, parameters};
use burn::module::{Module, ModuleMapper, Param};
use burn::nn::LinearConfig;
use burn::tensor::{Device, Tensor};
use burn_adapters_reparameterize::{Targets, WeightAdapterError, WeightAdapters};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

#[test]
fn a_saved_adapter_runs_bit_equal_on_another_copy_of_the_base() {
    let device = Device::default();
    let folder = tempfile::tempdir().unwrap();
    for (i, method) in METHODS.into_iter().enumerate() {
        let base = Model::new(&device);
        let model = adapted(&base, method);
        let file = folder.path().join(format!("new/{i}.safetensors"));
        let saved = model.save_adapter("a", &file).unwrap();
        assert_eq!(saved.bytes, fs::metadata(&file).unwrap().len());

        let mut other = Model::new(&device);
        let report = other.load_adapter("b", &file).unwrap();
        assert_eq!(report.adapted.len(), 6);
        assert_eq!(report.parameters() + report.frozen, saved.parameters);
        assert_eq!(data(other.forward(input(1, &device))), data(base.forward(input(1, &device))), "not active yet");
        other.activate_adapter("b").unwrap();
        assert_eq!(data(other.forward(input(1, &device))), data(model.forward(input(1, &device))), "{method}");
        assert_eq!(parameters(&other).0, parameters(&base).0);

        // The same adapter gives the same bytes, and overwrites.
        let bytes = fs::read(&file).unwrap();
        other.save_adapter("b", &file).unwrap();
        assert_eq!(fs::read(&file).unwrap(), bytes);
    }
    let files = fs::read_dir(folder.path().join("new")).unwrap().count();
    assert_eq!(files, METHODS.len(), "nothing is left beside");
}

#[test]
fn tensors_are_named_by_the_paths_of_the_parameters() {
    let device = Device::default();
    let folder = tempfile::tempdir().unwrap();
    let names = |config: &str| {
        let file = folder.path().join("a.safetensors");
        let mut model = LinearConfig::new(4, 3).init(&device);
        model.add_adapter("a", &Targets::paths(["weight"]), &lora_config(config)).unwrap();
        model.save_adapter("a", &file).unwrap();
        let bytes = fs::read(&file).unwrap();
        let mut names: Vec<String> =
            SafeTensors::deserialize(&bytes).unwrap().names().into_iter().map(str::to_owned).collect();
        names.sort();
        names
    };
    assert_eq!(names("dora[r=2]"), ["weight.lora.a", "weight.lora.b", "weight.lora.magnitude.vector"]);
    assert_eq!(names("vera[r=2]"), ["vera_shared.a", "vera_shared.b", "weight.vera.b", "weight.vera.d"]);
    assert_eq!(names("ia3"), ["weight.ia3.vector"]);
}

/// Saves, changes the file, and loads it into a new model.
fn load_changed(config: &str, change: impl Fn(&mut HashMap<String, (Vec<usize>, Vec<u8>)>)) -> WeightAdapterError {
    let device = Device::default();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.safetensors");
    adapted(&Model::new(&device), config).save_adapter("a", &file).unwrap();
    let bytes = fs::read(&file).unwrap();
    let metadata = SafeTensors::read_metadata(&bytes).unwrap().1.metadata().clone();
    let mut tensors: HashMap<_, _> = SafeTensors::deserialize(&bytes)
        .unwrap()
        .iter()
        .map(|(name, view)| (name.to_owned(), (view.shape().to_vec(), view.data().to_vec())))
        .collect();
    change(&mut tensors);
    let views: Vec<_> = tensors
        .iter()
        .map(|(name, (shape, bytes))| (name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()))
        .collect();
    fs::write(&file, safetensors::serialize(views, metadata).unwrap()).unwrap();
    let mut model = Model::new(&device);
    let before = parameters(&model);
    let error = model.load_adapter("a", &file).unwrap_err();
    assert_eq!(parameters(&model), before);
    error
}

const QUERY: &str = "layers.0.query.weight";

#[test]
fn a_missing_an_unexpected_and_a_misshapen_tensor_are_errors() {
    let error = load_changed(METHODS[1], |tensors| {
        let (shape, bytes) = tensors.remove(&format!("{QUERY}.lora.b")).unwrap();
        assert_eq!(shape, [3, WIDTH]);
        tensors.insert("stray".into(), (vec![1], vec![0; 4]));
        tensors.insert(format!("{QUERY}.lora.a"), (shape, bytes));
    });
    let text = error.to_string();
    let WeightAdapterError::Mismatch { mismatch, .. } = error else { panic!("{text}") };
    assert_eq!(mismatch.missing[0].name, format!("{QUERY}.lora.b"));
    assert_eq!(mismatch.unexpected[0].name, "stray");
    let reshaped = &mismatch.reshaped[0];
    assert_eq!((&*reshaped.expected, &*reshaped.found), (&[WIDTH, 3][..], &[3, WIDTH][..]));
    assert!(text.contains("missing: layers.0.query.weight.lora.b [3, 8]\n  unexpected: stray [1]"), "{text}");
    assert!(text.ends_with("layers.0.query.weight.lora.a, expected [8, 3], found [3, 8]"), "{text}");

    // All tensors of one parameter, and those that all parameters share.
    let missing = |error| match error {
        WeightAdapterError::Mismatch { mismatch, .. } => mismatch.missing,
        other => panic!("{other}"),
    };
    let error = load_changed(METHODS[2], |tensors| tensors.retain(|name, _| !name.contains("layers.1.up")));
    assert_eq!(missing(error).len(), 2);
    let error = load_changed(METHODS[2], |tensors| drop(tensors.remove("vera_shared.a")));
    assert_eq!(missing(error)[0].name, "vera_shared.a");
}

#[test]
fn a_file_for_parameters_that_the_module_lacks_is_an_error() {
    let device = Device::default();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.safetensors");
    adapted(&Model::new(&device), METHODS[0]).save_adapter("a", &file).unwrap();
    let mut model = Model::new(&device);
    model.layers.pop();
    let error = model.load_adapter("a", &file).unwrap_err();
    let WeightAdapterError::NoSuchParameter { paths } = error else { panic!("{error}") };
    assert_eq!(paths, ["layers.1.query.weight", "layers.1.up.weight", "layers.1.value.weight"]);
}

#[test]
fn files_that_are_something_else_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.safetensors");
    let load = || {
        let mut model = Model::new(&Device::default());
        model.load_adapter("a", &file).unwrap_err()
    };
    assert!(matches!(load(), WeightAdapterError::Io { doing: "read", .. }));
    let damaged = |bytes: &[u8], reason: &str| {
        fs::write(&file, bytes).unwrap();
        let error = load();
        assert!(matches!(error, WeightAdapterError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
    };
    damaged(b"", "");
    damaged(&[0xff; 64], "");
    let header = |header: &str, dtype: Dtype| {
        let zeros = [0; 8];
        let tensor = TensorView::new(dtype, vec![8 * 8 / dtype.bitsize()], &zeros).unwrap();
        let metadata = HashMap::from([("burn_adapters".to_owned(), header.to_owned())]);
        safetensors::serialize([("x", tensor)], Some(metadata)).unwrap()
    };
    let about = |config: &str, targets: &str| {
        format!(r#"{{"format": "weight_adapter", "version": 1, "config": {config}, "targets": {targets}}}"#)
    };
    let tensor = TensorView::new(Dtype::F32, vec![2], &[0; 8]).unwrap();
    damaged(&safetensors::serialize([("x", tensor)], None).unwrap(), "no key `burn_adapters`");
    damaged(&header("{", Dtype::F32), "its header is not JSON");
    damaged(&header(r#"{"format": "weight_adapter", "version": 2}"#, Dtype::F32), "version 2");
    damaged(&header(&about(r#"{"architecture": "lora", "r": -1}"#, "[]"), Dtype::F32), "its `config`");
    damaged(&header(&about(r#""seq_bn""#, "[]"), Dtype::F32), "must be LoRA or a method derived from it");
    damaged(&header(&about(r#""lora""#, "[1]"), Dtype::F32), "must be a list of parameter paths");
    damaged(&header(&about(r#""lora""#, "[]"), Dtype::F16), "must be F32, found F16");
    fs::write(&file, header(&about(r#""lora""#, "[]"), Dtype::F32)).unwrap();
    assert!(matches!(load(), WeightAdapterError::NothingMatched { .. }));

    // Every truncation of a valid file.
    adapted(&Model::new(&Device::default()), "ia3").save_adapter("a", &file).unwrap();
    let bytes = fs::read(&file).unwrap();
    for length in (0..bytes.len()).step_by(7) {
        damaged(&bytes[..length], "");
    }
}

#[test]
fn a_file_that_cannot_be_written_is_an_error_and_a_loaded_adapter_trains() {
    let device = Device::default().autodiff();
    let folder = tempfile::tempdir().unwrap();
    let model = adapted(&Model::new(&device), METHODS[1]);
    let blocked = folder.path().join("blocked");
    fs::write(&blocked, "a file").unwrap();
    let error = model.save_adapter("a", blocked.join("a.safetensors")).unwrap_err();
    assert!(matches!(error, WeightAdapterError::Io { doing: "write", .. }), "{error}");

    let file = folder.path().join("a.safetensors");
    model.save_adapter("a", &file).unwrap();
    let mut loaded = Model::new(&device);
    loaded.load_adapter("a", &file).unwrap();
    loaded.activate_adapter("a").unwrap();
    let grads = loaded.forward(input(1, &device)).sum().backward();
    let grads = burn::optim::GradientsParams::from_grads(grads, &loaded);
    assert_eq!(grads.len(), 6 * 3);
    assert_eq!(Module::num_params(&loaded), Module::num_params(&model));
}

#[test]
fn numbers_that_are_not_finite_are_neither_loaded_nor_saved() {
    struct Spoil;
    impl ModuleMapper for Spoil {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|tensor| tensor * f32::INFINITY)
        }
    }
    let (device, folder) = (Device::default(), tempfile::tempdir().unwrap());
    let file = folder.path().join("a.safetensors");
    adapted(&Model::new(&device), METHODS[0]).save_adapter("a", &file).unwrap();
    let mut bytes = fs::read(&file).unwrap();
    let end = bytes.len() - 4;
    bytes[end..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&file, bytes).unwrap();
    let error = Model::new(&device).load_adapter("a", &file).unwrap_err();
    assert!(matches!(&error, WeightAdapterError::NotFinite { doing: "load", .. }), "{error}");
    assert!(error.to_string().contains("a.safetensors"), "{error}");
    let error = adapted(&Model::new(&device), METHODS[0]).map(&mut Spoil).save_adapter("a", &file).unwrap_err();
    assert!(matches!(&error, WeightAdapterError::NotFinite { doing: "save", .. }), "{error}");
}

#[test]
fn what_is_no_file_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.safetensors");
    let refused = || {
        let error = Model::new(&Device::default()).load_adapter("a", &file).unwrap_err();
        assert!(error.to_string().contains("a.safetensors"), "{error}");
    };
    fs::create_dir(&file).unwrap();
    refused();
    fs::remove_dir(&file).unwrap();
    fs::File::create(&file).unwrap().set_len(1 << 40).unwrap();
    refused();
    fs::remove_file(&file).unwrap();
    if cfg!(unix) {
        assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success());
        refused();
    }
}
