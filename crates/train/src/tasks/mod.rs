//! Tasks: how labels are read and converted to targets, and how predictions are scored and shown. One file per task.
//!
//! To add a task, write its file here and in `heads/src/tasks`, and add one line to each registry. No other file names
//! the task.

pub mod classification;
pub mod dependency_parsing;
pub mod language;
pub mod multilabel;
pub mod multiple_choice;
pub mod preference;
pub mod question_answering;
pub mod regression;
pub mod tagging;

use std::fmt;

use burn_adapters_heads::{AnswerRules, HeadConfig, Targets, Task};
use burn_adapters_model::Piece;
use serde_json::Value;

pub use self::classification::Classification;
pub use self::dependency_parsing::DependencyParsing;
pub use self::language::Language;
pub use self::multilabel::Multilabel;
pub use self::multiple_choice::MultipleChoice;
pub use self::preference::Preference;
pub use self::question_answering::QuestionAnswering;
pub use self::regression::Regression;
pub use self::tagging::Tagging;
use crate::data::{Dataset, Example, Form, Problems};
use crate::{DataError, DataProblem, Label, Metric, Prediction, Scores, TokenData};

/// Every task.
pub static TRAIN_TASKS: [&dyn TrainTask; 11] = [
    &Classification,
    &Multilabel,
    &Regression,
    &Tagging,
    &QuestionAnswering,
    &MultipleChoice,
    &language::MASKED,
    &language::CAUSAL,
    &language::SEQ2SEQ,
    &DependencyParsing,
    &Preference,
];

/// The training side of a task: its data, its metrics, its predictions.
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
    /// The task of its heads.
    fn task(&self) -> &'static dyn Task;

    /// The default names of the columns of the text and of the label.
    fn columns(&self) -> [&'static str; 2] {
        ["text", "label"]
    }

    /// The default name of the column of the second text, if the task needs one: a context beside a question.
    fn pair_column(&self) -> Option<&'static str> {
        None
    }

    /// Whether the data has a column of labels.
    fn is_labeled(&self) -> bool {
        true
    }

    /// Reads the label in a table cell, and its form.
    ///
    /// # Errors
    /// If the cell is not a label of this task.
    fn read_cell(&self, cell: &str) -> Result<(Label, Form), DataProblem>;

    /// Reads the label in a value of a JSON object, and its form.
    ///
    /// # Errors
    /// If the value is not a label of this task.
    fn read_json(&self, value: &Value) -> Result<(Label, Form), DataProblem>;

    /// The word of a line in CoNLL columns and its label, if the task has columns of its own.
    fn conll_line<'l>(&self, cells: &[&'l str]) -> ConllLine<'l> {
        let _ = cells;
        ConllLine::Usual
    }

    /// Whether white space around a label is removed (and reported).
    fn trims(&self) -> bool {
        false
    }

    /// How examples become rows of tokens.
    fn form(&self) -> TextForm {
        TextForm::Whole
    }

    /// Whether texts are read word by word, with a label for each word. Then there are targets for tokens, which need
    /// the [`pieces`](TrainTask::targets) of the text.
    fn reads_words(&self) -> bool {
        self.form() == TextForm::Words
    }

    /// Resolves ambiguous forms once all labels are read. Returns notes for the user.
    fn settle(&self, examples: &mut [Example], forms: &[Form], problems: &mut Problems) -> Vec<String> {
        let _ = (examples, forms, problems);
        Vec::new()
    }

    /// Whether a label belongs to this task.
    fn takes(&self, label: &Label) -> bool;

    /// The head that learns from labeled data, with `names` as its labels.
    ///
    /// # Errors
    /// If there is nothing to learn.
    fn head(&self, data: &Dataset, names: &[String]) -> Result<HeadConfig, DataError>;

    /// The targets of labeled examples for a head. `pieces` are those of each example's tokens; without them, targets
    /// are per word instead of per token.
    ///
    /// # Errors
    /// If a label is not one of the head's, or is of another kind. The error lists the rows.
    fn targets(&self, data: &Dataset, head: &HeadConfig, pieces: &[Vec<Option<Piece>>]) -> Result<Targets, DataError>;

    /// The targets of the rows of tokenized examples, where an example may be several rows: by default, an example is one.
    ///
    /// # Errors
    /// As [`targets`](Self::targets).
    fn row_targets(&self, data: &Dataset, head: &HeadConfig, tokens: &TokenData) -> Result<Targets, DataError> {
        self.targets(data, head, tokens.all_pieces())
    }

    /// The metrics of the task, except the loss, in the order of display. The first is the most informative.
    fn metrics(&self) -> &'static [Metric];

    /// The display name of a metric, if the task has its own name for it.
    fn title(&self, metric: Metric) -> &'static str {
        metric.title()
    }

    /// Whether a metric is displayed beside the classes; one that is not equals another.
    fn is_shown(&self, metric: Metric) -> bool {
        let _ = metric;
        true
    }

    /// Scores the logits of each row against its targets.
    fn score(&self, head: &HeadConfig, logits: &[Vec<f32>], targets: &Targets) -> Scores;

    /// Interprets the logits of a row.
    fn decode(&self, head: &HeadConfig, logits: Vec<f32>) -> Prediction;

    /// The columns of predictions for display: those of [`cells`](Self::cells), and the text. The second one is left
    /// out if all its cells are empty.
    fn headers(&self) -> &'static [&'static str] {
        if self.task().has_classes() { &["label", "probability", "text"] } else { &["value", "text"] }
    }

    /// A prediction for display: the labels, and their probabilities.
    fn cells(&self, head: &HeadConfig, prediction: &Prediction, text: &TextPieces<'_>) -> [String; 2] {
        let _ = text;
        let names: Vec<_> = prediction.labels.iter().map(|label| head.label_of(*label)).collect();
        let probabilities = prediction.labels.iter().filter_map(|label| prediction.probabilities.get(*label));
        let probabilities: Vec<String> = probabilities.map(|probability| format!("{probability:.4}")).collect();
        [if names.is_empty() { "(none)".into() } else { names.join(", ") }, probabilities.join(", ")]
    }

    /// The text for display, with the predictions marked.
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

