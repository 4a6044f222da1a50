//! BART (Lewis et al., 2020, <https://arxiv.org/abs/1910.13461>), PLBART (Ahmad et al., 2021) and mBART (Liu et al.,
//! 2020): encoder-decoders with learned positions. mBART's norms come before the sublayers.

use burn_adapters_core::{RowPosition, SiteNames, StackKind};
use burn_adapters_model::{DecoderStart, Limits};

use super::Family;
use crate::ModelConfigError;
use crate::fields::Fields;
use crate::plan::{
    AttentionPlan, BiasPlan, Counting, DecoderPlan, EmbeddingsPlan, FeedForwardPlan, LayerPlan, LinearPlan, ModelPlan,
    NormPlan, Order, OutputPlan, StackPlan, TablePlan,
};
use crate::tokenizer::Class;

mod names;

pub(super) const BART: Family = Family {
    model_types: &["bart"],
    tokenizer: |_| Class::Roberta,
    plan: |fields| plan(fields, &Variant { model_type: "bart", names: names::names("BartAdapterModel"), ..BASE }),
};

pub(super) const PLBART: Family = Family {
    model_types: &["plbart"],
    tokenizer: |_| Class::PlBart,
    plan: |fields| {
        let names = names::names("PLBartAdapterModel");
        let (vocabulary, sizes) = (50_005, [768, 6, 12, 3072]);
        plan(fields, &Variant { model_type: "plbart", names, names_language: true, vocabulary, sizes, ..BASE })
    },
};

pub(super) const MBART: Family = Family {
    model_types: &["mbart"],
    tokenizer: |_| Class::MBart,
    plan: |fields| {
        let names = names::names("MBartAdapterModel");
        plan(fields, &Variant { model_type: "mbart", names, names_language: true, order: Order::PreNorm, ..BASE })
    },
};

/// The differences between the families.
struct Variant {
    model_type: &'static str,
    names: SiteNames,
    order: Order,
    /// Whether the last token of a row names its language: the decoder then begins with it.
    names_language: bool,
    vocabulary: usize,
    /// The default hidden size, layers, heads and width of the feed-forward block.
    sizes: [usize; 4],
}

const BASE: Variant = Variant {
    model_type: "",
    names: SiteNames::OWN,
    order: Order::PostNorm,
    names_language: false,
    vocabulary: 50_265,
    sizes: [1024, 12, 16, 4096],
};

/// The first rows of the tables of positions are not used.
const UNUSED_POSITIONS: usize = 2;

