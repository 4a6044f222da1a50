//! One layer: self-attention, in some decoders cross-attention, and a feed-forward block, each with a residual and a
//! norm.

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::Tensor;
use burn_adapters_core::{Norm, Place};
use burn_adapters_model::{LayerPass, ScoreBias};

use super::Normalization;
use super::attention::MultiHeadAttention;
use super::feed_forward::FeedForward;
use crate::LoadError;
use crate::plan::{LayerPlan, Order};
use crate::weights::Source;

/// A layer.
#[derive(Module, Debug)]
pub(crate) struct Layer {
    attention: MultiHeadAttention,
    attention_norm: Normalization,
    cross: Option<(MultiHeadAttention, Normalization)>,
    feed_forward: FeedForward,
    feed_forward_norm: Normalization,
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
        Ok(Self {
            cross,
            attention: MultiHeadAttention::build(&plan.attention, Place::Attention, scope, std, source)?,
            attention_norm: Normalization::build(&plan.attention_norm, scope, source)?,
            feed_forward: FeedForward::build(&plan.feed_forward, scope, std, source)?,
            feed_forward_norm: Normalization::build(&plan.feed_forward_norm, scope, source)?,
            order: plan.order,
        })
    }

    /// `bias` is on the scores of self-attention.
    ///
    /// # Shapes
    /// - hidden: `[rows, positions, hidden]`
    /// - output: as hidden, or its [read positions](LayerPass::read_positions)
    pub(crate) fn forward(&self, layer: &LayerPass<'_>, hidden: Tensor<3>, bias: Option<&ScoreBias<'_>>) -> Tensor<3> {
        match self.order {
            Order::PostNorm | Order::PostNormSwapped => {
                let queries = layer.read_positions(hidden.clone());
                let attended = self.attention.forward(layer, queries.clone(), hidden, bias);
                let (output, residual) = match self.order {
                    Order::PostNormSwapped => (queries, attended),
                    _ => (attended, queries),
                };
                let hidden = layer.sublayer(Place::Attention, output, residual, Some(&self.attention_norm));
                let hidden = match &self.cross {
                    Some((cross, norm)) => {
                        let attended = cross.forward(layer, hidden.clone(), hidden.clone(), None);
                        layer.sublayer(Place::CrossAttention, attended, hidden, Some(norm))
                    }
                    None => hidden,
                };
                let output = self.feed_forward.forward(layer, hidden.clone());
                layer.sublayer(Place::FeedForward, output, hidden, Some(&self.feed_forward_norm))
            }
            Order::PreNorm => {
                let normed = self.attention_norm.norm(hidden.clone());
                let attended = self.attention.forward(layer, layer.read_positions(normed.clone()), normed, bias);
                let hidden = layer.sublayer(Place::Attention, attended, layer.read_positions(hidden), None);
                let hidden = match &self.cross {
                    Some((cross, norm)) => {
                        let normed = norm.norm(hidden.clone());
                        let attended = cross.forward(layer, normed.clone(), normed, None);
                        layer.sublayer(Place::CrossAttention, attended, hidden, None)
                    }
                    None => hidden,
                };
                let output = self.feed_forward.forward(layer, self.feed_forward_norm.norm(hidden.clone()));
                layer.sublayer(Place::FeedForward, output, hidden, None)
            }
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
            Place::FeedForwardUp => Some(&mut self.feed_forward.up),
            Place::FeedForwardDown => Some(&mut self.feed_forward.down),
            _ => None,
        }
    }
}
