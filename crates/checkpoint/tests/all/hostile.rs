//! Files that are damaged, foreign or meant to do harm: an error each time, and never a panic.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use crate::common::{bank, goldens, json, spec};
use burn::tensor::Device;
use burn_adapters_checkpoint::{AdapterFolder, CheckpointError, HeadFolder, SaveOptions, load_adapter, save_adapter};
use burn_adapters_model::AdapterBank;
use proptest::prelude::*;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use tempfile::TempDir;

fn saved() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    save_adapter(dir.path(), &bank("seq_bn[reduction_factor=2]"), "a", &SaveOptions::default()).unwrap();
    dir
}

fn load(dir: &Path) -> Result<AdapterBank, CheckpointError> {
    let mut bank = AdapterBank::new(spec(2), &Device::default());
    load_adapter(dir, &mut bank, None).map(|_| bank)
}

fn weights(dir: &TempDir) -> std::path::PathBuf {
    dir.path().join("adapter.safetensors")
}

/// A folder whose weights are a `.bin` with these bytes.
fn with_bin(bytes: &[u8]) -> TempDir {
    let dir = saved();
    fs::remove_file(weights(&dir)).unwrap();
    fs::write(dir.path().join("pytorch_adapter.bin"), bytes).unwrap();
    dir
}

/// Changes the tensors of a folder: `edit` gets name, type, shape and bytes of each and gives what shall stand there.
type Raw = (String, Dtype, Vec<usize>, Vec<u8>);

fn edit_tensors(dir: &TempDir, edit: impl Fn(Vec<Raw>) -> Vec<Raw>) {
    let bytes = fs::read(weights(dir)).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensors = file
        .iter()
        .map(|(name, view)| (name.to_owned(), view.dtype(), view.shape().to_vec(), view.data().to_vec()))
        .collect();
    let tensors = edit(tensors);
    let views: HashMap<&str, TensorView> = tensors
        .iter()
        .map(|(name, dtype, shape, data)| (name.as_str(), TensorView::new(*dtype, shape.clone(), data).unwrap()))
        .collect();
    fs::write(weights(dir), safetensors::serialize(views, None).unwrap()).unwrap();
}

#[test]
fn a_file_cut_short_anywhere_is_an_error() {
    let dir = saved();
    let whole = fs::read(weights(&dir)).unwrap();
    for length in (0..whole.len()).step_by(100).chain([1, 7, 8, 9, whole.len() - 1]) {
        fs::write(weights(&dir), &whole[..length]).unwrap();
        assert!(matches!(load(dir.path()), Err(CheckpointError::Damaged { .. })), "{length}");
    }
    fs::write(weights(&dir), &whole).unwrap();
    load(dir.path()).unwrap();
}

#[test]
fn a_bin_cut_short_anywhere_is_an_error() {
    let whole = fs::read(goldens().join("cases/tiny-a__seq_bn_ln_before/pytorch_adapter.bin")).unwrap();
    let dir = with_bin(&whole);
    assert!(AdapterFolder::read(dir.path()).is_ok());
    for length in (0..whole.len()).step_by(100) {
        fs::write(dir.path().join("pytorch_adapter.bin"), &whole[..length]).unwrap();
        let error = AdapterFolder::read(dir.path()).unwrap_err();
        assert!(matches!(error, CheckpointError::Damaged { .. }), "{length}: {error}");
    }
}

#[test]
fn a_header_length_that_is_no_length_is_an_error() {
    let dir = saved();
    let whole = fs::read(weights(&dir)).unwrap();
    for length in [u64::MAX, u64::MAX - 7, 1 << 62, f64::NAN.to_bits(), f64::INFINITY.to_bits(), 0, 1] {
        let mut bytes = whole.clone();
        bytes[..8].copy_from_slice(&length.to_le_bytes());
        fs::write(weights(&dir), bytes).unwrap();
        assert!(matches!(load(dir.path()), Err(CheckpointError::Damaged { .. })), "{length}");
    }
}

#[test]
fn tensors_missing_left_over_and_reshaped_are_all_listed() {
    let dir = saved();
    edit_tensors(&dir, |tensors| {
        let mut tensors: Vec<Raw> = tensors
            .into_iter()
            .filter(|(name, ..)| !name.ends_with("layer.1.output.adapters.a.adapter_up.bias"))
            .collect();
        for (name, _, shape, _) in &mut tensors {
            if name.ends_with("layer.0.output.adapters.a.adapter_down.0.weight") {
                shape.reverse();
            }
        }
        tensors.push(("bert.encoder.layer.0.output.adapters.a.extra".into(), Dtype::F32, vec![1], vec![0; 4]));
        tensors
    });
    let Err(CheckpointError::Mismatch { mismatch, path }) = load(dir.path()) else {
        panic!("no mismatch");
    };
    assert_eq!(mismatch.missing.len(), 1);
    assert_eq!(mismatch.unexpected[0].name, "bert.encoder.layer.0.output.adapters.a.extra");
    assert_eq!(
        (mismatch.reshaped[0].expected.as_slice(), mismatch.reshaped[0].found.as_slice()),
        (&[4, 8][..], &[8, 4][..])
    );
    assert_eq!(path, weights(&dir));
    let text = mismatch.to_string();
    assert!(text.contains("missing: bert.encoder.layer.1.output.adapters.a.adapter_up.bias [8]"), "{text}");
    assert!(text.contains("adapter_down.0.weight, expected [4, 8], found [8, 4]"), "{text}");
}

