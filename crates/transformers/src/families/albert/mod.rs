//! ALBERT (Lan et al., 2020, <https://arxiv.org/abs/1909.11942>): BERT with narrow embeddings, whose steps share a few
//! layers.

use burn_adapters_core::SiteName::Whole;
use burn_adapters_core::{Activation, AttentionNames, Place, SiteNames, StackKind, StackNames};
use burn_adapters_model::Limits;

use super::Family;
use super::bert::{MaskedHead, check_supported};
use crate::ModelConfigError;
use crate::fields::Fields;
use crate::plan::{
    AttentionPlan, Counting, EmbeddingsPlan, FeedForwardPlan, LayerPlan, LinearPlan, ModelPlan, NormPlan, Order,
    Sharing, StackPlan, TablePlan,
};
use crate::tokenizer::Class;

pub(super) const ALBERT: Family = Family { model_types: &["albert"], tokenizer: |_| Class::Albert, plan };

const NAMES: SiteNames = SiteNames {
    model_class: Some("AlbertAdapterModel"),
    prefix: Some("albert"),
    stacks: &[StackNames {
        kind: StackKind::Encoder,
        root: "",
        layer: "encoder.albert_layer_groups.{}.albert_layers.{}",
        places: &[
            (Place::Query, Whole("attention.query")),
            (Place::Key, Whole("attention.key")),
            (Place::Value, Whole("attention.value")),
            (Place::AttentionOutput, Whole("attention.dense")),
            (Place::FeedForwardUp, Whole("ffn")),
            (Place::FeedForwardDown, Whole("ffn_output")),
            (Place::Attention, Whole("attention.attention_adapters")),
            (Place::FeedForward, Whole("output_adapters")),
            (Place::Layer, Whole("reft_layer")),
        ],
        attentions: &[AttentionNames { place: Place::Attention, module: "attention", prefix_key: None }],
    }],
    ..SiteNames::OWN
};

const HEAD: MaskedHead = MaskedHead {
    dense: "predictions.dense",
    norm: "predictions.LayerNorm",
    decoder: "predictions.decoder",
    bias: &["predictions.bias", "predictions.decoder.bias"],
};

fn plan(fields: &Fields<'_>) -> Result<ModelPlan, ModelConfigError> {
    check_supported(fields)?;
    let vocabulary = fields.optional_size("vocab_size")?.unwrap_or(30_000);
    let embedding = fields.optional_size("embedding_size")?.unwrap_or(128);
    let hidden = fields.optional_size("hidden_size")?.unwrap_or(4096);
    let heads = fields.optional_size("num_attention_heads")?.unwrap_or(64);
    let intermediate = fields.optional_size("intermediate_size")?.unwrap_or(16_384);
    let sequence = fields.optional_size("max_position_embeddings")?.unwrap_or(512);
    let token_types = fields.optional_size("type_vocab_size")?.unwrap_or(2);
    let pad_id = fields.index("pad_token_id", 0)?;
    let epsilon = fields.positive("layer_norm_eps", 1e-12)?;
    let dropout = fields.probability("hidden_dropout_prob", 0.0)?;
    fields.check_heads(("hidden_size", hidden), ("num_attention_heads", heads))?;
    fields.check_padding(pad_id, vocabulary)?;
    let repeated = fields.optional_size("num_hidden_layers")?.unwrap_or(12);
    let groups = fields.optional_size("num_hidden_groups")?.unwrap_or(1);
    let layers_per_group = fields.optional_size("inner_group_num")?.unwrap_or(1);
    fields.check_layers("num_hidden_layers x inner_group_num", repeated.saturating_mul(layers_per_group))?;
    fields.check_layers("num_hidden_groups x inner_group_num", groups.saturating_mul(layers_per_group))?;

    let square = |name| LinearPlan::new(name, hidden, hidden);
    let norm = |name| NormPlan::new(name, hidden, epsilon);
    let names = ["attention.query", "attention.key", "attention.value", "attention.dense"];
    let attention = AttentionPlan {
        dropout: fields.probability("attention_probs_dropout_prob", 0.0)?,
        output_dropout: dropout,
        ..AttentionPlan::new(names.map(square), heads)
    };
    let (up, down) =
        (LinearPlan::new("ffn", hidden, intermediate), LinearPlan::new("ffn_output", intermediate, hidden));
    let activation = fields.activation_or("hidden_act", Activation::GeluNew)?;
    let feed_forward = FeedForwardPlan::new(up, down, activation);
    let layer = LayerPlan::new(
        Order::PostNormSwapped,
        (attention, norm("attention.LayerNorm")),
        (feed_forward, norm("full_layer_layer_norm")),
    );
    let table = |name, rows| TablePlan::new(name, rows, embedding);
    let embeddings = EmbeddingsPlan {
        positions: Some((table("embeddings.position_embeddings", sequence), Counting::FromZero)),
        token_types: Some(table("embeddings.token_type_embeddings", token_types)),
        norm: Some(NormPlan::new("embeddings.LayerNorm", embedding, epsilon)),
        projection: Some(LinearPlan::new("encoder.embedding_hidden_mapping_in", embedding, hidden)),
        dropout,
        ..EmbeddingsPlan::new(table("embeddings.word_embeddings", vocabulary))
    };
    let limits = Limits { vocabulary, token_types, sequence, pad_id: pad_id as u32 };
    let stack = StackPlan {
        sharing: Some(Sharing { layers_per_group, steps: steps(repeated, groups, layers_per_group) }),
        ..StackPlan::new(
            StackKind::Encoder,
            "encoder.albert_layer_groups.{}.albert_layers",
            groups * layers_per_group,
            layer,
        )
    };
    let is_tied = fields.flag_or("tie_word_embeddings", true)?;
    Ok(ModelPlan {
        output: Some(HEAD.plan([vocabulary, hidden, embedding], activation, epsilon, is_tied)),
        prefix: "albert.",
        names: SiteNames { layers_per_group, ..NAMES },
        pooler: Some(square("pooler")),
        initializer_range: fields.positive("initializer_range", 0.02)?,
        head_epsilon: epsilon,
        head_dropout: fields.probability("classifier_dropout_prob", 0.1)?,
        ..ModelPlan::new("albert", limits, embeddings, stack)
    })
}

/// The layer of each step: each repetition runs all layers of its group.
fn steps(repeated: usize, groups: usize, layers_per_group: usize) -> Vec<usize> {
    // In floating point, as the reference divides.
    let of_group = repeated as f64 / groups as f64;
    let group = |repetition: usize| ((repetition as f64 / of_group) as usize).min(groups.saturating_sub(1));
    (0..repeated)
        .flat_map(|repetition| (0..layers_per_group).map(move |layer| group(repetition) * layers_per_group + layer))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_are_divided_among_the_groups() {
        assert_eq!(steps(3, 1, 1), [0, 0, 0]);
        assert_eq!(steps(4, 2, 1), [0, 0, 1, 1]);
        assert_eq!(steps(4, 2, 2), [0, 1, 0, 1, 2, 3, 2, 3]);
        assert_eq!(steps(5, 2, 1), [0, 0, 0, 1, 1]);
    }
}
