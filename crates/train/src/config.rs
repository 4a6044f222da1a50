//! Training options.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{AdamWOptions, ClassWeights, Metric, Schedule, TrainError, Warmup};

/// The most epochs. With as many texts as fit into memory, their steps can still be counted.
const MOST_EPOCHS: usize = 1_000_000;

/// Training options. The defaults are those of the reference's examples where these set a value.
///
/// ```
/// use burn_adapters_train::{Metric, Schedule, TrainConfig, Warmup};
///
/// let config = TrainConfig::new()
///     .with_epochs(5)
///     .with_learning_rate(5e-4)
///     .with_schedule(Schedule::Cosine)
///     .with_warmup(Warmup::Ratio(0.06))
///     .with_best(Metric::ACCURACY)
///     .with_patience(2);
/// assert!(config.check().is_ok());
/// assert!(config.with_batch_size(0).check().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrainConfig {
    /// The number of epochs. 3 by default.
    pub epochs: usize,
    /// The number of texts per batch. 32 by default.
    pub batch_size: usize,
    /// The number of batches whose gradients are accumulated for one optimizer step. 1 by default.
    pub accumulation: usize,
    /// The number of texts per batch in evaluation. 64 by default.
    pub evaluation_batch_size: usize,
    /// The peak learning rate. 1e-3 by default.
    pub learning_rate: f64,
    /// The course of the learning rate after its peak. Linear to 0 by default.
    pub schedule: Schedule,
    /// The warm-up of the learning rate. None by default.
    pub warmup: Warmup,
    /// The hyperparameters of AdamW.
    pub adamw: AdamWOptions,
    /// Clip gradients to this global norm. 1 by default.
    pub max_gradient_norm: Option<f64>,
    /// Whether texts of similar length are batched together. True by default.
    pub group_by_length: bool,
    /// Whether texts come in the order of the data in every epoch, neither shuffled nor grouped by length: for data in a
    /// chosen order, and to repeat another program's training. `group_by_length` has no effect then. False by default.
    // As `class_weights`: not in older checkpoints.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub keep_order: bool,
    /// Whether to keep only the input of each layer, and to compute the layers again in the backward pass (see
    /// [`RecordedPass`](burn_adapters_model::RecordedPass)): a step takes about a third longer, and far less memory.
    /// False by default.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub checkpoint_layers: bool,
    /// Whether the base model's own dropout is on, as in the reference. True by default.
    pub base_dropout: bool,
    /// Random seed, for the order of texts and all dropout. 42 by default.
    pub seed: u64,
    /// The weight of each class in the loss. Equal by default.
    // Options are stored in checkpoints by name; older checkpoints do not have this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class_weights: Option<ClassWeights>,
    /// Evaluate before the first step too. False by default.
    pub evaluate_at_start: bool,
    /// Return the parameters of the epoch that is best by this metric, or the latest of equally good ones; by default
    /// those of the last epoch. The start does not count as an epoch, so the result is always trained.
    pub best: Option<Metric>,
    /// Stop after this many consecutive epochs without improvement. Never by default. Requires `best`.
    pub patience: Option<usize>,
    /// The folder for a checkpoint after each epoch. None by default.
    pub checkpoints: Option<PathBuf>,
    /// How many checkpoints to keep; all by default.
    pub keep_checkpoints: Option<usize>,
    /// Resume from the newest checkpoint, if there is one. Finished training is not repeated, unless `epochs` is larger
    /// now: then it continues from its last epoch, with the learning rates of the longer training.
    pub resume: bool,
    /// A checkpoint to resume from if `checkpoints` has none of this training: the last one of a finished training,
    /// stored elsewhere.
    pub finished: Option<PathBuf>,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            epochs: 3,
            batch_size: 32,
            accumulation: 1,
            evaluation_batch_size: 64,
            learning_rate: 1e-3,
            schedule: Schedule::Linear,
            warmup: Warmup::Steps(0),
            adamw: AdamWOptions::default(),
            max_gradient_norm: Some(1.0),
            group_by_length: true,
            keep_order: false,
            checkpoint_layers: false,
            base_dropout: true,
            seed: 42,
            class_weights: None,
            evaluate_at_start: false,
            best: None,
            patience: None,
            checkpoints: None,
            keep_checkpoints: None,
            resume: false,
            finished: None,
        }
    }
}

macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident, $field:ident: $type:ty => $value:expr;)*) => {
        impl TrainConfig {
            $($(#[$doc])* pub fn $name(mut self, $field: $type) -> Self {
                self.$field = $value;
                self
            })*
        }
    };
}

