//! Products of f32 rows and a bf16 weight, with the instructions that multiply bf16 and sum in f32.
//!
//! Such an instruction takes pairs of neighbors along the sum. So the rows are rounded to bf16, which puts their pairs
//! together, and the weight is packed as `[panel][pair][column of the panel]`.

use std::arch::x86_64::{
    __m512bh, __m512i, _mm512_add_ps, _mm512_dpbf16_ps, _mm512_loadu_si512, _mm512_mask_storeu_ps,
    _mm512_maskz_loadu_ps, _mm512_set1_epi32, _mm512_setzero_ps,
};
use std::mem::{MaybeUninit, transmute};
use std::ops::Range;

use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::kernel::dense::Strided;
use crate::kernel::rounded::{Rounded, has_bf16};
use crate::kernel::{Output, written};

/// Rows of the block of the result that is kept in registers.
const ROWS: usize = 8;
/// Columns of that block, in vectors: 24 of 32 registers hold sums.
const VECTORS: usize = 3;
/// Pairs, or sums, per vector.
const LANES: usize = 16;
/// Columns of a panel of the weight.
const COLUMNS: usize = VECTORS * LANES;
/// The most bytes of rounded rows that are multiplied by all panels at a time: half of the smallest L2 cache.
const ROWS_IN_CACHE: usize = 256 << 10;
/// The fewest pieces of work per thread, so that all threads end at about the same time.
const PIECES: usize = 4;

/// `x · weight + bias`, giving `[rows, weight.rows]`.
///
/// # Panics
/// If the processor doesn't have the instructions, there are no rows, or the weight exceeds its slice.
pub(super) fn product(x: &[f32], weight: Strided<'_, u16>, bias: Option<&[f32]>) -> Vec<f32> {
    assert!(has_bf16(), "no instructions for bf16");
    assert!(weight.is_inside(), "the weight exceeds its slice");
    assert!(bias.is_none_or(|bias| bias.len() == weight.columns), "expected a bias of one element per column");
    let left = Rounded::new(x, weight.rows, 1);
    let right = paired(weight);
    let write = |output: &mut [MaybeUninit<f32>]| {
        let whole = Whole {
            left: &left,
            right: &right,
            bias,
            columns: weight.columns,
            output: Output(output.as_mut_ptr().cast()),
        };
        let panels = weight.columns.div_ceil(COLUMNS);
        // SAFETY: the processor has the instructions, and no two pieces share a block.
        pieces(&left, panels).into_par_iter().for_each(|(rows, panels)| unsafe { whole.piece(rows, panels) });
    };
    // SAFETY: the pieces cover all rows and all panels, and each writes all of its blocks.
    unsafe { written(left.rows() * weight.columns, write) }
}

/// A piece of work: some rows and some panels of the weight.
fn pieces(left: &Rounded, panels: usize) -> Vec<(Range<usize>, Range<usize>)> {
    let most = (ROWS_IN_CACHE / (left.stride() * size_of::<u32>())).max(ROWS);
    let high = left.rows().div_ceil(left.rows().div_ceil(most)).next_multiple_of(ROWS);
    let across = left.rows().div_ceil(high);
    let parts = (PIECES * rayon::current_num_threads()).div_ceil(across).min(panels);
    let wide = panels.div_ceil(parts);
    (0..left.rows())
        .step_by(high)
        .flat_map(|row| {
            let rows = row..(row + high).min(left.rows());
            (0..panels).step_by(wide).map(move |panel| (rows.clone(), panel..(panel + wide).min(panels)))
        })
        .collect()
}

/// The same bits as sixteen pairs.
#[inline(always)]
fn as_bf16(pairs: __m512i) -> __m512bh {
    // SAFETY: both types have 512 bits, and every bit pattern is valid.
    unsafe { transmute::<__m512i, __m512bh>(pairs) }
}

/// The weight, packed in the order in which it is used.
fn paired(weight: Strided<'_, u16>) -> Vec<u32> {
    let pairs = weight.rows.div_ceil(2);
    let write = |output: &mut [MaybeUninit<u32>]| {
        let panels: Vec<_> = output.chunks_mut(pairs * COLUMNS).enumerate().collect();
        panels.into_par_iter().for_each(|(panel, output)| pair_panel(weight, panel * COLUMNS, output));
    };
    // SAFETY: the panels cover the whole weight, and each is written whole.
    unsafe { written(weight.columns.div_ceil(COLUMNS) * pairs * COLUMNS, write) }
}

fn pair_panel(weight: Strided<'_, u16>, first: usize, output: &mut [MaybeUninit<u32>]) {
    let wide = COLUMNS.min(weight.columns - first);
    let (whole, _) = output.as_chunks_mut::<COLUMNS>();
    let done = match weight.strides {
        [_, 1] if wide == COLUMNS => pair_rows(weight, first, whole),
        [1, _] if wide == COLUMNS => pair_columns(weight, first, whole),
        _ => 0,
    };
    // The rest: an odd last row, a narrow panel, arbitrary strides.
    let number = |row: usize, column: usize| {
        let is_there = row < weight.rows && column < weight.columns;
        if is_there { weight.numbers[weight.index(row, column)] } else { 0 }
    };
    for (pair, output) in whole.iter_mut().enumerate().skip(done) {
        for (column, output) in output.iter_mut().enumerate() {
            let column = first + column;
            output.write(joined(number(2 * pair, column), number(2 * pair + 1, column)));
        }
    }
}

