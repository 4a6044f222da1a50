//! `train`: an adapter and its head from labelled text.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use burn::tensor::Device;
use burn_adapters_checkpoint::{CheckpointError, SaveOptions, SaveReport, load_adapter, save_adapter, save_head};
use burn_adapters_composition::{Composition, HeadSetup};
use burn_adapters_config::AdapterConfig;
use burn_adapters_heads::HeadConfig;
use burn_adapters_model::{AdapterBank, AddReport, Setup};
use burn_adapters_train::{
    AdamWOptions, Dataset, LabelKind, Metric, Schedule, Stopped, TokenData, TrainConfig, Trained, Trainer, Warmup,
};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::DeviceArgument;
use super::model::{
    DataArguments, Model, bank_error, check_fits, checkpoint_error, data_error, make_output, max_length, tokenize,
    train_error,
};
use super::report::Watch;
use super::setup::{check_names, folder_error, named};
use crate::chart::{self, Curve};
use crate::error::{CliError, CliResult};
use crate::output::{self, bytes, duration, thousands};
use crate::progress::Style;
use crate::{draw, input, memory};

/// Train an adapter and its prediction head on labelled text.
///
/// The model itself is never changed. OUTPUT gets the adapter and its head in AdapterHub's format, history.json, and the
/// learning curve as curve.svg and curve.png.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  burn-adapters train --model all-MiniLM-L6-v2 --data reviews.csv --config seq_bn --name \
    reviews --output reviews-adapter\n  burn-adapters train --model all-MiniLM-L6-v2 --data train.tsv --eval dev.tsv \
    --text-column sentence --config 'lora[r=16]' --epochs 5 --output out\n  burn-adapters train --model \
    all-MiniLM-L6-v2 --data reviews.csv --setup 'Stack(language, task)' --adapter language=german --name task \
    --output task"
)]
pub(super) struct Arguments {
    /// The model's folder.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,

    /// The labelled data: a .csv, .tsv or .jsonl file.
    #[arg(long, value_name = "FILE")]
    data: PathBuf,

    /// What to train: a configuration such as `lora[r=16]`, or a JSON file that holds one; `burn-adapters methods` lists
    /// what there is.
    #[arg(long, value_name = "STRING|FILE", default_value = "seq_bn")]
    config: String,

    /// The adapter's name.
    #[arg(long, value_name = "NAME", default_value = "adapter")]
    name: String,

    /// Train the adapter among others, which stay as they are: `Stack(language, NAME)`. The adapter that is trained is
    /// the last, or one of several in the last block but Parallel, BatchSplit and Route.
    #[arg(long, value_name = "TEXT", requires = "adapter")]
    setup: Option<String>,

    /// The folder of an adapter that --setup puts beside the one that is trained; may be given several times. It is
    /// called by the name in its adapter_config.json, or by NAME.
    #[arg(long, value_name = "[NAME=]DIR", requires = "setup")]
    adapter: Vec<String>,

    /// Where to write the adapter.
    #[arg(long, value_name = "DIR")]
    output: PathBuf,

    #[command(flatten)]
    columns: DataArguments,

    /// What labels are: one class, several classes (their names joined with `|`), or a number to be predicted.
    #[arg(long, value_enum, value_name = "KIND", default_value_t = Labels::Class)]
    labels: Labels,

    /// Labelled data to evaluate on after each epoch.
    #[arg(long, value_name = "FILE", conflicts_with = "eval_fraction")]
    eval: Option<PathBuf>,

    /// Hold out this part of the data (such as 0.1) to evaluate on after each epoch.
    #[arg(long, value_name = "F")]
    eval_fraction: Option<f64>,

    /// Where to start again after an interruption: goes on from the last whole epoch.
    #[arg(long)]
    resume: bool,

    #[command(flatten)]
    options: Options,

    #[command(flatten)]
    device: DeviceArgument,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What labels are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Labels {
    /// One class of several.
    Class,
    /// Any number of classes.
    Classes,
    /// A number.
    Number,
}

/// How to train.
#[derive(Debug, Clone, Args)]
struct Options {
    /// How many times to go through the data.
    #[arg(long, value_name = "N", default_value_t = 3)]
    epochs: usize,

