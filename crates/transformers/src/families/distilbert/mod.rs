//! DistilBERT (Sanh et al., 2019, <https://arxiv.org/abs/1910.01108>): BERT without token types and pooler.

use burn_adapters_core::SiteName::Whole;
use burn_adapters_core::{AttentionNames, Place, SiteNames, StackKind, StackNames};
use burn_adapters_model::Limits;

use super::Family;
use super::bert::MaskedHead;
use crate::ModelConfigError;
use crate::fields::Fields;
use crate::plan::{
    AttentionPlan, Counting, EmbeddingsPlan, FeedForwardPlan, LayerPlan, LinearPlan, ModelPlan, NormPlan, Order,
    StackPlan, TablePlan,
};
use crate::tokenizer::Class;

pub(super) const DISTILBERT: Family = Family { model_types: &["distilbert"], tokenizer: |_| Class::Bert, plan };

const NAMES: SiteNames = SiteNames {
    model_class: Some("DistilBertAdapterModel"),
    prefix: Some("distilbert"),
    stacks: &[StackNames {
        kind: StackKind::Encoder,
        root: "",
        layer: "transformer.layer.{}",
        places: &[
            (Place::Query, Whole("attention.q_lin")),
            (Place::Key, Whole("attention.k_lin")),
            (Place::Value, Whole("attention.v_lin")),
            (Place::AttentionOutput, Whole("attention.out_lin")),
            (Place::FeedForwardUp, Whole("ffn.lin1")),
            (Place::FeedForwardDown, Whole("ffn.lin2")),
            (Place::Attention, Whole("attention_adapters")),
            (Place::FeedForward, Whole("output_adapters")),
            (Place::Layer, Whole("reft_layer")),
        ],
        attentions: &[AttentionNames { place: Place::Attention, module: "attention", prefix_key: Some("self") }],
    }],
    ..SiteNames::OWN
};

/// The epsilon of every norm, which no key changes.
const EPSILON: f64 = 1e-12;

const HEAD: MaskedHead = MaskedHead {
    dense: "vocab_transform",
    norm: "vocab_layer_norm",
    decoder: "vocab_projector",
    bias: &["vocab_projector.bias"],
};

fn plan(fields: &Fields<'_>) -> Result<ModelPlan, ModelConfigError> {
    for key in ["pruned_heads", "quantization_config"] {
        fields.absent(key)?;
    }
    let vocabulary = fields.optional_size("vocab_size")?.unwrap_or(30_522);
    let sequence = fields.optional_size("max_position_embeddings")?.unwrap_or(512);
    let layers = fields.optional_size("n_layers")?.unwrap_or(6);
    let heads = fields.optional_size("n_heads")?.unwrap_or(12);
    let hidden = fields.optional_size("dim")?.unwrap_or(768);
    let intermediate = fields.optional_size("hidden_dim")?.unwrap_or(4 * 768);
    let pad_id = fields.index("pad_token_id", 0)?;
    let dropout = fields.probability("dropout", 0.1)?;
    fields.check_layers("n_layers", layers)?;
    fields.check_heads(("dim", hidden), ("n_heads", heads))?;
    fields.check_padding(pad_id, vocabulary)?;
    let square = |name| LinearPlan::new(name, hidden, hidden);
    let norm = |name| NormPlan::new(name, hidden, EPSILON);
    let attention = AttentionPlan {
        dropout: fields.probability("attention_dropout", 0.1)?,
        ..AttentionPlan::new(
            ["attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin"].map(square),
            heads,
        )
    };
    let (up, down) =
        (LinearPlan::new("ffn.lin1", hidden, intermediate), LinearPlan::new("ffn.lin2", intermediate, hidden));
    let activation = fields.activation("activation")?;
    let feed_forward = FeedForwardPlan { dropout, ..FeedForwardPlan::new(up, down, activation) };
    let layer =
        LayerPlan::new(Order::PostNorm, (attention, norm("sa_layer_norm")), (feed_forward, norm("output_layer_norm")));
    let embeddings = EmbeddingsPlan {
        positions: Some((TablePlan::new("embeddings.position_embeddings", sequence, hidden), Counting::FromZero)),
        norm: Some(norm("embeddings.LayerNorm")),
        dropout,
        ..EmbeddingsPlan::new(TablePlan::new("embeddings.word_embeddings", vocabulary, hidden))
    };
    let limits = Limits { vocabulary, token_types: 1, sequence, pad_id: pad_id as u32 };
    let stack = StackPlan::new(StackKind::Encoder, "transformer.layer", layers, layer);
    let is_tied = fields.flag_or("tie_word_embeddings", true)?;
    Ok(ModelPlan {
        output: Some(HEAD.plan([vocabulary, hidden, hidden], activation, EPSILON, is_tied)),
        prefix: "distilbert.",
        names: NAMES,
        initializer_range: fields.positive("initializer_range", 0.02)?,
        head_dropout: fields.probability("seq_classif_dropout", 0.2)?,
        ..ModelPlan::new("distilbert", limits, embeddings, stack)
    })
}
