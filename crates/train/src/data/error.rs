//! Errors of reading data.

use std::fmt;
use std::path::PathBuf;

use burn_adapters_files::FileError;
use thiserror::Error;

use super::doubts::Doubt;

/// Data that cannot be read or used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DataError {
    /// The file cannot be read, or is not a regular file.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        error: std::io::Error,
    },
    /// Data that is not from a file (standard input) cannot be read.
    #[error("cannot read {source_name}: {error}")]
    Read {
        /// The name of the source.
        source_name: String,
        /// The system error.
        error: std::io::Error,
    },
    /// An unknown file extension.
    #[error(
        "{}: unknown extension: expected .csv, .tsv, .jsonl or .conll (or one of them with .gz), or name the \
         format",
        path.display()
    )]
    UnknownFormat {
        /// The file.
        path: PathBuf,
    },
    /// Bytes that are not UTF-8 text: another encoding, an archive, a workbook.
    #[error("{source_name} is {found}: {expected}")]
    NotText {
        /// The file.
        source_name: String,
        /// The kind of content.
        found: &'static str,
        /// The remedy.
        expected: &'static str,
    },
    /// Data above the size limit.
    #[error("{source_name} has more than {limit} bytes{compressed}, the limit for data", compressed = if *compressed { " when it is unpacked" } else { "" })]
    TooLarge {
        /// The file.
        source_name: String,
        /// The limit in bytes.
        limit: u64,
        /// Whether the limit applies to decompressed data.
        compressed: bool,
    },
    /// The file has no rows.
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
        /// A hint, or nothing.
        hint: &'static str,
    },
    /// Several columns of the header have the name.
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
        /// The numbers of the columns with this name, from 0.
        positions: Vec<usize>,
    },
    /// Columns are requested by number, and the first line may be a header or an example.
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
    /// A file that does not match its format as a whole.
    #[error("{source_name}: {message}")]
    Malformed {
        /// The file.
        source_name: String,
        /// The problem and the remedy.
        message: String,
    },
    /// Invalid rows.
    #[error("{}", bad_rows(source_name, problems, *more))]
    BadRows {
        /// The file.
        source_name: String,
        /// The first invalid rows.
        problems: Vec<RowProblem>,
        /// The number of further invalid rows.
        more: usize,
    },
    /// A split with an empty part.
    #[error("{how} of {examples} examples leaves nothing to train on or nothing to hold out")]
    BadSplit {
        /// How the data was split.
        how: String,
        /// The number of examples.
        examples: usize,
    },
    /// All labels are the same.
    #[error("{source_name}: every label is `{}`: a classifier needs at least two classes", shortened(label))]
    OneClass {
        /// The file.
        source_name: String,
        /// The only label.
        label: String,
    },
    /// Ambiguous labels, without a task to decide.
    #[error("{source_name}, line {line}: {doubt}")]
    Ambiguous {
        /// The file.
        source_name: String,
        /// The line of the first such label.
        line: usize,
        /// The ambiguity.
        doubt: Doubt,
    },
    /// More classes than a head can have.
    #[error(
        "{source_name} has {classes} different labels: a head has at most {limit}; is the column that of the labels?"
    )]
    TooManyClasses {
        /// The file.
        source_name: String,
        /// The number of different labels.
        classes: usize,
        /// The limit.
        limit: usize,
    },
}

impl From<FileError> for DataError {
    fn from(error: FileError) -> Self {
        DataError::Io { path: error.path.clone(), error: error.into_io() }
    }
}

impl DataError {
    /// The number of invalid rows that an error lists; the others are only counted.
    pub const SHOWN: usize = 10;
}

/// An invalid row.
#[derive(Debug, Clone, PartialEq)]
pub struct RowProblem {
    /// The first line of the row, from 1.
    pub line: usize,
    /// The problem.
    pub problem: DataProblem,
}