    /// Texts that go through the model together.
    #[arg(long, value_name = "N", default_value_t = 32)]
    batch_size: usize,

    /// Batches that are added up for one step.
    #[arg(long, value_name = "N", default_value_t = 1)]
    accumulation: usize,

    /// The peak learning rate.
    #[arg(long, value_name = "RATE", default_value_t = 1e-3)]
    learning_rate: f64,

    /// How the learning rate falls: constant, linear or cosine.
    #[arg(long, value_name = "SCHEDULE", default_value = "linear", value_parser = parse_schedule)]
    schedule: Schedule,

    /// For how long the learning rate rises: steps (100), or a part of all steps (0.06).
    #[arg(long, value_name = "STEPS|PART", default_value = "0", value_parser = parse_warmup)]
    warmup: Warmup,

    /// How strongly weights are drawn to 0.
    #[arg(long, value_name = "W", default_value_t = 0.0)]
    weight_decay: f64,

    /// The greatest norm of a step's gradients; 0 for any.
    #[arg(long, value_name = "NORM", default_value_t = 1.0)]
    max_gradient_norm: f64,

    /// Cut texts to this many tokens; by default to what the model takes.
    #[arg(long, value_name = "TOKENS")]
    max_length: Option<usize>,

    /// Leave the model's own dropout off in training.
    #[arg(long)]
    no_base_dropout: bool,

    /// Keep the epoch that is best by this: loss, accuracy, macro_f1, micro_f1, mean_squared_error or pearson.
    #[arg(long, value_name = "METRIC")]
    best: Option<Metric>,

    /// Stop after so many epochs without a better one; needs --best.
    #[arg(long, value_name = "EPOCHS", requires = "best")]
    patience: Option<usize>,

    /// From which every random number follows: the same seed on the same CPU backend gives the same files.
    #[arg(long, value_name = "N", default_value_t = 42)]
    seed: u64,
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
        _ => Err("expected a number of steps, or a part of them from 0.0 to 1.0".into()),
    }
}

impl Arguments {
    pub(super) fn run(self, style: Style) -> CliResult {
        let config = self.train_config();
        config.check().map_err(|error| train_error(&error))?;
        let adapter_config = input::adapter_config(&self.config)?;
        let composition = self.composition()?;
        let (train, evaluation) = self.data()?;
        let head = train.head_config().map_err(|error| data_error(&error))?;

        check_fits(&adapter_config, &self.model)?;

        let device = self.device.open(style)?.device;
        let model = Model::load(&self.model, &device, style)?;
        let beside = self.beside(composition, &adapter_config, &model, &device, style)?;
        let max_length = max_length(&model, self.options.max_length)?;
        let train = tokenize(&model, &train, &head, max_length)?;
        let evaluation = evaluation.map(|data| tokenize(&model, &data, &head, max_length)).transpose()?;
        make_output(&self.output)?;
        let (name, model_name) = (self.name.as_str(), model.name.clone());
        let job = Job { name, adapter: adapter_config, head, model_name, train: config, beside };
        let done = job.run(&model, &device, &train, evaluation.as_ref(), style)?;
        let saved = job.save(&done, &self.output)?;
        self.clear_checkpoints(done.trained.stopped)?;
        self.print(&done, &saved)
    }

    /// What --setup says, as far as it can be told without the adapters.
    fn composition(&self) -> CliResult<Option<Composition>> {
        let Some(text) = &self.setup else { return Ok(None) };
        let composition = input::composition(text)?;
        let mut by_rows = false;
        composition.visit(&mut |part| {
            by_rows |=
                matches!(part, Composition::Parallel(_) | Composition::BatchSplit { .. } | Composition::Route(_));
        });
        let last = match &composition {
            Composition::Stack(children) => children.last(),
            other => Some(other),
        };
        if by_rows || !last.is_some_and(|last| last.contains(&self.name)) {
            let name = &self.name;
            let error = CliError::mistake(format!("{composition} does not end in `{name}`, the adapter to be trained"));
            return Err(error.with_help(format!(
                "--name is the adapter's name; it is the last of the setup, as in `Stack(language, {name})`, and stands in \
                 no Parallel, BatchSplit or Route"
            )));
        }
        Ok(Some(composition))
    }

