//! Training of adapters on labeled text: data, batches, the optimizer, evaluation, checkpoints.
//!
//! A custom training loop does not need this crate: an [`AdapterBank`](burn_adapters_model::AdapterBank) is a Burn
//! module like any other. This crate has the loop of the `burn-adapters` program:
//!
//! * [`Dataset`] reads CSV, TSV, JSON Lines and CoNLL columns, and reports invalid rows; [`ChatData`] reads conversations.
//!   [`TokenData`] is the same as tokens.
//! * [`Trainer`] trains the adapter and head of one setup, the branches of a `Parallel`, each with its own head, or a
//!   fusion over frozen adapters ([`Setup::train_fusions`](burn_adapters_model::Setup::train_fusions)). It has AdamW,
//!   warm-up and [`Schedule`], clipping, gradient accumulation, selection of the best epoch, early stopping, and
//!   checkpoints from which training resumes bit for bit. An [`Observer`] receives progress.
//! * [`evaluate`], [`evaluate_heads`] and [`predict`] work on any bank.
//! * [`AdamW`], [`Gradients`] and the scores can be used on their own.
//!
//! ```
//! use burn::tensor::Device;
//! use burn_adapters_model::{AdapterBank, BaseModel, Setup};
//! use burn_adapters_train::{Dataset, Row, TokenData, Tokenized, TrainConfig, Trainer, evaluate};
//! use burn_adapters_transformers::{AutoModel, BertConfig};
//!
//! let device = Device::default();
//! let model = AutoModel::new_seeded(&BertConfig::new(100, 16, 1, 2, 32), 1, &device);
//! let letters = |text: &str, max_length: usize| {
//!     let row = Row::new(text.bytes().take(max_length).map(|byte| u32::from(byte % 100)).collect());
//!     Tokenized::new(row, text.len() > max_length)
//! };
//!
//! let data = Dataset::from_classes("fruit", [("apple", "sweet"), ("lemon", "sour"), ("pear", "sweet"), ("lime", "sour")]);
//! let mut bank = AdapterBank::new(model.spec(), &device.clone().autodiff());
//! bank.add_seeded("fruit", "seq_bn".parse()?, 1)?;
//! bank.add_head_seeded("fruit", &data.head_config()?, 1)?;
//! let data = TokenData::tokenize(&data, &data.head_config()?, &letters, 16)?;
//!
//! let setup = Setup::adapter("fruit");
//! let config = TrainConfig::new().with_epochs(2).with_batch_size(2);
//! let trained = Trainer::new(config).train(&model, bank, &setup, &data, None, &mut ())?;
//! assert_eq!(trained.history.steps.len(), 4);
//! let evaluation = evaluate(&model, &trained.bank, &setup, &data, 64)?;
//! assert_eq!(evaluation.examples, 4);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod adamw;
mod answers;
mod batches;
mod bleu;
mod checkpoint;
mod class_weights;
mod config;
mod data;
mod error;
mod evaluate;
mod gradients;
mod heads;
mod history;
mod identity;
mod language;
mod metrics;
mod notes;
mod observer;
mod parameters;
mod processes;
mod rouge;
mod schedule;
mod shares;
mod spans;
mod squad;
mod sums;
pub mod tasks;
mod tokens;
mod trainer;

pub use adamw::{AdamW, AdamWOptions};
pub use bleu::bleu;
pub use burn_adapters_model::{Row, TokenBatch, Tokenize, Tokenized};
pub use class_weights::ClassWeights;
pub use config::TrainConfig;
pub use data::{
    Answer, ChatData, ChatRow, ChatShape, Column, Columns, DataError, DataProblem, Dataset, Doubt, Example, Form,
    Format, Header, Label, PreferenceData, PreferencePair, Problems, RowProblem, Source, TrainedSpans, Turns,
};
pub use error::{BoxError, TrainError};
pub use evaluate::{
    Evaluation, HeadEvaluation, HeadValues, Prediction, evaluate, evaluate_heads, evaluate_with, predict, run_batch,
    score_batch,
};
pub use gradients::Gradients;
pub use history::{Best, EvaluationRecord, History, NoGain, StepRecord, Stopped};
pub use language::{MASKED_FRACTION, MaskedTokens, TrainedCounts};
pub use metrics::{ClassScore, Metric, Scores};
pub use notes::{LostWords, Truncation, Unpreferred, Untrained};
pub use observer::{Observer, TrainingPlan};
pub use processes::{Communicator, GroupError, ProcessGroup, Traffic};
pub use rouge::Rouge;
pub use schedule::{Schedule, Warmup};
pub use tasks::{ConllLine, TextForm, TextPieces, TrainTask, train_task, train_task_named};
pub use tokens::{Lengths, TokenData};
pub use trainer::{Trained, Trainer};
