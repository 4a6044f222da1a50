//! The layers of BERT, which other families have under the same names.

use burn_adapters_core::{Activation, StackKind};

use crate::ModelConfigError;
use crate::fields::Fields;
use crate::plan::{AttentionPlan, FeedForwardPlan, LayerPlan, LinearPlan, NormPlan, Order, StackPlan};

/// The sizes of the layers.
pub(in crate::families) struct BertLayers {
    pub(in crate::families) layers: usize,
    pub(in crate::families) hidden: usize,
    pub(in crate::families) heads: usize,
    pub(in crate::families) intermediate: usize,
    pub(in crate::families) activation: Activation,
    /// Dropout after each dense layer.
    pub(in crate::families) dropout: f64,
    /// Dropout on the attention probabilities.
    pub(in crate::families) attention_dropout: f64,
    /// The epsilon of the norms.
    pub(in crate::families) epsilon: f64,
}

impl BertLayers {
    /// Reads the keys of a `config.json`. The defaults are `[hidden, layers, heads, intermediate]` and the epsilon.
    pub(in crate::families) fn from_fields(
        fields: &Fields<'_>,
        [hidden, layers, heads, intermediate]: [usize; 4],
        epsilon: f64,
    ) -> Result<Self, ModelConfigError> {
        let read = Self {
            layers: fields.optional_size("num_hidden_layers")?.unwrap_or(layers),
            hidden: fields.optional_size("hidden_size")?.unwrap_or(hidden),
            heads: fields.optional_size("num_attention_heads")?.unwrap_or(heads),
            intermediate: fields.optional_size("intermediate_size")?.unwrap_or(intermediate),
            activation: fields.activation("hidden_act")?,
            dropout: fields.probability("hidden_dropout_prob", 0.1)?,
            attention_dropout: fields.probability("attention_probs_dropout_prob", 0.1)?,
            epsilon: fields.positive("layer_norm_eps", epsilon)?,
        };
        fields.check_layers("num_hidden_layers", read.layers)?;
        fields.check_heads(("hidden_size", read.hidden), ("num_attention_heads", read.heads))?;
        Ok(read)
    }

    /// A norm of the hidden states.
    pub(in crate::families) fn norm(&self, name: &'static str) -> NormPlan {
        NormPlan::new(name, self.hidden, self.epsilon)
    }

    /// The stack of the layers.
    pub(in crate::families) fn stack(&self) -> StackPlan {
        let Self { hidden, heads, intermediate, .. } = *self;
        let square = |name| LinearPlan::new(name, hidden, hidden);
        let names = ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"];
        let attention = AttentionPlan {
            dropout: self.attention_dropout,
            output_dropout: self.dropout,
            ..AttentionPlan::new(names.map(square), heads)
        };
        let up = LinearPlan::new("intermediate.dense", hidden, intermediate);
        let down = LinearPlan::new("output.dense", intermediate, hidden);
        let feed_forward = FeedForwardPlan { dropout: self.dropout, ..FeedForwardPlan::new(up, down, self.activation) };
        let layer = LayerPlan::new(
            Order::PostNorm,
            (attention, self.norm("attention.output.LayerNorm")),
            (feed_forward, self.norm("output.LayerNorm")),
        );
        StackPlan::new(StackKind::Encoder, "encoder.layer", self.layers, layer)
    }
}

/// The cross-attention of a layer of a decoder.
pub(in crate::families) fn cross_attention(layer: &LayerPlan) -> (AttentionPlan, NormPlan) {
    let hidden = layer.hidden;
    let names = [
        "crossattention.self.query",
        "crossattention.self.key",
        "crossattention.self.value",
        "crossattention.output.dense",
    ];
    let attention = AttentionPlan {
        dropout: layer.attention.dropout,
        output_dropout: layer.attention.output_dropout,
        ..AttentionPlan::new(names.map(|name| LinearPlan::new(name, hidden, hidden)), layer.attention.heads)
    };
    let epsilon = layer.attention_norm.as_ref().map_or(1e-12, |norm| norm.epsilon);
    (attention, NormPlan::new("crossattention.output.LayerNorm", hidden, epsilon))
}

/// Refuses keys that change what a model computes, in ways that this crate does not know.
pub(in crate::families) fn check_supported(fields: &Fields<'_>) -> Result<(), ModelConfigError> {
    if let Some(kind) = fields.string("position_embedding_type")?.filter(|kind| *kind != "absolute") {
        return Err(fields.unsupported("position_embedding_type", format!("\"{kind}\""), "\"absolute\""));
    }
    for key in ["is_decoder", "add_cross_attention", "pruned_heads", "quantization_config"] {
        fields.absent(key)?;
    }
    Ok(())
}