    /// Reads the adapters that --setup puts beside the one to be trained.
    fn beside(
        &self,
        composition: Option<Composition>,
        config: &AdapterConfig,
        model: &Model,
        device: &Device,
        style: Style,
    ) -> CliResult<Option<Beside>> {
        let Some(composition) = composition else { return Ok(None) };
        let mut bank = AdapterBank::new(model.bert.spec(), &device.clone().autodiff());
        for text in &self.adapter {
            let (name, dir) = named(text);
            style.say(load_adapter(dir, &mut bank, name).map_err(|error| folder_error(&error))?);
        }
        // All of the setup must fit together before the training starts.
        let mut whole = bank.clone();
        let added = whole.add_for(&model.bert, &self.name, config.clone(), 0);
        added.map_err(|error| folder_error(&CheckpointError::Bank(error)))?;
        check_names(&whole, &composition, self.setup.as_deref())?;
        Ok(Some(Beside { bank, composition }))
    }

    fn train_config(&self) -> TrainConfig {
        let options = &self.options;
        let mut config = TrainConfig::new()
            .with_epochs(options.epochs)
            .with_batch_size(options.batch_size)
            .with_accumulation(options.accumulation)
            .with_learning_rate(options.learning_rate)
            .with_schedule(options.schedule)
            .with_warmup(options.warmup)
            .with_adamw(AdamWOptions { weight_decay: options.weight_decay, ..AdamWOptions::default() })
            .with_max_gradient_norm(Some(options.max_gradient_norm).filter(|norm| *norm != 0.0))
            .with_base_dropout(!options.no_base_dropout)
            .with_seed(options.seed)
            .with_evaluate_at_start(self.eval.is_some() || self.eval_fraction.is_some())
            .with_checkpoints(self.checkpoints())
            .with_keep_checkpoints(1)
            .with_resume(self.resume);
        config.best = options.best;
        config.patience = options.patience;
        config
    }

    fn checkpoints(&self) -> PathBuf {
        self.output.join("checkpoints")
    }

    /// A training that came to its end needs them no more.
    fn clear_checkpoints(&self, stopped: Stopped) -> CliResult {
        let dir = self.checkpoints();
        if stopped == Stopped::Interrupted || !dir.exists() {
            return Ok(());
        }
        fs::remove_dir_all(&dir).map_err(|error| CliError::io("remove", &dir, &error))
    }

    fn data(&self) -> CliResult<(Dataset, Option<Dataset>)> {
        let kind = match self.labels {
            Labels::Class => LabelKind::Class,
            Labels::Classes => LabelKind::Classes,
            Labels::Number => LabelKind::Number,
        };
        let data = self.columns.read(&self.data, kind)?;
        match (&self.eval, self.eval_fraction) {
            (Some(path), _) => Ok((data, Some(self.columns.read(path, kind)?))),
            (None, Some(fraction)) => {
                let split = data.split_fraction(fraction, self.options.seed);
                let (train, held_out) = split.map_err(|error| data_error(&error))?;
                Ok((train, Some(held_out)))
            }
            (None, None) => Ok((data, None)),
        }
    }

