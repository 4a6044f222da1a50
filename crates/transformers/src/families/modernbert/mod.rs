//! ModernBERT (Warner et al., 2024, <https://arxiv.org/abs/2412.13663>): a pre-norm encoder with rotary positions, a gated
//! feed-forward block, norms without biases, and layers that see only positions nearby. Its files hold query, key and
//! value as one matrix, and so the two inputs of the gate.

use burn_adapters_core::SiteName::{Part as PartOf, Whole};
use burn_adapters_core::{AttentionNames, Place, RowPosition, SiteNames, StackKind, StackNames};
use burn_adapters_model::Limits;

use super::Family;
use crate::ModelConfigError;
use crate::fields::Fields;
use crate::plan::{
    AttentionPlan, BiasPlan, EmbeddingsPlan, FeedForwardPlan, LayerPlan, LinearPlan, ModelPlan, NormKind, NormPlan,
    Order, OutputPlan, Part, StackPlan, Storage, TablePlan, TransformPlan,
};
use crate::tokenizer::Class;

pub(super) const MODERNBERT: Family = Family { model_types: &["modernbert"], tokenizer: |_| Class::Generic, plan };

const NAMES: SiteNames = SiteNames {
    model_class: Some("ModernBertForMaskedLM"),
    prefix: Some("model"),
    stacks: &[StackNames {
        kind: StackKind::Encoder,
        root: "",
        layer: "layers.{}",
        places: &[
            (Place::Query, PartOf { module: "attn.Wqkv", index: 0, of: 3 }),
            (Place::Key, PartOf { module: "attn.Wqkv", index: 1, of: 3 }),
            (Place::Value, PartOf { module: "attn.Wqkv", index: 2, of: 3 }),
            (Place::AttentionOutput, Whole("attn.Wo")),
            (Place::FeedForwardUp, Whole("mlp.Wi")),
            (Place::FeedForwardDown, Whole("mlp.Wo")),
            (Place::Attention, Whole("attention_adapters")),
            (Place::FeedForward, Whole("output_adapters")),
            (Place::Layer, Whole("reft_layer")),
        ],
        attentions: &[AttentionNames { place: Place::Attention, module: "attn", prefix_key: None }],
    }],
    interface: &[
        ("attn_o_proj", "Wo"),
        ("attn_qkv_proj", "Wqkv"),
        ("layer_intermediate_proj", "mlp.Wi"),
        ("layer_ln_1", "mlp_norm"),
        ("layer_output_proj", "mlp.Wo"),
        ("layer_pre_ffn", "mlp"),
        ("layer_pre_self_attn", "attn"),
        ("layer_self_attn", "attn"),
        ("model_embeddings", "embeddings"),
        ("model_layers", "layers"),
    ],
    ..SiteNames::OWN
};

