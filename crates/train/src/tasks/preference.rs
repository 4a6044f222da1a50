//! Direct preference optimization: of two answers to a prompt, one is preferred.
//!
//! The data are [`PreferenceData`](crate::PreferenceData); an example is the text with the preferred answer, with the other one
//! beside it. The rows of a pair stay in one batch, as the loss compares them.

use burn_adapters_heads::{HeadConfig, Targets, Task};
use burn_adapters_model::Piece;
use serde_json::{Value, json};

use super::language::PERPLEXITY;
use super::{TextForm, TrainTask, greatest};
use crate::data::{Dataset, Form};
use crate::language::compared;
use crate::metrics::{mean, ratio};
use crate::{DataError, DataProblem, Label, Metric, Prediction, Scores};

/// Preferring one of two answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preference;

/// The fraction of pairs whose preferred answer has the larger implicit reward.
pub const REWARD_ACCURACY: Metric = Metric::new("reward_accuracy", "reward accuracy").mean_of_rows();
/// The mean difference between the implicit rewards of the preferred and of the rejected answer.
pub const REWARD_MARGIN: Metric = Metric::new("reward_margin", "reward margin").mean_of_rows();

const NO_CELLS: &str =
    "pairs of answers are read from JSON Lines with `prompt`, `chosen` and `rejected`, as PreferenceData does";

impl TrainTask for Preference {
    fn task(&self) -> &'static dyn Task {
        &burn_adapters_heads::Preference
    }

    fn columns(&self) -> [&'static str; 2] {
        ["prompt", "chosen"]
    }

    fn is_labeled(&self) -> bool {
        false
    }

    fn form(&self) -> TextForm {
        TextForm::Preferences
    }

    fn read_cell(&self, _cell: &str) -> Result<(Label, Form), DataProblem> {
        Err(DataProblem::Chat { message: NO_CELLS.to_owned() })
    }

    fn read_json(&self, _value: &Value) -> Result<(Label, Form), DataProblem> {
        Err(DataProblem::Chat { message: NO_CELLS.to_owned() })
    }

    fn takes(&self, _label: &Label) -> bool {
        false
    }

    fn head(&self, data: &Dataset, _names: &[String]) -> Result<HeadConfig, DataError> {
        let message = "a head for preferences depends on the model's vocabulary, not on the data: Task::language_head";
        Err(DataError::Malformed { source_name: data.source().to_owned(), message: message.to_owned() })
    }

    /// The targets depend on the tokens: [`TokenData`](crate::TokenData) has them.
    fn targets(&self, _: &Dataset, _: &HeadConfig, _: &[Vec<Option<Piece>>]) -> Result<Targets, DataError> {
        Ok(Targets::Preferences(Vec::new()))
    }

    fn metrics(&self) -> &'static [Metric] {
        &[REWARD_ACCURACY, REWARD_MARGIN, PERPLEXITY]
    }

    fn title(&self, metric: Metric) -> &'static str {
        if metric == PERPLEXITY { "perplexity of the preferred answers" } else { metric.title() }
    }

    fn score(&self, _head: &HeadConfig, values: &[Vec<f32>], targets: &Targets) -> Scores {
        let Targets::Preferences(rows) = targets else { return Scores::new(self, []) };
        let Ok(pairs) = compared(rows, values) else { return Scores::new(self, []) };
        let right = pairs.iter().filter(|pair| pair.margin > 0.0).count();
        let margins: Vec<f64> = pairs.iter().map(|pair| pair.margin).collect();
        let tokens = || pairs.iter().flat_map(|pair| values[pair.chosen].iter().step_by(2)).map(|one| f64::from(*one));
        let perplexity = (-tokens().sum::<f64>() / tokens().count().max(1) as f64).exp();
        Scores::new(
            self,
            [(REWARD_ACCURACY, ratio(right, pairs.len())), (REWARD_MARGIN, mean(&margins)), (PERPLEXITY, perplexity)],
        )
    }

    /// The logits of all wanted tokens, each over the vocabulary; the most probable token of each.
    fn decode(&self, head: &HeadConfig, logits: Vec<f32>) -> Prediction {
        let labels = logits.chunks(head.outputs().max(1)).map(greatest).collect();
        Prediction { logits, probabilities: Vec::new(), labels }
    }

    fn json_label(&self, _head: &HeadConfig, prediction: &Prediction) -> Value {
        json!(prediction.labels)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn_adapters_heads::PreferenceTarget;

    use super::*;

    #[test]
    fn rewards_are_compared_pair_by_pair() {
        let row = |pair, chosen, reference| {
            let (tokens, reference) = (vec![1], Some(reference));
            PreferenceTarget { pair, chosen, tokens, beta: 0.5, reference }
        };
        let rows = vec![row(0, true, -2.0), row(0, false, -1.0), row(1, false, -1.0), row(1, true, -1.0)];
        // The rewards are 0.5 and -0.5; 0 and -0.5; of equal rewards none is the larger.
        let values = [-1.0, -2.0, -1.0, -2.0].map(|log_probability| vec![log_probability, 0.0]);
        let head = HeadConfig::preference(4);
        let score = |rows| Preference.score(&head, &values, &Targets::Preferences(rows));
        let scores = score(rows.clone());
        assert_eq!((scores.metric(REWARD_ACCURACY), scores.metric(REWARD_MARGIN)), (Some(0.5), Some(0.25)));
        assert!((scores.metric(PERPLEXITY).unwrap() - 1.5f64.exp()).abs() < 1e-9, "that of the preferred answers");
        let equal: Vec<_> = rows.into_iter().map(|row| PreferenceTarget { reference: Some(0.0), ..row }).collect();
        let equal = score([&equal[..1], &[PreferenceTarget { chosen: false, ..equal[0].clone() }]].concat());
        assert_eq!(equal.metric(REWARD_ACCURACY), None, "two rows, but four values");
    }
}
