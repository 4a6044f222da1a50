//! `quickstart`: trains an adapter for a real model on real data.

use std::path::{Path, PathBuf};
use std::time::Instant;

use burn_adapters_heads::HeadConfig;
use burn_adapters_train::tasks::Regression;
use burn_adapters_train::{
    Columns, Dataset, Evaluation, Format, Header, Label, Metric, Prediction, TrainConfig, evaluate, predict,
};
use clap::Args;
use serde_json::{Value, json};

use super::data::data_error;
use super::job::{Job, JobOutcome, Saved, stage_json};
use super::model::{check_fits, max_length, tokenize, train_error};
use super::output_folder::{Existing, Input, OutputFolder, QUICKSTART_CHECKPOINTS, is_quickstart, save_error};
use super::predictions::table as predictions_table;
use super::report::{confusion_json, confusion_table};
use super::{DeviceArguments, Quantize};
use crate::device::Found;
use crate::error::{CliError, CliResult};
use crate::output::{self, Align, Table, bytes, duration, shown, thousands};
use crate::progress::Style;
use crate::{draw, fetch, input, memory};

/// The adapter's name.
const NAME: &str = "reviews";

/// The configuration that a chat model is trained with by default.
const CHAT_CONFIG: &str =
    "lora[r=8,alpha=16,attn_matrices=['q','k','v','o'],gate_lora=True,intermediate_lora=True,output_lora=True]";

/// The labels, in the order of the head's logits.
const LABELS: [&str; 2] = ["negative", "positive"];

/// The text that is predicted at the end by default.
const SENTENCES: [&str; 3] = [
    "A warm, funny and quietly wise film that I could watch again tomorrow.",
    "Two hours of my life that I will never get back.",
    "The plot creaks, but the two leads are a joy to watch.",
];

/// Fetch a small model and real data, train an adapter in minutes, and show what it learned.
///
/// The model is all-MiniLM-L6-v2 (22.7 million parameters). The data is 10,605 sentences from movie reviews with human
/// ratings; every tenth sentence is held out. Both are fetched once, checked, and kept in $BURN_ADAPTERS_CACHE or your
/// cache folder.
///
/// With --chat, the model is SmolLM2-135M-Instruct (134.5 million parameters, in 4 bits), which learns to answer some 300 questions
/// by LoRA on all its matrices, and answers three held-out ones before and after.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Output folder for the adapter, the learning curve and the results. Results of an earlier quickstart there are
    /// replaced.
    #[arg(
        long,
        value_name = "DIR",
        default_value = "quickstart-out",
        default_value_if("chat", "true", "quickstart-chat")
    )]
    pub(super) dir: PathBuf,

    /// Train a chat model on questions with answers instead.
    #[arg(long)]
    pub(super) chat: bool,

    /// Write to DIR even if it is not empty, replacing the results of other commands.
    #[arg(long, conflicts_with = "resume")]
    pub(super) overwrite: bool,

    /// Resume an interrupted quickstart in DIR from its last completed epoch.
    #[arg(long)]
    pub(super) resume: bool,

    /// Configuration to train, such as `lora` or `seq_bn[reduction_factor=8]`.
    #[arg(long, value_name = "STRING|FILE", default_value = "seq_bn", default_value_if("chat", "true", CHAT_CONFIG))]
    pub(super) config: String,

    /// Use this model folder instead of fetching one.
    #[arg(long, value_name = "DIR")]
    pub(super) model: Option<PathBuf>,

    /// Use this file of rated sentences instead of fetching it: number, rating (positive above 0) and text, tab-separated. With
    /// --chat, a file of conversations (.jsonl).
    #[arg(long, value_name = "FILE")]
    pub(super) data: Option<PathBuf>,

    /// Number of passes over the data.
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub(super) epochs: usize,

    /// Texts per batch.
    #[arg(long, value_name = "N", default_value_t = 32, default_value_if("chat", "true", "8"))]
    pub(super) batch_size: usize,

    /// Initial learning rate; it decreases linearly to 0.
    #[arg(long, value_name = "RATE", default_value_t = 1e-3, default_value_if("chat", "true", "0.0003"))]
    pub(super) learning_rate: f64,

    /// Random seed.
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub(super) seed: u64,

    /// Sentences to predict, or questions to answer, at the end, instead of three built-in or held-out ones.
    #[arg(long, value_name = "TEXT", num_args = 1..)]
    pub(super) text: Vec<String>,

    #[command(flatten)]
    pub(super) device: DeviceArguments,

    /// Print the contents of result.json.
    #[arg(long)]
    pub(super) json: bool,
}

