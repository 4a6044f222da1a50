//! The factors and offsets in blocks.

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
