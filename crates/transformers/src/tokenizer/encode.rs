//! From a text, or a pair of texts, to a row of tokens.

use std::error::Error;

use burn_adapters_model::{MaskTokens, Piece, Row, Text, Tokenize, Tokenized};
use tokenizers::{
    Encoding, PostProcessor, TruncationDirection, TruncationParams, TruncationStrategy, truncate_encodings,
};

use super::Tokenizer;
use super::guard::guarded;
use crate::{TokenizerError, long_text};

impl Tokenizer {
    /// Encodes a text or a pair, cut to `max_length` tokens with the special ones (or to the model's own limit, where that
    /// is shorter). If a pair is too long, the longer text is truncated first, as with Hugging Face's `longest_first`.
    /// With `pieces`, tells the piece of the text that each token stands for.
    ///
    /// ```no_run
    /// use burn_adapters_model::Text;
    /// use burn_adapters_transformers::Tokenizer;
    ///
    /// let tokenizer = Tokenizer::from_dir("all-MiniLM-L6-v2".as_ref())?;
    /// let pair = Text { text: "A man sleeps.", pair: Some("Nobody is awake.") };
    /// let encoded = tokenizer.encode_text(pair, 128, false)?;
    /// assert!(encoded.row.token_type_ids.contains(&1));
    /// # Ok::<(), burn_adapters_transformers::TokenizerError>(())
    /// ```
    ///
    /// # Errors
    /// If a text cannot be encoded, `max_length` leaves no room for it, or the tokenizer is of another model than the
    /// `config.json` beside it.
    pub fn encode_text(&self, text: Text<'_>, max_length: usize, pieces: bool) -> Result<Tokenized, TokenizerError> {
        self.encode_one(0, text, max_length, pieces)
    }

    /// [`encode_text`](Self::encode_text) for one of several texts, whose number errors name.
    pub(super) fn encode_one(
        &self,
        index: usize,
        text: Text<'_>,
        max_length: usize,
        pieces: bool,
    ) -> Result<Tokenized, TokenizerError> {
        let room = self.room(max_length, text.pair.is_some())?;
        let encode = || self.encode_in(text, room, pieces).map_err(|error| error.to_string());
        let encoded = guarded(encode).map_err(|message| TokenizerError::Encoding { index, message })?;
        self.check(&encoded.row)?;
        Ok(encoded)
    }

    /// Encodes a text that already has all of its special tokens, such as a conversation: none are put around it. Tells the
    /// piece of the text that each token stands for. A longer text is cut at its end.
    ///
    /// # Errors
    /// As [`encode_text`](Self::encode_text).
    pub fn encode_bare(&self, text: &str, max_length: usize) -> Result<Tokenized, TokenizerError> {
        let room = max_length.min(self.model_limit());
        let encode = || {
            let mut encoding = long_text::encode(&self.inner, text, room, true).map_err(|error| error.to_string())?;
            let truncated = encoding.len() > room;
            if truncated {
                encoding.truncate(room, 0, TruncationDirection::Right);
            }
            let pieces = own_pieces(&encoding).into_iter().map(Some).collect();
            Ok(Tokenized { row: self.row(&encoding), truncated, pieces })
        };
        let encoded = guarded(encode).map_err(|message| TokenizerError::Encoding { index: 0, message })?;
        self.check(&encoded.row)?;
        Ok(encoded)
    }

    /// The number of tokens beside the special ones in a row of `max_length`; at least one for each text.
    pub(super) fn room(&self, max_length: usize, pair: bool) -> Result<usize, TokenizerError> {
        let max_length = max_length.min(self.model_limit());
        let special = self.special_tokens(pair);
        let room = max_length.checked_sub(special).filter(|room| *room > usize::from(pair));
        room.ok_or(TokenizerError::MaxLength { max_length, special })
    }

    /// The number of special tokens around a text, or around and between two.
    pub(super) fn special_tokens(&self, pair: bool) -> usize {
        self.inner.get_post_processor().map_or(0, |processor| processor.added_tokens(pair))
    }

