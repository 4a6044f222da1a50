//! Tokenized data sets.

use std::collections::BTreeMap;
use std::ops::Range;

use burn_adapters_heads::{AnswerRules, ChoiceTarget, HeadConfig, Targets};
use burn_adapters_model::{Piece, Row, Text, Tokenize, Tokenized};

use crate::language::{LanguageRows, TrainedCounts, check_targets, has_spans, no_mask, nothing_to_predict};
use crate::notes::missing_words;
use crate::{
    DataError, Dataset, Example, LostWords, TextForm, TrainError, Truncation, Unpreferred, Untrained, train_task,
};

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
    /// The maximum number of tokens of a target text.
    pub max_target_length: usize,
}

impl From<usize> for Lengths {
    fn from(max_length: usize) -> Self {
        Self { max_length, overlap: 128, answers: AnswerRules::default(), max_target_length: 128 }
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
    pub(crate) rows: Vec<Row>,
    pub(crate) labels: Option<Targets>,
    /// Labels of single heads that have their own.
    head_labels: BTreeMap<String, Targets>,
    pub(crate) truncation: Option<Truncation>,
    /// The target texts that were truncated.
    pub(crate) target_truncation: Option<Truncation>,
    /// For each row, the pieces of its text, if they were requested.
    pieces: Vec<Vec<Option<Piece>>>,
    lost_words: Option<LostWords>,
    /// The rows that were left out because nothing of them is learned.
    pub(crate) untrained: Option<Untrained>,
    /// The pairs of answers that were left out because nothing can be learned of them.
    pub(crate) unpreferred: Option<Unpreferred>,
    /// The numbers of tokens, where only parts of texts are learned.
    pub(crate) counts: Option<TrainedCounts>,
    /// The rows of each example; empty if each example is one row.
    groups: Vec<Range<usize>>,
    pub(crate) form: TextForm,
    lengths: Lengths,
    pub(crate) language: LanguageRows,
}

impl TokenData {
    /// Tokenizes a data set, and converts its labels to `head`'s label numbers. In masked language modeling, tokens are
    /// masked.
    ///
    /// # Errors
    /// If a label is not one of the head's, the tokenizer fails, or there is no token to predict.
    pub fn tokenize(
        data: &Dataset,
        head: &HeadConfig,
        tokenizer: &(impl Tokenize + ?Sized),
        lengths: impl Into<Lengths>,
    ) -> Result<Self, TrainError> {
        let form = train_task(head).form();
        if form == TextForm::Masked {
            let masks = tokenizer.mask_tokens().ok_or_else(|| no_mask(data))?;
            return Self::rows_of(data, form, true, tokenizer, lengths.into())?.masked(masks);
        }
        let mut tokens = Self::unlabeled(data, form, tokenizer, lengths)?;
        tokens.labels = tokens.targets(data, head)?;
        Ok(tokens)
    }

    /// [`tokenize`](Self::tokenize) without labels. Unless the form is [`TextForm::Whole`], the piece of text of each token
    /// is stored. In masked language modeling, the tokens to predict are the mask tokens in the texts.
    ///
    /// # Errors
    /// If the tokenizer fails, a question has no context, a text no target, or there is no token to predict.
    pub fn unlabeled(
        data: &Dataset,
        form: TextForm,
        tokenizer: &(impl Tokenize + ?Sized),
        lengths: impl Into<Lengths>,
    ) -> Result<Self, TrainError> {
        if form == TextForm::Preferences {
            return Self::with_preferences(data, tokenizer, lengths.into());
        }
        if form == TextForm::Causal && has_spans(data) {
            return Self::with_spans(data, tokenizer, lengths.into());
        }
        let mut new = Self::rows_of(data, form, form == TextForm::Causal, tokenizer, lengths.into())?;
        match form {
            TextForm::Causal => new.learn(LanguageRows::causal(&new.rows)),
            TextForm::Target => new.add_targets(data, tokenizer)?,
            TextForm::Masked => {
                let masks = tokenizer.mask_tokens().ok_or_else(|| no_mask(data))?;
                new.language = LanguageRows::masks_of(&new.rows, masks.mask);
            }
            _ => {}
        }
        Ok(new)
    }

