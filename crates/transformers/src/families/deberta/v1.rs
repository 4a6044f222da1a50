//! DeBERTa: query, key and value in one matrix, interleaved by head.
//!
//! The Python library adds LoRA to this matrix as if query, key and value were one after the other. Here they have LoRA
//! of their own, under names of ours; files of the library are converted when they are read
//! ([`SiteNames::fused_by_head`]).

use burn_adapters_core::SiteNames;

use super::keys::{Keys, UNUSED};
use crate::ModelConfigError;
use crate::families::{Family, bert};
use crate::fields::Fields;
use crate::plan::{
    AttentionPlan, DistancesPlan, LinearPlan, ModelPlan, Part, PositionsPlan, ProjectionPlan, StackPlan, Storage,
};
use crate::tokenizer::Class;

pub(in crate::families) const DEBERTA: Family =
    Family { model_types: &["deberta"], tokenizer: |_| Class::Deberta, plan };

const NAMES: SiteNames = SiteNames {
    model_class: Some("DebertaAdapterModel"),
    prefix: Some("deberta"),
    fused_by_head: Some("attention.self.in_proj"),
    ..bert::NAMES
};

fn plan(fields: &Fields<'_>) -> Result<ModelPlan, ModelConfigError> {
    let Keys { layers, embeddings, limits, output, initializer_range, attention } =
        Keys::read(fields, 50_265, [768, 12, 12, 3072])?;
    let (hidden, heads) = (layers.hidden, layers.heads);
    let square = |name| LinearPlan::new(name, hidden, hidden);
    let part = |index| {
        let part = Some(Part { heads, ..Part::new(index, 3) });
        square("attention.self.in_proj").with_bias(false).stored(Storage { part, ..Storage::default() })
    };
    let own = |compares: bool, plan: LinearPlan| compares.then_some(ProjectionPlan::Own(plan));
    let positions = PositionsPlan {
        keys: own(attention.c2p, square("attention.self.pos_proj").with_bias(false)),
        queries: own(attention.p2c, square("attention.self.pos_q_proj")),
    };
    let mut stack = layers.stack();
    stack.layer.attention = AttentionPlan {
        query: part(0),
        key: part(1),
        value: part(2),
        late_biases: Some(["attention.self.q_bias", "attention.self.v_bias"]),
        scale: Some(attention.scale(hidden / heads)),
        positions: attention.is_used.then_some(positions),
        isolates_padding: true,
        ..stack.layer.attention
    };
    let distances = DistancesPlan {
        table: attention.table(attention.positions, hidden),
        logarithmic: None,
        norm: None,
        dropout: layers.dropout,
    };
    let stack = StackPlan { distances: attention.is_used.then_some(distances), ..stack };
    Ok(ModelPlan {
        output: Some(output),
        prefix: "deberta.",
        names: NAMES,
        heads: UNUSED,
        initializer_range,
        head_dropout: layers.dropout,
        ..ModelPlan::new("deberta", limits, embeddings, stack)
    })
}
