//! Folders whose numbers cannot be used, whose files are no files, or that are of another kind.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::{bank, json, spec};
use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Tensor};
use burn_adapters_checkpoint::{
    AdapterFolder, CheckpointError, FusionFolder, HeadFolder, SaveOptions, load_setup, save_adapter, save_head,
    save_setup,
};
use burn_adapters_composition::Composition;
use burn_adapters_heads::HeadConfig;
use burn_adapters_model::AdapterBank;
use tempfile::TempDir;

/// A folder with an adapter and a head.
fn saved() -> TempDir {
    let (dir, mut bank) = (tempfile::tempdir().unwrap(), bank("seq_bn[reduction_factor=2]"));
    bank.add_head("a", &HeadConfig::classification(2)).unwrap();
    save_adapter(dir.path(), &bank, "a", &SaveOptions::default()).unwrap();
    save_head(dir.path(), &bank, "a", &SaveOptions::default()).unwrap();
    dir
}

/// Overwrites the last number of a file with these bytes.
fn spoil(path: &Path, value: f32) {
    let mut bytes = fs::read(path).unwrap();
    let end = bytes.len() - 4;
    bytes[end..].copy_from_slice(&value.to_le_bytes());
    fs::write(path, bytes).unwrap();
}

#[test]
fn weights_that_are_not_finite_are_refused_with_their_file_and_tensor() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let dir = saved();
        spoil(&dir.path().join("adapter.safetensors"), value);
        spoil(&dir.path().join("model_head.safetensors"), value);
        for error in [AdapterFolder::read(dir.path()).unwrap_err(), HeadFolder::read(dir.path()).unwrap_err()] {
            let CheckpointError::NotFinite { path, tensor, found, .. } = &error else { panic!("{error}") };
            assert!(error.to_string().contains(&path.display().to_string()) && error.to_string().contains(tensor));
            assert_eq!(found.count, 1, "{error}");
        }
    }
    let dir = saved();
    spoil(&dir.path().join("adapter.safetensors"), f32::MAX);
    AdapterFolder::read(dir.path()).unwrap();
}

#[test]
fn weights_that_are_not_finite_are_not_saved() {
    struct Spoil;
    impl ModuleMapper for Spoil {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|tensor| tensor * f32::NAN)
        }
    }
    let dir = saved();
    let before = crate::common::contents(dir.path());
    let bank = bank("lora[r=2]").map(&mut Spoil);
    let error = save_adapter(dir.path(), &bank, "a", &SaveOptions::default()).unwrap_err();
    assert!(matches!(error, CheckpointError::NotFinite { doing: "save", .. }), "{error}");
    assert_eq!(crate::common::contents(dir.path()), before, "what was there is whole");
}

/// Replaces a file by a folder, by a file of a terabyte without contents, and by a pipe, and gives the errors.
fn replaced<T>(path: &Path, read: impl Fn() -> Result<T, CheckpointError>) -> Vec<CheckpointError> {
    let mut errors = Vec::new();
    let mut refused = || {
        let start = Instant::now();
        errors.push(read().map(drop).unwrap_err());
        assert!(start.elapsed() < Duration::from_secs(5), "{path:?}: {:?}", start.elapsed());
    };
    fs::remove_file(path).unwrap();
    fs::create_dir(path).unwrap();
    refused();
    fs::remove_dir(path).unwrap();
    File::create(path).unwrap().set_len(1 << 40).unwrap();
    refused();
    fs::remove_file(path).unwrap();
    if cfg!(unix) {
        assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
        refused();
    }
    errors
}

#[test]
fn folders_pipes_and_giants_in_the_place_of_files_are_refused() {
    for name in ["adapter_config.json", "adapter.safetensors"] {
        let dir = saved();
        for error in replaced(&dir.path().join(name), || AdapterFolder::read(dir.path())) {
            assert!(error.to_string().contains(name), "{error}");
        }
    }
    for name in ["head_config.json", "model_head.safetensors"] {
        let dir = saved();
        for error in replaced(&dir.path().join(name), || HeadFolder::read(dir.path())) {
            assert!(error.to_string().contains(name), "{error}");
        }
    }
    let dir = saved();
    fs::rename(dir.path().join("adapter.safetensors"), dir.path().join("pytorch_adapter.bin")).unwrap();
    for error in replaced(&dir.path().join("pytorch_adapter.bin"), || AdapterFolder::read(dir.path())) {
        assert!(error.to_string().contains("pytorch_adapter.bin"), "{error}");
    }
}

#[test]
fn what_stands_at_the_first_choice_of_a_file_is_not_passed_over() {
    let dir = saved();
    let bin = crate::common::goldens().join("cases/tiny-a__seq_bn_ln_before/pytorch_adapter.bin");
    fs::copy(bin, dir.path().join("pytorch_adapter.bin")).unwrap();
    fs::remove_file(dir.path().join("adapter.safetensors")).unwrap();
    fs::create_dir(dir.path().join("adapter.safetensors")).unwrap();
    let error = AdapterFolder::read(dir.path()).unwrap_err().to_string();
    assert!(error.contains("adapter.safetensors") && error.contains("a directory"), "{error}");
}

