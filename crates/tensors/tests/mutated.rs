//! However a file is damaged, reading it is an error or gives finite elements; it never panics.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use burn_adapters_tensors::{FloatType, RawTensor, TensorFile, Tensors, encode_safetensors};
use proptest::prelude::*;
use proptest::sample::Index;

/// A change to the header or the bytes of a sound file.
#[derive(Debug, Clone)]
enum Mutation {
    /// Another byte somewhere.
    Byte(Index, u8),
    /// The file ends early.
    Cut(Index),
    /// More bytes at its end.
    Longer(Vec<u8>),
    /// Another length of the header.
    HeaderLength(u64),
    /// A number of the header (an extent, an offset) is another.
    Number(Index, u64),
    /// A data type is another.
    DataType(Index, &'static str),
    /// A piece of the header stands twice.
    Repeated(Index, Index),
}

const DATA_TYPES: [&str; 9] = ["F64", "F32", "F16", "BF16", "I8", "BOOL", "F4", "U64", "Q7"];

fn mutation() -> impl Strategy<Value = Mutation> {
    let number = prop_oneof![0u64..70, any::<u64>(), Just(u64::MAX), Just(1 << 62), Just(1 << 32)];
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, to)| Mutation::Byte(at, to)),
        any::<Index>().prop_map(Mutation::Cut),
        prop::collection::vec(any::<u8>(), 1..20).prop_map(Mutation::Longer),
        prop_oneof![0u64..400, any::<u64>()].prop_map(Mutation::HeaderLength),
        (any::<Index>(), number).prop_map(|(at, to)| Mutation::Number(at, to)),
        (any::<Index>(), prop::sample::select(&DATA_TYPES)).prop_map(|(at, to)| Mutation::DataType(at, to)),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Mutation::Repeated(from, to)),
    ]
}

/// Replaces a part of the header; its length stays true.
fn with_header(bytes: &[u8], change: impl FnOnce(&str) -> String) -> Vec<u8> {
    let Some((length, rest)) = bytes.split_first_chunk() else { return bytes.to_vec() };
    let length = u64::from_le_bytes(*length).min(rest.len() as u64) as usize;
    let header = change(&String::from_utf8_lossy(&rest[..length]));
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &rest[length..]].concat()
}

/// Replaces one of the places that `find` gives.
fn replaced(text: &str, places: &[std::ops::Range<usize>], at: &Index, to: &str) -> String {
    if places.is_empty() {
        return text.to_owned();
    }
    let place = places[at.index(places.len())].clone();
    format!("{}{to}{}", &text[..place.start], &text[place.end..])
}

fn numbers(text: &str) -> Vec<std::ops::Range<usize>> {
    let mut found: Vec<std::ops::Range<usize>> = Vec::new();
    for (at, _) in text.char_indices().filter(|(_, c)| c.is_ascii_digit()) {
        match found.last_mut() {
            Some(last) if last.end == at => last.end = at + 1,
            _ => found.push(at..at + 1),
        }
    }
    found
}

impl Mutation {
    fn apply(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        match self {
            Self::Byte(at, to) if !bytes.is_empty() => {
                let at = at.index(bytes.len());
                bytes[at] = *to;
            }
            Self::Byte(..) => {}
            Self::Cut(at) => bytes.truncate(at.index(bytes.len() + 1)),
            Self::Longer(more) => bytes.extend(more),
            Self::HeaderLength(length) => bytes.splice(..8.min(bytes.len()), length.to_le_bytes()).for_each(drop),
            Self::Number(at, to) => {
                bytes = with_header(&bytes, |text| replaced(text, &numbers(text), at, &to.to_string()));
            }
            Self::DataType(at, to) => {
                bytes = with_header(&bytes, |text| {
                    let places = text.match_indices("\"F32\"").map(|(at, found)| at..at + found.len());
                    replaced(text, &places.collect::<Vec<_>>(), at, &format!("\"{to}\""))
                });
            }
            Self::Repeated(from, to) => {
                bytes = with_header(&bytes, |text| {
                    let places: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
                    let (a, b) = (places[from.index(places.len())], places[to.index(places.len())]);
                    let piece = &text[a.min(b)..a.max(b)];
                    format!("{}{piece}{}", &text[..a.max(b)], &text[a.max(b)..])
                });
            }
        }
        bytes
    }
}

fn sound() -> Vec<u8> {
    let tensor = |shape: &[usize]| {
        let count = shape.iter().product();
        RawTensor { shape: shape.to_vec(), values: (0..count).map(|value: usize| value as f32).collect() }
    };
    let tensors = Tensors::from([
        ("a.weight".to_owned(), tensor(&[4, 2])),
        ("a.bias".to_owned(), tensor(&[4])),
        ("empty".to_owned(), tensor(&[0, 3])),
        ("scalar".to_owned(), tensor(&[])),
    ]);
    encode_safetensors(Path::new("sound"), &tensors, &[("format", "pt")]).unwrap()
}

/// Reads everything in every format; what can be read is finite and fills its shape.
fn read_all(path: &Path) {
    let Ok(file) = TensorFile::open(path, 1 << 30) else { return };
    for (name, shape) in file.tensors() {
        for float in [FloatType::F16, FloatType::Bf16, FloatType::F32, FloatType::F64] {
            if let Ok(data) = file.read_as(name, float) {
                assert_eq!(data.num_elements(), shape.iter().product::<usize>());
                assert!(data.iter::<f64>().all(f64::is_finite));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn mutated_safetensors_never_panic(mutations in prop::collection::vec(mutation(), 1..5)) {
        let bytes = mutations.iter().fold(sound(), |bytes, mutation| mutation.apply(bytes));
        let dir = tempfile::tempdir().unwrap();
        // As PyTorch's, too: the parser of pickles gets what is not one.
        for name in ["x.safetensors", "x.bin"] {
            let path = dir.path().join(name);
            std::fs::write(&path, &bytes).unwrap();
            read_all(&path);
        }
    }

    #[test]
    fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), first in 0usize..6) {
        let start: [&[u8]; 6] = [b"", b"\x80\x02", b"(d", b"PK\x03\x04", b"}", b"\x02\0\0\0\0\0\0\0{}"];
        let dir = tempfile::tempdir().unwrap();
        for name in ["x.safetensors", "x.bin"] {
            let path = dir.path().join(name);
            std::fs::write(&path, [start[first], &bytes].concat()).unwrap();
            read_all(&path);
        }
    }
}

#[test]
fn a_sound_file_is_read_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.safetensors");
    std::fs::write(&path, sound()).unwrap();
    let tensors = TensorFile::open(&path, 1 << 30).unwrap().read_all().unwrap();
    assert_eq!(tensors.len(), 4);
    assert_eq!(tensors["a.bias"].values, [0.0, 1.0, 2.0, 3.0]);
}
