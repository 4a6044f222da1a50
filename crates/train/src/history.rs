//! The history of training.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Evaluation, HeadEvaluation, Metric};

/// Everything that training reports, step by step. It contains no times, so that two runs have equal histories.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct History {
    /// The optimizer steps.
    pub steps: Vec<StepRecord>,
    /// The evaluations.
    pub evaluations: Vec<EvaluationRecord>,
    /// The best epoch so far, if there is a metric for it. The start is never the best; of equal epochs the latest is.
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

/// One evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvaluationRecord {
    /// The optimizer step before the evaluation; 0 for the start.
    pub step: usize,
    /// The epoch before the evaluation; 0 for the start.
    pub epoch: usize,
    /// The metrics by name, including the loss; values that are not finite are absent. With several heads the loss is
    /// the sum, as in training; each other metric that all heads have is the mean.
    pub metrics: BTreeMap<String, f64>,
    /// The metrics of each head, if there are several.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub heads: BTreeMap<String, BTreeMap<String, f64>>,
}

impl EvaluationRecord {
    pub(crate) fn new(step: usize, epoch: usize, evaluations: &[HeadEvaluation]) -> Self {
        let metrics = |value: &dyn Fn(Metric) -> Option<f64>| {
            let known = Metric::all().into_iter().filter_map(|metric| Some((metric.name().to_owned(), value(metric)?)));
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
            Some(if metric == Metric::LOSS { sum } else { sum / values.len() as f64 })
        });
        Self { step, epoch, metrics: together, heads }
    }

    /// The value of a metric, if the head has it and it is finite.
    pub fn metric(&self, metric: Metric) -> Option<f64> {
        self.metrics.get(metric.name()).copied()
    }
}

/// Rounds a value to ten digits, and at most 18 after the decimal point. Such values survive a round trip through JSON,
/// unlike some with all digits, so the history of resumed training equals that of uninterrupted training.
pub(crate) fn rounded(value: f64) -> f64 {
    let text = if value.abs() < 1e-9 { format!("{value:.18}") } else { format!("{value:.9e}") };
    text.parse().unwrap_or(value)
}

/// The best epoch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// The epoch, from 1.
    pub epoch: usize,
    /// The optimizer step.
    pub step: usize,
    /// The metric.
    pub metric: Metric,
    /// Its value.
    pub value: f64,
}

/// Training in which no epoch is better than the start.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct NoGain {
    /// The metric.
    pub metric: Metric,
    /// The value before training.
    pub start: f64,
    /// The best epoch and its value; `None` if the metric was not finite after any epoch.
    pub best: Option<(usize, f64)>,
}

impl fmt::Display for NoGain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { metric, start, best } = self;
        match best {
            Some((epoch, value)) if value == start => write!(
                f,
                "no epoch was better than the start: {metric} is {value:.4} before training and after the best epoch \
                 ({epoch})"
            ),
            Some((epoch, value)) => write!(
                f,
                "no epoch was better than the start: {metric} is {start:.4} before training, and {value:.4} after the \
                 best epoch ({epoch})"
            ),
            None => write!(
                f,
                "no epoch was better than the start: {metric} is {start:.4} before training, and not a finite number \
                 after any epoch; the last epoch is kept"
            ),
        }?;
        write!(f, "; the training data, the learning rate or the number of epochs may be at fault")
    }
}

impl History {
    /// A warning for training that has a metric for the best epoch, was evaluated before its first step, and never
    /// improved; `None` otherwise.
    /// ```
    /// use burn_adapters_train::{Best, EvaluationRecord, History, Metric};
    ///
    /// let record = |epoch, accuracy| EvaluationRecord {
    ///     step: epoch * 8,
    ///     epoch,
    ///     metrics: [("accuracy".to_owned(), accuracy)].into(),
    ///     heads: Default::default(),
    /// };
    /// let best = Some(Best { epoch: 1, step: 8, metric: Metric::ACCURACY, value: 0.9 });
    /// let history = History { steps: vec![], evaluations: vec![record(0, 0.9), record(1, 0.9)], best };
    /// let no_gain = history.no_gain(Metric::ACCURACY).unwrap();
    /// assert_eq!((no_gain.start, no_gain.best), (0.9, Some((1, 0.9))));
    /// ```
    pub fn no_gain(&self, metric: Metric) -> Option<NoGain> {
        let start = self.evaluations.iter().find(|record| record.epoch == 0)?.metric(metric)?;
        let best = self.best.filter(|best| best.metric == metric).map(|best| (best.epoch, best.value));
        let trained = self.evaluations.iter().any(|record| record.epoch > 0);
        let gained = best.is_some_and(|(_, value)| metric.is_better(value, start));
        (trained && !gained).then_some(NoGain { metric, start, best })
    }

    /// The number of evaluations since the last improvement; the start does not count.
    pub(crate) fn evaluations_without_gain(&self, metric: Metric) -> usize {
        let (mut best, mut count): (Option<f64>, usize) = (None, 0);
        for record in self.evaluations.iter().filter(|record| record.epoch > 0) {
            match record.metric(metric) {
                Some(value) if best.is_none_or(|best| metric.is_better(value, best)) => {
                    best = Some(value);
                    count = 0;
                }
                _ => count += 1,
            }
        }
        count
    }

    /// The mean loss of the steps of each epoch.
    pub fn epoch_losses(&self) -> Vec<f64> {
        let epochs = self.steps.last().map_or(0, |step| step.epoch);
        let mean = |epoch| {
            let losses = self.steps.iter().filter(|step| step.epoch == epoch).map(|step| step.loss);
            losses.clone().sum::<f64>() / losses.count().max(1) as f64
        };
        (1..=epochs).map(mean).collect()
    }
}

/// The reason why training ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stopped {
    /// All epochs are completed.
    Finished,
    /// There was no improvement for the given patience.
    Early,
    /// The observer requested it.
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
