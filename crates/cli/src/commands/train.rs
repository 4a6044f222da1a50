//! `train`: adapters, or a fusion of adapters, and their heads from labeled text.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use burn_adapters_checkpoint::{load_adapter, load_head};
use burn_adapters_fusion::FusionConfig;
use burn_adapters_heads::HeadConfig;
use burn_adapters_model::{AdapterBank, BaseModel, Forward, Setup};
use burn_adapters_train::tasks::TRAIN_TASKS;
use burn_adapters_train::{Dataset, ProcessGroup, Source, TextForm, TrainConfig, TrainTask, train_task};
use clap::Args;
use serde_json::json;

use super::DeviceArguments;
use super::chosen_head::ChosenHead;
use super::data::{self, LabeledArguments, data_error, parse_task};
use super::given::Given;
use super::job::Run;
use super::model::{Model, add_adapter, bank_error, check_fits, parse_name, report_loaded, train_error, warn_notes};
use super::output_folder::{CHECKPOINTS, Existing, FINAL_CHECKPOINT, Input, OutputFolder, check_part_names};
use super::plan::{Configs, Plan, Shape, fusion_config};
use super::processes;
use super::setup::{check_adapters, check_names, folder_error, named};
use super::train_options::Options;
use super::training::{Labeled, Part, TokenOptions, Training, Written, add_fusions};
use crate::error::{CliError, CliResult};
use crate::output::{self, duration, shown};
use crate::progress::Style;
use crate::{draw, memory};

const EXAMPLES: &str = "\
Examples:
  burn-adapters train --model all-MiniLM-L6-v2 --data reviews.csv --config seq_bn --name reviews \\
    --output reviews-adapter
  burn-adapters train --model all-MiniLM-L6-v2 --data train.tsv --eval dev.tsv --text-column sentence \\
    --config 'lora[r=16]' --epochs 5 --output out
  burn-adapters train --model all-MiniLM-L6-v2 --data nli.csv --text-column premise --pair-column hypothesis \\
    --output nli
  burn-adapters train --model all-MiniLM-L6-v2 --data train.conll --eval dev.conll --task tagging \\
    --best micro_f1 --output ner
  burn-adapters train --model all-MiniLM-L6-v2 --data train-v1.1.json --task question-answering --max-length 384 \\
    --best f1 --eval dev-v1.1.json --output squad
  burn-adapters train --model all-MiniLM-L6-v2 --data swag.csv --task multiple-choice --text-column startphrase \\
    --output swag
  burn-adapters train --model bert-base-uncased --data train.conllu --eval dev.conllu --task dependency-parsing \\
    --best las --output parser
  burn-adapters train --model bert-base-uncased --data texts.txt --task masked-lm --config seq_bn_inv --name german \\
    --output german
  burn-adapters train --model gpt2 --data poems.txt --task causal-lm --config lora --eval-fraction 0.1 --output poems
  burn-adapters train --model SmolLM2.gguf --data pairs.jsonl --task dpo --beta 0.1 --config lora --learning-rate 1e-4 \\
    --batch-size 4 --eval-fraction 0.1 --best reward_accuracy --output preferred
  burn-adapters train --model t5-small --data summaries.jsonl --task seq2seq-lm --text-column article \\
    --label-column summary --output summaries
  burn-adapters train --model all-MiniLM-L6-v2 --data reviews.csv --task multilabel --label-names a,b,c --output topics
  burn-adapters train --model all-MiniLM-L6-v2 --data ratings.csv --task regression --label-column stars --output stars
  burn-adapters train --model all-MiniLM-L6-v2 --data reviews.csv --setup 'Stack(language, task)' \\
    --adapter language=german --name task --output task
  burn-adapters train --model all-MiniLM-L6-v2 --data reviews.csv --setup 'Parallel(stars, mood)' \\
    --config lora --config mood=seq_bn --label-column stars=stars --label-column mood=mood --output both
  burn-adapters train --model all-MiniLM-L6-v2 --data reviews.csv --setup 'Fuse(films, tweets)' \\
    --adapter films=a --adapter tweets=b --fusion-config dynamic --output fusion
  burn-adapters train --model all-MiniLM-L6-v2 --data more.csv --adapter reviews-adapter --output reviews-2

