//! Errors of generation.

use burn_adapters_model::BaseError;
use thiserror::Error;

/// An error of the function that computes logits.
pub type LogitsError = Box<dyn std::error::Error + Send + Sync>;

/// A failed generation.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum GenerateError {
    /// An option that is out of range.
    #[error("{option} is {found}, but must be {expected}")]
    BadOption {
        /// The option.
        option: &'static str,
        /// The allowed values.
        expected: &'static str,
        /// The value.
        found: String,
    },
    /// A pass of the model failed.
    #[error(transparent)]
    Model(#[from] BaseError),
    /// The logits could not be computed.
    #[error("the logits of the next token could not be computed: {0}")]
    Logits(#[source] LogitsError),
    /// Logits of another shape than one row for each row of the batch.
    #[error("expected logits of {rows} rows with at least one token, found {found:?}")]
    Shape {
        /// The rows of the batch.
        rows: usize,
        /// The shape of the logits.
        found: [usize; 2],
    },
    /// A logit that is NaN or infinite.
    #[error("a logit of row {row} is NaN or infinite: the weights or the adapter are broken")]
    NotFinite {
        /// The row.
        row: usize,
    },
    /// The values of a tensor could not be read.
    #[error("the logits could not be read from the device: {0}")]
    Device(String),
    /// A setup whose output has more rows than the batch.
    #[error(
        "the setup computes {found} rows of a batch of {rows}: the branches of a Parallel cannot continue one text; \
         generate with each of them, or route rows to them"
    )]
    Branches {
        /// The rows of the batch.
        rows: usize,
        /// The rows of the output.
        found: usize,
    },
    /// A prompt that leaves no room for a new token.
    #[error("row {row} has {length} tokens, and the model takes at most {max}: there is no room for a new one")]
    NoRoom {
        /// The row.
        row: usize,
        /// Its length.
        length: usize,
        /// The longest sequence.
        max: usize,
    },
    /// A model without a decoder.
    #[error("the model has no decoder: only decoders and encoder-decoders generate text")]
    NoDecoder,
    /// A model that is not a decoder alone.
    #[error("texts that join and leave a batch need a decoder without an encoder")]
    NotADecoder,
    /// A text that cannot take a step with others.
    #[error("a step reads one token of each text, but text {row} has {found} that are not read")]
    Unread {
        /// The number of the text.
        row: usize,
        /// Its unread tokens.
        found: usize,
    },
    /// An encoder-decoder model without a known first token of the decoder.
    #[error("the decoder needs a first token: give it the rows of the batch (TokenBatch::with_decoder)")]
    NoStart,
}
