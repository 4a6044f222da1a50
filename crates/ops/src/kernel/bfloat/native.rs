//! Products of f32 rows and a bf16 weight, with the instructions that multiply bf16 and sum in f32.
//!
//! Such an instruction takes pairs of neighbors along the sum. So the rows are rounded to bf16, which puts their pairs
//! together, and the weight is packed as `[panel][pair][column of the panel]`.

use std::arch::x86_64::{
    __m512bh, __m512i, _MM_HINT_T1, _mm_prefetch, _mm256_loadu_si256, _mm512_add_ps, _mm512_cvtepu16_epi32,
    _mm512_dpbf16_ps, _mm512_loadu_si512, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_or_si512,
    _mm512_set1_epi32, _mm512_setzero_ps, _mm512_setzero_si512, _mm512_slli_epi32, _mm512_storeu_si512,
};
use std::mem::{MaybeUninit, transmute};
use std::ops::Range;

use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::kernel::dense::Strided;
use crate::kernel::rounded::{LANES, Rounded, has_bf16, transposed};
use crate::kernel::{Output, written};

/// Rows of the block of the result that is kept in registers.
const ROWS: usize = 8;
/// Columns of that block, in vectors: 24 of 32 registers hold sums.
const VECTORS: usize = 3;
/// Columns of a panel of the weight.
const COLUMNS: usize = VECTORS * LANES;
/// Numbers of a cache line.
const CACHE_LINE: usize = 32;
/// The fewest pieces of work per thread, so that all threads end at about the same time.
const PIECES: usize = 4;
/// The fewest rows that a panel is packed for once more.
const WORTH_PACKING: usize = 128;

/// `x · weight + bias`, giving `[rows, weight.rows]`.
///
/// # Panics
/// If the processor doesn't have the instructions, there are no rows, or the weight exceeds its slice.
pub(super) fn product(x: &[f32], weight: Strided<'_, u16>, bias: Option<&[f32]>) -> Vec<f32> {
    assert!(has_bf16(), "no instructions for bf16");
    assert!(weight.is_inside(), "the weight exceeds its slice");
    assert!(bias.is_none_or(|bias| bias.len() == weight.columns), "expected a bias of one element per column");
    let left = Rounded::new(x, weight.rows, 1);
    let write = |output: &mut [MaybeUninit<f32>]| {
        let whole = Whole { left: &left, weight, bias, output: Output(output.as_mut_ptr().cast()) };
        let pieces = pieces(left.rows(), weight.columns.div_ceil(COLUMNS));
        // SAFETY: the processor has the instructions, and no two pieces share a block.
        pieces.into_par_iter().for_each_init(Vec::new, |panel, (rows, panels)| unsafe {
            whole.piece(rows, panels, panel);
        });
    };
    // SAFETY: the pieces cover all rows and all panels, and each writes all of its blocks.
    unsafe { written(left.rows() * weight.columns, write) }
}

