//! `evaluate`: scores of adapters on labeled data.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use burn_adapters_composition::HeadSetup;
use burn_adapters_train::{Dataset, Evaluation, Example, Metric, Source, TokenData, TrainTask, train_task};
use clap::Args;
use serde_json::{Map, Value, json};

use super::DeviceArguments;
use super::answers::{Answer, answers, distinct_name};
use super::data::{LabeledArguments, data_error, parse_task, warn};
use super::lengths::LengthArguments;
use super::model::{tokenize_unlabeled, train_error};
use super::report::{describe, evaluation_json, overall};
use super::routes::{self, Routes};
use super::setup::{Loaded, SETUP_HELP, SetupArguments};
use crate::error::{CliError, CliResult};
use crate::output::{self, shown, thousands};
use crate::progress::{Style, Task as Progress, Unit};

const EXAMPLES: &str = "\
Examples:
  burn-adapters evaluate --model all-MiniLM-L6-v2 --adapter my-adapter --data test.csv
  burn-adapters evaluate --model all-MiniLM-L6-v2 --adapter a=films --adapter b=tweets \\
    --setup 'Average(a, b)' --head films --data test.csv
  burn-adapters evaluate --model all-MiniLM-L6-v2 --adapter a=films --adapter b=tweets \\
    --setup 'Parallel(a, b)' --data test.csv --label-column a=stars --label-column b=mood
  burn-adapters evaluate --model all-MiniLM-L6-v2 --adapter films=a --adapter tweets=b \\
    --data mixed.csv --route kind";

/// Evaluate one or several adapters on labeled data: loss, accuracy, F1, confusion matrix.
#[derive(Debug, Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{SETUP_HELP}"))]
pub(super) struct Arguments {
    /// Model folder.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,

    #[command(flatten)]
    adapters: SetupArguments,

    /// Labeled data: a .csv, .tsv or .jsonl file, optionally compressed (.csv.gz); `-` reads standard input (needs
    /// --format).
    #[arg(long, value_name = "FILE|-")]
    data: PathBuf,

    #[command(flatten)]
    columns: LabeledArguments,

    /// Task of the head: classification, multilabel, regression, tagging, question-answering or multiple-choice. A head with
    /// another task is an error. [default: the head's]
    #[arg(long, value_name = "TASK", value_parser = parse_task)]
    task: Option<&'static dyn TrainTask>,

    /// Column that names the adapter of each text. The text is scored with that adapter's head. Texts whose cell is empty or
    /// `none` use no adapter and are not scored (unless a single --head is given). With --setup, the column fills its
    /// `Route()`.
    #[arg(long, value_name = "COLUMN")]
    route: Option<String>,

    /// Texts per batch. If --setup has sizes, all texts are one batch.
    #[arg(long, value_name = "N", default_value_t = 64)]
    batch_size: usize,

    #[command(flatten)]
    lengths: LengthArguments,

    #[command(flatten)]
    device: DeviceArguments,

    /// Print the scores as JSON. With several heads, `heads` has the scores of each (with --route, of each adapter; a second
    /// branch with the head NAME is NAME:2), and `overall` those of all rows if each row has one head.
    #[arg(long)]
    json: bool,
}

/// The scores of one head.
struct Part {
    /// The name of the head, or with --route of the adapter.
    name: String,
    head: String,
    rows: Vec<usize>,
    logits: Vec<Vec<f32>>,
}

impl Arguments {
    pub(super) fn run(self, style: Style) -> CliResult {
        let setup_source = self.adapters.composition(self.route.is_some())?;
        let source = self.columns.source(&self.data, "--data")?;
        let device = self.device.open(style)?.device;
        let model = self.device.load(&self.model, &device, style)?;
        let loaded = self.adapters.load(setup_source, &model, &device, style)?;
        loaded.check_task(self.task)?;
        let (text_column, _) = loaded.text_columns()?;
        let routes = |column| {
            let text_column = self.columns.text_column_or(text_column);
            routes::read(&source, text_column, column, self.columns.header.header())
        };
        let routed = self.route.as_deref().map(routes).transpose()?;
        loaded.check_routes(routed.as_ref().map(|(texts, routes)| (texts, routes)))?;
        let routes = routed.map(|(_, routes)| routes);
        let setup = loaded.setup(routes.as_deref());
        let heads = match (&routes, setup.heads()) {
            (Some(_), Some(heads)) => heads,
            (Some(_), None) => return Err(no_rows(&source.name)),
            (None, _) => loaded.heads(&setup)?,
        };
        self.columns.check_names(&heads.names(), "the heads that are scored")?;
        let labeled = self.labeled(&source, &loaded, &heads)?;
        let data = labeled.values().next().ok_or_else(|| no_rows(&source.name))?;
        // The labels of each head are looked at later.
        let texts = Dataset::from_examples(data.source(), data.examples().iter().map(without_label).collect())
            .map_err(|error| data_error(&error))?;
        let lengths = self.lengths.lengths(&model, false)?;
        let tokens = tokenize_unlabeled(&model, &texts, loaded.form()?, lengths)?;
        let batches = loaded.batches(&tokens, routes.as_ref(), self.batch_size)?;
        let total = batches.iter().map(|(_, rows)| rows.len()).sum::<usize>();
        let mut task = Progress::new(style, "evaluating", total as u64, Unit::Count);
        let answers = answers(&model, &loaded.bank, (&tokens, 0), &batches, &mut |done| task.set(done as u64, ""));
        task.finish();
        let scored =
            batches.iter().flat_map(|(_, rows)| rows).map(|row| tokens.example_of(*row)).collect::<BTreeSet<_>>();
        let unscored = tokens.examples().count() - scored.len();
        let parts = parts(answers?, routes.as_ref(), &tokens);
        let mut scored = Vec::new();
        for part in parts {
            scored.push((part.name.clone(), score(part, &loaded, &labeled, &tokens)?));
        }
        let one_each = !matches!(heads, HeadSetup::Several(_));
        match (scored.as_slice(), &heads, &routes) {
            ([(_, one)], HeadSetup::One(_), None) if self.json => output::json(&evaluation_json(one)),
            ([(_, one)], HeadSetup::One(_), None) => output::line(describe(one)),
            _ if self.json => output::json(&json(&scored, one_each, unscored)),
            _ => tell(&scored, if routes.is_some() { "adapter" } else { "head" }, one_each, unscored),
        }
    }

