//! Errors of heads.

use burn_adapters_core::TooLarge;
use thiserror::Error;

/// A head that cannot be built, read or used.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum HeadError {
    /// A value out of range.
    #[error("{key} of a head must be {expected}, found {found}")]
    BadValue {
        /// The key of the configuration.
        key: &'static str,
        /// The allowed values.
        expected: &'static str,
        /// The value.
        found: String,
    },
    /// A head type that this version does not have.
    #[error("the head type `{found}` is not supported; supported are `{}`", crate::HeadType::names().join("`, `"))]
    UnknownType {
        /// The head type.
        found: String,
    },
    /// Label names that do not fit the number of labels.
    #[error("the label `{label}` has the number {id}, but {reason}")]
    BadLabel {
        /// The label's name.
        label: String,
        /// Its number.
        id: usize,
        /// What is wrong.
        reason: String,
    },
    /// JSON that is not a head configuration.
    #[error("not a head configuration: {reason}")]
    Json {
        /// What is wrong.
        reason: String,
    },
    /// The head reads the pooled output, but the model has no pooler.
    #[error("this head reads the model's pooled output (use_pooler), but the model has none")]
    NoPooledOutput,
    /// A head whose last layer is the model's table of word embeddings, which was not set yet.
    #[error(
        "the last layer of this head is the model's table of word embeddings, which it does not have yet: call \
         AdapterBank::tie_heads with the model"
    )]
    NotTied,
    /// A head that is the model's own output layer, without the model.
    #[error("this head is the model's own output layer: AdapterBank::token_logits computes it with the model")]
    OfModel,
    /// More parameters than fit into memory.
    #[error(transparent)]
    TooLarge(#[from] Box<TooLarge>),
    /// Hidden states of the wrong shape.
    #[error("the head was built for {expected}, found {found}")]
    Shape {
        /// The expected shape.
        expected: String,
        /// The shape.
        found: String,
    },
    /// Labels of the wrong kind.
    #[error("this is a {task} head, which learns from {expected}, found {found}")]
    WrongLabels {
        /// The head's task.
        task: &'static str,
        /// The targets that it learns from.
        expected: &'static str,
        /// The targets that it was given.
        found: &'static str,
    },
    /// The number of labels differs from the number of rows.
    #[error("there are {rows} rows of logits and {labels} labels")]
    LabelCount {
        /// The number of rows.
        rows: usize,
        /// The number of labels.
        labels: usize,
    },
    /// A label that the head does not have.
    #[error("row {row} has the label {label}, but the head has {labels} labels, numbered from 0")]
    LabelOutOfRange {
        /// The row of the batch, from 0.
        row: usize,
        /// The label.
        label: usize,
        /// The number of labels.
        labels: usize,
    },
}