/// The maximum length in tokens; the sentences are far shorter.
const MAX_LENGTH: usize = 128;

impl Arguments {
    pub(super) fn run(self, style: Style) -> CliResult {
        if self.chat {
            return super::quickstart_chat::run(&self, style);
        }
        let start = Instant::now();
        let adapter = input::adapter_config(&self.config)?;
        let train_config = self.train_config()?;
        let output = self.claim_output()?;
        if self.is_finished() {
            return self.print_finished();
        }
        let found = self.device.open(style)?;
        let model_dir = match &self.model {
            Some(dir) => dir.clone(),
            None => fetch::model(style)?,
        };
        check_fits(&adapter, &model_dir)?;
        let (train, held_out) = self.data(style)?;

        let model = self.device.load(&model_dir, &found.device, style)?;
        let head = HeadConfig::classification(LABELS.len()).with_labels(LABELS);
        let length = max_length(&model, None)?.min(MAX_LENGTH);
        let (train, held_out) = (tokenize(&model, &train, &head, length)?, tokenize(&model, &held_out, &head, length)?);

        let model_name = if self.model.is_none() { fetch::MODEL_NAME.to_owned() } else { model.name.clone() };
        if !self.resume {
            output.drop_checkpoints()?;
        }
        let job = Job { name: NAME, adapter, head, model_name, train: train_config };
        let done = job.run(&model, &found.device, &train, Some(&held_out), style, self.json)?;
        let bank = &done.trained.bank;
        let evaluation =
            evaluate(&model.base, bank, &done.setup, &held_out, 64).map_err(|error| train_error(&error))?;
        let mut save = output.save()?;
        let (saved, warnings) = job.stage(&done, &mut save)?;
        warnings.iter().for_each(|warning| draw::warning(warning));

        let sentences: Vec<String> =
            if self.text.is_empty() { SENTENCES.map(str::to_owned).to_vec() } else { self.text.clone() };
        let spoken = Dataset::from_texts("the sentences", sentences.iter().cloned());
        let tokens = tokenize(&model, &spoken, &job.head, length)?;
        let predictions = predict(&model.base, bank, &done.setup, &tokens, 32).map_err(|error| train_error(&error))?;

        let result = Outcome {
            arguments: &self,
            job: &job,
            done: &done,
            saved: &saved,
            warnings: &warnings,
            found: &found,
            evaluation: &evaluation,
            examples: [train.len(), held_out.len()],
            sentences: &sentences,
            predictions: &predictions,
            model_bytes: weights_size(&model_dir),
            model_dir: &model_dir,
            seconds: start.elapsed().as_secs_f64(),
        };
        let json = result.json();
        stage_json(&mut save, "result.json", &json)?;
        save.commit().map_err(|error| save_error(&error))?;
        if self.json { output::json(&json) } else { result.print() }
    }

    pub(super) fn train_config(&self) -> CliResult<TrainConfig> {
        let config = TrainConfig::new()
            .with_epochs(self.epochs)
            .with_batch_size(self.batch_size)
            .with_learning_rate(self.learning_rate)
            .with_seed(self.seed)
            .with_evaluate_at_start(true)
            .with_checkpoints(self.dir.join(QUICKSTART_CHECKPOINTS))
            .with_keep_checkpoints(1)
            .with_resume(self.resume);
        config.check().map_err(|error| train_error(&error))?;
        Ok(config)
    }

