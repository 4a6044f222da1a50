//! Multiple choice: the best of several texts.
//!
//! Each choice is a row of its own, usually the pair of a question and the choice, with one logit. The rows of a question
//! need not be as many as `num_choices`: the reference folds its rows by that number, here [`Targets::Choices`] tells which
//! rows belong together.

use std::collections::BTreeMap;

use burn::tensor::Tensor;

use super::{Task, check_shape, no_weights, wrong_targets};
use crate::loss::group_loss;
use crate::{HeadConfig, HeadError, HeadType, Logits, Targets};

/// One of several rows, by cross-entropy over the choices of each question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MultipleChoice;

/// The reference's `multiple_choice` head: two layers on the first position, or on the pooled output.
const HEAD_TYPE: HeadType = HeadType::new("multiple_choice", 2, &["use_pooler"]).with_outputs("num_choices", 1);

impl HeadConfig {
    /// One of `num_choices` choices: two layers with a tanh between them, and one logit for each choice.
    pub fn multiple_choice(num_choices: usize) -> Self {
        Self::new(HEAD_TYPE, num_choices)
    }
}

impl Task for MultipleChoice {
    fn name(&self) -> &'static str {
        "multiple-choice"
    }

    fn head_type(&self) -> HeadType {
        HEAD_TYPE
    }

    fn targets(&self) -> &'static str {
        "whether a row is the right choice"
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
        let Targets::Choices(rows) = targets else { return Err(wrong_targets(self, targets)) };
        let mut questions: BTreeMap<usize, (Vec<usize>, Vec<usize>)> = BTreeMap::new();
        for (row, choice) in rows.iter().enumerate() {
            let (choices, right) = questions.entry(choice.question).or_default();
            right.extend(choice.right.then_some(choices.len()));
            choices.push(row);
        }
        let group = |(question, (choices, right)): (usize, (Vec<usize>, Vec<usize>))| match right[..] {
            [one] => Ok((choices, one)),
            _ => Err(HeadError::Shape {
                expected: format!("one right choice among the {} rows of question {question}", choices.len()),
                found: right.len().to_string(),
            }),
        };
        let groups = questions.into_iter().map(group).collect::<Result<Vec<_>, _>>()?;
        Ok(group_loss(logits.values().clone().squeeze_dim::<1>(1), &groups))
    }

    fn mass(&self, targets: &Targets, _weights: Option<&[f32]>) -> f64 {
        targets.examples() as f64
    }
}
