//! Products of matrices as small as those of one attention head.

use std::ops::Range;

#[cfg(target_arch = "x86_64")]
use super::product_bf16::{PairPanels, PairRows};
#[cfg(target_arch = "x86_64")]
use super::rounded::has_fast_bf16;

/// Rows of the block of the result that is kept in registers.
const ROWS: usize = 6;
/// Columns of that block, in vectors: two times six fit the sixteen registers of AVX2.
const VECTORS: usize = 2;
/// The most columns of that block: the lanes of AVX-512 are sixteen.
const MOST: usize = VECTORS * 16;

/// A matrix in a slice. It is row-major or column-major: one stride is 1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Matrix<'a> {
    /// The elements, from the first one on.
    pub(crate) data: &'a [f32],
    /// The stride of rows.
    pub(crate) row: usize,
    /// The stride of columns.
    pub(crate) column: usize,
}

impl<'a> Matrix<'a> {
    /// A row-major matrix whose rows are this far apart.
    pub(crate) fn new(data: &'a [f32], row: usize) -> Self {
        Self { data, row, column: 1 }
    }

    /// The transposed matrix.
    pub(crate) fn transposed(self) -> Self {
        Self { row: self.column, column: self.row, ..self }
    }
}

/// The numbers that are multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Factors {
    /// Those of the operands.
    #[default]
    Exact,
    /// Those of the operands rounded to bf16, if the processor multiplies these faster; otherwise exact ones.
    Rounded,
}

impl Factors {
    /// Whether they are rounded, with vectors of this kind.
    #[inline(always)]
    fn are_rounded<S: pulp::Simd>(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return self == Factors::Rounded && S::F32_LANES == super::rounded::LANES && has_fast_bf16();
        #[cfg(not(target_arch = "x86_64"))]
        false
    }
}

/// Scratch buffers for the operands, packed in the order in which they are used.
#[derive(Debug, Default)]
pub(crate) struct Packed {
    left: Rows,
    right: Panels,
}

impl Packed {
    /// `output = left · right`, of sizes `[m, k]` and `[k, n]`; `stride` is that of the output's rows.
    #[allow(clippy::too_many_arguments)]
    #[inline(always)]
    pub(crate) fn product<S: pulp::Simd>(
        &mut self,
        simd: S,
        factors: Factors,
        left: Matrix<'_>,
        right: Matrix<'_>,
        [m, k, n]: [usize; 3],
        output: &mut [f32],
        stride: usize,
    ) {
        self.right.pack::<S>(factors, right, k, n);
        self.left.product(simd, left, m, self.right.part(0..k, 0..n), Into { output, stride, adds: false });
    }
}

/// Scratch for six rows of a left operand.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    numbers: Vec<[f32; ROWS]>,
    #[cfg(target_arch = "x86_64")]
    pairs: PairRows,
}

/// Where a product goes.
pub(crate) struct Into<'a> {
    pub(crate) output: &'a mut [f32],
    /// The stride of the output's rows.
    pub(crate) stride: usize,
    /// Whether the product is added to the output.
    pub(crate) adds: bool,
}

