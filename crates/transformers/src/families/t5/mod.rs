//! T5 (Raffel et al., 2020, <https://arxiv.org/abs/1910.10683>) and mT5 (Xue et al., 2021): pre-norm encoder-decoders
//! without biases, whose only positions are biases of the attention scores.

use burn_adapters_core::{Activation, RowPosition, StackKind};
use burn_adapters_model::{DecoderStart, Limits};

use super::Family;
use crate::ModelConfigError;
use crate::fields::Fields;
use crate::plan::{
    AttentionPlan, DecoderPlan, EmbeddingsPlan, FeedForwardPlan, LayerPlan, LinearPlan, ModelPlan, NormPlan, Order,
    OutputPlan, RelativePlan, StackPlan, TablePlan,
};
use crate::tokenizer::Class;

mod names;

pub(super) const T5: Family = Family {
    model_types: &["t5"],
    tokenizer: |_| Class::T5,
    plan: |fields| {
        plan(
            fields,
            &Variant {
                model_type: "t5",
                model_class: "T5AdapterModel",
                sizes: [32_128, 2048, 6, 8],
                activation: "relu",
                is_tied: true,
            },
        )
    },
};

pub(super) const MT5: Family = Family {
    model_types: &["mt5"],
    tokenizer: |_| Class::T5,
    plan: |fields| {
        plan(
            fields,
            &Variant {
                model_type: "mt5",
                model_class: "MT5AdapterModel",
                sizes: [250_112, 1024, 8, 6],
                activation: "gated-gelu",
                is_tied: false,
            },
        )
    },
};

/// The differences between the families: defaults of keys.
struct Variant {
    model_type: &'static str,
    model_class: &'static str,
    /// The vocabulary, the width of the feed-forward block, layers and heads.
    sizes: [usize; 4],
    activation: &'static str,
    /// Whether the output layer's matrix is the table of word embeddings.
    is_tied: bool,
}

/// The longest sequence: there is no table of positions that ends.
const LONGEST: usize = 1 << 20;

