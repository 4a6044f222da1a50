//! What can go wrong in training, evaluation and prediction.

use std::path::PathBuf;

use burn_adapters_files::{FileError, Listed, SaveError};
use burn_adapters_heads::HeadError;
use burn_adapters_model::{BankError, BaseError};
use burn_adapters_tensors::NotFinite;
use thiserror::Error;

use crate::data::listed;
use crate::{DataError, Metric};

/// An error of any kind, from a model or tokenizer that this crate does not know.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A training, evaluation or prediction that cannot be done.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The data is wrong.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The setup names what the bank does not have.
    #[error(transparent)]
    Bank(#[from] BankError),
    /// The head cannot read the hidden states, or not learn from the labels.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// The base model cannot run a batch.
    #[error(transparent)]
    Base(BaseError),
    /// The tokenizer failed.
    #[error("the text could not be turned into tokens: {0}")]
    Tokenizer(#[source] BoxError),
    /// A row of tokens that no model can read.
    #[error("{source_name}: row {row} has no tokens, or not one segment a token")]
    BadRow {
        /// The data set.
        source_name: String,
        /// The row, from 0.
        row: usize,
    },
    /// Not one label a row.
    #[error("{source_name}: there are {rows} rows of tokens and {labels} labels")]
    LabelCount {
        /// The data set.
        source_name: String,
        /// Rows.
        rows: usize,
        /// Labels.
        labels: usize,
    },
    /// Data to train or evaluate on without labels.
    #[error("{source_name} has no labels, and without them nothing can be learned or scored")]
    NoLabels {
        /// The data set.
        source_name: String,
    },
    /// An option out of its range, or without the one it needs.
    #[error("{option} must be {expected}, found {found}")]
    BadConfig {
        /// The option.
        option: &'static str,
        /// What it may be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// Batches that do not fit into memory.
    #[error(
        "batch_size is too large for this machine: a batch of {rows} texts, the longest of {longest} tokens, needs more \
         than {needed} bytes of memory, but {available} bytes are available: lower batch_size, and raise accumulation to \
         learn from as many texts a step"
    )]
    BatchTooLarge {
        /// The texts of a batch.
        rows: usize,
        /// The tokens of the longest.
        longest: usize,
        /// The least bytes that they take.
        needed: u128,
        /// The bytes that there are.
        available: u64,
    },
    /// The bank's parameters are where no gradients are computed.
    #[error("the adapters are on a device without autodiff: make the bank with `device.autodiff()` to train it")]
    NotAutodiff,
    /// The adapters are on another device than the base model.
    #[error("the base model is on {model:?}, the adapters are on {bank:?}: put them on the same device")]
    DeviceMismatch {
        /// Where the base model is.
        model: Box<burn::tensor::Device>,
        /// Where the adapters are.
        bank: Box<burn::tensor::Device>,
    },
    /// Several heads where one is asked for.
    #[error("the setup has the heads {}, and one was expected: evaluate_heads scores each", heads.join(", "))]
    SeveralHeads {
        /// The heads.
        heads: Vec<String>,
    },
    /// Another number of heads than of branches.
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
    /// Heads that depend on the row.
    #[error(
        "each row of the batch has its own head (BatchSplit, Route), but batches are drawn at random here: take the \
         adapters one by one, each with its own rows"
    )]
    HeadsOfRows,
    /// The setup leaves no parameter to train.
    #[error("the setup names neither an adapter nor a head: there is nothing to train")]
    NothingToTrain,
    /// No gradient reaches what is to be trained.
    #[error(
        "the first backward pass left no gradient for any of the {} tensors to be trained (the first is `{}`): the setup \
         keeps the adapter out of the pass, so that it cannot learn", tensors.len(),
        tensors.first().map_or("", String::as_str)
    )]
    NoGradient {
        /// The paths of the tensors.
        tensors: Vec<String>,
    },
    /// A weight for a class that no head has.
    #[error("a weight is given for the class `{class}`, which does not occur; there are {}", listed(known))]
    UnknownClass {
        /// The class.
        class: String,
        /// The classes of the heads.
        known: Vec<String>,
    },
    /// The best epoch was asked for, and there is nothing to tell it by.
    #[error("the best epoch by {metric} cannot be told without evaluation data")]
    NoEvaluationData {
        /// The metric.
        metric: Metric,
    },
    /// A metric that this kind of head does not have.
    #[error("a {task} head has no {metric}; it has {}", known.join(", "))]
    NoSuchMetric {
        /// What the head does.
        task: &'static str,
        /// The metric.
        metric: Metric,
        /// The metrics that it has.
        known: Vec<&'static str>,
    },
    /// The loss is no number any more.
    #[error(
        "the {what} is {value} at step {step} (epoch {epoch}): the training has diverged; try a lower learning rate \
         than {learning_rate:?}, or a warm-up"
    )]
    Diverged {
        /// The loss or the norm of the gradients.
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
        /// Why.
        error: std::io::Error,
    },
    /// A tensor with numbers that are NaN or infinite.
    #[error("{}: the tensor `{tensor}` cannot be used: {found}", path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// What was found.
        found: NotFinite,
    },
    /// Logits that are NaN or infinite.
    #[error("{}", not_finite(head, *value, rows))]
    NotFiniteLogits {
        /// The head; empty if it is not known.
        head: String,
        /// The first of these logits.
        value: f32,
        /// The rows, from 0.
        rows: Vec<usize>,
    },
    /// A loss that is NaN or infinite, of logits that are not.
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
    /// Another process writes checkpoints to the same folder.
    #[error(transparent)]
    Busy(SaveError),
    /// A checkpoint with broken files.
    #[error("{}: not a checkpoint of this program: {message}", path.display())]
    BadCheckpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A checkpoint of another training.
    #[error(
        "{}: this checkpoint is of another training: {what} was {found}, is now {expected}; give the same as before, \
         or start anew in another folder",
        path.display()
    )]
    OtherTraining {
        /// The checkpoint.
        path: PathBuf,
        /// What differs.
        what: String,
        /// What the checkpoint was written with.
        found: String,
        /// What this training has.
        expected: String,
    },
    /// A folder that holds the checkpoints of an earlier training.
    #[error(
        "{} holds checkpoints already: resume that training, or choose another folder",
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