What --setup trains:
  Stack(language, NAME)   the new adapter NAME, which must be the last, or in the
                          last Average or Split. The others are loaded by
                          --adapter and frozen
  Parallel(a, b)          the last adapter of each branch, each with its own head.
                          Adapters loaded by --adapter continue training, the
                          others are new. OUTPUT contains a folder for each;
                          predict --setup OUTPUT uses all
  Fuse(a, b)              a new AdapterFusion and a head, over frozen adapters
                          loaded by --adapter. predict --fusion reads OUTPUT";

/// Train an adapter and its prediction head on text, several adapters at once, or a fusion of adapters.
///
/// The model itself is never changed. OUTPUT receives the adapter and its head in AdapterHub's format, history.json, and the
/// learning curve as curve.svg and curve.png.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Model folder.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,

    /// Labeled data: a .csv, .tsv or .jsonl file, optionally compressed (.csv.gz); `-` reads standard input (needs
    /// --format). For masked and causal language modeling, a .txt file with a text a line, too.
    #[arg(long, value_name = "FILE|-")]
    data: PathBuf,

    /// Configuration to train, such as `lora[r=16]`, or a JSON file that contains one; `burn-adapters methods` lists the
    /// methods. With Parallel in --setup, NAME=CONFIG configures one adapter; repeat the option for several. [default:
    /// seq_bn]
    #[arg(long, value_name = "[NAME=]STRING|FILE")]
    config: Vec<String>,

    /// Name of the adapter [default: adapter, or the name of the adapter that --adapter continues]. With Fuse in --setup,
    /// name of the head.
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    name: Option<String>,

    /// Train together with other adapters: `Stack(language, NAME)`, `Parallel(a, b)` or `Fuse(a, b)`. See below.
    #[arg(long, value_name = "TEXT")]
    setup: Option<String>,

    /// Folder of an adapter to continue training, with its head. With --setup, folder of one of its adapters; repeat
    /// the option for each. The adapter's name is the one in its adapter_config.json, or NAME.
    #[arg(long, value_name = "[NAME=]DIR")]
    adapter: Vec<String>,

    /// Configuration of a fusion: `static`, `dynamic`, one with attributes such as `dynamic[temperature=True]`, or a JSON
    /// file. [default: dynamic]
    #[arg(long, value_name = "STRING|FILE", requires = "setup")]
    fusion_config: Option<String>,

    /// Layers to run without adapters (AdapterDrop), counted from 0: `0,1`. The adapter still has parameters in these
    /// layers; the configuration's `leave_out` also leaves those out.
    #[arg(long, value_name = "LAYERS", value_delimiter = ',')]
    skip_layers: Vec<usize>,

    /// Output folder; must be empty or not exist.
    #[arg(long, value_name = "DIR")]
    output: PathBuf,

    /// Replace the results of an earlier command in OUTPUT once the new training is done. Other files there are kept.
    #[arg(long, conflicts_with = "resume")]
    overwrite: bool,

    #[command(flatten)]
    columns: LabeledArguments,

    /// What to learn. `classification`: one class per text. `multilabel`: any number of classes per text, given as names
    /// joined with `|`, or as a vector such as [0, 1, 1]. `regression`: a number. `tagging`: a label for each word, from
    /// .jsonl with a list of tokens and a list of tags, or from CoNLL columns. `question-answering`: the part of a
    /// context that answers a question, from SQuAD's JSON, or from the columns question, context and answers.
    /// `multiple-choice`: the best of several texts, from the columns text, choices (or ending0, ending1 and so on) and
    /// label, which is the number or the text of the right choice. `dependency-parsing`: the head and the relation of
    /// each word, from CoNLL-U, or from .jsonl with a list of tokens and a list of arcs such as "2:nsubj". `masked-lm`:
    /// masked tokens of plain texts (15 % of the tokens, chosen anew in each epoch). `causal-lm`: each token of plain
    /// texts from those before it. `seq2seq-lm`: the text in the column target from the one in the column text. `dpo`: the
    /// preferred of two answers to a prompt, by direct preference optimization, from .jsonl with `prompt`, `chosen` and
    /// `rejected`; the reference model is the model without adapters. Language modeling trains no head if the model has an output layer of its own. [default: the task of the head of --adapter,
    /// otherwise classification]
    #[arg(long, value_name = "TASK", value_parser = parse_task, conflicts_with = "labels")]
    task: Option<&'static dyn TrainTask>,

    /// The former name of --task.
    #[arg(long, value_name = "KIND", value_parser = parse_task, hide = true)]
    labels: Option<&'static dyn TrainTask>,

    /// Labeled data for the evaluation after each epoch; `-` reads standard input (needs --format).
    #[arg(long, value_name = "FILE|-", conflicts_with = "eval_fraction")]
    eval: Option<PathBuf>,

    /// Fraction of the data (such as 0.1) to hold out for the evaluation after each epoch, stratified by class.
    #[arg(long, value_name = "F")]
    eval_fraction: Option<f64>,

    /// Resume the training in OUTPUT from its last completed epoch. A finished training continues only if --epochs is
    /// larger than before.
    #[arg(long)]
    resume: bool,

    #[command(flatten)]
    options: Options,

    #[command(flatten)]
    device: DeviceArguments,

    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

