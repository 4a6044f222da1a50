//! Direct preference optimization: of two answers to a prompt, one is preferred.
//!
//! Rafailov et al., 2023 (<https://arxiv.org/abs/2305.18290>), equation 7. The implicit reward of an answer *y* to a prompt
//! *x* is `r = β (log π(y | x) − log π_ref(y | x))`, where the log-probability of an answer is the sum of those of its tokens.
//! The loss of a pair is `−log σ(r_chosen − r_rejected)`.
//!
//! The reference has no such head: its type, `dpo`, is our own. It has the layers of a head for causal language modeling, and
//! usually stands for the model's own output layer ([`Head::of_model`](crate::Head::of_model)), so that files hold nothing of
//! it.

use std::collections::BTreeMap;

use burn::tensor::activation::{log_sigmoid, log_softmax};
use burn::tensor::{Int, Tensor, TensorData};
use burn_adapters_core::Reads;

use super::{Task, check_shape, no_weights, wrong_targets};
use crate::{HeadConfig, HeadError, HeadType, Logits, PreferenceTarget, Targets};

/// Preferring one of two answers, by direct preference optimization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preference;

const HEAD_TYPE: HeadType = HeadType::of_language("dpo", &["bias", "embedding_size", "dropout_prob"], true);

impl HeadConfig {
    /// A head for direct preference optimization over `vocab_size` tokens: a single layer, as for causal language modeling.
    pub fn preference(vocab_size: usize) -> Self {
        Self::new(HEAD_TYPE, vocab_size)
    }
}

/// The two answers of a pair, compared by their implicit rewards.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ComparedAnswers {
    /// The row of the preferred answer.
    pub chosen: usize,
    /// The row of the other answer.
    pub rejected: usize,
    /// β.
    pub beta: f64,
    /// The implicit reward of the preferred answer, less that of the other.
    pub margin: f64,
}

impl ComparedAnswers {
    /// The pairs of some rows, of which these are the log-probabilities.
    ///
    /// ```
    /// use burn_adapters_heads::{ComparedAnswers, PreferenceTarget};
    ///
    /// let row = |chosen, reference| PreferenceTarget { pair: 0, chosen, tokens: vec![1], beta: 0.5, reference: Some(reference) };
    /// let compared = ComparedAnswers::of(&[row(true, -3.0), row(false, -2.0)], &[-1.0, -2.0])?;
    /// assert_eq!(compared[0].margin, 1.0);
    /// assert!((compared[0].loss() - (1.0 + (-1f64).exp()).ln()).abs() < 1e-12);
    /// # Ok::<(), burn_adapters_heads::HeadError>(())
    /// ```
    ///
    /// # Errors
    /// If there is not one log-probability for each row, a pair lacks an answer or has one twice, or the log-probabilities of
    /// the reference model are unknown.
    pub fn of(rows: &[PreferenceTarget], log_probabilities: &[f64]) -> Result<Vec<Self>, HeadError> {
        if rows.len() != log_probabilities.len() {
            return Err(HeadError::LabelCount { rows: log_probabilities.len(), labels: rows.len() });
        }
        let reward = |row: usize| -> Result<f64, HeadError> {
            let PreferenceTarget { beta, reference, .. } = &rows[row];
            let reference = reference.ok_or_else(|| HeadError::Shape {
                expected: "the log-probabilities of answers for the reference model".into(),
                found: "none".into(),
            })?;
            Ok(beta * (log_probabilities[row] - reference))
        };
        let compare = |(chosen, rejected)| {
            let margin = reward(chosen)? - reward(rejected)?;
            Ok(Self { chosen, rejected, beta: rows[chosen].beta, margin })
        };
        pairs(rows)?.into_iter().map(compare).collect()
    }

    /// `−log σ(margin)`.
    pub fn loss(&self) -> f64 {
        // Exact for margins of any size.
        (-self.margin).max(0.0) + (-self.margin.abs()).exp().ln_1p()
    }

    /// How fast the loss falls as the log-probability of the preferred answer rises, and rises with that of the other:
    /// `β σ(−margin)`.
    pub fn slope(&self) -> f64 {
        self.beta / (1.0 + self.margin.exp())
    }
}

/// The rows of the preferred and of the other answer of each pair.
fn pairs(rows: &[PreferenceTarget]) -> Result<Vec<(usize, usize)>, HeadError> {
    let mut found: BTreeMap<usize, [Vec<usize>; 2]> = BTreeMap::new();
    for (row, target) in rows.iter().enumerate() {
        found.entry(target.pair).or_default()[usize::from(!target.chosen)].push(row);
    }
    let pair = |(pair, answers): (usize, [Vec<usize>; 2])| match answers.each_ref().map(Vec::as_slice) {
        [&[chosen], &[rejected]] => Ok((chosen, rejected)),
        [chosen, rejected] => Err(HeadError::Shape {
            expected: format!("one preferred and one rejected answer of pair {pair}"),
            found: format!("{} and {}", chosen.len(), rejected.len()),
        }),
    };
    found.into_iter().map(pair).collect()
}

