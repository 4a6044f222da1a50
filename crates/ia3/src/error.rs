//! What can be wrong with an (IA)³ module.

use thiserror::Error;

/// An (IA)³ module that cannot be built or merged.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum Ia3Error {
    /// A vector has rank 1.
    #[error("(IA)³ scales by one vector, so r must be 1, found {found}")]
    Rank {
        /// The rank that was asked for.
        found: usize,
    },
    /// There is nothing to drop out.
    #[error("(IA)³ has no input of its own to drop out, so dropout must be 0, found {found}")]
    Dropout {
        /// The dropout that was asked for.
        found: f64,
    },
    /// DoRA decomposes a sum.
    #[error("use_dora=True needs composition_mode='add'; (IA)³ scales: drop one of them")]
    Dora,
    /// The gate depends on the input, so no single weight can stand for it.
    #[error("an (IA)³ with use_gating=True cannot be merged: its gate depends on the input; run it unmerged")]
    MergeWithGate,
    /// The matrix to merge into has another shape.
    #[error("cannot merge an (IA)³ vector of {expected} outputs into a matrix of {found}")]
    Shape {
        /// Outputs of the module.
        expected: usize,
        /// Outputs of the matrix.
        found: usize,
    },
}
