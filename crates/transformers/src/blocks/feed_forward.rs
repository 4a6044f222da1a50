//! The feed-forward block.

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::Tensor;
use burn_adapters_core::{Activation, Place, activate, activate_gate};
use burn_adapters_model::LayerPass;

use crate::LoadError;
use crate::plan::FeedForwardPlan;
use crate::weights::Source;

/// `down(activation(up(x)))`, or with a gate `down(activation(gate(x)) · up(x))`.
#[derive(Module, Debug)]
pub(crate) struct FeedForward {
    pub(crate) gate: Option<Linear>,
    pub(crate) up: Linear,
    pub(crate) down: Linear,
    inner_dropout: f64,
    dropout: f64,
    is_up_gated: bool,
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
            gate: plan.gate.as_ref().map(|gate| source.linear(gate, scope, std)).transpose()?,
            up: source.linear(&plan.up, scope, std)?,
            down: source.linear(&plan.down, scope, std)?,
            inner_dropout: plan.inner_dropout,
            dropout: plan.dropout,
            is_up_gated: plan.is_up_gated,
            activation: plan.activation,
        })
    }

    /// # Shapes
    /// - hidden, output: `[rows, positions, hidden]`
    pub(crate) fn forward(&self, layer: &LayerPass<'_>, hidden: Tensor<3>) -> Tensor<3> {
        self.drop(layer, self.project(layer, hidden))
    }

    /// The dropout after the block.
    pub(crate) fn drop(&self, layer: &LayerPass<'_>, output: Tensor<3>) -> Tensor<3> {
        layer.dropout(self.dropout, output)
    }

    /// As [`forward`](Self::forward), without the dropout after the block.
    pub(crate) fn project(&self, layer: &LayerPass<'_>, hidden: Tensor<3>) -> Tensor<3> {
        let gate = self.gate.as_ref().map(|gate| layer.linear(Place::FeedForwardGate, gate, hidden.clone()));
        let up = layer.linear(Place::FeedForwardUp, &self.up, hidden);
        let inner = match gate {
            Some(gate) => activate_gate(self.activation, gate, up),
            None if self.is_up_gated => {
                let half = up.dims()[2] / 2;
                activate_gate(self.activation, up.clone().narrow(2, 0, half), up.narrow(2, half, half))
            }
            None => activate(self.activation, up),
        };
        let inner = layer.dropout(self.inner_dropout, inner);
        layer.linear(Place::FeedForwardDown, &self.down, inner)
    }
}
