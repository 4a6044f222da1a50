//! What tokenization loses: texts that were truncated, and words that the tokenizer drops.

use burn_adapters_model::Tokenized;

use crate::tasks::tagging::first_pieces;
use crate::{Dataset, Example};

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

impl Truncation {
    /// That of these examples of a data set; `None` if there are none.
    pub(crate) fn of<'a>(
        data: &Dataset,
        mut cut: impl Iterator<Item = &'a Example>,
        max_length: usize,
    ) -> Option<Self> {
        let first = cut.next()?;
        let (source, first_line) = (data.source().to_owned(), first.line);
        Some(Self { source, texts: cut.count() + 1, of: data.len(), first_line, max_length, words: 0 })
    }
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

/// The rows of a data set of which no token is learned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Untrained {
    /// The data set.
    pub source: String,
    /// The number of such rows.
    pub rows: usize,
    /// The number of them that were cut before the first part that is learned.
    pub cut: usize,
    /// The number of rows of the data set.
    pub of: usize,
    /// The line of the first of them.
    pub first_line: usize,
    /// The maximum length in tokens.
    pub max_length: usize,
}

impl Untrained {
    /// That of these rows, each with its line and whether it was cut; `None` if there are none.
    pub(crate) fn of(data: &Dataset, rows: &[(usize, bool)], max_length: usize) -> Option<Self> {
        let (first_line, _) = *rows.first()?;
        let (source, cut) = (data.source().to_owned(), rows.iter().filter(|(_, cut)| *cut).count());
        Some(Self { source, rows: rows.len(), cut, of: data.len(), first_line, max_length })
    }

    /// The error if these are all rows.
    pub(crate) fn all(&self) -> String {
        let Self { of, cut, max_length, first_line, .. } = self;
        let why = match cut {
            0 => format!("the first, on line {first_line}, has no part that is learned (an answer of the assistant)"),
            cut => format!("{cut} of them were cut to {max_length} tokens before it: raise the maximum length"),
        };
        format!("no token of any of the {of} rows is learned: {why}")
    }
}

impl std::fmt::Display for Untrained {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { source, rows, cut, of, first_line, max_length } = self;
        write!(
            f,
            "{source}: {rows} of {of} rows have no token that is learned and are left out (the first on line {first_line})"
        )?;
        if *cut > 0 {
            write!(f, "; {cut} of them were cut to {max_length} tokens before it")?;
        }
        Ok(())
    }
}

/// The pairs of answers of a data set of which nothing can be learned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpreferred {
    /// The data set.
    pub source: String,
    /// The number of pairs with an answer without tokens.
    pub empty: usize,
    /// The number of pairs with two answers of the same tokens.
    pub equal: usize,
    /// The number of these pairs that were cut.
    pub cut: usize,
    /// The number of pairs of the data set.
    pub of: usize,
    /// The line of the first of these pairs.
    pub first_line: usize,
    /// The maximum length in tokens.
    pub max_length: usize,
}

impl Unpreferred {
    /// Without any pair yet.
    pub(crate) fn new(data: &Dataset, max_length: usize) -> Self {
        let (source, of) = (data.source().to_owned(), data.len());
        Self { source, empty: 0, equal: 0, cut: 0, of, first_line: 0, max_length }
    }

    /// Counts a pair with an empty answer, or with equal ones.
    pub(crate) fn add(&mut self, example: &Example, is_empty: bool, is_cut: bool) {
        if self.pairs() == 0 {
            self.first_line = example.line;
        }
        *(if is_empty { &mut self.empty } else { &mut self.equal }) += 1;
        self.cut += usize::from(is_cut);
    }

    /// The number of pairs.
    pub fn pairs(&self) -> usize {
        self.empty + self.equal
    }

    /// These, if there are any.
    pub(crate) fn found(self) -> Option<Self> {
        (self.pairs() > 0).then_some(self)
    }

    /// The error if these are all pairs.
    pub(crate) fn all(&self) -> String {
        let advice = if self.cut > 0 { ": raise the maximum length" } else { "" };
        format!("nothing can be learned of any of the {} pairs: {}{advice}", self.of, self.reasons())
    }

    fn reasons(&self) -> String {
        let Self { empty, equal, cut, max_length, .. } = self;
        let mut reasons = Vec::new();
        if *empty > 0 {
            reasons.push(format!("{empty} have an answer without tokens"));
        }
        if *equal > 0 {
            reasons.push(format!("{equal} have two answers of the same tokens"));
        }
        if *cut > 0 {
            reasons.push(format!("{cut} of them were cut to {max_length} tokens"));
        }
        reasons.join(", ")
    }
}

impl std::fmt::Display for Unpreferred {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { source, of, first_line, .. } = self;
        let (pairs, reasons) = (self.pairs(), self.reasons());
        write!(f, "{source}: {pairs} of {of} pairs are left out (the first on line {first_line}): {reasons}")
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

/// The number of words that were cut off, and the words that the tokenizer drops.
pub(crate) fn missing_words<'a>(
    data: &Dataset,
    tokenized: impl Iterator<Item = &'a Tokenized>,
) -> (usize, Option<LostWords>) {
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
