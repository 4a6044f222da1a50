//! The results: a table, JSON, markdown.

use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use burn_adapters_fetch::MODEL_NAME;
use serde_json::{Value, json};

use super::Arguments;
use super::chart::{self, Panel};
use super::common::OfKind;
use super::data::Sentences;
use super::training::{ADAPTER, ADAPTER_LEARNING_RATE, BATCH_SIZE};

/// One line of the table: a setup and its accuracy on each kind.
struct Line {
    name: String,
    accuracies: Vec<f64>,
}

impl Line {
    fn mean(&self) -> f64 {
        self.accuracies.iter().sum::<f64>() / self.accuracies.len().max(1) as f64
    }
}

/// The results.
pub(crate) struct Report {
    model: String,
    epochs: usize,
    rows: Option<usize>,
    seed: u64,
    fusion_learning_rate: f64,
    kinds: Vec<&'static str>,
    /// The numbers of training and held-out sentences of each kind.
    sizes: Vec<[usize; 2]>,
    lines: Vec<Line>,
    panels: Vec<Panel>,
    pub(crate) seconds: f64,
}

impl Report {
    pub(crate) fn new(arguments: &Arguments, sentences: &Sentences) -> Self {
        let name = arguments.model.as_ref().and_then(|folder| folder.file_name());
        Self {
            model: name.map_or_else(|| MODEL_NAME.to_owned(), |name| name.to_string_lossy().into_owned()),
            epochs: arguments.epochs,
            rows: arguments.rows,
            seed: arguments.seed,
            fusion_learning_rate: arguments.fusion_learning_rate,
            kinds: sentences.kinds.iter().map(|kind| kind.kind.name()).collect(),
            sizes: sentences.kinds.iter().map(|kind| [kind.train.len(), kind.held_out.len()]).collect(),
            lines: Vec::new(),
            panels: Vec::new(),
            seconds: 0.0,
        }
    }

    /// Adds a setup's accuracies.
    pub(crate) fn add(&mut self, name: &str, accuracies: Vec<f64>) {
        self.lines.push(Line { name: name.to_owned(), accuracies });
    }

    /// Adds a fusion's attention, by layer and adapter, over a kind's held-out sentences.
    pub(crate) fn observe(&mut self, group: &'static str, kind: &OfKind, layers: Vec<Vec<f64>>) {
        self.panels.push(Panel { group, title: kind.kind.name(), layers });
    }

    /// Writes FUSION.md and the drawing.
    pub(crate) fn write(&self, dir: &Path) -> Result<(), Box<dyn Error>> {
        let path = dir.join("FUSION.md");
        std::fs::write(&path, self.markdown()).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        chart::draw(&self.panels, &self.kinds, dir)?;
        Ok(())
    }

    /// Prints the results on standard output.
    pub(crate) fn print(&self, json: bool) -> Result<(), Box<dyn Error>> {
        let text = if json { format!("{:#}", self.json()) } else { self.table() };
        match writeln!(std::io::stdout().lock(), "{text}") {
            // A reader that goes away has seen enough.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            result => Ok(result?),
        }
    }

    fn table(&self) -> String {
        let width = self.lines.iter().map(|line| line.name.len()).max().unwrap_or(0);
        let mut text = format!("{:width$}", "held-out accuracy");
        for kind in self.kinds.iter().chain(&["mean"]) {
            let _ = write!(text, "  {kind:>14}");
        }
        for line in &self.lines {
            let _ = write!(text, "\n{:width$}", line.name);
            for value in line.accuracies.iter().chain(&[line.mean()]) {
                let _ = write!(text, "  {value:>14.4}");
            }
        }
        text
    }

    /// The results as JSON.
    pub(crate) fn json(&self) -> Value {
        let by_kind = |line: &Line| -> Value {
            let kinds = self.kinds.iter().zip(&line.accuracies).map(|(kind, value)| ((*kind).to_owned(), json!(value)));
            kinds.chain([("mean".to_owned(), json!(line.mean()))]).collect()
        };
        let accuracies: Vec<Value> =
            self.lines.iter().map(|line| json!({"setup": line.name, "accuracy": by_kind(line)})).collect();
        let attention: Vec<Value> = self
            .panels
            .iter()
            .map(|panel| json!({"fusion": panel.group, "kind": panel.title, "layers": panel.layers}))
            .collect();
        let sizes: Value = self
            .kinds
            .iter()
            .zip(&self.sizes)
            .map(|(kind, [train, held_out])| ((*kind).to_owned(), json!({"train": train, "held_out": held_out})))
            .collect();
        json!({
            "model": self.model, "adapter": ADAPTER, "epochs": self.epochs, "batch_size": BATCH_SIZE, "seed": self.seed,
            "learning_rate": {"adapters": ADAPTER_LEARNING_RATE, "fusions": self.fusion_learning_rate},
            "sentences": sizes, "held_out": accuracies, "attention": attention, "seconds": self.seconds,
        })
    }

