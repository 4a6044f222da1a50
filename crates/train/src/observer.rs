//! Observing training.

use std::path::Path;

use crate::{EvaluationRecord, HeadEvaluation, StepRecord, Truncation};

/// The size of training that is about to start.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainingPlan {
    /// The number of epochs.
    pub epochs: usize,
    /// The number of examples.
    pub examples: usize,
    /// The number of evaluation examples.
    pub evaluation_examples: usize,
    /// The number of optimizer steps per epoch.
    pub steps_per_epoch: usize,
    /// The total number of optimizer steps.
    pub steps: usize,
    /// The number of completed optimizer steps: not 0 if training is resumed.
    pub done_steps: usize,
    /// The number of trained parameters, including those of the head.
    pub parameters: usize,
}

/// Receives progress of training: for progress bars, logs, early stopping. By default every method does nothing; `()`
/// ignores everything.
///
/// ```
/// use burn_adapters_train::{Observer, StepRecord};
///
/// struct Log;
///
/// impl Observer for Log {
///     fn step(&mut self, step: &StepRecord) {
///         eprintln!("step {}: loss {:.4}", step.step, step.loss);
///     }
/// }
/// ```
#[allow(unused_variables)]
pub trait Observer {
    /// Training begins.
    fn started(&mut self, plan: &TrainingPlan) {}

    /// Some texts are longer than the model allows and were truncated. Called once each for training and evaluation
    /// data.
    fn truncated(&mut self, truncation: &Truncation) {}

    /// These tensors should be trained, but the first backward pass gave no gradient for them, so they do not change.
    fn without_gradient(&mut self, tensors: &[String]) {}

    /// An epoch begins, counted from 1.
    fn epoch_started(&mut self, epoch: usize) {}

    /// A batch completed its forward and backward pass: `done` of `total` batches of an optimizer step.
    fn batch(&mut self, done: usize, total: usize) {}

    /// An optimizer step is completed.
    fn step(&mut self, step: &StepRecord) {}

    /// This many examples of an evaluation are completed.
    fn evaluating(&mut self, done: usize, total: usize) {}

    /// An evaluation of each head of the setup is completed.
    fn evaluated(&mut self, record: &EvaluationRecord, heads: &[HeadEvaluation]) {}

    /// A checkpoint was written.
    fn checkpoint(&mut self, path: &Path) {}

    /// Called after every step and evaluation: returns whether to stop training now (the user pressed Ctrl-C). Work
    /// since the last checkpoint is not saved in any.
    fn should_stop(&mut self) -> bool {
        false
    }
}

impl Observer for () {}
