//! Many rows times a weight in blocks: a tile of the weight is dequantized, in the order in which it is multiplied.

use std::cell::RefCell;
use std::ops::Range;

use super::few;
use crate::kernel::dense::{Strided, accumulate, transpose};
use crate::kernel::{Output, Work, run};
use crate::quantized::QuantizedMatrix;

/// About how many outputs of a layer a tile has, in the product, and how many inputs in the one of the backward pass.
const WIDE: usize = 128;
/// The extent of a tile along the sum. A multiple of the elements of every type of block.
const DEEP: usize = 1024;

thread_local! {
    /// The elements of a tile, twice.
    static SCRATCH: RefCell<[Vec<f32>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
}

/// `x · weightᵀ + bias`, giving `[rows, d_output]`.
pub(super) fn product(x: &[f32], weight: &QuantizedMatrix, bias: Option<&[f32]>) -> Vec<f32> {
    let [d_output, d_input] = weight.shape();
    let rows = x.len() / d_input;
    let mut output = match bias {
        Some(bias) => bias.repeat(rows),
        None => vec![0.0; rows * d_output],
    };
    let x = Strided::new(x, rows, d_input);
    let straight = Straight { x, weight, output: Output(output.as_mut_ptr()) };
    run(pieces(d_output, 16), &straight);
    output
}

/// `gradient · weight`, giving `[rows, d_input]`.
pub(super) fn product_across(gradient: &[f32], weight: &QuantizedMatrix) -> Vec<f32> {
    let [d_output, d_input] = weight.shape();
    let rows = gradient.len() / d_output;
    let mut output = vec![0.0; rows * d_input];
    let gradient = Strided::new(gradient, rows, d_output);
    let across = Across { gradient, weight, output: Output(output.as_mut_ptr()) };
    run(pieces(d_input, weight.kind().elements()), &across);
    output
}

/// Ranges of columns of the result, about as many for each thread, at multiples of `step`.
fn pieces(columns: usize, step: usize) -> Vec<Range<usize>> {
    let threads = rayon::current_num_threads().max(1);
    let count = threads * columns.div_ceil(WIDE * threads);
    let wide = columns.div_ceil(count).next_multiple_of(step);
    (0..columns).step_by(wide).map(|first| first..(first + wide).min(columns)).collect()
}

/// The product, by outputs.
struct Straight<'a> {
    x: Strided<'a>,
    weight: &'a QuantizedMatrix,
    output: Output,
}

impl Work<Range<usize>> for Straight<'_> {
    type Result = ();

    #[inline(always)]
    fn work<S: pulp::Simd>(&self, _: S, outputs: Range<usize>) {
        let [d_output, d_input] = self.weight.shape();
        let wide = outputs.len();
        SCRATCH.with_borrow_mut(|[tile, turned]| {
            for first in (0..d_input).step_by(DEEP) {
                let deep = DEEP.min(d_input - first);
                dequantize(self.weight, outputs.clone(), first..first + deep, tile);
                turned.resize(wide * deep, 0.0);
                // The product reads rows of neighboring outputs.
                transpose(tile, deep, turned);
                let x = self.x.columns_from(first, deep);
                // SAFETY: these columns of the output, of which there are as many rows as of x, are this piece's alone.
                unsafe {
                    accumulate(x, Strided::new(turned, deep, wide), self.output.0.add(outputs.start), d_output);
                }
            }
        });
    }
}

/// The product with the weight itself, by inputs.
struct Across<'a> {
    gradient: Strided<'a>,
    weight: &'a QuantizedMatrix,
    output: Output,
}

impl Work<Range<usize>> for Across<'_> {
    type Result = ();

    #[inline(always)]
    fn work<S: pulp::Simd>(&self, _: S, inputs: Range<usize>) {
        let [d_output, d_input] = self.weight.shape();
        SCRATCH.with_borrow_mut(|[tile, _]| {
            for first in (0..d_output).step_by(DEEP) {
                let deep = DEEP.min(d_output - first);
                dequantize(self.weight, first..first + deep, inputs.clone(), tile);
                let gradient = self.gradient.columns_from(first, deep);
                // SAFETY: these columns of the output, of which there are as many rows as of the gradient, are this
                // piece's alone.
                unsafe {
                    accumulate(
                        gradient,
                        Strided::new(tile, deep, inputs.len()),
                        self.output.0.add(inputs.start),
                        d_input,
                    );
                }
            }
        });
    }
}

/// A part of the weight in row-major order. Its columns are whole blocks.
#[inline(always)]
fn dequantize(weight: &QuantizedMatrix, rows: Range<usize>, columns: Range<usize>, tile: &mut Vec<f32>) {
    let (kind, bytes) = (weight.kind(), weight.row_bytes());
    let of = |column: usize| column / kind.elements() * kind.bytes();
    tile.resize(rows.len() * columns.len(), 0.0);
    for (row, values) in rows.zip(tile.chunks_exact_mut(columns.len())) {
        let blocks = &weight.blocks()[row * bytes..][of(columns.start)..of(columns.end)];
        if !few::decode(kind, blocks, values) {
            kind.dequantize(blocks, values);
        }
    }
}