#[test]
fn half_precision_is_converted_and_integers_are_refused() {
    let dir = saved();
    let before = AdapterFolder::read(dir.path()).unwrap().tensors;
    // The upper half of an f32 is a bf16.
    edit_tensors(&dir, |tensors| {
        let half = |data: Vec<u8>| data.chunks(4).flat_map(|value| value[2..].to_vec()).collect();
        tensors.into_iter().map(|(name, _, shape, data)| (name, Dtype::BF16, shape, half(data))).collect()
    });
    load(dir.path()).unwrap();
    for (name, tensor) in AdapterFolder::read(dir.path()).unwrap().tensors {
        for (half, full) in tensor.values.iter().zip(&before[&name].values) {
            assert_eq!(half.to_bits(), full.to_bits() & 0xffff_0000);
        }
    }
    let dir = saved();
    edit_tensors(&dir, |tensors| {
        tensors.into_iter().map(|(name, _, shape, data)| (name, Dtype::I32, shape, data)).collect()
    });
    assert!(matches!(load(dir.path()), Err(CheckpointError::DataType { .. })));
}

#[test]
fn one_parameter_with_two_values_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    save_adapter(dir.path(), &bank("seq_bn[ln_before=True]"), "a", &SaveOptions::default()).unwrap();
    edit_tensors(&dir, |mut tensors| {
        tensors.iter_mut().find(|(name, ..)| name.ends_with("adapter_down.0.bias")).unwrap().3[0] = 1;
        tensors
    });
    let error = load(dir.path()).unwrap_err();
    assert!(matches!(error, CheckpointError::Disagreement { .. }), "{error}");
    // One of the two names is enough.
    edit_tensors(&dir, |tensors| {
        tensors.into_iter().filter(|(name, ..)| !name.ends_with("adapter_down.0.bias")).collect()
    });
    load(dir.path()).unwrap();
}

#[test]
fn a_configuration_that_is_none_is_an_error_that_says_so() {
    let dir = saved();
    let path = dir.path().join("adapter_config.json");
    let whole = json(&path);
    let long = "[".repeat(100_000);
    for text in ["", "{", "[]", "null", "\u{0}", "{}", r#"{"name": 1, "config": {}}"#, r#"{"name": "a"}"#, &long] {
        fs::write(&path, text).unwrap();
        assert!(matches!(load(dir.path()), Err(CheckpointError::Json { .. })), "{text}");
    }
    fs::write(&path, b"\xff\xfe").unwrap();
    assert!(matches!(load(dir.path()), Err(CheckpointError::Json { .. })));
    for (key, value) in [
        ("name", serde_json::json!("")),
        ("name", serde_json::json!(null)),
        ("hidden_size", serde_json::json!(-8)),
        ("hidden_size", serde_json::json!(1e300)),
        ("model_type", serde_json::json!(3)),
        ("config", serde_json::json!([])),
        ("config", serde_json::json!({"architecture": "lora", "r": 0})),
        ("config", serde_json::json!({"reduction_factor": "many"})),
    ] {
        let mut wrong = whole.clone();
        wrong[key] = value.clone();
        fs::write(&path, wrong.to_string()).unwrap();
        let error = load(dir.path()).unwrap_err();
        let named = matches!(error, CheckpointError::Json { .. } | CheckpointError::Config { .. });
        assert!(named, "{key}={value}: {error}");
    }
}

#[test]
fn an_adapter_for_another_model_is_an_error_that_names_both() {
    let dir = saved();
    let folder = AdapterFolder::read(dir.path()).unwrap();
    let device = Device::default();
    let load = |spec| folder.clone().into_adapter(&spec, &device, None).unwrap_err().to_string();
    let mut other = spec(2);
    other.model_type = "roberta".into();
    assert!(load(other).ends_with("is for a model of type `bert`, but this model is of type `roberta`"));
    let mut other = spec(2);
    other.hidden_size = 16;
    assert!(load(other).ends_with("with hidden size 8, but this model has hidden size 16"));
    assert!(load(spec(4)).ends_with("with 2 layers, but this model has 4 layers"));
    assert!(load(spec(1)).ends_with("with 2 layers, but this model has 1 layers"));
}

