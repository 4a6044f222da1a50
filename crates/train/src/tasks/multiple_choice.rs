//! Multiple choice: the best of several texts that follow a prompt.
//!
//! Each choice is a row: the pair of the prompt and the choice. The rows of an example stay in one batch, as the loss is a
//! cross-entropy over them.

use burn_adapters_heads::{ChoiceTarget, HeadConfig, Targets, Task};
use burn_adapters_model::Piece;
use serde_json::Value;

use super::{TextForm, TextPieces, TrainTask, greatest, json_numbers, softmax};
use crate::data::{Dataset, Example, Form, Problems, Wrong, check_length, class_name, collect, settle_choices};
use crate::metrics::ratio;
use crate::{DataError, DataProblem, Label, Metric, Prediction, Scores};

/// The best of several texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MultipleChoice;

impl TrainTask for MultipleChoice {
    fn task(&self) -> &'static dyn Task {
        &burn_adapters_heads::MultipleChoice
    }

    fn form(&self) -> TextForm {
        TextForm::Choices
    }

    fn read_cell(&self, cell: &str) -> Result<(Label, Form), DataProblem> {
        let label = cell.trim();
        if label.is_empty() {
            return Err(DataProblem::EmptyLabel);
        }
        check_length(label)?;
        Ok((Label::Class(label.to_owned()), Form::Names))
    }

    /// A number is certainly that of a choice, a text may be either.
    fn read_json(&self, value: &Value) -> Result<(Label, Form), DataProblem> {
        match value.as_u64().and_then(|number| usize::try_from(number).ok()) {
            Some(number) => Ok((Label::Choice(number), Form::Names)),
            None => Ok((Label::Class(class_name(value)?), Form::Names)),
        }
    }

    fn settle(&self, examples: &mut [Example], _forms: &[Form], problems: &mut Problems) -> Vec<String> {
        settle_choices(examples, problems);
        Vec::new()
    }

    fn takes(&self, label: &Label) -> bool {
        matches!(label, Label::Choice(_))
    }

    fn head(&self, data: &Dataset, _names: &[String]) -> Result<HeadConfig, DataError> {
        let most = data.examples().iter().map(|example| example.choices.len()).max();
        Ok(HeadConfig::multiple_choice(most.unwrap_or(0)))
    }

    fn targets(&self, data: &Dataset, head: &HeadConfig, _: &[Vec<Option<Piece>>]) -> Result<Targets, DataError> {
        let right = collect(data, head, |_, label| match label {
            Label::Choice(number) => Ok(*number),
            other => Err(Wrong::kind(other, Label::CHOICE)),
        })?;
        let examples = data.examples().iter().zip(right).enumerate();
        let rows = examples.flat_map(|(question, (example, right))| {
            (0..example.choices.len()).map(move |choice| ChoiceTarget { question, right: choice == right })
        });
        Ok(Targets::Choices(rows.collect()))
    }

    fn metrics(&self) -> &'static [Metric] {
        &[Metric::ACCURACY]
    }

    fn score(&self, _head: &HeadConfig, logits: &[Vec<f32>], targets: &Targets) -> Scores {
        let Targets::Choices(rows) = targets else { return Scores::new(self, []) };
        let rows: Vec<(&ChoiceTarget, f32)> =
            rows.iter().zip(logits.iter().map(|row| row.first().copied().unwrap_or(f32::NEG_INFINITY))).collect();
        let (mut right, mut all) = (0, 0);
        for choices in rows.chunk_by(|a, b| a.0.question == b.0.question) {
            let logits: Vec<f32> = choices.iter().map(|choice| choice.1).collect();
            right += usize::from(choices.get(greatest(&logits)).is_some_and(|choice| choice.0.right));
            all += 1;
        }
        Scores::new(self, [(Metric::ACCURACY, ratio(right, all))])
    }

    fn decode(&self, _head: &HeadConfig, logits: Vec<f32>) -> Prediction {
        let (probabilities, labels) = (softmax(&logits), vec![greatest(&logits)]);
        Prediction { logits, probabilities, labels }
    }

    fn headers(&self) -> &'static [&'static str] {
        &["choice", "probability", "text"]
    }

    fn cells(&self, head: &HeadConfig, prediction: &Prediction, text: &TextPieces<'_>) -> [String; 2] {
        let _ = head;
        let best = prediction.labels.first().copied().unwrap_or(0);
        let choice = text.choices.get(best).cloned().unwrap_or_else(|| best.to_string());
        [choice, prediction.probabilities.get(best).map_or_else(String::new, |value| format!("{value:.4}"))]
    }

    fn json(&self, head: &HeadConfig, prediction: &Prediction, text: &TextPieces<'_>) -> Vec<(&'static str, Value)> {
        let best = prediction.labels.first().copied();
        let choice = best.and_then(|best| text.choices.get(best));
        vec![
            ("choice", choice.map_or(Value::Null, |choice| choice.as_str().into())),
            ("index", self.json_label(head, prediction)),
            ("logits", json_numbers(&prediction.logits)),
            ("probabilities", json_numbers(&prediction.probabilities)),
        ]
    }

    /// The number of the choice, from 0.
    fn json_label(&self, _head: &HeadConfig, prediction: &Prediction) -> Value {
        prediction.labels.first().map_or(Value::Null, |label| (*label).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accuracy_is_the_fraction_of_questions_whose_right_choice_has_the_greatest_logit() {
        let row = |question, right| ChoiceTarget { question, right };
        let targets = Targets::Choices(vec![row(0, false), row(0, true), row(1, true), row(1, false), row(1, false)]);
        let logits = [0.5, 0.75, 1.0, 2.0, 0.0].map(|logit| vec![logit]);
        let scores = MultipleChoice.score(&HeadConfig::multiple_choice(3), &logits, &targets);
        assert_eq!(scores.metric(Metric::ACCURACY), Some(0.5));
    }
}
