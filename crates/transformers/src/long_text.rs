//! Texts of any size, in memory that does not depend on it.
//!
//! A tokenizer keeps some fifty bytes for each byte of a text, and a model reads a few hundred tokens. So a long text is
//! encoded piece by piece, cut before white space, until there are tokens enough.

use tokenizers::Encoding;

use crate::tokenizer::Inner;

/// A text up to this size, in bytes, is encoded in one piece.
const PIECE: usize = 1 << 16;

/// A piece without any white space is cut at this size: no word is as long.
const LONGEST_PIECE: usize = 1 << 20;

/// The tokens of a text, without special ones, with their places in the text if `offsets` are requested; of a long text at
/// least `room + 1` of them, if it has as many.
pub(crate) fn encode(tokenizer: &Inner, text: &str, room: usize, offsets: bool) -> tokenizers::Result<Encoding> {
    let encode = |text: &str| if offsets { tokenizer.encode(text, false) } else { tokenizer.encode_fast(text, false) };
    if text.len() <= PIECE {
        return encode(text);
    }
    let mut tokens = Encoding::default();
    let mut rest = text;
    while !rest.is_empty() && tokens.len() <= room {
        let (piece, next) = rest.split_at(end_of_piece(rest));
        let mut encoded = encode(piece)?;
        if offsets {
            let (start, words) = (text.len() - rest.len(), last_word(&tokens));
            encoded.get_offsets_mut().iter_mut().for_each(|(from, to)| (*from, *to) = (*from + start, *to + start));
            encoded.get_word_ids_mut().iter_mut().flatten().for_each(|word| *word += words);
        }
        tokens.merge_with(encoded, false);
        rest = next;
    }
    Ok(tokens)
}

/// The number of the word after the last.
fn last_word(tokens: &Encoding) -> u32 {
    tokens.get_word_ids().iter().flatten().max().map_or(0, |word| word + 1)
}

/// Where to cut: before the last white space of the piece, or else before the next one.
fn end_of_piece(text: &str) -> usize {
    if text.len() <= PIECE {
        return text.len();
    }
    let piece = &text[..text.floor_char_boundary(PIECE)];
    let last = piece.rfind(char::is_whitespace).filter(|end| *end > 0);
    last.or_else(|| {
        let longest = &text[..text.floor_char_boundary(LONGEST_PIECE)];
        let next = longest[piece.len()..].find(char::is_whitespace);
        Some(next.map_or(longest.len(), |next| piece.len() + next))
    })
    .unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_end_before_white_space() {
        assert_eq!(end_of_piece("a b"), 3);
        let words = "word ".repeat(20_000);
        let end = end_of_piece(&words);
        assert!(end <= PIECE && words[end..].starts_with(' ') && !words[..end].ends_with(' '));
        let long = format!("{} b", "ä".repeat(PIECE));
        assert_eq!(end_of_piece(&long), 2 * PIECE);
        assert_eq!(end_of_piece(&"ä".repeat(LONGEST_PIECE)), LONGEST_PIECE);
        assert_eq!(end_of_piece(&format!(" {}", "a".repeat(PIECE))), PIECE + 1);
    }
}