impl Arguments {
    pub(super) fn run(self, style: Style) -> CliResult {
        let group = processes::join()?;
        let style = if group.is_first() { style } else { Style::Quiet };
        let done = self.run_in(&group, style);
        processes::leave(group, done)
    }

    fn run_in(&self, group: &ProcessGroup, style: Style) -> CliResult {
        let config = self.train_config();
        config.check().map_err(|error| train_error(&error))?;
        let mut given = Given::read(&self.adapter, self.setup.is_some(), self.name.as_deref())?;
        let continued = given.first().filter(|_| self.setup.is_none()).map(|given| given.name.clone());
        let plan = Plan::new(self.setup.as_deref(), continued.as_deref().or(self.name.as_deref()))?;
        let configs = Configs::read(&self.config)?;
        let fusion = self.fusion(&plan, &configs)?;
        self.columns.check_names(&plan.names(), "the heads that are trained")?;
        // The first process alone writes.
        let output = group.is_first().then(|| self.claim_output(&plan)).transpose()?;
        processes::check_input(group, [("--data", Some(&*self.data)), ("--eval", self.eval.as_deref())])?;
        if fusion.is_none() {
            for given in given.iter_mut().filter(|given| plan.names().contains(&given.name.as_str())) {
                given.check_config(plan.shape, &configs)?;
                given.read_head(&self.model)?;
            }
        }
        self.check_task(&given)?;
        let beta = self.columns.preference(self.task().map_or(TextForm::Whole, TrainTask::form))?;
        let trained = |name: &str| given.iter().find(|given| fusion.is_none() && given.name == name);
        for name in plan.names().into_iter().filter(|name| fusion.is_none() && trained(name).is_none()) {
            check_fits(&configs.of(name)?, &self.model)?;
        }
        let (train, evaluation) = self.data(&plan, &|name| trained(name)?.head.as_ref().map(train_task))?;
        let heads = train.iter().map(|(name, data)| ChosenHead::new(data, trained(name), self.task(), &self.model));
        let heads = heads.collect::<CliResult<Vec<_>>>()?;
        data::warn(train.iter().zip(&heads).map(|((_, data), head)| (data, &head.config)));

        let device = self.device.open(style)?.device;
        let model = self.device.load(&self.model, &device, style)?;
        let training = self.prepare(&plan, &configs, fusion.as_ref(), &given, heads, &model, &device, style)?;
        let lengths = self.options.lengths.lengths(&model, false)?;
        let options = TokenOptions { lengths, beta, batch_size: self.options.batch_size, style };
        let train = training.tokens(&model, &train, &options)?;
        let evaluation = evaluation.map(|data| training.tokens(&model, &data, &options)).transpose()?;
        if let (true, Some(output)) = (self.overwrite, &output) {
            output.drop_checkpoints()?;
        }
        let bank = training.bank.clone();
        let run = Run::new(group, &config, &model, bank, &training.setup, &train, evaluation.as_ref(), style)?;
        run.check_interrupted(self.json && group.is_first())?;
        let Some(output) = output else { return Ok(()) };
        if run.was_finished() {
            return self.print_finished(&training, &run);
        }
        let mut written = training.save(&run, &output, &model.name)?;
        written.warnings.extend(run.warnings(self.options.best));
        written.warnings.iter().for_each(|warning| draw::warning(warning));
        match self.json {
            true => self.print_json(group, &training, &run, &written),
            false => self.print(group, &training, &run, &written),
        }
    }

