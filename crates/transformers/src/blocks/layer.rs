//! One layer: self-attention, in some decoders cross-attention, and a feed-forward block, each with a residual and mostly
//! a norm.

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::Tensor;
use burn_adapters_core::{Norm, Place};
use burn_adapters_model::LayerPass;

use super::Normalization;
use super::attention::{Bias, MultiHeadAttention};
use super::feed_forward::FeedForward;
use crate::LoadError;
use crate::plan::{LayerPlan, NormPlan, Order};
use crate::weights::Source;

/// A layer.
#[derive(Module, Debug)]
pub(crate) struct Layer {
    pub(super) attention: MultiHeadAttention,
    pub(super) attention_norm: Option<Normalization>,
    cross: Option<(MultiHeadAttention, Normalization)>,
    pub(super) feed_forward: FeedForward,
    pub(super) feed_forward_norm: Option<Normalization>,
    pub(super) output_norms: Option<(Normalization, Normalization)>,
    pub(super) language_norm: Option<Normalization>,
    #[module(skip)]
    order: Order,
}

impl Layer {
    /// `scope` is the layer's name in the files, with a dot after it.
    pub(crate) fn build(plan: &LayerPlan, scope: &str, std: f64, source: &mut impl Source) -> Result<Self, LoadError> {
        let cross = match &plan.cross {
            Some((attention, norm)) => Some((
                MultiHeadAttention::build(attention, Place::CrossAttention, scope, std, source)?,
                Normalization::build(norm, scope, source)?,
            )),
            None => None,
        };
        let norm = |plan: Option<&NormPlan>, source: &mut _| {
            plan.map(|plan| Normalization::build(plan, scope, source)).transpose()
        };
        let output_norms = match &plan.output_norms {
            Some([attention, feed_forward]) => Some((
                Normalization::build(attention, scope, source)?,
                Normalization::build(feed_forward, scope, source)?,
            )),
            None => None,
        };
        Ok(Self {
            cross,
            attention: MultiHeadAttention::build(&plan.attention, Place::Attention, scope, std, source)?,
            attention_norm: norm(plan.attention_norm.as_ref(), source)?,
            feed_forward: FeedForward::build(&plan.feed_forward, scope, std, source)?,
            feed_forward_norm: norm(plan.feed_forward_norm.as_ref(), source)?,
            output_norms,
            language_norm: norm(plan.language_norm.as_ref(), source)?,
            order: plan.order,
        })
    }

