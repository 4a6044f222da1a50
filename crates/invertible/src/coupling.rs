//! The additive coupling block of NICE (Dinh et al., 2014, <https://arxiv.org/abs/1410.8516>).
//!
//! With the features split in halves, `y₁ = x₁ + F(x₂)` and `y₂ = x₂ + G(y₁)`. The inverse is `x₂ = y₂ - G(y₁)` and `x₁
//! = y₁ - F(x₂)`, for any `F` and `G`.

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::{Device, Tensor};
use burn_adapters_config::Activation;
use burn_adapters_core::{Fill, Init, activate, project};

/// An additive coupling block over `[hidden]` features.
#[derive(Module, Debug)]
pub struct NiceCoupling {
    /// Computes the shift of the first half from the second.
    pub f: Subnet,
    /// Computes the shift of the second half from the first.
    pub g: Subnet,
}

impl NiceCoupling {
    /// A block over two halves of `half` features; its networks have the width `width`.
    pub fn new(half: usize, width: usize, non_linearity: Activation, init: &mut Init, device: &Device) -> Self {
        Self {
            f: Subnet::new([half, width, half], non_linearity, init, device),
            g: Subnet::new([half, width, half], non_linearity, init, device),
        }
    }

    /// Applies the block.
    ///
    /// # Shapes
    /// - x, output: `[batch, sequence, hidden]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [first, second] = halves(x);
        let first = first + self.f.forward(second.clone());
        let second = second + self.g.forward(first.clone());
        join(first, second)
    }

    /// The inverse of [`forward`](Self::forward): the input that gives `y`.
    ///
    /// # Shapes
    /// - y, output: `[batch, sequence, hidden]`
    pub fn inverse(&self, y: Tensor<3>) -> Tensor<3> {
        let [first, second] = halves(y);
        let second = second - self.g.forward(first.clone());
        let first = first - self.f.forward(second.clone());
        join(first, second)
    }
}

// The affine coupling block of GLOW (Kingma and Dhariwal, 2018, <https://arxiv.org/abs/1807.03039>), applied to both
// halves in turn.
//
// The features are split in halves. One network gives a scale and a shift at once: `[s₂, t₂] = S₂(x₂)` and `y₁ = e(s₂)
// ⊙ x₁ + t₂`; then `[s₁, t₁] = S₁(y₁)` and `y₂ = e(s₁) ⊙ x₂ + t₁`. The inverse runs in the opposite order: `x₂ = (y₂ -
// t₁) / e(s₁)` and `x₁ = (y₁ - t₂) / e(s₂)`. Instead of the paper's `exp(s)` the reference uses the soft clamp `e(s) =
// exp(c · 0.636 · arctan(s / c))` with `c = 5` (`0.636 ≈ 2 / π`, so a scale lies in `[e⁻⁵, e⁵]`).

/// The logarithm of the largest scale.
const CLAMP: f64 = 5.0;

/// An affine coupling block over `[hidden]` features.
#[derive(Module, Debug)]
pub struct GlowCoupling {
    /// Computes the scale and shift of the second half from the first.
    pub s1: Subnet,
    /// Computes the scale and shift of the first half from the second.
    pub s2: Subnet,
}

impl GlowCoupling {
    /// A block over two halves of `half` features; its networks have the width `width`.
    pub fn new(half: usize, width: usize, non_linearity: Activation, init: &mut Init, device: &Device) -> Self {
        Self {
            s1: Subnet::new([half, width, 2 * half], non_linearity, init, device),
            s2: Subnet::new([half, width, 2 * half], non_linearity, init, device),
        }
    }

    /// Applies the block.
    ///
    /// # Shapes
    /// - x, output: `[batch, sequence, hidden]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [first, second] = halves(x);
        let [scale, shift] = halves(self.s2.forward(second.clone()));
        let first = log_scale(scale).exp() * first + shift;
        let [scale, shift] = halves(self.s1.forward(first.clone()));
        let second = log_scale(scale).exp() * second + shift;
        join(first, second)
    }

    /// The inverse of [`forward`](Self::forward): the input that gives `y`.
    ///
    /// # Shapes
    /// - y, output: `[batch, sequence, hidden]`
    pub fn inverse(&self, y: Tensor<3>) -> Tensor<3> {
        let [first, second] = halves(y);
        let [scale, shift] = halves(self.s1.forward(first.clone()));
        let second = (second - shift) * log_scale(scale).neg().exp();
        let [scale, shift] = halves(self.s2.forward(second.clone()));
        let first = (first - shift) * log_scale(scale).neg().exp();
        join(first, second)
    }
}

fn log_scale(s: Tensor<3>) -> Tensor<3> {
    (s / CLAMP).atan() * (CLAMP * 0.636)
}

// The networks inside the coupling blocks.

/// `up(φ(down(x)))`: the network by which one half of the features acts on the other.
#[derive(Module, Debug)]
pub struct Subnet {
    /// `[d_input] → [width]`.
    pub down: Linear,
    /// `[width] → [d_output]`.
    pub up: Linear,
    /// `φ`.
    #[module(skip)]
    pub non_linearity: Activation,
}

impl Subnet {
    /// A new network: normal weights with standard deviation 0.02, zero biases.
    pub fn new(
        [d_input, width, d_output]: [usize; 3],
        non_linearity: Activation,
        init: &mut Init,
        device: &Device,
    ) -> Self {
        let fill = Fill::Normal { std: 0.02 };
        Self {
            down: init.linear([d_input, width], fill, Some(Fill::ZEROS), device),
            up: init.linear([width, d_output], fill, Some(Fill::ZEROS), device),
            non_linearity,
        }
    }

    /// Applies the network.
    ///
    /// # Shapes
    /// - x: `[batch, sequence, d_input]`
    /// - output: `[batch, sequence, d_output]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        project(&self.up, activate(self.non_linearity, project(&self.down, x)))
    }
}

// Splitting features in halves.

/// Splits `[batch, sequence, hidden]` into two tensors of `[batch, sequence, hidden / 2]`.
pub(crate) fn halves(x: Tensor<3>) -> [Tensor<3>; 2] {
    let half = x.dims()[2] / 2;
    let rest = x.dims()[2] - half;
    [x.clone().narrow(2, 0, half), x.narrow(2, half, rest)]
}

/// Joins both halves.
pub(crate) fn join(first: Tensor<3>, second: Tensor<3>) -> Tensor<3> {
    Tensor::cat(vec![first, second], 2)
}
