//! `quickstart --chat`: a chat model learns to answer questions, and answers some before and after.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use burn_adapters_chat::{ChatTemplate, Conversation, Message, Role};
use burn_adapters_composition::Composition;
use burn_adapters_model::{BaseModel, TokenBatch};
use burn_adapters_train::tasks::language::{CAUSAL, PERPLEXITY};
use burn_adapters_train::{ChatData, Format, Metric, Source, TrainTask};
use serde::Deserialize;
use serde_json::{Value, json};

use super::chat_data::{ChatDataArguments, read};
use super::continuing::{NewText, continue_prompts};
use super::data::data_error;
use super::job::{Job, JobOutcome, Saved, stage_json};
use super::model::{Model, check_fits, max_length, tokenize};
use super::output_folder::save_error;
use super::quickstart::{Arguments, weights_size};
use super::sampling::SamplingArguments;
use super::setup::Loaded;
use super::template::{TemplateArguments, prompt, turn_ends};
use crate::device::Found;
use crate::error::{CliError, CliResult};
use crate::output::{self, Align, Table, bytes, duration, shown, thousands};
use crate::progress::Style;
use crate::{draw, fetch, input, memory};

/// The adapter's name.
const NAME: &str = "answers";

/// The maximum length in tokens of a question with its answer.
const MAX_LENGTH: usize = 256;

/// The largest number of tokens of an answer.
const MAX_NEW_TOKENS: usize = 48;

/// The number of questions of which one is held out.
const HELD_OUT: usize = 10;

/// The questions that are answered before and after if the data are the user's.
const QUESTIONS: [&str; 3] =
    ["What is the capital of France?", "Who wrote Hamlet?", "What is the largest planet in the solar system?"];

/// The conversations to train on and to hold out, and three questions.
struct Conversations {
    train: ChatData,
    held_out: ChatData,
    questions: Vec<String>,
}

