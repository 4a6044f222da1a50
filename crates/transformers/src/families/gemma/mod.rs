//! Gemma 2 (Gemma Team, 2024, <https://arxiv.org/abs/2408.00118>) and the text model of Gemma 3 (Gemma Team, 2025,
//! <https://arxiv.org/abs/2503.19786>): Llama's matrices, norms before and after each sublayer whose weights are added to
//! 1, scaled embeddings, and windows in most layers. Gemma 2 caps its attention scores; Gemma 3 has a norm of each head's
//! queries and keys.

use burn_adapters_core::{Activation, RowPosition, StackKind};

use super::llama::{Defaults, LlamaLayers};
use super::{Family, interface};
use crate::ModelConfigError;
use crate::fields::Fields;
use crate::plan::{
    AttentionPlan, EmbeddingsPlan, LayerPlan, ModelPlan, NormKind, NormPlan, Order, OutputPlan, StackPlan, TablePlan,
};
use crate::tokenizer::Class;

pub(super) const GEMMA2: Family =
    Family { model_types: &["gemma2"], tokenizer: |_| Class::Gemma, plan: |fields| plan(fields, Variant::Gemma2) };

pub(super) const GEMMA3: Family =
    Family { model_types: &["gemma3_text"], tokenizer: |_| Class::Gemma, plan: |fields| plan(fields, Variant::Gemma3) };

#[derive(Clone, Copy)]
enum Variant {
    Gemma2,
    Gemma3,
}

fn plan(fields: &Fields<'_>, variant: Variant) -> Result<ModelPlan, ModelConfigError> {
    let is_gemma3 = matches!(variant, Variant::Gemma3);
    fields.absent("use_bidirectional_attention")?;
    let sequence = if is_gemma3 { 131_072 } else { 8192 };
    let defaults = Defaults { key_value_heads: Some(4), head_dim: Some(256), sequence };
    let sizes = LlamaLayers::from_fields(fields, &defaults)?;
    let epsilon = fields.positive("rms_norm_eps", 1e-6)?;
    let norm = |name, width| NormPlan { kind: NormKind::RmsFromOne, ..NormPlan::rms(name, width, epsilon) };
    let of_layer = |name| norm(name, sizes.hidden);
    // Gemma 2 caps scores and logits by default; a null in its config.json turns a cap off.
    let cap = |key, default| match fields.optional_positive(key)? {
        None if !is_gemma3 && !fields.is_null(key) => Ok(Some(default)),
        cap => Ok(cap),
    };
    let theta = if is_gemma3 { 1e6 } else { 10_000.0 };
    let attention = AttentionPlan {
        rotary: Some(fields.rotary(sizes.head_dim, theta, sizes.limits.sequence)?),
        head_norms: is_gemma3.then(|| ["self_attn.q_norm", "self_attn.k_norm"].map(|name| norm(name, sizes.head_dim))),
        scale: Some(fields.positive("query_pre_attn_scalar", 256.0)?.sqrt().recip()),
        softcap: cap("attn_logit_softcapping", 50.0)?,
        dropout: fields.probability("attention_dropout", 0.0)?,
        ..sizes.attention([fields.flag("attention_bias")?; 2])
    };
    let activation = fields.activation_or("hidden_activation", Activation::GeluPytorchTanh)?;
    let layer = LayerPlan {
        output_norms: Some(["post_attention_layernorm", "post_feedforward_layernorm"].map(of_layer)),
        ..LayerPlan::new(
            Order::Sandwich,
            (attention, of_layer("input_layernorm")),
            (sizes.feed_forward(activation, false), of_layer("pre_feedforward_layernorm")),
        )
    };
    let mut stack = StackPlan::new(StackKind::Decoder, "layers", sizes.layers, layer);
    let pattern = match is_gemma3 {
        true => fields.optional_size("sliding_window_pattern")?.or(fields.optional_size("_sliding_window_pattern")?),
        false => Some(2),
    };
    let pattern = pattern.unwrap_or(6);
    let window = Some(fields.optional_size("sliding_window")?.unwrap_or(4096));
    let local = is_gemma3.then(|| fields.plain_rotary(sizes.head_dim, "rope_local_base_freq", 10_000.0)).transpose()?;
    let sliding = fields.sliding_layers(sizes.layers, |layer| !(layer + 1).is_multiple_of(pattern))?;
    stack.change(sliding, |layer| {
        layer.attention.window = window;
        if let Some(local) = &local {
            layer.attention.rotary = Some(local.clone());
        }
    });
    // The invertible adapter of Gemma 2 acts before the scale, that of Gemma 3 after it.
    let scale = Some((sizes.hidden as f64).sqrt());
    let (scale, late_scale) = if is_gemma3 { (scale, None) } else { (None, scale) };
    let words = TablePlan::new("embed_tokens", sizes.limits.vocabulary, sizes.hidden);
    let embeddings = EmbeddingsPlan { scale, late_scale, ..EmbeddingsPlan::new(words) };
    let output = OutputPlan::new("lm_head", sizes.words(), fields.flag_or("tie_word_embeddings", true)?).inverting();
    let (model_type, names) = match is_gemma3 {
        true => ("gemma3_text", interface::gemma3("Gemma3ForCausalLM")),
        false => ("gemma2", interface::gemma2("Gemma2ForCausalLM")),
    };
    Ok(ModelPlan {
        prefix: "model.",
        names,
        norm: Some(of_layer("norm")),
        output: Some(OutputPlan { softcap: cap("final_logit_softcapping", 30.0)?, ..output }),
        initializer_range: fields.positive("initializer_range", 0.02)?,
        row_position: RowPosition::LastToken,
        ..ModelPlan::new(model_type, sizes.limits, embeddings, stack)
    })
}
