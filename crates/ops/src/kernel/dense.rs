//! Products of large matrices.

use std::mem::MaybeUninit;
use std::ops::Range;

use gemm::Parallelism;

use super::{Work, piece, rows_in_piece, run, written};

/// A matrix `[rows, columns]` in any layout.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Strided<'a, T = f32> {
    /// The elements, from the first one on.
    pub(crate) numbers: &'a [T],
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    /// The strides of rows and columns.
    pub(crate) strides: [isize; 2],
}

impl<'a, T> Strided<'a, T> {
    /// A contiguous, row-major matrix.
    pub(crate) fn new(numbers: &'a [T], rows: usize, columns: usize) -> Self {
        Self { numbers, rows, columns, strides: [columns as isize, 1] }
    }

    /// The transposed matrix.
    pub(crate) fn transposed(self) -> Self {
        let [by_row, by_column] = self.strides;
        Self { rows: self.columns, columns: self.rows, strides: [by_column, by_row], ..self }
    }

    /// Some columns, from `first` on.
    pub(crate) fn columns_from(self, first: usize, columns: usize) -> Self {
        assert!(first + columns <= self.columns, "there are {} columns", self.columns);
        Self { numbers: &self.numbers[self.index(0, first)..], columns, ..self }
    }

    /// Whether all elements lie inside the slice.
    pub(crate) fn is_inside(&self) -> bool {
        let last = |count: usize, stride: isize| {
            usize::try_from(stride).ok().and_then(|stride| count.checked_sub(1)?.checked_mul(stride))
        };
        let [by_row, by_column] = self.strides;
        let end = last(self.rows, by_row).zip(last(self.columns, by_column)).and_then(|(a, b)| a.checked_add(b));
        end.is_some_and(|end| end < self.numbers.len())
    }

    /// The offset of an element of a matrix that [is inside](Self::is_inside) its slice.
    pub(crate) fn index(&self, row: usize, column: usize) -> usize {
        let [by_row, by_column] = self.strides;
        row * by_row.unsigned_abs() + column * by_column.unsigned_abs()
    }
}

/// With fewer rows, a transposed weight is multiplied as it is stored.
const WORTH_TRANSPOSING: usize = 64;
/// The most elements of a weight that are transposed at once, 16 MiB: a table of words need not be in memory twice.
const MOST_TRANSPOSED: usize = 4 << 20;

/// `x · weight + bias`, giving `[rows, weight.rows]`.
pub(crate) fn product(x: &[f32], weight: Strided<'_>, bias: Option<&[f32]>) -> Vec<f32> {
    let rows = x.len() / weight.rows;
    let [by_row, by_column] = weight.strides;
    let across = by_row == 1 && by_column == weight.rows as isize && weight.columns > 1;
    let left = Strided::new(x, rows, weight.rows);
    let mut output = match rows {
        1 => multiplied_row(x, weight),
        _ if across && rows >= WORTH_TRANSPOSING => multiplied_across(left, weight),
        _ => multiplied(left, weight),
    };
    if let Some(bias) = bias {
        run(output.chunks_mut(piece(bias.len())).collect(), &Add(bias));
    }
    output
}

/// `leftᵀ · right`, of `[rows, left_width]` and `[rows, right_width]`.
pub(crate) fn product_across(left: &[f32], left_width: usize, right: &[f32], right_width: usize) -> Vec<f32> {
    let rows = left.len() / left_width;
    multiplied(Strided::new(left, rows, left_width).transposed(), Strided::new(right, rows, right_width))
}

/// Elements of a matrix per piece of work, where it is multiplied by one row. It does not depend on the number of threads, so
/// neither do the sums.
const ROW_PIECE: usize = 1 << 17;
/// The most columns of such a piece: one after the other in memory, so that the processor fetches them ahead.
const ROW_COLUMNS: usize = 4096;
/// Rows of the matrix that are added to the output at a time.
const AT_ONCE: usize = 4;

