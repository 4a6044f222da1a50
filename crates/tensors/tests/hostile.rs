//! Files of tensors that are not what they claim, and elements that nothing can be computed with.
#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use burn_adapters_files::FileErrorKind;
use burn_adapters_tensors::{TensorFile, TensorFileError};
use half::{bf16, f16};

/// A safetensors file of one tensor `x` of this type and shape.
fn written(dir: &Path, dtype: &str, shape: &[usize], bytes: &[u8]) -> PathBuf {
    let header = format!(r#"{{"x":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[0,{}]}}}}"#, bytes.len());
    let path = dir.join("x.safetensors");
    fs::write(&path, [&(header.len() as u64).to_le_bytes(), header.as_bytes(), bytes].concat()).unwrap();
    path
}

fn read(path: &Path) -> Result<Vec<f32>, TensorFileError> {
    TensorFile::open(path, 1 << 40)?.read("x")
}

#[test]
fn every_floating_point_format_is_read_as_f32() {
    let dir = tempfile::tempdir().unwrap();
    let cases: [(&str, Vec<u8>); 4] = [
        ("F64", [1.5f64, -2.0].iter().flat_map(|value| value.to_le_bytes()).collect()),
        ("F32", [1.5f32, -2.0].iter().flat_map(|value| value.to_le_bytes()).collect()),
        ("F16", [0x3e00u16, 0xc000].iter().flat_map(|bits| bits.to_le_bytes()).collect()),
        ("BF16", [0x3fc0u16, 0xc000].iter().flat_map(|bits| bits.to_le_bytes()).collect()),
    ];
    for (dtype, bytes) in cases {
        assert_eq!(read(&written(dir.path(), dtype, &[2], &bytes)).unwrap(), [1.5, -2.0], "{dtype}");
    }
    let integers = read(&written(dir.path(), "I32", &[1], &[0; 4])).unwrap_err();
    assert!(matches!(&integers, TensorFileError::DataType { found, .. } if found == "I32"), "{integers}");
}

#[test]
fn elements_that_are_not_finite_are_counted_and_placed_in_every_format() {
    let dir = tempfile::tempdir().unwrap();
    let f32s = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let f64s = |values: &[f64]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let u16s = |values: &[u16]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let cases = [
        (
            "F32",
            f32s(&[0.0, 1.0, 2.0, 3.0, f32::NAN, f32::NAN]),
            "2 of its 6 values are not finite, the first NaN at [1, 1]",
        ),
        ("F32", f32s(&[0.0, 1.0, f32::NEG_INFINITY, 3.0, 4.0, 5.0]), "1 of its 6 values is not finite: -inf at [0, 2]"),
        ("F16", u16s(&[0, 0, 0, 0, 0, 0x7c00]), "inf at [1, 2]"),
        ("BF16", u16s(&[0x7fc0, 0, 0, 0, 0, 0]), "NaN at [0, 0]"),
        ("F64", f64s(&[0.0, 0.0, 0.0, f64::NAN, 0.0, 0.0]), "NaN at [1, 0]"),
    ];
    for (dtype, bytes, expected) in cases {
        let path = written(dir.path(), dtype, &[2, 3], &bytes);
        let error = read(&path).unwrap_err().to_string();
        assert!(
            error.contains(expected) && error.contains("`x`") && error.contains("x.safetensors"),
            "{dtype}: {error}"
        );
    }
    // Finite there, but not here.
    let error = read(&written(dir.path(), "F64", &[2], &f64s(&[1.0, 1e39]))).unwrap_err();
    assert!(error.to_string().contains("at [1], which f32 cannot hold"), "{error}");
    // Finite in f32, but not in bf16 or f16.
    let file = TensorFile::open(&written(dir.path(), "F32", &[2], &f32s(&[f32::MAX, 1.0])), 1 << 40).unwrap();
    assert_eq!(file.read::<f32>("x").unwrap(), [f32::MAX, 1.0]);
    let error = file.read::<bf16>("x").unwrap_err().to_string();
    assert!(error.contains("3402823") && error.ends_with("at [0], which bf16 cannot hold"), "{error}");
    assert!(file.read::<f16>("x").unwrap_err().to_string().ends_with("which f16 cannot hold"));
}

#[test]
fn elements_are_rounded_to_the_nearest_of_the_format_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let values = [1.0f32, 1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0, -0.1];
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let file = TensorFile::open(&written(dir.path(), "F32", &[4], &bytes), 1 << 40).unwrap();
    // Ties to even.
    assert_eq!(file.read::<bf16>("x").unwrap(), [1.0, 1.0, 1.015625, -0.1].map(bf16::from_f32));
    assert_eq!(file.read::<f64>("x").unwrap(), values.map(f64::from));
    assert_eq!(file.read::<f16>("x").unwrap(), values.map(f16::from_f32));
}

#[test]
fn a_giant_with_holes_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("giant.safetensors");
    File::create(&path).unwrap().set_len(1 << 40).unwrap();
    assert!(read(&path).is_err());
    // With a sound header, too: of a tensor that the file holds, as far as its size says.
    let header = format!(r#"{{"x":{{"dtype":"F32","shape":[{}],"data_offsets":[0,{}]}}}}"#, 1u64 << 37, 1u64 << 39);
    let mut file = File::create(&path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.set_len(8 + header.len() as u64 + (1 << 39)).unwrap();
    let error = TensorFile::open(&path, 1 << 33).unwrap_err();
    assert!(matches!(&error, TensorFileError::File(error) if matches!(error.kind, FileErrorKind::TooLarge { .. })));
    // And where any size is allowed, by the memory that there is.
    assert!(matches!(read(&path).unwrap_err(), TensorFileError::File(_)));
    // A header that would have 90 MB needs a file of that size.
    file.set_len(100).unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    file.write_all(&90_000_000u64.to_le_bytes()).unwrap();
    assert!(matches!(read(&path).unwrap_err(), TensorFileError::Damaged { .. }));
}

#[test]
fn a_header_that_names_a_tensor_twice_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let entry = r#""x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#;
    let header = format!("{{{entry},{entry}}}");
    let path = dir.path().join("x.safetensors");
    fs::write(&path, [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &[0; 4]].concat()).unwrap();
    let error = read(&path).unwrap_err().to_string();
    assert!(error.contains("the key \"x\" appears twice"), "{error}");
}
