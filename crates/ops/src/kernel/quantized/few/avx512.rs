//! Rows of blocks on processors with AVX-512.
//!
//! The elements of four bits are looked up in a vector of the sixteen values that they may have.

use std::arch::x86_64::{
    __m128i, __m512, __m512i, _mm_cvtsi32_si128, _mm_loadu_si128, _mm256_set1_epi16, _mm256_set1_epi32, _mm512_add_ps,
    _mm512_and_si512, _mm512_cvtepi8_epi32, _mm512_cvtepi32_ps, _mm512_cvtepu8_epi32, _mm512_cvtph_ps, _mm512_fmadd_ps,
    _mm512_loadu_ps, _mm512_movehdup_ps, _mm512_moveldup_ps, _mm512_mul_ps, _mm512_or_si512, _mm512_permutexvar_ps,
    _mm512_reduce_add_ps, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setr_ps, _mm512_setzero_ps, _mm512_slli_epi32,
    _mm512_srl_epi32, _mm512_srli_epi32, _mm512_storeu_ps, _mm512_sub_epi32,
};

use burn_adapters_quantization::{BlockType, q4_k_parts};

use super::{AT_ONCE, Piece, prefetch};

/// Elements of a vector.
const LANES: usize = 16;

/// Whether the processor has the instructions.
pub(in super::super) fn is_there() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw")
}

/// Computes a piece, if there is code for its type.
pub(super) fn compute(piece: Piece<'_>) -> Result<(), Piece<'_>> {
    if !is_there() {
        return Err(piece);
    }
    // SAFETY: the processor has the instructions.
    unsafe {
        match piece.kind {
            BlockType::Q4_0 => rows::<Q4_0, 2>(piece),
            BlockType::Q4_1 => rows::<Q4_1, 2>(piece),
            BlockType::Q8_0 => rows::<Q8_0, 2>(piece),
            BlockType::Q4K => rows::<Q4K, 16>(piece),
            BlockType::Q6K => rows::<Q6K, 16>(piece),
            _ => return Err(piece),
        }
    }
    Ok(())
}

/// Decodes blocks, if there is code for their type.
pub(in super::super) fn decode(kind: BlockType, blocks: &[u8], values: &mut [f32]) -> bool {
    if !is_there() {
        return false;
    }
    // SAFETY: the processor has the instructions.
    unsafe {
        match kind {
            BlockType::Q4_0 => decoded::<Q4_0, 2>(blocks, values),
            BlockType::Q4_1 => decoded::<Q4_1, 2>(blocks, values),
            BlockType::Q8_0 => decoded::<Q8_0, 2>(blocks, values),
            BlockType::Q4K => decoded::<Q4K, 16>(blocks, values),
            BlockType::Q6K => decoded::<Q6K, 16>(blocks, values),
            _ => return false,
        }
    }
    true
}

#[target_feature(enable = "avx512f,avx512bw")]
fn decoded<D: Decode<V>, const V: usize>(blocks: &[u8], values: &mut [f32]) {
    for (block, values) in blocks.chunks_exact(D::BYTES).zip(values.chunks_exact_mut(V * LANES)) {
        // SAFETY: the block has its bytes.
        let vectors = unsafe { D::decode(block.as_ptr()) };
        for (vector, values) in vectors.into_iter().zip(values.chunks_exact_mut(LANES)) {
            // SAFETY: there are as many lanes.
            unsafe { _mm512_storeu_ps(values.as_mut_ptr(), vector) };
        }
    }
}

/// A type whose blocks fill `V` vectors.
trait Decode<const V: usize> {
    /// The number of bytes of a block.
    const BYTES: usize;

    /// The elements of a block.
    ///
    /// # Safety
    /// The processor has the instructions; the block's bytes can be read.
    unsafe fn decode(block: *const u8) -> [__m512; V];
}

/// Computes the products of all rows of x with those of the weight.
#[target_feature(enable = "avx512f,avx512bw")]
fn rows<D: Decode<V>, const V: usize>(piece: Piece<'_>) {
    let Piece { x, d_input, output, blocks, .. } = piece;
    let rows = x.len() / d_input;
    let row_bytes = d_input / (V * LANES) * D::BYTES;
    // A few rows of x stay in the nearest cache, while the blocks pass by.
    for (number, x) in x.chunks(AT_ONCE * d_input).enumerate() {
        for (output, blocks) in output.chunks_exact_mut(rows).zip(blocks.chunks_exact(row_bytes)) {
            if number == 0 {
                prefetch(blocks);
            }
            let output = &mut output[number * AT_ONCE..];
            match x.len() / d_input {
                1 => dots::<D, V, 1>(output, x, blocks),
                2 => dots::<D, V, 2>(output, x, blocks),
                3 => dots::<D, V, 3>(output, x, blocks),
                _ => dots::<D, V, AT_ONCE>(output, x, blocks),
            }
        }
    }
}

/// The products of `R` rows of x with one of the weight.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn dots<D: Decode<V>, const V: usize, const R: usize>(output: &mut [f32], x: &[f32], blocks: &[u8]) {
    let d_input = blocks.len() / D::BYTES * V * LANES;
    assert!(x.len() >= R * d_input, "x is too short");
    let mut sums = [[_mm512_setzero_ps(); 2]; R];
    for (index, block) in blocks.chunks_exact(D::BYTES).enumerate() {
        // SAFETY: the block has its bytes, and each row of x as many elements as the blocks.
        unsafe {
            let values = D::decode(block.as_ptr());
            let x = x.as_ptr().add(index * V * LANES);
            for (row, sums) in sums.iter_mut().enumerate() {
                for (at, value) in values.iter().enumerate() {
                    let x = _mm512_loadu_ps(x.add(row * d_input + at * LANES));
                    sums[at % 2] = _mm512_fmadd_ps(*value, x, sums[at % 2]);
                }
            }
        }
    }
    for (output, [first, second]) in output.iter_mut().zip(sums) {
        *output = _mm512_reduce_add_ps(_mm512_add_ps(first, second));
    }
}

