//! Question answering: the part of a context that answers a question.
//!
//! The head gives each token two logits: whether the answer begins there, and whether it ends there. As in tagging there
//! are none for padding, which the reference lets take part in the softmax of the loss. So its loss depends on the texts
//! that happen to share a batch; ours does not.

use burn::tensor::Tensor;
use burn_adapters_core::Reads;

use super::{Task, check_shape, no_weights, wrong_targets};
use crate::loss::group_loss;
use crate::{HeadConfig, HeadError, HeadType, Logits, Targets};

/// Where an answer starts and where it ends, by the mean of two cross-entropies over the tokens of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuestionAnswering;

/// The reference's `question_answering` head: one layer on every position.
const HEAD_TYPE: HeadType = HeadType::new("question_answering", 1, &[]).with_outputs("num_labels", 2);

impl HeadConfig {
    /// Where an answer starts and where it ends: a single layer.
    pub fn question_answering() -> Self {
        Self::new(HEAD_TYPE, 2)
    }
}

impl Task for QuestionAnswering {
    fn name(&self) -> &'static str {
        "question-answering"
    }

    fn head_type(&self) -> HeadType {
        HEAD_TYPE
    }

    fn reads(&self, _config: &HeadConfig) -> Reads {
        Reads::Tokens
    }

    fn targets(&self) -> &'static str {
        "the tokens that begin and end the answer in a row"
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
        let Targets::Spans(rows) = targets else { return Err(wrong_targets(self, targets)) };
        let (mut starts, mut ends) = (Vec::new(), Vec::new());
        let mut first = 0;
        for (row, length) in rows.iter().zip(logits.lengths()) {
            // A position outside of the row is not learned, as in the reference.
            let group = |token: Option<usize>| {
                let token = token.filter(|token| token < length)?;
                Some(((first..first + length).collect::<Vec<_>>(), token))
            };
            starts.extend(group(row.start));
            ends.extend(group(row.end));
            first += length;
        }
        let column = |index: usize| logits.values().clone().narrow(1, index, 1).squeeze_dim::<1>(1);
        Ok((group_loss(column(0), &starts) + group_loss(column(1), &ends)) / 2.0)
    }

    fn mass(&self, targets: &Targets, _weights: Option<&[f32]>) -> f64 {
        let Targets::Spans(rows) = targets else { return 0.0 };
        rows.iter().filter(|row| row.start.is_some() || row.end.is_some()).count() as f64
    }
}
