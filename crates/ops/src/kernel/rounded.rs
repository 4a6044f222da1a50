//! Rows rounded to bf16, for the instructions that multiply bf16 and sum in f32.

use std::arch::x86_64::{
    __m512bh, __m512i, _mm512_cvtne2ps_pbh, _mm512_loadu_ps, _mm512_shuffle_i32x4, _mm512_storeu_si512,
    _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
};
use std::mem::{MaybeUninit, transmute};

use rayon::iter::{IntoParallelIterator, ParallelIterator};

use super::{rows_in_piece, written};

/// Pairs per vector.
pub(super) const LANES: usize = 16;

/// Whether the processor has the instructions for bf16 that AVX-512 has.
pub(crate) fn has_bf16() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512bf16")
}

/// Whether these instructions multiply faster than those for f32: not those of Intel's processors, which have AMX beside them.
pub(super) fn has_fast_bf16() -> bool {
    has_bf16() && !super::amx::is_there()
}

/// Rows in bf16, as pairs of neighbors.
pub(crate) struct Rounded {
    /// The pairs of each row in turn, each row padded with zeros to whole cache lines.
    pairs: Vec<u32>,
    rows: usize,
    /// An odd number of cache lines, so that neighboring rows map to different cache sets.
    stride: usize,
}

impl Rounded {
    /// Rows of `depth` numbers. After them there are rows of zeros, up to a multiple of `block` rows.
    ///
    /// # Panics
    /// If the processor doesn't have the instructions.
    pub(crate) fn new(x: &[f32], depth: usize, block: usize) -> Self {
        assert!(has_bf16(), "no instructions for bf16");
        let rows = x.len() / depth;
        let stride = (depth.div_ceil(2 * LANES) | 1) * LANES;
        let write = |pairs: &mut [MaybeUninit<u32>]| {
            let high = rows_in_piece(depth);
            let (pairs, after) = pairs.split_at_mut(rows * stride);
            after.fill(MaybeUninit::new(0));
            let pieces: Vec<_> = x.chunks(high * depth).zip(pairs.chunks_mut(high * stride)).collect();
            pieces.into_par_iter().for_each(|(x, pairs)| {
                for (x, pairs) in x.chunks_exact(depth).zip(pairs.chunks_exact_mut(stride)) {
                    // SAFETY: the processor has the instructions.
                    unsafe { round(x, pairs) };
                }
            });
        };
        // SAFETY: every element of each row is written, and so are the rows after them.
        Self { pairs: unsafe { written(rows.next_multiple_of(block) * stride, write) }, rows, stride }
    }

    /// The number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// From one row to the next, in pairs.
    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    /// The pairs of a row. Those after the last one are zeros, up to a whole vector.
    pub(crate) fn row(&self, row: usize) -> *const u32 {
        self.pairs[row * self.stride..].as_ptr()
    }
}

/// Rounds a row to bf16 (to nearest even) and pads it with zeros.
#[target_feature(enable = "avx512f,avx512bf16")]
fn round(x: &[f32], pairs: &mut [MaybeUninit<u32>]) {
    let (vectors, rest) = x.as_chunks::<{ 2 * LANES }>();
    let (whole, after) = pairs.split_at_mut(vectors.len() * LANES);
    for (x, pairs) in vectors.iter().zip(whole.as_chunks_mut::<LANES>().0) {
        round_vector(x, pairs);
    }
    let mut last = [0.0; 2 * LANES];
    last[..rest.len()].copy_from_slice(rest);
    for pairs in after.as_chunks_mut::<LANES>().0 {
        round_vector(&last, pairs);
        last = [0.0; 2 * LANES];
    }
}

#[target_feature(enable = "avx512f,avx512bf16")]
#[inline]
fn round_vector(x: &[f32; 2 * LANES], pairs: &mut [MaybeUninit<u32>; LANES]) {
    // SAFETY: 32 elements are read, and 16 pairs written.
    unsafe {
        let (low, high) = (_mm512_loadu_ps(x.as_ptr()), _mm512_loadu_ps(x.as_ptr().add(LANES)));
        let rounded = transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low));
        _mm512_storeu_si512(pairs.as_mut_ptr().cast(), rounded);
    }
}

/// The transposed matrix of 16 × 16 pairs.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn transposed(lines: [__m512i; LANES]) -> [__m512i; LANES] {
    let mut twos = lines;
    for at in (0..LANES).step_by(2) {
        twos[at] = _mm512_unpacklo_epi32(lines[at], lines[at + 1]);
        twos[at + 1] = _mm512_unpackhi_epi32(lines[at], lines[at + 1]);
    }
    // Line 4 · i + j has, in each quarter q, element 4 · q + j of four lines from 4 · i on.
    let mut fours = twos;
    for at in (0..LANES).step_by(4) {
        fours[at] = _mm512_unpacklo_epi64(twos[at], twos[at + 2]);
        fours[at + 1] = _mm512_unpackhi_epi64(twos[at], twos[at + 2]);
        fours[at + 2] = _mm512_unpacklo_epi64(twos[at + 1], twos[at + 3]);
        fours[at + 3] = _mm512_unpackhi_epi64(twos[at + 1], twos[at + 3]);
    }
    const EVEN: i32 = 0b10_00_10_00;
    const ODD: i32 = 0b11_01_11_01;
    let mut turned = fours;
    for at in 0..4 {
        let [a, b, c, d] = [fours[at], fours[at + 4], fours[at + 8], fours[at + 12]];
        let (low, high) = (_mm512_shuffle_i32x4::<EVEN>(a, b), _mm512_shuffle_i32x4::<EVEN>(c, d));
        turned[at] = _mm512_shuffle_i32x4::<EVEN>(low, high);
        turned[at + 8] = _mm512_shuffle_i32x4::<ODD>(low, high);
        let (low, high) = (_mm512_shuffle_i32x4::<ODD>(a, b), _mm512_shuffle_i32x4::<ODD>(c, d));
        turned[at + 4] = _mm512_shuffle_i32x4::<EVEN>(low, high);
        turned[at + 12] = _mm512_shuffle_i32x4::<ODD>(low, high);
    }
    turned
}