/// Pieces of work: some rows and some panels of the weight each. All rows are multiplied by a panel while it is in the cache, but
/// for a weight with few panels.
fn pieces(rows: usize, panels: usize) -> Vec<(Range<usize>, Range<usize>)> {
    let wanted = PIECES * rayon::current_num_threads();
    let across = wanted.div_ceil(panels).min(rows.div_ceil(WORTH_PACKING));
    let high = rows.div_ceil(across).next_multiple_of(ROWS);
    let wide = panels.div_ceil(wanted.div_ceil(across).min(panels));
    (0..rows)
        .step_by(high)
        .flat_map(|row| {
            let rows = row..(row + high).min(rows);
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

/// A pair of rows of a panel.
type Pairs = [u32; COLUMNS];

/// Packs the columns of a panel, from `first` on, in the order in which they are used. What the weight has not is zero.
#[target_feature(enable = "avx512f,avx512bw")]
fn pack(weight: Strided<'_, u16>, first: usize, panel: &mut Vec<Pairs>) {
    panel.resize(weight.rows.div_ceil(2), [0; COLUMNS]);
    let is_whole = weight.columns - first >= COLUMNS;
    let done = match weight.strides {
        [_, 1] if is_whole => pack_rows(weight, first, panel),
        [1, _] if is_whole => pack_columns(weight, first, panel),
        _ => 0,
    };
    // The rest: an odd last row, a narrow panel, arbitrary strides.
    let number = |row: usize, column: usize| {
        let is_there = row < weight.rows && column < weight.columns;
        u32::from(if is_there { weight.numbers[weight.index(row, column)] } else { 0 })
    };
    for (pair, output) in panel.iter_mut().enumerate().skip(done) {
        for (column, output) in output.iter_mut().enumerate() {
            // The first of two elements is in the low bits.
            *output = number(2 * pair, first + column) | number(2 * pair + 1, first + column) << 16;
        }
    }
}

/// Fetches a part of the columns of a panel into the cache, while another panel is multiplied: part `number` of `count`.
#[target_feature(enable = "sse")]
fn fetch(weight: Strided<'_, u16>, first: usize, [number, count]: [usize; 2]) {
    let wide = COLUMNS.min(weight.columns.saturating_sub(first));
    // The lines that are contiguous, and how long they are.
    let (lines, length) = match weight.strides {
        [_, 1] => (weight.rows, wide),
        [1, _] => (wide, weight.rows),
        _ => return,
    };
    if wide == 0 {
        return;
    }
    for line in lines * number / count..lines * (number + 1) / count {
        let start = match weight.strides {
            [_, 1] => weight.index(line, first),
            _ => weight.index(0, first + line),
        };
        for at in (start..start + length).step_by(CACHE_LINE) {
            _mm_prefetch::<_MM_HINT_T1>(weight.numbers.as_ptr().wrapping_add(at).cast());
        }
    }
}

/// Packs pairs of a matrix with contiguous rows; returns how many.
#[target_feature(enable = "avx512f,avx512bw")]
fn pack_rows(weight: Strided<'_, u16>, first: usize, panel: &mut [Pairs]) -> usize {
    let pairs = weight.rows / 2;
    for (pair, output) in panel.iter_mut().enumerate().take(pairs) {
        let row = |row: usize| weight.numbers[weight.index(row, first)..][..COLUMNS].as_chunks::<LANES>().0;
        let rows = row(2 * pair).iter().zip(row(2 * pair + 1));
        for ((low, high), output) in rows.zip(output.as_chunks_mut::<LANES>().0) {
            // SAFETY: 32 bytes are read of each, and 64 written.
            unsafe {
                let low = _mm512_cvtepu16_epi32(_mm256_loadu_si256(low.as_ptr().cast()));
                let high = _mm512_cvtepu16_epi32(_mm256_loadu_si256(high.as_ptr().cast()));
                let joined = _mm512_or_si512(low, _mm512_slli_epi32::<16>(high));
                _mm512_storeu_si512(output.as_mut_ptr().cast(), joined);
            }
        }
    }
    pairs
}

/// Packs pairs of a matrix with contiguous columns, in whole blocks; returns how many.
#[target_feature(enable = "avx512f,avx512bw")]
fn pack_columns(weight: Strided<'_, u16>, first: usize, panel: &mut [Pairs]) -> usize {
    let (blocks, _) = panel[..weight.rows / 2].as_chunks_mut::<LANES>();
    for (number, output) in blocks.iter_mut().enumerate() {
        for part in (0..COLUMNS).step_by(LANES) {
            let mut lines = [_mm512_setzero_si512(); LANES];
            for (column, line) in lines.iter_mut().enumerate() {
                let start = weight.index(number * 2 * LANES, first + part + column);
                let pairs = &weight.numbers[start..][..2 * LANES];
                // SAFETY: 64 bytes are read.
                *line = unsafe { _mm512_loadu_si512(pairs.as_ptr().cast()) };
            }
            for (output, line) in output.iter_mut().zip(transposed(lines)) {
                // SAFETY: 64 bytes are written.
                unsafe { _mm512_storeu_si512(output[part..][..LANES].as_mut_ptr().cast(), line) };
            }
        }
    }
    blocks.len() * LANES
}

/// A product that several threads compute in pieces.
struct Whole<'a> {
    left: &'a Rounded,
    weight: Strided<'a, u16>,
    bias: Option<&'a [f32]>,
    output: Output,
}

impl Whole<'_> {
    /// Computes some rows of some panels, each of which is packed into `panel`.
    ///
    /// # Safety
    /// The processor has the instructions; no other thread reads or writes these rows of these panels of the output.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    unsafe fn piece(&self, rows: Range<usize>, panels: Range<usize>, panel: &mut Vec<Pairs>) {
        let blocks = rows.len().div_ceil(ROWS);
        for start in panels.map(|number| number * COLUMNS) {
            pack(self.weight, start, panel);
            for (number, first) in rows.clone().step_by(ROWS).enumerate() {
                fetch(self.weight, start + COLUMNS, [number, blocks]);
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
                // SAFETY: the caller promises it; the rows exist.
                unsafe { block(self, first, start, panel) };
            }
        }
    }

    /// Computes `R` rows of a panel.
    ///
    /// # Safety
    /// As [`piece`](Self::piece); the rows exist.
    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn block<const R: usize>(&self, first: usize, start: usize, panel: &[Pairs]) {
        let columns = self.weight.columns;
        // SAFETY: a row holds as many pairs as a panel; columns of a panel beyond those of the weight are masked out.
        unsafe {
            let left: [*const u32; R] = std::array::from_fn(|row| self.left.row(first + row));
            let mut sums = [[_mm512_setzero_ps(); VECTORS]; R];
            for (pair, right) in panel.iter().enumerate() {
                let right: [__m512bh; VECTORS] = std::array::from_fn(|vector| {
                    as_bf16(_mm512_loadu_si512(right.as_ptr().add(vector * LANES).cast()))
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
                let mask = (1_u32 << columns.saturating_sub(from).min(LANES)).wrapping_sub(1) as u16;
                let bias = match self.bias {
                    Some(bias) => _mm512_maskz_loadu_ps(mask, bias.as_ptr().wrapping_add(from)),
                    None => _mm512_setzero_ps(),
                };
                for (row, sums) in sums.iter().enumerate() {
                    let target = self.output.0.wrapping_add((first + row) * columns + from);
                    _mm512_mask_storeu_ps(target, mask, _mm512_add_ps(sums[vector], bias));
                }
            }
        }
    }
}