    /// Claims DIR, before any work.
    pub(super) fn claim_output(&self) -> CliResult<OutputFolder> {
        let existing = if self.overwrite { Existing::Replace } else { Existing::OwnQuickstart };
        let mut inputs: Vec<_> = self.model.iter().map(|path| Input { option: "--model", path }).collect();
        inputs.extend(self.data.iter().map(|path| Input { option: "--data", path }));
        inputs.push(Input { option: "--config", path: Path::new(&self.config) });
        OutputFolder::open("--dir", &self.dir, existing, &inputs)
    }

    /// Whether it is to be resumed, and there is nothing left to do.
    pub(super) fn is_finished(&self) -> bool {
        self.resume && is_quickstart(&self.dir) && !self.dir.join(QUICKSTART_CHECKPOINTS).exists()
    }

    /// Reports that there was nothing to resume.
    pub(super) fn print_finished(&self) -> CliResult {
        let path = self.dir.join("result.json");
        if self.json {
            let text = burn_adapters_files::read_text(&path, burn_adapters_files::MAX_TEXT);
            let text = text.map_err(CliError::file)?;
            return output::line(text.trim_end());
        }
        output::line(format_args!(
            "the quickstart in {} is finished: nothing was changed; without --resume it starts over",
            shown(self.dir.display())
        ))
    }

    /// The sentences to train on, and every tenth sentence to hold out.
    fn data(&self, style: Style) -> CliResult<(Dataset, Dataset)> {
        let path = match &self.data {
            Some(path) => path.clone(),
            None => fetch::reviews(style)?,
        };
        let columns = Columns::new(2, 1).with_task(&Regression).with_header(Header::No).with_format(Format::Tsv);
        let data = Dataset::read(&path, &columns).map_err(|error| data_error(&error))?;
        let data = data.map_labels(|label| match label {
            Label::Number(rating) => Some(Label::Class(LABELS[usize::from(rating > 0.0)].to_owned())),
            other => Some(other),
        });
        data.split_every(10).map_err(|error| data_error(&error))
    }
}

/// The size of a model's weights on disk.
pub(super) fn weights_size(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let is_weights =
        |path: &Path| path.extension().is_some_and(|extension| extension == "safetensors" || extension == "bin");
    entries
        .filter(|entry| is_weights(&entry.path()))
        .filter_map(|entry| Some(std::fs::metadata(entry.path()).ok()?.len()))
        .sum()
}

/// The results.
struct Outcome<'a> {
    arguments: &'a Arguments,
    job: &'a Job<'a>,
    done: &'a JobOutcome,
    saved: &'a Saved,
    warnings: &'a [String],
    found: &'a Found,
    evaluation: &'a Evaluation,
    examples: [usize; 2],
    sentences: &'a [String],
    predictions: &'a [Prediction],
    model_bytes: u64,
    model_dir: &'a Path,
    seconds: f64,
}

