//! Tokenized data sets.

use std::collections::BTreeMap;
use std::ops::Range;

use burn_adapters_heads::{AnswerRules, ChoiceTarget, HeadConfig, Targets};
use burn_adapters_model::{Piece, Row, Text, TokenBatch, Tokenize, Tokenized};

use crate::tasks::tagging::first_pieces;
use crate::{DataError, Dataset, Example, TextForm, TrainError, train_task};

/// The maximum length of rows, and how longer contexts are divided.
///
/// ```
/// use burn_adapters_train::Lengths;
///
/// assert_eq!(Lengths::from(384).overlap, 128);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lengths {
    /// The maximum number of tokens per row.
    pub max_length: usize,
    /// In question answering, the number of context tokens that neighboring windows share, at most half a window.
    pub overlap: usize,
    /// In question answering, the spans that may be an answer.
    pub answers: AnswerRules,
}

impl From<usize> for Lengths {
    fn from(max_length: usize) -> Self {
        Self { max_length, overlap: 128, answers: AnswerRules::default() }
    }
}

/// The texts of a data set that were truncated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truncation {
    /// The data set.
    pub source: String,
    /// The number of truncated texts.
    pub texts: usize,
    /// The number of texts.
    pub of: usize,
    /// The line of the first of them.
    pub first_line: usize,
    /// The maximum length in tokens.
    pub max_length: usize,
    /// For token-level tasks, the number of words that were cut off.
    pub words: usize,
}

impl std::fmt::Display for Truncation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { source, texts, of, first_line, max_length, words } = self;
        write!(
            f,
            "{source}: {texts} of {of} texts are longer than {max_length} tokens and were cut (the first on line {first_line})"
        )?;
        if *words > 0 {
            write!(f, "; {words} words with their labels were cut off")?;
        }
        Ok(())
    }
}

/// Labeled words that the tokenizer drops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostWords {
    /// The data set.
    pub source: String,
    /// The number of words.
    pub words: usize,
    /// The first word.
    pub first: String,
    /// The first line of its text.
    pub first_line: usize,
}

impl std::fmt::Display for LostWords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { source, words, first, first_line } = self;
        write!(
            f,
            "{source}: the tokenizer makes no token of {words} words (the first, `{}`, on line {first_line}): they are \
             neither learned nor scored",
            first.escape_debug()
        )
    }
}

/// Tokenized texts with labels: the input of training, evaluation and prediction.
///
/// ```
/// use burn_adapters_train::{Dataset, Row, TokenData, Tokenized};
///
/// let data = Dataset::from_classes("d", [("a b c", "x"), ("d", "y")]);
/// let words = |text: &str, max_length: usize| {
///     let ids: Vec<u32> = text.split(' ').map(|word| u32::from(word.as_bytes()[0])).collect();
///     let truncated = ids.len() > max_length;
///     Tokenized::new(Row::new(ids.into_iter().take(max_length).collect()), truncated)
/// };
/// let tokens = TokenData::tokenize(&data, &data.head_config()?, &words, 2)?;
/// assert_eq!(tokens.rows()[0].ids, [97, 98]);
/// assert_eq!(tokens.truncation().map(|cut| cut.texts), Some(1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct TokenData {
    source: String,
    rows: Vec<Row>,
    labels: Option<Targets>,
    /// Labels of single heads that have their own.
    head_labels: BTreeMap<String, Targets>,
    truncation: Option<Truncation>,
    /// For each row, the pieces of its text, if they were requested.
    pieces: Vec<Vec<Option<Piece>>>,
    lost_words: Option<LostWords>,
    /// The rows of each example; empty if each example is one row.
    groups: Vec<Range<usize>>,
    form: TextForm,
    lengths: Lengths,
}

impl TokenData {
    /// Tokenizes a data set, and converts its labels to `head`'s label numbers.
    ///
    /// # Errors
    /// If a label is not one of the head's, or the tokenizer fails.
    pub fn tokenize(
        data: &Dataset,
        head: &HeadConfig,
        tokenizer: &(impl Tokenize + ?Sized),
        lengths: impl Into<Lengths>,
    ) -> Result<Self, TrainError> {
        let mut tokens = Self::unlabeled(data, train_task(head).form(), tokenizer, lengths)?;
        tokens.labels = tokens.targets(data, head)?;
        Ok(tokens)
    }