fn plan(fields: &Fields<'_>) -> Result<ModelPlan, ModelConfigError> {
    for key in ["pruned_heads", "quantization_config"] {
        fields.absent(key)?;
    }
    let vocabulary = fields.optional_size("vocab_size")?.unwrap_or(50_368);
    let hidden = fields.optional_size("hidden_size")?.unwrap_or(768);
    let layers = fields.optional_size("num_hidden_layers")?.unwrap_or(22);
    let heads = fields.optional_size("num_attention_heads")?.unwrap_or(12);
    let intermediate = fields.optional_size("intermediate_size")?.unwrap_or(1152);
    let sequence = fields.optional_size("max_position_embeddings")?.unwrap_or(8192);
    let every = fields.optional_size("global_attn_every_n_layers")?.unwrap_or(3);
    let reach = fields.optional_size("local_attention")?.unwrap_or(128) / 2;
    let pad_id = fields.index("pad_token_id", 50_283)?;
    let epsilon = fields.positive("norm_eps", 1e-5)?;
    fields.check_layers("num_hidden_layers", layers)?;
    fields.check_heads(("hidden_size", hidden), ("num_attention_heads", heads))?;
    fields.check_padding(pad_id, vocabulary)?;
    let (norm_bias, attention_bias, mlp_bias) =
        (fields.flag("norm_bias")?, fields.flag("attention_bias")?, fields.flag("mlp_bias")?);

    let kind = if norm_bias { NormKind::Layer } else { NormKind::LayerWithoutBias };
    let norm = |name| NormPlan { kind, ..NormPlan::new(name, hidden, epsilon) };
    let part = |index| {
        let storage = Storage { part: Some(Part::new(index, 3)), ..Storage::default() };
        LinearPlan::new("attn.Wqkv", hidden, hidden).with_bias(attention_bias).stored(storage)
    };
    let output = LinearPlan::new("attn.Wo", hidden, hidden).with_bias(attention_bias);
    let dropout = fields.probability("attention_dropout", 0.0)?;
    let global = fields.plain_rotary(hidden / heads, "global_rope_theta", 160_000.0)?;
    let local = match fields.is_null("local_rope_theta") {
        true => global.clone(),
        false => fields.plain_rotary(hidden / heads, "local_rope_theta", 10_000.0)?,
    };
    let attention = AttentionPlan {
        rotary: Some(global),
        dropout,
        output_dropout: dropout,
        ..AttentionPlan::new([part(0), part(1), part(2), output], heads)
    };
    let feed_forward = FeedForwardPlan {
        is_up_gated: true,
        inner_dropout: fields.probability("mlp_dropout", 0.0)?,
        ..FeedForwardPlan::new(
            LinearPlan::new("mlp.Wi", hidden, 2 * intermediate).with_bias(mlp_bias),
            LinearPlan::new("mlp.Wo", intermediate, hidden).with_bias(mlp_bias),
            fields.activation("hidden_activation")?,
        )
    };
    let layer =
        LayerPlan::new(Order::PreNormProjected, (attention, norm("attn_norm")), (feed_forward, norm("mlp_norm")));
    let mut stack = StackPlan::new(StackKind::Encoder, "layers", layers, layer);
    stack.change((0..layers).filter(|layer| !layer.is_multiple_of(every)), |layer| {
        layer.attention.reach = Some(reach);
        layer.attention.rotary = Some(local.clone());
    });
    // The norm of the embeddings stands for it.
    stack.change([0], |layer| layer.attention_norm = None);
    let embeddings = EmbeddingsPlan {
        norm: Some(norm("embeddings.norm")),
        dropout: fields.probability("embedding_dropout", 0.0)?,
        ..EmbeddingsPlan::new(TablePlan::new("embeddings.tok_embeddings", vocabulary, hidden))
    };
    let transform = TransformPlan {
        dense: LinearPlan::new("head.dense", hidden, hidden).with_bias(fields.flag("classifier_bias")?),
        activation: fields.activation("classifier_activation")?,
        norm: norm("head.norm"),
    };
    let output = OutputPlan::new("decoder", [vocabulary, hidden], fields.flag_or("tie_word_embeddings", true)?);
    let mut output = output.masked(transform, &["decoder.bias"]).inverting();
    if !fields.flag_or("decoder_bias", true)? {
        output.bias = BiasPlan::None;
    }
    let row_position = match fields.string("classifier_pooling")?.unwrap_or("cls") {
        "cls" => RowPosition::First,
        "mean" => RowPosition::Mean,
        other => return Err(fields.unsupported("classifier_pooling", format!("\"{other}\""), "\"cls\", \"mean\"")),
    };
    let limits = Limits { vocabulary, token_types: 1, sequence, pad_id: pad_id as u32 };
    Ok(ModelPlan {
        prefix: "model.",
        names: NAMES,
        heads: &["head.", "decoder."],
        norm: Some(norm("final_norm")),
        output: Some(output),
        initializer_range: fields.positive("initializer_range", 0.02)?,
        head_dropout: fields.probability("classifier_dropout", 0.0)?,
        head_epsilon: epsilon,
        row_position,
        ..ModelPlan::new("modernbert", limits, embeddings, stack)
    })
}
