//! Self-attention and cross-attention.

use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::tensor::Tensor;
use burn_adapters_core::{Fill, Norm, Place, is_bf16, project};
use burn_adapters_model::{Attention, LayerPass, ScoreBias, ScoreShape};

use super::Normalization;
use super::disentangled::{Distances, Positions};
use crate::LoadError;
use crate::plan::{AttentionPlan, LinearPlan};
use crate::weights::Source;

/// A bias on the scores of self-attention.
#[derive(Clone, Copy)]
pub(crate) enum Bias<'b> {
    /// The same for all layers.
    Shared(&'b ScoreBias<'b>),
    /// From the layer's queries and keys, and distances of positions.
    Disentangled(&'b Distances<'b>),
}

/// Multi-head attention with its projections.
#[derive(Module, Debug)]
pub(crate) struct MultiHeadAttention {
    pub(crate) query: Linear,
    pub(crate) key: Linear,
    pub(crate) value: Linear,
    pub(crate) output: Linear,
    query_norm: Option<Normalization>,
    key_norm: Option<Normalization>,
    positions: Option<Positions>,
    query_bias: Option<Param<Tensor<1>>>,
    value_bias: Option<Param<Tensor<1>>>,
    output_dropout: f64,
    is_adapted: bool,
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
        if let Some(reach) = plan.reach {
            kind = kind.with_reach(reach);
        }
        if let Some(softcap) = plan.softcap {
            kind = kind.with_softcap(softcap);
        }
        let mut norm = |index: usize| {
            let plan = plan.head_norms.as_ref().and_then(|plans| plans.get(index));
            plan.map(|plan| Normalization::build(plan, scope, source)).transpose()
        };
        let (query_norm, key_norm) = (norm(0)?, norm(1)?);
        if plan.isolates_padding {
            kind = kind.with_isolated_padding();
        }
        let head = plan.query.size[1] / plan.heads.max(1);
        let scale = plan.scale.unwrap_or_else(|| 1.0 / (head as f64).sqrt());
        let positions = (plan.positions.as_ref())
            .map(|positions| Positions::build(positions, (plan.heads, scale), scope, std, source))
            .transpose()?;
        let mut late_bias = |index: usize, of: &LinearPlan| {
            let name = plan.late_biases.map(|names| format!("{scope}{}", names[index]));
            name.map(|name| source.param(&name, [of.size[1]], None, Fill::ZEROS)).transpose()
        };
        let (query_bias, value_bias) = (late_bias(0, &plan.query)?, late_bias(1, &plan.value)?);
        let mut linear = |plan: &LinearPlan| source.linear(plan, scope, std);
        Ok(Self {
            query: linear(&plan.query)?,
            key: linear(&plan.key)?,
            value: linear(&plan.value)?,
            output: linear(&plan.output)?,
            query_norm,
            key_norm,
            positions,
            query_bias,
            value_bias,
            output_dropout: plan.output_dropout,
            is_adapted: plan.is_adapted,
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
        bias: Option<Bias<'_>>,
    ) -> Tensor<3> {
        self.drop(layer, self.project(layer, queries, hidden, bias))
    }

    /// The end of the sublayer.
    pub(super) fn end(
        &self,
        layer: &LayerPass<'_>,
        output: Tensor<3>,
        residual: Tensor<3>,
        norm: Option<&dyn Norm>,
    ) -> Tensor<3> {
        match (self.is_adapted, norm) {
            (true, norm) => layer.sublayer(self.place, output, residual, norm),
            (false, Some(norm)) => norm.norm(output + residual),
            (false, None) => output + residual,
        }
    }

    /// The dropout after the output projection.
    pub(crate) fn drop(&self, layer: &LayerPass<'_>, output: Tensor<3>) -> Tensor<3> {
        layer.dropout(self.output_dropout, output)
    }

    /// As [`forward`](Self::forward), without the dropout after the output projection.
    pub(crate) fn project(
        &self,
        layer: &LayerPass<'_>,
        queries: Tensor<3>,
        hidden: Tensor<3>,
        bias: Option<Bias<'_>>,
    ) -> Tensor<3> {
        let (places, source) = match self.place {
            Place::CrossAttention => (
                [Place::CrossQuery, Place::CrossKey, Place::CrossValue, Place::CrossAttentionOutput],
                // There always is an encoder below: the plan of a model says so.
                layer.encoded().unwrap_or_else(|| hidden.clone()),
            ),
            _ => ([Place::Query, Place::Key, Place::Value, Place::AttentionOutput], hidden.clone()),
        };
        let linear = |place: Place, matrix: &Linear, x: Tensor<3>| match self.is_adapted {
            true => layer.linear(place, matrix, x),
            false => project(matrix, x),
        };
        let query = with_bias(self.query_bias.as_ref(), linear(places[0], &self.query, queries));
        let query = of_heads(self.query_norm.as_ref(), query);
        let key_and_value = || {
            let key = of_heads(self.key_norm.as_ref(), linear(places[1], &self.key, source.clone()));
            [key, with_bias(self.value_bias.as_ref(), linear(places[2], &self.value, source))]
        };
        let [key, value] = match self.place {
            Place::CrossAttention => layer.of_encoder(key_and_value),
            _ => key_and_value(),
        };
        let of_distances = match (bias, &self.positions) {
            (Some(Bias::Disentangled(distances)), Some(positions)) => {
                let compared = [query.clone(), key.clone()];
                Some(move |shape: ScoreShape<'_>| positions.bias(layer, self, distances, compared.clone(), shape))
            }
            _ => None,
        };
        let bias = match bias {
            Some(Bias::Shared(bias)) => Some(bias),
            _ => of_distances.as_ref().map(|bias| bias as &ScoreBias<'_>),
        };
        // Scores are as precise as the projections around them.
        let kind = self.kind.clone().with_rounded_factors(is_bf16(&self.output));
        let attended = layer.biased_attention(self.place, &kind, [query, key, value], &hidden, bias);
        linear(places[3], &self.output, attended)
    }
}

/// With a bias that adapters do not change.
fn with_bias(bias: Option<&Param<Tensor<1>>>, x: Tensor<3>) -> Tensor<3> {
    match bias {
        Some(bias) => x + bias.val().unsqueeze(),
        None => x,
    }
}

/// The norm of each head: `[rows, positions, heads · head]`.
fn of_heads(norm: Option<&Normalization>, x: Tensor<3>) -> Tensor<3> {
    let (Some(norm), [rows, positions, width]) = (norm, x.dims()) else { return x };
    let head = norm.width().unwrap_or(width).max(1);
    norm.norm(x.reshape([rows, positions * (width / head), head])).reshape([rows, positions, width])
}
