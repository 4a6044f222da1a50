//! Errors of a forward pass.

use std::error::Error;
use std::sync::Arc;

use thiserror::Error;

use crate::BankError;

/// A forward pass that could not be computed.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum BaseError {
    /// An adapter does not fit the model or the batch.
    #[error(transparent)]
    Adapter(#[from] BankError),
    /// A batch without rows, or a row without tokens.
    #[error("the batch has {rows} rows, and needs at least one, each of at least one token")]
    Empty {
        /// The number of rows.
        rows: usize,
    },
    /// A row that is longer than the model allows.
    #[error("a row has {length} tokens, but the model takes at most {max}: truncate it")]
    TooLong {
        /// The length of the row.
        length: usize,
        /// The longest row allowed.
        max: usize,
    },
    /// A token that the model does not have.
    #[error("token {id} is not in the vocabulary, which has {vocabulary} tokens, numbered from 0")]
    UnknownToken {
        /// The token.
        id: u32,
        /// The size of the vocabulary.
        vocabulary: usize,
    },
    /// A token type that the model does not have.
    #[error("token type {id} does not exist: the model has {token_types}, numbered from 0")]
    UnknownTokenType {
        /// The type.
        id: u32,
        /// The number of token types.
        token_types: usize,
    },
    /// A batch whose decoder has another number of rows.
    #[error("the batch has {rows} rows, but {found} for the decoder")]
    DecoderRows {
        /// The number of rows.
        rows: usize,
        /// The number of rows for the decoder.
        found: usize,
    },
    /// A batch with rows for a decoder, for a model of one stack.
    #[error("the batch has rows for a decoder, but the model is not an encoder-decoder")]
    NoDecoder,
    /// A cache for a model without a decoder.
    #[error("the model has no decoder, whose keys and values a cache could hold")]
    NoCache,
    /// A cache with another number of rows.
    #[error("the cache has {rows} rows, but the batch has {found}")]
    CacheRows {
        /// The rows of the cache.
        rows: usize,
        /// The rows of the batch.
        found: usize,
    },
    /// Rows that cannot have caches of their own.
    #[error("rows cannot have caches of their own: {reason}")]
    SeparateCaches {
        /// Why.
        reason: &'static str,
    },
    /// An incomplete cache: a pass with it failed, or its rows were selected although they have gates of their own.
    #[error(
        "the cache is incomplete: a pass with it failed, or its rows were selected although the setup gives rows gated \
         adapters of their own; start again with an empty cache"
    )]
    BrokenCache,
    /// A model without a language-model head.
    #[error(
        "the model has no language-model head: its files hold the base model alone; use those of a model that was saved \
         with its head"
    )]
    NoOutputEmbeddings,
    /// Hidden states of another width.
    #[error("the hidden states have width {found}, but the model's have width {expected}")]
    HiddenSize {
        /// The width of the model's states.
        expected: usize,
        /// The width of the states.
        found: usize,
    },
    /// A model without token embeddings.
    #[error("the model has no token embeddings that a prompt could start from")]
    NoTokenEmbeddings,
    /// A model whose `run` did not call [`Pass::embeddings`](crate::Pass::embeddings).
    #[error("the model computed nothing: BaseModel::run must call Pass::embeddings, then Pass::layers")]
    NothingComputed,
    /// The model itself failed.
    #[error("the base model failed: {0}")]
    Model(Arc<dyn Error + Send + Sync>),
}

impl BaseError {
    /// An error of the model itself.
    pub fn model(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Model(Arc::from(error.into()))
    }
}
