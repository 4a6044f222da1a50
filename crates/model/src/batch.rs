//! Tokenized texts, and batches of them.

use std::error::Error;
use std::ops::Range;

/// A tokenized text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Row {
    /// The tokens, special tokens included.
    pub ids: Vec<u32>,
    /// The type (segment) of each token.
    pub token_type_ids: Vec<u32>,
}

impl Row {
    /// A row of tokens of type 0.
    pub fn new(ids: Vec<u32>) -> Self {
        Self { token_type_ids: vec![0; ids.len()], ids }
    }
}

/// A batch: rows of tokens that a model processes together. The tokens stay on the host; a pass pads them to the
/// longest row and moves them to the model's device.
///
/// ```
/// use burn_adapters_model::TokenBatch;
///
/// let batch = TokenBatch::new([[101, 7, 102].as_slice(), &[101, 102]]);
/// assert_eq!((batch.len(), batch.sequence(), batch.tokens()), (2, 3, 5));
/// assert_eq!(batch.row(1), [101, 102]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TokenBatch {
    ids: Vec<u32>,
    /// One per token; empty if all are 0.
    types: Vec<u32>,
    lengths: Vec<usize>,
    /// The padding before each row; empty if there is none.
    starts: Vec<usize>,
    /// The rows of the decoder of an encoder-decoder model.
    decoder: Option<Box<TokenBatch>>,
}

/// The start of a decoder's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecoderStart {
    /// With this token.
    Token(u32),
    /// With the last token of the row, which names a language.
    LastToken,
}

