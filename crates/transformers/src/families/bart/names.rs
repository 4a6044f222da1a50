//! AdapterHub's names of the modules of BART, PLBART and mBART.

use burn_adapters_core::SiteName::{self, Whole};
use burn_adapters_core::{AttentionNames, Place, SiteNames, StackKind, StackNames};

pub(super) const fn names(model_class: &'static str) -> SiteNames {
    SiteNames {
        model_class: Some(model_class),
        prefix: Some("model"),
        stacks: &[
            StackNames {
                kind: StackKind::Encoder,
                root: "",
                layer: "encoder.layers.{}",
                places: PLACES,
                attentions: &[SELF_ATTENTION],
            },
            StackNames {
                kind: StackKind::Decoder,
                root: "",
                layer: "decoder.layers.{}",
                places: PLACES,
                attentions: &[
                    SELF_ATTENTION,
                    AttentionNames { place: Place::CrossAttention, module: "encoder_attn", prefix_key: None },
                ],
            },
        ],
        invertible: &["encoder"],
        ..SiteNames::OWN
    }
}

const SELF_ATTENTION: AttentionNames =
    AttentionNames { place: Place::Attention, module: "self_attn", prefix_key: None };

/// Of the decoder; an encoder has no cross-attention.
const PLACES: &[(Place, SiteName)] = &[
    (Place::Query, Whole("self_attn.q_proj")),
    (Place::Key, Whole("self_attn.k_proj")),
    (Place::Value, Whole("self_attn.v_proj")),
    (Place::AttentionOutput, Whole("self_attn.out_proj")),
    (Place::CrossQuery, Whole("encoder_attn.q_proj")),
    (Place::CrossKey, Whole("encoder_attn.k_proj")),
    (Place::CrossValue, Whole("encoder_attn.v_proj")),
    (Place::CrossAttentionOutput, Whole("encoder_attn.out_proj")),
    (Place::FeedForwardUp, Whole("fc1")),
    (Place::FeedForwardDown, Whole("fc2")),
    (Place::Attention, Whole("attention_adapters")),
    (Place::CrossAttention, Whole("cross_attention_adapters")),
    (Place::FeedForward, Whole("output_adapters")),
    (Place::Layer, Whole("reft_layer")),
];