    fn markdown(&self) -> String {
        let mut text = INTRODUCTION.replace("MODEL", &self.model).replace("EPOCHS", &self.epochs.to_string());
        let row = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let mut header = vec!["held-out accuracy".to_owned()];
        header.extend(self.kinds.iter().chain(&["mean"]).map(|kind| (*kind).to_owned()));
        text += &row(header);
        text += &row([vec!["---".to_owned()], vec!["---:".to_owned(); self.kinds.len() + 1]].concat());
        let best: Vec<f64> = (0..self.kinds.len())
            .map(|kind| self.lines.iter().map(|line| line.accuracies[kind]).fold(0.0, f64::max))
            .chain([self.lines.iter().map(Line::mean).fold(0.0, f64::max)])
            .collect();
        for line in &self.lines {
            let marked = |(value, best): (&f64, &f64)| {
                if value == best { format!("**{value:.4}**") } else { format!("{value:.4}") }
            };
            let mean = [line.mean()];
            let cells = line.accuracies.iter().chain(&mean).zip(&best).map(marked);
            text += &row([vec![line.name.clone()], cells.collect()].concat());
        }
        let sizes: Vec<String> = (self.kinds.iter().zip(&self.sizes))
            .map(|(kind, [train, held_out])| format!("{kind} {train} and {held_out}"))
            .collect();
        let epochs = if self.epochs == 1 { "1 epoch".to_owned() } else { format!("{} epochs", self.epochs) };
        let _ = write!(
            text,
            "\nTraining and held-out sentences: {}.{}\n\n\
             Adapters are `{ADAPTER}`, fusions are `dynamic`. Training: {epochs}, batches of {BATCH_SIZE}, AdamW with a \
             learning rate that\ndecreases linearly to 0 from {ADAPTER_LEARNING_RATE:e} (adapters) or {:e} (fusions), \
             seed {}. This is a single run: a difference\nof less than about {:.1} points on a kind is within two \
             standard errors for the smallest held-out set.\n{ATTENTION}",
            sizes.join(";\n"),
            self.rows.map(|rows| format!(" A quick try on the first {rows} of each kind.")).unwrap_or_default(),
            self.fusion_learning_rate,
            self.seed,
            self.margin() * 100.0,
        );
        text
    }

    /// Two standard errors of the accuracy on the kind with the fewest held-out sentences, at an accuracy of 0.8.
    fn margin(&self) -> f64 {
        let fewest = self.sizes.iter().map(|[_, held_out]| *held_out).min().unwrap_or(1).max(1);
        2.0 * (0.8 * 0.2 / fewest as f64).sqrt()
    }
}

const INTRODUCTION: &str = "\
# Four adapters together

Made by `cargo run --release --example fusion -- --epochs EPOCHS --output docs`.

MODEL stays frozen. For each of four kinds of text (film reviews, tweets, product reviews and newspaper editorials; Hutto
and Gilbert, 2014), one adapter learns to separate positive from negative sentences: a mean rating above 0, or not. Every
tenth sentence of each kind is held out. Nothing was chosen by looking at the held-out sentences.

- *Stack*: the four adapters one after the other. *Average of their outputs*: `Average` of the four. Neither is trained
  further; both use the average of the four heads.
- *Average of their parameters*: one adapter, merged from the files (`burn-adapters merge`), with the numbers of training
  sentences as weights; the heads likewise. It costs no more to run than one adapter.
- *Fusion for each kind*: AdapterFusion as in its paper (Pfeiffer et al., 2021). Each kind has a fusion over the four frozen
  adapters and a new head, trained on that kind's sentences. Each column uses its own fusion. *Fusion for all kinds*: one
  fusion, trained on the sentences of all kinds.
- *One adapter of all kinds*: the baseline, one adapter trained on the sentences of all kinds.

";

const ATTENTION: &str = "
## What the fusions attend to

Mean attention to each adapter (columns) in each layer (rows), over all tokens of a kind's held-out sentences. Uniform
attention is 0.25.

![The attention of the fusions by layer and adapter](fusion-attention.svg)
";
