//! `evaluate`: scores of adapters on labeled data.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use burn_adapters_composition::HeadSetup;
use burn_adapters_train::{Dataset, Evaluation, Example, Metric, Source, TextForm, TokenData, TrainTask, train_task};
use clap::Args;
use serde_json::{Map, Value, json};

use super::DeviceArguments;
use super::answers::{RowValues, distinct_name, values};
use super::data::{LabeledArguments, data_error, parse_task, warn};
use super::generated::{GeneratedArguments, Similarity};
use super::lengths::LengthArguments;
use super::model::{tokenize, tokenize_unlabeled, train_error};
use super::preference::with_reference;
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
    --data mixed.csv --route kind
  burn-adapters evaluate --model gpt2 --task causal-lm --data texts.txt
  burn-adapters evaluate --model SmolLM2.gguf --adapter preferred --task dpo --data pairs.jsonl
  burn-adapters evaluate --model t5-small --adapter summaries --task seq2seq-lm --data test.jsonl --beams 4";

/// Evaluate one or several adapters on data: loss and, depending on the task, accuracy, F1, confusion matrix, perplexity,
/// ROUGE and BLEU.
///
/// For masked and causal language modeling, the data are texts without labels. With --task and without --adapter, the model
/// alone is evaluated.
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

    /// Task of the head: classification, multilabel, regression, tagging, question-answering, multiple-choice,
    /// dependency-parsing, masked-lm, causal-lm, seq2seq-lm or dpo. A head with another task is an error. In language
    /// modeling, adapters without a head use the model's own output layer. [default: the head's]
    #[arg(long, value_name = "TASK", value_parser = parse_task)]
    task: Option<&'static dyn TrainTask>,

    /// Column that names the adapter of each text. The text is scored with that adapter's head. Texts whose cell is empty or
    /// `none` use no adapter and are not scored (unless a single --head is given). With --setup, the column fills its
    /// `Route()`.
    #[arg(long, value_name = "COLUMN")]
    route: Option<String>,

    /// Texts (pairs of answers in preference optimization) per batch. If --setup has sizes, all texts are one batch.
    #[arg(long, value_name = "N", default_value_t = 64)]
    batch_size: usize,

    #[command(flatten)]
    lengths: LengthArguments,

    #[command(flatten)]
    generated: GeneratedArguments,

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
    values: Vec<Vec<f32>>,
}

/// The scores of a part.
struct Scored {
    name: String,
    evaluation: Evaluation,
    /// In sequence-to-sequence modeling, if texts were generated.
    similarity: Option<Similarity>,
}

impl Scored {
    fn json(&self) -> Map<String, Value> {
        let mut object = evaluation_json(&self.evaluation);
        self.similarity.iter().for_each(|similarity| similarity.add_to(&mut object));
        object
    }

    fn describe(&self) -> String {
        let mut text = describe(&self.evaluation);
        self.similarity.iter().for_each(|similarity| text += &format!("\n{}", similarity.shown()));
        text
    }
}

