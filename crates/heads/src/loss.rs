//! The losses, each a mean over the batch, as in the reference.

use burn::tensor::activation::{log_sigmoid, log_softmax};
use burn::tensor::{Int, Tensor, TensorData};

/// The mean cross-entropy of these classes; with weights, the mean weighted by class.
///
/// # Shapes
/// - logits: `[classes.len(), num_labels]`
/// - output: `[1]`
pub(crate) fn class_loss(logits: Tensor<2>, classes: &[usize], weights: Option<&[f32]>) -> Tensor<1> {
    // Targets are data: they need no graph.
    let device = logits.device().without_autodiff();
    let rows = classes.len();
    let weights = weights.map(|weights| classes.iter().map(|class| weights[*class]).collect::<Vec<_>>());
    let classes: Vec<i32> = classes.iter().map(|&class| class as i32).collect();
    let classes = Tensor::from_data(TensorData::new(classes, [rows]), &device);
    match weights {
        None => cross_entropy(logits, classes),
        Some(weights) => {
            let sum: f32 = weights.iter().sum();
            let weights = Tensor::<2>::from_data(TensorData::new(weights, [rows, 1]), &device);
            -(picked(logits, classes) * weights).sum() / sum
        }
    }
}

/// The mean cross-entropy of the right labels. A label out of range may panic: [`Head::loss`](crate::Head::loss) checks.
///
/// # Shapes
/// - logits: `[batch, num_labels]`
/// - labels: `[batch]`
/// - output: `[1]`
pub fn cross_entropy(logits: Tensor<2>, labels: Tensor<1, Int>) -> Tensor<1> {
    -picked(logits, labels).mean()
}

/// The logarithm of the right label's probability: `[batch, 1]`.
fn picked(logits: Tensor<2>, labels: Tensor<1, Int>) -> Tensor<2> {
    let [batch, _] = logits.dims();
    log_softmax(logits, 1).gather(1, labels.reshape([batch, 1]))
}

/// The mean cross-entropy of the right member of each group, whose sizes may differ.
///
/// # Shapes
/// - logits: `[n]`; a group names some of them, and which of its members is the right one
/// - output: `[1]`; 0 if there is no group
pub(crate) fn group_loss(logits: Tensor<1>, groups: &[(Vec<usize>, usize)]) -> Tensor<1> {
    /// Below every logit, and finite: its exponential is 0.
    const ABSENT: f32 = -1e30;
    let longest = groups.iter().map(|(members, _)| members.len()).max().unwrap_or(0);
    if longest == 0 {
        return logits.sum() * 0.0;
    }
    let device = logits.device().without_autodiff();
    let (mut members, mut absent) = (Vec::new(), Vec::new());
    for (group, _) in groups {
        members.extend(group.iter().map(|member| *member as i32));
        absent.extend(std::iter::repeat_n(0.0, group.len()));
        members.resize(members.len() + longest - group.len(), 0);
        absent.resize(members.len(), ABSENT);
    }
    let shape = [groups.len(), longest];
    let members = Tensor::<1, Int>::from_data(TensorData::new(members, [shape[0] * longest]), &device);
    let absent = Tensor::<2>::from_data(TensorData::new(absent, shape), &device);
    let right: Vec<usize> = groups.iter().map(|(_, right)| *right).collect();
    class_loss(logits.select(0, members).reshape(shape) + absent, &right, None)
}

/// The mean binary cross-entropy of logits: `x (1 - y) - ln(sigmoid(x))`.
///
/// # Shapes
/// - logits, targets: `[batch, num_labels]`
/// - output: `[1]`
pub fn binary_cross_entropy(logits: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
    (logits.clone() * (targets * -1.0 + 1.0) - log_sigmoid(logits)).mean()
}

/// As [`binary_cross_entropy`], with the term of the positive targets multiplied by `weights`, `[1, num_labels]`.
pub(crate) fn positively_weighted(logits: Tensor<2>, targets: Tensor<2>, weights: Tensor<2>) -> Tensor<1> {
    let factor = targets.clone() * (weights - 1.0) + 1.0;
    (logits.clone() * (targets * -1.0 + 1.0) - factor * log_sigmoid(logits)).mean()
}

/// The mean squared error.
///
/// # Shapes
/// - logits, targets: `[batch, 1]`
/// - output: `[1]`
pub fn mean_squared_error(logits: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
    let difference = logits - targets;
    (difference.clone() * difference).mean()
}
