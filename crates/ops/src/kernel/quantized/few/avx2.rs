//! Rows of blocks on processors with AVX2.

use std::arch::x86_64::{
    __m128i, __m256, _mm_and_si128, _mm_cvtsi32_si128, _mm_loadl_epi64, _mm_loadu_si128, _mm_set1_epi8, _mm_set1_epi16,
    _mm_srli_epi16, _mm_srli_si128, _mm256_add_ps, _mm256_and_si256, _mm256_cvtepi8_epi32, _mm256_cvtepi32_ps,
    _mm256_cvtepu8_epi32, _mm256_cvtph_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_mul_ps, _mm256_or_si256,
    _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_ps, _mm256_slli_epi32, _mm256_srl_epi32, _mm256_storeu_ps,
    _mm256_sub_epi32,
};

use burn_adapters_quantization::{BlockType, q4_k_parts};

use super::{Piece, ROWS, prefetch};

/// Elements of a vector.
const LANES: usize = 8;

/// Whether the processor has the instructions.
pub(super) fn is_there() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
}

/// Computes a piece, if there is code for its type.
pub(super) fn compute(piece: Piece<'_>) -> Result<(), Piece<'_>> {
    if !is_there() {
        return Err(piece);
    }
    // SAFETY: the processor has the instructions.
    unsafe {
        match piece.kind {
            BlockType::Q4_0 => rows::<Q4_0>(piece),
            BlockType::Q4_1 => rows::<Q4_1>(piece),
            BlockType::Q8_0 => rows::<Q8_0>(piece),
            BlockType::Q4K => rows::<Q4K>(piece),
            BlockType::Q6K => rows::<Q6K>(piece),
            _ => return Err(piece),
        }
    }
    Ok(())
}

/// A type that is decoded by 32 elements, four vectors.
trait Decode {
    /// The number of bytes of a block.
    const BYTES: usize;
    /// How many times 32 elements a block has.
    const PARTS: usize;

    /// Some elements of a block.
    ///
    /// # Safety
    /// The processor has the instructions; the block's bytes can be read, and it has the part.
    unsafe fn decode(block: *const u8, part: usize) -> [__m256; 4];
}

/// Computes the products of all rows of x with those of the weight.
#[target_feature(enable = "avx2,fma,f16c")]
fn rows<D: Decode>(piece: Piece<'_>) {
    let Piece { x, d_input, output, blocks, .. } = piece;
    let rows = x.len() / d_input;
    let row_bytes = d_input / (D::PARTS * 4 * LANES) * D::BYTES;
    for (output, blocks) in output.chunks_exact_mut(rows).zip(blocks.chunks_exact(row_bytes)) {
        prefetch(blocks);
        for (output, x) in output.chunks_mut(ROWS).zip(x.chunks(ROWS * d_input)) {
            match output.len() {
                1 => dots::<D, 1>(output, x, blocks),
                2 => dots::<D, 2>(output, x, blocks),
                3 => dots::<D, 3>(output, x, blocks),
                _ => dots::<D, ROWS>(output, x, blocks),
            }
        }
    }
}

/// The products of `R` rows of x with one of the weight.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn dots<D: Decode, const R: usize>(output: &mut [f32], x: &[f32], blocks: &[u8]) {
    let elements = D::PARTS * 4 * LANES;
    let d_input = blocks.len() / D::BYTES * elements;
    assert!(x.len() >= R * d_input, "x is too short");
    let mut sums = [[_mm256_setzero_ps(); 2]; R];
    for (index, block) in blocks.chunks_exact(D::BYTES).enumerate() {
        for part in 0..D::PARTS {
            // SAFETY: the block has its bytes and the part, and each row of x as many elements as the blocks.
            unsafe {
                let values = D::decode(block.as_ptr(), part);
                let x = x.as_ptr().add(index * elements + part * 4 * LANES);
                for (row, sums) in sums.iter_mut().enumerate() {
                    for (at, value) in values.iter().enumerate() {
                        let x = _mm256_loadu_ps(x.add(row * d_input + at * LANES));
                        sums[at % 2] = _mm256_fmadd_ps(*value, x, sums[at % 2]);
                    }
                }
            }
        }
    }
    for (output, [first, second]) in output.iter_mut().zip(sums) {
        let mut lanes = [0.0; LANES];
        // SAFETY: there are as many lanes.
        unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), _mm256_add_ps(first, second)) };
        *output = lanes.iter().sum();
    }
}

/// The half precision number at an address, in all lanes.
///
/// # Safety
/// Two bytes can be read there.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn half(at: *const u8) -> __m256 {
    // SAFETY: the caller promises it.
    _mm256_cvtph_ps(_mm_set1_epi16(unsafe { at.cast::<i16>().read_unaligned() }))
}

