//! Tagging: a class for each token (named entities, parts of speech).
//!
//! The logits are those of the tokens alone: neither padding nor the positions of a prompt that an adapter inserted has
//! any, and the head computes none for them. The reference computes them, and leaves them out of the loss, by the
//! label −100.

use burn::tensor::{Int, Tensor, TensorData};
use burn_adapters_core::{Output, Reads};

use super::{Task, balanced, check_shape, check_weights, wrong_targets};
use crate::loss::class_loss;
use crate::{HeadConfig, HeadError, HeadType, Logits, Targets};

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
        token_loss(self, config, logits, targets, weights)
    }

    fn mass(&self, targets: &Targets, weights: Option<&[f32]>) -> f64 {
        let weight = |class: &usize| weights.map_or(1.0, |weights| weights.get(*class).map_or(0.0, |w| f64::from(*w)));
        targets.token_classes().map(|class| weight(&class)).sum()
    }

    fn balanced_weights(&self, targets: &Targets, classes: usize) -> Option<Vec<f32>> {
        Some(balanced(targets.token_classes(), classes))
    }
}

/// The mean cross-entropy over the tokens that have a target.
pub(super) fn token_loss(
    task: &dyn Task,
    config: &HeadConfig,
    logits: &Logits,
    targets: &Targets,
    weights: Option<&[f32]>,
) -> Result<Tensor<1>, HeadError> {
    check_shape(config, logits, targets)?;
    let Targets::Tokens(rows) = targets else { return Err(wrong_targets(task, targets)) };
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

/// The hidden states of tokens, row by row (`[Σ lengths, hidden]`), and their number in each row: of all tokens, or of
/// those that are wanted in each row, in order.
///
/// # Errors
/// If the output lacks a token that it should have.
pub fn token_states(output: &Output, wanted: Option<&[Vec<usize>]>) -> Result<(Tensor<2>, Vec<usize>), HeadError> {
    let [rows, positions, width] = output.hidden.dims();
    let of_rows = |found: usize| {
        let expected = format!("the positions of the tokens of {rows} rows");
        HeadError::Shape { expected, found: format!("those of {found} rows") }
    };
    if output.tokens.len() != rows {
        return Err(of_rows(output.tokens.len()));
    }
    if let Some(wanted) = wanted.filter(|wanted| wanted.len() != rows) {
        return Err(of_rows(wanted.len()));
    }
    let (mut taken, mut lengths) = (Vec::new(), Vec::new());
    for (row, span) in output.tokens.iter().enumerate() {
        let before = taken.len();
        let mut take = |position: usize| {
            if position >= positions {
                let expected = format!("hidden states of more than {position} positions for row {row}");
                return Err(HeadError::Shape { expected, found: positions.to_string() });
            }
            taken.push((row * positions + position) as i32);
            Ok(())
        };
        match wanted {
            None => span.positions().try_for_each(&mut take)?,
            Some(wanted) => {
                if let Some(token) = wanted[row].iter().find(|token| **token >= span.length) {
                    let expected = format!("more than {token} tokens in row {row}");
                    return Err(HeadError::Shape { expected, found: span.length.to_string() });
                }
                wanted[row].iter().try_for_each(|token| take(span.position(*token)))?;
            }
        }
        lengths.push(taken.len() - before);
    }
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