pub(super) fn run(arguments: &Arguments, style: Style) -> CliResult {
    let start = Instant::now();
    let adapter = input::adapter_config(&arguments.config)?;
    let train = arguments.train_config()?;
    let output = arguments.claim_output()?;
    if arguments.is_finished() {
        return arguments.print_finished();
    }
    let found = arguments.device.open(style)?;
    let model_dir = match &arguments.model {
        Some(dir) => dir.clone(),
        None => fetch::chat_model(style)?,
    };
    check_fits(&adapter, &model_dir)?;
    let data = conversations(arguments, style)?;
    let template = TemplateArguments::default().needed(&model_dir, false)?;
    let model = arguments.device.load(&model_dir, &found.device, style)?;
    let vocabulary = model.base.decoder_limits().vocabulary;
    let head = CAUSAL.task().language_head(vocabulary);
    let head = head.ok_or_else(|| CliError::failure("causal language modeling has no head"))?;
    let length = max_length(&model, None)?.min(MAX_LENGTH);
    let tokens = |data: &ChatData| {
        let texts = ChatDataArguments::default().render(data, &model_dir, &model.tokenizer)?;
        tokenize(&model, &texts, &head, length)
    };
    let (train_tokens, held_out) = (tokens(&data.train)?, tokens(&data.held_out)?);
    if !arguments.resume {
        output.drop_checkpoints()?;
    }
    let questions = if arguments.text.is_empty() { data.questions } else { arguments.text.clone() };
    let before = answers(&model, &model_dir, &template, None, &questions, style)?;
    let model_name = if arguments.model.is_none() { fetch::CHAT_MODEL_NAME.to_owned() } else { model.name.clone() };
    let job = Job { name: NAME, adapter, head, model_name, train };
    let done = job.run(&model, &found.device, &train_tokens, Some(&held_out), style, arguments.json)?;
    let mut save = output.save()?;
    let (saved, warnings) = job.stage(&done, &mut save)?;
    warnings.iter().for_each(|warning| draw::warning(warning));
    let JobOutcome { trained, report, seconds, .. } = done;
    let loaded = Loaded {
        bank: trained.bank,
        composition: Some(Composition::adapter(NAME)),
        heads: None,
        skip_layers: Vec::new(),
        folders: Vec::new(),
        unread: BTreeMap::new(),
    };
    let after = answers(&model, &model_dir, &template, Some(&loaded), &questions, style)?;
    let evaluations = trained.history.evaluations.iter().map(|record| {
        let metric = |metric: Metric| record.metric(metric);
        Evaluated { epoch: record.epoch, perplexity: metric(PERPLEXITY), accuracy: metric(Metric::ACCURACY) }
    });
    let outcome = Outcome {
        arguments,
        job: &job,
        found: &found,
        saved: &saved,
        warnings: &warnings,
        examples: [data.train.rows.len(), data.held_out.rows.len()],
        evaluations: evaluations.collect(),
        losses: trained.history.epoch_losses(),
        answers: questions
            .into_iter()
            .zip(before)
            .zip(after)
            .map(|((text, before), after)| (text, before, after))
            .collect(),
        trainable: report.parameters(),
        base: report.base_parameters,
        model_bytes: if model_dir.is_dir() { weights_size(&model_dir) } else { size(&model_dir) },
        model_dir: &model_dir,
        seconds: [seconds, start.elapsed().as_secs_f64()],
    };
    let json = outcome.json();
    stage_json(&mut save, "result.json", &json)?;
    save.commit().map_err(|error| save_error(&error))?;
    if arguments.json { output::json(&json) } else { outcome.print() }
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// The conversations: every tenth is held out.
fn conversations(arguments: &Arguments, style: Style) -> CliResult<Conversations> {
    let (data, own) = match &arguments.data {
        Some(path) => (read(&Source::open(path, None).map_err(|error| data_error(&error))?)?, None),
        None => {
            let pairs = questions(&fetch::questions(style)?)?;
            let turn = |role: Role, content: &str| json!({"role": role.name(), "content": content});
            let rows = pairs.iter().map(
                |(question, answer)| json!({"messages": [turn(Role::User, question), turn(Role::Assistant, answer)]}),
            );
            let rows = rows.map(|row| row.to_string()).collect::<Vec<_>>().join("\n");
            let source = Source { name: "the questions".into(), bytes: rows.into_bytes(), format: Format::JsonLines };
            (read(&source)?, Some(pairs))
        }
    };
    let is_held_out = |index: usize| index % HELD_OUT == HELD_OUT - 1;
    let part = |held_out: bool| {
        let rows = data.rows.iter().enumerate().filter(|(index, _)| is_held_out(*index) == held_out);
        ChatData { rows: rows.map(|(_, row)| row.clone()).collect(), ..data.clone() }
    };
    let (train, held_out) = (part(false), part(true));
    if held_out.rows.is_empty() {
        let message = format!("{} has {} rows, of which none is held out", data.source, data.rows.len());
        return Err(CliError::mistake(message).with_help(format!("give at least {HELD_OUT} rows")));
    }
    let of_pairs = |pairs: Vec<(String, String)>| {
        let held_out = pairs.into_iter().enumerate().filter(|(index, _)| is_held_out(*index));
        held_out.map(|(_, (question, _))| question).take(QUESTIONS.len()).collect()
    };
    let questions = own.map_or_else(|| QUESTIONS.map(str::to_owned).into(), of_pairs);
    Ok(Conversations { train, held_out, questions })
}

/// The questions of files, each once, with the first answer.
fn questions(paths: &[PathBuf]) -> CliResult<Vec<(String, String)>> {
    #[derive(Deserialize)]
    struct File {
        conversations: Vec<Entry>,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Entry {
        Turns(Vec<String>),
        /// A question that the file has apart from its answer.
        Alone(String),
    }
    impl Entry {
        fn turns(self) -> Vec<String> {
            match self {
                Self::Turns(turns) => turns,
                Self::Alone(turn) => vec![turn],
            }
        }
    }
    let mut pairs: Vec<(String, String)> = Vec::new();
    for path in paths {
        let text = burn_adapters_files::read_text(path, burn_adapters_files::MAX_TEXT).map_err(CliError::file)?;
        let file: File = serde_saphyr::from_str(&text)
            .map_err(|error| CliError::mistake(format!("{} is not valid YAML: {error}", path.display())))?;
        for turns in file.conversations.into_iter().map(Entry::turns) {
            if let [question, answer, ..] = turns.as_slice()
                && pairs.iter().all(|(known, _)| known != question)
            {
                pairs.push((question.clone(), answer.clone()));
            }
        }
    }
    Ok(pairs)
}

/// The most probable answers of a model, with its adapter or alone.
fn answers(
    model: &Model,
    dir: &Path,
    template: &ChatTemplate,
    loaded: Option<&Loaded>,
    questions: &[String],
    style: Style,
) -> CliResult<Vec<String>> {
    let options =
        SamplingArguments::greedy(MAX_NEW_TOKENS).options(model, dir, &turn_ends(&model.tokenizer, template), style)?;
    let row = |question: &String| prompt(model, template, &Conversation::new([Message::new(Role::User, question)]));
    let rows = questions.iter().map(row).collect::<CliResult<Vec<_>>>()?;
    let setup = loaded.map(|loaded| loaded.setup(None));
    let used = loaded.zip(setup.as_ref());
    let prompts = (&TokenBatch::from_rows(&rows), NewText::Own);
    let continued = continue_prompts(model, used, prompts, &options, &[], &mut |_, _| Ok(()))?;
    Ok(continued.into_iter().map(|answer| answer.text.trim().to_owned()).collect())
}

/// An evaluation on the held-out questions.
struct Evaluated {
    epoch: usize,
    perplexity: Option<f64>,
    accuracy: Option<f64>,
}

/// The results.
struct Outcome<'a> {
    arguments: &'a Arguments,
    job: &'a Job<'a>,
    found: &'a Found,
    saved: &'a Saved,
    warnings: &'a [String],
    examples: [usize; 2],
    evaluations: Vec<Evaluated>,
    losses: Vec<f64>,
    /// Questions, with the answers before and after.
    answers: Vec<(String, String, String)>,
    trainable: usize,
    base: usize,
    model_bytes: u64,
    model_dir: &'a Path,
    /// Of the training, and of all.
    seconds: [f64; 2],
}

impl Outcome<'_> {
    fn json(&self) -> Value {
        let epochs: Vec<Value> = (self.evaluations.iter())
            .map(|one| {
                let loss = one.epoch.checked_sub(1).and_then(|at| self.losses.get(at));
                json!({"epoch": one.epoch, "training_loss": loss, "perplexity": one.perplexity, "accuracy": one.accuracy})
            })
            .collect();
        let answers: Vec<Value> = (self.answers.iter())
            .map(|(text, before, after)| json!({"text": text, "before": before, "after": after}))
            .collect();
        json!({
            "model": self.job.model_name, "config": self.job.adapter.to_string(), "device": self.found.name(),
            "base": self.base, "trainable": self.trainable,
            "examples": {"train": self.examples[0], "held_out": self.examples[1]},
            "epochs": epochs, "batch_size": self.arguments.batch_size, "learning_rate": self.arguments.learning_rate,
            "seed": self.arguments.seed, "answers": answers,
            "perplexity_before": self.evaluations.first().and_then(|one| one.perplexity),
            "perplexity": self.evaluations.last().and_then(|one| one.perplexity),
            "bytes": {"adapter": self.saved.adapter.bytes, "model": self.model_bytes},
            "seconds": {"training": self.seconds[0], "all": self.seconds[1]}, "peak_memory_bytes": memory::peak(),
            "dir": self.arguments.dir, "warnings": self.warnings,
        })
    }

    fn print(&self) -> CliResult {
        let mut table = Table::new(&[
            ("", Align::Left),
            ("training loss", Align::Right),
            ("held-out perplexity", Align::Right),
            ("held-out accuracy", Align::Right),
        ]);
        let number =
            |value: Option<f64>, digits: usize| value.map(|value| format!("{value:.digits$}")).unwrap_or_default();
        for one in &self.evaluations {
            let name = match one.epoch {
                0 => "before training".to_owned(),
                epoch => format!("after epoch {epoch}"),
            };
            let loss = one.epoch.checked_sub(1).and_then(|at| self.losses.get(at).copied());
            table.row(vec![name, number(loss, 4), number(one.perplexity, 2), number(one.accuracy, 4)]);
        }
        output::line(format_args!(
            "{} with {} on {}\n{} questions to learn, {} held out; the answers alone are learned and scored\n\n{table}\n",
            shown(&self.job.model_name),
            shown(&self.job.adapter),
            self.found.name(),
            thousands(self.examples[0]),
            thousands(self.examples[1])
        ))?;
        for (text, before, after) in &self.answers {
            output::line(format_args!(
                "> {}\n  before: {}\n  after:  {}\n",
                shown(text),
                shown(before.replace('\n', " ")),
                shown(after.replace('\n', " "))
            ))?;
        }
        let share = 100.0 * self.trainable as f64 / self.base.max(1) as f64;
        output::line(format_args!(
            "trained: {} parameters ({share:.2} % of the model's {})\non disk: adapter {}, beside a model of {}",
            thousands(self.trainable),
            thousands(self.base),
            bytes(self.saved.adapter.bytes),
            bytes(self.model_bytes)
        ))?;
        let memory = memory::peak().map(|peak| format!(", {} of memory at most", bytes(peak))).unwrap_or_default();
        let [training, all] = self.seconds.map(duration);
        output::line(format_args!("took:    {training} to train, {all} in all{memory}"))?;
        let (dir, model) = (shown(self.arguments.dir.display()), shown(self.model_dir.display()));
        output::line(format_args!(
            "wrote:   {dir}: the adapter, curve.svg, curve.png, history.json, result.json\n\nTry it:  burn-adapters chat --model \
             {model} --adapter {dir}"
        ))
    }
}
