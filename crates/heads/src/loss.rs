//! The losses, each a mean over the batch, as in the reference.

use burn::tensor::activation::{log_sigmoid, log_softmax};
use burn::tensor::{Int, Tensor, TensorData};

use crate::{HeadConfig, HeadError, Task};

/// The truth about a batch, on the host, where it can be checked without waiting for the device.
#[derive(Debug, Clone, PartialEq)]
pub enum Labels {
    /// The number of the one right label, per row: for classification.
    Classes(Vec<usize>),
    /// A target from 0 (no) to 1 (yes) for each label, per row: for multi-label classification.
    Sets(Vec<Vec<f32>>),
    /// A number per row: for regression.
    Values(Vec<f32>),
}

impl Labels {
    /// The number of rows.
    pub fn len(&self) -> usize {
        match self {
            Labels::Classes(rows) => rows.len(),
            Labels::Sets(rows) => rows.len(),
            Labels::Values(rows) => rows.len(),
        }
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn kind(&self) -> &'static str {
        match self {
            Labels::Classes(_) => "one label a row",
            Labels::Sets(_) => "a set of labels a row",
            Labels::Values(_) => "a number a row",
        }
    }

    pub(crate) fn loss(
        &self,
        config: &HeadConfig,
        logits: Tensor<2>,
        weights: Option<&[f32]>,
    ) -> Result<Tensor<1>, HeadError> {
        if let Some(weights) = weights {
            check_weights(config, weights)?;
        }
        let [rows, width] = logits.dims();
        if width != config.num_labels {
            let expected = format!("logits of [batch, {}]", config.num_labels);
            return Err(HeadError::Shape { expected, found: format!("[{rows}, {width}]") });
        }
        if rows != self.len() || rows == 0 {
            return Err(HeadError::LabelCount { rows, labels: self.len() });
        }
        // Targets are data: they need no graph.
        let device = logits.device().without_autodiff();
        match (config.task(), self) {
            (Task::Classification, Labels::Classes(classes)) => {
                if let Some((row, &label)) = classes.iter().enumerate().find(|(_, label)| **label >= width) {
                    return Err(HeadError::LabelOutOfRange { row, label, labels: width });
                }
                let weights = weights.map(|weights| classes.iter().map(|label| weights[*label]).collect::<Vec<_>>());
                let classes: Vec<i32> = classes.iter().map(|&label| label as i32).collect();
                let classes = Tensor::from_data(TensorData::new(classes, [rows]), &device);
                Ok(match weights {
                    None => cross_entropy(logits, classes),
                    Some(weights) => {
                        let sum: f32 = weights.iter().sum();
                        let weights = Tensor::<2>::from_data(TensorData::new(weights, [rows, 1]), &device);
                        -(picked(logits, classes) * weights).sum() / sum
                    }
                })
            }
            (Task::MultiLabel, Labels::Sets(sets)) => {
                if let Some(set) = sets.iter().find(|set| set.len() != width) {
                    let expected = format!("{width} targets a row");
                    return Err(HeadError::Shape { expected, found: set.len().to_string() });
                }
                let targets = TensorData::new(sets.concat(), [rows, width]);
                let targets = Tensor::from_data(targets, &device);
                Ok(match weights {
                    None => binary_cross_entropy(logits, targets),
                    Some(weights) => {
                        let weights = Tensor::from_data(TensorData::new(weights.to_vec(), [1, width]), &device);
                        positively_weighted(logits, targets, weights)
                    }
                })
            }
            (Task::Regression, Labels::Values(values)) => {
                let targets = TensorData::new(values.clone(), [rows, 1]);
                Ok(mean_squared_error(logits, Tensor::from_data(targets, &device)))
            }
            (task, labels) => Err(HeadError::WrongLabels {
                task: task.name(),
                expected: match task {
                    Task::Classification => "one label a row",
                    Task::MultiLabel => "a set of labels a row",
                    Task::Regression => "a number a row",
                },
                found: labels.kind(),
            }),
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

fn check_weights(config: &HeadConfig, weights: &[f32]) -> Result<(), HeadError> {
    let bad = |expected, found| Err(HeadError::BadValue { key: "class weights", expected, found });
    if config.task() == Task::Regression {
        return bad("left out: a regression has no classes", format!("{} weights", weights.len()));
    }
    if weights.len() != config.num_labels {
        return bad("one for each label", format!("{} for {} labels", weights.len(), config.num_labels));
    }
    match weights.iter().find(|weight| !(weight.is_finite() && **weight > 0.0)) {
        Some(weight) => bad("numbers above 0", weight.to_string()),
        None => Ok(()),
    }
}

/// The mean binary cross-entropy of logits: `x (1 - y) - ln(sigmoid(x))`.
///
/// # Shapes
/// - logits, targets: `[batch, num_labels]`
/// - output: `[1]`
pub fn binary_cross_entropy(logits: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
    (logits.clone() * (targets * -1.0 + 1.0) - log_sigmoid(logits)).mean()
}

/// As [`binary_cross_entropy`], with the part of the positive targets multiplied by `weights`, `[1, num_labels]`.
fn positively_weighted(logits: Tensor<2>, targets: Tensor<2>, weights: Tensor<2>) -> Tensor<1> {
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
