//! GGUF files: blocks as Python's package `gguf` decodes them, files that are written and read back, and damaged ones.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn_adapters_tensors::{
    BlockType, Gguf, GgufTensor, GgufTexts, GgufValue, TensorFile, TensorFileError, write_gguf,
};
use proptest::prelude::*;
use proptest::sample::Index;

/// A file of one tensor `x` of these blocks, by hand.
fn of_blocks(kind: BlockType, blocks: &[u8]) -> Vec<u8> {
    let elements = blocks.len() / kind.bytes() * kind.elements();
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    bytes.extend([1_u64, 0].iter().flat_map(|number| number.to_le_bytes()));
    bytes.extend(1_u64.to_le_bytes());
    bytes.extend(b"x\x01\0\0\0");
    bytes.extend((elements as u64).to_le_bytes());
    bytes.extend(kind.number().to_le_bytes());
    bytes.extend(0_u64.to_le_bytes());
    bytes.resize(bytes.len().next_multiple_of(32), 0);
    bytes.extend(blocks);
    bytes
}

fn put(dir: &Path, bytes: &[u8]) -> PathBuf {
    let path = dir.join("x.gguf");
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn blocks_of_every_type_are_read_as_they_are_and_dequantized() {
    let dir = tempfile::tempdir().unwrap();
    for kind in BlockType::ALL {
        // Two megabytes, so that they are read in several chunks. As halves, such bytes are small numbers.
        let count = (2 << 20) / kind.bytes();
        let blocks: Vec<u8> =
            (0..count * kind.bytes()).map(|at| if at % 2 == 0 { (at / 7 % 100) as u8 } else { 0x21 }).collect();
        let path = put(dir.path(), &of_blocks(kind, &blocks));
        let file = Gguf::open(&path, u64::MAX).unwrap();
        assert_eq!(file.read_blocks("x").unwrap(), blocks, "{kind}");
        let mut mapped = Gguf::open(&path, u64::MAX).unwrap();
        // SAFETY: the file is not changed below; a later round writes another one in its place.
        unsafe { mapped.map() }.unwrap();
        assert!(mapped.is_mapped() && !file.is_mapped());
        let shared = mapped.read_blocks("x").unwrap();
        drop(mapped);
        assert_eq!(shared, blocks, "{kind}");
        drop(shared);
        let mut expected = vec![0.0; count * kind.elements()];
        kind.dequantize(&blocks, &mut expected);
        assert!(TensorFile::open(&path, u64::MAX).unwrap().read::<f32>("x").unwrap() == expected, "{kind}");
    }
}

fn metadata() -> Vec<(&'static str, GgufValue)> {
    vec![
        ("general.architecture", "llama".into()),
        ("general.alignment", 32.into()),
        ("big", GgufValue::Unsigned(1 << 40)),
        ("negative", GgufValue::Signed(-3)),
        ("far", GgufValue::Signed(-1 << 40)),
        ("f32", 1.5.into()),
        ("f64", GgufValue::F64(0.1)),
        ("yes", true.into()),
        ("texts", GgufValue::Texts(["a", "", "ä b"].into_iter().collect())),
        ("integers", GgufValue::Integers(vec![1, -1])),
        ("long", GgufValue::Integers(vec![1 << 40])),
        ("floats", GgufValue::Floats(vec![0.5, -1.0])),
        ("doubles", GgufValue::Floats(vec![0.1])),
        ("bools", GgufValue::Bools(vec![true, false])),
        ("lists", GgufValue::Lists(vec![GgufValue::Integers(vec![7]), GgufValue::Texts(GgufTexts::default())])),
    ]
}

fn tensors() -> Vec<GgufTensor> {
    let tensor = |name: &str, shape: &[usize], kind| GgufTensor { name: name.into(), shape: shape.to_vec(), kind };
    vec![
        tensor("norm", &[3], BlockType::F32),
        tensor("half", &[2, 5], BlockType::F16),
        tensor("brain", &[2, 2, 2], BlockType::Bf16),
        tensor("quantized", &[3, 64], BlockType::Q8_0),
    ]
}

/// Numbers that f16 and bf16 hold as they are.
fn values(name: &str) -> Vec<f32> {
    let tensor = tensors().into_iter().find(|tensor| tensor.name == name).unwrap();
    (0..tensor.shape.iter().product::<usize>()).map(|index| index as f32 % 16.0 - 8.0).collect()
}

fn written(path: &Path) {
    write_gguf(path, &metadata(), &tensors(), |name| Ok::<_, TensorFileError>(values(name))).unwrap();
}

#[test]
fn what_is_written_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    written(&path);
    let file = Gguf::open(&path, u64::MAX).unwrap();
    let expected: BTreeMap<String, GgufValue> =
        metadata().into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    assert_eq!(file.metadata(), &expected);
    for tensor in tensors() {
        assert_eq!(file.block_type(&tensor.name).unwrap(), tensor.kind);
        let found = file.read::<f32>(&tensor.name).unwrap();
        let bound = if tensor.kind == BlockType::Q8_0 { 8.0 / 127.0 } else { 0.0 };
        assert!(found.iter().zip(values(&tensor.name)).all(|(a, b)| (a - b).abs() <= bound), "{}", tensor.name);
    }
    let shapes: Vec<_> = file.tensors().collect();
    assert_eq!(shapes[0], ("brain", &[2, 2, 2][..]));
    // A failed save leaves the file as it was.
    let before = std::fs::read(&path).unwrap();
    let bad = write_gguf(&path, &[], &tensors(), |_| Ok::<_, TensorFileError>(vec![f32::NAN; 10]));
    assert!(bad.is_err());
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn what_cannot_be_written_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let write = |shape: &[usize], kind, count: usize| {
        let tensor = GgufTensor { name: "x".into(), shape: shape.to_vec(), kind };
        let data = |_: &str| Ok::<_, TensorFileError>(vec![0.0; count]);
        write_gguf(&dir.path().join("x.gguf"), &[], &[tensor], data).unwrap_err().to_string()
    };
    assert!(write(&[2, 33], BlockType::Q8_0, 66).contains("cannot be written as Q8_0"));
    assert!(write(&[256], BlockType::Q4K, 256).contains("F32, F16, BF16, Q8_0, Q4_0 and Q4_1 can"));
    assert!(write(&[2, 2], BlockType::F32, 3).contains("do not fill its shape"));
}