fn plan(fields: &Fields<'_>, variant: &Variant) -> Result<ModelPlan, ModelConfigError> {
    for key in ["pruned_heads", "quantization_config"] {
        fields.absent(key)?;
    }
    let [vocabulary, inner, layers, heads] = variant.sizes;
    let vocabulary = fields.optional_size("vocab_size")?.unwrap_or(vocabulary);
    let hidden = fields.optional_size("d_model")?.unwrap_or(512);
    let width = fields.optional_size("d_kv")?.unwrap_or(64);
    let inner = fields.optional_size("d_ff")?.unwrap_or(inner);
    let layers = fields.optional_size("num_layers")?.unwrap_or(layers);
    let decoder_layers = fields.optional_size("num_decoder_layers")?.unwrap_or(layers);
    let heads = fields.optional_size("num_heads")?.unwrap_or(heads);
    let buckets = fields.optional_size("relative_attention_num_buckets")?.unwrap_or(32);
    let max_distance = fields.optional_size("relative_attention_max_distance")?.unwrap_or(128);
    let epsilon = fields.positive("layer_norm_epsilon", 1e-6)?;
    let dropout = fields.probability("dropout_rate", 0.1)?;
    let (pad_id, start) = (fields.index("pad_token_id", 0)?, fields.index("decoder_start_token_id", 0)?);
    fields.check_layers("num_layers", layers)?;
    fields.check_layers("num_decoder_layers", decoder_layers)?;
    fields.check_padding(pad_id, vocabulary)?;
    if start >= vocabulary {
        let reason = format!("decoder_start_token_id ({start}) is not below vocab_size ({vocabulary})");
        return Err(fields.inconsistent(reason));
    }
    if buckets < 4 || !buckets.is_multiple_of(4) || max_distance <= buckets / 2 {
        return Err(fields.inconsistent(format!(
            "relative_attention_num_buckets ({buckets}) must be a multiple of 4, and relative_attention_max_distance \
             ({max_distance}) above half of it"
        )));
    }
    let (is_gated, activation) = activation(fields, variant.activation)?;

    let norm = |name| NormPlan::rms(name, hidden, epsilon);
    let attention = |names: [&'static str; 4], causal| {
        let [query, key, value, output] = names;
        let wide = |name| LinearPlan::new(name, hidden, heads * width).with_bias(false);
        let output = LinearPlan::new(output, heads * width, hidden).with_bias(false);
        AttentionPlan {
            causal,
            scale: Some(1.0),
            dropout,
            output_dropout: dropout,
            ..AttentionPlan::new([wide(query), wide(key), wide(value), output], heads)
        }
    };
    let feed_forward = |[gate, gated_up, up, down]: [&'static str; 4]| {
        let wide = |name| LinearPlan::new(name, hidden, inner).with_bias(false);
        FeedForwardPlan {
            gate: is_gated.then(|| wide(gate)),
            inner_dropout: dropout,
            dropout,
            ..FeedForwardPlan::new(
                wide(if is_gated { gated_up } else { up }),
                LinearPlan::new(down, inner, hidden).with_bias(false),
                activation,
            )
        }
    };
    let relative =
        |name, both_sides| RelativePlan { table: TablePlan::new(name, buckets, heads), max_distance, both_sides };
    let own = names::SELF_ATTENTION;
    let encoder = LayerPlan::new(
        Order::PreNorm,
        (attention(own, false), norm("layer.0.layer_norm")),
        (feed_forward(names::ENCODER_FEED_FORWARD), norm("layer.1.layer_norm")),
    );
    let decoder = LayerPlan {
        cross: Some((attention(names::CROSS_ATTENTION, false), norm("layer.1.layer_norm"))),
        ..LayerPlan::new(
            Order::PreNorm,
            (attention(own, true), norm("layer.0.layer_norm")),
            (feed_forward(names::DECODER_FEED_FORWARD), norm("layer.2.layer_norm")),
        )
    };
    let embeddings = EmbeddingsPlan { dropout, ..EmbeddingsPlan::new(TablePlan::new("shared", vocabulary, hidden)) };
    let limits = Limits { vocabulary, token_types: 1, sequence: LONGEST, pad_id: pad_id as u32 };
    let stack = StackPlan {
        relative: Some(relative(names::ENCODER_BIAS, true)),
        dropout,
        ..StackPlan::new(StackKind::Encoder, "encoder.block", layers, encoder)
    };
    let is_tied = fields.flag_or("tie_word_embeddings", variant.is_tied)?;
    let output = OutputPlan::new("lm_head", [vocabulary, hidden], is_tied);
    Ok(ModelPlan {
        output: Some(OutputPlan { scale: is_tied.then(|| (hidden as f64).powf(-0.5)), ..output }),
        // The class with heads has it in AdapterHub's files; Hugging Face's have none but for one class.
        prefix: "transformer.",
        language_prefix: Some(""),
        names: names::names(variant.model_class, is_gated),
        norm: Some(norm("encoder.final_layer_norm")),
        decoder: Some(DecoderPlan {
            start: DecoderStart::Token(start as u32),
            embeddings: embeddings.clone(),
            stack: StackPlan {
                relative: Some(relative(names::DECODER_BIAS, false)),
                dropout,
                ..StackPlan::new(StackKind::Decoder, "decoder.block", decoder_layers, decoder)
            },
            norm: Some(norm("decoder.final_layer_norm")),
            own: None,
        }),
        word_copies: &["encoder.embed_tokens", "decoder.embed_tokens"],
        head_dropout: fields.probability("classifier_dropout", 0.0)?,
        row_position: RowPosition::LastToken,
        ..ModelPlan::new(variant.model_type, limits, embeddings, stack)
    })
}

/// Whether the feed-forward block has a gate, and its activation.
fn activation(fields: &Fields<'_>, default: &'static str) -> Result<(bool, Activation), ModelConfigError> {
    let name = fields.string("feed_forward_proj")?.unwrap_or(default);
    match name {
        "relu" => Ok((false, Activation::Relu)),
        "gelu" => Ok((false, Activation::Gelu)),
        "silu" => Ok((false, Activation::Silu)),
        "gated-relu" => Ok((true, Activation::Relu)),
        "gated-gelu" => Ok((true, Activation::GeluNew)),
        "gated-silu" => Ok((true, Activation::Silu)),
        other => {
            let known = "\"relu\", \"gelu\", \"silu\", \"gated-relu\", \"gated-gelu\", \"gated-silu\"";
            Err(fields.unsupported("feed_forward_proj", format!("\"{other}\""), known))
        }
    }
}
