//! The additive coupling block of NICE (Dinh et al., 2014, <https://arxiv.org/abs/1410.8516>).
//!
//! With the features split in halves, `y₁ = x₁ + F(x₂)` and `y₂ = x₂ + G(y₁)`. The inverse is `x₂ = y₂ - G(y₁)` and `x₁
//! = y₁ - F(x₂)`, for any `F` and `G`.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use burn_adapters_config::Activation;
use burn_adapters_core::Init;

use crate::Subnet;
use crate::split::{halves, join};

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