impl Rows {
    /// `left · right`, where `left` has `m` rows, and as many columns as `right` has rows.
    #[inline(always)]
    pub(crate) fn product<S: pulp::Simd>(
        &mut self,
        simd: S,
        left: Matrix<'_>,
        m: usize,
        right: Part<'_>,
        Into { output, stride, adds }: Into<'_>,
    ) {
        let width = VECTORS * S::F32_LANES;
        let Part { panels, rows: depth, columns } = right;
        #[cfg(target_arch = "x86_64")]
        if let Some(pairs) = &panels.pairs {
            // SAFETY: operands are packed so only where the processor has the instructions.
            return unsafe { self.pairs.product(left, m, pairs, [depth, columns], Into { output, stride, adds }) };
        }
        let k = depth.len();
        for first in (0..m).step_by(ROWS) {
            let rows = ROWS.min(m - first);
            let packed = rows < ROWS;
            if packed {
                self.numbers.clear();
                self.numbers.resize(k, [0.0; ROWS]);
                interleave(left, first, rows, &mut self.numbers);
            }
            for (number, start) in (columns.start..columns.end).step_by(width).enumerate() {
                let panel = (start / width * panels.rows + depth.start) * width;
                let (right, _) = S::as_simd_f32s(&panels.numbers[panel..][..k * width]);
                let (right, _) = right.as_chunks::<VECTORS>();
                let block = if packed {
                    block(simd, self.numbers.iter(), right)
                } else if left.column == 1 {
                    block_of_rows(simd, std::array::from_fn(|row| &left.data[(first + row) * left.row..][..k]), right)
                } else {
                    // Six neighbors in a row-major matrix need no packing.
                    let rows = left.data[first..].chunks(left.column).take(k);
                    block(simd, rows.filter_map(|row| row.first_chunk()), right)
                };
                let wide = width.min(columns.end - start);
                for (row, block) in block.iter().take(rows).enumerate() {
                    let output = &mut output[(first + row) * stride + number * width..][..wide];
                    if wide == width {
                        let (output, _) = S::as_mut_simd_f32s(output);
                        for (output, block) in output.iter_mut().zip(block) {
                            *output = if adds { simd.add_f32s(*output, *block) } else { *block };
                        }
                        continue;
                    }
                    let mut numbers = [0.0_f32; MOST];
                    let (vectors, _) = S::as_mut_simd_f32s(&mut numbers);
                    for (target, block) in vectors.iter_mut().zip(block) {
                        *target = *block;
                    }
                    if adds {
                        output.iter_mut().zip(numbers).for_each(|(output, number)| *output += number);
                    } else {
                        output.copy_from_slice(&numbers[..wide]);
                    }
                }
            }
        }
    }
}

/// A right operand, packed as `[panel][row][column of the panel]`.
#[derive(Debug, Default)]
pub(crate) struct Panels {
    numbers: Vec<f32>,
    /// The operand in bf16, instead.
    #[cfg(target_arch = "x86_64")]
    pairs: Option<PairPanels>,
    rows: usize,
    columns: usize,
}

/// Some rows and columns of a packed operand.
#[derive(Debug, Clone)]
pub(crate) struct Part<'a> {
    panels: &'a Panels,
    rows: Range<usize>,
    columns: Range<usize>,
}

impl Panels {
    /// The number of columns of a panel.
    #[inline(always)]
    pub(crate) fn width<S: pulp::Simd>() -> usize {
        VECTORS * S::F32_LANES
    }

    /// Packs a matrix `[k, n]`.
    #[inline(always)]
    pub(crate) fn pack<S: pulp::Simd>(&mut self, factors: Factors, matrix: Matrix<'_>, k: usize, n: usize) {
        let width = Self::width::<S>();
        (self.rows, self.columns) = (k, n);
        #[cfg(target_arch = "x86_64")]
        {
            self.pairs = factors.are_rounded::<S>().then(|| self.pairs.take().unwrap_or_default());
            if let Some(pairs) = &mut self.pairs {
                // SAFETY: the processor has the instructions.
                return unsafe { pairs.pack(matrix, k, n) };
            }
        }
        self.numbers.clear();
        self.numbers.resize(k * n.div_ceil(width) * width, 0.0);
        if matrix.column == 1 {
            for row in 0..k {
                let source = &matrix.data[row * matrix.row..][..n];
                for (panel, source) in source.chunks(width).enumerate() {
                    self.numbers[(panel * k + row) * width..][..source.len()].copy_from_slice(source);
                }
            }
        } else {
            across(matrix, [k, n], width, &mut self.numbers);
        }
    }

    /// Some rows and columns. The columns begin at a panel, a multiple of its [width](Self::width).
    #[inline(always)]
    pub(crate) fn part(&self, rows: Range<usize>, columns: Range<usize>) -> Part<'_> {
        assert!(rows.end <= self.rows && columns.end <= self.columns, "{rows:?} and {columns:?} exceed the operand");
        Part { panels: self, rows, columns }
    }
}

