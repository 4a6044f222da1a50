//! Four adapters that are trained separately, then stacked, averaged, and fused.
//!
//! The base is all-MiniLM-L6-v2, frozen. One bottleneck adapter each learns to tell positive from negative sentences
//! (a mean rating above 0, or not) on nine tenths of the film reviews, tweets, product reviews and newspaper editorials
//! of Hutto and Gilbert (2014). Then the four work together without further training (`Stack`, `Average`, and the
//! average of their parameters, from files), and with AdapterFusion (Pfeiffer et al., 2021), trained over the frozen
//! adapters with a new head: as in the paper, one fusion for each target kind on that kind's sentences, and in addition
//! one fusion for all kinds. Every setup is measured on the held-out tenth of each kind; nothing is chosen by looking
//! at it.
//!
//! ```text
//! cargo run --release --example fusion -- --output docs
//! cargo run --release --example fusion -- --rows 300 --epochs 1      # a quick try
//! ```

mod attention;
mod chart;
#[allow(dead_code)]
#[path = "../common/mod.rs"]
mod common;
mod data;
mod merging;
mod report;
mod training;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use burn::tensor::Device;
use burn_adapters_composition::Composition;
use burn_adapters_fetch::Kind;
use burn_adapters_model::{AdapterBank, BaseModel, Setup};
use burn_adapters_transformers::{AutoModel, Tokenizer};
use clap::Parser;

use common::progress::Progress;
use data::Sentences;
use report::Report;
use training::{Options, Work};

/// Train an adapter on each of four kinds of sentences, then stack, average and fuse them.
#[derive(Debug, Parser)]
pub(crate) struct Arguments {
    /// Number of passes over the data in each training.
    #[arg(long, value_name = "N", default_value_t = 2)]
    epochs: usize,

    /// Use only the first N sentences of each kind, for a quick try.
    #[arg(long, value_name = "N")]
    rows: Option<usize>,

    /// Random seed.
    #[arg(long, value_name = "N", default_value_t = 42)]
    seed: u64,

    /// Initial learning rate of the fusions; that of the adapters is 1e-3.
    #[arg(long, value_name = "RATE", default_value_t = 5e-4)]
    fusion_learning_rate: f64,

    /// Use this folder of a BERT model instead of fetching one.
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,

    /// Use the four files of rated sentences in this folder instead of fetching them.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Output folder for FUSION.md, fusion-attention.svg and fusion-attention.png.
    #[arg(long, value_name = "DIR", default_value = "fusion-out")]
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
    let start = Instant::now();
    let mut progress = Progress::new();
    std::fs::create_dir_all(&arguments.output)
        .map_err(|error| format!("cannot make the folder {}: {error}", arguments.output.display()))?;
    let model = common::model(arguments.model.as_deref(), &mut progress)?;
    let files = common::files(Kind::ALL, arguments.data.as_deref(), &mut progress)?;
    let device = Device::default();
    let (base, _) = AutoModel::from_dir(&model, &device)?;
    let sentences = Sentences::read(&files, &Tokenizer::from_dir(&model)?, arguments.rows)?;

    let bank = AdapterBank::new(base.spec(), &device.autodiff());
    let options = Options {
        epochs: arguments.epochs,
        seed: arguments.seed,
        fusion_learning_rate: arguments.fusion_learning_rate,
    };
    let mut work = Work { base: &base, bank, options, progress: &mut progress };
    let names: Vec<String> = sentences.kinds.iter().map(|kind| kind.kind.id().to_owned()).collect();
    let mut report = Report::new(arguments, &sentences);

    // Each by itself.
    report.add("the more frequent label", sentences.majority());
    for kind in &sentences.kinds {
        let name = kind.kind.id();
        work.adapter(name, &kind.train)?;
        report.add(&format!("adapter of the {}", kind.kind), work.accuracies(&Setup::adapter(name), &sentences)?);
    }

    // Together, without further training. The head is the average of theirs.
    merging::average_on_files(&mut work.bank, &sentences)?;
    let mean = merging::MEAN;
    let together = |composition: Composition| Setup::compose(composition).with_head(mean);
    let stack = together(Composition::stack(names.iter()));
    report.add("stack of the four", work.accuracies(&stack, &sentences)?);
    let average = together(Composition::average(names.iter()));
    report.add("average of their outputs", work.accuracies(&average, &sentences)?);
    let merged = Setup::adapter(merging::MERGED);
    report.add("average of their parameters", work.accuracies(&merged, &sentences)?);

    // Fused, as in the paper: over the frozen adapters, for one target after the other.
    let mut fused = Vec::new();
    for kind in &sentences.kinds {
        let setup = work.fusion(&format!("for {}", kind.kind.id()), &names, &kind.train)?;
        fused.push(work.accuracy(&setup, kind)?);
        report.observe("a fusion for each kind", kind, attention::means(&base, &work.bank, &setup, &kind.held_out)?);
    }
    report.add("fusion for each kind", fused);
    let everything = sentences.all()?;
    let setup = work.fusion("for all", &names, &everything)?;
    report.add("fusion for all kinds", work.accuracies(&setup, &sentences)?);
    for kind in &sentences.kinds {
        report.observe("one fusion for all", kind, attention::means(&base, &work.bank, &setup, &kind.held_out)?);
    }

    // What it must be compared with: one adapter that saw all the sentences.
    work.adapter("all", &everything)?;
    report.add("one adapter of all kinds", work.accuracies(&Setup::adapter("all"), &sentences)?);

    report.seconds = start.elapsed().as_secs_f64();
    report.write(&arguments.output)?;
    progress.say(&format!("wrote FUSION.md and fusion-attention.svg and .png to {}", arguments.output.display()));
    Ok(report)
}
