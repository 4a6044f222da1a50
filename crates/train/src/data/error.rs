//! Errors of reading data.

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
    /// Data that is not from a file (standard input) cannot be read.
    #[error("cannot read {source_name}: {error}")]
    Read {
        /// Where the data comes from.
        source_name: String,
        /// The system's error.
        error: std::io::Error,
    },
    /// An extension that stands for no format.
    #[error(
        "{}: the extension does not tell the format: expected .csv, .tsv or .jsonl (or one of them with .gz), or name the \
         format",
        path.display()
    )]
    UnknownFormat {
        /// The file.
        path: PathBuf,
    },
    /// Bytes that are not text in UTF-8: another encoding, an archive, a workbook.
    #[error("{source_name} is {found}: {expected}")]
    NotText {
        /// The file.
        source_name: String,
        /// What it is.
        found: &'static str,
        /// What to do.
        expected: &'static str,
    },
    /// More data than is read.
    #[error("{source_name} has more than {limit} bytes{compressed}: that is more than is read", compressed = if *compressed { " when it is unpacked" } else { "" })]
    TooLarge {
        /// The file.
        source_name: String,
        /// The most bytes that are read.
        limit: u64,
        /// Whether the limit is on what comes out of a compressed file.
        compressed: bool,
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
        /// The requested column.
        column: String,
        /// The columns of the file.
        found: Vec<String>,
        /// What to do, or nothing.
        hint: &'static str,
    },
    /// The header has the name more than once.
    #[error(
        "{source_name} has {} columns `{column}`: number {} (counted from 0); name the one to read by its number",
        positions.len(),
        positions.iter().take(20).map(usize::to_string).collect::<Vec<_>>().join(", ")
    )]
    DuplicateColumn {
        /// The file.
        source_name: String,
        /// The name.
        column: String,
        /// The numbers of the columns of this name, from 0.
        positions: Vec<usize>,
    },
    /// Columns are given by number, and the first line may be a header or an example.
    #[error(
        "{source_name}: columns are given by number, and line 1 ({}) may be a header or the first example: state which it is",
        listed(first)
    )]
    HeaderOrExample {
        /// The file.
        source_name: String,
        /// The cells of the first line.
        first: Vec<String>,
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
    #[error("{source_name}: every label is `{}`: a classifier needs at least two classes", shortened(label))]
    OneClass {
        /// The file.
        source_name: String,
        /// The one label.
        label: String,
    },
    /// Labels that can be read in two ways, while it was not said how.
    #[error("{source_name}, line {line}: {doubt}")]
    Ambiguous {
        /// The file.
        source_name: String,
        /// The line of the first such label.
        line: usize,
        /// The two readings.
        doubt: Doubt,
    },
    /// More classes than a head can have.
    #[error(
        "{source_name} has {classes} different labels: a head has at most {limit}; is the column that of the labels?"
    )]
    TooManyClasses {
        /// The file.
        source_name: String,
        /// Different labels.
        classes: usize,
        /// The most classes.
        limit: usize,
    },
}

