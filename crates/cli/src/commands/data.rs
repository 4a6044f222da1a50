//! Labeled data on the command line: its options, reading it, and its errors.

use std::collections::BTreeSet;
use std::path::Path;

use burn_adapters_heads::{HeadConfig, TASKS};
use burn_adapters_train::{
    Columns, DataError, DataProblem, Dataset, Doubt, Format, Header, Source, TextForm, TrainTask, train_task_named,
};
use clap::Args;

use super::chat_data::ChatDataArguments;
use super::preference::PreferenceArguments;
use crate::draw;
use crate::error::{CliError, CliResult, chain};

/// Whether the first line of a table names the columns.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct HeaderArguments {
    /// The first line of a .csv or .tsv file is a header that names the columns. This is assumed if a column is given
    /// by name.
    #[arg(long, conflicts_with = "no_header")]
    header: bool,

    /// A .csv or .tsv file has no header: its first line is an example, and columns are given by number.
    #[arg(long)]
    no_header: bool,
}

/// The help of errors about a first line that may or may not be a header.
pub(super) const HEADER_HELP: &str = "--header says that line 1 names the columns, --no-header that it is an example";

impl HeaderArguments {
    pub(super) fn header(self) -> Header {
        match (self.header, self.no_header) {
            (true, _) => Header::Yes,
            (_, true) => Header::No,
            _ => Header::Auto,
        }
    }
}

/// How a file of labeled texts is read.
#[derive(Debug, Clone, Args)]
pub(super) struct LabeledArguments {
    /// Column of the text: its name, or its number, counted from 0 [default: text; for tagging: tokens, a list in JSON
    /// Lines or the first column of CoNLL; for question answering: question].
    #[arg(long, value_name = "COLUMN")]
    text_column: Option<String>,

    /// Column of the second text, for pairs of texts such as premise and hypothesis: its name, or its number, counted
    /// from 0. The model reads both texts together; if they are too long, the longer one is truncated first. In
    /// question answering, the column of the context [default: context].
    #[arg(long, value_name = "COLUMN")]
    pair_column: Option<String>,

    /// In multiple choice, the columns of the choices, separated by commas, or the one with a list of them (in a table: JSON,
    /// or separated by `|`) [default: choices, or ending0, ending1 and so on].
    #[arg(long, value_name = "COLUMN,…", value_delimiter = ',')]
    choice_columns: Vec<String>,

    /// Column of the label: its name, or its number, counted from 0. With several heads, NAME=COLUMN sets the column
    /// for the head NAME; repeat the option for each head.
    #[arg(long, value_name = "[NAME=]COLUMN")]
    label_column: Vec<String>,

    /// Names of the classes in order, separated by commas, for labels that are numbers from 0 or vectors such as [0, 1,
    /// 1]. With several heads, NAME=a,b,c sets them for the head NAME; repeat the option for each head.
    #[arg(long, value_name = "[NAME=]a,b,c")]
    label_names: Vec<String>,

    #[command(flatten)]
    pub(super) header: HeaderArguments,

    /// Format [default: determined by the file's extension: .csv, .tsv, .jsonl or .conll, each optionally followed by
    /// .gz]. Any other extension means CoNLL columns for tagging, and lines (a text a line) for masked and causal language
    /// modeling.
    #[arg(long, value_name = "csv|tsv|jsonl|conll|lines")]
    pub(super) format: Option<Format>,

    #[command(flatten)]
    chat: ChatDataArguments,

    #[command(flatten)]
    preference: PreferenceArguments,
}

impl LabeledArguments {
    /// The column of the text where the heads do this task.
    pub(super) fn text_column(&self, task: &dyn TrainTask) -> &str {
        self.text_column.as_deref().unwrap_or(task.columns()[0])
    }

    /// The column of the text, with this default.
    pub(super) fn text_column_or<'a>(&'a self, default: &'a str) -> &'a str {
        self.text_column.as_deref().unwrap_or(default)
    }

