//! Rows of which only parts are learned: which tokens those are.
//!
//! A token is learned if a part of its text is. So a token that stands for the end of a prompt and the beginning of an
//! answer is.

use burn_adapters_heads::Targets;
use burn_adapters_model::{Text, Tokenize, Tokenized};

use super::LanguageRows;
use crate::{DataError, Dataset, Example, Lengths, TextForm, TokenData, TrainError, Truncation, Untrained};

/// The tokens of a text, and which of them are learned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaskedTokens {
    /// The tokens, with the piece of text of each.
    pub tokenized: Tokenized,
    /// For each token, whether it is learned. The first never is: nothing stands before it.
    pub trained: Vec<bool>,
}

impl MaskedTokens {
    /// Tokenizes a text, cut at its end to `max_length` tokens.
    ///
    /// # Errors
    /// If the tokenizer fails, or the text has no token.
    pub fn new(example: &Example, tokenizer: &(impl Tokenize + ?Sized), max_length: usize) -> Result<Self, TrainError> {
        let trained = example.trained.clone().unwrap_or_default();
        let tokenized = if trained.is_bare {
            tokenizer.tokenize_bare(&example.text, max_length).map_err(TrainError::Tokenizer)?
        } else {
            let text = Text { text: &example.text, pair: None };
            let mut found = tokenizer.tokenize_pieces(&[text], max_length).map_err(TrainError::Tokenizer)?;
            found.pop().ok_or_else(|| TrainError::Tokenizer("the tokenizer returned no row for a text".into()))?
        };
        if tokenized.pieces.len() != tokenized.row.ids.len() {
            let message = "parts of texts are learned, but the parts that tokens belong to are unknown";
            return Err(TrainError::Tokenizer(message.into()));
        }
        let overlaps = |start: usize, end: usize| trained.spans.iter().any(|span| span.start < end && start < span.end);
        let mask = tokenized.pieces.iter().enumerate();
        let mask = mask.map(|(at, piece)| at > 0 && piece.is_some_and(|piece| overlaps(piece.start, piece.end)));
        Ok(Self { trained: mask.collect(), tokenized })
    }

    /// The number of tokens that are learned.
    pub fn count(&self) -> usize {
        self.trained.iter().filter(|trained| **trained).count()
    }
}

/// How many rows and tokens of a data set are learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TrainedCounts {
    /// The rows, those without tokens that are learned included.
    pub rows: usize,
    /// Their tokens.
    pub tokens: usize,
    /// The tokens that are learned.
    pub trained: usize,
    /// The rows without tokens that are learned.
    pub untrained_rows: usize,
    /// The rows that were cut.
    pub truncated_rows: usize,
}

/// Whether only parts of the texts are learned.
pub(crate) fn has_spans(data: &Dataset) -> bool {
    data.examples().iter().any(|example| example.trained.is_some())
}

impl TokenData {
    /// The rows that were left out because nothing of them is learned, if there are any.
    pub fn untrained(&self) -> Option<&Untrained> {
        self.untrained.as_ref()
    }

    /// The numbers of rows and tokens, where only parts of texts are learned.
    pub fn counts(&self) -> Option<TrainedCounts> {
        self.counts
    }

    /// Tokenizes texts of which parts are learned. Rows without such tokens are left out, and counted.
    pub(crate) fn with_spans(
        data: &Dataset,
        tokenizer: &(impl Tokenize + ?Sized),
        lengths: Lengths,
    ) -> Result<Self, TrainError> {
        let (mut rows, mut groups, mut wanted, mut targets) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (mut counts, mut cut, mut untrained) = (TrainedCounts::default(), Vec::new(), Vec::new());
        for example in data.examples() {
            let masked = MaskedTokens::new(example, tokenizer, lengths.max_length)?;
            let count = masked.count();
            counts.rows += 1;
            counts.tokens += masked.trained.len();
            counts.trained += count;
            if masked.tokenized.truncated {
                cut.push(example);
            }
            groups.push(rows.len()..rows.len() + usize::from(count > 0));
            if count == 0 {
                untrained.push((example.line, masked.tokenized.truncated));
                continue;
            }
            let row = masked.tokenized.row;
            let learned = || (1..row.ids.len()).filter(|at| masked.trained[*at]);
            // The logits of the token before predict a token.
            wanted.push(learned().map(|at| at - 1).collect());
            targets.push(learned().map(|at| Some(row.ids[at] as usize)).collect());
            rows.push(row);
        }
        (counts.untrained_rows, counts.truncated_rows) = (untrained.len(), cut.len());
        let untrained = Untrained::of(data, &untrained, lengths.max_length);
        if rows.is_empty() {
            let message = untrained.map_or_else(|| "there are no rows".to_owned(), |untrained| untrained.all());
            return Err(DataError::Malformed { source_name: data.source().to_owned(), message }.into());
        }
        let mut tokens = Self::new(data.source(), rows, None)?;
        tokens.truncation = Truncation::of(data, cut.into_iter(), lengths.max_length);
        tokens.untrained = untrained;
        tokens.counts = Some(counts);
        tokens.set_groups(groups, TextForm::Causal, lengths);
        tokens.learn((LanguageRows { wanted, ..LanguageRows::default() }, Targets::Tokens(targets)));
        Ok(tokens)
    }
}
