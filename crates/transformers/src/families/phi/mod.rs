//! Phi 1, 1.5 and 2 (Li et al., 2023, <https://arxiv.org/abs/2309.05463>): a decoder whose attention and feed-forward block
//! read one norm of the layer's input, with positions rotated in a part of each head.

use burn_adapters_core::SiteName::Whole;
use burn_adapters_core::{Activation, AttentionNames, Place, RowPosition, SiteNames, StackKind, StackNames};
use burn_adapters_model::Rotary;

use super::Family;
use super::llama::{Defaults, LlamaLayers};
use crate::ModelConfigError;
use crate::fields::Fields;
use crate::plan::{
    AttentionPlan, BiasPlan, EmbeddingsPlan, FeedForwardPlan, LayerPlan, LinearPlan, ModelPlan, NormPlan, Order,
    OutputPlan, StackPlan, TablePlan,
};
use crate::tokenizer::Class;

pub(super) const PHI: Family = Family { model_types: &["phi"], tokenizer: |_| Class::Gpt2, plan };

const NAMES: SiteNames = SiteNames {
    model_class: Some("PhiForCausalLM"),
    prefix: Some("model"),
    stacks: &[StackNames {
        kind: StackKind::Decoder,
        root: "",
        layer: "layers.{}",
        places: &[
            (Place::Query, Whole("self_attn.q_proj")),
            (Place::Key, Whole("self_attn.k_proj")),
            (Place::Value, Whole("self_attn.v_proj")),
            (Place::AttentionOutput, Whole("self_attn.dense")),
            (Place::FeedForwardUp, Whole("mlp.fc1")),
            (Place::FeedForwardDown, Whole("mlp.fc2")),
            (Place::Attention, Whole("attention_adapters")),
            (Place::FeedForward, Whole("output_adapters")),
            (Place::Layer, Whole("reft_layer")),
        ],
        attentions: &[AttentionNames { place: Place::Attention, module: "self_attn", prefix_key: None }],
    }],
    interface: &[
        ("attn_k_proj", "k_proj"),
        ("attn_o_proj", "dense"),
        ("attn_q_proj", "q_proj"),
        ("attn_v_proj", "v_proj"),
        ("layer_intermediate_proj", "mlp.fc1"),
        ("layer_output_proj", "mlp.fc2"),
        ("layer_pre_self_attn", "input_layernorm"),
        ("layer_self_attn", "self_attn"),
        ("model_embeddings", "embed_tokens"),
        ("model_layers", "layers"),
    ],
    ..SiteNames::OWN
};

fn plan(fields: &Fields<'_>) -> Result<ModelPlan, ModelConfigError> {
    let sizes = LlamaLayers::from_fields(fields, &Defaults { sequence: 2048, ..Defaults::default() })?;
    let epsilon = fields.positive("layer_norm_eps", 1e-5)?;
    let dropout = fields.probability("resid_pdrop", 0.0)?;
    let norm = |name| NormPlan::new(name, sizes.hidden, epsilon);
    let head_norm = |name| NormPlan::new(name, sizes.head_dim, epsilon);
    let attention = sizes.attention([true; 2]);
    let attention = AttentionPlan {
        output: LinearPlan { name: "self_attn.dense", ..attention.output.clone() },
        rotary: Some(rotary(fields, sizes.head_dim, sizes.limits.sequence)?),
        head_norms: (fields.flag("qk_layernorm")?)
            .then(|| ["self_attn.q_layernorm", "self_attn.k_layernorm"].map(head_norm)),
        dropout: fields.probability("attention_dropout", 0.0)?,
        output_dropout: dropout,
        ..attention
    };
    let up = LinearPlan::new("mlp.fc1", sizes.hidden, sizes.intermediate);
    let down = LinearPlan::new("mlp.fc2", sizes.intermediate, sizes.hidden);
    let activation = fields.activation_or("hidden_act", Activation::GeluNew)?;
    let feed_forward = FeedForwardPlan { dropout, ..FeedForwardPlan::new(up, down, activation) };
    let layer = LayerPlan::parallel(Order::ParallelProjected, (attention, norm("input_layernorm")), feed_forward);
    let embeddings = EmbeddingsPlan {
        late_dropout: fields.probability("embd_pdrop", 0.0)?,
        ..EmbeddingsPlan::new(TablePlan::new("embed_tokens", sizes.limits.vocabulary, sizes.hidden))
    };
    let output = OutputPlan::new("lm_head", sizes.words(), fields.flag("tie_word_embeddings")?).inverting();
    let stack = StackPlan::new(StackKind::Decoder, "layers", sizes.layers, layer);
    Ok(ModelPlan {
        prefix: "model.",
        names: NAMES,
        norm: Some(norm("final_layernorm")),
        output: Some(OutputPlan { bias: BiasPlan::Required(&["lm_head.bias"]), ..output }),
        initializer_range: fields.positive("initializer_range", 0.02)?,
        row_position: RowPosition::LastToken,
        ..ModelPlan::new("phi", sizes.limits, embeddings, stack)
    })
}

/// The positions of a part of each head.
fn rotary(fields: &Fields<'_>, head_dim: usize, positions: usize) -> Result<Rotary, ModelConfigError> {
    let part = fields.probability("partial_rotary_factor", 0.5)?;
    let dims = (head_dim as f64 * part) as usize;
    if dims == 0 {
        let reason = format!("partial_rotary_factor ({part}) leaves nothing of heads of {head_dim} to rotate");
        return Err(fields.inconsistent(reason));
    }
    fields.rotary(dims, 10_000.0, positions)
}
