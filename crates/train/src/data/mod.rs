//! Labeled text: reading, label names, splitting.

mod answers;
mod chat;
mod choices;
mod columns;
mod conll;
mod doubts;
mod error;
mod json;
mod labels;
pub(crate) mod lists;
mod read;
mod source;
mod split;
mod squad;
mod table;

pub use answers::Answer;
pub(crate) use answers::{of_cell as answers_of_cell, of_json as answers_of_json, settle as settle_answers};
pub use chat::{ChatData, ChatRow, ChatShape, PreferenceData, PreferencePair, Turns};
pub(crate) use choices::settle as settle_choices;
pub use columns::{Column, Columns, Format, Header};
pub use doubts::Doubt;
pub(crate) use error::listed;
pub use error::{DataError, DataProblem, Problems, RowProblem};
pub(crate) use json::{class_name, named};
pub(crate) use labels::{Wrong, collect};
pub use lists::Form;
pub(crate) use read::{check_length, number};
pub use source::Source;

use std::ops::Range;
use std::path::Path;

use burn_adapters_model::Text;

/// A label as read from the data.
#[derive(Debug, Clone, PartialEq)]
pub enum Label {
    /// The name of a class.
    Class(String),
    /// The names of all classes that apply, possibly none.
    Classes(Vec<String>),
    /// For each class, in the order of the head's labels, whether it applies.
    Vector(Vec<bool>),
    /// A number, for regression.
    Number(f64),
    /// The tag of each word.
    Tags(Vec<String>),
    /// The correct answers to a question; empty if the context does not answer it.
    Answers(Vec<Answer>),
    /// The number of the right choice, from 0.
    Choice(usize),
    /// A text that is predicted from another.
    Text(String),
}

/// The parts of a text that are learned.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrainedSpans {
    /// Byte ranges of the text, in order.
    pub spans: Vec<Range<usize>>,
    /// Whether the text already has all of its special tokens, as a conversation has: none are put around it.
    pub is_bare: bool,
}

/// A text with its label.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Example {
    /// The text, or the first text of a pair.
    pub text: String,
    /// The second text of a pair.
    pub pair: Option<String>,
    /// The byte ranges of the words of the text, if it was read word by word.
    pub words: Vec<Range<usize>>,
    /// The choices, in multiple choice.
    pub choices: Vec<String>,
    /// The label; `None` in data to predict on.
    pub label: Option<Label>,
    /// In causal language modeling, the parts of the text that are learned; all of it by default.
    pub trained: Option<TrainedSpans>,
    /// In preference optimization, the text with the rejected answer; this one has the preferred one.
    pub rejected: Option<Box<Example>>,
    /// The first line of the example in the file, from 1; for examples from other sources, its number from 1.
    pub line: usize,
}

impl Example {
    /// A text without a label.
    pub fn new(text: impl Into<String>, line: usize) -> Self {
        Self { text: text.into(), line, ..Self::default() }
    }

    /// A text of words joined by spaces.
    pub fn of_words<W: AsRef<str>>(words: &[W], line: usize) -> Self {
        let mut example = Self::new("", line);
        for word in words.iter().map(AsRef::as_ref) {
            if !example.words.is_empty() {
                example.text.push(' ');
            }
            let start = example.text.len();
            example.text += word;
            example.words.push(start..example.text.len());
        }
        example
    }

    /// Sets the label.
    pub fn with_label(mut self, label: Label) -> Self {
        self.label = Some(label);
        self
    }

    /// The text, or both texts of a pair.
    pub fn texts(&self) -> Text<'_> {
        Text { text: &self.text, pair: self.pair.as_deref() }
    }
}

/// Labeled texts and their source.
///
/// ```
/// use burn_adapters_train::Dataset;
///
/// let data = Dataset::from_classes("reviews", [("a fine film", "good"), ("a bore", "bad"), ("a joy", "good")]);
/// let head = data.head_config()?;
/// assert_eq!(head.labels(), ["bad", "good"]); // in alphabetical order
///
/// let (train, held_out) = data.split_every(3)?;
/// assert_eq!((train.len(), held_out.len()), (2, 1));
/// # Ok::<(), burn_adapters_train::DataError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    source: String,
    examples: Vec<Example>,
    /// The names of the classes, if they were given.
    names: Option<Vec<String>>,
    /// The number of labels with spaces around them in the file, and the first line of one.
    trimmed: Option<(usize, usize)>,
    /// Notes for the user on how the labels were read.
    read_notes: Vec<String>,
}

impl Dataset {
    /// Reads a file. The format is set by the columns or determined by the extension: `.csv`, `.tsv` or `.tab`,
    /// `.jsonl`, `.ndjson` or `.json` (one object per line), each optionally compressed with gzip (`.csv.gz`).
    ///
    /// # Errors
    /// If the file cannot be read, has no rows, lacks a column or has it twice, or has invalid rows: the error lists
    /// the first [`DataError::SHOWN`] of them, with line and reason.
    ///
    /// ```no_run
    /// use burn_adapters_train::{Columns, Dataset};
    ///
    /// let data = Dataset::read("reviews.csv", &Columns::new("sentence", "label"))?;
    /// # Ok::<(), burn_adapters_train::DataError>(())
    /// ```
    pub fn read(path: impl AsRef<Path>, columns: &Columns) -> Result<Self, DataError> {
        let path = path.as_ref();
        let source = Source::open(path, columns.format)?;
        if columns.format.is_none() && source.format == Format::Lines && columns.label.is_some() {
            return Err(DataError::UnknownFormat { path: path.to_owned() });
        }
        Self::from_source(&source, columns)
    }

