//! A few rows times a weight in blocks, each of which is multiplied as soon as it is decoded. For one row, this is bound by the
//! memory that the weight takes.

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;

use burn_adapters_quantization::{BlockType, q4_0, q4_1, q4_k, q8_0};

use crate::kernel::dense::{Strided, transposed};
use crate::kernel::{Work, run};
use crate::quantized::QuantizedMatrix;

/// Elements of the weight per piece of work.
const PIECE: usize = 1 << 16;
/// The most rows of x for which a block is decoded once.
pub(super) const AT_ONCE: usize = 4;
/// With at most so many rows, tiles would not pay.
pub(super) const MOST: usize = 8;

/// `x · weightᵀ + bias`, giving `[rows, d_output]`.
pub(super) fn product(x: &[f32], weight: &QuantizedMatrix, bias: Option<&[f32]>) -> Vec<f32> {
    let [d_output, d_input] = weight.shape();
    let rows = x.len() / d_input;
    // The outputs of all rows lie together here.
    let mut across = vec![0.0; rows * d_output];
    let high = (PIECE / d_input).max(1);
    let pieces = across.chunks_mut(high * rows).zip(weight.blocks().chunks(high * weight.row_bytes())).collect();
    run(pieces, &Few { x, weight });
    let mut output = across;
    if rows > 1 {
        output = transposed(Strided::new(&output, d_output, rows).transposed());
    }
    if let Some(bias) = bias {
        for output in output.chunks_exact_mut(d_output) {
            output.iter_mut().zip(bias).for_each(|(output, bias)| *output += bias);
        }
    }
    output
}

struct Few<'a> {
    x: &'a [f32],
    weight: &'a QuantizedMatrix,
}

/// Some rows of a weight, and what they give.
struct Piece<'a> {
    kind: BlockType,
    x: &'a [f32],
    d_input: usize,
    /// For each row of the weight, its products with all rows of x.
    output: &'a mut [f32],
    blocks: &'a [u8],
}

/// How far ahead of their use blocks are fetched, in bytes: processors fetch ahead within a page alone, which is 4 KiB.
#[cfg(target_arch = "x86_64")]
const AHEAD: usize = 4096;

/// Fetches what is as long as a row of the weight, and that far ahead of it, into the cache.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) fn prefetch(row: &[u8]) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    for at in (0..row.len()).step_by(64) {
        // SAFETY: every processor has the instruction, and it may be given any address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(row.as_ptr().wrapping_add(AHEAD + at).cast()) };
    }
}

