//! Multilabel classification: any number of labels for each row.

use burn::tensor::{Tensor, TensorData};

use super::{Task, check_shape, check_weights, wrong_targets};
use crate::loss::{binary_cross_entropy, positively_weighted};
use crate::{HeadConfig, HeadError, HeadType, Logits, Targets};

/// Any number of labels for each row, by binary cross-entropy on each logit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Multilabel;

/// The reference's `multilabel_classification` head.
const HEAD_TYPE: HeadType = HeadType::new("multilabel_classification", 2, &["use_pooler", "bias"]);

impl HeadConfig {
    /// Any of `num_labels` labels at once.
    pub fn multilabel_classification(num_labels: usize) -> Self {
        Self::new(HEAD_TYPE, num_labels)
    }
}

impl Task for Multilabel {
    fn name(&self) -> &'static str {
        "multilabel"
    }

    fn head_type(&self) -> HeadType {
        HEAD_TYPE
    }

    fn targets(&self) -> &'static str {
        "a set of labels a row"
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
        let Targets::Sets(sets) = targets else { return Err(wrong_targets(self, targets)) };
        let [rows, width] = logits.values().dims();
        if let Some(set) = sets.iter().find(|set| set.len() != width) {
            let expected = format!("{width} targets a row");
            return Err(HeadError::Shape { expected, found: set.len().to_string() });
        }
        // Targets are data: they need no graph.
        let device = logits.values().device().without_autodiff();
        let targets = Tensor::from_data(TensorData::new(sets.concat(), [rows, width]), &device);
        let logits = logits.values().clone();
        Ok(match weights {
            None => binary_cross_entropy(logits, targets),
            Some(weights) => {
                let weights = Tensor::from_data(TensorData::new(weights.to_vec(), [1, width]), &device);
                positively_weighted(logits, targets, weights)
            }
        })
    }

    /// For each label, its negative rows by its positive ones.
    fn balanced_weights(&self, targets: &Targets, classes: usize) -> Option<Vec<f32>> {
        let Targets::Sets(rows) = targets else { return None };
        let mut positive = vec![0_usize; classes];
        for (label, _) in rows.iter().flat_map(|row| row.iter().enumerate().filter(|(_, value)| **value > 0.5)) {
            positive.get_mut(label).into_iter().for_each(|count| *count += 1);
        }
        // A label of all rows or of none keeps the weight 1.
        let weight = |count: usize| (rows.len() - count) as f64 / count as f64;
        let usual = |count: &usize| *count == 0 || *count == rows.len();
        Some(positive.iter().map(|count| if usual(count) { 1.0 } else { weight(*count) as f32 }).collect())
    }
}
