//! Multilabel classification: any number of labels per text.

use burn_adapters_heads::{HeadConfig, Targets, Task};
use burn_adapters_model::Piece;
use serde_json::Value;

use super::TrainTask;
use crate::data::{Dataset, Example, Form, Problems, Wrong, collect, lists};
use crate::metrics::{mean, ratio};
use crate::{ClassScore, DataError, DataProblem, Label, Metric, Prediction, Scores};

/// Any number of labels per text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Multilabel;

/// The most targets (texts times labels): they take 1 GiB.
const MAX_TARGETS: usize = 1 << 28;

impl TrainTask for Multilabel {
    fn task(&self) -> &'static dyn Task {
        &burn_adapters_heads::Multilabel
    }

    fn read_cell(&self, cell: &str) -> Result<(Label, Form), DataProblem> {
        lists::of_cell(cell)
    }

    fn read_json(&self, value: &Value) -> Result<(Label, Form), DataProblem> {
        lists::of_json(value)
    }

    fn settle(&self, examples: &mut [Example], forms: &[Form], problems: &mut Problems) -> Vec<String> {
        lists::settle(examples, forms, problems);
        Vec::new()
    }

    fn takes(&self, label: &Label) -> bool {
        matches!(label, Label::Classes(_) | Label::Vector(_))
    }

    fn head(&self, data: &Dataset, names: &[String]) -> Result<HeadConfig, DataError> {
        if names.is_empty() {
            let message = "no label is ever given".to_owned();
            return Err(DataError::Malformed { source_name: data.source().to_owned(), message });
        }
        Ok(HeadConfig::multilabel_classification(names.len()).with_labels(names))
    }

    fn targets(&self, data: &Dataset, head: &HeadConfig, _: &[Vec<Option<Piece>>]) -> Result<Targets, DataError> {
        if data.len().saturating_mul(head.num_labels) > MAX_TARGETS {
            let message = format!(
                "{} texts with {} labels each are more than is held in memory: train on fewer texts or labels",
                data.len(),
                head.num_labels
            );
            return Err(DataError::Malformed { source_name: data.source().to_owned(), message });
        }
        let target = collect(data, head, |known, label| {
            let set = |names: &[String]| {
                let mut set = vec![0.0; known.len()];
                for name in names {
                    set[known.index(name)?] = 1.0;
                }
                Ok(set)
            };
            match label {
                Label::Class(name) => set(std::slice::from_ref(name)),
                Label::Classes(names) => set(names),
                Label::Vector(flags) if flags.len() == known.len() => {
                    Ok(flags.iter().map(|flag| f32::from(u8::from(*flag))).collect())
                }
                Label::Vector(flags) => {
                    let of = "label of the head".to_owned();
                    Err(DataProblem::VectorLength { found: flags.len(), expected: known.len(), of }.into())
                }
                other => Err(Wrong::kind(other, Label::CLASSES)),
            }
        });
        Ok(Targets::Sets(target?))
    }

    fn metrics(&self) -> &'static [Metric] {
        &[Metric::MICRO_F1, Metric::MACRO_F1, Metric::ACCURACY]
    }

    fn title(&self, metric: Metric) -> &'static str {
        if metric == Metric::ACCURACY { "exact match" } else { metric.title() }
    }

    fn score(&self, head: &HeadConfig, logits: &[Vec<f32>], targets: &Targets) -> Scores {
        let Targets::Sets(truth) = targets else { return Scores::new(self, []) };
        let truth: Vec<Vec<bool>> = truth.iter().map(|row| row.iter().map(|value| *value > 0.5).collect()).collect();
        let found: Vec<Vec<bool>> =
            logits.iter().map(|logits| logits.iter().map(|logit| *logit > 0.0).collect()).collect();
        scores(&head.labels(), &truth, &found)
    }

    fn decode(&self, _head: &HeadConfig, logits: Vec<f32>) -> Prediction {
        let labels = (0..logits.len()).filter(|label| logits[*label] > 0.0).collect();
        let probabilities = logits.iter().map(|logit| 1.0 / (1.0 + (-logit).exp())).collect();
        Prediction { logits, probabilities, labels }
    }

    fn json_label(&self, head: &HeadConfig, prediction: &Prediction) -> Value {
        prediction.labels.iter().map(|label| Value::from(head.label_of(*label))).collect()
    }
}

/// Compares predictions with the truth; each example is a row of decisions.
fn scores(labels: &[String], truth: &[Vec<bool>], predictions: &[Vec<bool>]) -> Scores {
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
    let accuracy = ratio(pairs().filter(|(truth, found)| truth == found).count(), truth.len());
    let metrics = vec![
        (Metric::ACCURACY, accuracy),
        (Metric::MICRO_F1, ratio(2 * both, predicted + actual)),
        (Metric::MACRO_F1, mean(&f1)),
    ];
    Scores { classes, ..Scores::new(&Multilabel, metrics) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn several_labels_are_scored_as_by_hand() {
        let close = |found: Option<f64>, expected: f64| assert!((found.unwrap() - expected).abs() < 1e-9, "{found:?}");
        let truth = vec![vec![true, false], vec![true, true], vec![false, false]];
        let found = vec![vec![true, false], vec![false, true], vec![false, true]];
        let scores = scores(&["x".to_owned(), "y".to_owned()], &truth, &found);
        close(scores.metric(Metric::ACCURACY), 1.0 / 3.0);
        close(Some(scores.classes[0].f1), 2.0 / 3.0); // precision 1, recall 1/2
        close(Some(scores.classes[1].f1), 2.0 / 3.0); // precision 1/2, recall 1
        close(scores.metric(Metric::MICRO_F1), 2.0 * 2.0 / 6.0);
        close(scores.metric(Metric::MACRO_F1), 2.0 / 3.0);
    }
}