impl Arguments {
    pub(super) fn run(self, style: Style) -> CliResult {
        let beta = self.columns.preference(self.task.map_or(TextForm::Whole, TrainTask::form))?;
        let setup_source = self.adapters.composition_for(self.task, self.route.is_some())?;
        let source = self.columns.source(&self.data, "--data")?;
        let device = self.device.open(style)?.device;
        let model = self.device.load(&self.model, &device, style)?;
        let loaded = self.adapters.load_for(self.task, setup_source, &model, &device, style)?;
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
        let (form, lengths) = (loaded.form()?, self.lengths.lengths(&model, false)?);
        let tokens = match heads.names().first() {
            Some(head) if form.is_language() => {
                let tokens = tokenize(&model, data, loaded.head(head)?, lengths)?;
                match beta {
                    Some(beta) => with_reference(tokens, &model, beta, self.batch_size, style)?,
                    None => tokens,
                }
            }
            _ => {
                // The labels of each head are looked at later.
                let texts = data.examples().iter().map(without_label).collect();
                let texts = Dataset::from_examples(data.source(), texts).map_err(|error| data_error(&error))?;
                tokenize_unlabeled(&model, &texts, form, lengths)?
            }
        };
        let batches = loaded.batches(&tokens, routes.as_ref(), self.batch_size)?;
        let total = batches.iter().map(|(_, rows)| rows.len()).sum::<usize>();
        let mut task = Progress::new(style, "evaluating", total as u64, Unit::Count);
        let values = values(&model, &loaded.bank, (&tokens, 0), &batches, &mut |done| task.set(done as u64, ""));
        task.finish();
        let scored =
            batches.iter().flat_map(|(_, rows)| rows).map(|row| tokens.example_of(*row)).collect::<BTreeSet<_>>();
        let unscored = tokens.examples().count() - scored.len();
        let parts = parts(values?, routes.as_ref(), &tokens);
        let texts = match form {
            TextForm::Target => self.generated.texts(&model, &self.model, &loaded, &tokens, &batches, style)?,
            _ => None,
        };
        let mut scored = Vec::new();
        for part in parts {
            let similarity = texts.as_ref().map(|texts| Similarity::of(texts, data, &part.rows));
            let name = part.name.clone();
            scored.push(Scored { name, evaluation: score(part, &loaded, &labeled, &tokens)?, similarity });
        }
        let one_each = !matches!(heads, HeadSetup::Several(_));
        match (scored.as_slice(), &heads, &routes) {
            ([one], HeadSetup::One(_), None) if self.json => output::json(&one.json()),
            ([one], HeadSetup::One(_), None) => output::line(one.describe()),
            _ if self.json => output::json(&json(&scored, one_each, unscored)),
            _ => tell(&scored, if routes.is_some() { "adapter" } else { "head" }, one_each, unscored),
        }
    }

    /// The data, with the labels for each head.
    fn labeled(&self, source: &Source, loaded: &Loaded, heads: &HeadSetup) -> CliResult<BTreeMap<String, Dataset>> {
        let mut labeled: BTreeMap<String, Dataset> = BTreeMap::new();
        for head in heads.names() {
            let config = loaded.head(head)?;
            let data = self.columns.read(source, head, train_task(config), &self.model)?;
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

/// The values by head, or with `routes` by adapter, in the order of their first occurrence.
fn parts(rows: Vec<Vec<RowValues>>, routes: Option<&Routes>, tokens: &TokenData) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for (row, heads) in rows.into_iter().enumerate() {
        let mut seen: Vec<String> = Vec::new();
        for RowValues { head, values } in heads {
            let adapter = routes.map(|routes| routes[tokens.example_of(row)].clone().unwrap_or_else(|| "none".into()));
            let name = adapter.unwrap_or_else(|| distinct_name(&head, |name| seen.iter().any(|other| other == name)));
            seen.push(name.clone());
            let index = parts.iter().position(|part| part.name == name).unwrap_or_else(|| {
                parts.push(Part { name, head, rows: Vec::new(), values: Vec::new() });
                parts.len() - 1
            });
            parts[index].rows.push(row);
            parts[index].values.push(values);
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
    Evaluation::new(head, part.values, &labels).map_err(|error| train_error(&error))
}

fn json(scored: &[Scored], one_each: bool, unscored: usize) -> Value {
    let heads: Map<String, Value> = scored.iter().map(|part| (part.name.clone(), part.json().into())).collect();
    if !one_each {
        return json!({"heads": heads});
    }
    let mut all = overall(scored.iter().map(|part| &part.evaluation));
    if unscored > 0 {
        all.insert("unscored".into(), unscored.into());
    }
    json!({"heads": heads, "overall": all})
}

/// A table for each head, and the scores of all rows together.
fn tell(scored: &[Scored], what: &str, one_each: bool, unscored: usize) -> CliResult {
    for (index, part) in scored.iter().enumerate() {
        let gap = if index == 0 { "" } else { "\n" };
        output::line(format_args!("{gap}{what} {}: {}", shown(&part.name), part.describe()))?;
    }
    if one_each {
        let all = overall(scored.iter().map(|part| &part.evaluation));
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