    /// The data, with the labels for each head.
    fn labeled(&self, source: &Source, loaded: &Loaded, heads: &HeadSetup) -> CliResult<BTreeMap<String, Dataset>> {
        let mut labeled: BTreeMap<String, Dataset> = BTreeMap::new();
        for head in heads.names() {
            let config = loaded.head(head)?;
            let data = self.columns.read(source, head, train_task(config))?;
            labeled.insert(head.to_owned(), data);
        }
        let configs = labeled.iter().filter_map(|(head, data)| Some((data, loaded.head(head).ok()?)));
        warn(configs);
        Ok(labeled)
    }
}

fn without_label(example: &Example) -> Example {
    Example { label: None, ..example.clone() }
}

fn no_rows(data: &str) -> CliError {
    CliError::mistake(format!("no row of {data} names an adapter, so there is nothing to score"))
        .with_help("--route names the column with the adapters' names; --head DIR scores rows without one, too")
}

/// The answers by head, or with `routes` by adapter, in the order of their first occurrence.
fn parts(answers: Vec<Vec<Answer>>, routes: Option<&Routes>, tokens: &TokenData) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for (row, answers) in answers.into_iter().enumerate() {
        let mut seen: Vec<String> = Vec::new();
        for Answer { head, prediction, .. } in answers {
            let adapter = routes.map(|routes| routes[tokens.example_of(row)].clone().unwrap_or_else(|| "none".into()));
            let name = adapter.unwrap_or_else(|| distinct_name(&head, |name| seen.iter().any(|other| other == name)));
            seen.push(name.clone());
            let index = parts.iter().position(|part| part.name == name).unwrap_or_else(|| {
                parts.push(Part { name, head, rows: Vec::new(), logits: Vec::new() });
                parts.len() - 1
            });
            parts[index].rows.push(row);
            parts[index].logits.push(prediction.logits);
        }
    }
    if routes.is_some() {
        parts.sort_by(|a, b| a.name.cmp(&b.name));
    }
    parts
}

fn score(
    part: Part,
    loaded: &Loaded,
    labeled: &BTreeMap<String, Dataset>,
    tokens: &TokenData,
) -> CliResult<Evaluation> {
    let head = loaded.bank.head(&part.head).map_err(|error| super::model::bank_error(&error))?;
    let Some(data) = labeled.get(&part.head) else { return Err(no_rows("the data")) };
    let mut rows: Vec<usize> = part.rows.iter().map(|row| tokens.example_of(*row)).collect();
    rows.dedup();
    let rows = rows.into_iter().map(|row| data.examples()[row].clone()).collect();
    let rows = Dataset::from_examples(data.source(), rows).map_err(|error| data_error(&error))?;
    let labels = tokens.select(&part.rows).targets(&rows, head.config()).map_err(|error| train_error(&error))?;
    let Some(labels) = labels else { return Err(no_rows(data.source())) };
    Evaluation::new(head, part.logits, &labels).map_err(|error| train_error(&error))
}

fn json(scored: &[(String, Evaluation)], one_each: bool, unscored: usize) -> Value {
    let heads: Map<String, Value> =
        scored.iter().map(|(name, evaluation)| (name.clone(), evaluation_json(evaluation).into())).collect();
    if !one_each {
        return json!({"heads": heads});
    }
    let mut all = overall(scored.iter().map(|(_, evaluation)| evaluation));
    if unscored > 0 {
        all.insert("unscored".into(), unscored.into());
    }
    json!({"heads": heads, "overall": all})
}

/// A table for each head, and the scores of all rows together.
fn tell(scored: &[(String, Evaluation)], what: &str, one_each: bool, unscored: usize) -> CliResult {
    for (index, (name, evaluation)) in scored.iter().enumerate() {
        let gap = if index == 0 { "" } else { "\n" };
        output::line(format_args!("{gap}{what} {}: {}", shown(name), describe(evaluation)))?;
    }
    if one_each {
        let all = overall(scored.iter().map(|(_, evaluation)| evaluation));
        let number = |key: &str| all.get(key).and_then(Value::as_f64);
        let mut words = vec![format!("overall: {} examples", thousands(number("examples").unwrap_or(0.0) as usize))];
        for metric in Metric::all() {
            words.extend(number(metric.name()).map(|value| format!("{} {value:.4}", metric.title())));
        }
        if unscored > 0 {
            words.push(format!("{} without an adapter not scored", thousands(unscored)));
        }
        output::line(format_args!("\n{}", words.join(", ")))?;
    }
    Ok(())
}