    /// Checks that labels are named for these heads only; errors call the heads `what`.
    pub(super) fn check_names(&self, heads: &[&str], what: &str) -> CliResult {
        for text in &self.label_column {
            let Some((name, column)) = text.split_once('=') else { continue };
            if !heads.contains(&name) {
                let message = format!("--label-column {text} is for the head `{name}`");
                return Err(CliError::mistake(message).with_help(format!(
                    "{what} are {}; a column for all of them is named without a head: --label-column {column}",
                    heads.join(", ")
                )));
            }
        }
        Ok(())
    }

    /// The options of preferences, if a task learns them; an error if they are given for another task.
    pub(super) fn preference(&self, form: TextForm) -> CliResult<Option<f64>> {
        self.preference.beta(form)
    }

    /// Refuses columns for data that have none.
    fn check_no_columns(&self) -> CliResult {
        let given = [
            ("--text-column", self.text_column.is_some()),
            ("--pair-column", self.pair_column.is_some()),
            ("--choice-columns", !self.choice_columns.is_empty()),
            ("--label-column", !self.label_column.is_empty()),
            ("--label-names", !self.label_names.is_empty()),
        ];
        let Some((option, _)) = given.into_iter().find(|(_, given)| *given) else { return Ok(()) };
        let message =
            format!("{option}, but preferences have no columns: their keys are `prompt`, `chosen` and `rejected`");
        Err(CliError::mistake(message).with_help(format!("leave out {option}")))
    }

    /// Reads a file, or standard input for `-`.
    pub(super) fn source(&self, path: &Path, option: &str) -> CliResult<Source> {
        if path != Path::new("-") {
            // What stands for no format may be CoNLL columns (.txt); whether it is, the task tells.
            let known = Format::of_path(path).unwrap_or(Format::Conll);
            return Source::open(path, self.format.or(Some(known))).map_err(|error| data_error(&error));
        }
        let Some(format) = self.format else {
            return Err(CliError::mistake(format!("{option} - reads standard input, whose format is not known"))
                .with_help("--format csv, tsv, jsonl, conll or lines sets it"));
        };
        Source::from_reader("standard input", std::io::stdin().lock(), format).map_err(|error| data_error(&error))
    }

    /// The texts of a file, with the labels of a head. Conversations become texts as `model` reads them.
    pub(super) fn read(
        &self,
        source: &Source,
        head: &str,
        task: &'static dyn TrainTask,
        model: &Path,
    ) -> CliResult<Dataset> {
        if task.form() == TextForm::Preferences {
            self.check_no_columns()?;
        }
        if let Some(data) = self.chat.read(source, task, self.text_column.is_some(), model)? {
            return Ok(data);
        }
        let columns = match of_head(&self.label_column, head) {
            None if !task.is_labeled() => Columns::unlabeled(self.text_column(task)),
            label => Columns::new(self.text_column(task), label.unwrap_or(task.columns()[1])),
        };
        if let (Some(label), false) = (&columns.label, task.is_labeled()) {
            let message = format!("--label-column names {label}, but {} needs no labels", task.task());
            return Err(CliError::mistake(message).with_help("leave out --label-column"));
        }
        let columns = columns.with_task(task).with_header(self.header.header());
        let columns = columns.with_choices(self.choice_columns.iter().map(String::as_str));
        let columns = match &self.pair_column {
            Some(pair) => columns.with_pair(pair.as_str()),
            None => columns,
        };
        let mut format = source.format;
        if self.format.is_none() {
            match format {
                Format::Tsv | Format::Lines if task.reads_words() => format = Format::Conll,
                Format::Conll if !task.is_labeled() && Format::of_path(Path::new(&source.name)).is_err() => {
                    format = Format::Lines;
                }
                Format::Conll if !task.reads_words() => {
                    Format::of_path(Path::new(&source.name)).map_err(|error| data_error(&error))?;
                }
                Format::Lines if task.is_labeled() => {
                    let path = Path::new(&source.name).to_owned();
                    return Err(data_error(&DataError::UnknownFormat { path }));
                }
                _ => {}
            }
        }
        let data = Dataset::parse(&source.name, &source.bytes, format, &columns).map_err(|error| data_error(&error))?;
        match of_head(&self.label_names, head) {
            Some(names) => {
                let names = names.split(',').map(|name| name.trim().to_owned());
                data.with_label_names(names).map_err(|error| match &error {
                    DataError::Malformed { message, .. } => CliError::mistake(format!("--label-names: {message}")),
                    error => data_error(error).with_help("--label-names has one name for each class, in their order"),
                })
            }
            None => Ok(data),
        }
    }
}