/// Why labels can be read in two ways.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum Doubt {
    /// A fraction among names.
    #[error(
        "the label `{}` is a fraction: a number to be predicted (regression) or the name of a class (classification)?",
        shortened(label)
    )]
    Fraction {
        /// The label.
        label: String,
    },
    /// Whole numbers that hardly ever repeat.
    #[error(
        "the labels are whole numbers, {distinct} different ones in {examples} examples: numbers to be predicted \
         (regression) or names of classes (classification)?"
    )]
    ManyNumbers {
        /// Different labels.
        distinct: usize,
        /// Examples with a label.
        examples: usize,
    },
    /// Names that hardly ever repeat.
    #[error(
        "there are {distinct} different labels in {examples} examples: are they classes (classification), and is the \
         column that of the labels?"
    )]
    ManyNames {
        /// Different labels.
        distinct: usize,
        /// Examples with a label.
        examples: usize,
    },
    /// A list in the place of a name.
    #[error(
        "the label `{}` is a list: several labels (multilabel) or the name of one class (classification)?",
        shortened(label)
    )]
    List {
        /// The label.
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
    #[error(
        "{found} columns, but the first line has {expected}; in a .csv file a text with commas must be quoted \
         (\"like, this\"), or save the data as .tsv"
    )]
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
    /// A label as long as a text.
    #[error("the label has {characters} characters, at most {limit} are read: is the column that of the labels?")]
    LongLabel {
        /// Its length.
        characters: usize,
        /// The longest label.
        limit: usize,
    },
    /// Words and tags of different numbers.
    #[error("{tokens} tokens, but {tags} tags: each token needs one")]
    TagCount {
        /// Tokens.
        tokens: usize,
        /// Tags.
        tags: usize,
    },
    /// A tag that is not of the scheme of the others.
    #[error(
        "the tag `{}` is neither `O` nor begins with `B-`, `I-`, `E-` or `S-`, as the others do (of BILOU, write `L-` as \
         `E-` and `U-` as `S-`)",
        shortened(tag)
    )]
    NotATag {
        /// The tag.
        tag: String,
    },
    /// A token without any text.
    #[error("token {number} (counted from 1) is empty")]
    EmptyToken {
        /// Its number in the sentence, from 1.
        number: usize,
    },
    /// A line of CoNLL columns that is unlike the first.
    #[error("{found} columns, but the first line of a token has {expected}")]
    ConllColumns {
        /// Columns of the first line.
        expected: usize,
        /// Columns of this one.
        found: usize,
    },
    /// Not a finite number.
    #[error("the label `{}` is not a number", shortened(found))]
    NotANumber {
        /// What stands there.
        found: String,
    },
    /// As [`NotANumber`](Problem::NotANumber), on a first line that may be a header.
    #[error("the label `{}` is not a number: if the line is a header, state that there is one", shortened(found))]
    NotANumberButAHeader {
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
    /// A list that is none of the forms that are read.
    #[error(
        "the label `{}` looks like a list, but {reason}; write a|b or [\"a\", \"b\"] for names, or [0, 1, 1] with a 0 or 1 for \
         each class",
        shortened(found)
    )]
    BadList {
        /// What stands there.
        found: String,
        /// What is wrong.
        reason: String,
    },
    /// A vector of another length.
    #[error("the label is a vector of {found} entries: expected {expected}, one for each {of}")]
    VectorLength {
        /// The entries.
        found: usize,
        /// The expected number of entries.
        expected: usize,
        /// What the entries stand for.
        of: String,
    },
    /// Names in one row, a vector in another.
    #[error("the label is {found}, but that on line {first} is {expected}: use one form for all")]
    MixedForms {
        /// The form of this label.
        found: &'static str,
        /// The form of the first label.
        expected: &'static str,
        /// The line of the first label.
        first: usize,
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
    /// A quote that is never closed.
    #[error(
        "a quoted cell begins here and never ends: close the quote, double a quote within the text (\"\"), or save the \
         data as .tsv, where quotes mean nothing"
    )]
    UnclosedQuote,
    /// A quoted cell with text behind its closing quote.
    #[error(
        "the quoted cell that begins here ends on line {closed} with text behind its closing quote: double a quote within \
         the text (\"\"), or save the data as .tsv, where quotes mean nothing"
    )]
    TextAfterQuote {
        /// The line of the closing quote.
        closed: usize,
    },
    /// A label that training did not see.
    #[error("the label `{}` is not known from training; known are {}", shortened(label), listed(known))]
    UnknownLabel {
        /// The label.
        label: String,
        /// The labels that are known.
        known: Vec<String>,
    },
    /// A label that is not among the given names.
    #[error(
        "the label `{}` is neither one of the given names ({}) nor the number of one",
        shortened(label),
        listed(names)
    )]
    NotNamed {
        /// The label.
        label: String,
        /// The given names.
        names: Vec<String>,
    },
}

/// Collects bad rows: the first of them; the others are counted, so that a file of a million bad rows takes no memory.
#[derive(Debug, Default)]
pub struct Problems {
    shown: Vec<RowProblem>,
    more: usize,
}

impl Problems {
    /// Adds the problem of the row that begins on a line.
    pub fn push(&mut self, line: usize, problem: Problem) {
        self.push_with(line, || problem);
    }

    /// As `push`, for problems that cost something to describe.
    pub(crate) fn push_with(&mut self, line: usize, problem: impl FnOnce() -> Problem) {
        if self.shown.len() < DataError::SHOWN {
            self.shown.push(RowProblem { line, problem: problem() });
        } else {
            self.more += 1;
        }
    }

    pub(crate) fn into_result(mut self, source: &str) -> Result<(), DataError> {
        if self.shown.is_empty() {
            return Ok(());
        }
        self.shown.sort_by_key(|problem| problem.line);
        Err(DataError::BadRows { source_name: source.to_owned(), problems: self.shown, more: self.more })
    }
}

/// Names for a message, the first 20 of them, none longer than a line.
pub(crate) fn listed(names: &[String]) -> String {
    const SHOWN: usize = 20;
    let mut list = names.iter().take(SHOWN).map(|name| format!("`{}`", shortened(name))).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        list += &format!(" and {} more", names.len() - SHOWN);
    }
    if list.is_empty() { "none".into() } else { list }
}

/// A cell for a message, cut where it is as long as a text.
pub(crate) fn shortened(cell: &str) -> String {
    match cell.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", &cell[..end]),
        None => cell.to_owned(),
    }
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
