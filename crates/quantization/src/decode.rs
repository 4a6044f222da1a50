//! From blocks to f32.
//!
//! Everything is `#[inline(always)]`, so that a caller that is compiled for wide vectors dequantizes with them. The types
//! that most files have are written as loops over whole vectors.

use half::bf16;

use crate::BlockType;

/// The values of four bits in `IQ4_NL`.
const IQ4_NL: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// Twice the values of four bits in `MXFP4`.
const MXFP4: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

impl BlockType {
    /// The elements of whole blocks. Bytes and elements beyond the last whole block are left alone, as are blocks of a type
    /// that is not known.
    #[inline(always)]
    pub fn dequantize(self, bytes: &[u8], values: &mut [f32]) {
        match self {
            Self::F32 => numbers(bytes, values, |bytes| f32::from_le_bytes(*bytes)),
            Self::F16 => numbers(bytes, values, |bytes: &[u8; 2]| half_at(bytes, 0)),
            Self::Bf16 => numbers(bytes, values, |bytes| bf16::from_le_bytes(*bytes).to_f32()),
            Self::F64 => numbers(bytes, values, |bytes| f64::from_le_bytes(*bytes) as f32),
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

#[inline(always)]
fn numbers<const BYTES: usize>(bytes: &[u8], values: &mut [f32], decode: impl Fn(&[u8; BYTES]) -> f32) {
    for (value, bytes) in values.iter_mut().zip(bytes.as_chunks().0) {
        *value = decode(bytes);
    }
}

#[inline(always)]
fn blocks<const BYTES: usize, const ELEMENTS: usize>(
    bytes: &[u8],
    values: &mut [f32],
    decode: impl Fn(&[u8; BYTES]) -> [f32; ELEMENTS],
) {
    for (values, block) in values.as_chunks_mut().0.iter_mut().zip(bytes.as_chunks().0) {
        *values = decode(block);
    }
}

/// The elements of a block of [`BlockType::Q4_0`].
#[inline(always)]
pub fn q4_0(block: &[u8; 18]) -> [f32; 32] {
    let scale = half_at(block, 0);
    nibbles(&block[2..], |four| scale * (i32::from(four) - 8) as f32)
}

/// The elements of a block of [`BlockType::Q4_1`].
#[inline(always)]
pub fn q4_1(block: &[u8; 20]) -> [f32; 32] {
    let (scale, least) = (half_at(block, 0), half_at(block, 2));
    nibbles(&block[4..], |four| scale * i32::from(four) as f32 + least)
}

/// The elements of a block of [`BlockType::Q8_0`].
#[inline(always)]
pub fn q8_0(block: &[u8; 34]) -> [f32; 32] {
    let scale = half_at(block, 0);
    let mut values = [0.0; 32];
    for (value, byte) in values.iter_mut().zip(&block[2..]) {
        *value = scale * i32::from(*byte as i8) as f32;
    }
    values
}

/// The elements of a block of [`BlockType::Q4K`].
#[inline(always)]
pub fn q4_k(block: &[u8; 144]) -> [f32; 256] {
    let parts = q4_k_parts(block);
    let mut values = [0.0; 256];
    let (pairs, _) = values.as_chunks_mut::<64>();
    for (pair, (values, bytes)) in pairs.iter_mut().zip(block[16..].as_chunks::<32>().0).enumerate() {
        let ((scale, least), (upper_scale, upper_least)) = (parts[2 * pair], parts[2 * pair + 1]);
        let (low, high) = values.split_at_mut(32);
        for ((low, high), byte) in low.iter_mut().zip(high).zip(bytes) {
            *low = scale * i32::from(byte & 0x0F) as f32 - least;
            *high = upper_scale * i32::from(byte >> 4) as f32 - upper_least;
        }
    }
    values
}

/// The factors of the eight parts of a block of [`BlockType::Q4K`], and what is taken away from each element there.
#[inline(always)]
pub fn q4_k_parts(block: &[u8; 144]) -> [(f32, f32); 8] {
    scales_and_leasts(&block[4..16], half_at(block, 0), half_at(block, 2))
}

/// The elements of 16 bytes: the lower bits of all of them, then the upper ones.
#[inline(always)]
fn nibbles(bytes: &[u8], value: impl Fn(u8) -> f32) -> [f32; 32] {
    let mut values = [0.0; 32];
    let (low, high) = values.split_at_mut(16);
    for ((low, high), byte) in low.iter_mut().zip(high).zip(bytes) {
        *low = value(byte & 0x0F);
        *high = value(byte >> 4);
    }
    values
}

/// The four bits of an element: the lower ones of 16 bytes, then the upper ones.
#[inline(always)]
fn nibble(bytes: &[u8], element: usize) -> u8 {
    if element < 16 { bytes[element] & 0x0F } else { bytes[element - 16] >> 4 }
}

/// A bit of four bytes.
#[inline(always)]
fn bit(bytes: &[u8], element: usize) -> u8 {
    bytes[element / 8] >> (element % 8) & 1
}

#[inline(always)]
fn q5_0(block: &[u8; 22]) -> [f32; 32] {
    let scale = half_at(block, 0);
    let five = |element| nibble(&block[6..], element) | (bit(&block[2..6], element) << 4);
    std::array::from_fn(|element| scale * f32::from(five(element) as i8 - 16))
}

#[inline(always)]
fn q5_1(block: &[u8; 24]) -> [f32; 32] {
    let (scale, least) = (half_at(block, 0), half_at(block, 2));
    let five = |element| nibble(&block[8..], element) | (bit(&block[4..8], element) << 4);
    std::array::from_fn(|element| scale * f32::from(five(element)) + least)
}

#[inline(always)]
fn iq4_nl(block: &[u8; 18]) -> [f32; 32] {
    let scale = half_at(block, 0);
    std::array::from_fn(|element| scale * f32::from(IQ4_NL[usize::from(nibble(&block[2..], element))]))
}

#[inline(always)]
fn mxfp4(block: &[u8; 17]) -> [f32; 32] {
    // Half of the power of two whose exponent the byte is.
    let exponent = u32::from(block[0]);
    let scale = f32::from_bits(if exponent < 2 { 0x0020_0000 << exponent } else { (exponent - 1) << 23 });
    std::array::from_fn(|element| scale * f32::from(MXFP4[usize::from(nibble(&block[1..], element))]))
}

/// The two bits of an element: 32 elements for each two bits of 32 bytes.
#[inline(always)]
fn two_bits(bytes: &[u8], element: usize) -> u8 {
    bytes[element / 128 * 32 + element % 32] >> (element / 32 % 4 * 2) & 3
}

#[inline(always)]
fn q2_k(block: &[u8; 84]) -> [f32; 256] {
    let (scales, quants) = (&block[..16], &block[16..80]);
    let (scale, least) = (half_at(block, 80), half_at(block, 82));
    std::array::from_fn(|element| {
        let part = scales[element / 16];
        let (scale, least) = (scale * f32::from(part & 0x0F), least * f32::from(part >> 4));
        scale * f32::from(two_bits(quants, element)) - least
    })
}

#[inline(always)]
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

#[inline(always)]
fn q5_k(block: &[u8; 176]) -> [f32; 256] {
    let parts = scales_and_leasts(&block[4..16], half_at(block, 0), half_at(block, 2));
    let (high, low) = (&block[16..48], &block[48..]);
    let mut values = [0.0; 256];
    let (chunks, _) = values.as_chunks_mut::<32>();
    for (part, (values, (scale, least))) in chunks.iter_mut().zip(parts).enumerate() {
        let low = &low[part / 2 * 32..][..32];
        for ((value, low), high) in values.iter_mut().zip(low).zip(high) {
            let five = (low >> (part % 2 * 4) & 0x0F) | (high >> part & 1) << 4;
            *value = scale * i32::from(five) as f32 - least;
        }
    }
    values
}

#[inline(always)]
fn q6_k(block: &[u8; 210]) -> [f32; 256] {
    let (low, high, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let scale = half_at(block, 208);
    let mut values = [0.0; 256];
    let (parts, _) = values.as_chunks_mut::<16>();
    for (part, values) in parts.iter_mut().enumerate() {
        let scale = scale * f32::from(scales[part] as i8);
        // 128 elements: four bits each of 64 bytes, and two bits each of 32.
        let (half, inside) = (part / 8, part % 8 * 16);
        let low = &low[half * 64 + inside % 64..][..16];
        let high = &high[half * 32 + inside % 32..][..16];
        let (low_shift, high_shift) = (inside / 64 * 4, inside / 32 * 2);
        for ((value, low), high) in values.iter_mut().zip(low).zip(high) {
            let six = (low >> low_shift & 0x0F) | (high >> high_shift & 3) << 4;
            *value = scale * (i32::from(six) - 32) as f32;
        }
    }
    values
}

// The factors and offsets in blocks.

/// The half precision number at a position.
///
/// All finite numbers are exact: the product with a power of two moves the exponent, for subnormal numbers too. Unlike a
/// conversion that asks for the processor's features, it becomes vector instructions.
#[inline(always)]
pub(crate) fn half_at(block: &[u8], at: usize) -> f32 {
    let bits = u32::from(u16::from_le_bytes([block[at], block[at + 1]]));
    /// 2¹¹².
    const MOVED: f32 = f32::from_bits(0x7780_0000);
    let finite = (f32::from_bits((bits & 0x7FFF) << 13) * MOVED).to_bits();
    // Infinite, or NaN, which is made quiet.
    let quiet = u32::from(bits & 0x03FF != 0) << 22;
    let special = 0x7F80_0000 | ((bits & 0x03FF) << 13) | quiet;
    let magnitude = if bits & 0x7C00 == 0x7C00 { special } else { finite };
    f32::from_bits(magnitude | ((bits & 0x8000) << 16))
}

/// The factors and the offsets of the eight parts of a block, six bits each.
#[inline(always)]
pub(crate) fn scales_and_leasts(packed: &[u8], scale: f32, least: f32) -> [(f32, f32); 8] {
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

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;

    #[test]
    fn every_half_precision_number_is_that_of_half() {
        for bits in 0..=u16::MAX {
            let (found, expected) = (half_at(&bits.to_le_bytes(), 0), f16::from_bits(bits).to_f32());
            assert_eq!(found.to_bits(), expected.to_bits(), "{bits:04x}");
        }
    }
}
