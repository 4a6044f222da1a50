//! Tagging: a class for each token (named entities, parts of speech).
//!
//! The logits are those of the tokens alone: neither padding nor the positions of a prompt that an adapter inserted has
//! any, and the head computes none for them. The reference computes them, and leaves them out of the loss, by the
//! label −100.

use burn::tensor::{Int, Tensor, TensorData};
use burn_adapters_core::{Mode, Output, Reads};

use super::{Task, balanced, check_shape, check_weights, wrong_targets};
use crate::loss::class_loss;
use crate::{Head, HeadConfig, HeadError, HeadType, Logits, Targets};

/// One of several classes for each token, by cross-entropy over the tokens that have a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tagging;

/// The reference's `tagging` head: one layer on every position.
const HEAD_TYPE: HeadType = HeadType::new("tagging", 1, &[]);

impl HeadConfig {
    /// One of `num_labels` labels for each token: a single layer.
    pub fn tagging(num_labels: usize) -> Self {
        Self::new(HEAD_TYPE, num_labels)
    }
}

impl Task for Tagging {
    fn name(&self) -> &'static str {
        "tagging"
    }

    fn head_type(&self) -> HeadType {
        HEAD_TYPE
    }

    fn reads(&self, _config: &HeadConfig) -> Reads {
        Reads::Tokens
    }

    fn logits(&self, head: &Head, output: &Output, mode: Mode) -> Result<Logits, HeadError> {
        let (states, lengths) = token_states(output)?;
        Logits::new(head.forward_vector(states, mode)?, lengths)
    }

    fn targets(&self) -> &'static str {
        "a class for each token of a row"
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
        let Targets::Tokens(rows) = targets else { return Err(wrong_targets(self, targets)) };
        let (mut positions, mut classes) = (Vec::new(), Vec::new());
        let mut start = 0;
        for (row, (tokens, length)) in rows.iter().zip(logits.lengths()).enumerate() {
            if tokens.len() != *length {
                let expected = format!("{length} targets in row {row}, one for each token");
                return Err(HeadError::Shape { expected, found: tokens.len().to_string() });
            }
            for (token, label) in tokens.iter().enumerate().filter_map(|(token, label)| Some((token, (*label)?))) {
                if label >= config.num_labels {
                    return Err(HeadError::LabelOutOfRange { row, label, labels: config.num_labels });
                }
                positions.push((start + token) as i32);
                classes.push(label);
            }
            start += length;
        }
        if classes.is_empty() {
            // PyTorch's mean over no token is NaN. Here such a batch teaches nothing.
            return Ok(logits.values().clone().sum() * 0.0);
        }
        let device = logits.values().device().without_autodiff();
        let count = positions.len();
        let positions = Tensor::<1, Int>::from_data(TensorData::new(positions, [count]), &device);
        Ok(class_loss(logits.values().clone().select(0, positions), &classes, weights))
    }

    fn mass(&self, targets: &Targets, weights: Option<&[f32]>) -> f64 {
        let weight = |class: &usize| weights.map_or(1.0, |weights| weights.get(*class).map_or(0.0, |w| f64::from(*w)));
        targets.token_classes().map(|class| weight(&class)).sum()
    }

    fn balanced_weights(&self, targets: &Targets, classes: usize) -> Option<Vec<f32>> {
        Some(balanced(targets.token_classes(), classes))
    }
}

/// The hidden states of all tokens, row by row (`[Σ lengths, hidden]`), and the number of tokens of each row.
pub(super) fn token_states(output: &Output) -> Result<(Tensor<2>, Vec<usize>), HeadError> {
    let [rows, positions, width] = output.hidden.dims();
    if output.tokens.len() != rows {
        let expected = format!("the positions of the tokens of {rows} rows");
        return Err(HeadError::Shape { expected, found: format!("those of {} rows", output.tokens.len()) });
    }
    let mut taken = Vec::new();
    for (row, span) in output.tokens.iter().enumerate() {
        if let Some(position) = span.positions().find(|position| *position >= positions) {
            let expected = format!("hidden states of more than {position} positions for row {row}");
            return Err(HeadError::Shape { expected, found: positions.to_string() });
        }
        taken.extend(span.positions().map(|position| (row * positions + position) as i32));
    }
    let lengths = output.tokens.iter().map(|span| span.length).collect();
    let states = output.hidden.clone().reshape([rows * positions, width]);
    if taken.len() == rows * positions && taken.iter().enumerate().all(|(index, taken)| index as i32 == *taken) {
        return Ok((states, lengths));
    }
    if taken.is_empty() {
        return Err(HeadError::Shape { expected: "at least one token".into(), found: "none".into() });
    }
    let device = output.hidden.device().without_autodiff();
    let count = taken.len();
    Ok((states.select(0, Tensor::<1, Int>::from_data(TensorData::new(taken, [count]), &device)), lengths))
}
