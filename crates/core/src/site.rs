//! Where adapters plug in: [`Site`] (stack, layer, place), and maps from sites to modules.

use std::collections::BTreeMap;
use std::fmt;

/// A stack of Transformer layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StackKind {
    /// The encoder; the only stack of an encoder-only model.
    Encoder,
    /// The decoder; the only stack of a decoder-only model.
    Decoder,
}

impl StackKind {
    /// `encoder` or `decoder`.
    pub const fn name(self) -> &'static str {
        match self {
            StackKind::Encoder => "encoder",
            StackKind::Decoder => "decoder",
        }
    }
}

/// A place within a layer: a matrix, the end of a sublayer, or the layer as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// The query projection of self-attention.
    Query,
    /// The key projection of self-attention.
    Key,
    /// The value projection of self-attention.
    Value,
    /// The output projection of self-attention.
    AttentionOutput,
    /// The query projection of cross-attention.
    CrossQuery,
    /// The key projection of cross-attention.
    CrossKey,
    /// The value projection of cross-attention.
    CrossValue,
    /// The output projection of cross-attention.
    CrossAttentionOutput,
    /// The gate of a gated feed-forward block: `down(activation(gate(x)) · up(x))`.
    FeedForwardGate,
    /// The first matrix of the feed-forward block.
    FeedForwardUp,
    /// The second matrix of the feed-forward block.
    FeedForwardDown,
    /// Self-attention: the end of the sublayer, or its keys and values.
    Attention,
    /// Cross-attention: the end of the sublayer, or its keys and values.
    CrossAttention,
    /// The end of the feed-forward block.
    FeedForward,
    /// The layer as a whole.
    Layer,
}

impl Place {
    /// Every place.
    pub const ALL: [Place; 15] = [
        Place::Query,
        Place::Key,
        Place::Value,
        Place::AttentionOutput,
        Place::CrossQuery,
        Place::CrossKey,
        Place::CrossValue,
        Place::CrossAttentionOutput,
        Place::FeedForwardGate,
        Place::FeedForwardUp,
        Place::FeedForwardDown,
        Place::Attention,
        Place::CrossAttention,
        Place::FeedForward,
        Place::Layer,
    ];

    /// A name without dots, fit for the path of a parameter.
    pub const fn name(self) -> &'static str {
        match self {
            Place::Query => "query",
            Place::Key => "key",
            Place::Value => "value",
            Place::AttentionOutput => "attention_output",
            Place::CrossQuery => "cross_query",
            Place::CrossKey => "cross_key",
            Place::CrossValue => "cross_value",
            Place::CrossAttentionOutput => "cross_attention_output",
            Place::FeedForwardGate => "feed_forward_gate",
            Place::FeedForwardUp => "feed_forward_up",
            Place::FeedForwardDown => "feed_forward_down",
            Place::Attention => "attention",
            Place::CrossAttention => "cross_attention",
            Place::FeedForward => "feed_forward",
            Place::Layer => "layer",
        }
    }

    /// The name of this matrix in llama.cpp, in every architecture that has it as a matrix of its own: `attn_q`.
    pub const fn llama_cpp_name(self) -> Option<&'static str> {
        match self {
            Place::Query => Some("attn_q"),
            Place::Key => Some("attn_k"),
            Place::Value => Some("attn_v"),
            Place::AttentionOutput => Some("attn_output"),
            Place::FeedForwardGate => Some("ffn_gate"),
            Place::FeedForwardUp => Some("ffn_up"),
            Place::FeedForwardDown => Some("ffn_down"),
            _ => None,
        }
    }

    /// The letter of this matrix in `attn_matrices`: `q`, `k`, `v` or `o`.
    pub fn matrix_letter(self) -> Option<&'static str> {
        match self {
            Place::Query | Place::CrossQuery => Some("q"),
            Place::Key | Place::CrossKey => Some("k"),
            Place::Value | Place::CrossValue => Some("v"),
            Place::AttentionOutput | Place::CrossAttentionOutput => Some("o"),
            _ => None,
        }
    }
}

/// One point of a model at which an adapter can act.
///
/// ```
/// use burn_adapters_core::{Place, Site, StackKind};
///
/// let site = Site::encoder(3, Place::Query);
/// assert_eq!(site.to_string(), "encoder.3.query");
/// assert_eq!(site.stack, StackKind::Encoder);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Site {
    /// The stack of layers.
    pub stack: StackKind,
    /// The layer within its stack, from 0.
    pub layer: usize,
    /// The place within the layer.
    pub place: Place,
}

impl Site {
    /// A site.
    pub fn new(stack: StackKind, layer: usize, place: Place) -> Self {
        Self { stack, layer, place }
    }

    /// A site of the encoder.
    pub fn encoder(layer: usize, place: Place) -> Self {
        Self::new(StackKind::Encoder, layer, place)
    }

    /// A site of the decoder.
    pub fn decoder(layer: usize, place: Place) -> Self {
        Self::new(StackKind::Decoder, layer, place)
    }

    /// A name without dots, fit for the path of a parameter: `encoder-3-query`.
    pub fn key(&self) -> String {
        format!("{}-{}-{}", self.stack.name(), self.layer, self.place.name())
    }

    /// The site that has this [`key`](Self::key).
    pub fn from_key(key: &str) -> Option<Self> {
        let mut parts = key.splitn(3, '-');
        let stack = match parts.next()? {
            "encoder" => StackKind::Encoder,
            "decoder" => StackKind::Decoder,
            _ => return None,
        };
        let layer = parts.next()?.parse().ok()?;
        let name = parts.next()?;
        let place = Place::ALL.into_iter().find(|place| place.name() == name)?;
        Some(Self { stack, layer, place })
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.stack.name(), self.layer, self.place.name())
    }
}

/// A key of a [`ModuleMap`](crate::ModuleMap): anything with a name without dots.
pub trait ModuleKey: Ord + Clone + std::fmt::Debug + Send {
    /// The component of a parameter's path.
    fn path_name(&self) -> String;
}

impl ModuleKey for Site {
    fn path_name(&self) -> String {
        self.key()
    }
}

impl ModuleKey for String {
    fn path_name(&self) -> String {
        // The path of a parameter is joined by dots: a dot in a name would look like a submodule.
        self.replace('.', "\u{2024}")
    }
}

/// The modules of one method at a site.
pub type SiteMap<M> = crate::ModuleMap<Site, M>;

/// Modules by name.
pub type NameMap<M> = crate::ModuleMap<String, M>;

/// An ordered map for reports.
pub type SiteReport<T> = BTreeMap<Site, T>;
