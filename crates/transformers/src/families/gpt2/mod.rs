//! GPT-2 (Radford et al., 2019): a pre-norm decoder with learned positions, whose files hold query, key and value as one
//! matrix, and every matrix as `[input, output]`.

use burn_adapters_core::SiteName::{Part as PartOf, Whole};
use burn_adapters_core::{Activation, AttentionNames, Place, RowPosition, SiteNames, StackKind, StackNames};
use burn_adapters_model::Limits;

use super::Family;
use super::encoder_decoder::CrossNames;
use crate::ModelConfigError;
use crate::fields::Fields;
use crate::plan::{
    AttentionPlan, Counting, EmbeddingsPlan, FeedForwardPlan, LayerPlan, LinearPlan, ModelPlan, NormPlan, Order,
    OutputPlan, Part, StackPlan, Storage, TablePlan,
};
use crate::tokenizer::Class;

pub(super) const GPT2: Family = Family { model_types: &["gpt2"], tokenizer: |_| Class::Gpt2, plan };

pub(super) const NAMES: SiteNames = SiteNames {
    model_class: Some("GPT2AdapterModel"),
    prefix: Some("transformer"),
    stacks: &[StackNames {
        kind: StackKind::Decoder,
        root: "",
        layer: "h.{}",
        places: &[
            (Place::Query, PartOf { module: "attn.c_attn", index: 0, of: 3 }),
            (Place::Key, PartOf { module: "attn.c_attn", index: 1, of: 3 }),
            (Place::Value, PartOf { module: "attn.c_attn", index: 2, of: 3 }),
            (Place::AttentionOutput, Whole("attn.c_proj")),
            (Place::FeedForwardUp, Whole("mlp.c_fc")),
            (Place::FeedForwardDown, Whole("mlp.c_proj")),
            (Place::Attention, Whole("attention_adapters")),
            (Place::FeedForward, Whole("output_adapters")),
            (Place::Layer, Whole("reft_layer")),
        ],
        attentions: &[AttentionNames { place: Place::Attention, module: "attn", prefix_key: None }],
    }],
    ..SiteNames::OWN
};

/// In a pair, the reference adapts cross-attention by prefixes alone.
pub(super) const CROSS_NAMES: CrossNames = CrossNames { module: "crossattention", places: &[] };

/// The cross-attention of a layer of a decoder.
pub(super) fn cross_attention(layer: &LayerPlan) -> (AttentionPlan, NormPlan) {
    let hidden = layer.hidden;
    let linear = |name, part| LinearPlan::new(name, hidden, hidden).stored(Storage { input_first: true, part });
    let part = |index| linear("crossattention.c_attn", Some(Part::new(index, 2)));
    let (query, output) = (linear("crossattention.q_attn", None), linear("crossattention.c_proj", None));
    let attention = AttentionPlan {
        is_adapted: false,
        dropout: layer.attention.dropout,
        output_dropout: layer.attention.output_dropout,
        ..AttentionPlan::new([query, part(0), part(1), output], layer.attention.heads)
    };
    let epsilon = layer.attention_norm.as_ref().map_or(1e-5, |norm| norm.epsilon);
    (attention, NormPlan::new("ln_cross_attn", hidden, epsilon))
}

fn plan(fields: &Fields<'_>) -> Result<ModelPlan, ModelConfigError> {
    for key in [
        "add_cross_attention",
        "pruned_heads",
        "quantization_config",
        "reorder_and_upcast_attn",
        "scale_attn_by_inverse_layer_idx",
    ] {
        fields.absent(key)?;
    }
    if !fields.flag_or("scale_attn_weights", true)? {
        return Err(fields.unsupported("scale_attn_weights", "false".into(), "true"));
    }
    let vocabulary = fields.optional_size("vocab_size")?.unwrap_or(50_257);
    let sequence = fields.optional_size("n_positions")?.unwrap_or(1024);
    let layers = fields.optional_size("n_layer")?.unwrap_or(12);
    let heads = fields.optional_size("n_head")?.unwrap_or(12);
    let hidden = fields.optional_size("n_embd")?.unwrap_or(768);
    let inner = fields.optional_size("n_inner")?.unwrap_or(4 * hidden);
    let pad_id = fields.index("pad_token_id", 0)?;
    let epsilon = fields.positive("layer_norm_epsilon", 1e-5)?;
    let dropout = fields.probability("resid_pdrop", 0.1)?;
    fields.check_layers("n_layer", layers)?;
    fields.check_heads(("n_embd", hidden), ("n_head", heads))?;
    fields.check_padding(pad_id, vocabulary)?;

    let stored = |part| Storage { input_first: true, part };
    let linear = |name, input, output| LinearPlan::new(name, input, output).stored(stored(None));
    let part = |index| LinearPlan::new("attn.c_attn", hidden, hidden).stored(stored(Some(Part::new(index, 3))));
    let norm = |name| NormPlan::new(name, hidden, epsilon);
    let attention = AttentionPlan {
        causal: true,
        dropout: fields.probability("attn_pdrop", 0.1)?,
        output_dropout: dropout,
        ..AttentionPlan::new([part(0), part(1), part(2), linear("attn.c_proj", hidden, hidden)], heads)
    };
    let activation = fields.activation_or("activation_function", Activation::GeluNew)?;
    let feed_forward = FeedForwardPlan {
        dropout,
        ..FeedForwardPlan::new(linear("mlp.c_fc", hidden, inner), linear("mlp.c_proj", inner, hidden), activation)
    };
    let layer = LayerPlan::new(Order::PreNorm, (attention, norm("ln_1")), (feed_forward, norm("ln_2")));
    let embeddings = EmbeddingsPlan {
        positions: Some((TablePlan::new("wpe", sequence, hidden), Counting::FromZero)),
        dropout: fields.probability("embd_pdrop", 0.1)?,
        ..EmbeddingsPlan::new(TablePlan::new("wte", vocabulary, hidden))
    };
    let limits = Limits { vocabulary, token_types: 1, sequence, pad_id: pad_id as u32 };
    let stack = StackPlan::new(StackKind::Decoder, "h", layers, layer);
    Ok(ModelPlan {
        prefix: "transformer.",
        names: NAMES,
        norm: Some(norm("ln_f")),
        output: Some(OutputPlan::new("lm_head", [vocabulary, hidden], fields.flag_or("tie_word_embeddings", true)?)),
        initializer_range: fields.positive("initializer_range", 0.02)?,
        head_dropout: dropout,
        row_position: RowPosition::LastToken,
        ..ModelPlan::new("gpt2", limits, embeddings, stack)
    })
}
