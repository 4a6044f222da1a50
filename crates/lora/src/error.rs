//! Errors of LoRA modules.

use thiserror::Error;

/// A LoRA module that cannot be built or merged.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum LoraError {
    /// A rank of 0 would train nothing.
    #[error("r must be at least 1, found 0: a LoRA of rank 0 trains nothing")]
    ZeroRank,
    /// This module adds its update; `composition_mode = 'scale'` belongs to (IA)³.
    #[error("LoRA adds its update (composition_mode='add'); composition_mode='scale' belongs to (IA)³: use `ia3`")]
    NotAdditive,
    /// The configuration belongs to MTL-LoRA.
    #[error("the configuration has none of MTL-LoRA's keys (n_up_projection, …): use `mtl_lora`")]
    NotMtl,
    /// DoRA's magnitude must still be set from the base weight.
    #[error(
        "the magnitude of this DoRA module was not set: it starts from the norms of the base weight, so add \
         the adapter together with the model, or read it from a file"
    )]
    MagnitudeNotSet,
    /// The gate depends on the input, so there is no weight that replaces it.
    #[error("a LoRA with use_gating=True cannot be merged: its gate depends on the input; run it unmerged")]
    MergeWithGate,
    /// A trained bias has no place in a layer without one.
    #[error("a LoRA with a trained bias (`bias`) cannot be merged into a layer without a bias; run it unmerged")]
    MergeBias,
    /// The matrix to merge into has another shape.
    #[error("cannot merge a LoRA for a matrix of shape {expected:?} into one of shape {found:?}")]
    Shape {
        /// `[d_input, d_output]` of the module.
        expected: [usize; 2],
        /// `[d_input, d_output]` of the matrix.
        found: [usize; 2],
    },
}
