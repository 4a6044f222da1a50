//! Products of f32 rows and a bf16 weight, by the instructions that multiply bf16 and sum in f32.
//!
//! Such an instruction takes pairs of neighbors along the sum: the rows are rounded to bf16, so that their pairs lie
//! together, and the weight is put in order as `[panel][pair][column of the panel]`.

use std::arch::x86_64::{
    __m512bh, __m512i, _mm512_add_ps, _mm512_cvtne2ps_pbh, _mm512_dpbf16_ps, _mm512_loadu_ps, _mm512_loadu_si512,
    _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_set1_epi32, _mm512_setzero_ps, _mm512_storeu_si512,
};
use std::mem::{MaybeUninit, transmute};
use std::ops::Range;

use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::kernel::dense::Strided;
use crate::kernel::{rows_in_piece, written};

/// Rows of the block of the result that is held in registers.
const ROWS: usize = 8;
/// Its columns, in vectors: 24 of 32 registers hold sums.
const VECTORS: usize = 3;
/// Pairs, or sums, in a vector.
const LANES: usize = 16;
/// Columns of a panel of the weight.
const COLUMNS: usize = VECTORS * LANES;
/// Most bytes of rounded rows that are multiplied by all panels before the next: half of the smallest second-level cache.
const ROWS_IN_CACHE: usize = 256 << 10;
/// Fewest pieces of work for a thread, so that all end at about the same time.
const PIECES: usize = 4;

/// Whether the processor has the instructions.
pub(super) fn is_native() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512bf16")
}

/// `x · weight + bias`, of `[rows, weight.rows]`.
///
/// # Panics
/// If the processor doesn't have the instructions, there are no rows, or the weight reaches beyond its numbers.
pub(super) fn product(x: &[f32], weight: Strided<'_, u16>, bias: Option<&[f32]>) -> Vec<f32> {
    assert!(is_native(), "no instructions for bf16");
    assert!(weight.is_inside(), "the weight reaches beyond its numbers");
    assert!(bias.is_none_or(|bias| bias.len() == weight.columns), "a bias for other columns");
    let left = Rounded::new(x, weight.rows);
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
        // SAFETY: the processor has the instructions, and no two pieces have a block in common.
        pieces(&left, panels).into_par_iter().for_each(|(rows, panels)| unsafe { whole.piece(rows, panels) });
    };
    // SAFETY: the pieces are all rows and all panels, and each writes all of its blocks.
    unsafe { written(left.rows * weight.columns, write) }
}

/// Rows and panels of the weight that are one piece of work.
fn pieces(left: &Rounded, panels: usize) -> Vec<(Range<usize>, Range<usize>)> {
    let most = (ROWS_IN_CACHE / (left.stride * size_of::<u32>())).max(ROWS);
    let high = left.rows.div_ceil(left.rows.div_ceil(most)).next_multiple_of(ROWS);
    let across = left.rows.div_ceil(high);
    let parts = (PIECES * rayon::current_num_threads()).div_ceil(across).min(panels);
    let wide = panels.div_ceil(parts);
    (0..left.rows)
        .step_by(high)
        .flat_map(|row| {
            let rows = row..(row + high).min(left.rows);
            (0..panels).step_by(wide).map(move |panel| (rows.clone(), panel..(panel + wide).min(panels)))
        })
        .collect()
}

/// Rows in bf16.
struct Rounded {
    /// Row after row, in pairs, the last filled up with zeros.
    pairs: Vec<u32>,
    rows: usize,
    /// From one row to the next: an odd number of cache lines, so that neighbors lie in other places of the cache.
    stride: usize,
}

impl Rounded {
    fn new(x: &[f32], depth: usize) -> Self {
        let rows = x.len() / depth;
        let stride = (depth.div_ceil(2 * LANES) | 1) * LANES;
        let write = |pairs: &mut [MaybeUninit<u32>]| {
            let high = rows_in_piece(depth);
            let pieces: Vec<_> = x.chunks(high * depth).zip(pairs.chunks_mut(high * stride)).collect();
            pieces.into_par_iter().for_each(|(x, pairs)| {
                for (x, pairs) in x.chunks_exact(depth).zip(pairs.chunks_exact_mut(stride)) {
                    // SAFETY: whoever makes rounded rows has seen that the processor has the instructions.
                    unsafe { round(x, pairs) };
                }
            });
        };
        // SAFETY: all of each row is written.
        Self { pairs: unsafe { written(rows * stride, write) }, rows, stride }
    }
}

/// A row in bf16, to nearest even, and zeros after it.
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
fn round_vector(x: &[f32; 2 * LANES], pairs: &mut [MaybeUninit<u32>; LANES]) {
    // SAFETY: 32 numbers are read, and 16 pairs written.
    unsafe {
        let (low, high) = (_mm512_loadu_ps(x.as_ptr()), _mm512_loadu_ps(x.as_ptr().add(LANES)));
        let rounded = transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low));
        _mm512_storeu_si512(pairs.as_mut_ptr().cast(), rounded);
    }
}

/// The same bits: sixteen pairs.
#[inline(always)]
fn as_bf16(pairs: __m512i) -> __m512bh {
    // SAFETY: both are 512 bits, and any are numbers.
    unsafe { transmute::<__m512i, __m512bh>(pairs) }
}

/// The weight, in the order in which it is used.
fn paired(weight: Strided<'_, u16>) -> Vec<u32> {
    let pairs = weight.rows.div_ceil(2);
    let write = |output: &mut [MaybeUninit<u32>]| {
        let panels: Vec<_> = output.chunks_mut(pairs * COLUMNS).enumerate().collect();
        panels.into_par_iter().for_each(|(panel, output)| pair_panel(weight, panel * COLUMNS, output));
    };
    // SAFETY: the panels are all of it, and each is written whole.
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
    // What is left: an odd row, a narrow panel, strides of any size.
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

/// A pair: the first of two numbers lies lower.
fn joined(first: u16, second: u16) -> u32 {
    u32::from(first) | u32::from(second) << 16
}

/// Pairs of a matrix whose rows lie together; gives how many.
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

/// Pairs of a matrix whose columns lie together; gives how many, which are whole blocks.
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

/// A product, of which several threads do pieces.
struct Whole<'a> {
    left: &'a Rounded,
    right: &'a [u32],
    bias: Option<&'a [f32]>,
    columns: usize,
    output: Output,
}

/// Where the result goes.
struct Output(*mut f32);

// SAFETY: each thread writes its own blocks.
unsafe impl Sync for Output {}

impl Whole<'_> {
    /// Some rows of some panels.
    ///
    /// # Safety
    /// The processor has the instructions; nobody else reads or writes these rows of these panels of the output.
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
                // SAFETY: as promised, and the rows and the panel are there.
                unsafe { block(self, first, panel, pairs) };
            }
        }
    }

    /// `R` rows of a panel.
    ///
    /// # Safety
    /// As [`piece`](Self::piece); the rows and the panel are there.
    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn block<const R: usize>(&self, first: usize, panel: usize, pairs: usize) {
        let start = panel * COLUMNS;
        // SAFETY: a row has its pairs, a panel as many times its columns; what of a panel lies beyond the columns is
        // masked out.
        unsafe {
            let left: [*const u32; R] =
                std::array::from_fn(|row| self.left.pairs.as_ptr().add((first + row) * self.left.stride));
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
