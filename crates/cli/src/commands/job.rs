//! Runs a training, shows its progress and saves its result.

use std::time::Instant;

use burn::tensor::Device;
use burn_adapters_checkpoint::{FolderSave, SaveError, SaveOptions, SaveReport, stage_adapter, stage_head};
use burn_adapters_config::AdapterConfig;
use burn_adapters_heads::HeadConfig;
use burn_adapters_model::{AdapterBank, AddReport, BaseModel, Forward, Setup};
use burn_adapters_train::tasks::preference::REWARD_ACCURACY;
use burn_adapters_train::tasks::question_answering::F1;
use burn_adapters_train::{
    EvaluationRecord, Metric, ProcessGroup, Stopped, TokenData, TrainConfig, Trained, Trainer, train_task,
};
use serde_json::{Value, json};
use signal_hook::consts::SIGINT;

use super::model::{Model, add_adapter, bank_error, checkpoint_error, train_error, warn_notes};
use super::output_folder::{CURVE_PNG, CURVE_SVG, FINAL_CHECKPOINT, save_error};
use super::report::Watch;
use crate::chart::{self, Curve};
use crate::error::{CliError, CliResult};
use crate::output::{self, shown};
use crate::progress::Style;

/// One new adapter with its head, trained alone.
pub(super) struct Job<'a> {
    pub(super) name: &'a str,
    pub(super) adapter: AdapterConfig,
    pub(super) head: HeadConfig,
    pub(super) model_name: String,
    pub(super) train: TrainConfig,
}

/// The result of training.
pub(super) struct JobOutcome {
    pub(super) report: AddReport,
    pub(super) head_parameters: usize,
    pub(super) trained: Trained,
    pub(super) setup: Setup,
    pub(super) seconds: f64,
}

/// The saved files.
pub(super) struct Saved {
    pub(super) adapter: SaveReport,
    pub(super) head: SaveReport,
}

impl Job<'_> {
    pub(super) fn run(
        &self,
        model: &Model,
        device: &Device,
        train: &TokenData,
        evaluation: Option<&TokenData>,
        style: Style,
        json: bool,
    ) -> CliResult<JobOutcome> {
        let seed = self.train.seed;
        let mut bank = AdapterBank::new(model.base.spec(), &device.clone().autodiff());
        let report = add_adapter(&mut bank, model, self.name, self.adapter.clone(), seed)?;
        warn_notes(self.name, &report.notes);
        // The model's own output layer is the head of a language model.
        let head_parameters = match train_task(&self.head).form().is_language() && model.base.has_token_logits() {
            true => bank.add_model_head(self.name, &self.head).map(|()| 0),
            false => bank.add_head_seeded(self.name, &self.head, seed),
        };
        let head_parameters = head_parameters.map_err(|error| bank_error(&error))?;
        let setup = Setup::adapter(self.name);
        let group = ProcessGroup::alone();
        let run = Run::new(&group, &self.train, model, bank, &setup, train, evaluation, style)?;
        run.check_interrupted(json)?;
        let Run { trained, seconds, .. } = run;
        Ok(JobOutcome { report, head_parameters, trained, setup, seconds })
    }

    /// Adds the adapter, its head, the history and the learning curve to a save.
    pub(super) fn stage(&self, done: &JobOutcome, save: &mut FolderSave) -> CliResult<(Saved, Vec<String>)> {
        let options = SaveOptions::new(&self.model_name);
        let saved = Saved::stage(save, &done.trained.bank, self.name, &options)?;
        let title = format!("{}: {} on {}", self.name, self.adapter, self.model_name);
        let (_, warnings) = stage_history(save, &done.trained, title)?;
        Ok((saved, warnings))
    }
}

impl Saved {
    /// Adds an adapter and the head of its name to a save.
    pub(super) fn stage(
        save: &mut FolderSave,
        bank: &AdapterBank,
        name: &str,
        options: &SaveOptions,
    ) -> CliResult<Self> {
        let adapter = stage_adapter(save, bank, name, options).map_err(|error| checkpoint_error(&error))?;
        warn_notes(name, &adapter.notes);
        let head = stage_head(save, bank, name, options).map_err(|error| checkpoint_error(&error))?;
        Ok(Self { adapter, head })
    }
}

/// A completed training.
pub(super) struct Run {
    pub(super) trained: Trained,
    pub(super) seconds: f64,
    /// The exit code, if a signal ended the training.
    interrupted: Option<u8>,
}

