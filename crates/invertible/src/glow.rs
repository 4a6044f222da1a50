//! The affine coupling block of GLOW (Kingma and Dhariwal, 2018, <https://arxiv.org/abs/1807.03039>), applied to both
//! halves in turn.
//!
//! The features are split in halves. One network gives a scale and a shift at once: `[s₂, t₂] = S₂(x₂)` and `y₁ = e(s₂)
//! ⊙ x₁ + t₂`; then `[s₁, t₁] = S₁(y₁)` and `y₂ = e(s₁) ⊙ x₂ + t₁`. The inverse runs in the opposite order: `x₂ = (y₂ -
//! t₁) / e(s₁)` and `x₁ = (y₁ - t₂) / e(s₂)`. Instead of the paper's `exp(s)` the reference uses the soft clamp `e(s) =
//! exp(c · 0.636 · arctan(s / c))` with `c = 5` (`0.636 ≈ 2 / π`, so a scale lies in `[e⁻⁵, e⁵]`).

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use burn_adapters_config::Activation;
use burn_adapters_core::Init;

use crate::Subnet;
use crate::split::{halves, join};

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