/// Sixteen bytes as numbers: of the lower bits, then of the upper ones.
///
/// # Safety
/// Sixteen bytes can be read there.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn nibbles(bytes: *const u8) -> [__m256; 4] {
    // SAFETY: the caller promises it.
    let bytes = unsafe { _mm_loadu_si128(bytes.cast::<__m128i>()) };
    let low = _mm_and_si128(bytes, _mm_set1_epi8(0x0F));
    let high = _mm_and_si128(_mm_srli_epi16::<4>(bytes), _mm_set1_epi8(0x0F));
    let number = |bytes: __m128i| _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes));
    [number(low), number(_mm_srli_si128::<8>(low)), number(high), number(_mm_srli_si128::<8>(high))]
}

struct Q4_0;

impl Decode for Q4_0 {
    const BYTES: usize = 18;
    const PARTS: usize = 1;

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn decode(block: *const u8, _: usize) -> [__m256; 4] {
        // SAFETY: the caller promises the bytes.
        unsafe {
            let scale = half(block);
            nibbles(block.add(2)).map(|four| _mm256_mul_ps(_mm256_add_ps(four, _mm256_set1_ps(-8.0)), scale))
        }
    }
}

struct Q4_1;

impl Decode for Q4_1 {
    const BYTES: usize = 20;
    const PARTS: usize = 1;

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn decode(block: *const u8, _: usize) -> [__m256; 4] {
        // SAFETY: the caller promises the bytes.
        unsafe {
            let (scale, least) = (half(block), half(block.add(2)));
            nibbles(block.add(4)).map(|four| _mm256_fmadd_ps(four, scale, least))
        }
    }
}

struct Q8_0;

impl Decode for Q8_0 {
    const BYTES: usize = 34;
    const PARTS: usize = 1;

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn decode(block: *const u8, _: usize) -> [__m256; 4] {
        // SAFETY: the caller promises the bytes.
        unsafe {
            let scale = half(block);
            [0, 1, 2, 3].map(|at| {
                let bytes = _mm_loadl_epi64(block.add(2 + at * LANES).cast::<__m128i>());
                _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)), scale)
            })
        }
    }
}

struct Q4K;

impl Decode for Q4K {
    const BYTES: usize = 144;
    const PARTS: usize = 8;

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn decode(block: *const u8, part: usize) -> [__m256; 4] {
        // SAFETY: the caller promises the bytes.
        unsafe {
            let (scale, least) = q4_k_parts(&*block.cast::<[u8; 144]>())[part];
            let (scale, least) = (_mm256_set1_ps(scale), _mm256_set1_ps(-least));
            // Two parts share 32 bytes: the lower bits of all of them, then the upper ones.
            let bytes = block.add(16 + part / 2 * 32);
            let ([a, b, c, d], [e, f, g, h]) = (nibbles(bytes), nibbles(bytes.add(16)));
            let four = if part.is_multiple_of(2) { [a, b, e, f] } else { [c, d, g, h] };
            four.map(|four| _mm256_fmadd_ps(four, scale, least))
        }
    }
}

struct Q6K;

impl Decode for Q6K {
    const BYTES: usize = 210;
    const PARTS: usize = 8;

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn decode(block: *const u8, part: usize) -> [__m256; 4] {
        // 128 elements: four bits each of 64 bytes, and two bits each of 32.
        let (outer, inside) = (part / 4, part % 4 * 32);
        let (low_at, low_shift) = (outer * 64 + inside % 64, inside / 64 * 4);
        let (high_at, high_shift) = (128 + outer * 32, inside / 32 * 2);
        // SAFETY: the caller promises the bytes.
        unsafe {
            let scale = half(block.add(208));
            // Some bits of each of eight bytes.
            let bits = |at: usize, shift: usize, mask: i32| {
                let bytes = _mm256_cvtepu8_epi32(_mm_loadl_epi64(block.add(at).cast::<__m128i>()));
                let moved = _mm256_srl_epi32(bytes, _mm_cvtsi32_si128(shift as i32));
                _mm256_and_si256(moved, _mm256_set1_epi32(mask))
            };
            [0, 1, 2, 3].map(|vector| {
                let low = bits(low_at + vector * LANES, low_shift, 0x0F);
                let high = bits(high_at + vector * LANES, high_shift, 3);
                let six = _mm256_or_si256(low, _mm256_slli_epi32::<4>(high));
                let number = _mm256_cvtepi32_ps(_mm256_sub_epi32(six, _mm256_set1_epi32(32)));
                let own = f32::from(block.add(192 + 2 * part + vector / 2).cast::<i8>().read());
                _mm256_mul_ps(_mm256_mul_ps(scale, _mm256_set1_ps(own)), number)
            })
        }
    }
}
