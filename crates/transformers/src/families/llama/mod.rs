//! Llama (Touvron et al., 2023, <https://arxiv.org/abs/2302.13971>) and Mistral (Jiang et al., 2023,
//! <https://arxiv.org/abs/2310.06825>): pre-norm decoders with rotary positions, grouped heads and a gated feed-forward
//! block.

mod layers;

use burn_adapters_core::{Activation, Place, RowPosition, SiteNames, StackKind};

pub(super) use self::layers::{Defaults, LlamaLayers, names};

/// The names of the modules of Llama and its relatives.
pub(crate) const NAMES: SiteNames = names("LlamaAdapterModel");
use super::Family;
use crate::ModelConfigError;
use crate::fields::Fields;
use crate::plan::{
    AttentionPlan, EmbeddingsPlan, FeedForwardPlan, LayerPlan, ModelPlan, NormPlan, Order, OutputPlan, StackPlan,
    TablePlan,
};
use crate::tokenizer::Class;

pub(super) const LLAMA: Family = Family {
    model_types: &["llama"],
    tokenizer: |_| Class::Llama,
    plan: |fields| plan(fields, &Variant { model_type: "llama", names: NAMES, mistral: false }),
};

pub(super) const MISTRAL: Family = Family {
    model_types: &["mistral"],
    tokenizer: |_| Class::Llama,
    plan: |fields| plan(fields, &Variant { model_type: "mistral", names: names("MistralAdapterModel"), mistral: true }),
};

/// The differences between the families.
struct Variant {
    model_type: &'static str,
    names: SiteNames,
    /// No biases, and a window that attention may be limited to.
    mistral: bool,
}

fn plan(fields: &Fields<'_>, variant: &Variant) -> Result<ModelPlan, ModelConfigError> {
    let defaults = match variant.mistral {
        true => Defaults { key_value_heads: Some(8), sequence: 131_072, ..Defaults::default() },
        false => Defaults { sequence: 2048, ..Defaults::default() },
    };
    let sizes = LlamaLayers::from_fields(fields, &defaults)?;
    let epsilon = fields.positive("rms_norm_eps", 1e-6)?;
    let (attention_bias, mlp_bias) = match variant.mistral {
        true => (false, false),
        false => (fields.flag("attention_bias")?, fields.flag("mlp_bias")?),
    };
    let window = if variant.mistral { fields.optional_size("sliding_window")? } else { None };
    let norm = |name| NormPlan::rms(name, sizes.hidden, epsilon);
    let attention = AttentionPlan {
        window,
        rotary: Some(fields.rotary(sizes.head_dim, 10_000.0, sizes.limits.sequence)?),
        dropout: fields.probability("attention_dropout", 0.0)?,
        ..sizes.attention([attention_bias; 2])
    };
    let feed_forward = FeedForwardPlan {
        // The reference swaps them here, and names their tensors by the module.
        adapted: [Place::FeedForwardDown, Place::FeedForwardUp],
        ..sizes.feed_forward(fields.activation_or("hidden_act", Activation::Silu)?, mlp_bias)
    };
    let layer = LayerPlan::new(
        Order::PreNorm,
        (attention, norm("input_layernorm")),
        (feed_forward, norm("post_attention_layernorm")),
    );
    let embeddings = EmbeddingsPlan::new(TablePlan::new("embed_tokens", sizes.limits.vocabulary, sizes.hidden));
    let stack = StackPlan::new(StackKind::Decoder, "layers", sizes.layers, layer);
    Ok(ModelPlan {
        prefix: "model.",
        names: variant.names,
        norm: Some(norm("norm")),
        output: Some(OutputPlan::new("lm_head", sizes.words(), fields.flag("tie_word_embeddings")?)),
        initializer_range: fields.positive("initializer_range", 0.02)?,
        row_position: RowPosition::LastToken,
        ..ModelPlan::new(variant.model_type, sizes.limits, embeddings, stack)
    })
}
