//! Linear layers whose weight is quantized.

mod matrix;
#[cfg(feature = "flex")]
mod own;

use burn::tensor::Tensor;

pub use matrix::{QuantizedMatrix, QuantizedMatrixError};

/// `x · weightᵀ + bias`, for a frozen weight in blocks.
///
/// The activations stay f32, and products are summed in f32, so the result is that of the dequantized weight up to the order
/// of sums; so is the gradient of x, `dy · weight`. On the flex backend, a few rows (generation) are multiplied by blocks as
/// they are; for more rows, the weight is dequantized a tile at a time. Elsewhere the whole weight is dequantized at each call.
///
/// # Shapes
/// - x: `[.., d_input]`
/// - weight: `[d_output, d_input]`
/// - bias: `[d_output]`
/// - output: `[.., d_output]`
///
/// # Panics
/// If the last dimension of x is not `d_input`, or the bias has another width than the output.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_adapters_ops::{QuantizedMatrix, quantized_linear};
/// use burn_adapters_quantization::BlockType;
///
/// let weight = QuantizedMatrix::quantize(BlockType::Q8_0, [3, 32], &[0.5; 96])?;
/// let y = quantized_linear(Tensor::<2>::ones([2, 32], &Device::default()), &weight, None);
/// assert_eq!(y.dims(), [2, 3]);
/// # Ok::<(), burn_adapters_ops::QuantizedMatrixError>(())
/// ```
pub fn quantized_linear<const D: usize>(x: Tensor<D>, weight: &QuantizedMatrix, bias: Option<Tensor<1>>) -> Tensor<D> {
    let [d_output, d_input] = weight.shape();
    let width = x.dims().last().copied();
    assert!(width == Some(d_input), "expected rows of {d_input} elements, found those of {width:?}");
    let width = bias.as_ref().map(|bias| bias.dims()[0]);
    assert!(width.is_none_or(|width| width == d_output), "expected a bias of {d_output} elements, found {width:?}");
    #[cfg(feature = "flex")]
    if let Some(operands) = own::operands(&x, weight, bias.as_ref()) {
        drop((x, bias));
        return own::linear(operands, weight);
    }
    let dense = weight.dequantize(&x.device().without_autodiff()).transpose().cast(x.dtype());
    burn::tensor::module::linear(x, dense, bias)
}
