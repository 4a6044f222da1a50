//! Tokenizers from the metadata of a GGUF file.
//!
//! A file holds the tokens with their types and what is merged, and names the expression by which a text is split into words
//! (`tokenizer.ggml.pre`) without spelling it out: a name that is not known here is an error, because another expression
//! would give other tokens.

mod write;

use std::path::Path;
use std::sync::Arc;

use burn_adapters_tensors::{Gguf, GgufTexts, GgufValue};
use tokenizers::decoders::byte_level::ByteLevel as ByteLevelDecoder;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, PreTokenizerWrapper, SplitDelimiterBehavior};

pub(super) use self::write::metadata;
use super::around::of_each;
use super::model::{BytePairs, Inner, Model};
use super::vocabulary::QWEN2;
use super::{SpecialIds, unusable};
use crate::TokenizerError;
use crate::families::{BYTE_LEVEL, WORDS, Words};

/// The types of tokens that are found in a text whole.
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

/// The words of Llama 3: contractions, letters, up to three digits, signs, and white space.
const LLAMA3: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);

/// A tokenizer with its special tokens.
pub(super) struct FromGguf {
    pub(super) inner: Inner,
    pub(super) special: SpecialIds,
}

/// The tokenizer of a file.
pub(super) fn tokenizer(path: &Path, file: &Gguf) -> Result<FromGguf, TokenizerError> {
    let reader = Reader { path, file };
    let model = reader.text("tokenizer.ggml.model")?;
    if model != BYTE_LEVEL {
        let supported = format!("\"{BYTE_LEVEL}\" (byte-level BPE) is");
        let message = format!("tokenizer.ggml.model is \"{model}\", which is not supported: {supported}");
        return Err(unusable(path, message));
    }
    let tokens = reader.texts("tokenizer.ggml.tokens")?;
    let types = reader.integers("tokenizer.ggml.token_type")?;
    if types.len() != tokens.len() {
        let message = format!("tokenizer.ggml.token_type has {} entries for {} tokens", types.len(), tokens.len());
        return Err(unusable(path, message));
    }
    let split = reader.text("tokenizer.ggml.pre")?;
    let way = WORDS.iter().find(|(known, _)| *known == split).map(|(_, way)| *way).ok_or_else(|| {
        let known: Vec<&str> = WORDS.iter().map(|(name, _)| *name).collect();
        unusable(path, format!("tokenizer.ggml.pre is \"{split}\", which is not known: {} are", known.join(", ")))
    })?;
    let words = words(way);
    let ignores_merges = way == Words::Llama3;
    let model = BytePairs::new(tokens.clone(), reader.texts("tokenizer.ggml.merges")?, ignores_merges);
    let mut inner = Inner::new(Model::BytePairs(Arc::new(model.map_err(|error| unusable(path, error))?)));
    inner.with_pre_tokenizer(Some(Sequence::new(words.map_err(|error| unusable(path, error))?)));
    inner.with_decoder(Some(ByteLevelDecoder::default()));
    let whole = tokens.iter().zip(types).filter(|(_, kind)| [CONTROL, USER_DEFINED].contains(kind));
    let added = whole.map(|(token, kind)| AddedToken::from(token, *kind == CONTROL).normalized(false));
    inner.add_tokens(&added.collect::<Vec<_>>());
    let id = |key: &str| reader.id(key, tokens.len());
    let special = SpecialIds {
        bos: id("tokenizer.ggml.bos_token_id")?,
        eos: id("tokenizer.ggml.eos_token_id")?,
        unk: id("tokenizer.ggml.unknown_token_id")?,
        sep: id("tokenizer.ggml.seperator_token_id")?,
        pad: id("tokenizer.ggml.padding_token_id")?,
        cls: id("tokenizer.ggml.cls_token_id")?,
        mask: id("tokenizer.ggml.mask_token_id")?,
    };
    around(&reader, &mut inner, &special, tokens)?;
    Ok(FromGguf { inner, special })
}

