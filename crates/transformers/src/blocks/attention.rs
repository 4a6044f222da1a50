//! Self-attention and cross-attention.

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::Tensor;
use burn_adapters_core::{Place, project};
use burn_adapters_model::{Attention, LayerPass, ScoreBias};

use crate::LoadError;
use crate::plan::{AttentionPlan, LinearPlan};
use crate::weights::Source;

/// Multi-head attention with its projections.
#[derive(Module, Debug)]
pub(crate) struct MultiHeadAttention {
    pub(crate) query: Linear,
    pub(crate) key: Linear,
    pub(crate) value: Linear,
    pub(crate) output: Linear,
    output_dropout: f64,
    #[module(skip)]
    kind: Attention,
    #[module(skip)]
    place: Place,
}

impl MultiHeadAttention {
    /// `place` is [`Place::Attention`] or [`Place::CrossAttention`].
    pub(crate) fn build(
        plan: &AttentionPlan,
        place: Place,
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
        if let Some(scale) = plan.scale {
            kind = kind.with_scale(scale);
        }
        Ok(Self {
            query: linear(&plan.query)?,
            key: linear(&plan.key)?,
            value: linear(&plan.value)?,
            output: linear(&plan.output)?,
            output_dropout: plan.output_dropout,
            kind,
            place,
        })
    }

    /// # Shapes
    /// - queries: the states of the positions to compute, `[rows, positions, hidden]`
    /// - hidden: those of all positions; cross-attention takes the encoder's instead for keys and values
    /// - output: as queries
    pub(crate) fn forward(
        &self,
        layer: &LayerPass<'_>,
        queries: Tensor<3>,
        hidden: Tensor<3>,
        bias: Option<&ScoreBias<'_>>,
    ) -> Tensor<3> {
        let (places, source) = match self.place {
            Place::CrossAttention => (
                [Place::CrossQuery, Place::CrossKey, Place::CrossValue],
                // There always is an encoder below: the plan of a model says so.
                layer.encoded().unwrap_or_else(|| hidden.clone()),
            ),
            _ => ([Place::Query, Place::Key, Place::Value], hidden.clone()),
        };
        let query = layer.linear(places[0], &self.query, queries);
        let key = layer.linear(places[1], &self.key, source.clone());
        let value = layer.linear(places[2], &self.value, source);
        let attended = layer.biased_attention(self.place, &self.kind, [query, key, value], &hidden, bias);
        layer.dropout(self.output_dropout, project(&self.output, attended))
    }
}