/// The problem of a row.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum DataProblem {
    /// The number of cells differs from the first line.
    #[error(
        "{found} columns, but the first line has {expected}; in a .csv file a text with commas must be quoted \
         (\"like, this\"), or save the data as .tsv"
    )]
    ColumnCount {
        /// The number of cells of the first line.
        expected: usize,
        /// The number of cells of this row.
        found: usize,
    },
    /// A JSON object without the required key.
    #[error("no key `{key}`")]
    MissingKey {
        /// The key.
        key: String,
    },
    /// The text column is blank.
    #[error("the text is empty")]
    EmptyText,
    /// The label column is blank.
    #[error("the label is empty")]
    EmptyLabel,
    /// A required label is missing.
    #[error("there is no label")]
    NoLabel,
    /// A label that is as long as a text.
    #[error("the label has {characters} characters, more than the limit of {limit}: is this the label column?")]
    LongLabel {
        /// The number of characters.
        characters: usize,
        /// The limit.
        limit: usize,
    },
    /// The numbers of words and tags differ.
    #[error("{tokens} tokens, but {tags} tags: each token needs one")]
    TagCount {
        /// The number of tokens.
        tokens: usize,
        /// The number of tags.
        tags: usize,
    },
    /// A tag that does not belong to the tagging scheme.
    #[error(
        "the tag `{}` is neither `O` nor begins with `B-`, `I-`, `E-` or `S-`, as the others do (of BILOU, write `L-` as \
         `E-` and `U-` as `S-`)",
        shortened(tag)
    )]
    NotATag {
        /// The tag.
        tag: String,
    },
    /// A blank token.
    #[error("token {number} (counted from 1) is empty")]
    EmptyToken {
        /// Its number in the sentence, from 1.
        number: usize,
    },
    /// A line whose number of columns differs from the first.
    #[error("{found} columns, but the first line of a token has {expected}")]
    ConllColumns {
        /// The number of columns of the first line.
        expected: usize,
        /// The number of columns of this line.
        found: usize,
    },
    /// Answers in an unsupported form.
    #[error(
        "the answers `{}` cannot be read: {reason}; write {{\"text\": [\"…\"], \"answer_start\": [0]}}, or the answer's text",
        shortened(found)
    )]
    BadAnswers {
        /// The answers.
        found: String,
        /// The problem.
        reason: String,
    },
    /// An answer that is not at its position.
    #[error(
        "the answer `{}` is not at character {start} of the context: found `{}` there",
        shortened(answer),
        shortened(found)
    )]
    AnswerElsewhere {
        /// The answer.
        answer: String,
        /// Its position in characters, from 0.
        start: usize,
        /// The text there.
        found: String,
    },
    /// An answer that does not occur in the context.
    #[error("the answer `{}` does not occur in the context: an answer must be an exact part of it", shortened(answer))]
    AnswerNotFound {
        /// The answer.
        answer: String,
    },
    /// Choices in an unsupported form.
    #[error(
        "the choices cannot be read: {reason}; write a list, \"choices\": [\"…\", \"…\"] (in a table a|b), or a column for each"
    )]
    BadChoices {
        /// The problem.
        reason: String,
    },
    /// A label that is not one of the choices.
    #[error("{reason}: the label is the number of one of the {count} choices, from 0, or its text")]
    NotAChoice {
        /// The problem.
        reason: String,
        /// The number of choices.
        count: usize,
    },
    /// A label that is not a finite number.
    #[error("the label `{}` is not a number", shortened(found))]
    NotANumber {
        /// The label.
        found: String,
    },
    /// [`NotANumber`](DataProblem::NotANumber) on a first line that may be a header.
    #[error("the label `{}` is not a number: if the line is a header, state that there is one", shortened(found))]
    NotANumberButAHeader {
        /// The label.
        found: String,
    },
    /// A value of the wrong type.
    #[error("the {what} is {found}: expected {expected}")]
    WrongType {
        /// `text` or `label`.
        what: &'static str,
        /// The type found.
        found: String,
        /// The expected type.
        expected: &'static str,
    },
    /// A list in an unsupported form.
    #[error(
        "the label `{}` looks like a list, but {reason}; write a|b or [\"a\", \"b\"] for names, or [0, 1, 1] with a 0 or 1 for \
         each class",
        shortened(found)
    )]
    BadList {
        /// The label.
        found: String,
        /// The problem.
        reason: String,
    },
    /// A vector of the wrong length.
    #[error("the label is a vector of {found} entries: expected {expected}, one for each {of}")]
    VectorLength {
        /// The number of entries.
        found: usize,
        /// The expected number of entries.
        expected: usize,
        /// What each entry stands for.
        of: String,
    },
    /// The forms of two labels differ: names in one row, a vector in another.
    #[error("the label is {found}, but that on line {first} is {expected}: use one form for all")]
    MixedForms {
        /// The form of this label.
        found: &'static str,
        /// The form of the first label.
        expected: &'static str,
        /// The line of the first label.
        first: usize,
    },
    /// A row of a conversation, a prompt or a preference that is not one.
    #[error("{message}")]
    Chat {
        /// The problem, and what was expected.
        message: String,
    },
    /// The row is not valid UTF-8.
    #[error("not valid UTF-8")]
    InvalidUtf8,
    /// The line is not a JSON object.
    #[error("broken JSON: {message}")]
    BrokenJson {
        /// The parser's message.
        message: String,
    },
    /// The row is not valid CSV.
    #[error("broken CSV: {message}")]
    BrokenCsv {
        /// The parser's message.
        message: String,
    },
    /// A quoted cell without a closing quote.
    #[error(
        "a quoted cell begins here and never ends: close the quote, double a quote within the text (\"\"), or save the \
         data as .tsv, where quotes mean nothing"
    )]
    UnclosedQuote,
    /// A quoted cell with text after its closing quote.
    #[error(
        "the quoted cell that begins here ends on line {closed} with text behind its closing quote: double a quote within \
         the text (\"\"), or save the data as .tsv, where quotes mean nothing"
    )]
    TextAfterQuote {
        /// The line of the closing quote.
        closed: usize,
    },
    /// A label that did not occur in training.
    #[error("the label `{}` is not known from training; known are {}", shortened(label), listed(known))]
    UnknownLabel {
        /// The label.
        label: String,
        /// The known labels.
        known: Vec<String>,
    },
    /// A label that is not among the given label names.
    #[error(
        "the label `{}` is neither one of the given names ({}) nor the number of one",
        shortened(label),
        listed(names)
    )]
    NotNamed {
        /// The label.
        label: String,
        /// The given label names.
        names: Vec<String>,
    },
}

/// Collects invalid rows: it keeps the first ones and counts the others, so a file of a million invalid rows takes no
/// memory.
#[derive(Debug, Default)]
pub struct Problems {
    shown: Vec<RowProblem>,
    more: usize,
}

impl Problems {
    /// Adds a problem of the row that begins on this line.
    pub fn push(&mut self, line: usize, problem: DataProblem) {
        self.push_with(line, || problem);
    }

    /// `push` for problems that are expensive to describe.
    pub(crate) fn push_with(&mut self, line: usize, problem: impl FnOnce() -> DataProblem) {
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

/// Names for a message: at most 20, each shortened to a line.
pub(crate) fn listed(names: &[String]) -> String {
    const SHOWN: usize = 20;
    let mut list = names.iter().take(SHOWN).map(|name| format!("`{}`", shortened(name))).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        list += &format!(" and {} more", names.len() - SHOWN);
    }
    if list.is_empty() { "none".into() } else { list }
}

/// A cell for a message, shortened if it is as long as a text.
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
