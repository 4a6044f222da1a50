//! Products of f32 rows and a bf16 weight.
//!
//! On every processor the rows are rounded to bf16 and products are summed in f32. Results differ between processors,
//! and between a row alone and in a batch, only by the order of f32 sums, not by the rounding.

#[cfg(target_arch = "x86_64")]
mod native;

use super::dense::{self, Strided};
use super::{Work, piece, run};

/// With fewer rows, the weight is read as it is stored: packing it would take longer.
const WORTH_ORDERING: usize = 4;

/// `x · weight + bias`, giving `[rows, weight.rows]`. The weight holds the bits of bf16.
pub(crate) fn product(x: &[f32], weight: Strided<'_, u16>, bias: Option<&[f32]>) -> Vec<f32> {
    if x.is_empty() {
        return Vec::new();
    }
    if x.len() / weight.rows < WORTH_ORDERING && weight.strides[1] == 1 {
        return thin(x, weight, bias);
    }
    #[cfg(target_arch = "x86_64")]
    if native::is_native() {
        return native::product(x, weight, bias);
    }
    widened(x, weight, bias)
}

/// For processors without bf16 instructions: both operands are widened to f32.
fn widened(x: &[f32], weight: Strided<'_, u16>, bias: Option<&[f32]>) -> Vec<f32> {
    let mut wide = vec![0.0; weight.numbers.len()];
    let pieces = wide.chunks_mut(piece(1)).zip(weight.numbers.chunks(piece(1))).collect();
    run(pieces, &Widen);
    let Strided { rows, columns, strides, .. } = weight;
    dense::product(&rounded(x), Strided { numbers: &wide, rows, columns, strides }, bias)
}

struct Widen;

impl Work<(&mut [f32], &[u16])> for Widen {
    type Result = ();

    #[inline(always)]
    fn work<S: pulp::Simd>(&self, _: S, (wide, bits): (&mut [f32], &[u16])) {
        for (wide, bits) in wide.iter_mut().zip(bits) {
            *wide = widen(*bits);
        }
    }
}

/// For a few rows: each row of the weight is read once, and a multiple of it is added to the result.
fn thin(x: &[f32], weight: Strided<'_, u16>, bias: Option<&[f32]>) -> Vec<f32> {
    assert!(weight.is_inside(), "the weight exceeds its slice");
    let columns = weight.columns;
    let rows = x.len() / weight.rows;
    let mut output = match bias {
        Some(bias) => bias.repeat(rows),
        None => vec![0.0; rows * columns],
    };
    run(vec![output.as_mut_slice()], &Thin { x: &rounded(x), weight });
    output
}

struct Thin<'a> {
    x: &'a [f32],
    weight: Strided<'a, u16>,
}

impl Work<&mut [f32]> for Thin<'_> {
    type Result = ();

    #[inline(always)]
    fn work<S: pulp::Simd>(&self, _: S, output: &mut [f32]) {
        let Strided { numbers, rows: depth, columns, .. } = self.weight;
        for at in 0..depth {
            let weight = &numbers[self.weight.index(at, 0)..][..columns];
            for (output, x) in output.chunks_exact_mut(columns).zip(self.x.chunks_exact(depth)) {
                for (output, weight) in output.iter_mut().zip(weight) {
                    *output += x[at] * widen(*weight);
                }
            }
        }
    }
}

/// Rounds to bf16 (to nearest even) and widens again.
fn rounded(x: &[f32]) -> Vec<f32> {
    x.iter().map(|x| half::bf16::from_f32(*x).to_f32()).collect()
}

#[inline(always)]
fn widen(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(index: usize) -> f32 {
        ((index * 7919) % 1009) as f32 / 504.0 - 1.0
    }

    fn across(bits: &[u16], rows: usize, columns: usize) -> Vec<u16> {
        (0..rows * columns).map(|index| bits[index % rows * columns + index / rows]).collect()
    }

    #[test]
    fn products_of_any_size_and_order_are_those_of_the_rounded_numbers() {
        for [rows, depth, columns] in [[1, 1, 1], [3, 7, 50], [5, 64, 48], [8, 33, 49], [23, 65, 100], [70, 128, 144]] {
            let x: Vec<f32> = (0..rows * depth).map(number).collect();
            let bits: Vec<u16> =
                (0..depth * columns).map(|at| half::bf16::from_f32(number(at + 11)).to_bits()).collect();
            let bias: Vec<f32> = (0..columns).map(number).collect();
            let turned = across(&bits, depth, columns);
            let straight = Strided::new(&bits, depth, columns);
            let turned = Strided::new(&turned, columns, depth).transposed();
            let mut all = vec![product(&x, straight, Some(&bias)), product(&x, turned, Some(&bias))];
            all.push(widened(&x, straight, Some(&bias)));
            all.push(thin(&x, straight, Some(&bias)));
            let rounded = rounded(&x);
            for output in all {
                assert_eq!(output.len(), rows * columns);
                for (index, output) in output.iter().enumerate() {
                    let (row, column) = (index / columns, index % columns);
                    let sum: f64 = (0..depth)
                        .map(|at| f64::from(rounded[row * depth + at]) * f64::from(widen(bits[at * columns + column])))
                        .sum();
                    let expected = sum + f64::from(bias[column]);
                    assert!(
                        (expected - f64::from(*output)).abs() < 1e-5,
                        "{rows}, {depth}, {columns}: {output} {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn no_rows_give_none() {
        assert!(product(&[], Strided::new(&[0; 12], 3, 4), None).is_empty());
    }

    #[test]
    fn what_is_no_number_stays_none() {
        for rows in [1, 9] {
            let output = product(&vec![f32::NAN; rows * 2], Strided::new(&[0x3f80; 6], 2, 3), None);
            assert!(output.iter().all(|number| number.is_nan()));
            let output = product(&vec![f32::INFINITY; rows * 2], Strided::new(&[0x3f80; 6], 2, 3), None);
            assert!(output.iter().all(|number| *number == f32::INFINITY));
        }
    }
}
