//! The names of T5's modules, in Hugging Face's files and in AdapterHub's.

use burn_adapters_core::SiteName::{self, Whole};
use burn_adapters_core::{AttentionNames, Place, SiteNames, StackKind, StackNames};

/// Query, key, value and output.
pub(super) const SELF_ATTENTION: [&str; 4] =
    ["layer.0.SelfAttention.q", "layer.0.SelfAttention.k", "layer.0.SelfAttention.v", "layer.0.SelfAttention.o"];

pub(super) const CROSS_ATTENTION: [&str; 4] = [
    "layer.1.EncDecAttention.q",
    "layer.1.EncDecAttention.k",
    "layer.1.EncDecAttention.v",
    "layer.1.EncDecAttention.o",
];

/// The gate, the first matrix with a gate, the first matrix without, the second matrix.
pub(super) const ENCODER_FEED_FORWARD: [&str; 4] = [
    "layer.1.DenseReluDense.wi_0",
    "layer.1.DenseReluDense.wi_1",
    "layer.1.DenseReluDense.wi",
    "layer.1.DenseReluDense.wo",
];

pub(super) const DECODER_FEED_FORWARD: [&str; 4] = [
    "layer.2.DenseReluDense.wi_0",
    "layer.2.DenseReluDense.wi_1",
    "layer.2.DenseReluDense.wi",
    "layer.2.DenseReluDense.wo",
];

pub(super) const ENCODER_BIAS: &str = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias";
pub(super) const DECODER_BIAS: &str = "decoder.block.0.layer.0.SelfAttention.relative_attention_bias";

pub(super) const fn names(model_class: &'static str, gated: bool) -> SiteNames {
    SiteNames {
        model_class: Some(model_class),
        prefix: Some("transformer"),
        stacks: if gated { GATED } else { PLAIN },
        invertible: &["encoder"],
        ..SiteNames::OWN
    }
}

const PLAIN: &[StackNames] = &[
    encoder(&encoder_places(Whole(ENCODER_FEED_FORWARD[2]))),
    decoder(&decoder_places(Whole(DECODER_FEED_FORWARD[2]))),
];

const GATED: &[StackNames] = &[
    encoder(&encoder_places(Whole(ENCODER_FEED_FORWARD[1]))),
    decoder(&decoder_places(Whole(DECODER_FEED_FORWARD[1]))),
];

const fn encoder(places: &'static [(Place, SiteName)]) -> StackNames {
    let attentions = &[AttentionNames { place: Place::Attention, module: "layer.0.SelfAttention", prefix_key: None }];
    StackNames { kind: StackKind::Encoder, root: "", layer: "encoder.block.{}", places, attentions }
}

const fn decoder(places: &'static [(Place, SiteName)]) -> StackNames {
    let attentions = &[
        AttentionNames { place: Place::Attention, module: "layer.0.SelfAttention", prefix_key: None },
        AttentionNames { place: Place::CrossAttention, module: "layer.1.EncDecAttention", prefix_key: None },
    ];
    StackNames { kind: StackKind::Decoder, root: "", layer: "decoder.block.{}", places, attentions }
}

const fn encoder_places(up: SiteName) -> [(Place, SiteName); 10] {
    [
        (Place::Query, Whole(SELF_ATTENTION[0])),
        (Place::Key, Whole(SELF_ATTENTION[1])),
        (Place::Value, Whole(SELF_ATTENTION[2])),
        (Place::AttentionOutput, Whole(SELF_ATTENTION[3])),
        (Place::FeedForwardGate, Whole(ENCODER_FEED_FORWARD[0])),
        (Place::FeedForwardUp, up),
        (Place::FeedForwardDown, Whole(ENCODER_FEED_FORWARD[3])),
        (Place::Attention, Whole("layer.0")),
        (Place::FeedForward, Whole("layer.1")),
        (Place::Layer, Whole("reft_layer")),
    ]
}

const fn decoder_places(up: SiteName) -> [(Place, SiteName); 15] {
    [
        (Place::Query, Whole(SELF_ATTENTION[0])),
        (Place::Key, Whole(SELF_ATTENTION[1])),
        (Place::Value, Whole(SELF_ATTENTION[2])),
        (Place::AttentionOutput, Whole(SELF_ATTENTION[3])),
        (Place::CrossQuery, Whole(CROSS_ATTENTION[0])),
        (Place::CrossKey, Whole(CROSS_ATTENTION[1])),
        (Place::CrossValue, Whole(CROSS_ATTENTION[2])),
        (Place::CrossAttentionOutput, Whole(CROSS_ATTENTION[3])),
        (Place::FeedForwardGate, Whole(DECODER_FEED_FORWARD[0])),
        (Place::FeedForwardUp, up),
        (Place::FeedForwardDown, Whole(DECODER_FEED_FORWARD[3])),
        (Place::Attention, Whole("layer.0")),
        (Place::CrossAttention, Whole("layer.1")),
        (Place::FeedForward, Whole("layer.2")),
        (Place::Layer, Whole("reft_layer")),
    ]
}
