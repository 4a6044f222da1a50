//! The types of blocks, and what is in them.
//!
//! A quantized tensor is a sequence of blocks of 32 or 256 elements. A block holds small integers and, in half precision, the
//! factor that they are multiplied by, in some types also an offset or a factor for each part of the block.

use std::fmt;

use half::f16;

use crate::{Element, FloatType};

/// The type of a tensor's blocks, under the name of llama.cpp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum BlockType {
    F32,
    F16,
    F64,
    Bf16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
    Iq4Nl,
    Mxfp4,
    /// Another type, by its number: it cannot be read.
    Other(u32),
}

/// The values of four bits in `IQ4_NL`.
const IQ4_NL: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// Twice the values of four bits in `MXFP4`.
const MXFP4: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// Types that are known by name alone.
const NAMES: [(u32, &str); 18] = [
    (9, "Q8_1"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (29, "IQ1_M"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (40, "NVFP4"),
    (41, "Q1_0"),
];

impl BlockType {
    /// Every type that can be read.
    pub const ALL: [Self; 16] = [
        Self::F32,
        Self::F16,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q2K,
        Self::Q3K,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
        Self::Iq4Nl,
        Self::F64,
        Self::Bf16,
        Self::Mxfp4,
    ];

    /// The type with a number in files.
    pub fn from_number(number: u32) -> Self {
        Self::ALL.into_iter().find(|kind| kind.number() == number).unwrap_or(Self::Other(number))
    }

    /// Its number in files.
    pub fn number(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q4_0 => 2,
            Self::Q4_1 => 3,
            Self::Q5_0 => 6,
            Self::Q5_1 => 7,
            Self::Q8_0 => 8,
            Self::Q2K => 10,
            Self::Q3K => 11,
            Self::Q4K => 12,
            Self::Q5K => 13,
            Self::Q6K => 14,
            Self::Iq4Nl => 20,
            Self::F64 => 28,
            Self::Bf16 => 30,
            Self::Mxfp4 => 39,
            Self::Other(number) => number,
        }
    }

    /// The number of elements of a block.
    pub fn elements(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::F64 | Self::Bf16 | Self::Other(_) => 1,
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 | Self::Iq4Nl | Self::Mxfp4 => 32,
            Self::Q2K | Self::Q3K | Self::Q4K | Self::Q5K | Self::Q6K => 256,
        }
    }

    /// The number of bytes of a block; 1 if the type is not known.
    pub fn bytes(self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Mxfp4 => 17,
            Self::Q4_0 | Self::Iq4Nl => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q2K => 84,
            Self::Q3K => 110,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
            Self::Other(_) => 1,
        }
    }

    /// The number format of the elements; that of quantized ones is f32.
    pub(crate) fn float_type(self) -> FloatType {
        match self {
            Self::F16 => FloatType::F16,
            Self::Bf16 => FloatType::Bf16,
            Self::F64 => FloatType::F64,
            _ => FloatType::F32,
        }
    }

    /// Appends the elements of whole blocks.
    pub(crate) fn decode<E: Element>(self, bytes: &[u8], values: &mut Vec<E>) {
        match self {
            Self::F64 | Self::F32 | Self::F16 | Self::Bf16 => self.float_type().decode(bytes, values),
            Self::Q4_0 => blocks(bytes, values, q4_0),
            Self::Q4_1 => blocks(bytes, values, q4_1),
            Self::Q5_0 => blocks(bytes, values, q5_0),
            Self::Q5_1 => blocks(bytes, values, q5_1),
            Self::Q8_0 => blocks(bytes, values, q8_0),
            Self::Q2K => blocks(bytes, values, q2_k),
            Self::Q3K => blocks(bytes, values, q3_k),
            Self::Q4K => blocks(bytes, values, q4_k),
            Self::Q5K => blocks(bytes, values, q5_k),
            Self::Q6K => blocks(bytes, values, q6_k),
            Self::Iq4Nl => blocks(bytes, values, iq4_nl),
            Self::Mxfp4 => blocks(bytes, values, mxfp4),
            Self::Other(_) => {}
        }
    }
}

impl fmt::Display for BlockType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::F64 => "F64",
            Self::Bf16 => "BF16",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q8_0 => "Q8_0",
            Self::Q2K => "Q2_K",
            Self::Q3K => "Q3_K",
            Self::Q4K => "Q4_K",
            Self::Q5K => "Q5_K",
            Self::Q6K => "Q6_K",
            Self::Iq4Nl => "IQ4_NL",
            Self::Mxfp4 => "MXFP4",
            Self::Other(number) => match NAMES.iter().find(|(known, _)| known == number) {
                Some((_, name)) => name,
                None => return write!(f, "type {number}"),
            },
        })
    }
}

/// Appends the elements of blocks of `BYTES` bytes.
fn blocks<E: Element, const BYTES: usize, const ELEMENTS: usize>(
    bytes: &[u8],
    values: &mut Vec<E>,
    decode: impl Fn(&[u8; BYTES]) -> [f32; ELEMENTS],
) {
    for block in bytes.as_chunks().0 {
        values.extend(decode(block).map(E::from_f32));
    }
}

/// The half precision number at a position.
fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// The four bits of an element: the lower ones of 16 bytes, then the upper ones.
fn nibble(bytes: &[u8], element: usize) -> u8 {
    if element < 16 { bytes[element] & 0x0F } else { bytes[element - 16] >> 4 }
}

/// A bit of four bytes.
fn bit(bytes: &[u8], element: usize) -> u8 {
    bytes[element / 8] >> (element % 8) & 1
}