    /// The rows alone. With `divide`, a text that is too long is several rows instead of truncated.
    fn rows_of(
        data: &Dataset,
        form: TextForm,
        divide: bool,
        tokenizer: &(impl Tokenize + ?Sized),
        lengths: Lengths,
    ) -> Result<Self, TrainError> {
        let Lengths { max_length, overlap, .. } = lengths;
        let texts: Vec<Text<'_>> = data.examples().iter().map(Example::texts).collect();
        if form == TextForm::Target {
            check_targets(data)?;
        }
        let single = |texts: Vec<Tokenized>| texts.into_iter().map(|text| vec![text]).collect::<Vec<_>>();
        let tokenized = match form {
            _ if divide => tokenizer.tokenize_parts(&texts, max_length),
            TextForm::Whole | TextForm::Target | TextForm::Masked | TextForm::Causal | TextForm::Preferences => {
                tokenizer.tokenize(&texts, max_length).map(single)
            }
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
        let cut = tokenized.iter().zip(data.examples()).filter(|(rows, _)| is_cut(rows)).map(|(_, example)| example);
        let truncation = Truncation::of(data, cut, max_length).map(|cut| Truncation { words: cut_off, ..cut });
        let (mut rows, mut all_pieces, mut groups) = (Vec::with_capacity(data.len()), Vec::new(), Vec::new());
        for mut text in tokenized {
            // From a single token nothing can be predicted.
            text.retain(|part| form != TextForm::Causal || part.row.ids.len() > 1);
            if matches!(form, TextForm::Windows | TextForm::Choices | TextForm::Masked | TextForm::Causal) {
                groups.push(rows.len()..rows.len() + text.len());
            }
            for row in text {
                if matches!(form, TextForm::Words | TextForm::Windows) {
                    all_pieces.push(row.pieces);
                }
                rows.push(row.row);
            }
        }
        if rows.is_empty() && !data.is_empty() {
            return Err(nothing_to_predict(data.source()));
        }
        let new = Self::new(data.source(), rows, None)?;
        Ok(Self { truncation, lost_words, pieces: all_pieces, groups, form, lengths, ..new })
    }

    /// The labels of the data set of these tokens, as targets of a head; `None` if it has no labels.
    ///
    /// # Errors
    /// If a label is not one of the head's, or words have labels but the [`pieces`](Self::pieces) are unknown.
    pub fn targets(&self, data: &Dataset, head: &HeadConfig) -> Result<Option<Targets>, TrainError> {
        if self.form.is_language() && train_task(head).form() == self.form {
            return Ok(self.labels.clone());
        }
        if data.examples().iter().all(|example| example.label.is_none()) {
            return Ok(None);
        }
        let task = train_task(head);
        if matches!(task.form(), TextForm::Words | TextForm::Windows) && self.pieces.len() != self.len() {
            let message = "parts of texts have labels, but the parts that tokens belong to are unknown";
            return Err(TrainError::Tokenizer(message.into()));
        }
        let grouped = |form: TextForm| matches!(form, TextForm::Windows | TextForm::Choices) || form.is_language();
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

    /// A subset of the rows, in their order, without labels (but for those of language modeling). Rows of one example stay
    /// one example.
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
            labels: self.labels.as_ref().filter(|_| self.form.is_language()).map(|labels| labels.select(rows)),
            head_labels: BTreeMap::new(),
            truncation: None,
            target_truncation: None,
            pieces,
            lost_words: None,
            untrained: None,
            unpreferred: None,
            counts: None,
            groups,
            form: self.form,
            lengths: self.lengths,
            language: self.language.select(rows),
        }
    }

    /// The same examples with other rows, without labels of the data.
    pub(crate) fn with_rows(&self, rows: Vec<Row>) -> Self {
        let (head_labels, groups) = (self.head_labels.clone(), self.groups.clone());
        Self { rows, labels: None, head_labels, groups, ..self.select(&[]) }
    }

    /// Sets the rows of each example, and how they came to be.
    pub(crate) fn set_groups(&mut self, groups: Vec<Range<usize>>, form: TextForm, lengths: Lengths) {
        (self.groups, self.form, self.lengths) = (groups, form, lengths);
    }

    /// How examples became rows.
    pub fn form(&self) -> TextForm {
        self.form
    }

    /// In language modeling, the numbers of the tokens of a row whose logits are needed, in order; `None` if they are those
    /// of all tokens.
    pub fn wanted(&self, row: usize) -> Option<&[usize]> {
        self.language.wanted.get(row).map(Vec::as_slice)
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

    /// What is put into batches as a whole: the choices of a question, the answers of a pair, otherwise a row.
    fn units(&self) -> Vec<Range<usize>> {
        if self.form.keeps_together() {
            // Examples that were left out have no rows.
            self.groups.iter().filter(|group| !group.is_empty()).cloned().collect()
        } else {
            (0..self.len()).map(|row| row..row + 1).collect()
        }
    }

    /// The number of what is put into batches as a whole.
    pub(crate) fn unit_count(&self) -> usize {
        self.units().len()
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
            target_truncation: None,
            pieces,
            lost_words: None,
            untrained: None,
            unpreferred: None,
            counts: None,
            groups,
            form,
            lengths,
            language: LanguageRows::default(),
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

    /// The truncated target texts, if there are any.
    pub fn target_truncation(&self) -> Option<&Truncation> {
        self.target_truncation.as_ref()
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