#[test]
fn layers_that_were_left_out_count_for_the_depth() {
    let dir = tempfile::tempdir().unwrap();
    let config = "seq_bn[reduction_factor=2,leave_out=[1]]";
    save_adapter(dir.path(), &bank(config), "a", &SaveOptions::default()).unwrap();
    let folder = AdapterFolder::read(dir.path()).unwrap();
    let load = |layers| folder.clone().into_adapter(&spec(layers), &Device::default(), None).map(|_| ());
    load(2).unwrap();
    let unknown = load(1).unwrap_err().to_string();
    assert!(unknown.contains("names layer 1, but the model has 1 layers"), "{unknown}");
    assert!(matches!(load(3), Err(CheckpointError::Depth { file: 2, model: 3, .. })));
}

#[test]
fn a_folder_without_an_adapter_says_what_was_looked_for() {
    let dir = tempfile::tempdir().unwrap();
    let text = load(dir.path()).unwrap_err().to_string();
    assert!(text.contains("holds no adapter: expected adapter_config.json"), "{text}");
    let text = HeadFolder::read(dir.path()).unwrap_err().to_string();
    assert!(text.contains("holds no head: expected head_config.json"), "{text}");
    assert!(!HeadFolder::exists(dir.path()));
    let dir = saved();
    fs::remove_file(weights(&dir)).unwrap();
    let text = load(dir.path()).unwrap_err().to_string();
    assert!(text.contains("expected adapter.safetensors or pytorch_adapter.bin"), "{text}");
}

#[test]
fn a_pickle_that_calls_something_is_refused_and_nothing_is_called() {
    let witness = tempfile::tempdir().unwrap();
    let touched = witness.path().join("touched");
    let command = format!("touch {}", touched.display());
    // `os.system(command)` as the whole file, and as an entry of a dictionary.
    let whole = format!("cos\nsystem\n(S'{command}'\ntR.");
    let entry = format!("(dS'x'\ncposix\nsystem\n(S'{command}'\ntRs.");
    let pickles = [whole.clone(), format!("\u{0}{whole}"), entry.clone()];
    for pickle in pickles {
        for file in
            [pickle.clone().into_bytes(), zip(&[("archive/data.pkl", pickle.as_bytes()), ("archive/version", b"3\n")])]
        {
            let dir = with_bin(&file);
            let error = load(dir.path()).unwrap_err();
            assert!(matches!(error, CheckpointError::Damaged { .. }), "{pickle}: {error}");
        }
    }
    assert!(!touched.exists());
}

#[test]
fn a_safetensors_file_under_the_name_of_a_bin_is_an_error() {
    let dir = saved();
    let bytes = fs::read(weights(&dir)).unwrap();
    assert!(matches!(load(with_bin(&bytes).path()), Err(CheckpointError::Damaged { .. })));
    // And the other way round.
    let bin = fs::read(goldens().join("cases/tiny-a__seq_bn_ln_before/pytorch_adapter.bin")).unwrap();
    fs::write(weights(&dir), bin).unwrap();
    assert!(matches!(load(dir.path()), Err(CheckpointError::Damaged { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn no_bytes_make_a_bin_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), first in 0usize..5) {
        let mut bytes = bytes;
        let start: [&[u8]; 5] = [b"", b"\x80\x02", b"(d", b"PK\x03\x04", b"}"];
        bytes.splice(0..0, start[first].iter().copied());
        let dir = with_bin(&bytes);
        prop_assert!(load(dir.path()).is_err());
    }

    #[test]
    fn no_changed_byte_makes_a_bin_panic(at in any::<prop::sample::Index>(), to: u8) {
        let mut bytes = fs::read(goldens().join("cases/tiny-a__seq_bn_ln_before/pytorch_adapter.bin")).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = to;
        let _ = AdapterFolder::read(with_bin(&bytes).path());
    }

    #[test]
    fn no_changed_byte_makes_safetensors_panic(at in any::<prop::sample::Index>(), to: u8) {
        let dir = saved();
        let mut bytes = fs::read(weights(&dir)).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = to;
        fs::write(weights(&dir), bytes).unwrap();
        let _ = load(dir.path());
    }
}

/// A zip archive of stored files.
fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in files {
        let offset = bytes.len() as u32;
        let sizes = data.len() as u32;
        let mut fields = Vec::new();
        fields.extend([20u8, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        fields.extend(crc32(data).to_le_bytes());
        fields.extend(sizes.to_le_bytes());
        fields.extend(sizes.to_le_bytes());
        fields.extend((name.len() as u16).to_le_bytes());
        fields.extend([0, 0]);
        bytes.extend(b"PK\x03\x04");
        bytes.extend(&fields);
        bytes.extend(name.as_bytes());
        bytes.extend(*data);
        directory.extend(b"PK\x01\x02\x14\x00");
        directory.extend(&fields);
        directory.extend([0u8; 10]);
        directory.extend(offset.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let start = bytes.len() as u32;
    bytes.extend(&directory);
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    bytes.extend((files.len() as u16).to_le_bytes());
    bytes.extend((files.len() as u16).to_le_bytes());
    bytes.extend((directory.len() as u32).to_le_bytes());
    bytes.extend(start.to_le_bytes());
    bytes.extend([0, 0]);
    bytes
}

fn crc32(data: &[u8]) -> u32 {
    !data.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    })
}