/// The product of one row, which takes as long as reading the matrix: all threads do, in the order of memory.
fn multiplied_row(x: &[f32], matrix: Strided<'_>) -> Vec<f32> {
    assert!(matrix.is_inside() && x.len() == matrix.rows, "cannot multiply a row and {matrix:?}");
    let mut output = vec![0.0; matrix.columns];
    match matrix.strides {
        [_, 1] => {
            let wide = ROW_COLUMNS.min(matrix.columns);
            let high = (ROW_PIECE / wide).min(matrix.rows).next_multiple_of(AT_ONCE);
            let across = (0..matrix.columns).step_by(wide);
            let pieces = across.flat_map(|first| (0..matrix.rows).step_by(high).map(move |row| (first, row)));
            let part = |(first, row): (usize, usize)| {
                let columns = first..(first + wide).min(matrix.columns);
                (columns, row..(row + high).min(matrix.rows))
            };
            let pieces: Vec<_> = pieces.map(part).collect();
            let sums = run(pieces.clone(), &AddRows { x, matrix });
            for ((columns, _), sums) in pieces.into_iter().zip(sums) {
                output[columns].iter_mut().zip(sums).for_each(|(output, sum)| *output += sum);
            }
        }
        [1, _] => {
            let wide = (ROW_PIECE / matrix.rows).max(1);
            let pieces = output.chunks_mut(wide).enumerate().map(|(number, output)| (number * wide, output));
            run(pieces.collect(), &MultiplyColumns { x, matrix });
        }
        // SAFETY: the output has an element for each column.
        _ => unsafe { accumulate(Strided::new(x, 1, x.len()), matrix, output.as_mut_ptr(), matrix.columns) },
    }
    output
}

/// The sum of some rows, each times an element of `x`.
struct AddRows<'a> {
    x: &'a [f32],
    matrix: Strided<'a>,
}

impl Work<(Range<usize>, Range<usize>)> for AddRows<'_> {
    type Result = Vec<f32>;

    #[inline(always)]
    fn work<S: pulp::Simd>(&self, simd: S, (columns, rows): (Range<usize>, Range<usize>)) -> Vec<f32> {
        let mut output = vec![0.0; columns.len()];
        for first in rows.clone().step_by(AT_ONCE) {
            let count = AT_ONCE.min(rows.end - first);
            // What is missing at the end is added as 0 times the first row.
            let x: [f32; AT_ONCE] = std::array::from_fn(|at| if at < count { self.x[first + at] } else { 0.0 });
            let row = |at: usize| {
                let row = if at < count { first + at } else { first };
                &self.matrix.numbers[self.matrix.index(row, columns.start)..][..columns.len()]
            };
            add_rows(simd, x, std::array::from_fn(row), &mut output);
        }
        output
    }
}

#[inline(always)]
fn add_rows<S: pulp::Simd>(simd: S, x: [f32; AT_ONCE], rows: [&[f32]; AT_ONCE], output: &mut [f32]) {
    let [(a, a_rest), (b, b_rest), (c, c_rest), (d, d_rest)] = rows.map(S::as_simd_f32s);
    let [xa, xb, xc, xd] = x.map(|x| simd.splat_f32s(x));
    let (whole, rest) = S::as_mut_simd_f32s(output);
    for ((((output, a), b), c), d) in whole.iter_mut().zip(a).zip(b).zip(c).zip(d) {
        let sum = simd.mul_add_e_f32s(xa, *a, *output);
        let sum = simd.mul_add_e_f32s(xb, *b, sum);
        *output = simd.mul_add_e_f32s(xd, *d, simd.mul_add_e_f32s(xc, *c, sum));
    }
    for ((((output, a), b), c), d) in rest.iter_mut().zip(a_rest).zip(b_rest).zip(c_rest).zip(d_rest) {
        // In the same order, with the same roundings.
        *output = x[3].mul_add(*d, x[2].mul_add(*c, x[1].mul_add(*b, x[0].mul_add(*a, *output))));
    }
}

/// The products of `x` and some columns.
struct MultiplyColumns<'a> {
    x: &'a [f32],
    matrix: Strided<'a>,
}

