//! `predict`: labels for texts.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use burn_adapters_composition::HeadSetup;
use burn_adapters_heads::{HeadConfig, Task};
use burn_adapters_train::{Columns, Dataset, Format, Prediction};
use clap::Args;
use serde::Serialize;

use super::DeviceArguments;
use super::answers::{Answer, another, answers};
use super::model::{data_error, max_length, tokenize};
use super::routes::{self, Routes};
use super::setup::{SETUP_HELP, SetupArguments};
use crate::error::{CliError, CliResult};
use crate::output::{self, Align, Table};
use crate::progress::Style;

const EXAMPLES: &str = "\
Examples:
  burn-adapters predict --model all-MiniLM-L6-v2 --adapter my-adapter --text 'A fine film.' 'No.'
  cat texts.txt | burn-adapters predict --model all-MiniLM-L6-v2 --adapter out --input - --json
  burn-adapters predict --model all-MiniLM-L6-v2 --adapter language=german --adapter reviews=out \\
    --setup 'Stack(language, reviews)' --input texts.txt
  burn-adapters predict --model all-MiniLM-L6-v2 --adapter films=a --adapter tweets=b \\
    --route kind --input mixed.csv";

/// Predict the labels of texts.
#[derive(Debug, Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{SETUP_HELP}"))]
pub(super) struct Arguments {
    /// The model's folder.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,

    #[command(flatten)]
    adapters: SetupArguments,

    /// The column of the input that names each text's adapter; empty or `none` for no adapter, which gives no label
    /// (unless one --head is for all). Adapters of different methods go through the model together. With --setup it
    /// fills the `Route()` there.
    #[arg(long, value_name = "COLUMN")]
    route: Option<String>,

    /// A text; may be given several times, or followed by several.
    #[arg(long, value_name = "TEXT", num_args = 1.., required_unless_present = "input")]
    text: Vec<String>,

    /// A file with a text a line, or a .csv, .tsv or .jsonl file; `-` for standard input.
    #[arg(long, value_name = "FILE|-", conflicts_with = "text")]
    input: Option<PathBuf>,

    /// The column of the text in a .csv, .tsv or .jsonl file: its name, or its number from 0.
    #[arg(long, value_name = "COLUMN", default_value = "text")]
    text_column: String,

    /// Read the input as this, whatever its name.
    #[arg(long, value_name = "lines|csv|tsv|jsonl", value_parser = parse_format)]
    format: Option<InputFormat>,

    /// Texts that go through the model together; all of them where --setup has sizes.
    #[arg(long, value_name = "N", default_value_t = 32)]
    batch_size: usize,

    /// Cut texts to this many tokens; by default to what the model takes.
    #[arg(long, value_name = "TOKENS")]
    max_length: Option<usize>,

    #[command(flatten)]
    device: DeviceArguments,

    /// Print a JSON object a line: text, label, logits, probabilities; with --route also adapter; with several heads
    /// text and heads, and the others for each head by its name (a second
    /// branch with the head NAME is NAME:2).
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InputFormat {
    Lines,
    Table(Format),
}

fn parse_format(text: &str) -> Result<InputFormat, String> {
    if text == "lines" { Ok(InputFormat::Lines) } else { text.parse().map(InputFormat::Table) }
}

/// One line of output of one head.
#[derive(Debug, Serialize)]
struct Line<'a> {
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    adapter: Option<Option<&'a str>>,
    #[serde(flatten)]
    said: Said<'a>,
}

/// One line of output of several heads.
#[derive(Debug, Serialize)]
struct Lines<'a> {
    text: &'a str,
    heads: BTreeMap<String, Said<'a>>,
}

/// What a head says.
#[derive(Debug, Serialize)]
struct Said<'a> {
    label: LabelOut,
    logits: &'a [f32],
    probabilities: &'a [f32],
}

impl<'a> Said<'a> {
    fn new(answer: &'a Answer) -> Self {
        let Prediction { logits, probabilities, .. } = &answer.prediction;
        Self { label: LabelOut::new(&answer.prediction, &answer.config), logits, probabilities }
    }

    const NOTHING: Said<'static> = Said { label: LabelOut::None, logits: &[], probabilities: &[] };
}

/// A name, several names, or for regression nothing.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum LabelOut {
    One(String),
    Several(Vec<String>),
    None,
}