/// A block of the result: rows of the left operand times columns of the right one.
#[inline(always)]
fn block<'a, S: pulp::Simd>(
    simd: S,
    left: impl Iterator<Item = &'a [f32; ROWS]>,
    right: &[[S::f32s; VECTORS]],
) -> [[S::f32s; VECTORS]; ROWS] {
    let mut block = [[simd.splat_f32s(0.0); VECTORS]; ROWS];
    for (left, right) in left.zip(right) {
        for (block, left) in block.iter_mut().zip(left) {
            let left = simd.splat_f32s(*left);
            for (block, right) in block.iter_mut().zip(right) {
                *block = simd.mul_add_e_f32s(left, *right, *block);
            }
        }
    }
    block
}

/// As [`block`], for rows of a row-major matrix that are as long as `right`.
#[inline(always)]
fn block_of_rows<S: pulp::Simd>(
    simd: S,
    left: [&[f32]; ROWS],
    right: &[[S::f32s; VECTORS]],
) -> [[S::f32s; VECTORS]; ROWS] {
    assert!(left.iter().all(|row| row.len() == right.len()), "the operands differ in length");
    let mut block = [[simd.splat_f32s(0.0); VECTORS]; ROWS];
    for (at, right) in right.iter().enumerate() {
        for (block, row) in block.iter_mut().zip(left) {
            // SAFETY: every row is as long as `right`. (The compiler would check each of six rows in the innermost loop.)
            let left = simd.splat_f32s(unsafe { *row.get_unchecked(at) });
            for (block, right) in block.iter_mut().zip(right) {
                *block = simd.mul_add_e_f32s(left, *right, *block);
            }
        }
    }
    block
}

/// Packs a column-major matrix as `packed[panel][row][column]`.
///
/// Not inlined: compiled for AVX-512 it would use scatter instructions, which take several times as long.
#[inline(never)]
fn across(matrix: Matrix<'_>, [k, n]: [usize; 2], width: usize, packed: &mut [f32]) {
    for column in 0..n {
        let source = &matrix.data[column * matrix.column..][..k];
        let panel = &mut packed[column / width * k * width..][..k * width];
        for (target, source) in panel.chunks_exact_mut(width).zip(source) {
            target[column % width] = *source;
        }
    }
}

