//! Weights of inputs.

use crate::MergeError;

/// Pairs each adapter or head with its weight. Without weights all get the same weight, with a sum of 1.
///
/// ```
/// use burn_adapters_merging::{MergeError, with_weights};
///
/// assert_eq!(with_weights(vec!["a", "b"], None)?, [("a", 0.5), ("b", 0.5)]);
/// assert_eq!(with_weights(vec!["a", "b"], Some(&[1.0, -0.3]))?, [("a", 1.0), ("b", -0.3)]);
/// assert_eq!(with_weights(vec!["a"], Some(&[])), Err(MergeError::WeightCount { inputs: 1, weights: 0 }));
/// # Ok::<(), MergeError>(())
/// ```
///
/// # Errors
/// If there are no inputs, or the number of weights is not the number of inputs.
pub fn with_weights<T>(folders: Vec<T>, weights: Option<&[f64]>) -> Result<Vec<(T, f64)>, MergeError> {
    let inputs = folders.len();
    match weights {
        _ if inputs == 0 => Err(MergeError::NoInputs),
        Some(weights) if weights.len() != inputs => Err(MergeError::WeightCount { inputs, weights: weights.len() }),
        Some(weights) => Ok(folders.into_iter().zip(weights.iter().copied()).collect()),
        None => Ok(folders.into_iter().map(|folder| (folder, 1.0 / inputs as f64)).collect()),
    }
}
