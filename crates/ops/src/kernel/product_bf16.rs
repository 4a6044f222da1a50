//! Products as those of [`product`](super::product), of operands that are rounded to bf16: twice as many multiplications at once.
//!
//! The instructions multiply pairs of neighbors along the sum and add in f32. Packed operands hold such pairs.

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _mm512_add_ps, _mm512_castsi512_si256, _mm512_cvtepu16_epi32, _mm512_cvtne2ps_pbh,
    _mm512_dpbf16_ps, _mm512_extracti64x4_epi64, _mm512_loadu_si512, _mm512_mask_storeu_epi32, _mm512_mask_storeu_ps,
    _mm512_maskz_loadu_ps, _mm512_or_si512, _mm512_set1_epi32, _mm512_setzero_ps, _mm512_setzero_si512,
    _mm512_slli_epi32, _mm512_storeu_si512,
};
use std::mem::transmute;
use std::ops::Range;

use super::product::{Into, Matrix};
use super::rounded::{LANES, transposed};

/// Rows of the block of the result that is kept in registers.
const ROWS: usize = 8;
/// Columns of a panel, and of that block, in vectors.
const VECTORS: usize = 2;
/// Columns of a panel.
pub(super) const WIDTH: usize = VECTORS * LANES;

/// A right operand, packed as `[panel][pair][column of the panel]`.
#[derive(Debug, Default)]
pub(super) struct PairPanels {
    pairs: Vec<[u32; WIDTH]>,
    /// Pairs of a panel.
    high: usize,
}

impl PairPanels {
    /// Packs a matrix `[k, n]`.
    ///
    /// # Safety
    /// The processor must have the instructions.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub(super) unsafe fn pack(&mut self, matrix: Matrix<'_>, k: usize, n: usize) {
        self.high = k.div_ceil(2);
        self.pairs.resize(self.high * n.div_ceil(WIDTH), [0; WIDTH]);
        for (number, panel) in self.pairs.chunks_exact_mut(self.high.max(1)).enumerate() {
            let columns = number * WIDTH..(number * WIDTH + WIDTH).min(n);
            if matrix.column == 1 {
                pack_rows(matrix, k, columns, panel);
            } else {
                pack_columns(matrix, k, columns, panel);
            }
        }
    }
}

/// Packs columns of a row-major matrix.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn pack_rows(matrix: Matrix<'_>, k: usize, columns: Range<usize>, panel: &mut [[u32; WIDTH]]) {
    for (pair, output) in panel.iter_mut().enumerate() {
        let row = |row: usize| match row < k {
            true => &matrix.data[row * matrix.row + columns.start..][..columns.len()],
            false => &[],
        };
        let (low, high) = (row(2 * pair), row(2 * pair + 1));
        for (part, output) in output.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
            let joined = joined(load(low, part * LANES), load(high, part * LANES));
            // SAFETY: 64 bytes are written.
            unsafe { _mm512_storeu_si512(output.as_mut_ptr().cast(), joined) };
        }
    }
}

/// Packs columns of a column-major matrix.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn pack_columns(matrix: Matrix<'_>, k: usize, columns: Range<usize>, panel: &mut [[u32; WIDTH]]) {
    for part in 0..VECTORS {
        for (number, output) in panel.chunks_mut(LANES).enumerate() {
            let mut lines = [_mm512_setzero_si512(); LANES];
            for (at, line) in lines.iter_mut().enumerate() {
                let column = columns.start + part * LANES + at;
                if column < columns.end {
                    *line = rounded(&matrix.data[column * matrix.column..][..k], number * 2 * LANES);
                }
            }
            for (output, line) in output.iter_mut().zip(transposed(lines)) {
                // SAFETY: 64 bytes are written.
                unsafe { _mm512_storeu_si512(output[part * LANES..][..LANES].as_mut_ptr().cast(), line) };
            }
        }
    }
}

/// Scratch for some rows of a left operand.
#[derive(Debug, Default)]
pub(super) struct PairRows(Vec<u32>);

impl PairRows {
    /// `left · right`, of some rows and columns of the packed operand; `left` has `m` rows. The rows begin at an even one, and the
    /// columns at a panel.
    ///
    /// # Safety
    /// The processor must have the instructions.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub(super) unsafe fn product(
        &mut self,
        left: Matrix<'_>,
        m: usize,
        right: &PairPanels,
        [rows, columns]: [Range<usize>; 2],
        Into { output, stride, adds }: Into<'_>,
    ) {
        assert!(rows.start.is_multiple_of(2) && columns.start.is_multiple_of(WIDTH), "{rows:?}, {columns:?}");
        let (k, pairs) = (rows.len(), rows.len().div_ceil(2));
        let is_across = left.column != 1;
        for first in (0..m).step_by(ROWS) {
            let high = ROWS.min(m - first);
            // A row after the other, or eight rows side by side.
            let step = if is_across { ROWS } else { 1 };
            let between = if is_across { 1 } else { pairs.next_multiple_of(LANES) };
            self.0.resize(ROWS * pairs.next_multiple_of(LANES), 0);
            if is_across {
                interleave(left, first..first + high, k, &mut self.0);
            } else {
                for (row, target) in self.0.chunks_exact_mut(between).take(high).enumerate() {
                    round_row(&left.data[(first + row) * left.row..][..k], target);
                }
            }
            for start in (columns.start..columns.end).step_by(WIDTH) {
                let panel = &right.pairs[start / WIDTH * right.high + rows.start / 2..][..pairs];
                let wide = WIDTH.min(columns.end - start);
                let target = first * stride + start - columns.start;
                let target = &mut output[target..][..(high - 1) * stride + wide];
                let left = &self.0;
                match high {
                    1 => block::<1>(left, between, step, panel, target, stride, wide, adds),
                    2 => block::<2>(left, between, step, panel, target, stride, wide, adds),
                    3 => block::<3>(left, between, step, panel, target, stride, wide, adds),
                    4 => block::<4>(left, between, step, panel, target, stride, wide, adds),
                    5 => block::<5>(left, between, step, panel, target, stride, wide, adds),
                    6 => block::<6>(left, between, step, panel, target, stride, wide, adds),
                    7 => block::<7>(left, between, step, panel, target, stride, wide, adds),
                    _ => block::<ROWS>(left, between, step, panel, target, stride, wide, adds),
                }
            }
        }
    }
}