/// A line of CoNLL columns, as a task reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConllLine<'l> {
    /// A word and its label are in two columns, which have numbers.
    Usual,
    /// It is no word.
    Skipped,
    /// A word and its label.
    Word {
        /// The word.
        word: &'l str,
        /// The label.
        label: String,
    },
}

/// How examples become rows of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TextForm {
    /// A row for each example.
    #[default]
    Whole,
    /// A row for each example, whose words are known to the task.
    Words,
    /// A row for each window of a context, with the question.
    Windows,
    /// A row for each choice, with the text before it.
    Choices,
    /// Rows that together have all tokens of a text, some of which are masked and predicted.
    Masked,
    /// Rows that together have all tokens of a text, each predicted from those before it.
    Causal,
    /// A row for each example, and one for its target text, which is predicted.
    Target,
    /// Two rows for each example: a prompt with a preferred and with a rejected answer, whose tokens are predicted.
    Preferences,
}

impl TextForm {
    /// Whether the tokens of texts are predicted.
    pub fn is_language(self) -> bool {
        matches!(self, TextForm::Masked | TextForm::Causal | TextForm::Target | TextForm::Preferences)
    }

    /// Whether the rows of an example are put into a batch together, because its loss compares them.
    pub fn keeps_together(self) -> bool {
        matches!(self, TextForm::Choices | TextForm::Preferences)
    }
}

/// A text and the pieces of it that its tokens stand for, if they were requested.
#[derive(Debug, Clone, Copy, Default)]
pub struct TextPieces<'a> {
    /// The text; for a question with a context, the context.
    pub text: &'a str,
    /// A piece for each token; `None` for special tokens. The rows of an example follow each other.
    pub pieces: &'a [Option<Piece>],
    /// The number of tokens of each row, if there are several.
    pub rows: &'a [usize],
    /// The choices, in multiple choice.
    pub choices: &'a [String],
    /// The spans that may be an answer.
    pub rules: AnswerRules,
}

/// The task of a head, as training sees it.
pub fn train_task(head: &HeadConfig) -> &'static dyn TrainTask {
    train_task_named(head.task().name()).unwrap_or(TRAIN_TASKS[0])
}

/// The task of this name, as training sees it.
pub fn train_task_named(name: &str) -> Option<&'static dyn TrainTask> {
    TRAIN_TASKS.into_iter().find(|task| task.task().name() == name)
}

/// Floats as JSON, with the fewest digits that distinguish them from all other single-precision floats.
pub(crate) fn json_numbers(values: &[f32]) -> Value {
    values.iter().map(|value| json_number(*value)).collect()
}

/// [`json_numbers`] for one float; null if it is not finite.
pub(crate) fn json_number(value: f32) -> Value {
    value.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}

/// The index of the largest value, or of the first of equal ones.
pub(crate) fn greatest(values: &[f32]) -> usize {
    (0..values.len()).fold(0, |best, index| if values[index] > values[best] { index } else { best })
}

pub(crate) fn softmax(logits: &[f32]) -> Vec<f32> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exponentials: Vec<f32> = logits.iter().map(|logit| (logit - max).exp()).collect();
    let sum: f32 = exponentials.iter().sum();
    exponentials.into_iter().map(|value| value / sum).collect()
}
