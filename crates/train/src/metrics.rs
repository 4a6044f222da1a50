//! Metrics and scores.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::tasks::{TRAIN_TASKS, TrainTask};

/// A number for comparing evaluations. Each [task](crate::TrainTask::metrics) has its own metrics.
///
/// ```
/// use burn_adapters_train::Metric;
///
/// assert_eq!("macro_f1".parse(), Ok(Metric::MACRO_F1));
/// assert!(Metric::LOSS.is_better(0.1, 0.2) && Metric::ACCURACY.is_better(0.2, 0.1));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Metric {
    name: &'static str,
    title: &'static str,
    less_is_better: bool,
    mean_of_rows: bool,
}

impl Metric {
    /// The mean loss.
    pub const LOSS: Metric = Metric::new("loss", "loss").less_is_better().mean_of_rows();
    /// The fraction of correct predictions; in multilabel classification, all labels of a text must be correct.
    pub const ACCURACY: Metric = Metric::new("accuracy", "accuracy").mean_of_rows();
    /// The unweighted mean of the F1 scores of all classes.
    pub const MACRO_F1: Metric = Metric::new("macro_f1", "macro-F1");
    /// The F1 score of all decisions together.
    pub const MICRO_F1: Metric = Metric::new("micro_f1", "micro-F1");

    /// A metric of which more is better. `name` is used in files and options, `title` for display.
    pub const fn new(name: &'static str, title: &'static str) -> Self {
        Self { name, title, less_is_better: false, mean_of_rows: false }
    }

    /// Declares that less is better.
    pub const fn less_is_better(self) -> Self {
        Self { less_is_better: true, ..self }
    }

    /// Declares that the metric is a mean over rows, so that its value for two data sets together follows from the
    /// values for each.
    pub const fn mean_of_rows(self) -> Self {
        Self { mean_of_rows: true, ..self }
    }

    /// Every metric: the loss, and those of all tasks.
    pub fn all() -> Vec<Metric> {
        let mut all = vec![Metric::LOSS];
        for metric in TRAIN_TASKS.iter().flat_map(|task| task.metrics()) {
            if !all.iter().any(|other| other.name == metric.name) {
                all.push(*metric);
            }
        }
        all
    }

    /// The name: `macro_f1`.
    pub fn name(self) -> &'static str {
        self.name
    }

    /// The name for display: `macro-F1`.
    pub fn title(self) -> &'static str {
        self.title
    }

    /// Whether the metric is a mean over rows.
    pub fn is_mean_of_rows(self) -> bool {
        self.mean_of_rows
    }

    /// Whether `value` is better than `best`. NaN is never better.
    pub fn is_better(self, value: f64, best: f64) -> bool {
        let better = if self.less_is_better { value < best } else { value > best };
        better || (best.is_nan() && !value.is_nan())
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Metric {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = Metric::all();
        all.iter().copied().find(|metric| metric.name() == text).ok_or_else(|| {
            let known: Vec<&str> = all.iter().map(|metric| metric.name()).collect();
            format!("unknown metric `{text}`: expected one of {}", known.join(", "))
        })
    }
}

impl Serialize for Metric {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Metric {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The scores of one class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassScore {
    /// The class.
    pub label: String,
    /// Precision: the fraction of examples predicted as this class that belong to it; 0 if there are none.
    pub precision: f64,
    /// Recall: the fraction of examples of this class that are predicted as it; 0 if there are none.
    pub recall: f64,
    /// The harmonic mean of the two; 0 if both are 0.
    pub f1: f64,
    /// The number of examples of this class.
    pub support: usize,
}

impl ClassScore {
    /// The scores of a class with `predicted` predictions, of which `true_positives` are correct, and `support`
    /// examples.
    pub fn new(label: &str, true_positives: usize, predicted: usize, support: usize) -> Self {
        let precision = ratio(true_positives, predicted);
        let recall = ratio(true_positives, support);
        let f1 = ratio(2 * true_positives, predicted + support);
        Self { label: label.to_owned(), precision, recall, f1, support }
    }
}

/// The scores of a head: a value for each [metric](crate::TrainTask::metrics) of its task, and those of each class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// The name of the task.
    pub task: String,
    /// The metrics, without the loss.
    pub metrics: Vec<(Metric, f64)>,
    /// The scores of each class, if there are classes.
    pub classes: Vec<ClassScore>,
    /// The confusion matrix in classification: how many examples of each class (row) are predicted as each class
    /// (column). Absent with more than [`MAX_CONFUSION`](Self::MAX_CONFUSION) classes, because it grows quadratically.
    pub confusion: Option<Vec<Vec<usize>>>,
}

impl Scores {
    /// The most classes of a confusion matrix.
    pub const MAX_CONFUSION: usize = 2048;

    /// The scores of a task, without those of classes.
    pub fn new(task: &dyn TrainTask, metrics: impl Into<Vec<(Metric, f64)>>) -> Self {
        Self { task: task.task().name().to_owned(), metrics: metrics.into(), classes: Vec::new(), confusion: None }
    }

    /// The value of a metric, if the task has it.
    pub fn metric(&self, metric: Metric) -> Option<f64> {
        self.metrics.iter().find(|(known, _)| *known == metric).map(|(_, value)| *value)
    }
}

pub(crate) fn ratio(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

pub(crate) fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::tasks::regression::PEARSON;

    #[test]
    fn nan_is_better_only_than_nothing() {
        assert!(Metric::LOSS.is_better(0.5, 0.6) && !Metric::LOSS.is_better(0.6, 0.6));
        assert!(Metric::ACCURACY.is_better(0.7, 0.6) && !Metric::ACCURACY.is_better(f64::NAN, 0.6));
        assert!(PEARSON.is_better(0.1, f64::NAN));
    }

    #[test]
    fn metrics_are_known_by_name() {
        for metric in Metric::all() {
            assert_eq!(metric.name().parse(), Ok(metric));
            let text = serde_json::to_string(&metric).unwrap();
            assert_eq!(serde_json::from_str::<Metric>(&text).unwrap(), metric);
        }
        assert!("f2".parse::<Metric>().unwrap_err().contains("macro_f1"));
    }
}
