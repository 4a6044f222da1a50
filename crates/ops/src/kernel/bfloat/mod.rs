//! Products of f32 rows and a bf16 weight.
//!
//! On every processor the rows are rounded to bf16 and products are summed in f32. Results differ between processors,
//! and between a row alone and in a batch, only by the order of f32 sums, not by the rounding.

mod few;
#[cfg(target_arch = "x86_64")]
mod native;

#[cfg(target_arch = "x86_64")]
use super::amx;
use super::dense::{self, Strided};
#[cfg(target_arch = "x86_64")]
use super::rounded::has_bf16;
use super::{Work, piece, run};

/// `x · weight + bias`, giving `[rows, weight.rows]`. The weight holds the bits of bf16.
pub(crate) fn product(x: &[f32], weight: Strided<'_, u16>, bias: Option<&[f32]>) -> Vec<f32> {
    if x.is_empty() {
        return Vec::new();
    }
    if x.len() / weight.rows <= few::FEW
        && let Some(output) = few::product(&rounded(x), weight, bias)
    {
        return output;
    }
    #[cfg(target_arch = "x86_64")]
    if amx::is_there() {
        return amx::product(x, weight, bias);
    }
    #[cfg(target_arch = "x86_64")]
    if has_bf16() {
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

/// Rounds to bf16 (to nearest even) and widens again.
fn rounded(x: &[f32]) -> Vec<f32> {
    x.iter().map(|x| half::bf16::from_f32(*x).to_f32()).collect()
}

/// The number with these bits.
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

    /// What the code for each kind of processor that this one can run gives.
    fn outputs(x: &[f32], straight: Strided<'_, u16>, turned: Strided<'_, u16>, bias: &[f32]) -> Vec<Vec<f32>> {
        let mut all = Vec::new();
        for weight in [straight, turned] {
            all.push(product(x, weight, Some(bias)));
            all.push(widened(x, weight, Some(bias)));
            all.extend(few::product(&rounded(x), weight, Some(bias)));
            #[cfg(target_arch = "x86_64")]
            if has_bf16() {
                all.push(native::product(x, weight, Some(bias)));
            }
            #[cfg(target_arch = "x86_64")]
            if amx::is_there() {
                all.push(amx::product(x, weight, Some(bias)));
            }
        }
        all
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
            let all = outputs(&x, straight, turned, &bias);
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
    fn long_sums_of_small_integers_are_exact() {
        let small = |index: usize| ((index * 7919) % 7) as f32 - 3.0;
        let [rows, depth, columns] = [33, 4200, 130];
        let x: Vec<f32> = (0..rows * depth).map(small).collect();
        let bits: Vec<u16> = (0..depth * columns).map(|at| half::bf16::from_f32(small(at + 11)).to_bits()).collect();
        let turned = across(&bits, depth, columns);
        let (straight, turned) =
            (Strided::new(&bits, depth, columns), Strided::new(&turned, columns, depth).transposed());
        let bias = vec![1.0; columns];
        for output in outputs(&x, straight, turned, &bias) {
            for (index, output) in output.iter().enumerate() {
                let (row, column) = (index / columns, index % columns);
                let sum: f32 = (0..depth).map(|at| x[row * depth + at] * widen(bits[at * columns + column])).sum();
                assert_eq!(*output, sum + 1.0, "at [{row}, {column}]");
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
