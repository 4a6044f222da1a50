//! From a long text to several rows of tokens: the windows of a context, each with its question, or the parts of a text.

use burn_adapters_model::Tokenized;
use tokenizers::TruncationDirection;

use super::Tokenizer;
use super::encode::{in_places, own_pieces};
use super::guard::guarded;
use crate::{TokenizerError, long_text};

impl Tokenizer {
    /// Encodes a question with each window of a context. Neighboring windows share `overlap` tokens, or half a window if
    /// that is less. A question that takes more than half of a row is truncated. Only the tokens of the context have
    /// pieces.
    pub(super) fn encode_windows(
        &self,
        index: usize,
        [question, context]: [&str; 2],
        max_length: usize,
        overlap: usize,
    ) -> Result<Vec<Tokenized>, TokenizerError> {
        let room = self.room(max_length, true)?;
        let encode = || self.windows_in(question, context, room, overlap).map_err(|error| error.to_string());
        let windows = guarded(encode).map_err(|message| TokenizerError::Encoding { index, message })?;
        windows.iter().try_for_each(|window| self.check(&window.row))?;
        Ok(windows)
    }

    fn windows_in(
        &self,
        question: &str,
        context: &str,
        room: usize,
        overlap: usize,
    ) -> Result<Vec<Tokenized>, tokenizers::Error> {
        let mut question = long_text::encode(&self.inner, question, room, false)?;
        let truncated = question.len() > room / 2;
        if truncated {
            question.truncate(room / 2, 0, TruncationDirection::Right);
            question.take_overflowing();
        }
        let room = room - question.len();
        let mut first = long_text::encode(&self.inner, context, usize::MAX - 1, true)?;
        first.truncate(room, overlap.min(room / 2), TruncationDirection::Right);
        let others = first.take_overflowing();
        std::iter::once(first)
            .chain(others)
            .map(|window| {
                let own = vec![None; question.len()].into_iter().chain(own_pieces(&window).into_iter().map(Some));
                let encoding = self.inner.post_process(question.clone(), Some(window), true)?;
                let row = self.row(&encoding);
                Ok(Tokenized { row, truncated, pieces: in_places(own, &encoding) })
            })
            .collect()
    }

    /// Encodes a text as rows of at most `max_length` tokens, which together have all of its tokens.
    pub(super) fn encode_parts(
        &self,
        index: usize,
        text: &str,
        max_length: usize,
    ) -> Result<Vec<Tokenized>, TokenizerError> {
        let room = self.room(max_length, false)?;
        let encode = || -> Result<Vec<Tokenized>, tokenizers::Error> {
            let mut first = long_text::encode(&self.inner, text, usize::MAX - 1, false)?;
            first.truncate(room, 0, TruncationDirection::Right);
            let others = first.take_overflowing();
            let row = |part| Ok(Tokenized::new(self.row(&self.inner.post_process(part, None, true)?), false));
            std::iter::once(first).chain(others).map(row).collect()
        };
        let encode = || encode().map_err(|error| error.to_string());
        let parts = guarded(encode).map_err(|message| TokenizerError::Encoding { index, message })?;
        parts.iter().try_for_each(|part| self.check(&part.row))?;
        Ok(parts)
    }
}