    fn print(&self, done: &Done, saved: &Saved) -> CliResult {
        if self.json {
            let history = &done.trained.history;
            return output::json(&json!({
                "name": self.name, "output": self.output, "adapter_parameters": done.report.parameters(),
                "head_parameters": done.head_parameters, "epochs": history.evaluations, "best": history.best,
                "steps": history.steps.len(), "final_loss": history.steps.last().map(|step| step.loss),
                "bytes": {"adapter": saved.adapter.bytes, "head": saved.head.bytes},
                "seconds": done.seconds, "peak_memory_bytes": memory::peak(),
            }));
        }
        if let Some(record) = done.chosen() {
            let metrics: Vec<String> =
                record.metrics.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
            output::line(format_args!("held out, after epoch {}: {}", record.epoch, metrics.join(", ")))?;
        } else if let Some(step) = done.trained.history.steps.last() {
            output::line(format_args!("the last step's loss: {:.4}", step.loss))?;
        }
        output::line(format_args!(
            "trained {} parameters (adapter) and {} (head) in {}",
            thousands(done.report.parameters()),
            thousands(done.head_parameters),
            duration(done.seconds)
        ))?;
        output::line(format_args!(
            "saved to {}: adapter {}, head {}, history.json, curve.svg, curve.png",
            self.output.display(),
            bytes(saved.adapter.bytes),
            bytes(saved.head.bytes)
        ))
    }
}

/// What is to be trained.
pub(super) struct Job<'a> {
    pub(super) name: &'a str,
    pub(super) adapter: AdapterConfig,
    pub(super) head: HeadConfig,
    pub(super) model_name: String,
    pub(super) train: TrainConfig,
    pub(super) beside: Option<Beside>,
}

/// Adapters that stay as they are, and how they work together with the one that is trained.
pub(super) struct Beside {
    bank: AdapterBank,
    composition: Composition,
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

impl Done {
    /// The evaluation of the parameters that were kept.
    pub(super) fn chosen(&self) -> Option<&burn_adapters_train::EvaluationRecord> {
        let history = &self.trained.history;
        match history.best {
            Some(best) => history.evaluations.iter().find(|record| record.step == best.step),
            None => history.evaluations.last(),
        }
    }
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
        let mut bank = match &self.beside {
            Some(beside) => beside.bank.clone(),
            None => AdapterBank::new(model.bert.spec(), &device.clone().autodiff()),
        };
        let added = bank.add_for(&model.bert, self.name, self.adapter.clone(), seed);
        let report = added.map_err(|error| bank_error(&error))?;
        report.notes.iter().for_each(|note| draw::warning(note));
        let head_parameters = bank.add_head_seeded(self.name, &self.head, seed).map_err(|error| bank_error(&error))?;
        let setup = match &self.beside {
            Some(beside) => Setup::compose(beside.composition.clone())
                .with_head(HeadSetup::from(self.name))
                .training_only([self.name]),
            None => Setup::adapter(self.name),
        };
        let mut watch = Watch::new(style);
        let start = Instant::now();
        let trained = Trainer::new(self.train.clone()).train(&model.bert, bank, &setup, train, evaluation, &mut watch);
        watch.finish();
        let trained = trained.map_err(|error| train_error(&error))?;
        let seconds = start.elapsed().as_secs_f64();
        Ok(Done { report, head_parameters, trained, setup, epoch_losses: watch.epoch_losses, seconds })
    }

    /// Writes the adapter, its head, the history and the learning curve.
    pub(super) fn save(&self, done: &Done, dir: &Path) -> CliResult<Saved> {
        let options = SaveOptions::new(&self.model_name);
        let bank = &done.trained.bank;
        let adapter = save_adapter(dir, bank, self.name, &options).map_err(|error| checkpoint_error(&error))?;
        let head = save_head(dir, bank, self.name, &options).map_err(|error| checkpoint_error(&error))?;
        write_json(&dir.join("history.json"), &json!(done.trained.history))?;
        let curve = Curve {
            title: format!("{}: {} on {}", self.name, self.adapter, self.model_name),
            losses: done.trained.history.steps.iter().map(|step| step.loss as f32).collect(),
            accuracy: done
                .trained
                .history
                .evaluations
                .iter()
                .filter_map(|record| Some((record.step, record.metric(Metric::Accuracy)?)))
                .collect(),
        };
        chart::draw(&curve, dir).map_err(CliError::failure)?;
        Ok(Saved { adapter, head })
    }
}

/// Writes an indented JSON file.
pub(super) fn write_json(path: &Path, value: &Value) -> CliResult {
    fs::write(path, format!("{value:#}\n")).map_err(|error| CliError::io("write", path, &error))
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
