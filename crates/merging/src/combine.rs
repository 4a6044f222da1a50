//! Operations on the values of one parameter.

use crate::{MajoritySign, MergeError};

/// `Σ wᵢ θᵢ`. Inputs of weight 0 are skipped, so that the weights (1, 0) return the first input bit for bit.
pub(crate) fn linear(tensors: &[&[f32]], weights: &[f64]) -> Vec<f32> {
    let mut counting = tensors.iter().zip(weights).filter(|(_, weight)| **weight != 0.0);
    let Some((first, weight)) = counting.next() else {
        return vec![0.0; tensors.first().map_or(0, |tensor| tensor.len())];
    };
    let mut sum: Vec<f64> = first.iter().map(|value| weight * f64::from(*value)).collect();
    for (tensor, weight) in counting {
        for (sum, value) in sum.iter_mut().zip(*tensor) {
            *sum += weight * f64::from(*value);
        }
    }
    sum.into_iter().map(|value| value as f32).collect()
}

/// `Σ wᵢ τᵢ` of task vectors.
pub(crate) fn sum(tasks: &[Vec<f64>], weights: &[f64]) -> Vec<f64> {
    let count = tasks.first().map_or(0, Vec::len);
    (0..count).map(|at| tasks.iter().zip(weights).map(|(task, weight)| weight * task[at]).sum()).collect()
}

/// Keeps the `⌊density · n⌋` values of the largest magnitude (the earlier of two equal ones) and sets the others to 0.
pub(crate) fn trim(task: &mut [f64], density: f64) {
    if density >= 1.0 {
        return;
    }
    let keep = (density * task.len() as f64) as usize;
    let mut order: Vec<usize> = (0..task.len()).collect();
    order.sort_by(|a, b| task[*b].abs().total_cmp(&task[*a].abs()).then(a.cmp(b)));
    for at in order.into_iter().skip(keep) {
        task[at] = 0.0;
    }
}

/// Keeps the values where the mask is true, divided by the density.
pub(crate) fn drop_and_rescale(task: &mut [f64], mask: &[bool], density: f64) {
    for (value, keep) in task.iter_mut().zip(mask) {
        *value = if *keep { *value / density } else { 0.0 };
    }
}

/// The mean of `wᵢ τᵢ` over the task vectors that have the elected sign, element by element. Weights do not count in
/// the election, as in PEFT.
pub(crate) fn elect(tasks: &[Vec<f64>], weights: &[f64], majority_sign: MajoritySign) -> Vec<f64> {
    let count = tasks.first().map_or(0, Vec::len);
    let elected = |at: usize| {
        let votes: f64 = match majority_sign {
            MajoritySign::Total => tasks.iter().map(|task| task[at]).sum(),
            MajoritySign::Frequency => tasks.iter().map(|task| sign(task[at])).sum(),
        };
        let majority = if votes >= 0.0 { 1.0 } else { -1.0 };
        let agreeing = tasks.iter().zip(weights).filter(|(task, _)| sign(task[at]) == majority);
        let (sum, count) = agreeing.fold((0.0, 0), |(sum, count), (task, weight)| (sum + weight * task[at], count + 1));
        sum / f64::from(count.max(1))
    };
    (0..count).map(elected).collect()
}

fn sign(value: f64) -> f64 {
    if value == 0.0 { 0.0 } else { value.signum() }
}

// Weights of inputs.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_weighs_nothing_does_not_count() {
        let [first, other]: [&[f32]; 2] = [&[-0.0, 1e-40, 3.0], &[f32::NAN, f32::INFINITY, 1.0]];
        let merged = linear(&[first, other], &[1.0, 0.0]);
        assert!(merged.iter().zip(first).all(|(a, b)| a.to_bits() == b.to_bits()));
        assert_eq!(linear(&[first, other], &[0.0, 0.0]), [0.0; 3]);
    }

    #[test]
    fn trimming_keeps_the_largest() {
        let mut task = [0.1, -3.0, 2.0, -2.0, 0.5];
        trim(&mut task, 0.5);
        assert_eq!(task, [0.0, -3.0, 2.0, 0.0, 0.0]);
    }

    #[test]
    fn the_sum_elects_another_sign_than_the_count() {
        let tasks = [vec![-3.0], vec![1.0], vec![1.0]];
        assert_eq!(elect(&tasks, &[1.0; 3], MajoritySign::Total), [-3.0]);
        assert_eq!(elect(&tasks, &[1.0; 3], MajoritySign::Frequency), [1.0]);
        assert_eq!(elect(&tasks, &[0.5, 1.0, 3.0], MajoritySign::Frequency), [2.0]);
    }

    #[test]
    fn what_was_dropped_everywhere_is_zero() {
        assert_eq!(elect(&[vec![0.0], vec![0.0]], &[1.0; 2], MajoritySign::Total), [0.0]);
    }
}
