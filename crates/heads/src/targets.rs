//! The targets of a batch.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use crate::HeadError;

/// The targets of some rows, on the host, where they can be checked without waiting for the device.
///
/// These are forms of targets, not tasks: several tasks may share one.
#[derive(Debug, Clone, PartialEq)]
pub enum Targets {
    /// The number of the correct class, for each row.
    Classes(Vec<usize>),
    /// A target from 0 (no) to 1 (yes) for each label, for each row.
    Sets(Vec<Vec<f32>>),
    /// A number for each row.
    Values(Vec<f32>),
    /// For each token of each row the number of its class; `None` for tokens that are not learned (the reference's
    /// −100): special tokens, and all pieces of a word but its first.
    Tokens(Vec<Vec<Option<usize>>>),
    /// For each row, the first and last token of an answer.
    Spans(Vec<SpanTarget>),
    /// For each row, one of several choices, whether it is the correct one.
    Choices(Vec<ChoiceTarget>),
    /// For each row, the tree of its words.
    Trees(Vec<TreeTarget>),
    /// For each row, one of two answers to a prompt.
    Preferences(Vec<PreferenceTarget>),
}

/// One of the two answers to a prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct PreferenceTarget {
    /// The number of the pair; two rows have the same.
    pub pair: usize,
    /// Whether this is the preferred answer.
    pub chosen: bool,
    /// The tokens of the answer, in order.
    pub tokens: Vec<usize>,
    /// How strongly the answers of the trained model are tied to those of the reference model: β, above 0.
    pub beta: f64,
    /// The log-probability of the answer for the reference model; `None` if it is not computed yet.
    pub reference: Option<f64>,
}

/// The words of a row, each with its head and its relation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TreeTarget {
    /// The tokens of each word.
    pub words: Vec<Range<usize>>,
    /// The head of each word: 0 for the root, otherwise the number of the word from 1; `None` if it is not learned.
    pub heads: Vec<Option<usize>>,
    /// The relation of each word to its head; `None` if it is not learned.
    pub relations: Vec<Option<usize>>,
}

impl TreeTarget {
    /// The words that are learned, each with its head and its relation.
    pub fn learned(&self) -> impl Iterator<Item = (usize, usize, usize)> + '_ {
        let words = self.heads.iter().zip(&self.relations).enumerate();
        words.filter_map(|(word, (head, relation))| Some((word, (*head)?, (*relation)?)))
    }

    /// Checks that a row of this many pairs of tokens has the words, and the head the relations.
    pub(crate) fn check(&self, row: usize, pairs: usize, relations: usize) -> Result<(), HeadError> {
        let tokens = pairs.isqrt();
        let words = self.words.len();
        let outside = |word: &Range<usize>| word.is_empty() || word.end > tokens;
        if self.heads.len() != words || self.relations.len() != words || self.words.iter().any(outside) {
            let expected = format!("words of at most {tokens} tokens in row {row}, each with a head and a relation");
            let found = format!("{words} words, {} heads and {} relations", self.heads.len(), self.relations.len());
            return Err(HeadError::Shape { expected, found });
        }
        if let Some((_, head, _)) = self.learned().find(|(_, head, _)| *head > words) {
            let (expected, found) = (format!("heads from 0 to {words} in row {row}"), head.to_string());
            return Err(HeadError::Shape { expected, found });
        }
        match self.learned().find(|(.., relation)| *relation >= relations) {
            Some((.., label)) => Err(HeadError::LabelOutOfRange { row, label, labels: relations }),
            None => Ok(()),
        }
    }
}

/// The answer in a row: in a question with a context, or with a window of a long context.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SpanTarget {
    /// The first token of the answer. As in the reference, a token outside the row is not learned, and `None` is not
    /// learned either.
    pub start: Option<usize>,
    /// The last token of the answer, inclusive.
    pub end: Option<usize>,
    /// For each token, its byte range in the context; `None` for special tokens and the question. Needed for scores,
    /// not for the loss.
    pub pieces: Vec<Option<Range<usize>>>,
    /// The question, shared by all windows of its context.
    pub question: Arc<Question>,
}

/// The context of a question, and the correct answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Question {
    /// The text that contains the answer.
    pub context: String,
    /// The correct answers; empty if the context does not answer the question.
    pub answers: Vec<String>,
    /// The candidate spans.
    pub rules: AnswerRules,
}

/// The spans of a context that may be predicted as an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerRules {
    /// The maximum number of tokens of an answer.
    pub max_tokens: usize,
    /// Whether a question may have no answer. If so, no answer is predicted if the best span is the first token of a
    /// row (`[CLS]`).
    pub none: bool,
}

impl Default for AnswerRules {
    /// At most 30 tokens; every question has an answer.
    fn default() -> Self {
        Self { max_tokens: 30, none: false }
    }
}

