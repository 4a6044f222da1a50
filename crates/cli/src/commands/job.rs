//! A training: run, watched and written down.

use std::fs;
use std::path::Path;
use std::time::Instant;

use burn::tensor::Device;
use burn_adapters_checkpoint::{SaveOptions, SaveReport, save_adapter, save_head};
use burn_adapters_config::AdapterConfig;
use burn_adapters_heads::HeadConfig;
use burn_adapters_model::{AdapterBank, AddReport, Setup};
use burn_adapters_train::{EvaluationRecord, Metric, TokenData, TrainConfig, Trained, Trainer};
use serde_json::{Value, json};

use super::model::{Model, add_adapter, bank_error, checkpoint_error, train_error, warn_notes};
use super::report::Watch;
use crate::chart::{self, Curve};
use crate::error::{CliError, CliResult};
use crate::output::shown;
use crate::progress::Style;

/// One new adapter with its head, to be trained by itself.
pub(super) struct Job<'a> {
    pub(super) name: &'a str,
    pub(super) adapter: AdapterConfig,
    pub(super) head: HeadConfig,
    pub(super) model_name: String,
    pub(super) train: TrainConfig,
}

/// What was trained.
pub(super) struct Done {
    pub(super) report: AddReport,
    pub(super) head_parameters: usize,
    pub(super) trained: Trained,
    pub(super) setup: Setup,
    /// Mean training loss by epoch.
    pub(super) epoch_losses: Vec<f64>,
    pub(super) seconds: f64,
}

/// What was written.
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
    ) -> CliResult<Done> {
        let seed = self.train.seed;
        let mut bank = AdapterBank::new(model.bert.spec(), &device.clone().autodiff());
        let report = add_adapter(&mut bank, model, self.name, self.adapter.clone(), seed)?;
        warn_notes(self.name, &report.notes);
        let head_parameters = bank.add_head_seeded(self.name, &self.head, seed).map_err(|error| bank_error(&error))?;
        let setup = Setup::adapter(self.name);
        let Run { trained, epoch_losses, seconds } =
            Run::new(&self.train, model, bank, &setup, train, evaluation, style)?;
        Ok(Done { report, head_parameters, trained, setup, epoch_losses, seconds })
    }

    /// Writes the adapter, its head, the history and the learning curve.
    pub(super) fn save(&self, done: &Done, dir: &Path) -> CliResult<Saved> {
        let options = SaveOptions::new(&self.model_name);
        let saved = Saved::write(dir, &done.trained.bank, self.name, &options)?;
        save_history(dir, &done.trained, format!("{}: {} on {}", self.name, self.adapter, self.model_name))?;
        Ok(saved)
    }
}

impl Saved {
    /// Writes an adapter and the head of its name.
    pub(super) fn write(dir: &Path, bank: &AdapterBank, name: &str, options: &SaveOptions) -> CliResult<Self> {
        let adapter = save_adapter(dir, bank, name, options).map_err(|error| checkpoint_error(&error))?;
        warn_notes(name, &adapter.notes);
        let head = save_head(dir, bank, name, options).map_err(|error| checkpoint_error(&error))?;
        Ok(Self { adapter, head })
    }
}

/// A training that came to its end.
pub(super) struct Run {
    pub(super) trained: Trained,
    /// Mean training loss by epoch.
    pub(super) epoch_losses: Vec<f64>,
    pub(super) seconds: f64,
}

impl Run {
    /// Trains what a setup names, on the first of the data sets, and evaluates on the second.
    pub(super) fn new(
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
        let trained = Trainer::new(config.clone()).train(&model.bert, bank, setup, train, evaluation, &mut watch);
        watch.finish();
        let trained = trained.map_err(|error| train_error(&error))?;
        Ok(Self { trained, epoch_losses: watch.epoch_losses, seconds: start.elapsed().as_secs_f64() })
    }

    /// The evaluation of the parameters that were kept.
    pub(super) fn chosen(&self) -> Option<&EvaluationRecord> {
        let history = &self.trained.history;
        match history.best {
            Some(best) => history.evaluations.iter().find(|record| record.step == best.step),
            None => history.evaluations.last(),
        }
    }
}

/// Writes history.json and the learning curve.
pub(super) fn save_history(dir: &Path, trained: &Trained, title: String) -> CliResult {
    let history = &trained.history;
    write_json(&dir.join("history.json"), &json!(history))?;
    let accuracy = |record: &EvaluationRecord| Some((record.step, record.metric(Metric::Accuracy)?));
    let curve = Curve {
        title: shown(title),
        losses: history.steps.iter().map(|step| step.loss as f32).collect(),
        accuracy: history.evaluations.iter().filter_map(accuracy).collect(),
    };
    chart::draw(&curve, dir).map(drop).map_err(CliError::failure)
}

/// Writes an indented JSON file.
pub(super) fn write_json(path: &Path, value: &Value) -> CliResult {
    fs::write(path, format!("{value:#}\n")).map_err(|error| CliError::io("write", path, &error))
}
