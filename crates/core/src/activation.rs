//! The function behind each [`Activation`].

use burn::tensor::Tensor;
use burn::tensor::activation::{leaky_relu, mish, relu, sigmoid, silu, tanh};
use burn_adapters_config::Activation;
use burn_adapters_ops::gelu;

/// `√(2 / π)`.
const SQRT_2_OVER_PI: f64 = 0.797_884_560_802_865_4;

/// Applies an activation element-wise; the shape is unchanged.
pub fn activate<const D: usize>(activation: Activation, x: Tensor<D>) -> Tensor<D> {
    match activation {
        Activation::Gelu | Activation::GeluPython => gelu(x),
        Activation::Gelu10 => gelu(x).clamp(-10.0, 10.0),
        Activation::GeluFast | Activation::GeluNew | Activation::GeluPythonTanh | Activation::GeluPytorchTanh => {
            gelu_tanh(x, SQRT_2_OVER_PI)
        }
        Activation::GeluAccurate => gelu_tanh(x, SQRT_2_OVER_PI),
        Activation::Laplace => {
            // 0.5 (1 + erf((x - µ) / (σ √2))), with MEGA's µ = √0.5 and σ = √(1 / 4π), rounded as the reference has them.
            #[allow(clippy::approx_constant)]
            let scaled = (x - 0.707_107).div_scalar(0.282_095 * std::f64::consts::SQRT_2);
            (scaled.erf() + 1.0) * 0.5
        }
        Activation::LeakyRelu | Activation::Leakyrelu => leaky_relu(x, 0.01),
        Activation::Linear => x,
        Activation::Mish => mish(x),
        Activation::QuickGelu => x.clone() * sigmoid(x * 1.702),
        Activation::Relu => relu(x),
        Activation::Relu2 => {
            let positive = relu(x);
            positive.clone() * positive
        }
        Activation::Relu6 => relu(x).clamp_max(6.0),
        Activation::Sigmoid => sigmoid(x),
        Activation::Silu | Activation::Swish => silu(x),
        Activation::Tanh => tanh(x),
    }
}

/// `0.5 x (1 + tanh(c (x + 0.044715 x³)))`.
fn gelu_tanh<const D: usize>(x: Tensor<D>, c: f64) -> Tensor<D> {
    let cube = x.clone() * x.clone() * x.clone();
    let inner = (x.clone() + cube * 0.044_715) * c;
    x * (tanh(inner) + 1.0) * 0.5
}