impl Outcome<'_> {
    fn accuracy_before(&self) -> Option<f64> {
        let first = self.done.trained.history.evaluations.first()?;
        first.metric(Metric::ACCURACY)
    }

    fn json(&self) -> Value {
        let (done, saved) = (self.done, self.saved);
        let accuracy = self.evaluation.accuracy();
        let epochs: Vec<Value> = done
            .trained
            .history
            .evaluations
            .iter()
            .filter(|record| record.epoch > 0)
            .zip(&done.trained.history.epoch_losses())
            .map(|(record, loss)| {
                json!({"epoch": record.epoch, "training_loss": loss, "held_out_loss": record.metrics.get("loss"),
                       "accuracy": record.metrics.get("accuracy")})
            })
            .collect();
        let predictions: Vec<Value> = self
            .sentences
            .iter()
            .zip(self.predictions)
            .map(|(text, prediction)| {
                let label = prediction.labels.first().map(|label| self.job.head.label_of(*label).into_owned());
                json!({"text": text, "label": label, "logits": prediction.logits, "probabilities": prediction.probabilities})
            })
            .collect();
        let confusion = confusion_json(&self.evaluation.scores);
        json!({
            "model": self.job.model_name, "config": self.job.adapter.to_string(), "device": self.found.name(),
            "bf16": self.arguments.device.quantize() == Some(Quantize::Bf16),
            "base": done.report.base_parameters, "trainable": done.report.parameters(),
            "head_parameters": done.head_parameters,
            "examples": {"train": self.examples[0], "held_out": self.examples[1]},
            "epochs": epochs, "batch_size": self.arguments.batch_size, "learning_rate": self.arguments.learning_rate,
            "seed": self.arguments.seed,
            "accuracy_before": self.accuracy_before(), "accuracy": accuracy, "loss": self.evaluation.loss,
            "macro_f1": self.evaluation.metric(Metric::MACRO_F1), "confusion": confusion,
            "predictions": predictions,
            "bytes": {"adapter": saved.adapter.bytes, "head": saved.head.bytes, "model": self.model_bytes},
            "seconds": {"training": done.seconds, "all": self.seconds}, "peak_memory_bytes": memory::peak(),
            "dir": self.arguments.dir, "warnings": self.warnings,
        })
    }

    fn print(&self) -> CliResult {
        let (done, saved) = (self.done, self.saved);
        let mut table = Table::new(&[
            ("", Align::Left),
            ("training loss", Align::Right),
            ("held-out loss", Align::Right),
            ("held-out accuracy", Align::Right),
        ]);
        let losses = done.trained.history.epoch_losses();
        for record in &done.trained.history.evaluations {
            let number = |name: &str| record.metrics.get(name).map(|value| format!("{value:.4}")).unwrap_or_default();
            let (name, loss) = match record.epoch {
                0 => ("before training".to_owned(), String::new()),
                epoch => {
                    let loss = losses.get(epoch - 1).map(|loss| format!("{loss:.4}"));
                    (format!("after epoch {epoch}"), loss.unwrap_or_default())
                }
            };
            table.row(vec![name, loss, number("loss"), number("accuracy")]);
        }
        output::line(format_args!(
            "{} with {} on {}\n{} sentences to train on, {} held out\n\n{table}\n",
            shown(&self.job.model_name),
            shown(&self.job.adapter),
            self.found.name(),
            thousands(self.examples[0]),
            thousands(self.examples[1])
        ))?;
        if let Some(confusion) = &self.evaluation.scores.confusion {
            output::line(format_args!("{}\n", confusion_table(&LABELS, confusion)))?;
        }
        let texts = self.sentences.iter().map(String::as_str);
        output::line(format_args!("{}\n", predictions_table(texts.zip(self.predictions), &self.job.head)))?;
        let base = thousands(done.report.base_parameters);
        let share = done.report.percent().map(|percent| format!(" ({percent:.2} % of the model's {base})"));
        output::line(format_args!(
            "trained: {} parameters in the adapter{}, {} in the head",
            thousands(done.report.parameters()),
            share.unwrap_or_default(),
            thousands(done.head_parameters)
        ))?;
        output::line(format_args!(
            "on disk: adapter {}, head {}, beside a model of {}",
            bytes(saved.adapter.bytes),
            bytes(saved.head.bytes),
            bytes(self.model_bytes)
        ))?;
        let memory = memory::peak().map(|peak| format!(", {} of memory at most", bytes(peak))).unwrap_or_default();
        output::line(format_args!(
            "took:    {} to train, {} in all{memory}",
            duration(done.seconds),
            duration(self.seconds)
        ))?;
        let dir = shown(self.arguments.dir.display());
        output::line(format_args!(
            "wrote:   {dir}: the adapter and its head, curve.svg, curve.png, history.json, result.json\n"
        ))?;
        output::line(format_args!(
            "Try it:  burn-adapters predict --model {} --adapter {dir} --text 'Not bad at all.'",
            shown(self.model_dir.display())
        ))?;
        let accuracy = self.evaluation.accuracy().unwrap_or_default();
        let before =
            self.accuracy_before().map(|before| format!(" (before training: {before:.4})")).unwrap_or_default();
        output::line(format_args!("\nheld-out accuracy: {accuracy:.4}{before}"))
    }
}