/// The half precision number at an address, in all lanes.
///
/// # Safety
/// Two bytes can be read there.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
unsafe fn half(at: *const u8) -> __m512 {
    // SAFETY: the caller promises it.
    _mm512_cvtph_ps(_mm256_set1_epi16(unsafe { at.cast::<i16>().read_unaligned() }))
}

/// Sixteen bytes as indices: those of the lower bits, and those of the upper ones.
///
/// # Safety
/// Sixteen bytes can be read there.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
unsafe fn nibbles(bytes: *const u8) -> [__m512i; 2] {
    // SAFETY: the caller promises it.
    let bytes = _mm512_cvtepu8_epi32(unsafe { _mm_loadu_si128(bytes.cast::<__m128i>()) });
    // A look-up reads the lower four bits alone.
    [bytes, _mm512_srli_epi32::<4>(bytes)]
}

/// The numbers from 0 to 15.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn levels() -> __m512 {
    _mm512_setr_ps(0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0)
}

struct Q4_0;

impl Decode<2> for Q4_0 {
    const BYTES: usize = 18;

    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    unsafe fn decode(block: *const u8) -> [__m512; 2] {
        // SAFETY: the caller promises the bytes.
        unsafe {
            let table = _mm512_mul_ps(_mm512_add_ps(levels(), _mm512_set1_ps(-8.0)), half(block));
            nibbles(block.add(2)).map(|indices| _mm512_permutexvar_ps(indices, table))
        }
    }
}

struct Q4_1;

impl Decode<2> for Q4_1 {
    const BYTES: usize = 20;

    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    unsafe fn decode(block: *const u8) -> [__m512; 2] {
        // SAFETY: the caller promises the bytes.
        unsafe {
            // The factor and the least value, in turn.
            let both = _mm512_cvtph_ps(_mm256_set1_epi32(block.cast::<i32>().read_unaligned()));
            let table = _mm512_fmadd_ps(levels(), _mm512_moveldup_ps(both), _mm512_movehdup_ps(both));
            nibbles(block.add(4)).map(|indices| _mm512_permutexvar_ps(indices, table))
        }
    }
}

struct Q8_0;

impl Decode<2> for Q8_0 {
    const BYTES: usize = 34;

    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    unsafe fn decode(block: *const u8) -> [__m512; 2] {
        // SAFETY: the caller promises the bytes.
        unsafe {
            let scale = half(block);
            [2, 2 + LANES].map(|at| {
                let bytes = _mm512_cvtepi8_epi32(_mm_loadu_si128(block.add(at).cast::<__m128i>()));
                _mm512_mul_ps(_mm512_cvtepi32_ps(bytes), scale)
            })
        }
    }
}

struct Q4K;

impl Decode<16> for Q4K {
    const BYTES: usize = 144;

    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    unsafe fn decode(block: *const u8) -> [__m512; 16] {
        let mut values = [_mm512_setzero_ps(); 16];
        // SAFETY: the caller promises the bytes.
        unsafe {
            let parts = q4_k_parts(&*block.cast::<[u8; 144]>());
            let tables =
                parts.map(|(scale, least)| _mm512_fmadd_ps(levels(), _mm512_set1_ps(scale), _mm512_set1_ps(-least)));
            for pair in 0..4 {
                for half in 0..2 {
                    let [low, high] = nibbles(block.add(16 + pair * 32 + half * LANES));
                    values[pair * 4 + half] = _mm512_permutexvar_ps(low, tables[2 * pair]);
                    values[pair * 4 + 2 + half] = _mm512_permutexvar_ps(high, tables[2 * pair + 1]);
                }
            }
        }
        values
    }
}

struct Q6K;

impl Decode<16> for Q6K {
    const BYTES: usize = 210;

    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    unsafe fn decode(block: *const u8) -> [__m512; 16] {
        let mut values = [_mm512_setzero_ps(); 16];
        // SAFETY: the caller promises the bytes.
        unsafe {
            let scale = half(block.add(208));
            // Some bits of each of sixteen bytes.
            let bits = |at: usize, shift: usize, mask: i32| {
                let bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128(block.add(at).cast::<__m128i>()));
                let moved = _mm512_srl_epi32(bytes, _mm_cvtsi32_si128(shift as i32));
                _mm512_and_si512(moved, _mm512_set1_epi32(mask))
            };
            for (part, values) in values.iter_mut().enumerate() {
                // 128 elements: four bits each of 64 bytes, and two bits each of 32.
                let (half, inside) = (part / 8, part % 8 * LANES);
                let low = bits(half * 64 + inside % 64, inside / 64 * 4, 0x0F);
                let high = bits(128 + half * 32 + inside % 32, inside / 32 * 2, 3);
                let six = _mm512_or_si512(low, _mm512_slli_epi32::<4>(high));
                let number = _mm512_cvtepi32_ps(_mm512_sub_epi32(six, _mm512_set1_epi32(32)));
                let own = f32::from(block.add(192 + part).cast::<i8>().read());
                *values = _mm512_mul_ps(_mm512_mul_ps(scale, _mm512_set1_ps(own)), number);
            }
        }
        values
    }
}