impl Task for Preference {
    fn name(&self) -> &'static str {
        "dpo"
    }

    fn head_type(&self) -> HeadType {
        HEAD_TYPE
    }

    fn language_head(&self, tokens: usize) -> Option<HeadConfig> {
        Some(HeadConfig::preference(tokens))
    }

    fn reads(&self, _config: &HeadConfig) -> Reads {
        Reads::Tokens
    }

    fn targets(&self) -> &'static str {
        "the tokens of an answer in a row, and whether it is preferred"
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
        let Targets::Preferences(rows) = targets else { return Err(wrong_targets(self, targets)) };
        let mut starts = Vec::with_capacity(rows.len());
        let mut tokens = Vec::new();
        for (row, (target, length)) in rows.iter().zip(logits.lengths()).enumerate() {
            if target.tokens.len() != *length {
                let expected = format!("{length} tokens of the answer in row {row}, one for each vector of logits");
                return Err(HeadError::Shape { expected, found: target.tokens.len().to_string() });
            }
            if let Some(&label) = target.tokens.iter().find(|token| **token >= config.num_labels) {
                return Err(HeadError::LabelOutOfRange { row, label, labels: config.num_labels });
            }
            starts.push(tokens.len());
            tokens.extend(target.tokens.iter().map(|token| *token as i32));
        }
        // With log-probabilities of 0, margins are what the reference model contributes.
        let compared = ComparedAnswers::of(rows, &vec![0.0; rows.len()])?;
        let (count, shape) = (tokens.len(), [compared.len(), tokens.len()]);
        let mut signs = vec![0.0_f32; compared.len() * count];
        for (pair, answers) in compared.iter().enumerate() {
            for (row, sign) in [(answers.chosen, answers.beta), (answers.rejected, -answers.beta)] {
                let first = pair * count + starts[row];
                signs[first..first + rows[row].tokens.len()].fill(sign as f32);
            }
        }
        let device = logits.values().device().without_autodiff();
        let tokens = Tensor::<2, Int>::from_data(TensorData::new(tokens, [count, 1]), &device);
        let signs = Tensor::<2>::from_data(TensorData::new(signs, shape), &device);
        let reference: Vec<f32> = compared.iter().map(|answers| answers.margin as f32).collect();
        let reference = Tensor::<2>::from_data(TensorData::new(reference, [shape[0], 1]), &device);
        let log_probabilities = log_softmax(logits.values().clone(), 1).gather(1, tokens);
        let margins = (log_probabilities.transpose() * signs).sum_dim(1) + reference;
        Ok(-log_sigmoid(margins).mean())
    }

    fn mass(&self, targets: &Targets, _weights: Option<&[f32]>) -> f64 {
        targets.examples() as f64
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn row(pair: usize, chosen: bool) -> PreferenceTarget {
        PreferenceTarget { pair, chosen, tokens: vec![1, 2], beta: 0.1, reference: Some(-4.0) }
    }

    #[test]
    fn the_loss_of_margins_of_any_size_is_finite_and_its_slope_is_the_derivative() {
        let with = |margin| ComparedAnswers { chosen: 0, rejected: 1, beta: 0.5, margin };
        assert_eq!((with(1e4).loss(), with(-1e4).loss()), (0.0, 1e4));
        assert_eq!((with(1e4).slope(), with(-1e4).slope()), (0.0, 0.5));
        for margin in [-3.0, -0.1, 0.0, 0.7, 5.0] {
            // A log-probability changes the margin by β.
            let change = (with(margin + 1e-6).loss() - with(margin - 1e-6).loss()) / 2e-6;
            assert!((change * 0.5 + with(margin).slope()).abs() < 1e-8, "{margin}");
        }
    }

    #[test]
    fn rows_that_are_no_pairs_are_errors() {
        let zeros = [0.0; 4];
        let of = |rows: &[PreferenceTarget]| ComparedAnswers::of(rows, &zeros[..rows.len()]);
        assert_eq!(of(&[row(3, false), row(3, true)]).unwrap()[0].chosen, 1);
        assert!(of(&[row(0, true)]).is_err() && of(&[row(0, true), row(1, false)]).is_err());
        assert!(of(&[row(0, true), row(0, true)]).is_err());
        assert!(ComparedAnswers::of(&[row(0, true), row(0, false)], &[0.0]).is_err());
        let unknown = PreferenceTarget { reference: None, ..row(0, false) };
        let error = of(&[row(0, true), unknown]).unwrap_err().to_string();
        assert!(error.contains("reference model"), "{error}");
    }
}