/// Decodes blocks with the instructions of this processor, if there is code for their type. The last digit may differ from
/// [`BlockType::dequantize`]'s.
#[cfg(target_arch = "x86_64")]
pub(super) fn decode(kind: BlockType, blocks: &[u8], values: &mut [f32]) -> bool {
    avx512::decode(kind, blocks, values) || avx2::decode(kind, blocks, values)
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn decode(_: BlockType, _: &[u8], _: &mut [f32]) -> bool {
    false
}

/// Computes a piece with the instructions of this processor, if there is such code.
#[cfg(target_arch = "x86_64")]
fn native(piece: Piece<'_>) -> Result<(), Piece<'_>> {
    avx512::compute(piece).or_else(avx2::compute)
}

#[cfg(not(target_arch = "x86_64"))]
fn native(piece: Piece<'_>) -> Result<(), Piece<'_>> {
    Err(piece)
}

impl Work<(&mut [f32], &[u8])> for Few<'_> {
    type Result = ();

    #[inline(always)]
    fn work<S: pulp::Simd>(&self, simd: S, (output, blocks): (&mut [f32], &[u8])) {
        let (kind, d_input) = (self.weight.kind(), self.weight.shape()[1]);
        if let Err(piece) = native(Piece { kind, x: self.x, d_input, output, blocks }) {
            self.portable(simd, piece);
        }
    }
}

impl Few<'_> {
    /// Computes a piece on any processor.
    #[inline(always)]
    fn portable<S: pulp::Simd>(&self, simd: S, piece: Piece<'_>) {
        let Piece { kind, output, blocks, .. } = piece;
        match kind {
            BlockType::Q4_0 => self.rows(simd, output, blocks, q4_0),
            BlockType::Q4_1 => self.rows(simd, output, blocks, q4_1),
            BlockType::Q8_0 => self.rows(simd, output, blocks, q8_0),
            BlockType::Q4K => self.rows(simd, output, blocks, q4_k),
            kind => self.decoded_rows(simd, output, blocks, kind),
        }
    }

    /// The outputs of some rows of the weight.
    #[inline(always)]
    fn rows<S: pulp::Simd, const BYTES: usize, const ELEMENTS: usize>(
        &self,
        simd: S,
        output: &mut [f32],
        blocks: &[u8],
        decode: impl Fn(&[u8; BYTES]) -> [f32; ELEMENTS],
    ) {
        let d_input = self.weight.shape()[1];
        let rows = self.x.len() / d_input;
        for (output, blocks) in output.chunks_exact_mut(rows).zip(blocks.chunks_exact(self.weight.row_bytes())) {
            let blocks = blocks.as_chunks().0;
            for (output, x) in output.chunks_mut(AT_ONCE).zip(self.x.chunks(AT_ONCE * d_input)) {
                match output.len() {
                    1 => self.dots::<S, BYTES, ELEMENTS, 1>(simd, output, x, blocks, &decode),
                    2 => self.dots::<S, BYTES, ELEMENTS, 2>(simd, output, x, blocks, &decode),
                    3 => self.dots::<S, BYTES, ELEMENTS, 3>(simd, output, x, blocks, &decode),
                    _ => self.dots::<S, BYTES, ELEMENTS, AT_ONCE>(simd, output, x, blocks, &decode),
                }
            }
        }
    }

    /// The products of `R` rows of x and one of the weight.
    #[inline(always)]
    fn dots<S: pulp::Simd, const BYTES: usize, const ELEMENTS: usize, const R: usize>(
        &self,
        simd: S,
        output: &mut [f32],
        x: &[f32],
        blocks: &[[u8; BYTES]],
        decode: &impl Fn(&[u8; BYTES]) -> [f32; ELEMENTS],
    ) {
        let d_input = blocks.len() * ELEMENTS;
        let x: [&[[f32; ELEMENTS]]; R] = std::array::from_fn(|row| x[row * d_input..][..d_input].as_chunks().0);
        // Two sums each, so that one need not wait for the other.
        let mut sums = [[simd.splat_f32s(0.0); 2]; R];
        for (index, block) in blocks.iter().enumerate() {
            let values = decode(block);
            let (values, _) = S::as_simd_f32s(&values);
            for (sums, x) in sums.iter_mut().zip(x) {
                let (x, _) = S::as_simd_f32s(&x[index]);
                for (at, (value, x)) in values.iter().zip(x).enumerate() {
                    sums[at % 2] = simd.mul_add_e_f32s(*value, *x, sums[at % 2]);
                }
            }
        }
        for (output, [first, second]) in output.iter_mut().zip(sums) {
            *output = simd.reduce_sum_f32s(simd.add_f32s(first, second));
        }
    }

    /// As [`rows`](Self::rows), for any type: each row is decoded as a whole first.
    #[inline(always)]
    fn decoded_rows<S: pulp::Simd>(&self, simd: S, output: &mut [f32], blocks: &[u8], kind: BlockType) {
        let d_input = self.weight.shape()[1];
        let rows = self.x.len() / d_input;
        let mut values = vec![0.0; d_input];
        for (output, blocks) in output.chunks_exact_mut(rows).zip(blocks.chunks_exact(self.weight.row_bytes())) {
            kind.dequantize(blocks, &mut values);
            for (output, x) in output.iter_mut().zip(self.x.chunks_exact(d_input)) {
                let ((values, end), (x, x_end)) = (S::as_simd_f32s(&values), S::as_simd_f32s(x));
                let mut sums = [simd.splat_f32s(0.0); 2];
                for (at, (value, x)) in values.iter().zip(x).enumerate() {
                    sums[at % 2] = simd.mul_add_e_f32s(*value, *x, sums[at % 2]);
                }
                let end: f32 = end.iter().zip(x_end).map(|(value, x)| value * x).sum();
                *output = simd.reduce_sum_f32s(simd.add_f32s(sums[0], sums[1])) + end;
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The outputs of the code for each kind of processor that this one can run.
    fn outputs(x: &[f32], weight: &QuantizedMatrix) -> Vec<(&'static str, Vec<f32>)> {
        let [d_output, d_input] = weight.shape();
        let mut all = Vec::new();
        let mut add = |name, compute: &dyn Fn(Piece<'_>) -> Result<(), Piece<'_>>| {
            let mut output = vec![f32::NAN; x.len() / d_input * d_output];
            let piece = Piece { kind: weight.kind(), x, d_input, output: &mut output, blocks: weight.blocks() };
            if compute(piece).is_ok() {
                all.push((name, output));
            }
        };
        #[cfg(target_arch = "x86_64")]
        add("avx512", &avx512::compute);
        #[cfg(target_arch = "x86_64")]
        add("avx2", &avx2::compute);
        let few = Few { x, weight };
        add("portable", &|piece| {
            few.portable(pulp::Scalar, piece);
            Ok(())
        });
        add("vectors", &|piece| {
            let dispatch = Portable(&few);
            crate::kernel::run(vec![piece], &dispatch);
            Ok(())
        });
        all
    }

    struct Portable<'a>(&'a Few<'a>);

    impl Work<Piece<'_>> for Portable<'_> {
        type Result = ();

        #[inline(always)]
        fn work<S: pulp::Simd>(&self, simd: S, piece: Piece<'_>) {
            self.0.portable(simd, piece);
        }
    }

    #[test]
    fn every_processor_gives_the_products_of_the_dequantized_weight() {
        let number = |at: usize| ((at * 7919) % 2003) as f32 / 1001.0 - 1.0;
        for kind in [BlockType::Q4_0, BlockType::Q4_1, BlockType::Q8_0, BlockType::Q4K, BlockType::Q6K, BlockType::F16]
        {
            for (rows, d_output, d_input) in [(1, 5, 256), (3, 2, 512), (7, 3, 256)] {
                let count = d_output * d_input;
                let blocks = match kind.is_made() {
                    true => kind.quantize(&(0..count).map(number).collect::<Vec<_>>()).unwrap(),
                    false => (0..count / 256 * kind.bytes()).map(|at| 0x14 + (at * 37 % 16) as u8).collect(),
                };
                let weight = QuantizedMatrix::new(kind, [d_output, d_input], blocks).unwrap();
                let mut dense = vec![0.0; count];
                kind.dequantize(weight.blocks(), &mut dense);
                let x: Vec<f32> = (0..rows * d_input).map(|at| number(at + 5)).collect();
                for (name, output) in outputs(&x, &weight) {
                    for (at, found) in output.iter().enumerate() {
                        let (column, row) = (at / rows, at % rows);
                        let pairs = x[row * d_input..][..d_input].iter().zip(&dense[column * d_input..]);
                        let expected: f64 = pairs.map(|(x, weight)| f64::from(*x) * f64::from(*weight)).sum();
                        assert!((f64::from(*found) - expected).abs() < 1e-3, "{kind}, {name}: {found} {expected}");
                    }
                }
            }
        }
    }
}