/// Computes `R` rows of a panel. Pairs of a row are `step` apart, and rows `between`.
#[target_feature(enable = "avx512f,avx512bf16")]
#[allow(clippy::too_many_arguments)]
fn block<const R: usize>(
    left: &[u32],
    between: usize,
    step: usize,
    panel: &[[u32; WIDTH]],
    output: &mut [f32],
    stride: usize,
    wide: usize,
    adds: bool,
) {
    let mut sums = [[_mm512_setzero_ps(); VECTORS]; R];
    if let Some(last) = panel.len().checked_sub(1) {
        assert!(last * step + (R - 1) * between < left.len(), "the left operand is too short");
    }
    for (pair, right) in panel.iter().enumerate() {
        // SAFETY: a panel's row is two vectors, and the last pair of the last row was just checked to be inside.
        unsafe {
            let right: [__m512bh; VECTORS] =
                std::array::from_fn(|vector| as_bf16(_mm512_loadu_si512(right.as_ptr().add(vector * LANES).cast())));
            for (row, sums) in sums.iter_mut().enumerate() {
                let left = as_bf16(_mm512_set1_epi32(*left.get_unchecked(pair * step + row * between) as i32));
                for (sum, right) in sums.iter_mut().zip(right) {
                    *sum = _mm512_dpbf16_ps(*sum, left, right);
                }
            }
        }
    }
    for (row, sums) in sums.into_iter().enumerate() {
        let output = &mut output[row * stride..][..wide];
        for (vector, sum) in sums.into_iter().enumerate() {
            store(output, vector * LANES, sum, adds);
        }
    }
}

/// Writes or adds a vector, as far as the output reaches.
#[target_feature(enable = "avx512f")]
#[inline]
fn store(output: &mut [f32], start: usize, sum: __m512, adds: bool) {
    let mask = mask(output.len().saturating_sub(start));
    let target = output.as_mut_ptr().wrapping_add(start);
    // SAFETY: elements beyond the output are masked out.
    unsafe {
        let sum = if adds { _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask, target)) } else { sum };
        _mm512_mask_storeu_ps(target, mask, sum);
    }
}

/// The first of so many elements, at most sixteen.
#[inline]
fn mask(count: usize) -> u16 {
    (1_u32 << count.min(LANES)).wrapping_sub(1) as u16
}

/// A vector of a slice, with zeros beyond its end.
#[target_feature(enable = "avx512f")]
#[inline]
fn load(numbers: &[f32], start: usize) -> __m512 {
    // SAFETY: elements beyond the slice are masked out.
    unsafe { _mm512_maskz_loadu_ps(mask(numbers.len().saturating_sub(start)), numbers.as_ptr().wrapping_add(start)) }
}

/// Sixteen pairs of neighbors of a slice, with zeros beyond its end.
#[target_feature(enable = "avx512f,avx512bf16")]
#[inline]
fn rounded(numbers: &[f32], start: usize) -> __m512i {
    as_bits(_mm512_cvtne2ps_pbh(load(numbers, start + LANES), load(numbers, start)))
}

/// Pairs of an element of each of two vectors; the first is in the low bits.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
#[inline]
fn joined(low: __m512, high: __m512) -> __m512i {
    // The low half holds the first vector, the high half the second one.
    let both = as_bits(_mm512_cvtne2ps_pbh(high, low));
    let low = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(both));
    let high = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64::<1>(both));
    _mm512_or_si512(low, _mm512_slli_epi32::<16>(high))
}

#[target_feature(enable = "avx512f,avx512bf16")]
#[inline]
fn round_row(row: &[f32], target: &mut [u32]) {
    for (number, target) in target.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        // SAFETY: 64 bytes are written.
        unsafe { _mm512_storeu_si512(target.as_mut_ptr().cast(), rounded(row, number * 2 * LANES)) };
    }
}

/// Packs rows of a column-major matrix as `[pair][row]`.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn interleave(matrix: Matrix<'_>, rows: Range<usize>, k: usize, target: &mut [u32]) {
    for (pair, target) in target.as_chunks_mut::<ROWS>().0.iter_mut().enumerate().take(k.div_ceil(2)) {
        let column = |column: usize| match column < k {
            true => &matrix.data[column * matrix.column + rows.start..][..rows.len()],
            false => &[],
        };
        let joined = joined(load(column(2 * pair), 0), load(column(2 * pair + 1), 0));
        // SAFETY: eight elements are written.
        unsafe { _mm512_mask_storeu_epi32(target.as_mut_ptr().cast(), mask(ROWS), joined) };
    }
}

#[inline(always)]
fn as_bf16(pairs: __m512i) -> __m512bh {
    // SAFETY: both types have 512 bits, and every bit pattern is valid.
    unsafe { transmute::<__m512i, __m512bh>(pairs) }
}

#[inline(always)]
fn as_bits(pairs: __m512bh) -> __m512i {
    // SAFETY: as in `as_bf16`.
    unsafe { transmute::<__m512bh, __m512i>(pairs) }
}