impl Run {
    /// Trains the parts that a setup names on the first data set, and evaluates on the second.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn new(
        group: &ProcessGroup,
        config: &TrainConfig,
        model: &Model,
        bank: AdapterBank,
        setup: &Setup,
        train: &TokenData,
        evaluation: Option<&TokenData>,
        style: Style,
    ) -> CliResult<Self> {
        let mut watch = Watch::new(style);
        let start = Instant::now();
        let trainer = Trainer::new(config.clone());
        let trained = trainer.train_in(group, &model.base, bank, setup, train, evaluation, &mut watch);
        watch.finish();
        let trained = trained.map_err(|error| train_error(&error))?;
        // The signal may have come to another process.
        let code = || watch.interrupt.code().unwrap_or(128 + SIGINT as u8);
        let interrupted = (trained.stopped == Stopped::Interrupted).then(code);
        Ok(Self { trained, seconds: start.elapsed().as_secs_f64(), interrupted })
    }

    /// An error that explains how to continue, if a signal ended the training.
    pub(super) fn check_interrupted(&self, json: bool) -> CliResult {
        let Some(code) = self.interrupted else { return Ok(()) };
        let (steps, checkpoint) = (self.trained.history.steps.len(), &self.trained.checkpoint);
        if json {
            output::json(&json!({"interrupted": true, "steps": steps, "checkpoint": checkpoint}))?;
        }
        Err(match checkpoint {
            Some(checkpoint) => CliError::interrupted(
                code,
                format!(
                    "the training was interrupted after step {steps}; the last whole epoch is in {}",
                    checkpoint.display()
                ),
            )
            .with_help("the same command with --resume continues from there"),
            None => CliError::interrupted(
                code,
                format!(
                    "the training was interrupted after step {steps}, before its first epoch was done: nothing is saved"
                ),
            )
            .with_help("run the same command again to start over"),
        })
    }

    /// Whether there was nothing to do because the training was already finished and saved.
    pub(super) fn was_finished(&self) -> bool {
        let trained = &self.trained;
        let finished = trained.checkpoint.as_ref().is_some_and(|path| path.ends_with(FINAL_CHECKPOINT));
        finished && trained.resumed_after == trained.history.steps.len() && self.interrupted.is_none()
    }

    /// Notes on the training.
    pub(super) fn warnings(&self, metric: Option<Metric>) -> Vec<String> {
        let no_gain = metric.and_then(|metric| self.trained.history.no_gain(metric));
        no_gain.map(|no_gain| no_gain.to_string()).into_iter().collect()
    }

    /// The evaluation of the parameters that were kept.
    pub(super) fn best_record(&self) -> Option<&EvaluationRecord> {
        let history = &self.trained.history;
        match history.best {
            Some(best) => history.evaluations.iter().find(|record| record.step == best.step),
            None => history.evaluations.last(),
        }
    }
}

/// Adds history.json and the learning curve to a save and returns the names of the files. If the curve cannot be drawn,
/// this is only a warning.
pub(super) fn stage_history(
    save: &mut FolderSave,
    trained: &Trained,
    title: String,
) -> CliResult<(Vec<&'static str>, Vec<String>)> {
    let history = &trained.history;
    stage_json(save, "history.json", &json!(history))?;
    // What is best at 1 and is told of all heads: an accuracy, or else the F1.
    let has = |metric: &Metric| history.evaluations.iter().any(|record| record.metric(*metric).is_some());
    let metric =
        [Metric::ACCURACY, REWARD_ACCURACY, Metric::MICRO_F1, F1].into_iter().find(has).unwrap_or(Metric::ACCURACY);
    let score = |record: &EvaluationRecord| Some((record.step, record.metric(metric)?));
    let curve = Curve {
        title: shown(title),
        losses: history.steps.iter().map(|step| step.loss as f32).collect(),
        metric: metric.title(),
        scores: history.evaluations.iter().filter_map(score).collect(),
    };
    let drawn = [
        (CURVE_SVG, save.write_with(CURVE_SVG, |path| chart::draw_svg(&curve, path).map_err(NotDrawn))),
        (CURVE_PNG, save.write_with(CURVE_PNG, |path| chart::draw_png(&curve, path).map_err(NotDrawn))),
    ];
    let (mut files, mut warnings) = (vec!["history.json"], Vec::new());
    for (name, drawn) in drawn {
        match drawn {
            Ok(()) => files.push(name),
            Err(NotDrawn(reason)) => warnings.push(format!("the learning curve {name} is left out: {reason}")),
        }
    }
    Ok((files, warnings))
}

/// Why the curve is missing.
struct NotDrawn(String);

impl From<SaveError> for NotDrawn {
    fn from(error: SaveError) -> Self {
        Self(error.to_string())
    }
}

/// Adds an indented JSON file to a save.
pub(super) fn stage_json(save: &mut FolderSave, name: &str, value: &Value) -> CliResult {
    save.write(name, format!("{value:#}\n").as_bytes()).map_err(|error| save_error(&error))
}
