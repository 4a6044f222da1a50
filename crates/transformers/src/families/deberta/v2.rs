//! DeBERTa v2 and v3 (<https://arxiv.org/abs/2111.09543>): logarithmic buckets of distances, and in the largest models a
//! convolution beside the first layer.

use burn_adapters_core::{Activation, SiteNames, StackNames};

use super::keys::{Keys, UNUSED};
use crate::ModelConfigError;
use crate::families::Family;
use crate::families::bert::{self, BertLayers};
use crate::fields::Fields;
use crate::plan::{
    AttentionPlan, ConvolutionPlan, DistancesPlan, LinearPlan, ModelPlan, PositionsPlan, ProjectionPlan, StackPlan,
};
use crate::tokenizer::Class;

pub(in crate::families) const DEBERTA_V2: Family =
    Family { model_types: &["deberta-v2"], tokenizer: |_| Class::DebertaV2, plan };

const PROJECTIONS: [&str; 3] = ["attention.self.query_proj", "attention.self.key_proj", "attention.self.value_proj"];

const NAMES: SiteNames = SiteNames {
    model_class: Some("DebertaV2AdapterModel"),
    prefix: Some("deberta"),
    stacks: &[StackNames { places: &bert::places(PROJECTIONS), ..bert::NAMES.stacks[0] }],
    ..bert::NAMES
};

fn plan(fields: &Fields<'_>) -> Result<ModelPlan, ModelConfigError> {
    let Keys { layers, embeddings, limits, output, initializer_range, attention } =
        Keys::read(fields, 128_100, [1536, 24, 24, 6144])?;
    let (hidden, head) = (layers.hidden, layers.hidden / layers.heads);
    if let Some(width) = fields.optional_size("attention_head_size")?.filter(|width| *width != head) {
        let supported = format!("{head}, hidden_size / num_attention_heads");
        return Err(fields.unsupported("attention_head_size", width.to_string(), supported));
    }
    let buckets = fields.bound("position_buckets")?;
    let is_normed = fields.alternatives("norm_rel_ebd")?.iter().any(|kind| kind == "layer_norm");
    let shares = fields.flag("share_att_key")?;
    let square = |name| LinearPlan::new(name, hidden, hidden);
    let projection = |name| match shares {
        true => ProjectionPlan::Shared,
        false => ProjectionPlan::Own(square(name)),
    };
    let positions = PositionsPlan {
        keys: attention.c2p.then(|| projection("attention.self.pos_key_proj")),
        queries: attention.p2c.then(|| projection("attention.self.pos_query_proj")),
    };
    let [query, key, value] = PROJECTIONS.map(square);
    let mut stack = layers.stack();
    stack.layer.attention = AttentionPlan {
        query,
        key,
        value,
        scale: Some(attention.scale(head)),
        positions: attention.is_used.then_some(positions),
        isolates_padding: true,
        ..stack.layer.attention
    };
    let distances = DistancesPlan {
        table: attention.table(buckets.unwrap_or(attention.positions), hidden),
        logarithmic: buckets.map(|_| attention.positions),
        norm: is_normed.then(|| layers.norm("encoder.LayerNorm")),
        dropout: layers.dropout,
    };
    let stack = StackPlan {
        distances: attention.is_used.then_some(distances),
        convolution: convolution(fields, &layers)?,
        ..stack
    };
    Ok(ModelPlan {
        output: Some(output),
        prefix: "deberta.",
        names: NAMES,
        heads: UNUSED,
        initializer_range,
        head_dropout: layers.dropout,
        ..ModelPlan::new("deberta-v2", limits, embeddings, stack)
    })
}

fn convolution(fields: &Fields<'_>, layers: &BertLayers) -> Result<Option<ConvolutionPlan>, ModelConfigError> {
    let kernel = fields.index("conv_kernel_size", 0)?;
    if kernel == 0 {
        return Ok(None);
    }
    if kernel.is_multiple_of(2) {
        return Err(fields.unsupported("conv_kernel_size", kernel.to_string(), "an odd number"));
    }
    let groups = fields.optional_size("conv_groups")?.unwrap_or(1);
    fields.check_heads(("hidden_size", layers.hidden), ("conv_groups", groups))?;
    Ok(Some(ConvolutionPlan {
        name: "encoder.conv.conv",
        hidden: layers.hidden,
        kernel,
        groups,
        activation: fields.activation_or("conv_act", Activation::Tanh)?,
        norm: layers.norm("encoder.conv.LayerNorm"),
        dropout: layers.dropout,
    }))
}