    /// [`tokenize`](Self::tokenize) without labels. Unless the form is [`TextForm::Whole`], the piece of text of each token
    /// is stored.
    ///
    /// # Errors
    /// If the tokenizer fails, or a question has no context.
    pub fn unlabeled(
        data: &Dataset,
        form: TextForm,
        tokenizer: &(impl Tokenize + ?Sized),
        lengths: impl Into<Lengths>,
    ) -> Result<Self, TrainError> {
        let lengths @ Lengths { max_length, overlap, .. } = lengths.into();
        let texts: Vec<Text<'_>> = data.examples().iter().map(Example::texts).collect();
        let single = |texts: Vec<Tokenized>| texts.into_iter().map(|text| vec![text]).collect::<Vec<_>>();
        let tokenized = match form {
            TextForm::Whole => tokenizer.tokenize(&texts, max_length).map(single),
            TextForm::Words => tokenizer.tokenize_pieces(&texts, max_length).map(single),
            TextForm::Windows => {
                if let Some(example) = data.examples().iter().find(|example| example.pair.is_none()) {
                    let message = format!("line {}: the question has no context", example.line);
                    return Err(DataError::Malformed { source_name: data.source().to_owned(), message }.into());
                }
                tokenizer.tokenize_windows(&texts, max_length, overlap)
            }
            TextForm::Choices => {
                check_choices(data)?;
                let choices = data.examples().iter().flat_map(|example| {
                    example.choices.iter().map(|choice| Text { text: &example.text, pair: Some(choice) })
                });
                tokenizer.tokenize(&choices.collect::<Vec<_>>(), max_length).map(|rows| {
                    let mut rows = rows.into_iter();
                    data.examples().iter().map(|example| rows.by_ref().take(example.choices.len()).collect()).collect()
                })
            }
        };
        let tokenized = tokenized.map_err(TrainError::Tokenizer)?;
        if tokenized.len() != data.len() || tokenized.iter().any(Vec::is_empty) {
            let message = format!("the tokenizer returned {} rows for {} texts", tokenized.len(), data.len());
            return Err(TrainError::Tokenizer(message.into()));
        }
        let first = tokenized.iter().filter_map(|rows| rows.first());
        let (cut_off, lost_words) = missing_words(data, first);
        let is_cut = |rows: &[Tokenized]| match form {
            TextForm::Choices => rows.iter().any(|row| row.truncated),
            _ => rows.first().is_some_and(|row| row.truncated),
        };
        let mut cut = tokenized.iter().zip(data.examples()).filter(|(rows, _)| is_cut(rows));
        let truncation = cut.next().map(|(_, first)| Truncation {
            source: data.source().to_owned(),
            texts: cut.count() + 1,
            of: data.len(),
            first_line: first.line,
            max_length,
            words: cut_off,
        });
        let (mut rows, mut all_pieces, mut groups) = (Vec::with_capacity(data.len()), Vec::new(), Vec::new());
        for text in tokenized {
            if matches!(form, TextForm::Windows | TextForm::Choices) {
                groups.push(rows.len()..rows.len() + text.len());
            }
            for row in text {
                if matches!(form, TextForm::Words | TextForm::Windows) {
                    all_pieces.push(row.pieces);
                }
                rows.push(row.row);
            }
        }
        let new = Self::new(data.source(), rows, None)?;
        Ok(Self { truncation, lost_words, pieces: all_pieces, groups, form, lengths, ..new })
    }

    /// The labels of the data set of these tokens, as targets of a head; `None` if it has no labels.
    ///
    /// # Errors
    /// If a label is not one of the head's, or words have labels but the [`pieces`](Self::pieces) are unknown.
    pub fn targets(&self, data: &Dataset, head: &HeadConfig) -> Result<Option<Targets>, TrainError> {
        if data.examples().iter().all(|example| example.label.is_none()) {
            return Ok(None);
        }
        let task = train_task(head);
        if matches!(task.form(), TextForm::Words | TextForm::Windows) && self.pieces.len() != self.len() {
            let message = "parts of texts have labels, but the parts that tokens belong to are unknown";
            return Err(TrainError::Tokenizer(message.into()));
        }
        let grouped = |form| matches!(form, TextForm::Windows | TextForm::Choices);
        let differs = (grouped(task.form()) || grouped(self.form)) && task.form() != self.form;
        if self.examples().count() != data.len() || differs {
            let message = format!(
                "{} examples of {} were tokenized for another task than {}: heads that share texts must read them in \
                 the same way",
                self.examples().count(),
                self.source,
                task.task()
            );
            return Err(TrainError::Tokenizer(message.into()));
        }
        Ok(Some(task.row_targets(data, head, self)?))
    }

