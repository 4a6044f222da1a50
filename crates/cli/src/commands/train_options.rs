//! The training options of `train`.

use std::str::FromStr;

use burn_adapters_train::{AdamWOptions, ClassWeights, Metric, Schedule, TrainConfig, Warmup};
use clap::Args;

use super::lengths::LengthArguments;

/// Training options.
#[derive(Debug, Clone, Args)]
pub(super) struct Options {
    /// Number of passes over the data.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(super) epochs: usize,

    /// Texts per batch; in preference optimization, pairs of answers.
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub(super) batch_size: usize,

    /// Batches per optimizer step (gradient accumulation).
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) accumulation: usize,

    /// Peak learning rate.
    #[arg(long, value_name = "RATE", default_value_t = 1e-3)]
    pub(super) learning_rate: f64,

    /// Learning rate schedule after the warm-up: constant, linear or cosine.
    #[arg(long, value_name = "SCHEDULE", default_value = "linear", value_parser = parse_schedule)]
    pub(super) schedule: Schedule,

    /// Warm-up of the learning rate: a number of steps (100), or a fraction of all steps (0.06).
    #[arg(long, value_name = "STEPS|PART", default_value = "0", value_parser = parse_warmup)]
    pub(super) warmup: Warmup,

    /// Class weights in the loss: `balanced` (inverse to the class frequency), or weights by name such as a=1,b=2.5.
    /// Evaluation is not weighted.
    #[arg(long, value_name = "balanced|a=W,b=W", value_parser = ClassWeights::from_str)]
    pub(super) class_weights: Option<ClassWeights>,

    /// Weight decay.
    #[arg(long, value_name = "W", default_value_t = 0.0)]
    pub(super) weight_decay: f64,

    /// Clip gradients to this global norm; 0 disables clipping.
    #[arg(long, value_name = "NORM", default_value_t = 1.0)]
    pub(super) max_gradient_norm: f64,

    #[command(flatten)]
    pub(super) lengths: LengthArguments,

    /// Read the rows in the order of the data in every epoch, instead of shuffled and grouped by length.
    #[arg(long)]
    pub(super) keep_order: bool,

    /// Keep only the input of each layer in the forward pass, and compute the layers again in the backward pass (gradient
    /// checkpointing): far less memory, for a step that takes about a third longer.
    #[arg(long)]
    pub(super) checkpoint_layers: bool,

    /// Disable the base model's own dropout in training.
    #[arg(long)]
    pub(super) no_base_dropout: bool,

    /// Keep the epoch that is best by this metric: loss, accuracy, macro_f1, micro_f1; for regression
    /// mean_squared_error, mean_absolute_error or pearson; for tagging micro_, macro_ and weighted_ precision, recall
    /// and f1 (of spans), or token_accuracy; for question answering f1 or exact_match; for language modeling
    /// perplexity; for dpo reward_accuracy, reward_margin or perplexity. Of equally good epochs, the
    /// latest is kept. The untrained state is never kept.
    #[arg(long, value_name = "METRIC")]
    pub(super) best: Option<Metric>,

    /// Stop after this many epochs without improvement; needs --best.
    #[arg(long, value_name = "EPOCHS", requires = "best")]
    pub(super) patience: Option<usize>,

    /// Random seed. The same seed on the same CPU backend produces the same files.
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub(super) seed: u64,
}

impl Options {
    /// The configuration of the training, without checkpoints and the choice of the best epoch.
    pub(super) fn config(&self) -> TrainConfig {
        let mut config = TrainConfig::new()
            .with_epochs(self.epochs)
            .with_batch_size(self.batch_size)
            .with_accumulation(self.accumulation)
            .with_learning_rate(self.learning_rate)
            .with_schedule(self.schedule)
            .with_warmup(self.warmup)
            .with_adamw(AdamWOptions { weight_decay: self.weight_decay, ..AdamWOptions::default() })
            .with_max_gradient_norm(Some(self.max_gradient_norm).filter(|norm| *norm != 0.0))
            .with_keep_order(self.keep_order)
            .with_checkpoint_layers(self.checkpoint_layers)
            .with_base_dropout(!self.no_base_dropout)
            .with_seed(self.seed);
        config.best = self.best;
        config.patience = self.patience;
        config.class_weights = self.class_weights.clone();
        config
    }
}

fn parse_schedule(text: &str) -> Result<Schedule, String> {
    match text {
        "constant" => Ok(Schedule::Constant),
        "linear" => Ok(Schedule::Linear),
        "cosine" => Ok(Schedule::Cosine),
        _ => Err("expected constant, linear or cosine".into()),
    }
}

fn parse_warmup(text: &str) -> Result<Warmup, String> {
    if let Ok(steps) = text.parse() {
        return Ok(Warmup::Steps(steps));
    }
    match text.parse() {
        Ok(part) if (0.0..=1.0).contains(&part) => Ok(Warmup::Ratio(part)),
        _ => Err("expected a number of steps, or a fraction of all steps from 0.0 to 1.0".into()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_warm_up_is_steps_or_a_part() {
        assert_eq!(parse_warmup("100").unwrap(), Warmup::Steps(100));
        assert_eq!(parse_warmup("1").unwrap(), Warmup::Steps(1));
        assert_eq!(parse_warmup("0.06").unwrap(), Warmup::Ratio(0.06));
        for bad in ["-1", "1.5", "nan", "x", ""] {
            assert!(parse_warmup(bad).is_err(), "{bad}");
        }
    }
}
