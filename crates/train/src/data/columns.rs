//! The columns of a data file: text, label, format.

use std::convert::Infallible;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use super::DataError;
use crate::TrainTask;
use crate::tasks::Classification;

/// A column, by name or by number.
///
/// Numbers count from 0: `3` is the fourth column. In a file with a header, a column *named* `3` takes precedence over
/// the column with that number.
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

/// Whether the first line of a CSV or TSV file is a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Header {
    /// It is if any column is requested by name. If all are requested by number, it is an example, provided that its
    /// label shows it (a number to be predicted, or a class that occurs again); otherwise reading fails with
    /// [`DataError::HeaderOrExample`].
    #[default]
    Auto,
    /// It is a header.
    Yes,
    /// It is an example.
    No,
}

/// A file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated, with `"` around cells that contain commas, quotes or line breaks (RFC 4180).
    Csv,
    /// Tab-separated; quotes have no special meaning.
    Tsv,
    /// One JSON object per line; blank lines are skipped.
    JsonLines,
    /// One token per line, in columns separated by tabs or spaces; a blank line ends a sentence.
    Conll,
    /// A text a line, for language modeling.
    Lines,
}

impl Format {
    /// The format for a file extension; `.gz` after it is ignored.
    ///
    /// # Errors
    /// If the extension is unknown.
    pub fn of_path(path: &Path) -> Result<Self, DataError> {
        let lower = |path: &Path| path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
        let packed = lower(path).filter(|extension| extension == "gz").and(path.file_stem().map(Path::new));
        let extension = packed.map_or_else(|| lower(path), lower);
        match extension.as_deref() {
            Some("csv") => Ok(Format::Csv),
            Some("tsv" | "tab") => Ok(Format::Tsv),
            Some("jsonl" | "ndjson" | "json") => Ok(Format::JsonLines),
            Some("txt") => Ok(Format::Lines),
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
            "lines" => Ok(Format::Lines),
            _ => Err(format!("unknown format `{text}`: expected csv, tsv, jsonl, conll or lines")),
        }
    }
}

/// The columns to read, and how to read them.
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
    /// The column of the second text, for pairs of texts.
    pub pair: Option<Column>,
    /// In multiple choice, the columns of the choices, or the one with a list of them; without any, `choices` (a list) or
    /// `ending0`, `ending1` and so on.
    pub choices: Vec<Column>,
    /// The column of the label; `None` for data to predict on.
    pub label: Option<Column>,
    /// The task that learns from the labels. Classification by default.
    pub task: &'static dyn TrainTask,
    /// Whether the label may be missing: it is not used for training, but accompanies the text.
    pub optional_label: bool,
    /// Whether the first line is a header.
    pub header: Header,
    /// The format; by default determined by the extension.
    pub format: Option<Format>,
    /// Whether a text may be empty, as in data to predict on, where every row has a prediction.
    pub empty_texts: bool,
}

impl Default for Columns {
    /// The columns `text` and `label`.
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
            choices: Vec::new(),
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

    /// Sets the columns of the choices.
    pub fn with_choices<C: Into<Column>>(mut self, choices: impl IntoIterator<Item = C>) -> Self {
        self.choices = choices.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the task that learns from the labels.
    pub fn with_task(mut self, task: &'static dyn TrainTask) -> Self {
        self.task = task;
        self
    }

    /// Reads the label as any value that accompanies a text, and that may be missing.
    pub fn with_optional_label(mut self) -> Self {
        self.optional_label = true;
        self
    }

    /// Sets whether the first line is a header.
    pub fn with_header(mut self, header: Header) -> Self {
        self.header = header;
        self
    }

    /// Sets the format, overriding the extension.
    pub fn with_format(mut self, format: Format) -> Self {
        self.format = Some(format);
        self
    }

    /// Sets whether a text may be empty.
    pub fn with_empty_texts(mut self, empty_texts: bool) -> Self {
        self.empty_texts = empty_texts;
        self
    }

    /// With the column of the second text, where the task has a default one.
    pub(super) fn with_default_pair(&self) -> Self {
        let pair = self.pair.clone().or_else(|| Some(self.task.pair_column()?.into()));
        Self { pair, ..self.clone() }
    }

    /// Whether a column is requested by name, which requires a header.
    pub fn any_named(&self) -> bool {
        let named = |column: &Column| matches!(column, Column::Name(_));
        named(&self.text) || [&self.pair, &self.label].into_iter().flatten().chain(&self.choices).any(named)
    }

    pub(super) fn has_header(&self) -> bool {
        match self.header {
            Header::Yes => true,
            Header::No => false,
            Header::Auto => self.any_named(),
        }
    }
}
