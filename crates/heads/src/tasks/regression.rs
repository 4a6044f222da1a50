//! Regression: a number for each row.

use burn::tensor::{Tensor, TensorData};

use super::{Task, check_shape, classification, no_weights, wrong_targets};
use crate::loss::mean_squared_error;
use crate::{HeadConfig, HeadError, HeadType, Logits, Targets};

/// A number for each row, by mean squared error: the reference's classification head with one label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Regression;

impl HeadConfig {
    /// One number.
    pub fn regression() -> Self {
        Self::new(classification::HEAD_TYPE, 1)
    }
}

impl Task for Regression {
    fn name(&self) -> &'static str {
        "regression"
    }

    fn head_type(&self) -> HeadType {
        classification::HEAD_TYPE
    }

    fn is_task_of(&self, config: &HeadConfig) -> bool {
        config.num_labels == 1
    }

    fn targets(&self) -> &'static str {
        "a number a row"
    }

    fn has_classes(&self) -> bool {
        false
    }

    fn loss(
        &self,
        config: &HeadConfig,
        logits: &Logits,
        targets: &Targets,
        weights: Option<&[f32]>,
    ) -> Result<Tensor<1>, HeadError> {
        no_weights(weights)?;
        check_shape(config, logits, targets)?;
        let Targets::Values(values) = targets else { return Err(wrong_targets(self, targets)) };
        let device = logits.values().device().without_autodiff();
        let targets = TensorData::new(values.clone(), [values.len(), 1]);
        Ok(mean_squared_error(logits.values().clone(), Tensor::from_data(targets, &device)))
    }
}
