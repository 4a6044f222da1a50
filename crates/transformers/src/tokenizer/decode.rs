//! From tokens back to text: of whole rows, and of tokens as they are generated.

use super::Tokenizer;
use super::clean::{clean, settled};
use super::guard::guarded;
use crate::TokenizerError;

/// The ids of a tokenizer's special tokens; it may lack some.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpecialIds {
    /// Begins a text (`bos_token`).
    pub bos: Option<u32>,
    /// Ends a text (`eos_token`).
    pub eos: Option<u32>,
    /// Represents text that is not in the vocabulary (`unk_token`).
    pub unk: Option<u32>,
    /// Separates texts (`sep_token`).
    pub sep: Option<u32>,
    /// Pads rows (`pad_token`).
    pub pad: Option<u32>,
    /// Begins a text that is classified (`cls_token`).
    pub cls: Option<u32>,
    /// Marks a token that the model predicts (`mask_token`).
    pub mask: Option<u32>,
}

impl Tokenizer {
    /// The ids of the special tokens that the files name.
    pub fn special_ids(&self) -> SpecialIds {
        self.special_ids
    }

    /// The special tokens that the files name, by the attributes that name them (`bos_token`, `eos_token`, …).
    pub fn named_special_tokens(&self) -> Vec<(&'static str, String)> {
        let SpecialIds { bos, eos, unk, sep, pad, cls, mask } = self.special_ids;
        let all = [("bos_token", bos), ("eos_token", eos), ("unk_token", unk), ("sep_token", sep), ("pad_token", pad)];
        let all = all.into_iter().chain([("cls_token", cls), ("mask_token", mask)]);
        all.filter_map(|(name, id)| Some((name, self.inner.id_to_token(id?)?))).collect()
    }

    /// Whether a token is special: decoding can leave it out.
    pub fn is_special(&self, id: u32) -> bool {
        let token = self.inner.id_to_token(id);
        token.is_some_and(|token| self.inner.get_added_vocabulary().is_special_token(&token))
    }

    /// The text of tokens, the same as that of the reference's `decode`. `skip_special_tokens` leaves out special
    /// tokens. Ids without a token add no text, because a model's table may have more rows than its tokenizer has
    /// tokens.
    ///
    /// ```no_run
    /// use burn_adapters_transformers::Tokenizer;
    ///
    /// let tokenizer = Tokenizer::from_dir("gpt2".as_ref())?;
    /// let row = &tokenizer.encode(&["A fine film."], 128)?.rows[0];
    /// assert_eq!(tokenizer.decode(&row.ids, true)?, "A fine film.");
    /// # Ok::<(), burn_adapters_transformers::TokenizerError>(())
    /// ```
    ///
    /// # Errors
    /// If the tokenizer's files are damaged in a part that only decoding uses.
    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String, TokenizerError> {
        let text = self.decode_raw(ids, skip_special_tokens)?;
        Ok(if self.clean_up_spaces { clean(&text) } else { text })
    }