/// How a text is split into words.
fn words(way: Words) -> Result<Vec<PreTokenizerWrapper>, tokenizers::Error> {
    let bytes = |uses_expression| ByteLevel::new(false, true, uses_expression).into();
    let split = |expression: &str| -> Result<PreTokenizerWrapper, tokenizers::Error> {
        let pattern = SplitPattern::Regex(expression.into());
        Ok(Split::new(pattern, SplitDelimiterBehavior::Isolated, false)?.into())
    };
    Ok(match way {
        Words::Gpt2 => vec![bytes(true)],
        Words::Digits => vec![Digits::new(true).into(), bytes(true)],
        Words::Llama3 => vec![split(LLAMA3)?, bytes(false)],
        Words::Qwen2 => vec![split(QWEN2)?, bytes(false)],
    })
}

/// Puts the tokens around a text that the file asks for.
fn around(
    reader: &Reader<'_>,
    inner: &mut Inner,
    special: &SpecialIds,
    tokens: &GgufTexts,
) -> Result<(), TokenizerError> {
    let wanted = |key: &str, id: Option<u32>| -> Result<Option<u32>, TokenizerError> {
        match (reader.flag(key)?, id) {
            (true, None) => Err(unusable(reader.path, format!("{key} is true, but the file names no such token"))),
            (true, id) => Ok(id),
            (false, _) => Ok(None),
        }
    };
    let first = wanted("tokenizer.ggml.add_bos_token", special.bos)?;
    let last = wanted("tokenizer.ggml.add_eos_token", special.eos)?;
    if first.is_none() && last.is_none() {
        return Ok(());
    }
    let token = |id: Option<u32>| tokens.get(id? as usize);
    let processor = of_each(inner, reader.path, token(first), token(last))?;
    inner.with_post_processor(Some(processor));
    Ok(())
}

/// Reads the metadata of a file.
struct Reader<'a> {
    path: &'a Path,
    file: &'a Gguf,
}

impl<'a> Reader<'a> {
    fn get<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl Fn(&'a GgufValue) -> Option<T>,
    ) -> Result<Option<T>, TokenizerError> {
        let Some(value) = self.file.metadata().get(key) else { return Ok(None) };
        let wrong = || unusable(self.path, format!("{key} is {}, expected {expected}", value.kind()));
        read(value).map(Some).ok_or_else(wrong)
    }

    fn needed<T>(&self, key: &str, value: Option<T>) -> Result<T, TokenizerError> {
        value.ok_or_else(|| {
            unusable(self.path, format!("its metadata lacks {key}, so it has no tokenizer that is known"))
        })
    }

    fn text(&self, key: &str) -> Result<&'a str, TokenizerError> {
        self.needed(key, self.get(key, "a text", GgufValue::as_text)?)
    }

    fn texts(&self, key: &str) -> Result<&'a GgufTexts, TokenizerError> {
        self.needed(key, self.get(key, "a list of texts", GgufValue::as_texts)?)
    }

    fn integers(&self, key: &str) -> Result<&'a [i64], TokenizerError> {
        self.needed(key, self.get(key, "a list of whole numbers", GgufValue::as_integers)?)
    }

    fn flag(&self, key: &str) -> Result<bool, TokenizerError> {
        Ok(self.get(key, "true or false", GgufValue::as_bool)?.unwrap_or(false))
    }

    /// A token by its id.
    fn id(&self, key: &str, count: usize) -> Result<Option<u32>, TokenizerError> {
        let Some(id) = self.get(key, "a whole number", GgufValue::as_unsigned)? else { return Ok(None) };
        match u32::try_from(id) {
            Ok(id) if (id as usize) < count => Ok(Some(id)),
            _ => Err(unusable(self.path, format!("{key} is {id}, but there are {count} tokens"))),
        }
    }
}