    /// Parses the contents of a file or stream.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn from_source(source: &Source, columns: &Columns) -> Result<Self, DataError> {
        Self::parse(&source.name, &source.bytes, source.format, columns)
    }

    /// Parses the bytes of a file; `source` is its name in errors.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn parse(source: &str, bytes: &[u8], format: Format, columns: &Columns) -> Result<Self, DataError> {
        read::parse(source, bytes, format, columns)
    }

    /// A data set of examples from another source; `source` is its name in errors.
    ///
    /// # Errors
    /// If there are no examples.
    pub fn from_examples(source: impl Into<String>, examples: Vec<Example>) -> Result<Self, DataError> {
        let source = source.into();
        if examples.is_empty() {
            return Err(DataError::Empty { source_name: source });
        }
        Ok(Self::new(source, examples))
    }

    fn new(source: impl Into<String>, examples: Vec<Example>) -> Self {
        Self { source: source.into(), examples, names: None, trimmed: None, read_notes: Vec::new() }
    }

    /// A data set of texts with class names, numbered from 1.
    pub fn from_classes<T: Into<String>, L: Into<String>>(
        source: impl Into<String>,
        rows: impl IntoIterator<Item = (T, L)>,
    ) -> Self {
        let examples = rows
            .into_iter()
            .enumerate()
            .map(|(index, (text, label))| Example::new(text, index + 1).with_label(Label::Class(label.into())))
            .collect();
        Self::new(source, examples)
    }

    /// A data set of texts without labels, numbered from 1.
    pub fn from_texts<T: Into<String>>(source: impl Into<String>, texts: impl IntoIterator<Item = T>) -> Self {
        let examples = texts.into_iter().enumerate().map(|(index, text)| Example::new(text, index + 1)).collect();
        Self::new(source, examples)
    }

    /// The name of the source, for messages.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The examples, in the order of the file.
    pub fn examples(&self) -> &[Example] {
        &self.examples
    }

    /// The number of examples.
    pub fn len(&self) -> usize {
        self.examples.len()
    }

    /// Whether there are no examples.
    pub fn is_empty(&self) -> bool {
        self.examples.is_empty()
    }

    /// Replaces every label: a rating by a class, a code by a name. `None` removes the label.
    pub fn map_labels(mut self, mut map: impl FnMut(Label) -> Option<Label>) -> Self {
        for example in &mut self.examples {
            example.label = example.label.take().and_then(&mut map);
        }
        self
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn numbered(count: usize) -> Dataset {
        Dataset::from_classes("n", (0..count).map(|index| (format!("text {index}"), format!("{}", index % 2))))
    }

    fn lines(data: &Dataset) -> Vec<usize> {
        data.examples().iter().map(|example| example.line).collect()
    }

    #[test]
    fn every_tenth_example_from_the_first_is_held_out() {
        let (train, held_out) = numbered(25).split_every(10).unwrap();
        assert_eq!(lines(&held_out), [1, 11, 21]);
        assert_eq!(train.len(), 22);
        assert_eq!(train.examples()[0].line, 2);
    }

    #[test]
    fn a_fraction_is_drawn_from_the_seed_and_keeps_the_order() {
        let (train, held_out) = numbered(100).split_fraction(0.2, 7).unwrap();
        assert_eq!((train.len(), held_out.len()), (80, 20));
        assert!(lines(&held_out).is_sorted() && lines(&train).is_sorted());
        let mut all = [lines(&train), lines(&held_out)].concat();
        all.sort_unstable();
        assert_eq!(all, (1..=100).collect::<Vec<_>>());
        assert_eq!(held_out, numbered(100).split_fraction(0.2, 7).unwrap().1);
        assert_ne!(held_out, numbered(100).split_fraction(0.2, 8).unwrap().1);
    }

    #[test]
    fn a_split_that_leaves_one_part_empty_is_an_error() {
        for fraction in [0.0, 1.0, -0.5, f64::NAN, 0.01, 0.99] {
            assert!(matches!(numbered(10).split_fraction(fraction, 1), Err(DataError::BadSplit { .. })), "{fraction}");
        }
        assert!(numbered(10).split_every(1).is_err());
        assert!(numbered(10).split_every(0).is_err());
        assert!(numbered(1).split_every(2).is_err());
    }

    #[test]
    fn labels_can_be_replaced() {
        let data = numbered(4).map_labels(|label| match label {
            Label::Class(name) if name == "1" => Some(Label::Class("odd".into())),
            _ => None,
        });
        assert_eq!(data.examples()[1].label, Some(Label::Class("odd".into())));
        assert_eq!(data.examples()[2].label, None);
    }
}
