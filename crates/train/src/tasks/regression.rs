//! Regression: a number per text.

use burn_adapters_heads::{HeadConfig, Targets, Task};
use burn_adapters_model::Piece;
use serde_json::Value;

use super::{TextPieces, TrainTask, json_number};
use crate::data::{Dataset, Form, Wrong, collect, named, number};
use crate::metrics::mean;
use crate::{DataError, DataProblem, Label, Metric, Prediction, Scores};

/// A number per text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Regression;

/// The mean squared error.
pub const MEAN_SQUARED_ERROR: Metric =
    Metric::new("mean_squared_error", "mean squared error").less_is_better().mean_of_rows();
/// The mean absolute error.
pub const MEAN_ABSOLUTE_ERROR: Metric =
    Metric::new("mean_absolute_error", "mean absolute error").less_is_better().mean_of_rows();
/// Pearson's correlation; NaN if the truth or the predictions are all the same.
pub const PEARSON: Metric = Metric::new("pearson", "Pearson's correlation");

impl TrainTask for Regression {
    fn task(&self) -> &'static dyn Task {
        &burn_adapters_heads::Regression
    }

    fn read_cell(&self, cell: &str) -> Result<(Label, Form), DataProblem> {
        Ok((number(cell)?, Form::Names))
    }

    fn read_json(&self, value: &Value) -> Result<(Label, Form), DataProblem> {
        let label = match value {
            Value::Number(number) => Label::Number(number.as_f64().unwrap_or(f64::NAN)),
            Value::String(text) => number(text)?,
            Value::Null => return Err(DataProblem::EmptyLabel),
            other => return Err(DataProblem::NotANumber { found: named(other) }),
        };
        Ok((label, Form::Names))
    }

    fn takes(&self, label: &Label) -> bool {
        matches!(label, Label::Number(_))
    }

    fn head(&self, _data: &Dataset, _names: &[String]) -> Result<HeadConfig, DataError> {
        Ok(HeadConfig::regression())
    }

    fn targets(&self, data: &Dataset, head: &HeadConfig, _: &[Vec<Option<Piece>>]) -> Result<Targets, DataError> {
        let target = collect(data, head, |_, label| match label {
            Label::Number(number) => Ok(*number as f32),
            Label::Class(name) => Err(DataProblem::NotANumber { found: name.clone() }.into()),
            other => Err(Wrong::kind(other, Label::NUMBER)),
        });
        Ok(Targets::Values(target?))
    }

    fn metrics(&self) -> &'static [Metric] {
        &[MEAN_SQUARED_ERROR, MEAN_ABSOLUTE_ERROR, PEARSON]
    }

    fn score(&self, _head: &HeadConfig, logits: &[Vec<f32>], targets: &Targets) -> Scores {
        let Targets::Values(truth) = targets else { return Scores::new(self, []) };
        let found: Vec<f32> = logits.iter().flatten().copied().collect();
        scores(truth, &found)
    }

    fn decode(&self, _head: &HeadConfig, logits: Vec<f32>) -> Prediction {
        Prediction { logits, probabilities: Vec::new(), labels: Vec::new() }
    }

    fn cells(&self, _head: &HeadConfig, prediction: &Prediction, _: &TextPieces<'_>) -> [String; 2] {
        [prediction.logits.first().map(|value| format!("{value:.4}")).unwrap_or_default(), String::new()]
    }

    fn json_label(&self, _head: &HeadConfig, prediction: &Prediction) -> Value {
        prediction.logits.first().map_or(Value::Null, |value| json_number(*value))
    }
}

/// Compares predicted numbers with the true ones.
fn scores(truth: &[f32], predictions: &[f32]) -> Scores {
    let truth: Vec<f64> = truth.iter().map(|value| f64::from(*value)).collect();
    let found: Vec<f64> = predictions.iter().map(|value| f64::from(*value)).collect();
    let errors: Vec<f64> = truth.iter().zip(&found).map(|(truth, found)| found - truth).collect();
    let (mean_truth, mean_found) = (mean(&truth), mean(&found));
    let (mut covariance, mut variance_truth, mut variance_found) = (0.0, 0.0, 0.0);
    for (truth, found) in truth.iter().zip(&found) {
        covariance += (truth - mean_truth) * (found - mean_found);
        variance_truth += (truth - mean_truth).powi(2);
        variance_found += (found - mean_found).powi(2);
    }
    let metrics = vec![
        (MEAN_SQUARED_ERROR, mean(&errors.iter().map(|error| error * error).collect::<Vec<_>>())),
        (MEAN_ABSOLUTE_ERROR, mean(&errors.iter().map(|error| error.abs()).collect::<Vec<_>>())),
        (PEARSON, covariance / (variance_truth * variance_found).sqrt()),
    ];
    Scores::new(&Regression, metrics)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn regression_is_scored_as_by_hand() {
        let close = |found: Option<f64>, expected: f64| assert!((found.unwrap() - expected).abs() < 1e-9, "{found:?}");
        let scored = scores(&[1.0, 2.0, 3.0, 4.0], &[2.0, 2.0, 5.0, 3.0]);
        close(scored.metric(MEAN_SQUARED_ERROR), 1.5);
        close(scored.metric(MEAN_ABSOLUTE_ERROR), 1.0);
        // Deviations (-1.5, -0.5, 0.5, 1.5) and (-1, -1, 2, 0): 3 / sqrt(5 * 6).
        close(scored.metric(PEARSON), 3.0 / 30f64.sqrt());
        assert!(scores(&[1.0, 1.0], &[1.0, 2.0]).metric(PEARSON).unwrap().is_nan());
    }
}
