//! XLM-RoBERTa's tokenizer from its SentencePiece model, as the reference's converter builds it.
//!
//! The file is a protocol buffer. Of its fields a few are read: the pieces with scores and types, the kind of model,
//! and the normalizer's charsmap. fairseq's ids begin with four special tokens, of which the model's own first three are
//! left out, so that all others move up by one; the mask comes last.

use std::path::Path;

use burn_adapters_files::{MAX_TEXT, read};
use tokenizers::AddedToken;
use tokenizers::models::unigram::Unigram;
use tokenizers::normalizers::replace::{Replace, ReplacePattern};
use tokenizers::normalizers::{NormalizerWrapper, Precompiled, Sequence, Strip};
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};

use super::json::check_charsmap;
use super::unusable;
use crate::TokenizerError;

/// Field numbers of `sentencepiece_model.proto`.
const PIECES: u64 = 1;
const TRAINER: u64 = 2;
const NORMALIZER: u64 = 3;

/// Types of pieces.
const UNKNOWN: u64 = 2;
const CONTROL: u64 = 3;
const USER_DEFINED: u64 = 4;

/// What of a model is used.
#[derive(Debug, Default, PartialEq)]
struct Model {
    pieces: Vec<Piece>,
    /// 1 is Unigram, 2 BPE, 3 words, 4 characters.
    kind: u64,
    charsmap: Vec<u8>,
}

#[derive(Debug, PartialEq)]
struct Piece {
    text: String,
    score: f32,
    kind: u64,
}

/// XLM-RoBERTa's tokenizer, of the file `sentencepiece.bpe.model`.
pub(super) fn unigram(dir: &Path) -> Result<tokenizers::Tokenizer, TokenizerError> {
    let path = dir.join("sentencepiece.bpe.model");
    let bytes = read(&path, MAX_TEXT).map_err(|error| unusable(&path, error.kind))?;
    let failed = |message: String| unusable(&path, message);
    let model = parse(&bytes).map_err(|message| failed(format!("it is not a SentencePiece model: {message}")))?;
    let kind = ["Unigram", "BPE", "word", "character"].get((model.kind as usize).wrapping_sub(1));
    if model.kind != 1 {
        let kind = kind.copied().unwrap_or("unknown");
        return Err(failed(format!(
            "it is a SentencePiece model of the type {kind}; only Unigram is read. {}",
            hint(dir)
        )));
    }
    let types: Vec<u64> = model.pieces.iter().take(3).map(|piece| piece.kind).collect();
    if types != [UNKNOWN, CONTROL, CONTROL] {
        let message = "its first three pieces are not <unk>, <s> and </s>, as XLM-RoBERTa's are";
        return Err(failed(format!("{message}. {}", hint(dir))));
    }
    if let Some(piece) = model.pieces.iter().find(|piece| !piece.score.is_finite()) {
        return Err(failed(format!("the piece `{}` has the score {}", piece.text, piece.score)));
    }
    check_charsmap(&model.charsmap).map_err(failed)?;
    let special = ["<s>", "<pad>", "</s>", "<unk>"].map(|token| (token.to_owned(), 0.0));
    let pieces = model.pieces.iter().skip(3).map(|piece| (piece.text.clone(), f64::from(piece.score)));
    let vocabulary = special.into_iter().chain(pieces).chain([("<mask>".to_owned(), 0.0)]).collect();
    let unigram = Unigram::from(vocabulary, Some(3), false).map_err(|error| failed(error.to_string()))?;
    let mut tokenizer = tokenizers::Tokenizer::new(unigram);
    let added = model.pieces.iter().filter(|piece| [CONTROL, USER_DEFINED].contains(&piece.kind));
    let added: Vec<AddedToken> =
        added.map(|piece| AddedToken::from(&*piece.text, piece.kind == CONTROL).normalized(false)).collect();
    tokenizer.add_tokens(&added);
    let mut normalizers: Vec<NormalizerWrapper> = Vec::new();
    if !model.charsmap.is_empty() {
        let precompiled = Precompiled::from(&model.charsmap).map_err(|error| failed(error.to_string()))?;
        normalizers.push(precompiled.into());
    }
    normalizers.push(Strip::new(false, true).into());
    let spaces = Replace::new(ReplacePattern::Regex(" {2,}".into()), "▁").map_err(|error| failed(error.to_string()))?;
    normalizers.push(spaces.into());
    let spaces = Metaspace::new('▁', PrependScheme::Always, true);
    tokenizer.with_normalizer(Some(Sequence::new(normalizers))).with_pre_tokenizer(Some(spaces.clone()));
    tokenizer.with_decoder(Some(spaces));
    Ok(tokenizer)
}