impl TokenBatch {
    /// A batch of rows of tokens of type 0.
    pub fn new<'a>(rows: impl IntoIterator<Item = &'a [u32]>) -> Self {
        let mut batch = Self::default();
        for row in rows {
            batch.ids.extend_from_slice(row);
            batch.lengths.push(row.len());
        }
        batch
    }

    /// A batch of encoded texts.
    pub fn from_rows<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Self {
        let mut batch = Self::default();
        for row in rows {
            batch.ids.extend_from_slice(&row.ids);
            // A missing type is 0, and surplus types are ignored.
            batch.types.extend(row.token_type_ids.iter().copied().chain(std::iter::repeat(0)).take(row.ids.len()));
            batch.lengths.push(row.ids.len());
        }
        if batch.types.iter().all(|id| *id == 0) {
            batch.types.clear();
        }
        batch
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    /// Whether the batch has no rows.
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// The number of tokens of each row.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// Adds padding before each row; by default, padding is only on the right.
    ///
    /// ```
    /// use burn_adapters_model::TokenBatch;
    ///
    /// let on_the_left = TokenBatch::new([[5, 6, 7].as_slice(), &[8]]).with_starts([0, 2]);
    /// assert_eq!(on_the_left.sequence(), 3);
    /// ```
    pub fn with_starts(mut self, starts: impl IntoIterator<Item = usize>) -> Self {
        self.starts = starts.into_iter().collect();
        self
    }

    /// Sets the rows of the decoder, for an encoder-decoder model: one for each row.
    ///
    /// ```
    /// use burn_adapters_model::TokenBatch;
    ///
    /// let batch = TokenBatch::new([[5, 6, 7].as_slice()]).with_decoder(TokenBatch::new([[0, 9].as_slice()]));
    /// assert_eq!(batch.decoder().map(TokenBatch::tokens), Some(2));
    /// ```
    pub fn with_decoder(mut self, decoder: TokenBatch) -> Self {
        self.decoder = Some(Box::new(decoder));
        self
    }

    /// The rows of the decoder.
    pub fn decoder(&self) -> Option<&TokenBatch> {
        self.decoder.as_deref()
    }

    /// The rows shifted to the right, behind a start token. This is what a decoder reads to predict the tokens of the
    /// rows. The longest rows lose their last token; for the others it is a token beyond those that count.
    ///
    /// ```
    /// use burn_adapters_model::{DecoderStart, TokenBatch};
    ///
    /// let batch = TokenBatch::new([[5, 6, 7].as_slice(), &[8]]);
    /// assert_eq!(batch.shifted(DecoderStart::Token(0)).ids(), [0, 5, 6, 0, 8]);
    /// assert_eq!(batch.shifted(DecoderStart::LastToken).ids(), [7, 5, 6, 8, 8]);
    /// ```
    pub fn shifted(&self, start: DecoderStart) -> Self {
        let longest = self.sequence();
        let mut shifted = Self { starts: self.starts.clone(), ..Self::default() };
        for index in 0..self.len() {
            let row = self.row(index);
            let Some(last) = row.last() else { continue };
            let kept = row.len().min(longest - self.start(index) - 1);
            shifted.ids.push(match start {
                DecoderStart::Token(id) => id,
                DecoderStart::LastToken => *last,
            });
            shifted.ids.extend_from_slice(&row[..kept]);
            shifted.lengths.push(1 + kept);
        }
        shifted
    }

    /// The number of padding positions before a row's first token.
    pub fn start(&self, row: usize) -> usize {
        self.starts.get(row).copied().unwrap_or(0)
    }

    /// The length of the padded rows.
    pub fn sequence(&self) -> usize {
        self.lengths.iter().enumerate().map(|(row, length)| self.start(row).saturating_add(*length)).max().unwrap_or(0)
    }

    /// The number of tokens, padding excluded.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// The tokens of a row.
    ///
    /// # Panics
    /// If the row does not exist.
    pub fn row(&self, row: usize) -> &[u32] {
        let start: usize = self.lengths[..row].iter().sum();
        &self.ids[start..start + self.lengths[row]]
    }

    /// The tokens of all rows, concatenated.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// The types of all tokens, concatenated; `None` if all are 0.
    pub fn token_types(&self) -> Option<&[u32]> {
        (!self.types.is_empty()).then_some(&self.types)
    }

    /// A batch of these rows, in this order.
    pub(crate) fn select(&self, order: &[usize]) -> Self {
        let starts: Vec<usize> =
            self.lengths.iter().scan(0, |end, length| Some(std::mem::replace(end, *end + length))).collect();
        let mut selected = Self::default();
        for &row in order {
            let range = starts[row]..starts[row] + self.lengths[row];
            selected.ids.extend_from_slice(&self.ids[range.clone()]);
            if !self.types.is_empty() {
                selected.types.extend_from_slice(&self.types[range]);
            }
            selected.lengths.push(self.lengths[row]);
            if !self.starts.is_empty() {
                selected.starts.push(self.start(row));
            }
        }
        selected.decoder = self.decoder.as_ref().map(|decoder| Box::new(decoder.select(order)));
        selected
    }
}

/// A tokenized text, and whether it was truncated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokenized {
    /// The tokens.
    pub row: Row,
    /// Whether the text was longer than the maximum and was truncated.
    pub truncated: bool,
    /// The piece of text of each token, if it was requested; `None` for special tokens.
    pub pieces: Vec<Option<Piece>>,
}

impl Tokenized {
    /// A tokenized text without pieces of text.
    pub fn new(row: Row, truncated: bool) -> Self {
        Self { row, truncated, pieces: Vec::new() }
    }
}

type TokenizeResult = Result<Vec<Tokenized>, Box<dyn Error + Send + Sync>>;

