//! Layers whose feed-forward block ends with a place for adapters of languages (X-MOD).

use burn::tensor::Tensor;
use burn_adapters_core::{Norm, Place};
use burn_adapters_model::LayerPass;

use super::attention::Bias;
use super::layer::{Layer, after_norm, as_norm};

impl Layer {
    pub(super) fn post_norm_languages(
        &self,
        layer: &LayerPass<'_>,
        hidden: Tensor<3>,
        bias: Option<Bias<'_>>,
    ) -> Tensor<3> {
        let queries = layer.read_positions(hidden.clone());
        let attended = self.attention.forward(layer, queries.clone(), hidden, bias);
        let hidden = layer.sublayer(Place::Attention, attended, queries, None);
        let hidden = after_norm(&self.attention_norm, hidden);
        let output = self.feed_forward.forward(layer, hidden.clone());
        let hidden = layer.sublayer(Place::FeedForward, output, hidden, self.language_norm());
        after_norm(&self.feed_forward_norm, hidden)
    }

    pub(super) fn pre_norm_languages(
        &self,
        layer: &LayerPass<'_>,
        hidden: Tensor<3>,
        bias: Option<Bias<'_>>,
    ) -> Tensor<3> {
        let normed = after_norm(&self.attention_norm, hidden.clone());
        let attended = self.attention.forward(layer, layer.read_positions(normed.clone()), normed, bias);
        let hidden = layer.sublayer(Place::Attention, attended, layer.read_positions(hidden), None);
        let output = self.feed_forward.forward(layer, after_norm(&self.feed_forward_norm, hidden.clone()));
        layer.sublayer(Place::FeedForward, output, hidden, self.language_norm())
    }

    /// The norm of the adapters.
    fn language_norm(&self) -> Option<&dyn Norm> {
        as_norm(&self.language_norm).or(as_norm(&self.feed_forward_norm))
    }
}
