//! Qwen2 (Yang et al., 2024, <https://arxiv.org/abs/2407.10671>) and Qwen3 (Yang et al., 2025,
//! <https://arxiv.org/abs/2505.09388>): Llama's layers, in Qwen2 with biases of queries, keys and values, in Qwen3 with a
//! norm of each head's queries and keys.

use burn_adapters_core::{Activation, RowPosition, StackKind};

use super::llama::{Defaults, LlamaLayers};
use super::{Family, interface};
use crate::ModelConfigError;
use crate::fields::Fields;
use crate::plan::{
    AttentionPlan, EmbeddingsPlan, LayerPlan, ModelPlan, NormPlan, Order, OutputPlan, StackPlan, TablePlan,
};
use crate::tokenizer::Class;

pub(super) const QWEN2: Family =
    Family { model_types: &["qwen2"], tokenizer: |_| Class::Qwen2, plan: |fields| plan(fields, Variant::Qwen2) };

pub(super) const QWEN3: Family =
    Family { model_types: &["qwen3"], tokenizer: |_| Class::Qwen2, plan: |fields| plan(fields, Variant::Qwen3) };

#[derive(Clone, Copy)]
enum Variant {
    Qwen2,
    Qwen3,
}

fn plan(fields: &Fields<'_>, variant: Variant) -> Result<ModelPlan, ModelConfigError> {
    let is_qwen3 = matches!(variant, Variant::Qwen3);
    let head_dim = is_qwen3.then_some(128);
    let sizes = LlamaLayers::from_fields(fields, &Defaults { key_value_heads: Some(32), head_dim, sequence: 32_768 })?;
    let epsilon = fields.positive("rms_norm_eps", 1e-6)?;
    let biases = if is_qwen3 { [fields.flag("attention_bias")?; 2] } else { [true, false] };
    let norm = |name| NormPlan::rms(name, sizes.hidden, epsilon);
    let head_norm = |name| NormPlan::rms(name, sizes.head_dim, epsilon);
    let attention = AttentionPlan {
        head_norms: is_qwen3.then(|| ["self_attn.q_norm", "self_attn.k_norm"].map(head_norm)),
        rotary: Some(fields.rotary(sizes.head_dim, 10_000.0, sizes.limits.sequence)?),
        dropout: fields.probability("attention_dropout", 0.0)?,
        ..sizes.attention(biases)
    };
    let activation = fields.activation_or("hidden_act", Activation::Silu)?;
    let layer = LayerPlan::new(
        Order::PreNorm,
        (attention, norm("input_layernorm")),
        (sizes.feed_forward(activation, false), norm("post_attention_layernorm")),
    );
    let embeddings = EmbeddingsPlan::new(TablePlan::new("embed_tokens", sizes.limits.vocabulary, sizes.hidden));
    let mut stack = StackPlan::new(StackKind::Decoder, "layers", sizes.layers, layer);
    let window = match fields.flag("use_sliding_window")? {
        true => Some(fields.optional_size("sliding_window")?.unwrap_or(4096)),
        false => None,
    };
    let first = fields.index("max_window_layers", 28)?;
    let sliding = fields.sliding_layers(sizes.layers, |layer| window.is_some() && layer >= first)?;
    if window.is_none() && !sliding.is_empty() {
        let reason = "layer_types has sliding_attention, but use_sliding_window is false".to_owned();
        return Err(fields.inconsistent(reason));
    }
    stack.change(sliding, |layer| layer.attention.window = window);
    let (model_type, model_class) =
        if is_qwen3 { ("qwen3", "Qwen3ForCausalLM") } else { ("qwen2", "Qwen2ForCausalLM") };
    Ok(ModelPlan {
        prefix: "model.",
        names: interface::qwen(model_class),
        norm: Some(norm("norm")),
        output: Some(OutputPlan::new("lm_head", sizes.words(), fields.flag("tie_word_embeddings")?).inverting()),
        initializer_range: fields.positive("initializer_range", 0.02)?,
        row_position: RowPosition::LastToken,
        ..ModelPlan::new(model_type, sizes.limits, embeddings, stack)
    })
}
