//! Layers with bottlenecks at the projections of their sublayers.
//!
//! So the reference has families that it supports through its plug-in interface. A bottleneck changes the output of a
//! projection in place, before the dropout and the norm that may follow; the model adds its residual itself. Where a
//! bottleneck reads the model's norm (`original_ln_before`), it is that of the last layer in every layer, as the reference
//! has it: adapters that it trained need just that.

use burn::tensor::Tensor;
use burn_adapters_core::{Norm, Place};
use burn_adapters_model::{AroundProjection, LayerPass};

use super::Normalization;
use super::attention::Bias;
use super::layer::{Layer, after_norm, as_norm};

impl Layer {
    /// `attention(n) + feed_forward(n) + x`, where `n = norm(x)`.
    pub(super) fn parallel_projected(
        &self,
        layer: &LayerPass<'_>,
        hidden: Tensor<3>,
        bias: Option<Bias<'_>>,
    ) -> Tensor<3> {
        let normed = after_norm(&self.attention_norm, hidden.clone());
        let queries = layer.read_positions(normed.clone());
        let hidden = layer.read_positions(hidden);
        let attended = self.attention.project(layer, queries.clone(), normed, bias);
        let around = AroundProjection::new(hidden.clone());
        let attended = layer.projected(Place::Attention, attended, around);
        let output = self.feed_forward.project(layer, queries);
        let around = AroundProjection { adds_input: false, ..AroundProjection::new(hidden.clone()) };
        let output = layer.projected(Place::FeedForward, output, around);
        self.attention.drop(layer, attended) + self.feed_forward.drop(layer, output) + hidden
    }

    /// `sublayer(norm(x)) + x` twice; bottlenecks read `norm(x)`.
    pub(super) fn pre_norm_projected(
        &self,
        layer: &LayerPass<'_>,
        hidden: Tensor<3>,
        bias: Option<Bias<'_>>,
        last: Option<&Layer>,
    ) -> Tensor<3> {
        let states = after_norm(&self.attention_norm, hidden.clone());
        let queries = layer.read_positions(states.clone());
        let attended = self.attention.project(layer, queries.clone(), states, bias);
        let norm = last.and_then(|last| as_norm(&last.feed_forward_norm));
        let around = AroundProjection { norm, ..AroundProjection::new(queries) };
        let attended = layer.projected(Place::Attention, attended, around);
        let hidden = layer.read_positions(hidden) + self.attention.drop(layer, attended);
        let states = after_norm(&self.feed_forward_norm, hidden.clone());
        let output = self.feed_forward.project(layer, states.clone());
        let output = layer.projected(Place::FeedForward, output, AroundProjection::new(states));
        hidden + self.feed_forward.drop(layer, output)
    }

    /// `norm(sublayer(norm(x))) + x` twice.
    pub(super) fn sandwich(
        &self,
        layer: &LayerPass<'_>,
        hidden: Tensor<3>,
        bias: Option<Bias<'_>>,
        last: Option<&Layer>,
    ) -> Tensor<3> {
        let states = after_norm(&self.attention_norm, hidden.clone());
        let attended = self.attention.project(layer, layer.read_positions(states.clone()), states, bias);
        let hidden = layer.read_positions(hidden);
        let end = |place, output: Tensor<3>, hidden: Tensor<3>, choose: fn(&Norms) -> &Normalization| {
            let norm = last.and_then(|last| last.output_norms.as_ref()).map(|norms| choose(norms) as &dyn Norm);
            let output =
                layer.projected(place, output, AroundProjection { norm, ..AroundProjection::new(hidden.clone()) });
            let output = self.output_norms.as_ref().map_or(output.clone(), |norms| choose(norms).norm(output));
            hidden + output
        };
        let hidden = end(Place::Attention, attended, hidden, |norms| &norms.0);
        let output = self.feed_forward.project(layer, after_norm(&self.feed_forward_norm, hidden.clone()));
        end(Place::FeedForward, output, hidden, |norms| &norms.1)
    }
}

/// The norms of the outputs of attention and the feed-forward block.
type Norms = (Normalization, Normalization);
