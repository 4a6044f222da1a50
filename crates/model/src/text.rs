//! Texts, and the pieces that their tokens represent.

use std::ops::Range;

/// A text, or two that go through a model together (a premise and a hypothesis, a question and a passage).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Text<'a> {
    /// The text, or the first of two.
    pub text: &'a str,
    /// The second text of a pair.
    pub pair: Option<&'a str>,
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self { text, pair: None }
    }
}

/// The piece of a text that a token represents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Where it begins, in bytes of the text.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// The number of the word that it belongs to, by the tokenizer's own division into words.
    pub word: u32,
}

impl Piece {
    /// The bytes of the piece without surrounding white space, which some tokenizers include. Empty if nothing else is
    /// left, or if the text is another one.
    ///
    /// ```
    /// use burn_adapters_model::Piece;
    ///
    /// assert_eq!(Piece { start: 1, end: 4, word: 1 }.trimmed("a bc d"), 2..4);
    /// ```
    pub fn trimmed(&self, text: &str) -> Range<usize> {
        let Some(piece) = text.get(self.start..self.end) else { return self.start..self.start };
        let start = self.start + piece.len() - piece.trim_start().len();
        start..(start + piece.trim().len())
    }
}