/// How to get a file that is read.
fn hint(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "Make a tokenizer.json: python -c \"from transformers import AutoTokenizer; \
         AutoTokenizer.from_pretrained('{dir}').save_pretrained('{dir}')\""
    )
}

fn parse(bytes: &[u8]) -> Result<Model, String> {
    let mut model = Model { kind: 1, ..Model::default() };
    fields(bytes, |number, value| {
        match (number, value) {
            (PIECES, Value::Bytes(bytes)) => model.pieces.push(piece(bytes)?),
            (TRAINER, Value::Bytes(bytes)) => fields(bytes, |number, value| {
                if let (3, Value::Number(kind)) = (number, value) {
                    model.kind = kind;
                }
                Ok(())
            })?,
            (NORMALIZER, Value::Bytes(bytes)) => fields(bytes, |number, value| {
                if let (2, Value::Bytes(charsmap)) = (number, value) {
                    model.charsmap = charsmap.to_vec();
                }
                Ok(())
            })?,
            _ => {}
        }
        Ok(())
    })?;
    if model.pieces.is_empty() {
        return Err("it holds no pieces".into());
    }
    Ok(model)
}

fn piece(bytes: &[u8]) -> Result<Piece, String> {
    let mut piece = Piece { text: String::new(), score: 0.0, kind: 1 };
    fields(bytes, |number, value| {
        match (number, value) {
            (1, Value::Bytes(text)) => {
                piece.text = std::str::from_utf8(text).map_err(|_| "a piece is not UTF-8")?.to_owned();
            }
            (2, Value::Fixed32(bits)) => piece.score = f32::from_bits(bits),
            (3, Value::Number(kind)) => piece.kind = kind,
            _ => {}
        }
        Ok(())
    })?;
    Ok(piece)
}

/// The value of a field.
enum Value<'a> {
    Number(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
    Other,
}

/// Calls `each` with every field of a message.
fn fields<'a>(mut bytes: &'a [u8], mut each: impl FnMut(u64, Value<'a>) -> Result<(), String>) -> Result<(), String> {
    while !bytes.is_empty() {
        let key = number(&mut bytes)?;
        let value = match key & 7 {
            0 => Value::Number(number(&mut bytes)?),
            1 => take(&mut bytes, 8).map(|_| Value::Other)?,
            2 => {
                let length = number(&mut bytes)?;
                Value::Bytes(take(&mut bytes, length)?)
            }
            5 => {
                let bits = take(&mut bytes, 4)?.try_into().map_err(|_| "a number is cut off")?;
                Value::Fixed32(u32::from_le_bytes(bits))
            }
            other => return Err(format!("a field of the wire type {other}")),
        };
        if key >> 3 == 0 {
            return Err("a field without a number".into());
        }
        each(key >> 3, value)?;
    }
    Ok(())
}

fn take<'a>(bytes: &mut &'a [u8], length: u64) -> Result<&'a [u8], String> {
    let cut = || format!("a field of {length} bytes, but {} are left", bytes.len());
    let length = usize::try_from(length).map_err(|_| cut())?;
    let (taken, rest) = bytes.split_at_checked(length).ok_or_else(cut)?;
    *bytes = rest;
    Ok(taken)
}

/// A number in groups of seven bits, the lowest first.
fn number(bytes: &mut &[u8]) -> Result<u64, String> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or("a number is cut off")?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err("a number of more than 64 bits".into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_and_unknown_ones_left_out() {
        // A piece "a" of the score 1.0 and the type 3, a trainer of the type 2, an unknown field.
        let piece = [0x0a, 1, b'a', 0x15, 0, 0, 0x80, 0x3f, 0x18, 3];
        let mut bytes = vec![0x0a, piece.len() as u8];
        bytes.extend(piece);
        bytes.extend([0x12, 2, 0x18, 2, 0x78, 0xff, 0x01]);
        let model = parse(&bytes).unwrap();
        assert_eq!(model.pieces, [Piece { text: "a".into(), score: 1.0, kind: CONTROL }]);
        assert_eq!((model.kind, model.charsmap), (2, vec![]));
        for cut in 1..bytes.len() - 1 {
            let _ = parse(&bytes[..cut]);
        }
    }

    #[test]
    fn lengths_beyond_the_end_are_errors() {
        for bytes in [&[0x0a, 0xff, 0xff, 0xff, 0xff, 0x7f][..], &[0x80; 12], &[0x0b], &[0x0a], &[0x02, 0], &[]] {
            assert!(parse(bytes).is_err(), "{bytes:?}");
        }
    }
}