    fn task(&self) -> Option<&'static dyn TrainTask> {
        self.task.or(self.labels)
    }

    /// Refuses to continue training a head that labels words on labeled texts, and the reverse.
    fn check_task(&self, given: &[Given]) -> CliResult {
        let Some(task) = self.task() else { return Ok(()) };
        let heads = given.iter().filter_map(|given| Some((given, given.head.as_ref()?)));
        let of_others = |(_, head): &(&Given, &HeadConfig)| train_task(head).form() != task.form();
        let Some((Given { name, .. }, head)) = heads.clone().find(of_others) else { return Ok(()) };
        let message = format!("--task {}, but the head of the adapter `{name}` is for {}", task.task(), head.task());
        Err(CliError::mistake(message).with_help(format!(
            "leave out --task to continue training `{name}`; for another task, train a new adapter without --adapter"
        )))
    }

    /// Claims OUTPUT before any work: it must not contain anything that may not be replaced.
    fn claim_output(&self, plan: &Plan) -> CliResult<OutputFolder> {
        let existing = match (self.overwrite, self.resume) {
            (true, _) => Existing::Replace,
            (_, true) => Existing::Resume,
            _ => Existing::Refuse,
        };
        let mut inputs =
            vec![Input { option: "--model", path: &self.model }, Input { option: "--data", path: &self.data }];
        inputs.extend(self.eval.as_deref().map(|path| Input { option: "--eval", path }));
        inputs.extend(self.adapter.iter().map(|text| Input { option: "--adapter", path: named(text).1 }));
        inputs.extend(self.config.iter().map(|text| Input { option: "--config", path: Path::new(text) }));
        if let Some(composition) = plan.composition.as_ref().filter(|_| plan.shape != Shape::One) {
            let (names, fusions) = (composition.names(), composition.fusions());
            let parts = names.into_iter().chain(fusions.iter().map(String::as_str)).chain(plan.names());
            check_part_names("--output", &self.output, parts)?;
        }
        OutputFolder::open("--output", &self.output, existing, &inputs)
    }

    /// The configuration of fusions, if any are trained; checks that the other options fit.
    fn fusion(&self, plan: &Plan, configs: &Configs) -> CliResult<Option<FusionConfig>> {
        let setup = self.setup.as_deref().unwrap_or_default();
        if plan.shape != Shape::Fusion {
            if self.fusion_config.is_some() {
                return Err(CliError::mistake(format!("--fusion-config, but {setup} holds no Fuse"))
                    .with_help("`Fuse(a, b)` in --setup trains a fusion over the adapters a and b"));
            }
            configs.check_names(&plan.names())?;
            return Ok(None);
        }
        if !configs.is_empty() {
            return Err(CliError::mistake(format!(
                "--config, but {setup} trains no adapter: a fusion is trained over adapters"
            ))
            .with_help(
                "--fusion-config configures the fusion; its adapters are frozen, so train new ones first, each by \
                     itself, and give their folders: --adapter DIR",
            ));
        }
        fusion_config(self.fusion_config.as_deref().unwrap_or("dynamic")).map(Some)
    }

    /// Loads all parts and checks that they fit together, before texts are read and training begins.
    #[allow(clippy::too_many_arguments)]
    fn prepare(
        &self,
        plan: &Plan,
        configs: &Configs,
        fusion: Option<&FusionConfig>,
        given: &[Given],
        heads: Vec<ChosenHead>,
        model: &Model,
        device: &Device,
        style: Style,
    ) -> CliResult<Training> {
        let mut bank = AdapterBank::new(model.base.spec(), &device.clone().autodiff());
        for Given { name, dir, .. } in given {
            let report = load_adapter(dir, &mut bank, Some(name)).map_err(|error| folder_error(&error))?;
            report_loaded(&report, style);
        }
        let loaded = |name: &str| given.iter().find(|given| given.name == name);
        let mut parts = Vec::new();
        let mut fusions = Vec::new();
        let seed = self.options.seed;
        match fusion {
            None => {
                for (index, name) in plan.names().into_iter().enumerate() {
                    if let Some(given) = loaded(name) {
                        style.say(format_args!("training the adapter `{name}` of {} further", given.dir.display()));
                        parts.push(Part { name: name.to_owned(), loaded: true, head_loaded: false });
                        continue;
                    }
                    let seed = seed.wrapping_add(index as u64);
                    let report = add_adapter(&mut bank, model, name, configs.of(name)?, seed)?;
                    warn_notes(name, &report.notes);
                    parts.push(Part { name: name.to_owned(), loaded: false, head_loaded: false });
                }
            }
            Some(config) => {
                let Some(composition) = &plan.composition else { return Err(CliError::mistake("no setup is given")) };
                check_adapters(&bank, composition, self.setup.as_deref()).map_err(|error| {
                    error.with_help("a fusion is trained over loaded adapters: --adapter DIR or NAME=DIR loads each")
                })?;
                fusions = add_fusions(&mut bank, composition, config, seed)?;
            }
        }
        if let Some(composition) = &plan.composition {
            check_names(&bank, composition, self.setup.as_deref())?;
        }
        let setup = match (&plan.composition, plan.shape) {
            (None, _) => plan.names().first().map_or_else(Setup::base, |name| Setup::adapter(*name)),
            (Some(composition), Shape::Fusion) => {
                Setup::compose(composition.clone()).with_head(plan.heads.clone()).train_fusions()
            }
            (Some(composition), _) => {
                Setup::compose(composition.clone()).with_head(plan.heads.clone()).training_only(plan.names())
            }
        };
        let setup = setup.skip_layers(self.skip_layers.iter().copied());
        bank.hooks(&setup).map_err(|error| bank_error(&error))?;

        for (index, (name, head)) in plan.names().into_iter().zip(&heads).enumerate() {
            let given = loaded(name).filter(|_| fusion.is_none());
            if let (Some(given), true) = (given, head.loaded) {
                let report = load_head(&given.dir, &mut bank, Some(name)).map_err(|error| folder_error(&error))?;
                warn_notes(name, &report.notes);
                parts.iter_mut().filter(|part| part.name == name).for_each(|part| part.head_loaded = true);
                continue;
            }
            if head.may_be_of_model() && model.base.has_token_logits() {
                bank.add_model_head(name, &head.config).map_err(|error| bank_error(&error))?;
                continue;
            }
            if let Some(given) = given {
                let dir = given.dir.display();
                draw::warning(&match given.head {
                    Some(_) => {
                        format!("the head in {dir} has other labels than the data: `{name}` gets a new head")
                    }
                    None => format!("{dir} holds no head: `{name}` gets a new one"),
                });
            }
            let seed = seed.wrapping_add(index as u64);
            bank.add_head_seeded(name, &head.config, seed).map_err(|error| bank_error(&error))?;
        }
        bank.tie_heads(&model.base).map_err(|error| bank_error(&error))?;
        let heads = heads.into_iter().map(|head| head.config).collect();
        Ok(Training { plan: plan.clone(), bank, setup, parts, fusions, heads })
    }

    fn train_config(&self) -> TrainConfig {
        self.options
            .config()
            .with_evaluate_at_start(self.eval.is_some() || self.eval_fraction.is_some())
            .with_checkpoints(self.checkpoints())
            .with_keep_checkpoints(1)
            .with_resume(self.resume)
            .with_finished(self.output.join(FINAL_CHECKPOINT))
    }

    fn checkpoints(&self) -> PathBuf {
        self.output.join(CHECKPOINTS)
    }

    /// The data for training and for evaluation, with the labels of each head; `task` is that of a loaded head.
    fn data(
        &self,
        plan: &Plan,
        task: &dyn Fn(&str) -> Option<&'static dyn TrainTask>,
    ) -> CliResult<(Labeled, Option<Labeled>)> {
        if self.data == Path::new("-") && self.eval.as_deref() == Some(Path::new("-")) {
            return Err(CliError::mistake("--data and --eval cannot both be standard input"));
        }
        let read = |source: &Source| {
            let read = |name: &str| {
                let task = self.task().or_else(|| task(name));
                Ok((name.to_owned(), self.columns.read(source, name, task.unwrap_or(TRAIN_TASKS[0]), &self.model)?))
            };
            plan.names().into_iter().map(read).collect::<CliResult<Labeled>>()
        };
        let data = read(&self.columns.source(&self.data, "--data")?)?;
        match (&self.eval, self.eval_fraction) {
            (Some(path), _) => Ok((data, Some(read(&self.columns.source(path, "--eval")?)?))),
            (None, Some(fraction)) => {
                // The same rows are held out whatever the labels are.
                let (names, data): (Vec<String>, Vec<Dataset>) = data.into_iter().unzip();
                let split = Dataset::split_together(data, fraction, self.options.seed);
                let (train, held_out): (Vec<_>, Vec<_>) =
                    split.map_err(|error| data_error(&error))?.into_iter().unzip();
                let named = |data: Vec<Dataset>| names.iter().cloned().zip(data).collect::<Labeled>();
                Ok((named(train), Some(named(held_out))))
            }
            (None, None) => Ok((data, None)),
        }
    }

    /// Reports that there was nothing to do.
    fn print_finished(&self, training: &Training, run: &Run) -> CliResult {
        let history = &run.trained.history;
        let epochs = history.steps.last().map_or(0, |step| step.epoch);
        if !self.json {
            return output::line(format_args!(
                "the training in {} is finished, after {epochs} epochs: nothing was changed; --resume with more --epochs \
                 continues it",
                shown(self.output.display())
            ));
        }
        let mut object = training.json();
        let common = json!({
            "output": self.output, "already_finished": true, "epochs": history.evaluations, "best": history.best,
            "steps": history.steps.len(), "final_loss": history.steps.last().map(|step| step.loss),
            "warnings": run.warnings(self.options.best),
        });
        object.extend(common.as_object().cloned().into_iter().flatten());
        output::json(&object)
    }

    fn print_json(&self, group: &ProcessGroup, training: &Training, run: &Run, written: &Written) -> CliResult {
        let history = &run.trained.history;
        let mut object = training.json();
        let setup = self.setup.as_ref().filter(|_| training.plan.shape != Shape::One);
        object.extend(setup.map(|setup| ("setup".to_owned(), json!(setup))));
        let common = json!({
            "output": self.output, "epochs": history.evaluations, "best": history.best, "steps": history.steps.len(),
            "final_loss": history.steps.last().map(|step| step.loss), "bytes": written.bytes, "seconds": run.seconds,
            "warnings": written.warnings, "already_finished": false,
            "peak_memory_bytes": memory::peak(), "processes": processes::json(group),
        });
        object.extend(common.as_object().cloned().into_iter().flatten());
        output::json(&object)
    }

    fn print(&self, group: &ProcessGroup, training: &Training, run: &Run, written: &Written) -> CliResult {
        if let Some(record) = run.best_record() {
            let metrics = |metrics: &std::collections::BTreeMap<String, f64>| {
                metrics.iter().map(|(name, value)| format!("{name} {value:.4}")).collect::<Vec<_>>().join(", ")
            };
            if record.heads.is_empty() {
                output::line(format_args!("held out, after epoch {}: {}", record.epoch, metrics(&record.metrics)))?;
            }
            for (head, found) in &record.heads {
                output::line(format_args!(
                    "held out, after epoch {}, {}: {}",
                    record.epoch,
                    shown(head),
                    metrics(found)
                ))?;
            }
        } else if let Some(step) = run.trained.history.steps.last() {
            output::line(format_args!("the last step's loss: {:.4}", step.loss))?;
        }
        let (time, processes) = (duration(run.seconds), processes::summary(group));
        output::line(format_args!("trained {} in {time}{processes}", shown(training.summary())))?;
        output::line(format_args!(
            "saved to {}: {}, {}",
            shown(self.output.display()),
            shown(&written.summary),
            written.files.join(", ")
        ))
    }
}