impl LabelOut {
    fn new(prediction: &Prediction, head: &HeadConfig) -> Self {
        let mut names: Vec<String> = prediction.labels.iter().map(|label| head.label_of(*label).into_owned()).collect();
        match head.task() {
            Task::Classification => names.pop().map_or(LabelOut::None, LabelOut::One),
            Task::MultiLabel => LabelOut::Several(names),
            Task::Regression => LabelOut::None,
        }
    }
}

impl Arguments {
    pub(super) fn run(self, style: Style) -> CliResult {
        if self.route.is_some() && self.input.is_none() {
            return Err(CliError::mistake("--route names a column, and texts of --text have none")
                .with_help("--input takes a .csv, .tsv or .jsonl file"));
        }
        let asked = self.adapters.composition(self.route.is_some())?;
        let (data, routes) = self.texts()?;
        let device = self.device.open(style)?.device;
        let model = self.device.load(&self.model, &device, style)?;
        let loaded = self.adapters.load(asked, &model, &device, style)?;
        loaded.check_routes(routes.as_ref().map(|routes| (&data, routes)))?;
        let heads = match &routes {
            Some(routes) => loaded.setup(Some(routes)).heads(),
            None => Some(loaded.heads(&loaded.setup(None))?),
        };
        // Without labels, any head will do.
        let tokens = tokenize(&model, &data, &HeadConfig::classification(2), max_length(&model, self.max_length)?)?;
        let batches = loaded.batches(&tokens, routes.as_ref(), self.batch_size)?;
        let answers = answers(&model, &loaded.bank, &tokens, &batches, &mut |_| {})?;
        let texts = data.examples().iter().map(|example| example.text.as_str());
        let kind = match heads {
            _ if routes.is_some() => Kind::Routed,
            Some(HeadSetup::Route(_)) => Kind::Routed,
            Some(HeadSetup::Several(_) | HeadSetup::BatchSplit { .. }) => Kind::Several,
            _ => Kind::One,
        };
        let adapters = match (&routes, &heads) {
            (Some(routes), _) => routes.as_slice(),
            (None, Some(HeadSetup::Route(route))) => route.rows(),
            _ => &[],
        };
        if self.json {
            return print_json(kind, texts, &answers, adapters);
        }
        let one = answers.iter().flatten().next().map(|answer| answer.config.clone());
        match (kind, one) {
            (Kind::One, Some(head)) => {
                let predictions = answers.iter().flatten().map(|answer| &answer.prediction);
                output::line(table(texts.zip(predictions), &head))
            }
            _ => output::line(several(kind, texts, &answers, adapters)),
        }
    }

    /// The texts, and with --route each one's adapter.
    fn texts(&self) -> CliResult<(Dataset, Option<Routes>)> {
        let Some(path) = &self.input else {
            return Ok((Dataset::from_texts("--text", self.text.iter().cloned()), None));
        };
        let name = if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() };
        let bytes = if path == Path::new("-") {
            let mut bytes = Vec::new();
            let read = std::io::stdin().lock().read_to_end(&mut bytes);
            read.map_err(|error| CliError::io("read", path, &error))?;
            bytes
        } else {
            burn_adapters_files::read(path, burn_adapters_files::MAX_DATA).map_err(CliError::file)?
        };
        let format =
            self.format.unwrap_or_else(|| Format::of_path(path).map_or(InputFormat::Lines, InputFormat::Table));
        match format {
            InputFormat::Lines if self.route.is_some() => {
                let error =
                    CliError::mistake(format!("{name} holds a text a line, and no column that --route could name"));
                Err(error.with_help("--format csv, tsv or jsonl says what it is, if its name does not"))
            }
            InputFormat::Lines => Ok((lines(&name, &bytes)?, None)),
            InputFormat::Table(format) => {
                let Some(route) = &self.route else {
                    let columns = Columns::unlabelled(self.text_column.as_str());
                    let data = Dataset::parse(&name, &bytes, format, &columns).map_err(|error| data_error(&error))?;
                    return Ok((data, None));
                };
                let (data, routes) = routes::read(&name, &bytes, format, &self.text_column, route)?;
                Ok((data, Some(routes)))
            }
        }
    }
}

/// How the answers are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// One head.
    One,
    /// A head for each adapter or part of the batch.
    Several,
    /// Each row's own.
    Routed,
}

