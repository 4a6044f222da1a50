//! Classification: each text has one class.

use burn_adapters_heads::{HeadConfig, Targets, Task};
use burn_adapters_model::Piece;
use serde_json::Value;

use super::{TrainTask, greatest, softmax};
use crate::data::{Dataset, Form, Wrong, check_length, class_name, collect};
use crate::metrics::{mean, ratio};
use crate::{ClassScore, DataError, DataProblem, Label, Metric, Prediction, Scores};

/// One class per text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Classification;

impl TrainTask for Classification {
    fn task(&self) -> &'static dyn Task {
        &burn_adapters_heads::Classification
    }

    fn read_cell(&self, cell: &str) -> Result<(Label, Form), DataProblem> {
        let name = cell.trim();
        if name.is_empty() {
            return Err(DataProblem::EmptyLabel);
        }
        check_length(name)?;
        Ok((Label::Class(name.to_owned()), Form::Names))
    }

    fn read_json(&self, value: &Value) -> Result<(Label, Form), DataProblem> {
        Ok((Label::Class(class_name(value)?), Form::Names))
    }

    fn trims(&self) -> bool {
        true
    }

    fn takes(&self, label: &Label) -> bool {
        matches!(label, Label::Class(_))
    }

    fn head(&self, data: &Dataset, names: &[String]) -> Result<HeadConfig, DataError> {
        match names {
            [one] => Err(DataError::OneClass { source_name: data.source().to_owned(), label: one.clone() }),
            names => Ok(HeadConfig::classification(names.len()).with_labels(names)),
        }
    }

    fn targets(&self, data: &Dataset, head: &HeadConfig, _: &[Vec<Option<Piece>>]) -> Result<Targets, DataError> {
        let target = collect(data, head, |known, label| match label {
            Label::Class(name) => known.index(name),
            other => Err(Wrong::kind(other, Label::CLASS)),
        });
        Ok(Targets::Classes(target?))
    }

    fn metrics(&self) -> &'static [Metric] {
        &[Metric::ACCURACY, Metric::MACRO_F1, Metric::MICRO_F1]
    }

    /// If every example has exactly one label and one prediction, the micro-F1 equals the accuracy.
    fn is_shown(&self, metric: Metric) -> bool {
        metric != Metric::MICRO_F1
    }

    fn score(&self, head: &HeadConfig, logits: &[Vec<f32>], targets: &Targets) -> Scores {
        let Targets::Classes(truth) = targets else { return Scores::new(self, []) };
        let found: Vec<usize> = logits.iter().map(|logits| greatest(logits)).collect();
        scores(&head.labels(), truth, &found)
    }

    fn decode(&self, _head: &HeadConfig, logits: Vec<f32>) -> Prediction {
        let (probabilities, labels) = (softmax(&logits), vec![greatest(&logits)]);
        Prediction { logits, probabilities, labels }
    }

    fn json_label(&self, head: &HeadConfig, prediction: &Prediction) -> Value {
        prediction.labels.last().map_or(Value::Null, |label| head.label_of(*label).into())
    }
}

/// Compares predicted classes with the true ones. Numbers that are not labels count as wrong, and are not part of the
/// confusion matrix. The macro-F1 is over the classes that occur in the data or the predictions.
fn scores(labels: &[String], truth: &[usize], predictions: &[usize]) -> Scores {
    let count = labels.len();
    let side = if count <= Scores::MAX_CONFUSION { count } else { 0 };
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
    let accuracy = ratio(right, truth.len());
    let metrics =
        vec![(Metric::ACCURACY, accuracy), (Metric::MACRO_F1, mean(&occurring)), (Metric::MICRO_F1, accuracy)];
    Scores { classes, confusion: (side > 0).then_some(confusion), ..Scores::new(&Classification, metrics) }
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
        let scores = scores(&names(&["a", "b", "c"]), &truth, &found);
        assert_eq!(scores.confusion.as_deref().unwrap(), [[3, 1, 0], [1, 1, 0], [0, 1, 0]]);
        close(scores.metric(Metric::ACCURACY).unwrap(), 4.0 / 7.0);
        close(scores.classes[0].precision, 0.75);
        close(scores.classes[0].recall, 0.75);
        close(scores.classes[1].precision, 1.0 / 3.0);
        close(scores.classes[1].recall, 0.5);
        close(scores.classes[1].f1, 0.4);
        close(scores.classes[2].f1, 0.0);
        close(scores.metric(Metric::MACRO_F1).unwrap(), (0.75 + 0.4) / 3.0);
        assert_eq!(scores.classes.iter().map(|class| class.support).collect::<Vec<_>>(), [4, 2, 1]);
    }

    #[test]
    fn a_class_that_occurs_nowhere_does_not_pull_the_mean_down() {
        let scores = scores(&names(&["a", "b", "c"]), &[0, 1], &[0, 1]);
        close(scores.metric(Metric::MACRO_F1).unwrap(), 1.0);
    }
}