/// A value for one head (NAME=VALUE) or for all.
fn of_head<'a>(texts: &'a [String], head: &str) -> Option<&'a str> {
    let own = texts.iter().rev().find_map(|text| text.strip_prefix(head)?.strip_prefix('='));
    let common = || texts.iter().rev().find(|text| !text.contains('='));
    own.or_else(|| common().map(String::as_str))
}

/// A task by its name on the command line; the former --labels had other names.
pub(super) fn parse_task(text: &str) -> Result<&'static dyn TrainTask, String> {
    let name = match text {
        "class" => "classification",
        "classes" => "multilabel",
        "number" => "regression",
        name => name,
    };
    train_task_named(name).ok_or_else(|| {
        let known: Vec<&str> = TASKS.iter().map(|task| task.name()).collect();
        format!("expected one of {}", known.join(", "))
    })
}

/// Notes for the user on how labels were read, each printed once.
pub(super) fn warn<'a>(data: impl IntoIterator<Item = (&'a Dataset, &'a HeadConfig)>) {
    let mut notes = BTreeSet::new();
    for (data, head) in data {
        notes.extend(data.notes());
        if data.numbers_the_labels_of(head) {
            notes.insert(format!(
                "{}: the labels are whole numbers and are read as numbers of the head's labels: 0 is `{}`",
                data.source(),
                head.label_of(0)
            ));
        }
    }
    notes.iter().for_each(|note| draw::warning(note));
}

/// Data that cannot be used.
pub(super) fn data_error(error: &DataError) -> CliError {
    let mistake = CliError::mistake(chain(error));
    match error {
        DataError::Io { path, error } => CliError::io("read", path, error),
        DataError::Read { error, source_name } => CliError::failure(format!("cannot read {source_name}: {error}")),
        DataError::MissingColumn { .. } => {
            mistake.with_help("--text-column and --label-column name the columns, or number them from 0")
        }
        DataError::DuplicateColumn { .. } => mistake
            .with_help("--text-column and --label-column take numbers, too; where both are numbers, add --header"),
        DataError::HeaderOrExample { .. } => mistake.with_help(HEADER_HELP),
        DataError::UnknownFormat { .. } => mistake.with_help("--format csv, tsv, jsonl, conll or lines sets it"),
        DataError::Ambiguous { doubt, .. } => mistake.with_help(match doubt {
            Doubt::List { .. } => {
                "--task multilabel reads lists of labels; --task classification takes each for the name of one class"
            }
            Doubt::ManyNames { .. } => {
                "--task classification says that they are classes; --label-column names another column"
            }
            _ => "--task regression predicts numbers; --task classification takes them for names of classes",
        }),
        DataError::BadRows { problems, .. } => match problems.iter().find_map(|row| help(&row.problem)) {
            Some(help) => mistake.with_help(help),
            None => mistake,
        },
        _ => mistake,
    }
}

/// What to do about a bad row.
fn help(problem: &DataProblem) -> Option<&'static str> {
    match problem {
        DataProblem::NotANumberButAHeader { .. } => Some("--header says that line 1 names the columns"),
        DataProblem::WrongType { what: "label", found, .. } if found == "an array" => {
            Some("--task multilabel reads lists of labels")
        }
        DataProblem::UnknownLabel { label, .. } if label.parse::<usize>().is_ok() => {
            Some("--label-names a,b,c says what the numbers of classes mean: the name of 0, of 1 and so on")
        }
        _ => None,
    }
}
