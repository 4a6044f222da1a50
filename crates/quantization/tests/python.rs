//! Blocks as Python's package `gguf` reads and makes them.
#![allow(clippy::unwrap_used)]

use burn_adapters_quantization::{BlockType, QuantizeError};
use proptest::prelude::*;
use serde_json::Value;

/// The numbers in a text of hexadecimal digits.
fn hex(text: &Value, digits: usize) -> Vec<u32> {
    let text = text.as_str().unwrap().as_bytes();
    text.chunks(digits).map(|chunk| u32::from_str_radix(std::str::from_utf8(chunk).unwrap(), 16).unwrap()).collect()
}

fn bytes(text: &Value) -> Vec<u8> {
    hex(text, 2).into_iter().map(|byte| byte as u8).collect()
}

fn golden() -> Value {
    serde_json::from_str(&burn_adapters_goldens::text(include_bytes!("goldens/blocks.json.xz"))).unwrap()
}

fn dequantized(kind: BlockType, bytes: &[u8]) -> Vec<f32> {
    let mut values = vec![0.0; bytes.len() / kind.bytes() * kind.elements()];
    kind.dequantize(bytes, &mut values);
    values
}

#[test]
fn every_type_is_dequantized_to_the_bits_of_python() {
    let golden = golden();
    let mut compared = 0;
    for kind in BlockType::ALL {
        let Some(golden) = golden.get(kind.to_string()) else { continue };
        let found: Vec<u32> = dequantized(kind, &bytes(&golden["bytes"])).into_iter().map(f32::to_bits).collect();
        assert_eq!(found, hex(&golden["bits"], 8), "{kind}");
        compared += 1;
    }
    assert_eq!(compared, 12);
}

#[test]
fn values_are_quantized_to_the_bytes_of_python() {
    let golden = &golden()["quantized"];
    let values: Vec<f32> = hex(&golden["values"], 8).into_iter().map(f32::from_bits).collect();
    assert_eq!(values.len(), 256);
    for kind in [BlockType::Q8_0, BlockType::Q4_0, BlockType::Q4_1] {
        assert_eq!(kind.quantize(&values).unwrap(), bytes(&golden[kind.to_string()]), "{kind}");
    }
}

#[test]
fn plain_numbers_are_converted() {
    let values = [1.5, -0.1, 65504.0];
    for (kind, tolerance) in [(BlockType::F32, 0.0), (BlockType::F16, 1e-3), (BlockType::Bf16, 4e-3)] {
        let found = dequantized(kind, &kind.quantize(&values).unwrap());
        for (value, found) in values.iter().zip(found) {
            assert!((value - found).abs() <= tolerance * value.abs(), "{kind}: {value} {found}");
        }
    }
    assert_eq!(dequantized(BlockType::F64, &0.25_f64.to_le_bytes()), [0.25]);
}

#[test]
fn what_cannot_become_blocks_is_an_error() {
    let length = QuantizeError::Length { kind: BlockType::Q8_0, values: 33 };
    assert_eq!(BlockType::Q8_0.quantize(&[0.0; 33]), Err(length));
    for kind in [BlockType::Q6K, BlockType::F64, BlockType::Other(99)] {
        assert_eq!(kind.quantize(&[0.0; 256]), Err(QuantizeError::Type { kind }));
    }
    for kind in [BlockType::Q8_0, BlockType::Q4_0, BlockType::Q4_1] {
        for bad in [f32::NAN, f32::INFINITY, -f32::INFINITY, 1e9, -3e38] {
            let mut values = [0.25; 64];
            values[40] = bad;
            assert_eq!(kind.quantize(&values), Err(QuantizeError::NotFinite { kind, block: 1 }), "{bad}");
        }
    }
}

#[test]
fn types_are_known_by_their_number() {
    for kind in BlockType::ALL {
        assert_eq!(BlockType::from_number(kind.number()), kind);
    }
    assert_eq!(BlockType::from_number(41).to_string(), "Q1_0");
}

proptest! {
    /// The error of an element is at most about half the distance of two levels, and the rounding of the factor.
    #[test]
    fn values_are_near_what_their_blocks_hold(values in prop::collection::vec(-1e4_f32..1e4, 64)) {
        for (kind, levels) in [(BlockType::Q8_0, 254.0), (BlockType::Q4_0, 8.0), (BlockType::Q4_1, 15.0)] {
            let found = dequantized(kind, &kind.quantize(&values).unwrap());
            for (values, found) in values.chunks(32).zip(found.chunks(32)) {
                let range = values.iter().fold(0.0_f32, |range, value| range.max(value.abs())) * 2.0;
                for (value, found) in values.iter().zip(found) {
                    prop_assert!((value - found).abs() <= range / levels * 0.51 + range * 2e-3, "{kind} {value} {found}");
                }
            }
        }
    }

    #[test]
    fn any_bytes_are_dequantized_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..500), extra in 0_usize..3) {
        for kind in BlockType::ALL {
            let mut values = vec![0.0; bytes.len() / kind.bytes() * kind.elements() + extra];
            kind.dequantize(&bytes, &mut values);
        }
    }
}
