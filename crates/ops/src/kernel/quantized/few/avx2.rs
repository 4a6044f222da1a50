//! Rows of blocks on processors with AVX2.

use std::arch::x86_64::{
    __m128, __m128i, __m256, __m256i, _mm_add_ps, _mm_add_ss, _mm_and_si128, _mm_cvtph_ps, _mm_cvtsi32_si128,
    _mm_cvtss_f32, _mm_fmadd_ps, _mm_loadl_epi64, _mm_loadu_ps, _mm_loadu_si128, _mm_movehdup_ps, _mm_movehl_ps,
    _mm_set1_epi8, _mm_set1_epi16, _mm_setzero_ps, _mm_srli_epi16, _mm_srli_si128, _mm256_add_ps, _mm256_and_si256,
    _mm256_broadcastsi128_si256, _mm256_broadcastss_ps, _mm256_castpd_ps, _mm256_castps_pd, _mm256_castps256_ps128,
    _mm256_castsi256_ps, _mm256_cvtepi8_epi32, _mm256_cvtepi32_ps, _mm256_cvtepu8_epi32, _mm256_cvtph_ps,
    _mm256_extractf128_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_mul_ps, _mm256_or_si256, _mm256_permute4x64_pd,
    _mm256_set_m128i, _mm256_set1_epi8, _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_ps, _mm256_setzero_si256,
    _mm256_shuffle_epi8, _mm256_shuffle_ps, _mm256_slli_epi32, _mm256_srl_epi32, _mm256_storeu_ps, _mm256_sub_epi32,
    _mm256_unpackhi_epi8, _mm256_unpacklo_epi8,
};

use burn_adapters_quantization::{BlockType, q4_k_parts};

use super::{AT_ONCE, Piece, prefetch};

/// Elements of a vector.
const LANES: usize = 8;

/// Whether the processor has the instructions.
pub(in super::super) fn is_there() -> bool {
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
            BlockType::Q4_0 if piece.x.len() == piece.d_input => row::<18>(piece),
            BlockType::Q4_1 if piece.x.len() == piece.d_input => row::<20>(piece),
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

/// Decodes blocks, if there is code for their type.
pub(in super::super) fn decode(kind: BlockType, blocks: &[u8], values: &mut [f32]) -> bool {
    if !is_there() {
        return false;
    }
    // SAFETY: the processor has the instructions.
    unsafe {
        match kind {
            BlockType::Q4_0 => decoded::<Q4_0>(blocks, values),
            BlockType::Q4_1 => decoded::<Q4_1>(blocks, values),
            BlockType::Q8_0 => decoded::<Q8_0>(blocks, values),
            BlockType::Q4K => decoded::<Q4K>(blocks, values),
            BlockType::Q6K => decoded::<Q6K>(blocks, values),
            _ => return false,
        }
    }
    true
}

#[target_feature(enable = "avx2,fma,f16c")]
fn decoded<D: Decode>(blocks: &[u8], values: &mut [f32]) {
    for (block, values) in blocks.chunks_exact(D::BYTES).zip(values.chunks_exact_mut(D::PARTS * 4 * LANES)) {
        for (part, values) in values.chunks_exact_mut(4 * LANES).enumerate() {
            // SAFETY: the block has its bytes and the part.
            let vectors = unsafe { D::decode(block.as_ptr(), part) };
            for (vector, values) in vectors.into_iter().zip(values.chunks_exact_mut(LANES)) {
                // SAFETY: there are as many lanes.
                unsafe { _mm256_storeu_ps(values.as_mut_ptr(), vector) };
            }
        }
    }
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

/// The part of x that a block is multiplied by.
#[derive(Clone, Copy)]
#[repr(align(32))]
struct Part {
    /// In the order in which a block is decoded: of its elements from 0 and from 16 on, eight each, those at even places, then those
    /// at odd ones; and those from 8 and from 24 on likewise.
    x: [f32; 32],
    /// Zero, the sum of x, and zeros: what a block's factor and least value are multiplied by, beside its levels.
    sum: [f32; 4],
}

#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn part(x: &[f32; 32]) -> Part {
    let mut part = Part { x: [0.0; 32], sum: [0.0; 4] };
    let (mut vectors, mut sum) = ([_mm256_setzero_ps(); 4], _mm256_setzero_ps());
    for (vector, x) in vectors.iter_mut().zip(x.chunks_exact(LANES)) {
        // SAFETY: there are as many lanes.
        *vector = unsafe { _mm256_loadu_ps(x.as_ptr()) };
        sum = _mm256_add_ps(sum, *vector);
    }
    let [first, second, third, fourth] = vectors;
    let even = |low, high| in_halves(_mm256_shuffle_ps::<0x88>(low, high));
    let odd = |low, high| in_halves(_mm256_shuffle_ps::<0xDD>(low, high));
    let ordered = [even(first, third), odd(first, third), even(second, fourth), odd(second, fourth)];
    for (vector, x) in ordered.into_iter().zip(part.x.chunks_exact_mut(LANES)) {
        // SAFETY: there are as many lanes.
        unsafe { _mm256_storeu_ps(x.as_mut_ptr(), vector) };
    }
    part.sum[1] = total(sum);
    part
}

/// Pairs of numbers from the lower halves of two vectors and from the upper ones, as those of the first vector and of the second.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn in_halves(vector: __m256) -> __m256 {
    _mm256_castpd_ps(_mm256_permute4x64_pd::<0b11_01_10_00>(_mm256_castps_pd(vector)))
}

