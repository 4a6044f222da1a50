//! Weights in the order in which tiles are multiplied.

use super::{BLOCK, DEPTH, SIDE, Tile};
use crate::kernel::dense::Strided;
use crate::kernel::rounded::transposed;
use std::arch::x86_64::{_mm512_loadu_si512, _mm512_permutex2var_epi16, _mm512_setzero_si512, _mm512_storeu_si512};

/// Packs the tiles of a block of columns, from a column and a row on: those of the first sixteen, then those of the others.
/// What the matrix has not is zero.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn pack(matrix: Strided<'_, u16>, first: usize, column: usize, packed: &mut [Tile]) {
    let (left, right) = packed.split_at_mut(packed.len() / 2);
    let wide = BLOCK.min(matrix.columns - column);
    for (number, (left, right)) in left.iter_mut().zip(right).enumerate() {
        let row = first + number * DEPTH;
        let high = DEPTH.min(matrix.rows - row);
        let whole = high == DEPTH && wide == BLOCK;
        match matrix.strides {
            [_, 1] if whole => interleave(|at| &matrix.numbers[matrix.index(row + at, column)..], [left, right]),
            [1, _] if whole => {
                turn(|at| &matrix.numbers[matrix.index(row, column + at)..], left);
                turn(|at| &matrix.numbers[matrix.index(row, column + SIDE + at)..], right);
            }
            _ => {
                let mut part = [[0; BLOCK]; DEPTH];
                for (at, part) in part.iter_mut().enumerate().take(high) {
                    for (across, part) in part.iter_mut().enumerate().take(wide) {
                        *part = matrix.numbers[matrix.index(row + at, column + across)];
                    }
                }
                interleave(|at| &part[at], [left, right]);
            }
        }
    }
}

/// Which of 64 numbers, those of two rows, the pairs of the first sixteen columns consist of.
const LOW: [u16; DEPTH] = pairs_from(0);
/// As [`LOW`], of the other columns.
const HIGH: [u16; DEPTH] = pairs_from(SIDE as u16);

const fn pairs_from(first: u16) -> [u16; DEPTH] {
    let mut indices = [0; DEPTH];
    let mut at = 0;
    while at < DEPTH {
        indices[at] = first + at as u16 / 2 + at as u16 % 2 * DEPTH as u16;
        at += 1;
    }
    indices
}

/// Packs 32 rows of 32 numbers, of two tiles.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn interleave<'a>(row: impl Fn(usize) -> &'a [u16], [left, right]: [&mut Tile; 2]) {
    let targets = left.as_chunks_mut::<SIDE>().0.iter_mut().zip(right.as_chunks_mut::<SIDE>().0);
    for (pair, (left, right)) in targets.enumerate() {
        let (first, second) = (&row(2 * pair)[..DEPTH], &row(2 * pair + 1)[..DEPTH]);
        // SAFETY: each of these is 64 bytes.
        unsafe {
            let low = _mm512_loadu_si512(LOW.as_ptr().cast());
            let high = _mm512_loadu_si512(HIGH.as_ptr().cast());
            let first = _mm512_loadu_si512(first.as_ptr().cast());
            let second = _mm512_loadu_si512(second.as_ptr().cast());
            _mm512_storeu_si512(left.as_mut_ptr().cast(), _mm512_permutex2var_epi16(first, low, second));
            _mm512_storeu_si512(right.as_mut_ptr().cast(), _mm512_permutex2var_epi16(first, high, second));
        }
    }
}

/// Packs 16 columns of 32 numbers, a tile: transposes their pairs.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn turn<'a>(column: impl Fn(usize) -> &'a [u16], tile: &mut Tile) {
    let mut lines = [_mm512_setzero_si512(); SIDE];
    for (at, line) in lines.iter_mut().enumerate() {
        // SAFETY: 64 bytes are read.
        *line = unsafe { _mm512_loadu_si512(column(at)[..DEPTH].as_ptr().cast()) };
    }
    for (pair, line) in tile.as_chunks_mut::<SIDE>().0.iter_mut().zip(transposed(lines)) {
        // SAFETY: 64 bytes are written.
        unsafe { _mm512_storeu_si512(pair.as_mut_ptr().cast(), line) };
    }
}
