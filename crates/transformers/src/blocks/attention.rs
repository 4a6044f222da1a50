//! Self-attention.

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::Tensor;
use burn_adapters_core::{Place, project};
use burn_adapters_model::{Attention, LayerPass};

use crate::LoadError;
use crate::plan::{AttentionPlan, LinearPlan};
use crate::weights::Source;

/// Multi-head self-attention.
#[derive(Module, Debug)]
pub(crate) struct SelfAttention {
    pub(crate) query: Linear,
    pub(crate) key: Linear,
    pub(crate) value: Linear,
    pub(crate) output: Linear,
    output_dropout: f64,
    #[module(skip)]
    kind: Attention,
}

impl SelfAttention {
    pub(crate) fn build(
        plan: &AttentionPlan,
        scope: &str,
        std: f64,
        source: &mut impl Source,
    ) -> Result<Self, LoadError> {
        let mut linear = |plan: &LinearPlan| source.linear(plan, scope, std);
        let mut kind = Attention::new(plan.heads).with_key_value_heads(plan.key_value_heads).with_dropout(plan.dropout);
        if plan.causal {
            kind = kind.causal();
        }
        if let Some(window) = plan.window {
            kind = kind.with_window(window);
        }
        if let Some(rotary) = &plan.rotary {
            kind = kind.with_rotary(rotary.clone());
        }
        Ok(Self {
            query: linear(&plan.query)?,
            key: linear(&plan.key)?,
            value: linear(&plan.value)?,
            output: linear(&plan.output)?,
            output_dropout: plan.output_dropout,
            kind,
        })
    }

    /// # Shapes
    /// - queries: the states of the positions to compute, `[rows, positions, hidden]`
    /// - hidden: those of all positions, `[rows, positions, hidden]`
    /// - output: as queries
    pub(crate) fn forward(&self, layer: &LayerPass<'_>, queries: Tensor<3>, hidden: Tensor<3>) -> Tensor<3> {
        let query = layer.linear(Place::Query, &self.query, queries);
        let key = layer.linear(Place::Key, &self.key, hidden.clone());
        let value = layer.linear(Place::Value, &self.value, hidden.clone());
        let attended = layer.attention(Place::Attention, &self.kind, [query, key, value], &hidden);
        layer.dropout(self.output_dropout, project(&self.output, attended))
    }
}
