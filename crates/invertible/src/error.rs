//! Errors of invertible adapters.

use thiserror::Error;

/// An invertible adapter that cannot be built.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum InvertibleError {
    /// The configuration has no invertible adapter.
    #[error("the configuration has no invertible adapter: set inv_adapter to 'nice' or 'glow'")]
    NotConfigured,
    /// A reduction factor is missing.
    #[error("inv_adapter needs inv_adapter_reduction_factor, which is not set: set it (2 is usual)")]
    NoReductionFactor,
    /// A reduction factor that does not give a valid width.
    #[error(
        "inv_adapter_reduction_factor must be a finite number above 0 and at most {half} (half of the hidden size \
         {hidden_size}), found {found}"
    )]
    BadReductionFactor {
        /// The factor.
        found: f64,
        /// The size of the embeddings.
        hidden_size: usize,
        /// Half of it.
        half: usize,
    },
    /// A size that cannot be halved.
    #[error("an invertible adapter splits the hidden states in halves, but their size {hidden_size} is odd")]
    OddHiddenSize {
        /// The size of the embeddings.
        hidden_size: usize,
    },
}
