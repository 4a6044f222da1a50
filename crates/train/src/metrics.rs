//! How good predictions are.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A single number by which evaluations are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// The mean loss.
    Loss,
    /// The part of the examples that are right; with several labels a text, right in every label.
    Accuracy,
    /// The mean of the F1 of all classes.
    MacroF1,
    /// The F1 of all decisions together.
    MicroF1,
    /// The mean squared error.
    MeanSquaredError,
    /// Pearson's correlation.
    Pearson,
}

impl Metric {
    /// Every metric.
    pub const ALL: [Metric; 6] =
        [Metric::Loss, Metric::Accuracy, Metric::MacroF1, Metric::MicroF1, Metric::MeanSquaredError, Metric::Pearson];

    /// `loss`, `accuracy`, `macro_f1`, `micro_f1`, `mean_squared_error` or `pearson`.
    pub fn name(self) -> &'static str {
        match self {
            Metric::Loss => "loss",
            Metric::Accuracy => "accuracy",
            Metric::MacroF1 => "macro_f1",
            Metric::MicroF1 => "micro_f1",
            Metric::MeanSquaredError => "mean_squared_error",
            Metric::Pearson => "pearson",
        }
    }

    /// Whether `value` is better than `best`. A value that is no number is never better.
    pub fn is_better(self, value: f64, best: f64) -> bool {
        match self {
            Metric::Loss | Metric::MeanSquaredError => value < best || (best.is_nan() && !value.is_nan()),
            _ => value > best || (best.is_nan() && !value.is_nan()),
        }
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
        Metric::ALL.into_iter().find(|metric| metric.name() == text).ok_or_else(|| {
            let known: Vec<&str> = Metric::ALL.iter().map(|metric| metric.name()).collect();
            format!("unknown metric `{text}`: expected one of {}", known.join(", "))
        })
    }
}

/// How well one class is found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassScore {
    /// The class.
    pub label: String,
    /// Of the examples that were put into the class, the part that belongs there; 0 if there were none.
    pub precision: f64,
    /// Of the examples that belong into the class, the part that was put there; 0 if there were none.
    pub recall: f64,
    /// The harmonic mean of the two; 0 if both are 0.
    pub f1: f64,
    /// How many examples belong into the class.
    pub support: usize,
}

impl ClassScore {
    fn new(label: &str, true_positives: usize, predicted: usize, support: usize) -> Self {
        let precision = ratio(true_positives, predicted);
        let recall = ratio(true_positives, support);
        let f1 = ratio(2 * true_positives, predicted + support);
        Self { label: label.to_owned(), precision, recall, f1, support }
    }
}

/// Scores of a classification.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassScores {
    /// The part of the examples that are right.
    pub accuracy: f64,
    /// The mean of the classes' F1, over the classes that occur in the data or the predictions.
    pub macro_f1: f64,
    /// Each class.
    pub classes: Vec<ClassScore>,
    /// How many examples of each class (row) were put into each class (column). Empty where there are more than
    /// [`MAX_CONFUSION`](Self::MAX_CONFUSION) classes: it grows with the square of their number.
    pub confusion: Vec<Vec<usize>>,
}

impl ClassScores {
    /// The most classes that a confusion matrix is made for.
    pub const MAX_CONFUSION: usize = 2048;

    /// Compares predictions with the truth. Numbers that stand for no label count as wrong, and are in no row or column
    /// of the confusion matrix.
    pub fn new(labels: &[String], truth: &[usize], predictions: &[usize]) -> Self {
        let count = labels.len();
        let side = if count <= Self::MAX_CONFUSION { count } else { 0 };
        let mut confusion = vec![vec![0; side]; side];
        let (mut hits, mut predicted, mut support) = (vec![0; count], vec![0; count], vec![0; count]);
        for (&truth, &prediction) in truth.iter().zip(predictions).filter(|(a, b)| **a < count && **b < count) {
            support[truth] += 1;
            predicted[prediction] += 1;
            hits[truth] += usize::from(truth == prediction);
            if side > 0 {
                confusion[truth][prediction] += 1;
            }
        }
        let score =
            |(class, label): (usize, &String)| ClassScore::new(label, hits[class], predicted[class], support[class]);
        let classes: Vec<ClassScore> = labels.iter().enumerate().map(score).collect();
        let occurs = |class: &usize| support[*class] > 0 || predicted[*class] > 0;
        let occurring: Vec<f64> = (0..count).filter(occurs).map(|class| classes[class].f1).collect();
        let right = truth.iter().zip(predictions).filter(|(truth, prediction)| truth == prediction).count();
        Self { accuracy: ratio(right, truth.len()), macro_f1: mean(&occurring), classes, confusion }
    }
}

/// Scores where any number of labels apply to a text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MultiLabelScores {
    /// The part of the examples that are right in every label.
    pub accuracy: f64,
    /// The F1 of all decisions together.
    pub micro_f1: f64,
    /// The mean of the labels' F1.
    pub macro_f1: f64,
    /// Each label.
    pub classes: Vec<ClassScore>,
}

