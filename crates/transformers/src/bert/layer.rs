//! One layer: self-attention and a feed-forward block, a residual and a norm after each.

use burn::module::Module;
use burn::nn::{LayerNorm, Linear};
use burn::tensor::{Bool, Tensor};
use burn_adapters_core::{Activation, NormWithEpsilon, Place, Site, activate, project};
use burn_adapters_model::Hooks;

use super::attention::SelfAttention;
use super::packing::Packing;
use crate::weights::Source;
use crate::{BertConfig, LoadError};

/// One layer of the encoder.
#[derive(Module, Debug)]
pub(crate) struct Layer {
    attention: SelfAttention,
    attention_output: Linear,
    attention_norm: LayerNorm,
    up: Linear,
    down: Linear,
    norm: LayerNorm,
    epsilon: f64,
    dropout: f64,
    #[module(skip)]
    activation: Activation,
}

impl Layer {
    pub(crate) fn build(config: &BertConfig, name: &str, source: &mut impl Source) -> Result<Self, LoadError> {
        let (hidden, intermediate) = (config.hidden_size, config.intermediate_size);
        let (std, epsilon) = (config.initializer_range, config.layer_norm_eps);
        Ok(Self {
            attention: SelfAttention::build(config, &format!("{name}.attention.self"), source)?,
            attention_output: source.linear(&format!("{name}.attention.output.dense"), [hidden; 2], std)?,
            attention_norm: source.layer_norm(&format!("{name}.attention.output.LayerNorm"), hidden, epsilon)?,
            up: source.linear(&format!("{name}.intermediate.dense"), [hidden, intermediate], std)?,
            down: source.linear(&format!("{name}.output.dense"), [intermediate, hidden], std)?,
            norm: source.layer_norm(&format!("{name}.output.LayerNorm"), hidden, epsilon)?,
            epsilon,
            dropout: config.hidden_dropout_prob,
            activation: config.hidden_act,
        })
    }

    /// # Shapes
    /// - hidden, output: `[batch, sequence, hidden]`
    /// - padding: true where a position is padding, `[batch, sequence]`
    /// - mask: the same for the scores, `[batch, 1, 1, sequence]`; none where nothing is padding
    /// - with `first_only`: output `[batch, 1, hidden]`, the first position, where it can be had alone
    pub(crate) fn forward(
        &self,
        layer: usize,
        hidden: Tensor<3>,
        padding: &Tensor<2, Bool>,
        mask: Option<Tensor<4, Bool>>,
        hooks: &Hooks,
        first_only: bool,
    ) -> Tensor<3> {
        let cut = first_only && hooks.treats_positions_alone();
        let asking = if cut { hidden.clone().narrow(1, 0, 1) } else { hidden.clone() };
        let context = self.attention.forward(layer, asking.clone(), hidden, mask, hooks);
        let hidden = self.after_attention(layer, context, asking, hooks);
        // Interventions at the layer's end choose positions, so that with them nothing is cut.
        if cut {
            return hidden;
        }
        hooks.layer(Site::encoder(layer, Place::Layer), hidden, padding)
    }

    /// The same without padding: see [`Packing`].
    ///
    /// # Shapes
    /// - hidden: `[Σ lengths, 1, hidden]`
    /// - mask: as in [`forward`](Self::forward)
    /// - output: as hidden; with `first_only` `[batch, 1, hidden]`
    pub(crate) fn forward_packed(
        &self,
        layer: usize,
        hidden: Tensor<3>,
        mask: Option<Tensor<4, Bool>>,
        hooks: &Hooks,
        packing: &Packing,
        first_only: bool,
    ) -> Tensor<3> {
        let (asking, asking_hooks) =
            if first_only { (packing.first(hidden.clone()), hooks) } else { (hidden.clone(), &packing.hooks) };
        let context = (asking.clone(), asking_hooks);
        let context = self.attention.forward_packed(layer, context, hidden, mask, hooks, packing);
        self.after_attention(layer, context, asking, asking_hooks)
    }

    /// From the attention's output, before its projection, and the layer's input.
    fn after_attention(&self, layer: usize, context: Tensor<3>, hidden: Tensor<3>, hooks: &Hooks) -> Tensor<3> {
        let site = |place| Site::encoder(layer, place);
        let with_epsilon = |norm| NormWithEpsilon { norm, epsilon: self.epsilon };
        // The reference adapts no output projection of BERT's attention: the specification has no such site.
        let attended = project(&self.attention_output, context);
        let attended = hooks.dropout(self.dropout, attended);
        let hidden =
            hooks.sublayer(site(Place::Attention), attended, hidden, Some(&with_epsilon(&self.attention_norm)));

        let up = hooks.linear(site(Place::FeedForwardUp), &self.up, hidden.clone());
        let down = hooks.linear(site(Place::FeedForwardDown), &self.down, activate(self.activation, up));
        let down = hooks.dropout(self.dropout, down);
        hooks.sublayer(site(Place::FeedForward), down, hidden, Some(&with_epsilon(&self.norm)))
    }

    /// The matrix at a place.
    pub(crate) fn linear(&self, place: Place) -> Option<&Linear> {
        match place {
            Place::Query => Some(&self.attention.query),
            Place::Key => Some(&self.attention.key),
            Place::Value => Some(&self.attention.value),
            Place::AttentionOutput => Some(&self.attention_output),
            Place::FeedForwardUp => Some(&self.up),
            Place::FeedForwardDown => Some(&self.down),
            _ => None,
        }
    }

    /// The matrix at a place, to change.
    pub(crate) fn linear_mut(&mut self, place: Place) -> Option<&mut Linear> {
        match place {
            Place::Query => Some(&mut self.attention.query),
            Place::Key => Some(&mut self.attention.key),
            Place::Value => Some(&mut self.attention.value),
            Place::AttentionOutput => Some(&mut self.attention_output),
            Place::FeedForwardUp => Some(&mut self.up),
            Place::FeedForwardDown => Some(&mut self.down),
            _ => None,
        }
    }
}
