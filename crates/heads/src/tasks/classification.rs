//! Classification: one of several classes for each row.

use burn::tensor::Tensor;

use super::{Task, balanced, check_shape, check_weights, wrong_targets};
use crate::loss::class_loss;
use crate::{HeadConfig, HeadError, HeadType, Logits, Targets};

/// One of several classes for each row, by cross-entropy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Classification;

/// The reference's `classification` head: two layers on the first position, or on the pooled output.
pub(super) const HEAD_TYPE: HeadType = HeadType::new("classification", 2, &["use_pooler", "bias"]);

impl HeadConfig {
    /// One of `num_labels` labels: two layers with a tanh between them. With a single label this is a
    /// [regression](Self::regression), as in the reference.
    pub fn classification(num_labels: usize) -> Self {
        Self::new(HEAD_TYPE, num_labels)
    }
}

impl Task for Classification {
    fn name(&self) -> &'static str {
        "classification"
    }

    fn head_type(&self) -> HeadType {
        HEAD_TYPE
    }

    fn is_task_of(&self, config: &HeadConfig) -> bool {
        config.num_labels != 1
    }

    fn targets(&self) -> &'static str {
        "one class a row"
    }

    fn loss(
        &self,
        config: &HeadConfig,
        logits: &Logits,
        targets: &Targets,
        weights: Option<&[f32]>,
    ) -> Result<Tensor<1>, HeadError> {
        check_weights(config, weights)?;
        check_shape(config, logits, targets)?;
        let Targets::Classes(classes) = targets else { return Err(wrong_targets(self, targets)) };
        if let Some((row, &label)) = classes.iter().enumerate().find(|(_, label)| **label >= config.num_labels) {
            return Err(HeadError::LabelOutOfRange { row, label, labels: config.num_labels });
        }
        Ok(class_loss(logits.values().clone(), classes, weights))
    }

    fn mass(&self, targets: &Targets, weights: Option<&[f32]>) -> f64 {
        match (targets, weights) {
            (Targets::Classes(classes), Some(weights)) => {
                classes.iter().filter_map(|class| weights.get(*class)).map(|weight| f64::from(*weight)).sum()
            }
            _ => targets.len() as f64,
        }
    }

    fn balanced_weights(&self, targets: &Targets, classes: usize) -> Option<Vec<f32>> {
        let Targets::Classes(rows) = targets else { return None };
        Some(balanced(rows.iter().copied(), classes))
    }
}