    /// A subset of the rows, in their order, without labels. Rows of one example stay one example.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        let pieces = rows.iter().filter_map(|row| self.pieces.get(*row).cloned()).collect();
        let mut groups: Vec<Range<usize>> = Vec::new();
        if !self.groups.is_empty() {
            let mut before = None;
            for (index, row) in rows.iter().enumerate() {
                let example = Some(self.example_of(*row));
                match groups.last_mut() {
                    Some(group) if example == before => group.end = index + 1,
                    _ => groups.push(index..index + 1),
                }
                before = example;
            }
        }
        Self {
            source: self.source.clone(),
            rows: rows.iter().map(|row| self.rows[*row].clone()).collect(),
            labels: None,
            head_labels: BTreeMap::new(),
            truncation: None,
            pieces,
            lost_words: None,
            groups,
            form: self.form,
            lengths: self.lengths,
        }
    }

    /// The rows of each example, in order: one, or several in question answering.
    pub fn examples(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        let single = if self.groups.is_empty() { self.rows.len() } else { 0 };
        self.groups.iter().cloned().chain((0..single).map(|row| row..row + 1))
    }

    /// The number of the example that a row belongs to.
    pub fn example_of(&self, row: usize) -> usize {
        if self.groups.is_empty() { row } else { self.groups.partition_point(|group| group.end <= row) }
    }

    /// Whether the rows are windows of contexts, with their questions.
    pub fn is_windowed(&self) -> bool {
        self.form == TextForm::Windows
    }

    /// Whether an example may be several rows.
    pub fn is_grouped(&self) -> bool {
        !self.groups.is_empty()
    }

    /// What is put into batches as a whole: the choices of a question, otherwise a row.
    fn units(&self) -> Vec<Range<usize>> {
        if self.form == TextForm::Choices {
            self.groups.clone()
        } else {
            (0..self.len()).map(|row| row..row + 1).collect()
        }
    }

    /// The number of what is put into batches as a whole.
    pub(crate) fn unit_count(&self) -> usize {
        if self.form == TextForm::Choices { self.groups.len() } else { self.len() }
    }

    /// Batches of rows, from the lengths of what is put into batches as a whole.
    pub(crate) fn batches(&self, make: impl FnOnce(&[usize]) -> Vec<Vec<usize>>) -> Vec<Vec<usize>> {
        let (units, lengths) = (self.units(), self.lengths());
        let longest = |unit: &Range<usize>| lengths[unit.clone()].iter().copied().max().unwrap_or(0);
        let batches = make(&units.iter().map(longest).collect::<Vec<_>>());
        batches.into_iter().map(|batch| batch.into_iter().flat_map(|unit| units[unit].clone()).collect()).collect()
    }

    /// How long rows may be.
    pub fn limits(&self) -> Lengths {
        self.lengths
    }

    /// The piece of text of each token of a row, if it is known.
    pub fn pieces(&self, row: usize) -> &[Option<Piece>] {
        self.pieces.get(row).map_or(&[], Vec::as_slice)
    }

    /// The pieces of text of the tokens of all rows, if they are known.
    pub fn all_pieces(&self) -> &[Vec<Option<Piece>>] {
        &self.pieces
    }

    /// The words that the tokenizer drops, if there are any.
    pub fn lost_words(&self) -> Option<&LostWords> {
        self.lost_words.as_ref()
    }

    /// Tokens from another source; `source` is its name in messages.
    ///
    /// # Errors
    /// If there are no rows, a row has no tokens, the segments of a row do not fit its tokens, or there is not one
    /// label per row.
    pub fn new(source: impl Into<String>, rows: Vec<Row>, labels: Option<Targets>) -> Result<Self, TrainError> {
        let source = source.into();
        if rows.is_empty() {
            return Err(DataError::Empty { source_name: source }.into());
        }
        let bad = |row: &Row| row.ids.is_empty() || row.token_type_ids.len() != row.ids.len();
        if let Some(row) = rows.iter().position(bad) {
            return Err(TrainError::BadRow { source_name: source, row });
        }
        if let Some(labels) = labels.as_ref().filter(|labels| labels.len() != rows.len()) {
            return Err(TrainError::LabelCount { source_name: source, rows: rows.len(), labels: labels.len() });
        }
        let (head_labels, pieces) = (BTreeMap::new(), Vec::new());
        let (groups, form) = match &labels {
            Some(Targets::Choices(choices)) => (choice_groups(choices), TextForm::Choices),
            _ => (Vec::new(), TextForm::Whole),
        };
        let lengths = Lengths::from(usize::MAX);
        Ok(Self {
            source,
            rows,
            labels,
            head_labels,
            truncation: None,
            pieces,
            lost_words: None,
            groups,
            form,
            lengths,
        })
    }

    /// Sets the labels of one head, if several heads are trained or evaluated on the same texts.
    ///
    /// # Errors
    /// If there is not one label per row.
    pub fn with_head_labels(mut self, head: impl Into<String>, labels: Targets) -> Result<Self, TrainError> {
        if labels.len() != self.len() {
            return Err(TrainError::LabelCount {
                source_name: self.source,
                rows: self.rows.len(),
                labels: labels.len(),
            });
        }
        self.head_labels.insert(head.into(), labels);
        Ok(self)
    }

    /// The name of the source.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The tokens of each text.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The labels, if there are any.
    pub fn labels(&self) -> Option<&Targets> {
        self.labels.as_ref()
    }

    /// The labels that a head learns: its own, or by default those of the data.
    pub fn labels_of(&self, head: &str) -> Option<&Targets> {
        self.head_labels.get(head).or(self.labels.as_ref())
    }

    /// The labels of the data, and of each head that has its own.
    pub(crate) fn all_labels(&self) -> impl Iterator<Item = &Targets> {
        self.labels.iter().chain(self.head_labels.values())
    }

    /// The number of rows: of texts, in question answering of the windows of their contexts, or of choices.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are no texts.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The truncated texts, if there are any.
    pub fn truncation(&self) -> Option<&Truncation> {
        self.truncation.as_ref()
    }

    /// A batch of these rows.
    pub(crate) fn batch(&self, indices: &[usize]) -> TokenBatch {
        TokenBatch::from_rows(indices.iter().map(|index| &self.rows[*index]))
    }

    /// The number of tokens of each row.
    pub(crate) fn lengths(&self) -> Vec<usize> {
        self.rows.iter().map(|row| row.ids.len()).collect()
    }
}

