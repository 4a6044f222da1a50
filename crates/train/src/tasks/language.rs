//! Language modeling: the tokens of a text, each predicted from others.
//!
//! Texts have no labels: the tokens that are predicted are their own (masked and causal language modeling), or those of a
//! target text (encoder-decoder models). Logits over a whole vocabulary are many, so scores are made of two numbers for
//! each token: the logarithm of its probability, and whether no other token was more probable.

use burn_adapters_heads::{CAUSAL_LM, HeadConfig, LanguageModeling, MASKED_LM, SEQ2SEQ_LM, Targets, Task};
use burn_adapters_model::Piece;
use serde_json::{Value, json};

use super::{TextForm, TrainTask, greatest};
use crate::data::{Dataset, Form, named};
use crate::metrics::ratio;
use crate::{DataError, DataProblem, Label, Metric, Prediction, Scores};

/// Predicting the tokens of texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Language {
    task: &'static LanguageModeling,
    form: TextForm,
}

/// Masked language modeling: the tokens that were masked. See [`MASKED_FRACTION`](crate::MASKED_FRACTION).
pub static MASKED: Language = Language { task: &MASKED_LM, form: TextForm::Masked };
/// Causal language modeling: each token from those before it.
pub static CAUSAL: Language = Language { task: &CAUSAL_LM, form: TextForm::Causal };
/// Language modeling by the decoder of an encoder-decoder model: a target text from a text.
pub static SEQ2SEQ: Language = Language { task: &SEQ2SEQ_LM, form: TextForm::Target };

/// The exponential of the mean loss of a token.
pub const PERPLEXITY: Metric = Metric::new("perplexity", "perplexity").less_is_better();

impl TrainTask for Language {
    fn task(&self) -> &'static dyn Task {
        self.task
    }

    fn columns(&self) -> [&'static str; 2] {
        ["text", "target"]
    }

    fn is_labeled(&self) -> bool {
        self.form == TextForm::Target
    }

    fn form(&self) -> TextForm {
        self.form
    }

    fn read_cell(&self, cell: &str) -> Result<(Label, Form), DataProblem> {
        if cell.trim().is_empty() {
            return Err(DataProblem::EmptyLabel);
        }
        Ok((Label::Text(cell.to_owned()), Form::Names))
    }

    fn read_json(&self, value: &Value) -> Result<(Label, Form), DataProblem> {
        match value {
            Value::String(text) => self.read_cell(text),
            Value::Null => Err(DataProblem::EmptyLabel),
            other => Err(DataProblem::WrongType { what: "target", found: named(other), expected: "a text" }),
        }
    }

    fn takes(&self, label: &Label) -> bool {
        self.is_labeled() && matches!(label, Label::Text(_))
    }

    fn head(&self, data: &Dataset, _names: &[String]) -> Result<HeadConfig, DataError> {
        let message =
            "a language-model head depends on the model's vocabulary, not on the data: Task::language_head".into();
        Err(DataError::Malformed { source_name: data.source().to_owned(), message })
    }

    /// The targets depend on the tokens: [`TokenData`](crate::TokenData) has them.
    fn targets(&self, data: &Dataset, _: &HeadConfig, _: &[Vec<Option<Piece>>]) -> Result<Targets, DataError> {
        Ok(Targets::Tokens(vec![Vec::new(); data.len()]))
    }

    fn metrics(&self) -> &'static [Metric] {
        &[PERPLEXITY, Metric::ACCURACY]
    }

    fn score(&self, _head: &HeadConfig, values: &[Vec<f32>], _targets: &Targets) -> Scores {
        let tokens = || values.iter().flat_map(|row| row.chunks_exact(2));
        let count = tokens().count();
        let sum: f64 = tokens().map(|token| f64::from(token[0])).sum();
        let right = tokens().filter(|token| token[1] > 0.5).count();
        let perplexity = (-sum / count.max(1) as f64).exp();
        Scores::new(self, [(PERPLEXITY, perplexity), (Metric::ACCURACY, ratio(right, count))])
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
    use super::*;

    #[test]
    fn perplexity_and_accuracy_are_over_all_tokens() {
        let half = 0.5f32.ln();
        let values = [vec![half, 1.0, half, 0.0], vec![], vec![2.0 * half, 0.0]];
        let scores = CAUSAL.score(&HeadConfig::causal_lm(9), &values, &Targets::Tokens(vec![]));
        assert!((scores.metric(PERPLEXITY).unwrap() - 2f64.powf(4.0 / 3.0)).abs() < 1e-6);
        assert!((scores.metric(Metric::ACCURACY).unwrap() - 1.0 / 3.0).abs() < 1e-9);
    }
}
