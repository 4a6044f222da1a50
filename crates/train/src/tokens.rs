//! Tokenized data sets.

use std::collections::BTreeMap;

use burn_adapters_heads::{HeadConfig, Targets};
use burn_adapters_model::{Piece, Row, Text, TokenBatch, Tokenize, Tokenized};

use crate::tasks::tagging::first_pieces;
use crate::{DataError, Dataset, Example, TrainError, train_task};

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
        max_length: usize,
    ) -> Result<Self, TrainError> {
        let mut tokens = Self::unlabeled(data, train_task(head).reads_words(), tokenizer, max_length)?;
        tokens.labels = tokens.targets(data, head)?;
        Ok(tokens)
    }

    /// [`tokenize`](Self::tokenize) without labels. With `pieces`, the piece of text of each token is stored.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn unlabeled(
        data: &Dataset,
        pieces: bool,
        tokenizer: &(impl Tokenize + ?Sized),
        max_length: usize,
    ) -> Result<Self, TrainError> {
        let texts: Vec<Text<'_>> = data.examples().iter().map(Example::texts).collect();
        let tokenized = match pieces {
            true => tokenizer.tokenize_pieces(&texts, max_length),
            false => tokenizer.tokenize(&texts, max_length),
        };
        let tokenized = tokenized.map_err(TrainError::Tokenizer)?;
        if tokenized.len() != data.len() {
            let message = format!("the tokenizer returned {} rows for {} texts", tokenized.len(), data.len());
            return Err(TrainError::Tokenizer(message.into()));
        }
        let (cut_off, lost_words) = missing_words(data, &tokenized);
        let mut cut = tokenized.iter().zip(data.examples()).filter(|(text, _)| text.truncated);
        let truncation = cut.next().map(|(_, first)| Truncation {
            source: data.source().to_owned(),
            texts: cut.count() + 1,
            of: data.len(),
            first_line: first.line,
            max_length,
            words: cut_off,
        });
        let (mut rows, mut all_pieces) = (Vec::with_capacity(data.len()), Vec::new());
        for text in tokenized {
            if pieces {
                all_pieces.push(text.pieces);
            }
            rows.push(text.row);
        }
        Ok(Self { truncation, lost_words, pieces: all_pieces, ..Self::new(data.source(), rows, None)? })
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
        if task.reads_words() && self.pieces.len() != data.len() {
            let message = "words have labels, but it is unknown which words the tokens belong to";
            return Err(TrainError::Tokenizer(message.into()));
        }
        Ok(Some(task.targets(data, head, &self.pieces)?))
    }

    /// A subset of the rows, without labels.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        let pieces = rows.iter().filter_map(|row| self.pieces.get(*row).cloned()).collect();
        Self {
            source: self.source.clone(),
            rows: rows.iter().map(|row| self.rows[*row].clone()).collect(),
            labels: None,
            head_labels: BTreeMap::new(),
            truncation: None,
            pieces,
            lost_words: None,
        }
    }

    /// The piece of text of each token of a row, if it is known.
    pub fn pieces(&self, row: usize) -> &[Option<Piece>] {
        self.pieces.get(row).map_or(&[], Vec::as_slice)
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
        Ok(Self { source, rows, labels, head_labels, truncation: None, pieces, lost_words: None })
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

    /// The number of texts.
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

/// The number of words that were cut off, and the words that the tokenizer drops.
fn missing_words(data: &Dataset, tokenized: &[Tokenized]) -> (usize, Option<LostWords>) {
    let mut cut_off = 0;
    let mut lost: Option<LostWords> = None;
    for (example, text) in data.examples().iter().zip(tokenized).filter(|(_, text)| !text.pieces.is_empty()) {
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
