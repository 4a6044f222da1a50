//! BERT's word pieces in GGUF files (`tokenizer.ggml.model` is `bert`).
//!
//! There, tokens that begin a word have `▁` before them, and those that continue one are without `##`. Tokens in brackets are
//! as they are. A file does not say whether texts are put in lower case, which llama.cpp always does: here they are, unless the
//! vocabulary has tokens with capital letters, which could never be found otherwise.

use std::path::Path;

use burn_adapters_tensors::{GgufTexts, GgufValue};
use tokenizers::decoders::wordpiece::WordPiece as WordPieceDecoder;
use tokenizers::models::bpe::Vocab;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::{NormalizerWrapper, PreTokenizerWrapper};

use super::super::model::Inner;
use super::super::sentencepiece::SPACE;
use super::super::{SpecialIds, unusable};
use crate::TokenizerError;

/// What begins a token that continues a word.
const INNER: &str = "##";

/// The ids of bert-base-uncased, which files may leave out where the vocabulary has these tokens there.
pub(super) fn defaults(tokens: &GgufTexts) -> SpecialIds {
    let at = |id: u32, token: &str| Some(id).filter(|id| tokens.get(*id as usize) == Some(token));
    SpecialIds {
        bos: None,
        eos: None,
        unk: at(100, "[UNK]"),
        sep: at(102, "[SEP]"),
        pad: at(0, "[PAD]"),
        cls: at(101, "[CLS]"),
        mask: at(103, "[MASK]"),
    }
}

/// The token of a file as BERT's vocabulary has it.
fn own(stored: &str) -> String {
    match stored.strip_prefix(SPACE) {
        Some(word) => word.to_owned(),
        None if is_marked(stored) => stored.to_owned(),
        None => format!("{INNER}{stored}"),
    }
}

/// A token of BERT's vocabulary as files have it.
pub(super) fn stored(own: &str) -> String {
    match own.strip_prefix(INNER) {
        _ if is_marked(own) => own.to_owned(),
        Some(part) => part.to_owned(),
        None => format!("{SPACE}{own}"),
    }
}

fn is_marked(token: &str) -> bool {
    token.starts_with('[') && token.ends_with(']')
}

/// The tokens as BERT's vocabulary has them.
pub(super) fn vocabulary(tokens: &GgufTexts) -> GgufTexts {
    tokens.iter().map(own).collect()
}

/// The tokenizer of a [vocabulary], without what is around texts.
pub(super) fn tokenizer(path: &Path, tokens: &GgufTexts, unknown: Option<u32>) -> Result<Inner, TokenizerError> {
    let unknown = unknown.and_then(|id| tokens.get(id as usize)).ok_or_else(|| {
        unusable(path, "tokenizer.ggml.unknown_token_id is missing, and token 100, its default, is not [UNK]")
    })?;
    let mut vocabulary = Vocab::default();
    for (token, id) in tokens.iter().zip(0..) {
        if vocabulary.insert(token.to_owned(), id).is_some() {
            return Err(unusable(path, format!("tokenizer.ggml.tokens has the token {token:?} twice")));
        }
    }
    let is_lower = |token: &str| is_marked(token) || !token.chars().any(char::is_uppercase);
    let lower_case = tokens.iter().all(is_lower);
    let model = WordPiece::builder().vocab(vocabulary).unk_token(unknown.to_owned()).build();
    let mut tokenizer = Inner::new(model.map_err(|error| unusable(path, error))?.into());
    tokenizer.with_normalizer(Some(BertNormalizer::new(true, true, None, lower_case)));
    tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    tokenizer.with_decoder(Some(WordPieceDecoder::new(INNER.into(), true)));
    Ok(tokenizer)
}

/// The tokens around each text, whatever else a file says.
pub(super) fn around(path: &Path, tokens: &GgufTexts, special: &SpecialIds) -> Result<BertProcessing, TokenizerError> {
    let token = |id: Option<u32>, name: &str| {
        let found = id.and_then(|id| Some((tokens.get(id as usize)?.to_owned(), id)));
        found.ok_or_else(|| unusable(path, format!("it names no {name} token, which stands around each text")))
    };
    Ok(BertProcessing::new(token(special.sep, "separator")?, token(special.cls, "classification")?))
}

/// What a tokenizer of this model has beside its tokens.
///
/// # Errors
/// The reason why llama.cpp splits texts in another way.
pub(super) fn metadata(
    inner: &Inner,
    model: &WordPiece,
    special: &SpecialIds,
) -> Result<Vec<(String, GgufValue)>, String> {
    let as_bert = match inner.get_normalizer() {
        Some(NormalizerWrapper::BertNormalizer(found)) => {
            found.clean_text && found.handle_chinese_chars && found.lowercase && found.strip_accents != Some(false)
        }
        _ => false,
    };
    if !as_bert {
        const OTHER: &str = "llama.cpp puts texts in lower case without accents before it splits them into word pieces, and its \
                             tokenizer does not";
        return Err(OTHER.to_owned());
    }
    if !matches!(inner.get_pre_tokenizer(), Some(PreTokenizerWrapper::BertPreTokenizer(_))) {
        return Err("its tokenizer splits texts into words in another way than BERT's".to_owned());
    }
    if model.continuing_subword_prefix != INNER {
        let found = &model.continuing_subword_prefix;
        return Err(format!("its tokens within words begin with {found:?}, and BERT's with {INNER:?}"));
    }
    // llama.cpp takes another name for that of the token before texts.
    let first = special.cls.map(|id| ("tokenizer.ggml.bos_token_id".to_owned(), GgufValue::Unsigned(id.into())));
    Ok([("tokenizer.ggml.pre".to_owned(), GgufValue::Text("default".to_owned()))].into_iter().chain(first).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_the_same_when_they_are_read_again() {
        for (token, in_file) in
            [("the", "▁the"), ("##ing", "ing"), ("[CLS]", "[CLS]"), ("[", "▁["), ("]", "▁]"), ("#", "▁#")]
        {
            assert_eq!(stored(token), in_file);
            assert_eq!(own(in_file), token);
        }
    }
}
