//! The function behind each [`Activation`].

use burn::tensor::Tensor;
use burn::tensor::activation::{leaky_relu, mish, relu, sigmoid, tanh};
use burn_adapters_config::Activation;
use burn_adapters_ops::{Nonlinearity, gated, nonlinear};

/// Applies an activation element-wise; the shape is unchanged.
pub fn activate<const D: usize>(activation: Activation, x: Tensor<D>) -> Tensor<D> {
    match activation {
        Activation::Gelu | Activation::GeluPython => nonlinear(x, Nonlinearity::Gelu),
        Activation::GeluAccurate
        | Activation::GeluFast
        | Activation::GeluNew
        | Activation::GeluPythonTanh
        | Activation::GeluPytorchTanh => nonlinear(x, Nonlinearity::GeluTanh),
        Activation::Silu | Activation::Swish => nonlinear(x, Nonlinearity::Silu),
        Activation::Gelu10 => nonlinear(x, Nonlinearity::Gelu).clamp(-10.0, 10.0),
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
        Activation::Tanh => tanh(x),
    }
}

/// `activation(gate) · up`, element-wise, in one pass for the activations of gated feed-forward blocks.
///
/// # Shapes
/// - gate, up, output: the same
pub fn activate_gate<const D: usize>(activation: Activation, gate: Tensor<D>, up: Tensor<D>) -> Tensor<D> {
    let kind = match activation {
        Activation::Gelu => Nonlinearity::Gelu,
        Activation::GeluNew | Activation::GeluPytorchTanh => Nonlinearity::GeluTanh,
        Activation::Silu | Activation::Swish => Nonlinearity::Silu,
        _ => return activate(activation, gate) * up,
    };
    gated(gate, up, kind)
}