/// Checks that every example has choices.
fn check_choices(data: &Dataset) -> Result<(), DataError> {
    let Some(example) = data.examples().iter().find(|example| example.choices.is_empty()) else { return Ok(()) };
    let message = format!("line {}: the text has no choices", example.line);
    Err(DataError::Malformed { source_name: data.source().to_owned(), message })
}

/// The rows of each question.
fn choice_groups(choices: &[ChoiceTarget]) -> Vec<Range<usize>> {
    let mut start = 0;
    let groups = choices.chunk_by(|a, b| a.question == b.question);
    let range = |group: &[ChoiceTarget]| {
        start += group.len();
        start - group.len()..start
    };
    groups.map(range).collect()
}

/// The number of words that were cut off, and the words that the tokenizer drops.
fn missing_words<'a>(data: &Dataset, tokenized: impl Iterator<Item = &'a Tokenized>) -> (usize, Option<LostWords>) {
    let mut cut_off = 0;
    let mut lost: Option<LostWords> = None;
    let has_words = |(_, text): &(&Example, &Tokenized)| !text.pieces.is_empty();
    for (example, text) in data.examples().iter().zip(tokenized).filter(has_words) {
        let end = text.pieces.iter().flatten().map(|piece| piece.end).max().unwrap_or(0);
        let first = first_pieces(example, &text.pieces);
        for (word, _) in example.words.iter().zip(first).filter(|(_, token)| token.is_none()) {
            if text.truncated && word.start >= end {
                cut_off += 1;
                continue;
            }
            let new = || LostWords {
                source: data.source().to_owned(),
                words: 0,
                first: example.text[word.clone()].to_owned(),
                first_line: example.line,
            };
            lost.get_or_insert_with(new).words += 1;
        }
    }
    (cut_off, lost)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_labels_that_do_not_fit_are_errors() {
        let row = || Row::new(vec![1]);
        assert!(TokenData::new("d", vec![], None).is_err());
        assert!(TokenData::new("d", vec![row(), Row::new(vec![])], None).is_err());
        assert!(TokenData::new("d", vec![row()], Some(Targets::Classes(vec![0, 1]))).is_err());
        let segments = Row { ids: vec![1, 2], token_type_ids: vec![0] };
        assert!(TokenData::new("d", vec![segments], None).is_err());
    }
}