/// Packs some rows of a matrix as `packed[column][row]`. Not inlined for the same reason.
#[inline(never)]
fn interleave(matrix: Matrix<'_>, first: usize, rows: usize, packed: &mut [[f32; ROWS]]) {
    if matrix.column != 1 {
        for (column, target) in packed.iter_mut().enumerate() {
            target[..rows].copy_from_slice(&matrix.data[column * matrix.column + first..][..rows]);
        }
        return;
    }
    for row in 0..rows {
        let source = &matrix.data[(first + row) * matrix.row..][..packed.len()];
        for (target, source) in packed.iter_mut().zip(source) {
            target[row] = *source;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Work;

    struct Whole(Factors, [usize; 3]);

    impl Work<(Matrix<'_>, Matrix<'_>)> for Whole {
        type Result = Vec<f32>;

        #[inline(always)]
        fn work<S: pulp::Simd>(&self, simd: S, (a, b): (Matrix<'_>, Matrix<'_>)) -> Vec<f32> {
            twice(simd, self.0, a, b, self.1)
        }
    }

    /// A product that is written, and then added once more. Rows of the output are three longer than needed.
    #[inline(always)]
    fn twice<S: pulp::Simd>(
        simd: S,
        factors: Factors,
        a: Matrix<'_>,
        b: Matrix<'_>,
        [m, k, n]: [usize; 3],
    ) -> Vec<f32> {
        let (mut packed, stride) = (Packed::default(), n + 3);
        let mut output = vec![0.0; m * stride];
        packed.product(simd, factors, a, b, [m, k, n], &mut output, stride);
        let right = packed.right.part(0..k, 0..n);
        packed.left.product(simd, a, m, right, Into { output: &mut output, stride, adds: true });
        output
    }

    #[test]
    fn products_of_any_size_and_order_are_sums_of_products() {
        let number = |index: usize| ((index * 7919) % 23) as f32 - 11.0;
        for [m, k, n] in [[1, 1, 1], [6, 3, 16], [7, 5, 17], [13, 32, 40], [48, 64, 100], [17, 71, 33]] {
            let left: Vec<f32> = (0..m * k).map(number).collect();
            let right: Vec<f32> = (0..k * n).map(|index| number(index + 5)).collect();
            let across = |data: &[f32], rows: usize, columns: usize| -> Vec<f32> {
                (0..rows * columns).map(|index| data[index % rows * columns + index / rows]).collect()
            };
            let (left_across, right_across) = (across(&left, m, k), across(&right, k, n));
            for (a, b) in [
                (Matrix::new(&left, k), Matrix::new(&right, n)),
                (Matrix::new(&left_across, m).transposed(), Matrix::new(&right_across, k).transposed()),
            ] {
                let output = twice(pulp::Scalar, Factors::Exact, a, b, [m, k, n]);
                // These numbers are not changed by rounding.
                for factors in [Factors::Exact, Factors::Rounded] {
                    let widest = crate::kernel::run(vec![(a, b)], &Whole(factors, [m, k, n])).remove(0);
                    assert_eq!(output, widest, "{factors:?}, [{m}, {k}, {n}]");
                }
                for row in 0..m {
                    for column in 0..n {
                        let sum: f32 = (0..k).map(|at| left[row * k + at] * right[at * n + column]).sum();
                        assert_eq!(output[row * (n + 3) + column], 2.0 * sum, "[{m}, {k}, {n}] at [{row}, {column}]");
                    }
                }
            }
        }
    }

    /// Some rows and columns of a right operand, by a left one in either order.
    struct InParts;

    impl Work<[&[f32]; 3]> for InParts {
        type Result = [Vec<f32>; 2];

        #[inline(always)]
        fn work<S: pulp::Simd>(&self, simd: S, [left, across, right]: [&[f32]; 3]) -> [Vec<f32>; 2] {
            let mut panels = Panels::default();
            panels.pack::<S>(Factors::Rounded, Matrix::new(right, 70), 50, 70);
            let part = || panels.part(10..41, 0..70);
            [Matrix::new(left, 31), Matrix::new(across, 9).transposed()].map(|left| {
                let mut output = vec![0.0; 9 * 70];
                Rows::default().product(simd, left, 9, part(), Into { output: &mut output, stride: 70, adds: false });
                output
            })
        }
    }

    #[test]
    fn rounded_products_are_those_of_the_numbers_in_bf16() {
        let number = |index: usize| ((index * 7919) % 1009) as f32 / 504.0 - 1.0;
        let (left, right): (Vec<f32>, Vec<f32>) =
            ((0..9 * 31).map(number).collect(), (0..50 * 70).map(|at| number(at + 7)).collect());
        let across: Vec<f32> = (0..9 * 31).map(|at| left[at % 9 * 31 + at / 9]).collect();
        let rounded = |value: f32| match has_instructions() {
            true => f64::from(half::bf16::from_f32(value).to_f32()),
            false => f64::from(value),
        };
        for output in crate::kernel::run(vec![[&left[..], &across, &right]], &InParts).remove(0) {
            for (index, output) in output.iter().enumerate() {
                let product =
                    |at: usize| rounded(left[index / 70 * 31 + at]) * rounded(right[(10 + at) * 70 + index % 70]);
                let sum: f64 = (0..31).map(product).sum();
                assert!((sum - f64::from(*output)).abs() < 1e-5, "{index}: {output}, expected {sum}");
            }
        }
    }

    fn has_instructions() -> bool {
        #[cfg(target_arch = "x86_64")]
        return has_fast_bf16();
        #[cfg(not(target_arch = "x86_64"))]
        false
    }
}