/// The sum of all lanes.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
pub(in super::super) fn total(vector: __m256) -> f32 {
    let four = _mm_add_ps(_mm256_castps256_ps128(vector), _mm256_extractf128_ps::<1>(vector));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
}

/// The products of one row of x with those of a weight of four bits: Q4_0, whose blocks have `BYTES` = 18, or Q4_1.
///
/// The levels of a block are multiplied first, and their sum by the block's factor. A level becomes a number by a look-up: small
/// integers have at most eight bits in bf16, which is the upper half of f32.
#[target_feature(enable = "avx2,fma,f16c")]
fn row<const BYTES: usize>(piece: Piece<'_>) {
    let Piece { x, d_input, output, blocks, .. } = piece;
    let has_least = BYTES == 20;
    let parts: Vec<Part> = x.as_chunks().0.iter().map(|x| part(x)).collect();
    // Q4_0 counts levels from -8.
    let first = if has_least { 0 } else { -8 };
    let halves: [u32; 16] = std::array::from_fn(|level| (level as f32 + first as f32).to_bits() >> 16);
    let table = |shift: usize| {
        let bytes = halves.map(|half| (half >> shift) as u8);
        // SAFETY: there are sixteen bytes.
        _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) })
    };
    let tables = [table(0), table(8)];
    for (output, blocks) in output.iter_mut().zip(blocks.chunks_exact(d_input / 32 * BYTES)) {
        prefetch(blocks);
        let (mut sums, mut least) = (_mm256_setzero_ps(), _mm_setzero_ps());
        let (four, rest) = parts.as_chunks::<TOGETHER>();
        let (of_four, of_rest) = blocks.split_at(four.len() * TOGETHER * BYTES);
        for (blocks, parts) in of_four.chunks_exact(TOGETHER * BYTES).zip(four) {
            add_blocks::<BYTES, TOGETHER>(blocks, parts, tables, &mut sums, &mut least);
        }
        for (block, part) in of_rest.chunks_exact(BYTES).zip(rest) {
            add_blocks::<BYTES, 1>(block, std::array::from_ref(part), tables, &mut sums, &mut least);
        }
        // The least values are beside the factors.
        *output = total(sums) + _mm_cvtss_f32(_mm_movehdup_ps(least));
    }
}