fn print_json<'a>(
    kind: Kind,
    texts: impl Iterator<Item = &'a str>,
    answers: &[Vec<Answer>],
    adapters: &[Option<String>],
) -> CliResult {
    for (index, (text, answers)) in texts.zip(answers).enumerate() {
        if kind == Kind::Several {
            let mut heads = BTreeMap::new();
            for answer in answers {
                heads.insert(another(&answer.head, |name| heads.contains_key(name)), Said::new(answer));
            }
            output::json_line(&Lines { text, heads })?;
            continue;
        }
        let adapter = (kind == Kind::Routed).then(|| adapters.get(index).and_then(Option::as_deref));
        output::json_line(&Line { text, adapter, said: answers.first().map_or(Said::NOTHING, Said::new) })?;
    }
    Ok(())
}

/// The answers of several heads for people.
fn several<'a>(
    kind: Kind,
    texts: impl Iterator<Item = &'a str>,
    answers: &[Vec<Answer>],
    adapters: &[Option<String>],
) -> Table {
    let who = if kind == Kind::Routed { "adapter" } else { "head" };
    let mut table =
        Table::new(&[(who, Align::Left), ("label", Align::Left), ("probability", Align::Right), ("text", Align::Left)]);
    for (index, (text, answers)) in texts.zip(answers).enumerate() {
        let text = text.to_owned();
        let adapter = adapters.get(index).map(|adapter| adapter.clone().unwrap_or_else(|| "none".into()));
        if answers.is_empty() {
            table.row(vec![adapter.clone().unwrap_or_default(), "(none)".into(), String::new(), text.clone()]);
        }
        for answer in answers {
            let [label, probability] = cells(&answer.prediction, &answer.config);
            let who = adapter.clone().unwrap_or_else(|| answer.head.clone());
            table.row(vec![who, label, probability, text.clone()]);
        }
    }
    table
}

/// A text a line; an empty line is an empty text, so that the output has as many lines as the input.
fn lines(name: &str, bytes: &[u8]) -> CliResult<Dataset> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
        CliError::mistake(format!("{name}, line {line}: not valid UTF-8"))
    })?;
    if text.is_empty() {
        return Err(CliError::mistake(format!("{name} holds no texts")));
    }
    Ok(Dataset::from_texts(name, text.lines().map(str::to_owned)))
}

/// Predictions for people.
pub(super) fn table<'a>(predictions: impl Iterator<Item = (&'a str, &'a Prediction)>, head: &HeadConfig) -> Table {
    let regression = head.task() == Task::Regression;
    let mut table = if regression {
        Table::new(&[("value", Align::Right), ("text", Align::Left)])
    } else {
        Table::new(&[("label", Align::Left), ("probability", Align::Right), ("text", Align::Left)])
    };
    for (text, prediction) in predictions {
        let [label, probability] = cells(prediction, head);
        let text = text.to_owned();
        table.row(if regression { vec![label, text] } else { vec![label, probability, text] });
    }
    table
}

/// The label and its probability, or the value.
fn cells(prediction: &Prediction, head: &HeadConfig) -> [String; 2] {
    if head.task() == Task::Regression {
        return [prediction.logits.first().map(|value| format!("{value:.4}")).unwrap_or_default(), String::new()];
    }
    let names: Vec<_> = prediction.labels.iter().map(|label| head.label_of(*label).into_owned()).collect();
    let probabilities: Vec<String> = prediction
        .labels
        .iter()
        .filter_map(|label| prediction.probabilities.get(*label))
        .map(|probability| format!("{probability:.4}"))
        .collect();
    [if names.is_empty() { "(none)".into() } else { names.join(", ") }, probabilities.join(", ")]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_json_lines_come_back_bit_for_bit() {
        let logits = [0.1_f32, -1.0e-7, 16_777_217.0, f32::MIN_POSITIVE, -3.402_823_5e38];
        let said = Said { label: LabelOut::One("x".into()), logits: &logits, probabilities: &[] };
        let line = Line { text: "a\n\"b\"", adapter: None, said };
        let value: serde_json::Value = serde_json::from_str(&serde_json::to_string(&line).unwrap()).unwrap();
        let back: Vec<f32> = value["logits"].as_array().unwrap().iter().map(|n| n.as_f64().unwrap() as f32).collect();
        assert_eq!(back, logits);
    }

    #[test]
    fn an_empty_line_is_an_empty_text_and_an_empty_file_an_error() {
        assert_eq!(lines("x", b"a\r\n\nb\n").unwrap().len(), 3);
        assert_eq!(lines("x", b"").unwrap_err().exit_code(), 2);
        assert!(lines("x", b"a\n\xff\n").unwrap_err().problems[0].message.contains("line 2"));
    }
}
