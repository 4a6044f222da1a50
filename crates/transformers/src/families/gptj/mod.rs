//! GPT-J (Wang and Komatsuzaki, 2021): a decoder whose attention and feed-forward block read one norm of the layer's
//! input, with positions rotated in neighboring elements of a part of each head.

use burn_adapters_core::SiteName::Whole;
use burn_adapters_core::{Activation, AttentionNames, Place, RowPosition, SiteNames, StackKind, StackNames};
use burn_adapters_model::{Limits, Rotary};

use super::Family;
use crate::ModelConfigError;
use crate::fields::Fields;
use crate::plan::{
    AttentionPlan, BiasPlan, EmbeddingsPlan, FeedForwardPlan, LayerPlan, LinearPlan, ModelPlan, NormPlan, Order,
    OutputPlan, StackPlan, TablePlan,
};
use crate::tokenizer::Class;

pub(super) const GPTJ: Family = Family { model_types: &["gptj"], tokenizer: |_| Class::Gpt2, plan };

const NAMES: SiteNames = SiteNames {
    model_class: Some("GPTJAdapterModel"),
    prefix: Some("transformer"),
    stacks: &[StackNames {
        kind: StackKind::Decoder,
        root: "",
        layer: "h.{}",
        places: &[
            (Place::Query, Whole("attn.q_proj")),
            (Place::Key, Whole("attn.k_proj")),
            (Place::Value, Whole("attn.v_proj")),
            (Place::AttentionOutput, Whole("attn.out_proj")),
            (Place::FeedForwardUp, Whole("mlp.fc_in")),
            (Place::FeedForwardDown, Whole("mlp.fc_out")),
            (Place::Attention, Whole("attention_adapters")),
            (Place::FeedForward, Whole("output_adapters")),
            (Place::Layer, Whole("reft_layer")),
        ],
        attentions: &[AttentionNames { place: Place::Attention, module: "attn", prefix_key: None }],
    }],
    ..SiteNames::OWN
};

fn plan(fields: &Fields<'_>) -> Result<ModelPlan, ModelConfigError> {
    for key in ["pruned_heads", "quantization_config"] {
        fields.absent(key)?;
    }
    let vocabulary = fields.optional_size("vocab_size")?.unwrap_or(50_400);
    let sequence = fields.optional_size("n_positions")?.unwrap_or(2048);
    let layers = fields.optional_size("n_layer")?.unwrap_or(28);
    let heads = fields.optional_size("n_head")?.unwrap_or(16);
    let hidden = fields.optional_size("n_embd")?.unwrap_or(4096);
    let inner = fields.optional_size("n_inner")?.unwrap_or(4 * hidden);
    let rotated = fields.optional_size("rotary_dim")?.unwrap_or(64);
    let pad_id = fields.index("pad_token_id", 0)?;
    let epsilon = fields.positive("layer_norm_epsilon", 1e-5)?;
    let dropout = fields.probability("resid_pdrop", 0.0)?;
    fields.check_layers("n_layer", layers)?;
    fields.check_heads(("n_embd", hidden), ("n_head", heads))?;
    fields.check_padding(pad_id, vocabulary)?;
    let head = hidden / heads;
    if rotated > head || !rotated.is_multiple_of(2) {
        let reason = format!("rotary_dim is {rotated}, expected an even number of at most {head}, the width of a head");
        return Err(fields.inconsistent(reason));
    }

    let square = |name| LinearPlan::new(name, hidden, hidden).with_bias(false);
    let norm = |name| NormPlan::new(name, hidden, epsilon);
    let attention = AttentionPlan {
        causal: true,
        rotary: Some(Rotary::new(rotated, 10_000.0).interleaved()),
        dropout: fields.probability("attn_pdrop", 0.0)?,
        output_dropout: dropout,
        ..AttentionPlan::new(["attn.q_proj", "attn.k_proj", "attn.v_proj", "attn.out_proj"].map(square), heads)
    };
    let (up, down) = (LinearPlan::new("mlp.fc_in", hidden, inner), LinearPlan::new("mlp.fc_out", inner, hidden));
    let activation = fields.activation_or("activation_function", Activation::GeluNew)?;
    let feed_forward = FeedForwardPlan { dropout, ..FeedForwardPlan::new(up, down, activation) };
    let layer = LayerPlan::parallel(Order::Parallel, (attention, norm("ln_1")), feed_forward);
    let embeddings = EmbeddingsPlan {
        dropout: fields.probability("embd_pdrop", 0.0)?,
        ..EmbeddingsPlan::new(TablePlan::new("wte", vocabulary, hidden))
    };
    let limits = Limits { vocabulary, token_types: 1, sequence, pad_id: pad_id as u32 };
    let output = OutputPlan::new("lm_head", [vocabulary, hidden], fields.flag("tie_word_embeddings")?);
    let stack = StackPlan::new(StackKind::Decoder, "h", layers, layer);
    Ok(ModelPlan {
        prefix: "transformer.",
        names: NAMES,
        norm: Some(norm("ln_f")),
        output: Some(OutputPlan { bias: BiasPlan::Required(&["lm_head.bias"]), ..output }),
        initializer_range: fields.positive("initializer_range", 0.02)?,
        head_dropout: dropout,
        row_position: RowPosition::LastToken,
        ..ModelPlan::new("gptj", limits, embeddings, stack)
    })
}
