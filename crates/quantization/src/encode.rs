//! From f32 to blocks.
//!
//! The factor of a block follows from its largest element; each element becomes the nearest multiple of it. All steps are in
//! single precision, in the order of llama.cpp, so that the bits are those of its blocks.

use half::{bf16, f16};
use thiserror::Error;

use crate::BlockType;

/// Reasons why values cannot become blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum QuantizeError {
    /// Blocks of this type are only read.
    #[error("blocks of {kind} are not made: those of Q8_0, Q4_0, Q4_1, F16, BF16 and F32 are")]
    Type {
        /// The type.
        kind: BlockType,
    },
    /// The values do not fill whole blocks.
    #[error("{values} values do not fill blocks of {kind}, which have {} elements", kind.elements())]
    Length {
        /// The type.
        kind: BlockType,
        /// The number of values.
        values: usize,
    },
    /// A block's factor or offset is not finite in half precision, because a value is NaN, infinite or too large.
    #[error("the values of block {block} are too large for {kind}, or not finite")]
    NotFinite {
        /// The type.
        kind: BlockType,
        /// The number of the block.
        block: usize,
    },
}

impl BlockType {
    /// The blocks that are nearest to these values, of Q8_0, Q4_0, Q4_1, or of plain numbers.
    ///
    /// # Errors
    /// If blocks of this type are not made, the values do not fill whole blocks, or a block cannot hold its values.
    pub fn quantize(self, values: &[f32]) -> Result<Vec<u8>, QuantizeError> {
        if !values.len().is_multiple_of(self.elements()) {
            return Err(QuantizeError::Length { kind: self, values: values.len() });
        }
        let mut bytes = vec![0; values.len() / self.elements() * self.bytes()];
        match self {
            Self::F32 => numbers(values, &mut bytes, f32::to_le_bytes),
            Self::F16 => numbers(values, &mut bytes, |value| f16::from_f32(value).to_le_bytes()),
            Self::Bf16 => numbers(values, &mut bytes, |value| bf16::from_f32(value).to_le_bytes()),
            Self::Q8_0 => self.blocks(values, &mut bytes, q8_0)?,
            Self::Q4_0 => self.blocks(values, &mut bytes, q4_0)?,
            Self::Q4_1 => self.blocks(values, &mut bytes, q4_1)?,
            _ => return Err(QuantizeError::Type { kind: self }),
        }
        Ok(bytes)
    }

    /// Whether [`quantize`](Self::quantize) makes blocks of this type.
    pub fn is_made(self) -> bool {
        matches!(self, Self::F32 | Self::F16 | Self::Bf16 | Self::Q8_0 | Self::Q4_0 | Self::Q4_1)
    }

    fn blocks<const BYTES: usize>(
        self,
        values: &[f32],
        bytes: &mut [u8],
        encode: impl Fn(&[f32; 32], &mut [u8; BYTES]) -> bool,
    ) -> Result<(), QuantizeError> {
        let (values, _) = values.as_chunks();
        for (block, (values, bytes)) in values.iter().zip(bytes.as_chunks_mut().0).enumerate() {
            if !encode(values, bytes) {
                return Err(QuantizeError::NotFinite { kind: self, block });
            }
        }
        Ok(())
    }
}

fn numbers<const BYTES: usize>(values: &[f32], bytes: &mut [u8], encode: impl Fn(f32) -> [u8; BYTES]) {
    for (bytes, value) in bytes.as_chunks_mut().0.iter_mut().zip(values) {
        *bytes = encode(*value);
    }
}

/// Writes a factor; gives whether it is finite.
fn put_half(bytes: &mut [u8], value: f32) -> bool {
    let half = f16::from_f32(value);
    bytes.copy_from_slice(&half.to_le_bytes());
    half.is_finite()
}

fn inverse(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}

/// The largest element becomes 127 or -127.
fn q8_0(values: &[f32; 32], block: &mut [u8; 34]) -> bool {
    let largest = values.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    let scale = largest / 127.0;
    let inverse = inverse(scale);
    for (byte, value) in block[2..].iter_mut().zip(values) {
        *byte = (value * inverse).round() as i8 as u8;
    }
    put_half(&mut block[..2], scale) && is_finite(values)
}

/// The element that is farthest from 0 becomes -8.
fn q4_0(values: &[f32; 32], block: &mut [u8; 18]) -> bool {
    // The first of equal ones.
    let farthest = values.iter().fold(0.0_f32, |best, value| if value.abs() > best.abs() { *value } else { best });
    let scale = farthest / -8.0;
    let inverse = inverse(scale);
    put_nibbles(values, &mut block[2..], |value| value * inverse + 8.5);
    put_half(&mut block[..2], scale) && is_finite(values)
}

/// The least element becomes 0, the greatest 15.
fn q4_1(values: &[f32; 32], block: &mut [u8; 20]) -> bool {
    let least = values.iter().fold(f32::INFINITY, |least, value| least.min(*value));
    let greatest = values.iter().fold(f32::NEG_INFINITY, |greatest, value| greatest.max(*value));
    let scale = (greatest - least) / 15.0;
    let inverse = inverse(scale);
    put_nibbles(values, &mut block[4..], |value| (value - least) * inverse + 0.5);
    let is_scale_finite = put_half(&mut block[..2], scale);
    put_half(&mut block[2..4], least) && is_scale_finite && is_finite(values)
}

fn is_finite(values: &[f32; 32]) -> bool {
    values.iter().all(|value| value.is_finite())
}

/// Four bits of each element: the first 16 in the lower bits of 16 bytes, the others in the upper ones.
fn put_nibbles(values: &[f32; 32], bytes: &mut [u8], level: impl Fn(f32) -> f32) {
    let (low, high) = values.split_at(16);
    for ((byte, low), high) in bytes.iter_mut().zip(low).zip(high) {
        // `as` cuts off, and keeps what is out of range in it.
        let four = |value: f32| (level(value) as u8).min(15);
        *byte = four(*low) | four(*high) << 4;
    }
}
