//! What can be wrong with data.

use std::fmt;
use std::path::PathBuf;

use burn_adapters_files::FileError;
use thiserror::Error;

/// Data that cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DataError {
    /// The file cannot be read, or is not a regular file.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// An extension that stands for no format.
    #[error("{}: the extension tells no format: expected .csv, .tsv or .jsonl, or name the format", path.display())]
    UnknownFormat {
        /// The file.
        path: PathBuf,
    },
    /// No rows.
    #[error("{source_name} holds no examples")]
    Empty {
        /// The file.
        source_name: String,
    },
    /// The file has no such column.
    #[error("{source_name} has no column {column}; it has {}{hint}", listed(found))]
    MissingColumn {
        /// The file.
        source_name: String,
        /// What was asked for.
        column: String,
        /// The columns that there are.
        found: Vec<String>,
        /// What to do, or nothing.
        hint: &'static str,
    },
    /// A file that as a whole is not what its format says.
    #[error("{source_name}: {message}")]
    Malformed {
        /// The file.
        source_name: String,
        /// What is wrong, and what to do.
        message: String,
    },
    /// Bad rows.
    #[error("{}", bad_rows(source_name, problems, *more))]
    BadRows {
        /// The file.
        source_name: String,
        /// The first of them.
        problems: Vec<RowProblem>,
        /// How many more there are.
        more: usize,
    },
    /// A split that leaves one part empty.
    #[error("{how} of {examples} examples leaves nothing to train on or nothing to hold out")]
    BadSplit {
        /// How it was to be split.
        how: String,
        /// The number of examples.
        examples: usize,
    },
    /// Labels that leave nothing to learn.
    #[error("{source_name}: every label is `{label}`: a classifier needs at least two classes")]
    OneClass {
        /// The file.
        source_name: String,
        /// The one label.
        label: String,
    },
}

impl From<FileError> for DataError {
    fn from(error: FileError) -> Self {
        DataError::Io { path: error.path.clone(), error: error.into_io() }
    }
}

impl DataError {
    /// How many bad rows an error names; the others are only counted.
    pub const SHOWN: usize = 10;
}

/// One bad row.
#[derive(Debug, Clone, PartialEq)]
pub struct RowProblem {
    /// The line on which the row begins, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a row.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum Problem {
    /// More or fewer cells than the first line.
    #[error("{found} columns, but the first line has {expected}")]
    ColumnCount {
        /// Cells of the first line.
        expected: usize,
        /// Cells of this one.
        found: usize,
    },
    /// A JSON object without the key.
    #[error("no key `{key}`")]
    MissingKey {
        /// The key.
        key: String,
    },
    /// Nothing but white space in the text column.
    #[error("the text is empty")]
    EmptyText,
    /// Nothing in the label column.
    #[error("the label is empty")]
    EmptyLabel,
    /// An example without a label, where one is needed.
    #[error("there is no label")]
    NoLabel,
    /// Not a finite number.
    #[error("the label `{found}` is not a number")]
    NotANumber {
        /// What stands there.
        found: String,
    },
    /// Another kind of value than expected.
    #[error("the {what} is {found}: expected {expected}")]
    WrongType {
        /// The text or the label.
        what: &'static str,
        /// What stands there.
        found: String,
        /// What should.
        expected: &'static str,
    },
    /// Bytes that are not UTF-8.
    #[error("not valid UTF-8")]
    InvalidUtf8,
    /// Not a JSON object.
    #[error("broken JSON: {message}")]
    BrokenJson {
        /// What the parser says.
        message: String,
    },
    /// A row that the CSV parser refuses.
    #[error("broken CSV: {message}")]
    BrokenCsv {
        /// What the parser says.
        message: String,
    },
    /// A label that training did not see.
    #[error("the label `{label}` is not known from training; known are {}", listed(known))]
    UnknownLabel {
        /// The label.
        label: String,
        /// The labels that are known.
        known: Vec<String>,
    },
}

/// Collects bad rows.
#[derive(Debug, Default)]
pub(crate) struct Problems(Vec<RowProblem>);

impl Problems {
    pub(crate) fn push(&mut self, line: usize, problem: Problem) {
        self.0.push(RowProblem { line, problem });
    }

    pub(crate) fn into_result(mut self, source: &str) -> Result<(), DataError> {
        if self.0.is_empty() {
            return Ok(());
        }
        // A row is read in two passes, and the first of all bad rows are to be shown.
        self.0.sort_by_key(|problem| problem.line);
        let more = self.0.len().saturating_sub(DataError::SHOWN);
        self.0.truncate(DataError::SHOWN);
        Err(DataError::BadRows { source_name: source.to_owned(), problems: self.0, more })
    }
}

pub(crate) fn listed(names: &[String]) -> String {
    const SHOWN: usize = 20;
    let mut list = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        list += &format!(" and {} more", names.len() - SHOWN);
    }
    if list.is_empty() { "none".into() } else { list }
}

fn bad_rows(source: &str, problems: &[RowProblem], more: usize) -> String {
    let mut text = match problems {
        [one] if more == 0 => return format!("{source}, {one}"),
        _ => format!("{source} has {} bad rows:", problems.len() + more),
    };
    for problem in problems {
        text += &format!("\n  {problem}");
    }
    if more > 0 {
        text += &format!("\n  … and {more} more");
    }
    text
}

impl fmt::Display for RowProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.problem)
    }
}
