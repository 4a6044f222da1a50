//! Plans of layers.

use burn_adapters_core::{Activation, Place, SublayerEnd};
use burn_adapters_model::Rotary;

use super::{LinearPlan, NormPlan};

/// A layer: self-attention, in some decoders cross-attention, and a feed-forward block.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LayerPlan {
    pub(crate) hidden: usize,
    pub(crate) order: Order,
    pub(crate) attention: AttentionPlan,
    pub(crate) attention_norm: Option<NormPlan>,
    /// Attention over the encoder's states, and its norm.
    pub(crate) cross: Option<(AttentionPlan, NormPlan)>,
    pub(crate) feed_forward: FeedForwardPlan,
    pub(crate) feed_forward_norm: Option<NormPlan>,
    /// The norms of the outputs of attention and the feed-forward block ([`Order::Sandwich`]).
    pub(crate) output_norms: Option<[NormPlan; 2]>,
    /// The norm of adapters for languages after the feed-forward block, if it is not the block's own.
    pub(crate) language_norm: Option<NormPlan>,
}

/// Where the norms of a layer are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// After each residual: `norm(sublayer(x) + x)`.
    PostNorm,
    /// As [`PostNorm`](Self::PostNorm), but an adapter after the attention takes the attention's input for its output, and
    /// the output for the residual.
    PostNormSwapped,
    /// Before each sublayer: `sublayer(norm(x)) + x`.
    PreNorm,
    /// As [`PostNorm`](Self::PostNorm), but adapters after the attention are before the norm; and the feed-forward block
    /// has a norm for adapters, after which its own follows.
    PostNormLanguages,
    /// As [`PreNorm`](Self::PreNorm), but the feed-forward block ends with the norm for adapters.
    PreNormLanguages,
    /// Before both sublayers, which read the same states: `attention(norm(x)) + feed_forward(norm(x)) + x`.
    Parallel,
    /// As [`Parallel`](Self::Parallel), with bottlenecks at the projections ([`SublayerEnd::AtProjection`]). That of the
    /// feed-forward block has no residual.
    ParallelProjected,
    /// As [`PreNorm`](Self::PreNorm), with bottlenecks at the projections. Their residual is the normed state.
    PreNormProjected,
    /// Before and after each sublayer: `norm(sublayer(norm(x))) + x`, with bottlenecks at the projections.
    Sandwich,
}

impl Order {
    pub(super) fn sublayer_end(self) -> SublayerEnd {
        match self {
            Self::PostNorm
            | Self::PostNormSwapped
            | Self::PreNorm
            | Self::Parallel
            | Self::PostNormLanguages
            | Self::PreNormLanguages => SublayerEnd::AfterResidual,
            Self::ParallelProjected | Self::PreNormProjected | Self::Sandwich => SublayerEnd::AtProjection,
        }
    }
}

/// Self-attention with its output projection.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AttentionPlan {
    pub(crate) query: LinearPlan,
    pub(crate) key: LinearPlan,
    pub(crate) value: LinearPlan,
    pub(crate) output: LinearPlan,
    /// The names of biases of queries and values that are added after the adapters there.
    pub(crate) late_biases: Option<[&'static str; 2]>,
    /// Whether adapters act on its matrices and its output; prefixes always do.
    pub(crate) is_adapted: bool,
    pub(crate) heads: usize,
    pub(crate) key_value_heads: usize,
    /// Whether each position sees only itself and those before it.
    pub(crate) causal: bool,
    /// How many positions, its own included, each position sees at most.
    pub(crate) window: Option<usize>,
    /// The greatest distance to positions that each position sees.
    pub(crate) reach: Option<usize>,
    pub(crate) rotary: Option<Rotary>,
    /// The norms of each head's queries and keys, before they are rotated.
    pub(crate) head_norms: Option<[NormPlan; 2]>,
    /// What queries and keys are compared with beside each other.
    pub(crate) positions: Option<PositionsPlan>,
    /// Whether positions of padding see nothing, not even the tokens: their attention is even.
    pub(crate) isolates_padding: bool,
    /// The factor on scores; `None` is `1 / √head`.
    pub(crate) scale: Option<f64>,
    /// The bound that scores are kept within.
    pub(crate) softcap: Option<f64>,
    /// Dropout on the probabilities.
    pub(crate) dropout: f64,
    /// Dropout after the output projection.
    pub(crate) output_dropout: f64,
}

/// The projections of the table of distances: what queries are compared with, and what keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PositionsPlan {
    pub(crate) keys: Option<ProjectionPlan>,
    pub(crate) queries: Option<ProjectionPlan>,
}

/// A projection of the table of distances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ProjectionPlan {
    /// That of the hidden states, with its adapters.
    Shared,
    /// One of its own.
    Own(LinearPlan),
}

/// Two linear layers with a non-linearity between them, `down(activation(up(x)))`, or
/// `down(activation(gate(x)) · up(x))`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FeedForwardPlan {
    pub(crate) gate: Option<LinearPlan>,
    pub(crate) up: LinearPlan,
    pub(crate) down: LinearPlan,
    /// Whether `up` gives the gate as well, as the first half of its outputs.
    pub(crate) is_up_gated: bool,
    pub(crate) activation: Activation,
    /// The matrices that `intermediate_lora` and `output_lora` adapt.
    pub(crate) adapted: [Place; 2],
    /// Dropout before the second layer.
    pub(crate) inner_dropout: f64,
    /// Dropout after the second layer.
    pub(crate) dropout: f64,
}

impl LayerPlan {
    /// Self-attention and a feed-forward block, each with its norm.
    pub(crate) fn new(
        order: Order,
        (attention, attention_norm): (AttentionPlan, NormPlan),
        (feed_forward, feed_forward_norm): (FeedForwardPlan, NormPlan),
    ) -> Self {
        let hidden = feed_forward.down.size[1];
        Self {
            hidden,
            order,
            attention,
            attention_norm: Some(attention_norm),
            cross: None,
            feed_forward,
            feed_forward_norm: Some(feed_forward_norm),
            output_norms: None,
            language_norm: None,
        }
    }
}

impl LayerPlan {
    /// Self-attention and a feed-forward block over the same normed states.
    pub(crate) fn parallel(order: Order, attention: (AttentionPlan, NormPlan), feed_forward: FeedForwardPlan) -> Self {
        let norm = attention.1.clone();
        Self { feed_forward_norm: None, ..Self::new(order, attention, (feed_forward, norm)) }
    }
}

impl AttentionPlan {
    /// Attention over all positions, with as many key-value heads as heads, without dropout.
    pub(crate) fn new([query, key, value, output]: [LinearPlan; 4], heads: usize) -> Self {
        Self {
            query,
            key,
            value,
            output,
            late_biases: None,
            is_adapted: true,
            heads,
            key_value_heads: heads,
            causal: false,
            window: None,
            reach: None,
            rotary: None,
            head_norms: None,
            positions: None,
            isolates_padding: false,
            scale: None,
            softcap: None,
            dropout: 0.0,
            output_dropout: 0.0,
        }
    }
}

impl FeedForwardPlan {
    /// Without a gate and dropout.
    pub(crate) fn new(up: LinearPlan, down: LinearPlan, activation: Activation) -> Self {
        let adapted = [Place::FeedForwardUp, Place::FeedForwardDown];
        Self { gate: None, up, down, is_up_gated: false, activation, adapted, inner_dropout: 0.0, dropout: 0.0 }
    }
}