setters! {
    /// Sets the number of epochs.
    with_epochs, epochs: usize => epochs;
    /// Sets the number of texts per batch.
    with_batch_size, batch_size: usize => batch_size;
    /// Sets the number of batches whose gradients are accumulated for one step.
    with_accumulation, accumulation: usize => accumulation;
    /// Sets the number of texts per batch in evaluation.
    with_evaluation_batch_size, evaluation_batch_size: usize => evaluation_batch_size;
    /// Sets the peak learning rate.
    with_learning_rate, learning_rate: f64 => learning_rate;
    /// Sets the course of the learning rate after its peak.
    with_schedule, schedule: Schedule => schedule;
    /// Sets the warm-up of the learning rate.
    with_warmup, warmup: Warmup => warmup;
    /// Sets the hyperparameters of AdamW.
    with_adamw, adamw: AdamWOptions => adamw;
    /// Sets the global norm to clip gradients to; `None` disables clipping.
    with_max_gradient_norm, max_gradient_norm: Option<f64> => max_gradient_norm;
    /// Sets whether texts of similar length are batched together.
    with_group_by_length, group_by_length: bool => group_by_length;
    /// Sets whether texts come in the order of the data.
    with_keep_order, keep_order: bool => keep_order;
    /// Sets whether layers are computed again in the backward pass, to save memory.
    with_checkpoint_layers, checkpoint_layers: bool => checkpoint_layers;
    /// Sets whether the base model's own dropout is on.
    with_base_dropout, base_dropout: bool => base_dropout;
    /// Sets the seed.
    with_seed, seed: u64 => seed;
    /// Sets the weight of each class in the loss.
    with_class_weights, class_weights: ClassWeights => Some(class_weights);
    /// Sets whether to evaluate before the first step too.
    with_evaluate_at_start, evaluate_at_start: bool => evaluate_at_start;
    /// Returns the best epoch by this metric.
    with_best, best: Metric => Some(best);
    /// Stops after this many consecutive evaluations without improvement.
    with_patience, patience: usize => Some(patience);
    /// Writes a checkpoint after each epoch into this folder.
    with_checkpoints, checkpoints: impl Into<PathBuf> => Some(checkpoints.into());
    /// Keeps only this many of the newest checkpoints.
    with_keep_checkpoints, keep_checkpoints: usize => Some(keep_checkpoints);
    /// Sets whether to resume from the newest checkpoint.
    with_resume, resume: bool => resume;
    /// Sets the checkpoint of a finished training to resume from.
    with_finished, finished: impl Into<PathBuf> => Some(finished.into());
}

impl TrainConfig {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Checks the options.
    ///
    /// # Errors
    /// If a value is out of range, or an option requires another one.
    pub fn check(&self) -> Result<(), TrainError> {
        let bad = |option: &'static str, expected: &'static str, found: String| {
            Err(TrainError::BadConfig { option, expected, found })
        };
        let counts = [
            ("epochs", self.epochs),
            ("batch_size", self.batch_size),
            ("accumulation", self.accumulation),
            ("evaluation_batch_size", self.evaluation_batch_size),
            ("patience", self.patience.unwrap_or(1)),
            ("keep_checkpoints", self.keep_checkpoints.unwrap_or(1)),
        ];
        if let Some((option, _)) = counts.iter().find(|(_, count)| *count == 0) {
            return bad(option, "at least 1", "0".into());
        }
        if self.epochs > MOST_EPOCHS {
            return bad("epochs", "from 1 to 1000000", self.epochs.to_string());
        }
        let above_zero = |value: f64| value > 0.0 && value.is_finite();
        let below_one = |value: f64| (0.0..1.0).contains(&value);
        let AdamWOptions { beta_1, beta_2, epsilon, weight_decay } = self.adamw;
        let numbers = [
            ("learning_rate", "a number above 0", self.learning_rate, above_zero(self.learning_rate)),
            ("max_gradient_norm", "a number above 0", self.max_gradient_norm.unwrap_or(1.0), {
                above_zero(self.max_gradient_norm.unwrap_or(1.0))
            }),
            ("beta_1", "a number from 0 to 1, 1 excluded", beta_1, below_one(beta_1)),
            ("beta_2", "a number from 0 to 1, 1 excluded", beta_2, below_one(beta_2)),
            ("epsilon", "a number above 0", epsilon, above_zero(epsilon)),
            ("weight_decay", "a number, at least 0", weight_decay, weight_decay >= 0.0 && weight_decay.is_finite()),
        ];
        if let Some((option, expected, found, _)) = numbers.iter().find(|(.., good)| !good) {
            return bad(option, expected, found.to_string());
        }
        if let Warmup::Ratio(ratio) = self.warmup
            && !(0.0..=1.0).contains(&ratio)
        {
            return bad("warmup", "a number of steps, or a ratio from 0 to 1", ratio.to_string());
        }
        if let Some(weights) = &self.class_weights {
            weights.check()?;
        }
        if self.patience.is_some() && self.best.is_none() {
            return bad("patience", "used together with the metric for the best epoch (`best`)", "none".into());
        }
        if self.resume && self.checkpoints.is_none() {
            return bad("resume", "used together with the folder of the checkpoints", "none".into());
        }
        Ok(())
    }
}