/// One of the choices of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChoiceTarget {
    /// The number of the question; rows with the same number are its choices, in order.
    pub question: usize,
    /// Whether it is the correct choice.
    pub right: bool,
}

impl Targets {
    /// The number of rows.
    pub fn len(&self) -> usize {
        match self {
            Targets::Classes(rows) => rows.len(),
            Targets::Sets(rows) => rows.len(),
            Targets::Values(rows) => rows.len(),
            Targets::Tokens(rows) => rows.len(),
            Targets::Spans(rows) => rows.len(),
            Targets::Choices(rows) => rows.len(),
            Targets::Trees(rows) => rows.len(),
            Targets::Preferences(rows) => rows.len(),
        }
    }

    /// The number of examples, each of which may be several rows: the windows of a context, the choices of a question, or the
    /// two answers of a pair.
    pub fn examples(&self) -> usize {
        match self {
            Targets::Spans(rows) => rows.iter().map(|row| Arc::as_ptr(&row.question)).collect::<BTreeSet<_>>().len(),
            Targets::Choices(rows) => rows.iter().map(|row| row.question).collect::<BTreeSet<_>>().len(),
            Targets::Preferences(rows) => rows.iter().map(|row| row.pair).collect::<BTreeSet<_>>().len(),
            _ => self.len(),
        }
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The form, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Targets::Classes(_) => "one class a row",
            Targets::Sets(_) => "a set of labels a row",
            Targets::Values(_) => "a number a row",
            Targets::Tokens(_) => "a class for each token of a row",
            Targets::Spans(_) => "the tokens that begin and end the answer in a row",
            Targets::Choices(_) => "whether a row is the right choice",
            Targets::Trees(_) => "the heads and the relations of the words of a row",
            Targets::Preferences(_) => "the tokens of an answer in a row, and whether it is preferred",
        }
    }

    /// The targets of these rows, in this order.
    ///
    /// # Panics
    /// If there is no such row.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        fn of<T: Clone>(all: &[T], rows: &[usize]) -> Vec<T> {
            rows.iter().map(|row| all[*row].clone()).collect()
        }
        match self {
            Targets::Classes(all) => Targets::Classes(of(all, rows)),
            Targets::Sets(all) => Targets::Sets(of(all, rows)),
            Targets::Values(all) => Targets::Values(of(all, rows)),
            Targets::Tokens(all) => Targets::Tokens(of(all, rows)),
            Targets::Spans(all) => Targets::Spans(of(all, rows)),
            Targets::Choices(all) => Targets::Choices(of(all, rows)),
            Targets::Trees(all) => Targets::Trees(of(all, rows)),
            Targets::Preferences(all) => Targets::Preferences(of(all, rows)),
        }
    }

    /// The classes of all tokens that have one, and the tokens of answers; nothing for targets of rows.
    pub fn token_classes(&self) -> impl Iterator<Item = usize> + '_ {
        let tokens = if let Targets::Tokens(rows) = self { rows.as_slice() } else { &[] };
        let answers = if let Targets::Preferences(rows) = self { rows.as_slice() } else { &[] };
        let of_answers = answers.iter().flat_map(|row| row.tokens.iter().copied());
        tokens.iter().flatten().flatten().copied().chain(of_answers)
    }

    /// Every target as a whole number, in order: what a fingerprint of the targets is made of. The log-probabilities of the
    /// reference model, which follow from the model, are left out.
    pub fn for_each_bits(&self, mut each: impl FnMut(u64)) {
        match self {
            Targets::Classes(rows) => rows.iter().for_each(|class| each(*class as u64)),
            Targets::Sets(rows) => rows.iter().flatten().for_each(|value| each(value.to_bits().into())),
            Targets::Values(rows) => rows.iter().for_each(|value| each(value.to_bits().into())),
            Targets::Tokens(rows) => {
                rows.iter().flatten().for_each(|class| each(class.map_or(u64::MAX, |class| class as u64)));
            }
            Targets::Spans(rows) => {
                let ends = rows.iter().flat_map(|row| [row.start, row.end]);
                ends.for_each(|token| each(token.map_or(u64::MAX, |token| token as u64)));
            }
            Targets::Choices(rows) => rows.iter().for_each(|row| each(2 * row.question as u64 + u64::from(row.right))),
            Targets::Trees(rows) => {
                let of_row = |row: &TreeTarget| {
                    let words = row.words.iter().flat_map(|word| [word.start, word.end]).map(Some).collect::<Vec<_>>();
                    words.into_iter().chain(row.heads.clone()).chain(row.relations.clone()).collect::<Vec<_>>()
                };
                rows.iter().flat_map(of_row).for_each(|value| each(value.map_or(u64::MAX, |value| value as u64)));
            }
            Targets::Preferences(rows) => rows.iter().for_each(|row| {
                each(2 * row.pair as u64 + u64::from(row.chosen));
                each(row.tokens.len() as u64);
                row.tokens.iter().for_each(|token| each(*token as u64));
            }),
        }
    }
}