fn q4_0(block: &[u8; 18]) -> [f32; 32] {
    let scale = half_at(block, 0);
    std::array::from_fn(|element| scale * f32::from(nibble(&block[2..], element) as i8 - 8))
}

fn q4_1(block: &[u8; 20]) -> [f32; 32] {
    let (scale, least) = (half_at(block, 0), half_at(block, 2));
    std::array::from_fn(|element| scale * f32::from(nibble(&block[4..], element)) + least)
}

fn q5_0(block: &[u8; 22]) -> [f32; 32] {
    let scale = half_at(block, 0);
    let five = |element| nibble(&block[6..], element) | (bit(&block[2..6], element) << 4);
    std::array::from_fn(|element| scale * f32::from(five(element) as i8 - 16))
}

fn q5_1(block: &[u8; 24]) -> [f32; 32] {
    let (scale, least) = (half_at(block, 0), half_at(block, 2));
    let five = |element| nibble(&block[8..], element) | (bit(&block[4..8], element) << 4);
    std::array::from_fn(|element| scale * f32::from(five(element)) + least)
}

fn q8_0(block: &[u8; 34]) -> [f32; 32] {
    let scale = half_at(block, 0);
    std::array::from_fn(|element| scale * f32::from(block[2 + element] as i8))
}

fn iq4_nl(block: &[u8; 18]) -> [f32; 32] {
    let scale = half_at(block, 0);
    std::array::from_fn(|element| scale * f32::from(IQ4_NL[usize::from(nibble(&block[2..], element))]))
}

fn mxfp4(block: &[u8; 17]) -> [f32; 32] {
    // Half of the power of two whose exponent the byte is.
    let exponent = u32::from(block[0]);
    let scale = f32::from_bits(if exponent < 2 { 0x0020_0000 << exponent } else { (exponent - 1) << 23 });
    std::array::from_fn(|element| scale * f32::from(MXFP4[usize::from(nibble(&block[1..], element))]))
}

/// The two bits of an element: 32 elements for each two bits of 32 bytes.
fn two_bits(bytes: &[u8], element: usize) -> u8 {
    bytes[element / 128 * 32 + element % 32] >> (element / 32 % 4 * 2) & 3
}

/// The four bits of an element: 32 elements for the lower bits of 32 bytes, then 32 for the upper ones.
fn four_bits(bytes: &[u8], element: usize) -> u8 {
    bytes[element / 64 * 32 + element % 32] >> (element / 32 % 2 * 4) & 0x0F
}

fn q2_k(block: &[u8; 84]) -> [f32; 256] {
    let (scales, quants) = (&block[..16], &block[16..80]);
    let (scale, least) = (half_at(block, 80), half_at(block, 82));
    std::array::from_fn(|element| {
        let part = scales[element / 16];
        let (scale, least) = (scale * f32::from(part & 0x0F), least * f32::from(part >> 4));
        scale * f32::from(two_bits(quants, element)) - least
    })
}

fn q3_k(block: &[u8; 110]) -> [f32; 256] {
    let (mask, quants, packed) = (&block[..32], &block[32..96], &block[96..108]);
    let scale = half_at(block, 108);
    let of_part = |part: usize| {
        let low = if part < 8 { packed[part] & 0x0F } else { packed[part - 8] >> 4 };
        let high = packed[8 + part % 4] >> (part / 4 * 2) & 3;
        scale * f32::from((low | (high << 4)) as i8 - 32)
    };
    let scales: [f32; 16] = std::array::from_fn(of_part);
    std::array::from_fn(|element| {
        // A bit that is not set takes 4 away.
        let high = (mask[element % 32] >> (element / 32) & 1) ^ 1;
        scales[element / 16] * f32::from(two_bits(quants, element) as i8 - (high << 2) as i8)
    })
}

/// The factors and the offsets of the eight parts of a block, six bits each.
fn scales_and_leasts(packed: &[u8], scale: f32, least: f32) -> [(f32, f32); 8] {
    std::array::from_fn(|part| {
        let (scale_bits, least_bits) = match part {
            0..4 => (packed[part] & 0x3F, packed[part + 4] & 0x3F),
            _ => (
                (packed[part + 4] & 0x0F) | (packed[part - 4] >> 2 & 0x30),
                (packed[part + 4] >> 4) | (packed[part] >> 2 & 0x30),
            ),
        };
        (scale * f32::from(scale_bits), least * f32::from(least_bits))
    })
}

fn q4_k(block: &[u8; 144]) -> [f32; 256] {
    let parts = scales_and_leasts(&block[4..16], half_at(block, 0), half_at(block, 2));
    std::array::from_fn(|element| {
        let (scale, least) = parts[element / 32];
        scale * f32::from(four_bits(&block[16..], element)) - least
    })
}

fn q5_k(block: &[u8; 176]) -> [f32; 256] {
    let parts = scales_and_leasts(&block[4..16], half_at(block, 0), half_at(block, 2));
    let high = &block[16..48];
    std::array::from_fn(|element| {
        let (scale, least) = parts[element / 32];
        let five = four_bits(&block[48..], element) | ((high[element % 32] >> (element / 32) & 1) << 4);
        scale * f32::from(five) - least
    })
}

fn q6_k(block: &[u8; 210]) -> [f32; 256] {
    let (low, high, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let scale = half_at(block, 208);
    std::array::from_fn(|element| {
        let four = low[element / 128 * 64 + element % 64] >> (element / 64 % 2 * 4) & 0x0F;
        let six = four | (two_bits(high, element) << 4);
        scale * f32::from(scales[element / 16] as i8) * f32::from(six as i8 - 32)
    })
}
