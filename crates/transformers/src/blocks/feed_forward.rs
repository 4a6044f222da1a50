//! The feed-forward block.

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::Tensor;
use burn_adapters_core::{Activation, Place, activate};
use burn_adapters_model::LayerPass;

use crate::LoadError;
use crate::plan::FeedForwardPlan;
use crate::weights::Source;

/// `down(activation(up(x)))`.
#[derive(Module, Debug)]
pub(crate) struct FeedForward {
    pub(crate) up: Linear,
    pub(crate) down: Linear,
    dropout: f64,
    #[module(skip)]
    activation: Activation,
}

impl FeedForward {
    pub(crate) fn build(
        plan: &FeedForwardPlan,
        scope: &str,
        std: f64,
        source: &mut impl Source,
    ) -> Result<Self, LoadError> {
        Ok(Self {
            up: source.linear(&format!("{scope}{}", plan.up.name), plan.up.size, std)?,
            down: source.linear(&format!("{scope}{}", plan.down.name), plan.down.size, std)?,
            dropout: plan.dropout,
            activation: plan.activation,
        })
    }

    /// # Shapes
    /// - hidden, output: `[rows, positions, hidden]`
    pub(crate) fn forward(&self, layer: &LayerPass<'_>, hidden: Tensor<3>) -> Tensor<3> {
        let up = layer.linear(Place::FeedForwardUp, &self.up, hidden);
        let down = layer.linear(Place::FeedForwardDown, &self.down, activate(self.activation, up));
        layer.dropout(self.dropout, down)
    }
}
