//! Several rows times a weight in blocks: a few rows of the weight are decoded, and stay in the nearest cache while those of x
//! pass by.

use std::arch::x86_64::{
    _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_setzero_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_reduce_add_ps,
    _mm512_setzero_ps,
};
use std::cell::RefCell;

use burn_adapters_quantization::BlockType;

use super::few::avx2::total;
use super::few::{avx2 as decode_avx2, avx512 as decode_avx512, decode, prefetch};
use crate::kernel::{Output, Work, run};
use crate::quantized::QuantizedMatrix;

/// Elements of the weight per piece of work.
const PIECE: usize = 1 << 16;
/// The rows of x that stay in the second cache.
const CHUNK: usize = 64;
/// A multiple of the rows of the weight that are decoded at once.
const STEP: usize = 12;

/// With at most so many rows, this is the fastest product; 0 if there is no code for the type.
pub(super) fn most_rows(kind: BlockType) -> usize {
    let has_code =
        matches!(kind, BlockType::Q4_0 | BlockType::Q4_1 | BlockType::Q8_0 | BlockType::Q4K | BlockType::Q6K);
    match () {
        () if !has_code => 0,
        () if decode_avx512::is_there() => CHUNK,
        () if decode_avx2::is_there() => 2 * CHUNK,
        () => 0,
    }
}

/// `x · weightᵀ + bias`, giving `[rows, d_output]`. The type must have [code](most_rows).
pub(super) fn product(x: &[f32], weight: &QuantizedMatrix, bias: Option<&[f32]>) -> Vec<f32> {
    let [d_output, d_input] = weight.shape();
    let rows = x.len() / d_input;
    let mut output = vec![0.0; rows * d_output];
    let high = (PIECE / d_input).max(1).next_multiple_of(STEP);
    let pieces = weight.blocks().chunks(high * weight.row_bytes()).enumerate();
    let pieces = pieces.map(|(number, blocks)| (number * high, blocks)).collect();
    run(pieces, &Several { x, weight, output: Output(output.as_mut_ptr()) });
    if let Some(bias) = bias {
        for output in output.chunks_exact_mut(d_output) {
            output.iter_mut().zip(bias).for_each(|(output, bias)| *output += bias);
        }
    }
    output
}

struct Several<'a> {
    x: &'a [f32],
    weight: &'a QuantizedMatrix,
    output: Output,
}

thread_local! {
    /// Decoded rows of the weight.
    static DECODED: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

impl Work<(usize, &[u8])> for Several<'_> {
    type Result = ();

    #[inline(always)]
    fn work<S: pulp::Simd>(&self, _: S, (first, blocks): (usize, &[u8])) {
        let ([d_output, d_input], kind) = (self.weight.shape(), self.weight.kind());
        let is_wide = decode_avx512::is_there();
        let outputs = if is_wide { wide::OUTPUTS } else { narrow::OUTPUTS };
        DECODED.with_borrow_mut(|values| {
            for (chunk, x) in self.x.chunks(CHUNK * d_input).enumerate() {
                let mut at = chunk * CHUNK * d_output + first;
                for blocks in blocks.chunks(outputs * self.weight.row_bytes()) {
                    if chunk == 0 {
                        prefetch(blocks);
                    }
                    let count = blocks.len() / self.weight.row_bytes();
                    values.resize(count * d_input, 0.0);
                    decode(kind, blocks, values);
                    // SAFETY: the processor has the instructions; these columns of the output are this piece's alone, and it
                    // has the rows of x.
                    unsafe {
                        let output = self.output.0.add(at);
                        match is_wide {
                            true => wide::products(x, values, d_input, output, d_output),
                            false => narrow::products(x, values, d_input, output, d_output),
                        }
                    }
                    at += count;
                }
            }
        });
    }
}

