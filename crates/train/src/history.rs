//! What happened in a training.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Evaluation, HeadEvaluation, Metric};

/// Everything that a training reports, step by step. It holds no times, so that two runs give the same.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct History {
    /// Each optimizer step.
    pub steps: Vec<StepRecord>,
    /// Each evaluation.
    pub evaluations: Vec<EvaluationRecord>,
    /// The best epoch so far, if the training has a metric to tell it by.
    pub best: Option<Best>,
}

/// One optimizer step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// The step, from 1.
    pub step: usize,
    /// The epoch, from 1.
    pub epoch: usize,
    /// The mean loss of the step's examples, before the step.
    pub loss: f64,
    /// The learning rate.
    pub learning_rate: f64,
    /// The norm of the gradients, before clipping.
    pub gradient_norm: f64,
    /// The number of examples.
    pub examples: usize,
    /// The number of tokens, padding not counted.
    pub tokens: usize,
    /// The number of positions that were computed, padding counted.
    pub positions: usize,
}

/// One evaluation, as the history keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvaluationRecord {
    /// The optimizer step after which it was made; 0 for the start.
    pub step: usize,
    /// The epoch after which it was made; 0 for the start.
    pub epoch: usize,
    /// The metrics by name, the loss among them. Values that are no numbers are absent. Of several heads the loss is the
    /// sum, as in training, and of the other metrics the mean, where all of them have it.
    pub metrics: BTreeMap<String, f64>,
    /// The metrics of each head, where there are several.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub heads: BTreeMap<String, BTreeMap<String, f64>>,
}

impl EvaluationRecord {
    pub(crate) fn new(step: usize, epoch: usize, evaluations: &[HeadEvaluation]) -> Self {
        let metrics = |value: &dyn Fn(Metric) -> Option<f64>| {
            let known = Metric::ALL.into_iter().filter_map(|metric| Some((metric.name().to_owned(), value(metric)?)));
            known.filter(|(_, value)| value.is_finite()).map(|(name, value)| (name, rounded(value))).collect()
        };
        let one = |evaluation: &Evaluation| metrics(&|metric| evaluation.metric(metric));
        if let [HeadEvaluation { evaluation, .. }] = evaluations {
            return Self { step, epoch, metrics: one(evaluation), heads: BTreeMap::new() };
        }
        let heads = evaluations.iter().map(|head| (head.head.clone(), one(&head.evaluation))).collect();
        let together = metrics(&|metric| {
            let values = evaluations.iter().map(|head| head.evaluation.metric(metric));
            let values: Vec<f64> = values.collect::<Option<_>>()?;
            let sum: f64 = values.iter().sum();
            Some(if metric == Metric::Loss { sum } else { sum / values.len() as f64 })
        });
        Self { step, epoch, metrics: together, heads }
    }

    /// The value of a metric, if the head has it and it is a number.
    pub fn metric(&self, metric: Metric) -> Option<f64> {
        self.metrics.get(metric.name()).copied()
    }
}

/// A value as the history keeps it: with ten digits, and no more than 18 behind the point. Such numbers come out of JSON
/// as they went in, which those with all digits need not; so a resumed training has the history of one in one go.
pub(crate) fn rounded(value: f64) -> f64 {
    let text = if value.abs() < 1e-9 { format!("{value:.18}") } else { format!("{value:.9e}") };
    text.parse().unwrap_or(value)
}

/// The best epoch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// The epoch, from 1; 0 for the start.
    pub epoch: usize,
    /// The optimizer step.
    pub step: usize,
    /// What it is best by.
    pub metric: Metric,
    /// Its value.
    pub value: f64,
}

/// Why a training ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stopped {
    /// All epochs are done.
    Finished,
    /// There was no better evaluation for the patience that was given.
    Early,
    /// The observer asked for it.
    Interrupted,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn rounded_values_come_out_of_json_as_they_went_in() {
        let mut value = 1_234.567_890_123_457;
        for _ in 0..2000 {
            value *= 0.983_217_654_321;
            let kept = rounded(value);
            assert!((kept - value).abs() <= value * 1e-9 + 1e-18);
            assert_eq!(serde_json::from_str::<f64>(&serde_json::to_string(&kept).unwrap()).unwrap(), kept);
        }
        assert_eq!(rounded(0.0), 0.0);
        assert_eq!(rounded(0.5), 0.5);
    }
}