/// Blocks that are multiplied together, so that the sums of one need not be waited for.
const TOGETHER: usize = 3;

/// Adds the products of some blocks.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn add_blocks<const BYTES: usize, const N: usize>(
    blocks: &[u8],
    parts: &[Part; N],
    [lower, upper]: [__m256i; 2],
    sums: &mut __m256,
    least: &mut __m128,
) {
    assert!(blocks.len() == N * BYTES, "other blocks than parts of x");
    let (nibble, odd) = (_mm256_set1_epi8(0x0F), _mm256_set1_epi32(-65_536));
    let mut halves = [[_mm256_setzero_si256(); 2]; N];
    let mut scales = [_mm_setzero_ps(); N];
    for at in 0..N {
        // SAFETY: a block of Q4_1 has two half precision numbers and sixteen bytes, one of Q4_0 one such number.
        let bytes = unsafe {
            let block = blocks.as_ptr().add(at * BYTES);
            let numbers = match BYTES {
                20 => block.cast::<i32>().read_unaligned(),
                _ => i32::from(block.cast::<i16>().read_unaligned()),
            };
            scales[at] = _mm_cvtph_ps(_mm_cvtsi32_si128(numbers));
            _mm_loadu_si128(block.add(BYTES - 16).cast::<__m128i>())
        };
        let levels = _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16::<4>(bytes), bytes), nibble);
        let (lower, upper) = (_mm256_shuffle_epi8(lower, levels), _mm256_shuffle_epi8(upper, levels));
        halves[at] = [_mm256_unpacklo_epi8(lower, upper), _mm256_unpackhi_epi8(lower, upper)];
    }
    let mut products = [[_mm256_setzero_ps(); 2]; N];
    for half in 0..2 {
        for at in 0..N {
            let even = _mm256_castsi256_ps(_mm256_slli_epi32::<16>(halves[at][half]));
            // SAFETY: a part has so many numbers.
            let x = unsafe { _mm256_loadu_ps(parts[at].x.as_ptr().add(2 * half * LANES)) };
            products[at][half] = _mm256_mul_ps(even, x);
        }
    }
    for half in 0..2 {
        for at in 0..N {
            let odd = _mm256_castsi256_ps(_mm256_and_si256(halves[at][half], odd));
            // SAFETY: a part has so many numbers.
            let x = unsafe { _mm256_loadu_ps(parts[at].x.as_ptr().add((2 * half + 1) * LANES)) };
            products[at][half] = _mm256_fmadd_ps(odd, x, products[at][half]);
        }
    }
    for at in 0..N {
        let [low, high] = products[at];
        *sums = _mm256_fmadd_ps(_mm256_add_ps(low, high), _mm256_broadcastss_ps(scales[at]), *sums);
        if BYTES == 20 {
            // SAFETY: there are four numbers.
            *least = _mm_fmadd_ps(scales[at], unsafe { _mm_loadu_ps(parts[at].sum.as_ptr()) }, *least);
        }
    }
}

/// Computes the products of all rows of x with those of the weight.
#[target_feature(enable = "avx2,fma,f16c")]
fn rows<D: Decode>(piece: Piece<'_>) {
    let Piece { x, d_input, output, blocks, .. } = piece;
    let rows = x.len() / d_input;
    let row_bytes = d_input / (D::PARTS * 4 * LANES) * D::BYTES;
    for (output, blocks) in output.chunks_exact_mut(rows).zip(blocks.chunks_exact(row_bytes)) {
        prefetch(blocks);
        for (output, x) in output.chunks_mut(AT_ONCE).zip(x.chunks(AT_ONCE * d_input)) {
            match output.len() {
                1 => dots::<D, 1>(output, x, blocks),
                2 => dots::<D, 2>(output, x, blocks),
                3 => dots::<D, 3>(output, x, blocks),
                _ => dots::<D, AT_ONCE>(output, x, blocks),
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
        *output = total(_mm256_add_ps(first, second));
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
