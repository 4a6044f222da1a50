//! BERT, and the families that share its code: RoBERTa, XLM-RoBERTa and ELECTRA.

mod config;
mod names;

pub use config::{BertConfig, BertFamily};

use super::Family;

/// The four families.
pub(super) const BERT: Family = Family {
    model_types: &["bert", "roberta", "xlm-roberta", "electra"],
    plan: |fields| Ok(BertConfig::from_fields(fields)?.plan()),
};
