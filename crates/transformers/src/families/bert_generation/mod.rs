//! BertGeneration (Rothe et al., 2020, <https://arxiv.org/abs/1907.12461>): BERT without token types and pooler, here as an
//! encoder.

use burn_adapters_core::SiteNames;
use burn_adapters_model::Limits;

use super::Family;
use super::bert::{self, BertLayers, check_supported};
use crate::ModelConfigError;
use crate::fields::Fields;
use crate::plan::{BiasPlan, Counting, EmbeddingsPlan, ModelPlan, OutputPlan, TablePlan};
use crate::tokenizer::Class;

pub(super) const BERT_GENERATION: Family =
    Family { model_types: &["bert-generation"], tokenizer: |_| Class::BertGeneration, plan };

const NAMES: SiteNames =
    SiteNames { model_class: Some("BertGenerationAdapterModel"), prefix: Some("bert"), ..bert::NAMES };

fn plan(fields: &Fields<'_>) -> Result<ModelPlan, ModelConfigError> {
    check_supported(fields)?;
    let vocabulary = fields.optional_size("vocab_size")?.unwrap_or(50_358);
    let sequence = fields.optional_size("max_position_embeddings")?.unwrap_or(512);
    let pad_id = fields.index("pad_token_id", 0)?;
    fields.check_padding(pad_id, vocabulary)?;
    let layers = BertLayers::from_fields(fields, [1024, 24, 16, 4096], 1e-12)?;
    let embedding = |name, rows| TablePlan::new(name, rows, layers.hidden);
    let embeddings = EmbeddingsPlan {
        positions: Some((embedding("embeddings.position_embeddings", sequence), Counting::FromZero)),
        norm: Some(layers.norm("embeddings.LayerNorm")),
        dropout: layers.dropout,
        ..EmbeddingsPlan::new(embedding("embeddings.word_embeddings", vocabulary))
    };
    let limits = Limits { vocabulary, token_types: 1, sequence, pad_id: pad_id as u32 };
    let is_tied = fields.flag_or("tie_word_embeddings", true)?;
    let output = OutputPlan::new("lm_head.decoder", [vocabulary, layers.hidden], is_tied);
    Ok(ModelPlan {
        output: Some(OutputPlan { bias: BiasPlan::Required(&["lm_head.bias", "lm_head.decoder.bias"]), ..output }),
        prefix: "bert.",
        names: NAMES,
        initializer_range: fields.positive("initializer_range", 0.02)?,
        head_epsilon: layers.epsilon,
        head_dropout: layers.dropout,
        ..ModelPlan::new("bert-generation", limits, embeddings, layers.stack())
    })
}