/// The keys of a stack: its layers, its heads, the width of its feed-forward block.
type Keys = [&'static str; 3];

fn plan(fields: &Fields<'_>, variant: &Variant) -> Result<ModelPlan, ModelConfigError> {
    for key in ["pruned_heads", "quantization_config"] {
        fields.absent(key)?;
    }
    let is_plbart = variant.sizes != BASE.sizes;
    let [hidden, ..] = variant.sizes;
    let hidden = fields.optional_size("d_model")?.unwrap_or(hidden);
    let vocabulary = fields.optional_size("vocab_size")?.unwrap_or(variant.vocabulary);
    let sequence = fields.optional_size("max_position_embeddings")?.unwrap_or(1024);
    let pad_id = fields.index("pad_token_id", 1)?;
    fields.check_padding(pad_id, vocabulary)?;
    let start = match variant.names_language {
        false => {
            let start = fields.index("decoder_start_token_id", 2)?;
            if start >= vocabulary {
                let reason = format!("decoder_start_token_id ({start}) is not below vocab_size ({vocabulary})");
                return Err(fields.inconsistent(reason));
            }
            DecoderStart::Token(start as u32)
        }
        true => DecoderStart::LastToken,
    };
    let dropout = fields.probability("dropout", 0.1)?;
    let scale = fields.flag_or("scale_embedding", is_plbart)?.then(|| (hidden as f64).sqrt());
    let norm = |name| NormPlan::new(name, hidden, 1e-5);
    let embeddings = |positions, normed| EmbeddingsPlan {
        scale,
        positions: Some((
            TablePlan::new(positions, sequence + UNUSED_POSITIONS, hidden),
            Counting::From(UNUSED_POSITIONS),
        )),
        norm: Some(norm(normed)),
        dropout,
        ..EmbeddingsPlan::new(TablePlan::new("shared", vocabulary, hidden))
    };
    let stack = |kind, name, keys: Keys| -> Result<StackPlan, ModelConfigError> {
        let [_, layers, heads, inner] = variant.sizes;
        let layers = fields.optional_size(keys[0])?.unwrap_or(layers);
        let heads = fields.optional_size(keys[1])?.unwrap_or(heads);
        let inner = fields.optional_size(keys[2])?.unwrap_or(inner);
        fields.check_layers(keys[0], layers)?;
        fields.check_heads(("d_model", hidden), (keys[1], heads))?;
        let square = |name| LinearPlan::new(name, hidden, hidden);
        let attention_dropout = fields.probability("attention_dropout", if is_plbart { 0.1 } else { 0.0 })?;
        let attention = |names: [&'static str; 4], causal| AttentionPlan {
            causal,
            dropout: attention_dropout,
            output_dropout: dropout,
            ..AttentionPlan::new(names.map(square), heads)
        };
        let is_decoder = kind == StackKind::Decoder;
        let own = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj"];
        let cross = ["encoder_attn.q_proj", "encoder_attn.k_proj", "encoder_attn.v_proj", "encoder_attn.out_proj"];
        let (up, down) = (LinearPlan::new("fc1", hidden, inner), LinearPlan::new("fc2", inner, hidden));
        let feed_forward = FeedForwardPlan {
            inner_dropout: fields.probability("activation_dropout", 0.0)?,
            dropout,
            ..FeedForwardPlan::new(up, down, fields.activation("activation_function")?)
        };
        let layer = LayerPlan {
            cross: is_decoder.then(|| (attention(cross, false), norm("encoder_attn_layer_norm"))),
            ..LayerPlan::new(
                variant.order,
                (attention(own, is_decoder), norm("self_attn_layer_norm")),
                (feed_forward, norm("final_layer_norm")),
            )
        };
        Ok(StackPlan::new(kind, name, layers, layer))
    };
    let encoder =
        stack(StackKind::Encoder, "encoder.layers", ["encoder_layers", "encoder_attention_heads", "encoder_ffn_dim"])?;
    let decoder =
        stack(StackKind::Decoder, "decoder.layers", ["decoder_layers", "decoder_attention_heads", "decoder_ffn_dim"])?;
    let last = |name| (variant.order == Order::PreNorm).then(|| norm(name));
    let limits = Limits { vocabulary, token_types: 1, sequence, pad_id: pad_id as u32 };
    let is_tied = fields.flag_or("tie_word_embeddings", true)?;
    let output = OutputPlan::new("lm_head", [vocabulary, hidden], is_tied);
    Ok(ModelPlan {
        output: Some(OutputPlan { bias: BiasPlan::Constant("final_logits_bias"), ..output }),
        prefix: "model.",
        names: variant.names,
        norm: last("encoder.layer_norm"),
        decoder: Some(DecoderPlan {
            start,
            embeddings: embeddings("decoder.embed_positions", "decoder.layernorm_embedding"),
            stack: decoder,
            norm: last("decoder.layer_norm"),
            own: None,
        }),
        word_copies: &["encoder.embed_tokens", "decoder.embed_tokens"],
        initializer_range: fields.positive("init_std", 0.02)?,
        head_dropout: fields.probability("classifier_dropout", 0.0)?,
        row_position: RowPosition::LastToken,
        ..ModelPlan::new(
            variant.model_type,
            limits,
            embeddings("encoder.embed_positions", "encoder.layernorm_embedding"),
            encoder,
        )
    })
}
