//! Errors of PHM layers.

use thiserror::Error;

/// A PHM layer that cannot be built.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum CompacterError {
    /// A size that `phm_dim` does not divide.
    #[error(
        "a PHM layer divides its {what} by phm_dim, but {size} is not a multiple of {phm_dim}: choose another phm_dim, \
         or a reduction_factor that gives a multiple of it"
    )]
    NotDivisible {
        /// `input size` or `output size`.
        what: &'static str,
        /// The size.
        size: usize,
        /// The number of summands.
        phm_dim: usize,
    },
    /// A size of 0.
    #[error("{key} must be at least 1, found 0")]
    Zero {
        /// `phm_dim` or `phm_rank`.
        key: &'static str,
    },
}
