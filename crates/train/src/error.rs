//! Errors of training, evaluation and prediction.

use std::path::PathBuf;

use burn_adapters_files::{FileError, Listed, SaveError};
use burn_adapters_heads::HeadError;
use burn_adapters_model::{BankError, BaseError};
use burn_adapters_tensors::NotFinite;
use thiserror::Error;

use crate::data::listed;
use crate::{DataError, GroupError, Metric};

/// An error of any type, from a model or tokenizer that this crate does not know.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Training, evaluation or prediction that cannot be done.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrainError {
    /// Data for another kind of model.
    #[error("the data is for {expected}, but the model is of type {model_type}: use such a model, or another task")]
    ModelKind {
        /// The type of the model.
        model_type: String,
        /// The kind of model that the task needs.
        expected: &'static str,
    },
    /// Preferences, and a model that cannot be the reference.
    #[error(
        "preferences are learned against the base model without adapters, but the {model_type} has no output layer of its own, \
         so it gives no probabilities: use the files of the language model instead of those of its base model"
    )]
    NoReference {
        /// The type of the model.
        model_type: String,
    },
    /// A head of a task that is neither trained nor scored.
    #[error(
        "the head `{head}` is for {task}, which is neither trained nor scored; supported are {}",
        known.join(", ")
    )]
    NoTask {
        /// The head's name.
        head: String,
        /// Its task.
        task: &'static str,
        /// The tasks that are.
        known: Vec<&'static str>,
    },
    /// The data is invalid.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The setup names an adapter or head that the bank does not have.
    #[error(transparent)]
    Bank(#[from] BankError),
    /// The head cannot read the hidden states, or cannot learn from the labels.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// The base model cannot run a batch.
    #[error(transparent)]
    Base(BaseError),
    /// Several processes cannot train together any longer.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// The tokenizer failed.
    #[error("the text could not be turned into tokens: {0}")]
    Tokenizer(#[source] BoxError),
    /// An invalid row of tokens.
    #[error("{source_name}: row {row} has no tokens, or not one segment per token")]
    BadRow {
        /// The data set.
        source_name: String,
        /// The row, from 0.
        row: usize,
    },
    /// The number of labels differs from the number of rows.
    #[error("{source_name}: expected one label per row, found {labels} labels for {rows} rows of tokens")]
    LabelCount {
        /// The data set.
        source_name: String,
        /// The number of rows.
        rows: usize,
        /// The number of labels.
        labels: usize,
    },
    /// Training or evaluation data without labels.
    #[error("{source_name} has no labels, which training and evaluation need")]
    NoLabels {
        /// The data set.
        source_name: String,
    },
    /// An option that is out of range, or that lacks another option.
    #[error("{option} must be {expected}, found {found}")]
    BadConfig {
        /// The option.
        option: &'static str,
        /// The allowed values.
        expected: &'static str,
        /// The value.
        found: String,
    },
    /// Batches that do not fit into memory.
    #[error(
        "batch_size is too large for this machine: a batch of {rows} texts, the longest of {longest} tokens, needs more \
         than {needed} bytes of memory, but {available} bytes are available: lower batch_size, and raise accumulation to \
         learn from as many texts a step"
    )]
    BatchTooLarge {
        /// The number of texts in the batch.
        rows: usize,
        /// The number of tokens of the longest text.
        longest: usize,
        /// The least number of bytes needed.
        needed: u128,
        /// The number of bytes available.
        available: u64,
    },
    /// The bank's parameters are on a device without autodiff.
    #[error("the adapters are on a device without autodiff: create the bank with `device.autodiff()` to train it")]
    NotAutodiff,
    /// The adapters and the base model are on different devices.
    #[error("the base model is on {model:?}, the adapters are on {bank:?}: put them on the same device")]
    DeviceMismatch {
        /// The device of the base model.
        model: Box<burn::tensor::Device>,
        /// The device of the adapters.
        bank: Box<burn::tensor::Device>,
    },
    /// Several heads, where one is expected.
    #[error("the setup has the heads {}, but one was expected: use evaluate_heads to score each", heads.join(", "))]
    SeveralHeads {
        /// The heads.
        heads: Vec<String>,
    },
    /// The numbers of heads and branches differ.
    #[error(
        "the setup runs {branches} adapters in parallel, each with a head of its own, but its heads are {}: name one for \
         each branch (Setup::with_head)",
        heads.join(", ")
    )]
    HeadsOfBranches {
        /// The number of branches.
        branches: usize,
        /// The heads.
        heads: Vec<String>,
    },
    /// The head depends on the row.
    #[error(
        "each row of the batch has its own head (BatchSplit, Route), but batches are drawn at random here: take the \
         adapters one by one, each with its own rows"
    )]
    HeadsOfRows,
    /// The setup leaves no parameter to train.
    #[error("the setup names neither an adapter nor a head: there is nothing to train")]
    NothingToTrain,
    /// No gradient reaches the parameters to train.
    #[error(
        "the first backward pass left no gradient for any of the {} tensors to be trained (the first is `{}`): the setup \
         keeps the adapter out of the pass, so that it cannot learn", tensors.len(),
        tensors.first().map_or("", String::as_str)
    )]
    NoGradient {
        /// The paths of the tensors.
        tensors: Vec<String>,
    },
    /// A class weight for a class that no head has.
    #[error("a weight is given for the class `{class}`, which does not exist; the classes are {}", listed(known))]
    UnknownClass {
        /// The class.
        class: String,
        /// The classes of the heads.
        known: Vec<String>,
    },
    /// The best epoch is requested without evaluation data.
    #[error("the best epoch by {metric} requires evaluation data")]
    NoEvaluationData {
        /// The metric.
        metric: Metric,
    },
    /// A metric that the task does not have.
    #[error("a {task} head has no {metric}; it has {}", known.join(", "))]
    NoSuchMetric {
        /// The task of the head.
        task: &'static str,
        /// The metric.
        metric: Metric,
        /// The available metrics.
        known: Vec<&'static str>,
    },
    /// The loss became NaN or infinite.
    #[error(
        "the {what} is {value} at step {step} (epoch {epoch}): the training has diverged; try a lower learning rate \
         than {learning_rate:?}, or a warm-up"
    )]
    Diverged {
        /// `loss` or `norm of the gradients`.
        what: &'static str,
        /// Its value.
        value: f64,
        /// The optimizer step, from 1.
        step: usize,
        /// The epoch, from 1.
        epoch: usize,
        /// The peak learning rate.
        learning_rate: f64,
    },
    /// A tensor could not be read back from the device.
    #[error("reading from the device failed: {0}")]
    Device(String),
    /// A file of a checkpoint cannot be read or written.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        error: std::io::Error,
    },
    /// A tensor with NaN or infinite elements.
    #[error("{}: the tensor `{tensor}` cannot be used: {found}", path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The description of the element.
        found: NotFinite,
    },
    /// Logits that are NaN or infinite.
    #[error("{}", not_finite(head, *value, rows))]
    NotFiniteLogits {
        /// The head; empty if unknown.
        head: String,
        /// The first of these logits.
        value: f32,
        /// The rows, from 0.
        rows: Vec<usize>,
    },
    /// A loss that is NaN or infinite although the logits are finite.
    #[error(
        "the mean loss of the head `{head}` is {value} although its logits are finite: they or the labels are too large \
         for it; look at the weights of the adapter and the head, and at the labels"
    )]
    NotFiniteLoss {
        /// The head.
        head: String,
        /// The loss.
        value: f64,
    },
    /// Another process is writing checkpoints to the same folder.
    #[error(transparent)]
    Busy(SaveError),
    /// A checkpoint with invalid files.
    #[error("{}: not a checkpoint of this program: {message}", path.display())]
    BadCheckpoint {
        /// The file.
        path: PathBuf,
        /// The problem.
        message: String,
    },
    /// A checkpoint of different training.
    #[error(
        "{}: this checkpoint is of another training: {what} was {found}, is now {expected}; give the same as before, \
         or start anew in another folder",
        path.display()
    )]
    OtherTraining {
        /// The checkpoint.
        path: PathBuf,
        /// The setting that differs.
        what: String,
        /// The value in the checkpoint.
        found: String,
        /// The value now.
        expected: String,
    },
    /// A folder with checkpoints of earlier training.
    #[error(
        "{} already has checkpoints: resume that training, or choose another folder",
        path.display()
    )]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
}

fn not_finite(head: &str, value: f32, rows: &[usize]) -> String {
    let head = if head.is_empty() { "the head".to_owned() } else { format!("the head `{head}`") };
    let rows = match rows {
        [row] => format!("row {row}"),
        rows => format!("{} rows ({}, counted from 0)", rows.len(), Listed(rows)),
    };
    format!(
        "{head} gives logits that are not finite ({value}) for {rows}: weights that are finite but too large overflow in \
         the pass; look at the weights of the adapter, the head and the model"
    )
}

impl From<FileError> for TrainError {
    fn from(error: FileError) -> Self {
        TrainError::Io { path: error.path.clone(), error: error.into_io() }
    }
}

impl From<SaveError> for TrainError {
    fn from(error: SaveError) -> Self {
        match error {
            SaveError::Io { path, source, .. } => TrainError::Io { path, error: source },
            busy => TrainError::Busy(busy),
        }
    }
}

impl TrainError {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |error| TrainError::Io { path, error }
    }
}

impl From<BaseError> for TrainError {
    fn from(error: BaseError) -> Self {
        match error {
            BaseError::Adapter(error) => Self::Bank(error),
            error => Self::Base(error),
        }
    }
}
