//! Errors of (IA)³ modules.

use thiserror::Error;

/// An (IA)³ module that cannot be built or merged.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum Ia3Error {
    /// The rank must be 1.
    #[error("(IA)³ scales by one vector, so r must be 1, found {found}")]
    Rank {
        /// The requested rank.
        found: usize,
    },
    /// Dropout does not apply to (IA)³.
    #[error("(IA)³ scales an output and has no input to apply dropout to, so dropout must be 0, found {found}")]
    Dropout {
        /// The requested dropout.
        found: f64,
    },
    /// DoRA needs an additive update.
    #[error("use_dora=True needs composition_mode='add', but (IA)³ scales: drop one of them")]
    Dora,
    /// The gate depends on the input, so there is no weight that replaces it.
    #[error("an (IA)³ with use_gating=True cannot be merged: its gate depends on the input; run it unmerged")]
    MergeWithGate,
    /// The matrix to merge into has another shape.
    #[error("cannot merge an (IA)³ vector for {expected} outputs into a matrix with {found} outputs")]
    Shape {
        /// Outputs of the module.
        expected: usize,
        /// Outputs of the matrix.
        found: usize,
    },
}