/// A tokenizer: converts texts to tokens.
///
/// Implemented for the tokenizers of Hugging Face folders, and for any function `Fn(&str, usize) -> Tokenized` of a
/// text and the maximum length; such a function does not support pairs of texts.
pub trait Tokenize {
    /// The tokens of each text, at most `max_length` of them.
    ///
    /// # Errors
    /// If a text cannot be tokenized.
    fn tokenize(&self, texts: &[Text<'_>], max_length: usize) -> TokenizeResult;

    /// [`tokenize`](Self::tokenize) with the piece of text of each token, for tasks with a label per word.
    ///
    /// # Errors
    /// If a text cannot be tokenized, or the tokenizer does not know the pieces.
    fn tokenize_pieces(&self, texts: &[Text<'_>], max_length: usize) -> TokenizeResult {
        let _ = (texts, max_length);
        Err("this tokenizer does not report the pieces of text that tokens represent".into())
    }

    /// The tokens of a text that already has all of its special tokens, with the piece of text of each; a longer text is
    /// cut at its end.
    ///
    /// # Errors
    /// If the text cannot be tokenized, or the tokenizer does not know the pieces.
    fn tokenize_bare(&self, text: &str, max_length: usize) -> Result<Tokenized, Box<dyn Error + Send + Sync>> {
        let _ = (text, max_length);
        Err("this tokenizer does not read texts that have their special tokens".into())
    }

    /// The rows of each question (the text) with its context (the pair): one for each window of a context that is too long
    /// for a row of `max_length` tokens. Neighboring windows share `overlap` tokens of the context, or half a window if that
    /// is less. The pieces are those of the context alone.
    ///
    /// # Errors
    /// If a text cannot be tokenized, or the tokenizer makes no windows.
    fn tokenize_windows(
        &self,
        texts: &[Text<'_>],
        max_length: usize,
        overlap: usize,
    ) -> Result<Vec<Vec<Tokenized>>, Box<dyn Error + Send + Sync>> {
        let _ = (texts, max_length, overlap);
        Err("this tokenizer does not divide a context into windows".into())
    }

    /// The rows of each text: one, or several if the text has more than `max_length` tokens. No token is lost. By default
    /// each text is one row, and a longer text is an error.
    ///
    /// # Errors
    /// If a text cannot be tokenized.
    fn tokenize_parts(
        &self,
        texts: &[Text<'_>],
        max_length: usize,
    ) -> Result<Vec<Vec<Tokenized>>, Box<dyn Error + Send + Sync>> {
        let rows = self.tokenize(texts, max_length)?;
        if rows.iter().any(|row| row.truncated) {
            return Err("this tokenizer does not divide a long text into parts".into());
        }
        Ok(rows.into_iter().map(|row| vec![row]).collect())
    }

    /// The tokens that masked language modeling needs; `None` if there is no mask token.
    fn mask_tokens(&self) -> Option<MaskTokens> {
        None
    }
}

/// The tokens of a vocabulary, for masked language modeling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaskTokens {
    /// The token that stands for a masked one.
    pub mask: u32,
    /// The special tokens, which are never masked.
    pub special: Vec<u32>,
    /// The number of tokens. Random tokens are below it.
    pub vocabulary: usize,
}

impl<F: Fn(&str, usize) -> Tokenized> Tokenize for F {
    fn tokenize(&self, texts: &[Text<'_>], max_length: usize) -> TokenizeResult {
        if texts.iter().any(|text| text.pair.is_some()) {
            return Err("this tokenizer supports single texts only, not pairs".into());
        }
        Ok(texts.iter().map(|text| self(text.text, max_length)).collect())
    }
}

// Texts, and the pieces that their tokens represent.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_selected_with_their_types() {
        let rows = [Row::new(vec![1]), Row { ids: vec![2, 3], token_type_ids: vec![0, 1] }, Row::new(vec![4, 5, 6])];
        let batch = TokenBatch::from_rows(&rows).select(&[2, 1, 1]);
        assert_eq!(batch.ids(), [4, 5, 6, 2, 3, 2, 3]);
        assert_eq!(batch.token_types(), Some([0, 0, 0, 0, 1, 0, 1].as_slice()));
        assert_eq!((batch.lengths(), batch.row(2)), ([3, 2, 2].as_slice(), [2, 3].as_slice()));
        assert_eq!(TokenBatch::from_rows(&rows[..1]).token_types(), None);
    }
}