/// The products of rows with each other, by vectors of some processors.
macro_rules! products {
    ($features:literal, $outputs:literal outputs, $rows:literal rows, $lanes:literal lanes,
     $zero:ident, $load:ident, $multiply_add:ident, $sum:ident) => {
        use super::*;

        /// Rows of the weight that are multiplied at once: with those of x, as many sums as there are registers for.
        pub(super) const OUTPUTS: usize = $outputs;

        /// All products of rows of x and of the weight, into rows of `d_output`.
        ///
        /// # Safety
        /// Each row of x has a row of the output, which has an element for each row of the weight.
        #[target_feature(enable = $features)]
        pub(super) unsafe fn products(x: &[f32], weight: &[f32], d_input: usize, output: *mut f32, d_output: usize) {
            let (rows, outputs) = (x.len() / d_input, weight.len() / d_input);
            let mut row = 0;
            while row < rows {
                let (x, high) = (&x[row * d_input..], if rows - row >= $rows { $rows } else { 1 });
                for number in (0..outputs).step_by(if outputs == OUTPUTS { OUTPUTS } else { 1 }) {
                    let weight = &weight[number * d_input..];
                    // SAFETY: the caller promises these elements of the output.
                    unsafe {
                        let output = output.add(row * d_output + number);
                        match (outputs == OUTPUTS, high > 1) {
                            (true, true) => some::<OUTPUTS, $rows>(x, weight, d_input, output, d_output),
                            (true, false) => some::<OUTPUTS, 1>(x, weight, d_input, output, d_output),
                            (false, true) => some::<1, $rows>(x, weight, d_input, output, d_output),
                            (false, false) => some::<1, 1>(x, weight, d_input, output, d_output),
                        }
                    }
                }
                row += high;
            }
        }

        /// The products of `R` rows of x and `O` of the weight.
        ///
        /// # Safety
        /// As for all of them.
        #[target_feature(enable = $features)]
        #[inline]
        unsafe fn some<const O: usize, const R: usize>(
            x: &[f32],
            weight: &[f32],
            d_input: usize,
            output: *mut f32,
            d_output: usize,
        ) {
            assert!(x.len() >= R * d_input && weight.len() >= O * d_input && d_input % $lanes == 0);
            let (x, weight) = (x.as_ptr(), weight.as_ptr());
            let mut sums = [[$zero(); R]; O];
            for at in (0..d_input).step_by($lanes) {
                let mut values = [$zero(); O];
                for (number, values) in values.iter_mut().enumerate() {
                    // SAFETY: it has so many rows.
                    *values = unsafe { $load(weight.add(number * d_input + at)) };
                }
                for row in 0..R {
                    // SAFETY: it has so many rows.
                    let x = unsafe { $load(x.add(row * d_input + at)) };
                    for number in 0..O {
                        sums[number][row] = $multiply_add(values[number], x, sums[number][row]);
                    }
                }
            }
            for (number, sums) in sums.into_iter().enumerate() {
                for (row, sum) in sums.into_iter().enumerate() {
                    // SAFETY: the caller promises these elements.
                    unsafe { *output.add(row * d_output + number) = $sum(sum) };
                }
            }
        }
    };
}

mod narrow {
    products!("avx2,fma,f16c", 3 outputs, 4 rows, 8 lanes, _mm256_setzero_ps, _mm256_loadu_ps, _mm256_fmadd_ps, total);
}

mod wide {
    products!("avx512f,avx512bw", 4 outputs, 6 rows, 16 lanes, _mm512_setzero_ps, _mm512_loadu_ps, _mm512_fmadd_ps,
        _mm512_reduce_add_ps);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_multiplied_whatever_their_number() {
        let number = |at: usize| ((at * 7919) % 2003) as f32 / 1001.0 - 1.0;
        for kind in [BlockType::Q4_0, BlockType::Q4_1, BlockType::Q8_0, BlockType::Q4K, BlockType::Q6K] {
            if most_rows(kind) == 0 {
                continue;
            }
            for (rows, d_output, d_input) in [(1, 1, 256), (5, 7, 512), (13, 30, 256), (71, 3, 512), (9, 600, 256)] {
                let count = d_output * d_input;
                let blocks = match kind.is_made() {
                    true => kind.quantize(&(0..count).map(number).collect::<Vec<_>>()).unwrap(),
                    false => (0..count / 256 * kind.bytes()).map(|at| 0x14 + (at * 37 % 16) as u8).collect(),
                };
                let weight = QuantizedMatrix::new(kind, [d_output, d_input], blocks).unwrap();
                let mut dense = vec![0.0; count];
                kind.dequantize(weight.blocks(), &mut dense);
                let x: Vec<f32> = (0..rows * d_input).map(|at| number(at + 5)).collect();
                let bias: Vec<f32> = (0..d_output).map(number).collect();
                let output = product(&x, &weight, Some(&bias));
                assert_eq!(output.len(), rows * d_output);
                for (at, found) in output.iter().enumerate() {
                    let (row, column) = (at / d_output, at % d_output);
                    let pairs = x[row * d_input..][..d_input].iter().zip(&dense[column * d_input..]);
                    let expected: f64 = pairs.map(|(x, weight)| f64::from(*x) * f64::from(*weight)).sum();
                    let expected = expected + f64::from(bias[column]);
                    assert!(
                        (f64::from(*found) - expected).abs() < 1e-3,
                        "{kind} at {row}, {column}: {found} {expected}"
                    );
                }
            }
        }
    }
}
