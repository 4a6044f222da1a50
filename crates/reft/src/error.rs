//! What can be wrong with an intervention.

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
    /// More orthonormal rows than the hidden states have room for.
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
    /// Stored reflectors that no longer say which sign their row has.
    #[error(
        "the stored projection is broken: the diagonal of `original` must be 1 or -1, found {found} in row {row}. This \
         happens where PyTorch trained it with weight decay, and PyTorch then takes the row for 0: train it again \
         without weight decay, or call Orthogonal::with_whole_signs to take the nearest sign"
    )]
    BrokenSign {
        /// The row.
        row: usize,
        /// What stands on the diagonal.
        found: f32,
    },
}