    /// `bias` is on the scores of self-attention. `last` is the last layer of the stack.
    ///
    /// # Shapes
    /// - hidden: `[rows, positions, hidden]`
    /// - output: as hidden, or its [read positions](LayerPass::read_positions)
    pub(crate) fn forward(
        &self,
        layer: &LayerPass<'_>,
        hidden: Tensor<3>,
        bias: Option<Bias<'_>>,
        last: Option<&Layer>,
    ) -> Tensor<3> {
        match self.order {
            Order::PostNorm | Order::PostNormSwapped => {
                let queries = layer.read_positions(hidden.clone());
                let attended = self.attention.forward(layer, queries.clone(), hidden, bias);
                let (output, residual) = match self.order {
                    Order::PostNormSwapped => (queries, attended),
                    _ => (attended, queries),
                };
                let hidden = layer.sublayer(Place::Attention, output, residual, as_norm(&self.attention_norm));
                let hidden = match &self.cross {
                    Some((cross, norm)) => {
                        let attended = cross.forward(layer, hidden.clone(), hidden.clone(), None);
                        cross.end(layer, attended, hidden, Some(norm))
                    }
                    None => hidden,
                };
                let output = self.feed_forward.forward(layer, hidden.clone());
                layer.sublayer(Place::FeedForward, output, hidden, as_norm(&self.feed_forward_norm))
            }
            Order::PreNorm => {
                let normed = after_norm(&self.attention_norm, hidden.clone());
                let attended = self.attention.forward(layer, layer.read_positions(normed.clone()), normed, bias);
                let hidden = layer.sublayer(Place::Attention, attended, layer.read_positions(hidden), None);
                let hidden = match &self.cross {
                    Some((cross, norm)) => {
                        let normed = norm.norm(hidden.clone());
                        let attended = cross.forward(layer, normed.clone(), normed, None);
                        cross.end(layer, attended, hidden, None)
                    }
                    None => hidden,
                };
                let output = self.feed_forward.forward(layer, after_norm(&self.feed_forward_norm, hidden.clone()));
                layer.sublayer(Place::FeedForward, output, hidden, None)
            }
            Order::Parallel => {
                let normed = after_norm(&self.attention_norm, hidden.clone());
                let queries = layer.read_positions(normed.clone());
                let attended = self.attention.forward(layer, queries.clone(), normed, bias);
                let hidden = layer.sublayer(Place::Attention, attended, layer.read_positions(hidden), None);
                layer.sublayer(Place::FeedForward, self.feed_forward.forward(layer, queries), hidden, None)
            }
            Order::ParallelProjected => self.parallel_projected(layer, hidden, bias),
            Order::PreNormProjected => self.pre_norm_projected(layer, hidden, bias, last),
            Order::Sandwich => self.sandwich(layer, hidden, bias, last),
            Order::PostNormLanguages => self.post_norm_languages(layer, hidden, bias),
            Order::PreNormLanguages => self.pre_norm_languages(layer, hidden, bias),
        }
    }

    /// The matrix at a place.
    pub(crate) fn linear(&self, place: Place) -> Option<&Linear> {
        match place {
            Place::Query => Some(&self.attention.query),
            Place::Key => Some(&self.attention.key),
            Place::Value => Some(&self.attention.value),
            Place::AttentionOutput => Some(&self.attention.output),
            Place::CrossQuery => Some(&self.cross.as_ref()?.0.query),
            Place::CrossKey => Some(&self.cross.as_ref()?.0.key),
            Place::CrossValue => Some(&self.cross.as_ref()?.0.value),
            Place::CrossAttentionOutput => Some(&self.cross.as_ref()?.0.output),
            Place::FeedForwardGate => self.feed_forward.gate.as_ref(),
            Place::FeedForwardUp => Some(&self.feed_forward.up),
            Place::FeedForwardDown => Some(&self.feed_forward.down),
            _ => None,
        }
    }

    /// The matrix at a place, to change.
    pub(crate) fn linear_mut(&mut self, place: Place) -> Option<&mut Linear> {
        match place {
            Place::Query => Some(&mut self.attention.query),
            Place::Key => Some(&mut self.attention.key),
            Place::Value => Some(&mut self.attention.value),
            Place::AttentionOutput => Some(&mut self.attention.output),
            Place::CrossQuery => Some(&mut self.cross.as_mut()?.0.query),
            Place::CrossKey => Some(&mut self.cross.as_mut()?.0.key),
            Place::CrossValue => Some(&mut self.cross.as_mut()?.0.value),
            Place::CrossAttentionOutput => Some(&mut self.cross.as_mut()?.0.output),
            Place::FeedForwardGate => self.feed_forward.gate.as_mut(),
            Place::FeedForwardUp => Some(&mut self.feed_forward.up),
            Place::FeedForwardDown => Some(&mut self.feed_forward.down),
            _ => None,
        }
    }
}

/// A norm, if there is one.
pub(super) fn after_norm(norm: &Option<Normalization>, hidden: Tensor<3>) -> Tensor<3> {
    match norm {
        Some(norm) => norm.norm(hidden),
        None => hidden,
    }
}

pub(super) fn as_norm(norm: &Option<Normalization>) -> Option<&dyn Norm> {
    norm.as_ref().map(|norm| norm as &dyn Norm)
}