#[test]
fn git_lfs_pointers_are_named() {
    let dir = saved();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 12345\n";
    fs::write(dir.path().join("adapter.safetensors"), pointer).unwrap();
    let error = AdapterFolder::read(dir.path()).unwrap_err().to_string();
    assert!(error.contains("git lfs pull"), "{error}");
}

#[test]
fn keys_that_stand_twice_are_refused() {
    for (file, what) in [("adapter_config.json", "adapter"), ("head_config.json", "head")] {
        let dir = saved();
        let path = dir.path().join(file);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replacen('{', r#"{"name": "b", "#, 1)).unwrap();
        let error = match what {
            "adapter" => AdapterFolder::read(dir.path()).map(drop),
            _ => HeadFolder::read(dir.path()).map(drop),
        };
        let error = error.unwrap_err().to_string();
        assert!(error.contains("the key \"name\" appears twice") && error.contains(file), "{error}");
    }
}

#[test]
fn folders_of_other_kinds_are_named_with_what_to_do() {
    let with = |files: &[(&str, &str)]| {
        let dir = tempfile::tempdir().unwrap();
        files.iter().for_each(|(name, text)| fs::write(dir.path().join(name), text).unwrap());
        dir
    };
    let peft = with(&[("adapter_config.json", r#"{"peft_type": "LORA", "r": 4}"#), ("adapter_model.safetensors", "")]);
    let model = with(&[("config.json", "{}"), ("model.safetensors", "")]);
    let head = with(&[("head_config.json", "{}")]);
    for (dir, expected) in [(&peft, "a LoRA adapter of PEFT"), (&model, "a whole Hugging Face model")] {
        let errors = [
            AdapterFolder::read(dir.path()).unwrap_err(),
            HeadFolder::read(dir.path()).unwrap_err(),
            FusionFolder::read(dir.path()).unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(error, CheckpointError::OtherKind { .. }), "{error}");
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
    let error = AdapterFolder::read(peft.path()).unwrap_err().to_string();
    assert!(error.contains("such adapters are read for a model"), "{error}");
    let error = AdapterFolder::read(head.path()).unwrap_err().to_string();
    assert!(error.contains("a prediction head without an adapter"), "{error}");
    let empty = AdapterFolder::read(with(&[]).path()).unwrap_err();
    assert!(matches!(empty, CheckpointError::NotFound { .. }), "{empty}");
}

#[test]
fn a_message_lists_the_first_of_many_tensors() {
    use safetensors::tensor::{Dtype, TensorView};
    let dir = saved();
    let names: Vec<String> = (0..20_000).map(|index| format!("bert.{}.{index}", "x".repeat(200))).collect();
    let views = names.iter().map(|name| (name, TensorView::new(Dtype::F32, vec![1], &[0; 4]).unwrap()));
    fs::write(dir.path().join("adapter.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
    let error = AdapterFolder::read(dir.path()).unwrap().into_adapter(&spec(2), &Device::default(), None).unwrap_err();
    let text = error.to_string();
    assert!(text.len() < 10_000, "{} bytes", text.len());
    assert!(text.contains("20000 unexpected") && text.contains("unexpected: 19992 more"), "{text}");
}

/// Turns the head in a folder into one for images, as the Python library saves it.
fn make_image_head(dir: &Path) {
    let path = dir.join("head_config.json");
    let mut config = json(&path);
    config["config"] = serde_json::json!({
        "head_type": "image_classification", "num_labels": 2, "label2id": {"LABEL_0": 0, "LABEL_1": 1}
    });
    fs::write(path, config.to_string()).unwrap();
}

#[test]
fn a_head_of_another_kind_stops_only_who_asks_for_it() {
    let mut bank = AdapterBank::new(spec(2), &Device::default());
    for name in ["language", "task"] {
        bank.add(name, "lora[r=2]".parse().unwrap()).unwrap();
        bank.add_head(name, &HeadConfig::classification(2)).unwrap();
    }
    let (dir, stack) = (tempfile::tempdir().unwrap(), Composition::stack(["language", "task"]));
    save_setup(dir.path(), &bank, &stack, None, &SaveOptions::default()).unwrap();
    make_image_head(&dir.path().join("language"));
    let mut read = AdapterBank::new(spec(2), &Device::default());
    let (_, reports) = load_setup(dir.path(), &mut read).unwrap();
    assert_eq!(read.head_names().collect::<Vec<_>>(), ["task"]);
    assert!(reports[0].notes.iter().any(|note| note.contains("image_classification")), "{:?}", reports[0].notes);

    make_image_head(&dir.path().join("task"));
    let mut read = AdapterBank::new(spec(2), &Device::default());
    let error = load_setup(dir.path(), &mut read).unwrap_err();
    assert!(error.is_unknown_head() && error.to_string().contains("masked_lm"), "{error}");
    // No weights are read of what cannot be built.
    fs::remove_file(dir.path().join("task/model_head.safetensors")).unwrap();
    assert!(HeadFolder::read(dir.path().join("task")).unwrap_err().is_unknown_head());
}