#[test]
fn what_is_no_gguf_is_an_error_that_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let sound = of_blocks(BlockType::F32, &[0; 8]);
    let changed = |at: usize, bytes: &[u8]| {
        let mut changed = sound.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        changed
    };
    let error = |bytes: &[u8]| Gguf::open(&put(dir.path(), bytes), u64::MAX).unwrap_err().to_string();
    for (bytes, part) in [
        (changed(0, b"GGML"), "does not begin with `GGUF`"),
        (changed(4, &[0, 0, 0, 3]), "big-endian"),
        (changed(4, &[1, 0, 0, 0]), "version 1 of GGUF"),
        (changed(8, &u64::MAX.to_le_bytes()), "tensors, but only"),
        (changed(16, &(1_u64 << 60).to_le_bytes()), "keys, but only"),
        (changed(24, &1000_u64.to_le_bytes()), "bytes in a text"),
        (changed(33, &5_u32.to_le_bytes()), "has 5 axes"),
        (changed(37, &0_u64.to_le_bytes()), "has the sizes [0]"),
        (changed(37, &(1_u64 << 62).to_le_bytes()), "cut short"),
        (changed(45, &2_u32.to_le_bytes()), "no multiple of 32 as Q4_0 asks"),
        (changed(49, &7_u64.to_le_bytes()), "no multiple of 32"),
        (changed(49, &64_u64.to_le_bytes()), "cut short"),
    ] {
        let found = error(&bytes);
        assert!(found.contains(part), "{found}");
    }
    for length in 0..sound.len() {
        assert!(Gguf::open(&put(dir.path(), &sound[..length]), u64::MAX).is_err(), "{length} bytes");
    }
    let unknown = Gguf::open(&put(dir.path(), &changed(45, &23_u32.to_le_bytes())), u64::MAX).unwrap();
    assert!(unknown.read::<f32>("x").unwrap_err().to_string().contains("`x` is quantized as IQ4_XS"));
    let not_finite = Gguf::open(&put(dir.path(), &of_blocks(BlockType::Q8_0, &[0, 0x7C])), u64::MAX);
    assert!(not_finite.is_err(), "half a block");
    let mut block = [1; 34];
    block[..2].copy_from_slice(&[0, 0x7C]);
    let infinite = Gguf::open(&put(dir.path(), &of_blocks(BlockType::Q8_0, &block)), u64::MAX).unwrap();
    let error = infinite.read::<f32>("x").unwrap_err().to_string();
    assert!(error.contains("not finite"), "{error}");
    assert_eq!(infinite.read_blocks("x").unwrap_err().to_string(), error);
}

#[test]
fn a_file_that_is_cut_before_it_is_mapped_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = put(dir.path(), &of_blocks(BlockType::Q8_0, &[1; 34 * 1000]));
    let mut file = Gguf::open(&path, u64::MAX).unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_len(20_000).unwrap();
    // SAFETY: the file is not changed any more.
    unsafe { file.map() }.unwrap();
    let error = file.read_blocks("x").unwrap_err().to_string();
    assert!(error.contains("x.gguf") && error.contains("unexpected end of file"), "{error}");
}

proptest! {
    /// However a file is damaged, reading it is an error or gives finite elements; it never panics.
    #[test]
    fn damaged_files_never_panic(
        bytes in prop::collection::vec((any::<Index>(), any::<u8>()), 1..6),
        number in prop::option::of((any::<Index>(), prop_oneof![0_u64..70, any::<u64>(), Just(u64::MAX), Just(1 << 62)])),
        cut in prop::option::of(any::<Index>()),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.gguf");
        written(&path);
        let mut damaged = std::fs::read(&path).unwrap();
        for (at, byte) in bytes {
            // Most damage is to the header.
            let most = damaged.len().min(900);
            damaged[at.index(most)] = byte;
        }
        if let Some((at, number)) = number {
            let at = at.index(700);
            damaged[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
        if let Some(cut) = cut {
            damaged.truncate(cut.index(damaged.len()));
        }
        std::fs::write(&path, damaged).unwrap();
        let Ok(file) = Gguf::open(&path, u64::MAX) else { return Ok(()) };
        for (name, shape) in file.tensors().map(|(name, shape)| (name.to_owned(), shape.to_vec())).collect::<Vec<_>>() {
            if let Ok(values) = file.read::<f32>(&name) {
                prop_assert_eq!(values.len(), shape.iter().product::<usize>());
                prop_assert!(values.iter().all(|value| value.is_finite()));
            }
        }
    }
}
