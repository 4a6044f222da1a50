//! Llama (Touvron et al., 2023, <https://arxiv.org/abs/2302.13971>) and Mistral (Jiang et al., 2023,
//! <https://arxiv.org/abs/2310.06825>): pre-norm decoders with rotary positions, grouped heads and a gated feed-forward
//! block.

use burn_adapters_core::SiteName::Whole;
use burn_adapters_core::{Activation, AttentionNames, Place, RowPosition, SiteNames, StackKind, StackNames};
use burn_adapters_model::Limits;

use super::Family;
use crate::ModelConfigError;
use crate::fields::Fields;
use crate::plan::{
    AttentionPlan, EmbeddingsPlan, FeedForwardPlan, LayerPlan, LinearPlan, ModelPlan, NormPlan, Order, OutputPlan,
    StackPlan, TablePlan,
};
use crate::tokenizer::Class;

pub(super) const LLAMA: Family = Family {
    model_types: &["llama"],
    tokenizer: |_| Class::Generic,
    plan: |fields| plan(fields, &Variant { model_type: "llama", names: names("LlamaAdapterModel"), mistral: false }),
};

pub(super) const MISTRAL: Family = Family {
    model_types: &["mistral"],
    tokenizer: |_| Class::Generic,
    plan: |fields| plan(fields, &Variant { model_type: "mistral", names: names("MistralAdapterModel"), mistral: true }),
};

/// The differences between the families.
struct Variant {
    model_type: &'static str,
    names: SiteNames,
    /// No biases, and a window that attention may be limited to.
    mistral: bool,
}

const fn names(model_class: &'static str) -> SiteNames {
    SiteNames {
        model_class: Some(model_class),
        prefix: Some("model"),
        stacks: &[StackNames {
            kind: StackKind::Decoder,
            root: "",
            layer: "layers.{}",
            places: &[
                (Place::Query, Whole("self_attn.q_proj")),
                (Place::Key, Whole("self_attn.k_proj")),
                (Place::Value, Whole("self_attn.v_proj")),
                (Place::FeedForwardUp, Whole("mlp.up_proj")),
                (Place::FeedForwardDown, Whole("mlp.down_proj")),
                (Place::Attention, Whole("attention_adapters")),
                (Place::FeedForward, Whole("output_adapters")),
                (Place::Layer, Whole("reft_layer")),
            ],
            attentions: &[AttentionNames { place: Place::Attention, module: "self_attn", prefix_key: None }],
        }],
        ..SiteNames::OWN
    }
}

fn plan(fields: &Fields<'_>, variant: &Variant) -> Result<ModelPlan, ModelConfigError> {
    for key in ["pruned_heads", "quantization_config"] {
        fields.absent(key)?;
    }
    let vocabulary = fields.size("vocab_size")?;
    let hidden = fields.size("hidden_size")?;
    let layers = fields.size("num_hidden_layers")?;
    let heads = fields.size("num_attention_heads")?;
    let default = if variant.mistral { 8 } else { heads };
    let key_value_heads = fields.optional_size("num_key_value_heads")?.unwrap_or(default);
    let intermediate = fields.size("intermediate_size")?;
    let default = if variant.mistral { 131_072 } else { 2048 };
    let sequence = fields.optional_size("max_position_embeddings")?.unwrap_or(default);
    let pad_id = fields.index("pad_token_id", 0)?;
    let epsilon = fields.positive("rms_norm_eps", 1e-6)?;
    let (attention_bias, mlp_bias) = match variant.mistral {
        true => (false, false),
        false => (fields.flag("attention_bias")?, fields.flag("mlp_bias")?),
    };
    fields.check_layers("num_hidden_layers", layers)?;
    fields.check_heads(("num_attention_heads", heads), ("num_key_value_heads", key_value_heads))?;
    let head_dim = match fields.optional_size("head_dim")? {
        Some(head_dim) => head_dim,
        None => {
            fields.check_heads(("hidden_size", hidden), ("num_attention_heads", heads))?;
            hidden / heads
        }
    };
    fields.check_padding(pad_id, vocabulary)?;
    let window = if variant.mistral { fields.optional_size("sliding_window")? } else { None };

    let projection = |name, input, output| LinearPlan::new(name, input, output).with_bias(attention_bias);
    let feed_forward = |name, input, output| LinearPlan::new(name, input, output).with_bias(mlp_bias);
    let norm = |name| NormPlan::rms(name, hidden, epsilon);
    let (queries, keys) = (heads * head_dim, key_value_heads * head_dim);
    let attention = AttentionPlan {
        key_value_heads,
        causal: true,
        window,
        rotary: Some(fields.rotary(head_dim)?),
        dropout: fields.probability("attention_dropout", 0.0)?,
        ..AttentionPlan::new(
            [
                projection("self_attn.q_proj", hidden, queries),
                projection("self_attn.k_proj", hidden, keys),
                projection("self_attn.v_proj", hidden, keys),
                projection("self_attn.o_proj", queries, hidden),
            ],
            heads,
        )
    };
    let feed_forward = FeedForwardPlan {
        gate: Some(feed_forward("mlp.gate_proj", hidden, intermediate)),
        // The reference swaps them here, and names their tensors by the module.
        adapted: [Place::FeedForwardDown, Place::FeedForwardUp],
        ..FeedForwardPlan::new(
            feed_forward("mlp.up_proj", hidden, intermediate),
            feed_forward("mlp.down_proj", intermediate, hidden),
            fields.activation_or("hidden_act", Activation::Silu)?,
        )
    };
    let layer = LayerPlan::new(
        Order::PreNorm,
        (attention, norm("input_layernorm")),
        (feed_forward, norm("post_attention_layernorm")),
    );
    let embeddings = EmbeddingsPlan::new(TablePlan::new("embed_tokens", vocabulary, hidden));
    let limits = Limits { vocabulary, token_types: 1, sequence, pad_id: pad_id as u32 };
    let stack = StackPlan::new(StackKind::Decoder, "layers", layers, layer);
    Ok(ModelPlan {
        prefix: "model.",
        names: variant.names,
        norm: Some(norm("norm")),
        output: Some(OutputPlan::new("lm_head", [vocabulary, hidden], fields.flag("tie_word_embeddings")?)),
        initializer_range: fields.positive("initializer_range", 0.02)?,
        row_position: RowPosition::LastToken,
        ..ModelPlan::new(variant.model_type, limits, embeddings, stack)
    })
}