impl Work<(usize, &mut [f32])> for MultiplyColumns<'_> {
    type Result = ();

    #[inline(always)]
    fn work<S: pulp::Simd>(&self, simd: S, (first, output): (usize, &mut [f32])) {
        for (column, output) in output.iter_mut().enumerate() {
            let column = &self.matrix.numbers[self.matrix.index(0, first + column)..][..self.x.len()];
            *output = inner(simd, self.x, column);
        }
    }
}

/// The inner product of two slices of one length.
#[inline(always)]
fn inner<S: pulp::Simd>(simd: S, left: &[f32], right: &[f32]) -> f32 {
    let ((left, left_rest), (right, right_rest)) = (S::as_simd_f32s(left), S::as_simd_f32s(right));
    let (left_fours, left) = left.as_chunks::<AT_ONCE>();
    let (right_fours, right) = right.as_chunks::<AT_ONCE>();
    let mut sums = [simd.splat_f32s(0.0); AT_ONCE];
    for (left, right) in left_fours.iter().zip(right_fours) {
        for ((sum, left), right) in sums.iter_mut().zip(left).zip(right) {
            *sum = simd.mul_add_e_f32s(*left, *right, *sum);
        }
    }
    for (left, right) in left.iter().zip(right) {
        sums[0] = simd.mul_add_e_f32s(*left, *right, sums[0]);
    }
    let sum = simd.add_f32s(simd.add_f32s(sums[0], sums[1]), simd.add_f32s(sums[2], sums[3]));
    let rest: f32 = left_rest.iter().zip(right_rest).map(|(left, right)| left * right).sum();
    simd.reduce_sum_f32s(sum) + rest
}

fn multiplied(left: Strided<'_>, right: Strided<'_>) -> Vec<f32> {
    let (rows, columns) = (left.rows, right.columns);
    if rows == 0 || columns == 0 || left.columns == 0 {
        return vec![0.0; rows * columns];
    }
    // SAFETY: the output has as many elements as the product, which writes all of them.
    unsafe { written(rows * columns, |output| multiply(left, right, output.as_mut_ptr().cast(), columns)) }
}

/// As [`multiplied`], for a right matrix that is contiguous in column-major order. Blocks of its columns are transposed first.
fn multiplied_across(left: Strided<'_>, right: Strided<'_>) -> Vec<f32> {
    let (depth, columns) = (right.rows, right.columns);
    let wide = (MOST_TRANSPOSED / depth).next_multiple_of(BLOCK);
    let write = |output: &mut [MaybeUninit<f32>]| {
        for first in (0..columns).step_by(wide) {
            let part = right.columns_from(first, wide.min(columns - first));
            let straight = transposed(part);
            // SAFETY: the columns from `first` on have as many elements as the part.
            let output = unsafe { output.as_mut_ptr().cast::<f32>().add(first) };
            // SAFETY: the same.
            unsafe { multiply(left, Strided::new(&straight, depth, part.columns), output, columns) };
        }
    };
    // SAFETY: the parts cover all columns, and a product writes all of its result.
    unsafe { written(left.rows * columns, write) }
}

/// `output = left · right`, on all threads. `stride` is that of the output's rows. None of the sizes is 0.
///
/// # Safety
/// `output` must point to `left.rows` rows of `right.columns` elements that nothing else reads or writes. They need not be
/// initialized.
unsafe fn multiply(left: Strided<'_>, right: Strided<'_>, output: *mut f32, stride: usize) {
    assert!(
        left.is_inside() && right.is_inside() && left.columns == right.rows,
        "cannot multiply {left:?} and {right:?}"
    );
    // SAFETY: gemm reads the two matrices, which were just checked to lie in their slices; it does not read the output. The
    // caller promises the rest.
    unsafe {
        gemm::gemm(
            left.rows,
            right.columns,
            left.columns,
            output,
            1,
            stride as isize,
            false,
            left.numbers.as_ptr(),
            left.strides[1],
            left.strides[0],
            right.numbers.as_ptr(),
            right.strides[1],
            right.strides[0],
            0.0,
            1.0,
            false,
            false,
            false,
            Parallelism::Rayon(0),
        );
    }
}

