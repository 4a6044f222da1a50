//! BERT, and the families that share its code: RoBERTa, XLM-RoBERTa and ELECTRA.

mod config;
mod layers;
mod names;
mod output;

pub use config::{BertConfig, BertFamily};
pub(super) use layers::{BertLayers, check_supported, cross_attention};
pub(super) use names::{CROSS_NAMES, NAMES, places};
pub(super) use output::{BERT_HEAD, MaskedHead, ROBERTA_HEAD};

use super::Family;
use crate::tokenizer::Class;

/// The four families.
pub(super) const BERT: Family = Family {
    model_types: &["bert", "roberta", "xlm-roberta", "electra"],
    tokenizer: |model_type| match BertFamily::from_model_type(model_type) {
        Some(BertFamily::Roberta) => Class::Roberta,
        Some(BertFamily::XlmRoberta) => Class::XlmRoberta,
        Some(BertFamily::Bert | BertFamily::Electra) | None => Class::Bert,
    },
    plan: |fields| Ok(BertConfig::from_fields(fields)?.plan()),
};
