//! The networks inside the coupling blocks.

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::{Device, Tensor};
use burn_adapters_config::Activation;
use burn_adapters_core::{Fill, Init, activate, project};

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