    /// Encodes into `room` tokens beside the special ones.
    pub(super) fn encode_in(&self, text: Text<'_>, room: usize, pieces: bool) -> Result<Tokenized, tokenizers::Error> {
        let encode = |text: &str| match self.truncation {
            TruncationDirection::Right => long_text::encode(&self.inner, text, room, pieces),
            // The end of the text is needed, so all of it is encoded.
            TruncationDirection::Left if pieces => self.inner.encode(text, false),
            TruncationDirection::Left => self.inner.encode_fast(text, false),
        };
        let (first, second) = (encode(text.text)?, text.pair.map(encode).transpose()?);
        let truncated = first.len() + second.as_ref().map_or(0, Encoding::len) > room;
        // Cut between the two steps, so that the special tokens at the end stay.
        let params = TruncationParams {
            direction: self.truncation,
            max_length: room,
            strategy: TruncationStrategy::LongestFirst,
            stride: 0,
        };
        let (first, second) = truncate_encodings(first, second, &params)?;
        let own = if pieces { own_pieces(&first) } else { Vec::new() };
        let encoding = self.inner.post_process(first, second, true)?;
        let row = self.row(&encoding);
        let pieces = if pieces { in_places(own.into_iter().map(Some), &encoding) } else { Vec::new() };
        Ok(Tokenized { row, truncated, pieces })
    }
}

impl Tokenize for Tokenizer {
    fn tokenize(&self, texts: &[Text<'_>], max_length: usize) -> Result<Vec<Tokenized>, Box<dyn Error + Send + Sync>> {
        self.tokenize_all(texts, max_length, false)
    }

    fn tokenize_pieces(
        &self,
        texts: &[Text<'_>],
        max_length: usize,
    ) -> Result<Vec<Tokenized>, Box<dyn Error + Send + Sync>> {
        self.tokenize_all(texts, max_length, true)
    }

    fn tokenize_bare(&self, text: &str, max_length: usize) -> Result<Tokenized, Box<dyn Error + Send + Sync>> {
        Ok(self.encode_bare(text, max_length)?)
    }

    fn tokenize_windows(
        &self,
        texts: &[Text<'_>],
        max_length: usize,
        overlap: usize,
    ) -> Result<Vec<Vec<Tokenized>>, Box<dyn Error + Send + Sync>> {
        let encode = |(index, text): (usize, &Text<'_>)| {
            let texts = [text.text, text.pair.unwrap_or_default()];
            Ok(self.encode_windows(index, texts, max_length, overlap)?)
        };
        texts.iter().enumerate().map(encode).collect()
    }

    fn tokenize_parts(
        &self,
        texts: &[Text<'_>],
        max_length: usize,
    ) -> Result<Vec<Vec<Tokenized>>, Box<dyn Error + Send + Sync>> {
        let encode = |(index, text): (usize, &Text<'_>)| Ok(self.encode_parts(index, text.text, max_length)?);
        texts.iter().enumerate().map(encode).collect()
    }

    fn mask_tokens(&self) -> Option<MaskTokens> {
        let mut special: Vec<u32> = self
            .inner
            .get_added_tokens_decoder()
            .into_iter()
            .filter_map(|(id, token)| token.special.then_some(id))
            .collect();
        special.sort_unstable();
        Some(MaskTokens { mask: self.special_ids().mask?, special, vocabulary: self.inner.get_vocab_size(true) })
    }
}

impl Tokenizer {
    fn tokenize_all(
        &self,
        texts: &[Text<'_>],
        max_length: usize,
        pieces: bool,
    ) -> Result<Vec<Tokenized>, Box<dyn Error + Send + Sync>> {
        let encode = |(index, text): (usize, &Text<'_>)| Ok(self.encode_one(index, *text, max_length, pieces)?);
        texts.iter().enumerate().map(encode).collect()
    }
}

impl Tokenizer {
    /// The row of an encoded text or pair.
    pub(super) fn row(&self, encoding: &Encoding) -> Row {
        let ids = encoding.get_ids().to_vec();
        let token_type_ids = if self.token_types { encoding.get_type_ids().to_vec() } else { vec![0; ids.len()] };
        Row { ids, token_type_ids }
    }
}

/// The pieces of a text's tokens, before special tokens stand among them.
pub(super) fn own_pieces(encoding: &Encoding) -> Vec<Piece> {
    let mut word = 0;
    let tokens = encoding.get_offsets().iter().zip(encoding.get_word_ids());
    // A token without a word is one by itself, of the added ones.
    let piece = |(&(start, end), id): (&(usize, usize), &Option<u32>)| {
        word = id.unwrap_or(word);
        Piece { start, end, word }
    };
    tokens.map(piece).collect()
}

/// The pieces where their tokens stand among all of a row.
pub(super) fn in_places(own: impl IntoIterator<Item = Option<Piece>>, encoding: &Encoding) -> Vec<Option<Piece>> {
    let mut own = own.into_iter();
    let special = encoding.get_special_tokens_mask();
    special.iter().map(|special| if *special == 0 { own.next().flatten() } else { None }).collect()
}
