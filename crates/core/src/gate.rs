//! The gate of UniPELT (Mao et al., 2022, <https://arxiv.org/abs/2110.07577>): how strongly a module acts on a
//! sequence.

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::activation::sigmoid;
use burn::tensor::{Device, Tensor};

use crate::{Fill, Init, KeptGates, project};

/// `g = mean over positions of σ(x Wᵍ + bᵍ)`: one number per sequence (and output) in `(0, 1)`.
#[derive(Module, Debug)]
pub struct Gate {
    /// `[hidden] → [outputs]`.
    pub projection: Linear,
}

impl Gate {
    /// A new gate over hidden states of `hidden_size` with one value per output; weights are drawn from `weight`,
    /// biases from `bias`.
    pub fn new(hidden_size: usize, outputs: usize, weight: Fill, bias: Fill, init: &mut Init, device: &Device) -> Self {
        Self { projection: init.linear([hidden_size, outputs], weight, Some(bias), device) }
    }

    /// Computes the gate; within [`KeptGates::during`], returns the kept gate if there is one.
    ///
    /// # Shapes
    /// - hidden: `[batch, sequence, hidden]`
    /// - output: `[batch, 1, outputs]`
    pub fn forward(&self, hidden: Tensor<3>) -> Tensor<3> {
        KeptGates::of(self.projection.weight.id, hidden, |hidden| {
            sigmoid(project(&self.projection, hidden)).mean_dim(1)
        })
    }
}
