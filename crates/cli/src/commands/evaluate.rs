//! `evaluate`: how good an adapter is on labelled data.

use std::path::PathBuf;

use burn_adapters_composition::{Composition, HeadSetup};
use burn_adapters_train::evaluate_with;
use clap::Args;

use super::DeviceArgument;
use super::model::{DataArguments, Model, labels_of, max_length, tokenize, train_error};
use super::report::{describe, evaluation_json};
use super::setup::{Loaded, SETUP_HELP, SetupArguments};
use crate::error::{CliError, CliResult};
use crate::output;
use crate::progress::{Style, Task, Unit};

const EXAMPLES: &str = "\
Examples:
  burn-adapters evaluate --model all-MiniLM-L6-v2 --adapter my-adapter --data test.csv
  burn-adapters evaluate --model all-MiniLM-L6-v2 --adapter a=films --adapter b=tweets --setup 'Average(a, b)' \\
    --head films --data test.csv";

/// Evaluate an adapter, or several together, on labelled data: loss, accuracy, F1, confusion matrix.
#[derive(Debug, Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{SETUP_HELP}\n\nOne head must decide on the output: evaluate the parts \
of a Parallel, BatchSplit or Route one by one."))]
pub(super) struct Arguments {
    /// The model's folder.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,

    #[command(flatten)]
    adapters: SetupArguments,

    /// The labelled data: a .csv, .tsv or .jsonl file.
    #[arg(long, value_name = "FILE")]
    data: PathBuf,

    #[command(flatten)]
    columns: DataArguments,

    /// Texts that go through the model together.
    #[arg(long, value_name = "N", default_value_t = 64)]
    batch_size: usize,

    /// Cut texts to this many tokens; by default to what the model takes.
    #[arg(long, value_name = "TOKENS")]
    max_length: Option<usize>,

    #[command(flatten)]
    device: DeviceArgument,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Arguments {
    pub(super) fn run(self, style: Style) -> CliResult {
        let asked = self.adapters.composition(false)?;
        let device = self.device.open(style)?.device;
        let model = Model::load(&self.model, &device, style)?;
        let loaded = self.adapters.load(asked, &model, &device, style)?;
        let setup = loaded.setup(None);
        let HeadSetup::One(name) = loaded.heads(&setup)? else { return Err(several_heads(&loaded)) };
        if setup.composition().is_some_and(|composition| composition.parallel_channels() > 1 || by_rows(composition)) {
            return Err(several_heads(&loaded));
        }
        let (head, setup) = (loaded.head(&name)?, setup.with_head(name.as_str()));
        let data = self.columns.read(&self.data, labels_of(head.task()))?;
        let tokens = tokenize(&model, &data, head, max_length(&model, self.max_length)?)?;
        let mut batch_size = self.batch_size;
        if loaded.is_sized() {
            let longest = tokens.rows().iter().map(|row| row.ids.len()).max().unwrap_or(0);
            loaded.check_batch(&setup, tokens.len(), longest)?;
            batch_size = tokens.len();
        }
        let bank = &loaded.bank;
        let mut task = Task::new(style, "evaluating", tokens.len() as u64, Unit::Count);
        let evaluated =
            evaluate_with(&model.bert, bank, &setup, &tokens, batch_size, &mut |done, _| task.set(done as u64, ""));
        task.finish();
        let evaluation = evaluated.map_err(|error| train_error(&error))?;
        if self.json { output::json(&evaluation_json(&evaluation)) } else { output::line(describe(&evaluation)) }
    }
}

/// Whether what happens to a text depends on its row.
fn by_rows(composition: &Composition) -> bool {
    let mut found = false;
    composition.visit(&mut |part| found |= matches!(part, Composition::BatchSplit { .. } | Composition::Route(_)));
    found
}

fn several_heads(loaded: &Loaded) -> CliError {
    CliError::mistake(format!("{} has no one output to evaluate", loaded.composition))
        .with_help("evaluate its parts one by one; predict --json gives all of them")
}
