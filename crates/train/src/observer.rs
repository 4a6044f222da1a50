//! Watching a training.

use std::path::Path;

use crate::{EvaluationRecord, HeadEvaluation, StepRecord, Truncation};

/// What a training is going to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The number of epochs.
    pub epochs: usize,
    /// The number of examples.
    pub examples: usize,
    /// The number of evaluation examples.
    pub evaluation_examples: usize,
    /// Optimizer steps an epoch.
    pub steps_per_epoch: usize,
    /// Optimizer steps in all.
    pub steps: usize,
    /// Optimizer steps that are done already: not 0 where a training is resumed.
    pub done_steps: usize,
    /// The number of parameters that are trained, those of the head among them.
    pub parameters: usize,
}

/// Watches a training: for progress bars, logs, an early end. Every method does nothing by default; `()` watches
/// nothing.
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
    /// The training begins.
    fn started(&mut self, plan: &Plan) {}

    /// Some texts are longer than the model and were cut. Once for the training and once for the evaluation data.
    fn truncated(&mut self, truncation: &Truncation) {}

    /// These tensors were to be trained, but the first backward pass left no gradient for them: they stay as they are.
    fn without_gradient(&mut self, tensors: &[String]) {}

    /// An epoch begins, counted from 1.
    fn epoch_started(&mut self, epoch: usize) {}

    /// A batch went through the model, forward and backward: `done` of `total` batches of an optimizer step.
    fn batch(&mut self, done: usize, total: usize) {}

    /// An optimizer step is done.
    fn step(&mut self, step: &StepRecord) {}

    /// So many examples of an evaluation are done.
    fn evaluating(&mut self, done: usize, total: usize) {}

    /// An evaluation is done, of each head of the setup.
    fn evaluated(&mut self, record: &EvaluationRecord, heads: &[HeadEvaluation]) {}

    /// A checkpoint was written.
    fn checkpoint(&mut self, path: &Path) {}

    /// Asked after every step and evaluation: whether to end the training now (the user pressed Ctrl-C). What was done
    /// since the last checkpoint is not in any.
    fn should_stop(&mut self) -> bool {
        false
    }
}

impl Observer for () {}
