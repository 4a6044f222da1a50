//! MAD-X (Pfeiffer et al., 2020): language adapters learn from plain text, and a task adapter is stacked on them.
//!
//! 1. A language adapter (`seq_bn_inv`, a bottleneck in each layer and an invertible adapter at the embeddings) is trained
//!    for each language by masked language modeling. It needs no labels.
//! 2. A task adapter (`seq_bn`) is trained on labeled texts of the source language, stacked on that language's adapter,
//!    which stays frozen.
//! 3. For another language, that language's adapter takes the place of the first one. The task adapter is used as it is,
//!    and no labeled texts of the other language are needed.
//!
//! Here two kinds of English text stand for languages: sentences of film reviews are the source, tweets are the target
//! (Hutto and Gilbert, 2014). The task is to tell positive from negative sentences. The base is all-MiniLM-L6-v2, frozen.
//! Its file has no head for masked language modeling, so each language adapter brings a new one, whose last layer is the
//! model's table of word embeddings. Every tenth sentence is held out, and nothing is chosen by looking at it.
//!
//! ```text
//! cargo run --release --example madx -- --output docs
//! cargo run --release --example madx -- --rows 300      # a quick try
//! ```

#[allow(dead_code)]
#[path = "../common/mod.rs"]
mod common;
mod data;
mod report;
mod training;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use burn::tensor::Device;
use burn_adapters_composition::Composition;
use burn_adapters_model::{AdapterBank, BaseModel, Setup};
use burn_adapters_transformers::{AutoModel, Tokenizer};
use clap::Parser;

use common::progress::Progress;
use data::Domains;
use report::Report;
use training::Work;

/// Train language adapters by masked language modeling, and a task adapter stacked on one of them.
#[derive(Debug, Parser)]
pub(crate) struct Arguments {
    /// Number of passes over the texts when a language adapter is trained.
    #[arg(long, value_name = "N", default_value_t = 3)]
    language_epochs: usize,

    /// Number of passes over the labeled texts when the task adapter is trained.
    #[arg(long, value_name = "N", default_value_t = 1)]
    epochs: usize,

    /// Use only the first N sentences of each kind, for a quick try.
    #[arg(long, value_name = "N")]
    rows: Option<usize>,

    /// Random seed.
    #[arg(long, value_name = "N", default_value_t = 42)]
    seed: u64,

    /// Use this folder of a BERT model instead of fetching one.
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,

    /// Use the files of rated sentences in this folder instead of fetching them.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Output folder for MADX.md.
    #[arg(long, value_name = "DIR", default_value = "madx-out")]
    output: PathBuf,

    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    burn_adapters_ops::keep_freed_memory();
    let arguments = Arguments::parse();
    common::exit_code(run(&arguments).and_then(|report| report.print(arguments.json)))
}

/// Runs everything except for printing the results.
pub(crate) fn run(arguments: &Arguments) -> Result<Report, Box<dyn Error>> {
    let mut progress = Progress::new();
    std::fs::create_dir_all(&arguments.output)
        .map_err(|error| format!("cannot make the folder {}: {error}", arguments.output.display()))?;
    let model = common::model(arguments.model.as_deref(), &mut progress)?;
    let files = common::files(data::KINDS, arguments.data.as_deref(), &mut progress)?;
    let device = Device::default();
    let (base, _) = AutoModel::from_dir(&model, &device)?;
    let tokenizer = Tokenizer::from_dir(&model)?;
    let domains = Domains::read(&files, &tokenizer, arguments.rows)?;

    let bank = AdapterBank::new(base.spec(), &device.autodiff());
    let mut work = Work { base: &base, bank, tokenizer: &tokenizer, arguments, progress: &mut progress };
    let mut report = Report::new(arguments, &domains);

    // Each language by itself, without labels.
    for domain in &domains.all {
        let setup = work.language(domain)?;
        report.perplexity(domain, work.losses(&setup, &domains)?);
    }

    // The task, in the source language only.
    let [source, target] = &domains.all;
    report.accuracy("the more frequent label of the source", domains.majority());
    let alone = work.task("task alone", None, source)?;
    report.accuracy("task adapter alone", work.accuracies(&alone, &domains)?);
    let stacked = work.task("task", Some(source), source)?;
    report.accuracy(&format!("task adapter on the {}' adapter", source.kind), work.accuracies(&stacked, &domains)?);

    // In the target language: its adapter instead of the source's, and the same task adapter and head.
    let transferred = Setup::compose(Composition::stack([target.kind.id(), "task"]));
    report.accuracy(
        &format!("the same, on the {}' adapter instead", target.kind),
        work.accuracies(&transferred, &domains)?,
    );

    report.write(&arguments.output)?;
    progress.say(&format!("wrote MADX.md to {}", arguments.output.display()));
    Ok(report)
}
