//! How the answers of `predict` are printed, block by block.

use std::collections::BTreeMap;

use burn_adapters_heads::{AnswerRules, HeadConfig};
use burn_adapters_model::Piece;
use burn_adapters_train::{Dataset, Prediction, TextPieces, TokenData, train_task};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::answers::{Answer, distinct_name};
use crate::error::CliResult;
use crate::output::{self, Align, Table};

/// The heads of the predictions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// One head.
    One,
    /// A head for each adapter or part of the batch.
    Several,
    /// Each row's own.
    Routed,
}

/// Texts with their answers.
pub(super) struct Block<'a> {
    pub(super) data: &'a Dataset,
    pub(super) tokens: &'a TokenData,
    pub(super) answers: &'a [Vec<Answer>],
    /// The adapter of each text, if texts have their own.
    pub(super) adapters: &'a [Option<String>],
}

impl Block<'_> {
    /// A text with the pieces of its tokens, or the context of a question.
    fn pieces(&self, index: usize) -> Pieces<'_> {
        let example = self.data.examples().get(index);
        let windowed = self.tokens.is_windowed();
        let text = example.map_or("", |example| match &example.pair {
            Some(context) if windowed => context,
            _ => &example.text,
        });
        let rows = self.tokens.examples().nth(index).unwrap_or_default();
        let rules = self.tokens.limits().answers;
        let choices = example.map_or(&[][..], |example| &example.choices);
        let lengths = rows.clone().map(|row| self.tokens.pieces(row).len()).collect();
        Pieces {
            text,
            pieces: rows.flat_map(|row| self.tokens.pieces(row)).cloned().collect(),
            rows: lengths,
            choices,
            rules,
        }
    }
}

/// The pieces of all rows of an example.
struct Pieces<'a> {
    text: &'a str,
    pieces: Vec<Option<Piece>>,
    rows: Vec<usize>,
    choices: &'a [String],
    rules: AnswerRules,
}

impl Pieces<'_> {
    fn get(&self) -> TextPieces<'_> {
        TextPieces { text: self.text, pieces: &self.pieces, rows: &self.rows, choices: self.choices, rules: self.rules }
    }
}

/// Prints blocks as they are computed: JSON lines, or one table.
pub(super) struct Printer {
    json: bool,
    kind: Kind,
    table: Option<Table>,
}

impl Printer {
    pub(super) fn new(json: bool, kind: Kind) -> Self {
        Self { json, kind, table: None }
    }

    /// Prints a block. If it may not be the last, `labels` are those that may still occur: the first block leaves room
    /// for them.
    pub(super) fn print(&mut self, block: &Block<'_>, labels: Option<&[String]>) -> CliResult {
        if self.json {
            return print_json(self.kind, block);
        }
        let mut table = self.table.take().unwrap_or_else(|| self.header(block));
        if let Some(labels) = labels.filter(|_| !self.is_regression(block)) {
            labels.iter().for_each(|label| table.make_room(usize::from(self.kind != Kind::One), label));
        }
        for (index, (example, answers)) in block.data.examples().iter().zip(block.answers).enumerate() {
            let adapter = block.adapters.get(index).map(|adapter| adapter.clone().unwrap_or_else(|| "none".into()));
            let pieces = block.pieces(index);
            let pieces = pieces.get();
            let text = |answer: Option<&Answer>| {
                let shown = answer
                    .map(|Answer { config, prediction, .. }| train_task(config).shown(config, prediction, &pieces));
                let shown = shown.unwrap_or_else(|| example.text.clone());
                let first = if block.tokens.is_windowed() { Some(&example.text) } else { None };
                match (first, &example.pair) {
                    (Some(question), _) => format!("{question} | {shown}"),
                    (None, Some(pair)) => format!("{shown} | {pair}"),
                    (None, None) => shown,
                }
            };
            match (self.kind, answers.as_slice()) {
                (Kind::One, [answer]) => {
                    let [label, probability] = cells(answer, &pieces);
                    table.row(match train_task(&answer.config).headers().len() {
                        3 => vec![label, probability, text(Some(answer))],
                        _ => vec![label, text(Some(answer))],
                    });
                }
                (_, []) => table.row(vec![adapter.unwrap_or_default(), "(none)".into(), String::new(), text(None)]),
                (_, answers) => answers.iter().for_each(|answer| {
                    let [label, probability] = cells(answer, &pieces);
                    let who = adapter.clone().unwrap_or_else(|| answer.head.clone());
                    table.row(vec![who, label, probability, text(Some(answer))]);
                }),
            }
        }
        let printed = output::line(table.take());
        self.table = Some(table);
        printed
    }

