//! The results: tables, JSON, markdown.

use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use burn_adapters_fetch::MODEL_NAME;
use serde_json::{Value, json};

use super::Arguments;
use super::common::OfKind;
use super::data::Domains;
use super::training::{BATCH_SIZE, LANGUAGE, LEARNING_RATE, TASK};

/// A setup, and its value on each kind of sentences.
struct Line {
    name: String,
    values: Vec<f64>,
}

/// The results.
pub(crate) struct Report {
    model: String,
    language_epochs: usize,
    epochs: usize,
    rows: Option<usize>,
    seed: u64,
    kinds: Vec<&'static str>,
    /// The numbers of training and held-out sentences of each kind.
    sizes: Vec<[usize; 2]>,
    perplexities: Vec<Line>,
    accuracies: Vec<Line>,
}

impl Report {
    pub(crate) fn new(arguments: &Arguments, domains: &Domains) -> Self {
        let name = arguments.model.as_ref().and_then(|folder| folder.file_name());
        let sizes = |domain: &OfKind| [domain.train.len(), domain.held_out.len()];
        Self {
            model: name.map_or_else(|| MODEL_NAME.to_owned(), |name| name.to_string_lossy().into_owned()),
            language_epochs: arguments.language_epochs,
            epochs: arguments.epochs,
            rows: arguments.rows,
            seed: arguments.seed,
            kinds: domains.all.iter().map(|domain| domain.kind.name()).collect(),
            sizes: domains.all.iter().map(sizes).collect(),
            perplexities: Vec::new(),
            accuracies: Vec::new(),
        }
    }

    /// Adds the losses of a language adapter on each kind, as perplexities.
    pub(crate) fn perplexity(&mut self, domain: &OfKind, losses: Vec<f64>) {
        let values = losses.into_iter().map(f64::exp).collect();
        self.perplexities.push(Line { name: format!("language adapter of the {}", domain.kind), values });
    }

    /// Adds the accuracies of a setup on each kind.
    pub(crate) fn accuracy(&mut self, name: &str, values: Vec<f64>) {
        self.accuracies.push(Line { name: name.to_owned(), values });
    }

    /// Writes MADX.md.
    pub(crate) fn write(&self, dir: &Path) -> Result<(), Box<dyn Error>> {
        let path = dir.join("MADX.md");
        Ok(std::fs::write(&path, self.markdown())
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?)
    }

    /// Prints the results on standard output.
    pub(crate) fn print(&self, json: bool) -> Result<(), Box<dyn Error>> {
        let text = if json { format!("{:#}", self.json()) } else { self.tables() };
        match writeln!(std::io::stdout().lock(), "{text}") {
            // A reader that goes away has seen enough.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            result => Ok(result?),
        }
    }

    /// The two tables, each with its title and its number of decimals.
    fn parts(&self) -> [(&'static str, &[Line], usize); 2] {
        [("held-out perplexity", &self.perplexities, 1), ("held-out accuracy", &self.accuracies, 4)]
    }

    fn tables(&self) -> String {
        let names = self.parts().into_iter().flat_map(|(_, lines, _)| lines).map(|line| line.name.len());
        let width = names.max().unwrap_or(0);
        let mut text = String::new();
        for (title, lines, decimals) in self.parts() {
            let separator = if text.is_empty() { "" } else { "\n\n" };
            let _ = write!(text, "{separator}{title:width$}");
            for kind in &self.kinds {
                let _ = write!(text, "  {kind:>14}");
            }
            for line in lines {
                let _ = write!(text, "\n{:width$}", line.name);
                for value in &line.values {
                    let _ = write!(text, "  {value:>14.decimals$}");
                }
            }
        }
        text
    }

    /// The results as JSON.
    pub(crate) fn json(&self) -> Value {
        let by_kind = |values: &[f64]| -> Value {
            self.kinds.iter().zip(values).map(|(kind, value)| ((*kind).to_owned(), json!(value))).collect()
        };
        let lines = |lines: &[Line], value: &str| -> Value {
            lines.iter().map(|line| json!({"setup": line.name, value: by_kind(&line.values)})).collect()
        };
        let sizes: Value = (self.kinds.iter().zip(&self.sizes))
            .map(|(kind, [train, held_out])| ((*kind).to_owned(), json!({"train": train, "held_out": held_out})))
            .collect();
        json!({
            "model": self.model, "language_adapter": LANGUAGE, "task_adapter": TASK,
            "epochs": {"language": self.language_epochs, "task": self.epochs}, "batch_size": BATCH_SIZE,
            "learning_rate": LEARNING_RATE, "seed": self.seed, "sentences": sizes,
            "masked_lm": lines(&self.perplexities, "perplexity"), "task": lines(&self.accuracies, "accuracy"),
        })
    }

    fn markdown(&self) -> String {
        let rows = self.rows.map(|rows| format!("--rows {rows} ")).unwrap_or_default();
        let mut text = INTRODUCTION.replace("MODEL", &self.model).replace("ROWS ", &rows);
        for (title, lines, decimals) in self.parts() {
            let _ = write!(text, "| {title} | {} |\n| --- |", self.kinds.join(" | "));
            text.push_str(&" ---: |".repeat(self.kinds.len()));
            for line in lines {
                let _ = write!(text, "\n| {} |", line.name);
                for value in &line.values {
                    let _ = write!(text, " {value:.decimals$} |");
                }
            }
            text.push_str("\n\n");
        }
        let sizes: Vec<String> = (self.kinds.iter().zip(&self.sizes))
            .map(|(kind, [train, held_out])| format!("{kind} {train} and {held_out}"))
            .collect();
        let rows = self.rows.map(|rows| format!(" A quick try on the first {rows} of each kind.")).unwrap_or_default();
        let Self { language_epochs, epochs, seed, .. } = self;
        let _ = writeln!(
            text,
            "Training and held-out sentences: {}.{rows}\n\n\
             Language adapters are `{LANGUAGE}`, the task adapters `{TASK}`. Epochs: {language_epochs} for a language \
             adapter, {epochs} for a\ntask adapter. Batches of {BATCH_SIZE}, AdamW with a learning rate that decreases \
             linearly from {LEARNING_RATE:e} to 0, seed {seed}.\nThis is a single run: two standard errors of an \
             accuracy of 0.8 are {:.1} points on the smaller held-out set.",
            sizes.join("; "),
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
# Language adapters and a task adapter: MAD-X

Made by `cargo run --release --example madx -- ROWS --output docs`.

MAD-X (Pfeiffer et al., 2020) transfers a task to a language without labeled texts in it. A language adapter learns from
plain text by masked language modeling. A task adapter is trained on labeled texts of a source language, stacked on that
language's frozen adapter. In the target language, the target's language adapter takes the place of the source's.

Here two kinds of English text stand for languages, because their sentences are freely available with ratings: film
reviews are the source, tweets the target (Hutto and Gilbert, 2014). The task is to tell positive from negative sentences:
a mean rating above 0, or not. MODEL stays frozen. It has no head for masked language modeling, so each language
adapter brings a new one, whose last layer is the model's table of word embeddings, behind the inverse of the
invertible adapter. Every tenth sentence of each kind is held out. Nothing was chosen by looking at the held-out
sentences.

";
