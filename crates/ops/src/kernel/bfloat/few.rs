//! A few rows times a bf16 weight: bound by the memory that the weight takes, so each element is read once, as it is stored.

use super::widen;
use crate::kernel::dense::Strided;
use crate::kernel::{Work, run};

/// With more rows, it pays to pack the weight.
pub(super) const FEW: usize = 3;
/// Elements of the weight per piece of work.
const PIECE: usize = 1 << 16;
/// The columns of a piece of a row-major weight are a multiple of these.
const STEP: usize = 64;
/// Elements along the sum that are multiplied at a time.
const CHUNK: usize = 32;

/// `x · weight + bias`, giving `[rows, weight.columns]`; `None` if the weight is neither row-major nor column-major.
pub(super) fn product(x: &[f32], weight: Strided<'_, u16>, bias: Option<&[f32]>) -> Option<Vec<f32>> {
    assert!(weight.is_inside(), "the weight exceeds its slice");
    let [by_row, by_column] = weight.strides;
    let (depth, columns) = (weight.rows, weight.columns);
    let rows = x.len() / depth;
    let is_row_major = by_column == 1;
    if !is_row_major && by_row != 1 {
        return None;
    }
    let high = if is_row_major { (PIECE / depth).next_multiple_of(STEP).max(STEP) } else { (PIECE / depth).max(1) };
    let pieces = (0..columns).step_by(high).map(|first| (first, high.min(columns - first))).collect();
    let parts = run(pieces, &Few { x, weight, is_row_major });
    let mut output = match bias {
        Some(bias) => bias.repeat(rows),
        None => vec![0.0; rows * columns],
    };
    for (number, part) in parts.iter().enumerate() {
        let wide = part.len() / rows;
        for (output, part) in output.chunks_exact_mut(columns).zip(part.chunks_exact(wide)) {
            output[number * high..][..wide].iter_mut().zip(part).for_each(|(output, part)| *output += part);
        }
    }
    Some(output)
}

/// Some columns: the first of them, and how many.
struct Few<'a> {
    x: &'a [f32],
    weight: Strided<'a, u16>,
    is_row_major: bool,
}

impl Work<(usize, usize)> for Few<'_> {
    type Result = Vec<f32>;

    #[inline(always)]
    fn work<S: pulp::Simd>(&self, simd: S, (first, wide): (usize, usize)) -> Vec<f32> {
        if self.is_row_major { self.by_rows(first, wide) } else { self.by_columns(simd, first, wide) }
    }
}

impl Few<'_> {
    /// Adds multiples of the weight's rows, four at a time.
    #[inline(always)]
    fn by_rows(&self, first: usize, wide: usize) -> Vec<f32> {
        let depth = self.weight.rows;
        let mut output = vec![0.0; self.x.len() / depth * wide];
        let row = |at: usize| &self.weight.numbers[self.weight.index(at, first)..][..wide];
        let fours = depth / 4 * 4;
        for at in (0..fours).step_by(4) {
            let (a, b, c, d) = (row(at), row(at + 1), row(at + 2), row(at + 3));
            for (output, x) in output.chunks_exact_mut(wide).zip(self.x.chunks_exact(depth)) {
                let x = [x[at], x[at + 1], x[at + 2], x[at + 3]];
                for ((((output, a), b), c), d) in output.iter_mut().zip(a).zip(b).zip(c).zip(d) {
                    *output += (x[0] * widen(*a) + x[1] * widen(*b)) + (x[2] * widen(*c) + x[3] * widen(*d));
                }
            }
        }
        for at in fours..depth {
            for (output, x) in output.chunks_exact_mut(wide).zip(self.x.chunks_exact(depth)) {
                for (output, number) in output.iter_mut().zip(row(at)) {
                    *output += x[at] * widen(*number);
                }
            }
        }
        output
    }

    /// Multiplies the rows of x by each column.
    #[inline(always)]
    fn by_columns<S: pulp::Simd>(&self, simd: S, first: usize, wide: usize) -> Vec<f32> {
        let depth = self.weight.rows;
        let mut output = vec![0.0; self.x.len() / depth * wide];
        for column in 0..wide {
            let numbers = &self.weight.numbers[self.weight.index(0, first + column)..][..depth];
            for (output, x) in output.chunks_exact_mut(wide).zip(self.x.chunks_exact(depth)) {
                output[column] = dot(simd, x, numbers);
            }
        }
        output
    }
}

/// The product of a row of x and a column.
#[inline(always)]
fn dot<S: pulp::Simd>(simd: S, x: &[f32], column: &[u16]) -> f32 {
    let (chunks, rest) = column.as_chunks::<CHUNK>();
    let (x, x_rest) = x.as_chunks::<CHUNK>();
    let mut sums = [simd.splat_f32s(0.0); 2];
    for (numbers, x) in chunks.iter().zip(x) {
        let mut wide = [0.0; CHUNK];
        for (wide, number) in wide.iter_mut().zip(numbers) {
            *wide = widen(*number);
        }
        let ((numbers, _), (x, _)) = (S::as_simd_f32s(&wide), S::as_simd_f32s(x));
        // Two at a time, so that one sum need not wait for the other.
        for ([a, b], [x, y]) in numbers.as_chunks().0.iter().zip(x.as_chunks().0) {
            sums[0] = simd.mul_add_e_f32s(*a, *x, sums[0]);
            sums[1] = simd.mul_add_e_f32s(*b, *y, sums[1]);
        }
    }
    let rest: f32 = rest.iter().zip(x_rest).map(|(number, x)| widen(*number) * x).sum();
    simd.reduce_sum_f32s(simd.add_f32s(sums[0], sums[1])) + rest
}