impl MultiLabelScores {
    /// Compares predictions with the truth: a row of decisions for each example.
    pub fn new(labels: &[String], truth: &[Vec<bool>], predictions: &[Vec<bool>]) -> Self {
        let pairs = || truth.iter().zip(predictions);
        let (mut both, mut predicted, mut actual) = (0, 0, 0);
        let classes: Vec<ClassScore> = labels
            .iter()
            .enumerate()
            .map(|(class, label)| {
                let hits = pairs().filter(|(truth, found)| truth[class] && found[class]).count();
                let found = predictions.iter().filter(|row| row[class]).count();
                let support = truth.iter().filter(|row| row[class]).count();
                both += hits;
                predicted += found;
                actual += support;
                ClassScore::new(label, hits, found, support)
            })
            .collect();
        let f1: Vec<f64> = classes.iter().map(|class| class.f1).collect();
        Self {
            accuracy: ratio(pairs().filter(|(truth, found)| truth == found).count(), truth.len()),
            micro_f1: ratio(2 * both, predicted + actual),
            macro_f1: mean(&f1),
            classes,
        }
    }
}

/// Scores of a regression.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RegressionScores {
    /// The mean squared error.
    pub mean_squared_error: f64,
    /// The mean absolute error.
    pub mean_absolute_error: f64,
    /// Pearson's correlation; no number if the truth or the predictions are all the same.
    pub pearson: f64,
}

impl RegressionScores {
    /// Compares predictions with the truth.
    pub fn new(truth: &[f32], predictions: &[f32]) -> Self {
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
        Self {
            mean_squared_error: mean(&errors.iter().map(|error| error * error).collect::<Vec<_>>()),
            mean_absolute_error: mean(&errors.iter().map(|error| error.abs()).collect::<Vec<_>>()),
            pearson: covariance / (variance_truth * variance_found).sqrt(),
        }
    }
}

fn ratio(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
    }

    #[test]
    fn classes_are_scored_as_by_hand() {
        // a: 3 of 4 found, one of b taken for a. b: 1 of 2. c: never predicted, once there.
        let truth = [0, 0, 0, 0, 1, 1, 2];
        let found = [0, 0, 0, 1, 1, 0, 1];
        let scores = ClassScores::new(&names(&["a", "b", "c"]), &truth, &found);
        assert_eq!(scores.confusion, [[3, 1, 0], [1, 1, 0], [0, 1, 0]]);
        close(scores.accuracy, 4.0 / 7.0);
        close(scores.classes[0].precision, 0.75);
        close(scores.classes[0].recall, 0.75);
        close(scores.classes[1].precision, 1.0 / 3.0);
        close(scores.classes[1].recall, 0.5);
        close(scores.classes[1].f1, 0.4);
        close(scores.classes[2].f1, 0.0);
        close(scores.macro_f1, (0.75 + 0.4) / 3.0);
        assert_eq!(scores.classes.iter().map(|class| class.support).collect::<Vec<_>>(), [4, 2, 1]);
    }

    #[test]
    fn a_class_that_occurs_nowhere_does_not_pull_the_mean_down() {
        let scores = ClassScores::new(&names(&["a", "b", "c"]), &[0, 1], &[0, 1]);
        close(scores.macro_f1, 1.0);
    }

    #[test]
    fn several_labels_are_scored_as_by_hand() {
        let truth = vec![vec![true, false], vec![true, true], vec![false, false]];
        let found = vec![vec![true, false], vec![false, true], vec![false, true]];
        let scores = MultiLabelScores::new(&names(&["x", "y"]), &truth, &found);
        close(scores.accuracy, 1.0 / 3.0);
        close(scores.classes[0].f1, 2.0 / 3.0); // precision 1, recall 1/2
        close(scores.classes[1].f1, 2.0 / 3.0); // precision 1/2, recall 1
        close(scores.micro_f1, 2.0 * 2.0 / 6.0);
        close(scores.macro_f1, 2.0 / 3.0);
    }

    #[test]
    fn regression_is_scored_as_by_hand() {
        let scores = RegressionScores::new(&[1.0, 2.0, 3.0, 4.0], &[2.0, 2.0, 5.0, 3.0]);
        close(scores.mean_squared_error, 1.5);
        close(scores.mean_absolute_error, 1.0);
        // Deviations (-1.5, -0.5, 0.5, 1.5) and (-1, -1, 2, 0): 3 / sqrt(5 * 6).
        close(scores.pearson, 3.0 / 30f64.sqrt());
        assert!(RegressionScores::new(&[1.0, 1.0], &[1.0, 2.0]).pearson.is_nan());
    }

    #[test]
    fn no_number_is_better_only_than_nothing() {
        assert!(Metric::Loss.is_better(0.5, 0.6) && !Metric::Loss.is_better(0.6, 0.6));
        assert!(Metric::Accuracy.is_better(0.7, 0.6) && !Metric::Accuracy.is_better(f64::NAN, 0.6));
        assert!(Metric::Pearson.is_better(0.1, f64::NAN));
    }

    #[test]
    fn metrics_are_known_by_name() {
        for metric in Metric::ALL {
            assert_eq!(metric.name().parse(), Ok(metric));
        }
        assert!("f1".parse::<Metric>().unwrap_err().contains("macro_f1"));
    }
}