/// `output += left · right`, on this thread. `stride` is that of the output's rows.
///
/// # Safety
/// `output` must point to `left.rows` rows of `right.columns` elements that no other thread reads or writes.
pub(crate) unsafe fn accumulate(left: Strided<'_>, right: Strided<'_>, output: *mut f32, stride: usize) {
    if left.rows == 0 || left.columns == 0 || right.columns == 0 {
        return;
    }
    assert!(
        left.is_inside() && right.is_inside() && left.columns == right.rows,
        "cannot multiply {left:?} and {right:?}"
    );
    // SAFETY: gemm reads the two matrices, which were just checked to lie in their slices; the caller promises the rest.
    unsafe {
        gemm::gemm(
            left.rows,
            right.columns,
            left.columns,
            output,
            1,
            stride as isize,
            true,
            left.numbers.as_ptr(),
            left.strides[1],
            left.strides[0],
            right.numbers.as_ptr(),
            right.strides[1],
            right.strides[0],
            1.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// Writes rows of `columns` elements as columns.
pub(crate) fn transpose(numbers: &[f32], columns: usize, output: &mut [f32]) {
    let rows = numbers.len() / columns;
    // SAFETY: a value may always be where none need be, and only values are written.
    let output = unsafe { &mut *(std::ptr::from_mut(output) as *mut [MaybeUninit<f32>]) };
    let turn = Transpose { numbers, rows: columns, columns: rows };
    for (number, output) in output.chunks_mut(rows * BLOCK).enumerate() {
        turn.rows(number * BLOCK, output);
    }
}

/// The side of the blocks in which a matrix is transposed: a row of a block fills a cache line.
const BLOCK: usize = 16;

/// The elements in row-major order, of a matrix in column-major order.
pub(crate) fn transposed(matrix: Strided<'_>) -> Vec<f32> {
    let Strided { numbers, rows, columns, .. } = matrix;
    let write = |output: &mut [MaybeUninit<f32>]| {
        run(output.chunks_mut(columns * BLOCK).enumerate().collect(), &Transpose { numbers, rows, columns });
    };
    // SAFETY: the pieces cover all rows of the output, and each block of a row is written.
    unsafe { written(rows * columns, write) }
}

struct Transpose<'a> {
    numbers: &'a [f32],
    rows: usize,
    columns: usize,
}

impl Work<(usize, &mut [MaybeUninit<f32>])> for Transpose<'_> {
    type Result = ();

    #[inline(always)]
    fn work<S: pulp::Simd>(&self, _: S, (number, output): (usize, &mut [MaybeUninit<f32>])) {
        self.rows(number * BLOCK, output);
    }
}

impl Transpose<'_> {
    /// Transposes some rows from `first` on. Not inlined: compiled for AVX-512 it would use scatter instructions, which
    /// take several times as long.
    #[inline(never)]
    fn rows(&self, first: usize, output: &mut [MaybeUninit<f32>]) {
        let Self { numbers, rows, columns } = *self;
        let high = BLOCK.min(rows - first);
        for start in (0..columns).step_by(BLOCK) {
            let wide = BLOCK.min(columns - start);
            if high == BLOCK && wide == BLOCK {
                let mut block = [[0.0_f32; BLOCK]; BLOCK];
                for column in 0..BLOCK {
                    let (source, _) = numbers[(start + column) * rows + first..].as_chunks::<BLOCK>();
                    for (block, number) in block.iter_mut().zip(&source[0]) {
                        block[column] = *number;
                    }
                }
                for (row, block) in block.iter().enumerate() {
                    output[row * columns + start..][..BLOCK].write_copy_of_slice(block);
                }
            } else {
                for row in 0..high {
                    for column in start..start + wide {
                        output[row * columns + column].write(numbers[column * rows + first + row]);
                    }
                }
            }
        }
    }
}

struct Add<'a>(&'a [f32]);