    /// Decodes tokens one by one, to show text while it is generated.
    ///
    /// ```no_run
    /// use burn_adapters_transformers::Tokenizer;
    ///
    /// let tokenizer = Tokenizer::from_dir("gpt2".as_ref())?;
    /// let mut stream = tokenizer.decode_stream(true);
    /// for id in [8491, 1078, 0] {
    ///     print!("{}", stream.push(id)?);
    /// }
    /// println!("{}", stream.finish()?);
    /// # Ok::<(), burn_adapters_transformers::TokenizerError>(())
    /// ```
    pub fn decode_stream(&self, skip_special_tokens: bool) -> DecodeStream<'_> {
        DecodeStream {
            tokenizer: self,
            skip_special_tokens,
            context: Vec::new(),
            context_text: String::new(),
            pending: Vec::new(),
            unsettled: String::new(),
        }
    }

    /// As [`decode_stream`](Self::decode_stream), for tokens that continue others: the space that a tokenizer puts before a text,
    /// and leaves out where one begins, is then part of the text.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn decode_stream_after(
        &self,
        before: &[u32],
        skip_special_tokens: bool,
    ) -> Result<DecodeStream<'_>, TokenizerError> {
        let context = before[before.len().saturating_sub(MOST_PENDING)..].to_vec();
        let context_text = self.decode_raw(&context, skip_special_tokens)?;
        Ok(DecodeStream { context, context_text, ..self.decode_stream(skip_special_tokens) })
    }

    fn decode_raw(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String, TokenizerError> {
        let decode = || self.inner.decode(ids, skip_special_tokens).map_err(|error| error.to_string());
        guarded(decode).map_err(|message| TokenizerError::Decoding { message })
    }

    /// Whether a token never adds text, whatever its context.
    fn is_silent(&self, id: u32, skip_special_tokens: bool) -> bool {
        let token = self.inner.id_to_token(id);
        token.is_none_or(|token| skip_special_tokens && self.inner.get_added_vocabulary().is_special_token(&token))
    }
}

/// After this many tokens without a complete character, none will follow: a character has at most four bytes.
const MOST_PENDING: usize = 8;

/// A text that grows token by token; see [`Tokenizer::decode_stream`].
///
/// A character whose bytes are in several tokens is held back until it is complete. Together, the texts that
/// [`push`](Self::push) and [`finish`](Self::finish) return equal the text of [`Tokenizer::decode`] for all tokens
/// (unless tokens hold bytes that are not UTF-8).
#[derive(Debug, Clone)]
pub struct DecodeStream<'a> {
    tokenizer: &'a Tokenizer,
    skip_special_tokens: bool,
    /// The last tokens whose text was returned, because the text of a token may depend on the token before it.
    context: Vec<u32>,
    context_text: String,
    /// Tokens whose text was not returned yet.
    pending: Vec<u32>,
    /// Text that the next token may change, if spaces are cleaned up.
    unsettled: String,
}

impl DecodeStream<'_> {
    /// Adds a token, and returns the text that is certain now; it may be empty.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn push(&mut self, id: u32) -> Result<String, TokenizerError> {
        if self.tokenizer.is_silent(id, self.skip_special_tokens) {
            return Ok(String::new());
        }
        self.pending.push(id);
        let text = self.pending_text()?;
        if text.is_empty() || (text.ends_with('\u{fffd}') && self.pending.len() < MOST_PENDING) {
            return Ok(String::new());
        }
        self.context = std::mem::take(&mut self.pending);
        self.context_text = self.tokenizer.decode_raw(&self.context, self.skip_special_tokens)?;
        if !self.tokenizer.clean_up_spaces {
            return Ok(text);
        }
        self.unsettled.push_str(&text);
        let rest = self.unsettled.split_off(settled(&self.unsettled));
        Ok(clean(&std::mem::replace(&mut self.unsettled, rest)))
    }

    /// Ends the text, and returns what was held back; an incomplete character is `�`, as in [`Tokenizer::decode`].
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn finish(mut self) -> Result<String, TokenizerError> {
        let text = self.pending_text()?;
        self.unsettled.push_str(&text);
        Ok(if self.tokenizer.clean_up_spaces { clean(&self.unsettled) } else { self.unsettled })
    }

    /// The text that the pending tokens add to the text of their context.
    fn pending_text(&self) -> Result<String, TokenizerError> {
        if self.pending.is_empty() {
            return Ok(String::new());
        }
        let ids = [&*self.context, &*self.pending].concat();
        let text = self.tokenizer.decode_raw(&ids, self.skip_special_tokens)?;
        // Bytes that are not UTF-8 can change how the bytes before them are shown, which is given already.
        let given = self.context_text.chars().zip(text.chars()).take_while(|(given, new)| given == new);
        let given: usize = given.map(|(character, _)| character.len_utf8()).sum();
        Ok(text[given..].to_owned())
    }
}