/// A pair: the first of two elements is in the low bits.
fn joined(first: u16, second: u16) -> u32 {
    u32::from(first) | u32::from(second) << 16
}

/// Packs pairs of a matrix with contiguous rows; returns how many.
fn pair_rows(weight: Strided<'_, u16>, first: usize, output: &mut [[MaybeUninit<u32>; COLUMNS]]) -> usize {
    let pairs = weight.rows / 2;
    for (pair, output) in output.iter_mut().enumerate().take(pairs) {
        let row = |row: usize| &weight.numbers[weight.index(row, first)..][..COLUMNS];
        for ((output, low), high) in output.iter_mut().zip(row(2 * pair)).zip(row(2 * pair + 1)) {
            output.write(joined(*low, *high));
        }
    }
    pairs
}

/// Packs pairs of a matrix with contiguous columns, in whole blocks; returns how many.
fn pair_columns(weight: Strided<'_, u16>, first: usize, output: &mut [[MaybeUninit<u32>; COLUMNS]]) -> usize {
    let pairs = weight.rows / 2;
    let (blocks, _) = output[..pairs].as_chunks_mut::<LANES>();
    for (number, output) in blocks.iter_mut().enumerate() {
        for part in (0..COLUMNS).step_by(LANES) {
            let mut block = [[0_u32; LANES]; LANES];
            for column in 0..LANES {
                let start = weight.index(number * 2 * LANES, first + part + column);
                let source = &weight.numbers[start..][..2 * LANES];
                for (block, pair) in block.iter_mut().zip(source.as_chunks::<2>().0) {
                    block[column] = joined(pair[0], pair[1]);
                }
            }
            for (output, block) in output.iter_mut().zip(&block) {
                output[part..][..LANES].write_copy_of_slice(block);
            }
        }
    }
    blocks.len() * LANES
}

/// A product that several threads compute in pieces.
struct Whole<'a> {
    left: &'a Rounded,
    right: &'a [u32],
    bias: Option<&'a [f32]>,
    columns: usize,
    output: Output,
}

impl Whole<'_> {
    /// Computes some rows of some panels.
    ///
    /// # Safety
    /// The processor has the instructions; no other thread reads or writes these rows of these panels of the output.
    unsafe fn piece(&self, rows: Range<usize>, panels: Range<usize>) {
        let pairs = self.right.len() / (self.columns.div_ceil(COLUMNS) * COLUMNS);
        for panel in panels {
            for first in rows.clone().step_by(ROWS) {
                let block = match ROWS.min(rows.end - first) {
                    1 => Self::block::<1>,
                    2 => Self::block::<2>,
                    3 => Self::block::<3>,
                    4 => Self::block::<4>,
                    5 => Self::block::<5>,
                    6 => Self::block::<6>,
                    7 => Self::block::<7>,
                    _ => Self::block::<ROWS>,
                };
                // SAFETY: the caller promises it; the rows and the panel exist.
                unsafe { block(self, first, panel, pairs) };
            }
        }
    }

    /// Computes `R` rows of a panel.
    ///
    /// # Safety
    /// As [`piece`](Self::piece); the rows and the panel exist.
    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn block<const R: usize>(&self, first: usize, panel: usize, pairs: usize) {
        let start = panel * COLUMNS;
        // SAFETY: a row holds its pairs, a panel that many times its columns; elements of a panel beyond the columns
        // are masked out.
        unsafe {
            let left: [*const u32; R] = std::array::from_fn(|row| self.left.row(first + row));
            let right = self.right.as_ptr().add(start * pairs);
            let mut sums = [[_mm512_setzero_ps(); VECTORS]; R];
            for pair in 0..pairs {
                let right: [__m512bh; VECTORS] = std::array::from_fn(|vector| {
                    as_bf16(_mm512_loadu_si512(right.add(pair * COLUMNS + vector * LANES).cast()))
                });
                for (sums, left) in sums.iter_mut().zip(left) {
                    let left = as_bf16(_mm512_set1_epi32(*left.add(pair) as i32));
                    for (sum, right) in sums.iter_mut().zip(right) {
                        *sum = _mm512_dpbf16_ps(*sum, left, right);
                    }
                }
            }
            for vector in 0..VECTORS {
                let from = start + vector * LANES;
                let mask = (1_u32 << self.columns.saturating_sub(from).min(LANES)).wrapping_sub(1) as u16;
                let bias = match self.bias {
                    Some(bias) => _mm512_maskz_loadu_ps(mask, bias.as_ptr().wrapping_add(from)),
                    None => _mm512_setzero_ps(),
                };
                for (row, sums) in sums.iter().enumerate() {
                    let target = self.output.0.wrapping_add((first + row) * self.columns + from);
                    _mm512_mask_storeu_ps(target, mask, _mm512_add_ps(sums[vector], bias));
                }
            }
        }
    }
}
