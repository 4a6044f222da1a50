//! Linear layers computed by the kernels of `burn-adapters-ops`.

use burn::nn::Linear;
use burn::tensor::Tensor;
use burn_adapters_ops::{linear, quantized_linear};

use crate::quantized_matrix;

/// Computes `layer.forward(x)`, where the backend supports it as one operation with a custom backward pass.
///
/// # Shapes
/// - x: `[.., d_input]`
/// - output: `[.., d_output]`
///
/// # Panics
/// If the last dimension of `x` is not the layer's `d_input`.
pub fn project<const D: usize>(layer: &Linear, x: Tensor<D>) -> Tensor<D> {
    let bias = layer.bias.as_ref().map(|bias| bias.val());
    match quantized_matrix(&layer.weight) {
        Some(matrix) => quantized_linear(x, matrix, bias),
        None => linear(x, layer.weight.val(), bias),
    }
}
