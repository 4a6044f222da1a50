//! Errors of prompt tuning.

use thiserror::Error;

/// A prompt that cannot be built or used.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum PromptError {
    /// A prompt without positions.
    #[error("prompt_length must be at least 1, found 0: an empty prompt trains nothing")]
    ZeroLength,
    /// A prompt from a text needs the text's embeddings.
    #[error(
        "prompt_init='from_string' starts from the embeddings of prompt_init_text: tokenize the text, look its tokens up \
         in the model's embedding and call PromptTuning::from_embeddings, or use prompt_init='random_uniform'"
    )]
    NeedsEmbeddings,
    /// The text has no tokens.
    #[error("the prompt's text has no tokens: prompt_init='from_string' needs at least one")]
    EmptyText,
    /// The width of the model's embeddings differs from the prompt's.
    #[error("the prompt has the width {expected}, but the embeddings have {found}")]
    Width {
        /// The prompt's width.
        expected: usize,
        /// The embeddings' width.
        found: usize,
    },
    /// There is no first token to put the prompt after.
    #[error(
        "combine='prefix_after_bos' puts the prompt after the first token, but the sequences are empty: pass at least \
         one token, or use combine='prefix'"
    )]
    NoFirstToken,
}