impl Work<&mut [f32]> for Add<'_> {
    type Result = ();

    #[inline(always)]
    fn work<S: pulp::Simd>(&self, _: S, output: &mut [f32]) {
        for row in output.chunks_exact_mut(self.0.len()) {
            for (output, bias) in row.iter_mut().zip(self.0) {
                *output += bias;
            }
        }
    }
}

/// The sum of the rows.
pub(crate) fn column_sums(x: &[f32], width: usize) -> Vec<f32> {
    let sums = run(x.chunks(rows_in_piece(width) * width).collect(), &Sum { width });
    let mut total = vec![0.0; width];
    for part in sums {
        total.iter_mut().zip(part).for_each(|(total, part): (&mut f32, f32)| *total += part);
    }
    total
}

struct Sum {
    width: usize,
}

impl Work<&[f32]> for Sum {
    type Result = Vec<f32>;

    #[inline(always)]
    fn work<S: pulp::Simd>(&self, _: S, x: &[f32]) -> Vec<f32> {
        let mut sums = vec![0.0; self.width];
        for row in x.chunks_exact(self.width) {
            for (sum, x) in sums.iter_mut().zip(row) {
                *sum += x;
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_is_transposed_whatever_its_size() {
        for (rows, columns) in [(1, 1), (16, 16), (17, 40), (33, 5), (64, 48)] {
            let numbers: Vec<f32> = (0..rows * columns).map(|number| number as f32).collect();
            let across = Strided::new(&numbers, columns, rows).transposed();
            let straight = transposed(across);
            for row in 0..rows {
                for column in 0..columns {
                    assert_eq!(straight[row * columns + column], numbers[column * rows + row]);
                }
            }
        }
    }

    #[test]
    fn a_row_is_multiplied_by_all_columns_in_either_order() {
        let number = |at: usize| ((at * 7919) % 23) as f32 - 11.0;
        for [depth, columns] in [[1, 1], [40, 70], [2000, 100], [67, 5000], [603, 301]] {
            let x: Vec<f32> = (0..depth).map(number).collect();
            let numbers: Vec<f32> = (0..depth * columns).map(|at| number(at + 5)).collect();
            let bias: Vec<f32> = (0..columns).map(number).collect();
            for matrix in [Strided::new(&numbers, depth, columns), Strided::new(&numbers, columns, depth).transposed()]
            {
                let output = product(&x, matrix, Some(&bias));
                for (column, output) in output.iter().enumerate() {
                    let sum: f32 = (0..depth).map(|at| x[at] * numbers[matrix.index(at, column)]).sum();
                    assert_eq!(*output, sum + bias[column], "[{depth}, {columns}] at {column}");
                }
            }
        }
    }

    #[test]
    fn a_large_transposed_matrix_is_multiplied_in_blocks_of_columns() {
        let number = |at: usize| ((at * 7919) % 23) as f32 - 11.0;
        let [rows, depth, columns] = [WORTH_TRANSPOSING, 3000, MOST_TRANSPOSED / 3000 + 60];
        let x: Vec<f32> = (0..rows * depth).map(number).collect();
        let numbers: Vec<f32> = (0..depth * columns).map(|at| number(at + 5)).collect();
        let matrix = Strided::new(&numbers, columns, depth).transposed();
        let output = product(&x, matrix, None);
        for (row, output) in output.chunks_exact(columns).enumerate() {
            for column in [0, 1, columns / 2, columns - 51, columns - 50, columns - 34, columns - 1] {
                let sum: f32 = (0..depth).map(|at| x[row * depth + at] * numbers[matrix.index(at, column)]).sum();
                assert_eq!(output[column], sum, "at [{row}, {column}]");
            }
        }
    }

    #[test]
    #[should_panic(expected = "cannot multiply")]
    fn a_matrix_that_reaches_beyond_its_numbers_is_not_read() {
        let weight = Strided { numbers: &[1.0; 5], rows: 2, columns: 3, strides: [3, 1] };
        product(&[1.0; 4], weight, None);
    }
}
