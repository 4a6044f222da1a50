//! Products of f32 rows and a weight in blocks.
//!
//! The activations stay f32, and sums are in f32. The weight is never dequantized as a whole: a few rows of activations are
//! multiplied by blocks as they are decoded, more of them by a few rows of the weight at a time, or by tiles of it.

mod few;
#[cfg(target_arch = "x86_64")]
mod several;
mod tiles;

use burn_adapters_quantization::BlockType;

use super::{Work, run};
use crate::quantized::QuantizedMatrix;

/// `x · weightᵀ + bias`, giving `[rows, d_output]`.
pub(crate) fn product(x: &[f32], weight: &QuantizedMatrix, bias: Option<&[f32]>) -> Vec<f32> {
    let rows = x.len() / weight.shape()[1];
    match rows {
        0 => Vec::new(),
        #[cfg(target_arch = "x86_64")]
        _ if rows > few::AT_ONCE && rows <= several::most_rows(weight.kind()) => several::product(x, weight, bias),
        _ if rows <= few::MOST => few::product(x, weight, bias),
        _ => tiles::product(x, weight, bias),
    }
}

/// `gradient · weight`, giving `[rows, d_input]`.
pub(crate) fn product_across(gradient: &[f32], weight: &QuantizedMatrix) -> Vec<f32> {
    tiles::product_across(gradient, weight)
}

/// Rows of blocks as f32.
pub(crate) fn dequantize(kind: BlockType, rows: Vec<(&[u8], &mut [f32])>) {
    run(rows, &Dequantize(kind));
}

struct Dequantize(BlockType);

impl Work<(&[u8], &mut [f32])> for Dequantize {
    type Result = ();

    #[inline(always)]
    fn work<S: pulp::Simd>(&self, _: S, (blocks, values): (&[u8], &mut [f32])) {
        self.0.dequantize(blocks, values);
    }
}
