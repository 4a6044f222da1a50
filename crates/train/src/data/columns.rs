//! Which columns hold the text and the label.

use std::convert::Infallible;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use super::DataError;
use crate::TrainTask;
use crate::tasks::Classification;

/// A column, by name or by number.
///
/// Numbers count from 0: `3` is the fourth column. Where a file has a header, a column that is *named* `3` goes before
/// the one that is numbered so.
///
/// ```
/// use burn_adapters_train::Column;
///
/// assert_eq!("sentence".parse(), Ok(Column::Name("sentence".into())));
/// assert_eq!("3".parse(), Ok(Column::Number(3)));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Column {
    /// By its name in the header, or the key of a JSON object.
    Name(String),
    /// By its number, from 0.
    Number(usize),
}

impl FromStr for Column {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(text.parse().map_or_else(|_| Column::Name(text.to_owned()), Column::Number))
    }
}

impl From<&str> for Column {
    fn from(text: &str) -> Self {
        text.parse().unwrap_or_else(|never: Infallible| match never {})
    }
}

impl From<String> for Column {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<usize> for Column {
    fn from(number: usize) -> Self {
        Column::Number(number)
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Column::Name(name) => write!(f, "`{name}`"),
            Column::Number(number) => write!(f, "number {number} (counted from 0)"),
        }
    }
}

/// Whether the first line of a CSV or TSV file names the columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Header {
    /// It does if any column is requested by name. If all are by number, it is an example, provided that this can be told
    /// from its label (a number to be predicted, or a class that comes up again); otherwise reading fails with
    /// [`DataError::HeaderOrExample`].
    #[default]
    Auto,
    /// It does.
    Yes,
    /// It is data.
    No,
}

/// A file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated, with `"` around cells that hold commas, quotes or line breaks (RFC 4180).
    Csv,
    /// Tab-separated; quotes mean nothing.
    Tsv,
    /// A JSON object a line; blank lines are skipped.
    JsonLines,
    /// A token a line, in columns separated by tabs or spaces; a blank line ends a sentence.
    Conll,
}

impl Format {
    /// The format that a file's extension stands for; `.gz` behind it is left aside.
    ///
    /// # Errors
    /// If it stands for none.
    pub fn of_path(path: &Path) -> Result<Self, DataError> {
        let lower = |path: &Path| path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
        let packed = lower(path).filter(|extension| extension == "gz").and(path.file_stem().map(Path::new));
        let extension = packed.map_or_else(|| lower(path), lower);
        match extension.as_deref() {
            Some("csv") => Ok(Format::Csv),
            Some("tsv" | "tab") => Ok(Format::Tsv),
            Some("jsonl" | "ndjson" | "json") => Ok(Format::JsonLines),
            Some("conll" | "conllu" | "iob" | "iob2" | "bio" | "iobes") => Ok(Format::Conll),
            _ => Err(DataError::UnknownFormat { path: path.to_owned() }),
        }
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "csv" => Ok(Format::Csv),
            "tsv" => Ok(Format::Tsv),
            "jsonl" | "json" => Ok(Format::JsonLines),
            "conll" => Ok(Format::Conll),
            _ => Err(format!("unknown format `{text}`: expected csv, tsv, jsonl or conll")),
        }
    }
}

/// Which columns to read, and how.
///
/// ```
/// use burn_adapters_train::{Columns, Dataset, Format, Label};
///
/// let columns = Columns::new(2, 1).with_task(&burn_adapters_train::tasks::Regression);
/// let data = Dataset::parse("ratings", b"1\t-1.5\tdull\n2\t3\tbright\n", Format::Tsv, &columns)?;
/// assert_eq!(data.examples()[0].label, Some(Label::Number(-1.5)));
/// # Ok::<(), burn_adapters_train::DataError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    /// The column of the text.
    pub text: Column,
    /// The column of the second text, where texts are pairs.
    pub pair: Option<Column>,
    /// The column of the label; none in data to predict on.
    pub label: Option<Column>,
    /// The task that learns from the labels. Classification by default.
    pub task: &'static dyn TrainTask,
    /// Whether a label may be absent: it is not one to learn, but something else that stands beside each text.
    pub optional_label: bool,
    /// Whether the first line names the columns.
    pub header: Header,
    /// The format; by default the one that the extension stands for.
    pub format: Option<Format>,
    /// Whether a text may be empty: in data to predict on, where every row has its prediction.
    pub empty_texts: bool,
}

impl Default for Columns {
    /// `text` and `label`.
    fn default() -> Self {
        Self::new("text", "label")
    }
}

impl Columns {
    /// These columns, by name or number.
    pub fn new(text: impl Into<Column>, label: impl Into<Column>) -> Self {
        Self { label: Some(label.into()), ..Self::unlabeled(text) }
    }

    /// Texts without labels.
    pub fn unlabeled(text: impl Into<Column>) -> Self {
        Self {
            text: text.into(),
            pair: None,
            label: None,
            task: &Classification,
            optional_label: false,
            header: Header::default(),
            format: None,
            empty_texts: false,
        }
    }

    /// Sets the column of the second text of each pair.
    pub fn with_pair(mut self, pair: impl Into<Column>) -> Self {
        self.pair = Some(pair.into());
        self
    }

    /// Sets the task that learns from the labels.
    pub fn with_task(mut self, task: &'static dyn TrainTask) -> Self {
        self.task = task;
        self
    }

    /// Takes the label for any text that stands beside each text, and may be absent.
    pub fn with_optional_label(mut self) -> Self {
        self.optional_label = true;
        self
    }

    /// Sets whether the first line names the columns.
    pub fn with_header(mut self, header: Header) -> Self {
        self.header = header;
        self
    }

    /// Sets the format, whatever the extension.
    pub fn with_format(mut self, format: Format) -> Self {
        self.format = Some(format);
        self
    }

    /// Sets whether a text may be empty.
    pub fn with_empty_texts(mut self, empty_texts: bool) -> Self {
        self.empty_texts = empty_texts;
        self
    }

    /// Whether a column is requested by its name, which takes a header.
    pub fn any_named(&self) -> bool {
        let named = |column: &Column| matches!(column, Column::Name(_));
        named(&self.text) || [&self.pair, &self.label].into_iter().flatten().any(named)
    }

    pub(super) fn has_header(&self) -> bool {
        match self.header {
            Header::Yes => true,
            Header::No => false,
            Header::Auto => self.any_named(),
        }
    }
}
