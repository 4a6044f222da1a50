//! Tasks: how their labels are read and turned into targets, how predictions are scored and told. One file a task.
//!
//! To add a task, write its file here and in `heads/src/tasks`, and add one line to each registry. Nothing outside these
//! files names the task.

pub mod classification;
pub mod multilabel;
pub mod regression;
pub mod tagging;

use std::fmt;

use burn_adapters_heads::{HeadConfig, Targets, Task};
use burn_adapters_model::Piece;
use serde_json::Value;

pub use self::classification::Classification;
pub use self::multilabel::Multilabel;
pub use self::regression::Regression;
pub use self::tagging::Tagging;
use crate::data::{Dataset, Example, Form, Problems};
use crate::{DataError, Label, Metric, Prediction, Problem, Scores};

/// Every task.
pub static TRAIN_TASKS: [&dyn TrainTask; 4] = [&Classification, &Multilabel, &Regression, &Tagging];

/// A task as training sees it: its data, its metrics, its predictions.
///
/// ```
/// use burn_adapters_heads::HeadConfig;
/// use burn_adapters_train::train_task;
///
/// let head = HeadConfig::classification(2);
/// let prediction = train_task(&head).decode(&head, vec![0.0, 3f32.ln()]);
/// assert_eq!(prediction.labels, [1]);
/// ```
pub trait TrainTask: fmt::Debug + Send + Sync {
    /// What the heads of this task do.
    fn task(&self) -> &'static dyn Task;

    /// The usual names of the columns of the text and of the label.
    fn columns(&self) -> [&'static str; 2] {
        ["text", "label"]
    }

    /// Reads the label in a cell of a table, and the form that it has.
    ///
    /// # Errors
    /// If the cell does not hold a label of this task.
    fn read_cell(&self, cell: &str) -> Result<(Label, Form), Problem>;

    /// Reads the label in the value of a JSON object, and the form that it has.
    ///
    /// # Errors
    /// If the value is not a label of this task.
    fn read_json(&self, value: &Value) -> Result<(Label, Form), Problem>;

    /// Whether white space around a label is removed, of which users should know.
    fn trims(&self) -> bool {
        false
    }

    /// Whether a text is read word by word, with a label for each word. Then targets are those of tokens, for which the
    /// [`pieces`](TrainTask::targets) of the text are needed.
    fn reads_words(&self) -> bool {
        false
    }

    /// Settles, once all labels are read, what the form of a single one leaves open. Gives what users should know of it.
    fn settle(&self, examples: &mut [Example], forms: &[Form], problems: &mut Problems) -> Vec<String> {
        let _ = (examples, forms, problems);
        Vec::new()
    }

    /// Whether a label is one of this task.
    fn takes(&self, label: &Label) -> bool;

    /// The head that learns from labeled data, with `names` for its labels.
    ///
    /// # Errors
    /// If there is nothing to learn.
    fn head(&self, data: &Dataset, names: &[String]) -> Result<HeadConfig, DataError>;

    /// The targets of labeled examples for a head. `pieces` are those of each example's tokens; without any, targets of
    /// tokens are targets of words.
    ///
    /// # Errors
    /// If a label is not among the head's, or is of another kind. The rows are named.
    fn targets(&self, data: &Dataset, head: &HeadConfig, pieces: &[Vec<Option<Piece>>]) -> Result<Targets, DataError>;

    /// The metrics of the task, without the loss, in the order in which they are shown. The first is the most telling.
    fn metrics(&self) -> &'static [Metric];

    /// The name of a metric for people, where it is another than usual.
    fn title(&self, metric: Metric) -> &'static str {
        metric.title()
    }

    /// Whether a metric is shown to people beside the classes; of those that are not, another tells the same.
    fn is_shown(&self, metric: Metric) -> bool {
        let _ = metric;
        true
    }

    /// Scores the logits of each row against its targets.
    fn score(&self, head: &HeadConfig, logits: &[Vec<f32>], targets: &Targets) -> Scores;

    /// What the logits of a row mean.
    fn decode(&self, head: &HeadConfig, logits: Vec<f32>) -> Prediction;

    /// A prediction for people: the labels, and their probabilities.
    fn cells(&self, head: &HeadConfig, prediction: &Prediction, text: &TextPieces<'_>) -> [String; 2] {
        let _ = text;
        let names: Vec<_> = prediction.labels.iter().map(|label| head.label_of(*label)).collect();
        let probabilities = prediction.labels.iter().filter_map(|label| prediction.probabilities.get(*label));
        let probabilities: Vec<String> = probabilities.map(|probability| format!("{probability:.4}")).collect();
        [if names.is_empty() { "(none)".into() } else { names.join(", ") }, probabilities.join(", ")]
    }

    /// The text for people, with what was found in it.
    fn shown(&self, head: &HeadConfig, prediction: &Prediction, text: &TextPieces<'_>) -> String {
        let _ = (head, prediction);
        text.text.to_owned()
    }

    /// A prediction as the members of a JSON object.
    fn json(&self, head: &HeadConfig, prediction: &Prediction, text: &TextPieces<'_>) -> Vec<(&'static str, Value)> {
        let _ = text;
        vec![
            ("label", self.json_label(head, prediction)),
            ("logits", json_numbers(&prediction.logits)),
            ("probabilities", json_numbers(&prediction.probabilities)),
        ]
    }

    /// The predicted label as JSON: a name, a list of names, or a number.
    fn json_label(&self, head: &HeadConfig, prediction: &Prediction) -> Value;
}

impl PartialEq for dyn TrainTask + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.task() == other.task()
    }
}

impl Eq for dyn TrainTask + '_ {}

/// A text and the pieces of it that its tokens stand for: none where the tokenizer was not asked for them.
#[derive(Debug, Clone, Copy, Default)]
pub struct TextPieces<'a> {
    /// The text.
    pub text: &'a str,
    /// A piece for each token; `None` for special tokens.
    pub pieces: &'a [Option<Piece>],
}

/// The task of a head, as training sees it.
pub fn train_task(head: &HeadConfig) -> &'static dyn TrainTask {
    train_task_named(head.task().name()).unwrap_or(TRAIN_TASKS[0])
}

/// The task of this name, as training sees it.
pub fn train_task_named(name: &str) -> Option<&'static dyn TrainTask> {
    TRAIN_TASKS.into_iter().find(|task| task.task().name() == name)
}

/// Numbers as JSON, written with as few digits as tell them apart from all other single-precision numbers.
pub(crate) fn json_numbers(values: &[f32]) -> Value {
    values.iter().map(|value| json_number(*value)).collect()
}

/// As [`json_numbers`], of one; null if it is not finite.
pub(crate) fn json_number(value: f32) -> Value {
    value.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}

/// The first of the greatest numbers.
pub(crate) fn greatest(values: &[f32]) -> usize {
    (0..values.len()).fold(0, |best, index| if values[index] > values[best] { index } else { best })
}

pub(crate) fn softmax(logits: &[f32]) -> Vec<f32> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exponentials: Vec<f32> = logits.iter().map(|logit| (logit - max).exp()).collect();
    let sum: f32 = exponentials.iter().sum();
    exponentials.into_iter().map(|value| value / sum).collect()
}
