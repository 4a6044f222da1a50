//! Tasks: which positions a head reads, its logits, and its loss. One file per task.
//!
//! To add a task, write its file and add one line to [`TASKS`]. Nothing outside that file names the task.

mod classification;
mod dependency_parsing;
mod language;
mod multilabel;
mod multiple_choice;
mod preference;
mod question_answering;
mod regression;
mod tagging;

use std::fmt;

use burn::tensor::Tensor;
use burn_adapters_core::{Mode, Output, Reads};

pub use self::classification::Classification;
pub use self::dependency_parsing::{Biaffine, DependencyParsing};
pub use self::language::{CAUSAL_LM, LanguageModeling, MASKED_LM, SEQ2SEQ_LM};
pub use self::multilabel::Multilabel;
pub use self::multiple_choice::MultipleChoice;
pub use self::preference::{ComparedAnswers, Preference};
pub use self::question_answering::QuestionAnswering;
pub use self::regression::Regression;
pub use self::tagging::{Tagging, token_states};
use crate::{Head, HeadConfig, HeadError, HeadType, Logits, Targets};

/// Every task. The first one is used for head types that no task claims.
pub static TASKS: [&dyn Task; 11] = [
    &Classification,
    &Multilabel,
    &Regression,
    &Tagging,
    &QuestionAnswering,
    &MultipleChoice,
    &MASKED_LM,
    &CAUSAL_LM,
    &SEQ2SEQ_LM,
    &DependencyParsing,
    &Preference,
];

/// What a head does: the positions it reads, its logits, its loss.
///
/// ```
/// use burn_adapters_core::Reads;
/// use burn_adapters_heads::{HeadConfig, task_named};
///
/// let task = HeadConfig::tagging(9).task();
/// assert_eq!((task.name(), task.reads(&HeadConfig::tagging(9))), ("tagging", Reads::Tokens));
/// assert_eq!(Some(task), task_named("tagging"));
/// ```
pub trait Task: fmt::Debug + Send + Sync {
    /// The task's name: `classification`.
    fn name(&self) -> &'static str;

    /// The reference's head type for this task.
    fn head_type(&self) -> HeadType;

    /// Whether a head of this type has this task, if several tasks share a head type.
    fn is_task_of(&self, config: &HeadConfig) -> bool {
        let _ = config;
        true
    }

    /// The configuration of a language-model head for a vocabulary of `tokens`; by default `None`, for other tasks.
    fn language_head(&self, tokens: usize) -> Option<HeadConfig> {
        let _ = tokens;
        None
    }

    /// The positions that a head reads: by default, of each row the one that stands for it.
    fn reads(&self, config: &HeadConfig) -> Reads {
        let _ = config;
        Reads::First
    }

    /// Computes the logits of a base model's output: by default, a vector for each row or, if the head reads tokens, for
    /// each token.
    ///
    /// # Errors
    /// If the output is not of the width that the head was built for, or lacks what the head reads.
    fn logits(&self, head: &Head, output: &Output, mode: Mode) -> Result<Logits, HeadError> {
        if self.reads(head.config()) != Reads::Tokens {
            return head.forward_first(output, mode);
        }
        let (states, lengths) = token_states(output, None)?;
        Logits::new(head.forward_vector(states, mode)?, lengths)
    }

    /// The targets that the task learns from, for messages: `one class a row`.
    fn targets(&self) -> &'static str;

    /// Whether each logit stands for a class with a name. A regression has none.
    fn has_classes(&self) -> bool {
        true
    }

    /// The mean loss of a batch: `[1]`. `weights` has one weight for each class.
    ///
    /// # Errors
    /// If the targets are of another kind, number or range than the head's.
    fn loss(
        &self,
        config: &HeadConfig,
        logits: &Logits,
        targets: &Targets,
        weights: Option<&[f32]>,
    ) -> Result<Tensor<1>, HeadError>;

    /// What the mean of [`loss`](Self::loss) is taken over: the number of rows or tokens, or the sum of their weights.
    /// The loss of several batches together is the mean of their losses, weighted so.
    fn mass(&self, targets: &Targets, weights: Option<&[f32]>) -> f64 {
        let _ = weights;
        targets.len() as f64
    }

    /// Weights for `classes` classes that give rare and frequent classes the same influence; by default `None`, for a task
    /// without classes.
    fn balanced_weights(&self, targets: &Targets, classes: usize) -> Option<Vec<f32>> {
        let _ = (targets, classes);
        None
    }
}

impl PartialEq for dyn Task + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for dyn Task + '_ {}

impl fmt::Display for dyn Task + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The task of this name.
pub fn task_named(name: &str) -> Option<&'static dyn Task> {
    TASKS.into_iter().find(|task| task.name() == name)
}

/// Checks that there are as many targets as rows, and at least one, and that the logits have the head's width.
fn check_shape(config: &HeadConfig, logits: &Logits, targets: &Targets) -> Result<(), HeadError> {
    let [vectors, width] = logits.values().dims();
    if width != config.outputs() {
        let expected = format!("logits of [.., {}]", config.outputs());
        return Err(HeadError::Shape { expected, found: format!("[{vectors}, {width}]") });
    }
    if logits.rows() != targets.len() || targets.is_empty() {
        return Err(HeadError::LabelCount { rows: logits.rows(), labels: targets.len() });
    }
    Ok(())
}

/// The targets are of another kind than the task's.
fn wrong_targets(task: &dyn Task, targets: &Targets) -> HeadError {
    HeadError::WrongLabels { task: task.name(), expected: task.targets(), found: targets.kind() }
}

/// Refuses weights of classes where there are no classes.
fn no_weights(weights: Option<&[f32]>) -> Result<(), HeadError> {
    let Some(weights) = weights else { return Ok(()) };
    let (expected, found) = ("left out: this task has no classes", format!("{} weights", weights.len()));
    Err(HeadError::BadValue { key: "class weights", expected, found })
}

/// Checks the weights of classes: a positive number for each.
fn check_weights(config: &HeadConfig, weights: Option<&[f32]>) -> Result<(), HeadError> {
    let Some(weights) = weights else { return Ok(()) };
    let bad = |expected, found| Err(HeadError::BadValue { key: "class weights", expected, found });
    if weights.len() != config.num_labels {
        return bad("one for each label", format!("{} for {} labels", weights.len(), config.num_labels));
    }
    match weights.iter().find(|weight| !(weight.is_finite() && **weight > 0.0)) {
        Some(weight) => bad("numbers above 0", weight.to_string()),
        None => Ok(()),
    }
}

/// scikit-learn's `balanced`: `n / (k · count)` for `n` examples of `k` classes that occur.
fn balanced(found: impl Iterator<Item = usize>, classes: usize) -> Vec<f32> {
    let mut counts = vec![0_usize; classes];
    let mut examples = 0;
    for class in found {
        counts.get_mut(class).into_iter().for_each(|count| *count += 1);
        examples += 1;
    }
    let present = counts.iter().filter(|count| **count > 0).count();
    // The weight of a class that does not occur is never used.
    let weight = |count: usize| examples as f64 / (present * count) as f64;
    counts.into_iter().map(|count| if count == 0 { 1.0 } else { weight(count) as f32 }).collect()
}