    fn is_regression(&self, block: &Block<'_>) -> bool {
        let first = block.answers.iter().flatten().next();
        self.kind == Kind::One && first.is_some_and(|answer| train_task(&answer.config).headers().len() < 3)
    }

    fn header(&self, block: &Block<'_>) -> Table {
        let who = if self.kind == Kind::Routed { "adapter" } else { "head" };
        let first = block.answers.iter().flatten().next().filter(|_| self.kind == Kind::One);
        let [label, probability, text] = match first.map(|answer| train_task(&answer.config).headers()) {
            Some([label, probability, text]) => [*label, *probability, *text],
            _ => ["label", "probability", "text"],
        };
        let columns = [(who, Align::Left), (label, Align::Left), (probability, Align::Right), (text, Align::Left)];
        match self.kind {
            Kind::One if self.is_regression(block) => Table::new(&VALUES),
            Kind::One => Table::new(&columns[1..]),
            _ => Table::new(&columns),
        }
    }
}

const VALUES: [(&str, Align); 2] = [("value", Align::Right), ("text", Align::Left)];

/// One line of output of one head.
#[derive(Debug, Serialize)]
struct Line<'a> {
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pair: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    adapter: Option<Option<&'a str>>,
    #[serde(flatten)]
    members: Members,
}

/// One line of output of several heads.
#[derive(Debug, Serialize)]
struct Lines<'a> {
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pair: Option<&'a str>,
    heads: BTreeMap<String, Members>,
}

/// The interpretation of a head's logits by its task.
#[derive(Debug)]
struct Members(Vec<(&'static str, Value)>);

impl Members {
    fn of(answer: &Answer, text: &TextPieces<'_>) -> Self {
        Self(train_task(&answer.config).json(&answer.config, &answer.prediction, text))
    }

    /// For a text without a head.
    fn none() -> Self {
        Self(vec![("label", Value::Null), ("logits", json!([])), ("probabilities", json!([]))])
    }
}

impl Serialize for Members {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

fn print_json(kind: Kind, block: &Block<'_>) -> CliResult {
    for (index, (example, answers)) in block.data.examples().iter().zip(block.answers).enumerate() {
        let (text, pair, pieces) = (example.text.as_str(), example.pair.as_deref(), block.pieces(index));
        let pieces = pieces.get();
        if kind == Kind::Several {
            let mut heads = BTreeMap::new();
            for answer in answers {
                heads
                    .insert(distinct_name(&answer.head, |name| heads.contains_key(name)), Members::of(answer, &pieces));
            }
            output::json_line(&Lines { text, pair, heads })?;
            continue;
        }
        let adapter = (kind == Kind::Routed).then(|| block.adapters.get(index).and_then(Option::as_deref));
        let members = answers.first().map_or_else(Members::none, |answer| Members::of(answer, &pieces));
        output::json_line(&Line { text, pair, adapter, members })?;
    }
    Ok(())
}

/// Predictions of one head for display.
pub(super) fn table<'a>(predictions: impl Iterator<Item = (&'a str, &'a Prediction)>, head: &HeadConfig) -> Table {
    let mut table = if !head.task().has_classes() {
        Table::new(&VALUES)
    } else {
        Table::new(&[("label", Align::Left), ("probability", Align::Right), ("text", Align::Left)])
    };
    for (text, prediction) in predictions {
        let [label, probability] =
            train_task(head).cells(head, prediction, &TextPieces { text, ..TextPieces::default() });
        let text = text.to_owned();
        table.row(if head.task().has_classes() { vec![label, probability, text] } else { vec![label, text] });
    }
    table
}

/// The label and its probability, or the value.
fn cells(answer: &Answer, text: &TextPieces<'_>) -> [String; 2] {
    train_task(&answer.config).cells(&answer.config, &answer.prediction, text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_json_lines_come_back_bit_for_bit() {
        let logits = [0.1_f32, -1.0e-7, 16_777_217.0, f32::MIN_POSITIVE, -3.402_823_5e38];
        let answer = Answer {
            head: "h".into(),
            config: HeadConfig::regression(),
            prediction: Prediction { logits: logits.to_vec(), probabilities: vec![], labels: vec![] },
        };
        let members = Members::of(&answer, &TextPieces::default());
        let line = Line { text: "a\n\"b\"", pair: None, adapter: None, members };
        let value: serde_json::Value = serde_json::from_str(&serde_json::to_string(&line).unwrap()).unwrap();
        let back: Vec<f32> = value["logits"].as_array().unwrap().iter().map(|n| n.as_f64().unwrap() as f32).collect();
        assert_eq!(back, logits);
    }
}
