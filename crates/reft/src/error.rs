//! Errors of ReFT interventions.

use thiserror::Error;

/// An intervention that cannot be built or applied.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum ReftError {
    /// A rank of 0 would change nothing.
    #[error("r must be at least 1, found 0: an intervention of rank 0 changes nothing")]
    ZeroRank,
    /// No positions to intervene on.
    #[error(
        "prefix_positions and suffix_positions are both 0: name at least one position to intervene on, as in \
         prefix_positions=3"
    )]
    NoPositions,
    /// More orthonormal rows than hidden states of this width allow.
    #[error(
        "orthogonality=True needs a rank below the width of the hidden states, found r={r} for a width of \
         {hidden_size}: lower r, or set orthogonality=False"
    )]
    OrthogonalRank {
        /// The rank.
        r: usize,
        /// The width of the hidden states.
        hidden_size: usize,
    },
    /// Stored reflectors whose signs are lost.
    #[error(
        "the stored projection is broken: the diagonal of `original` must be 1 or -1, found {found} in row {row}. \
         PyTorch's weight decay causes this, and PyTorch then treats the row as 0: train it again without weight \
         decay, or call Orthogonal::with_whole_signs to use the nearest sign"
    )]
    BrokenSign {
        /// The row.
        row: usize,
        /// The element on the diagonal.
        found: f32,
    },
}
