//! Tokenizers from the metadata of a GGUF file.
//!
//! A file holds the tokens with their types and what is merged, and names the expression by which a text is split into words
//! (`tokenizer.ggml.pre`) without spelling it out: a name that is not known here is an error, because another expression
//! would give other tokens. Vocabularies of SentencePiece have scores instead of merges, those of BERT neither. Where a file leaves out what it may,
//! llama.cpp's defaults hold. As there, and in Transformers' `legacy` tokenizers, the part of a text after a token that the text
//! names begins with a space of its own, if texts do.

mod word_pieces;
mod write;

use std::path::Path;
use std::sync::Arc;

use burn_adapters_tensors::{Gguf, GgufTexts, GgufValue};
use tokenizers::decoders::byte_level::ByteLevel as ByteLevelDecoder;
use tokenizers::models::unigram::Unigram;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::processors::roberta::RobertaProcessing;
use tokenizers::{AddedToken, PostProcessorWrapper, PreTokenizerWrapper, SplitDelimiterBehavior};

pub(super) use self::write::metadata;
use super::around::of_each;
use super::json::check_charsmap;
use super::model::{BytePairs, Inner, Model};
use super::pieces::Pieces;
use super::sentencepiece::{SPACE, SentencePiece, pieces_as_text, spaces_as_pieces, unigram_text};
use super::vocabulary::QWEN2;
use super::{SpecialIds, unusable};
use crate::TokenizerError;
use crate::families::{BYTE_LEVEL, SENTENCEPIECE, UNIGRAM, WORD_PIECES, WORDS, Words};

/// The types of tokens that are found in a text whole, beside the unknown one of SentencePiece.
const UNKNOWN: i64 = 2;
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
    /// Whether the tokens of a second text have a type of their own.
    pub(super) has_types: bool,
}

/// What depends on the model: what a file may leave out, and how texts begin.
struct Defaults {
    special: SpecialIds,
    add_bos: bool,
    /// With SentencePiece, whether a space is put before texts.
    prefix: Option<bool>,
}

/// The tokenizer of a file.
pub(super) fn tokenizer(path: &Path, file: &Gguf) -> Result<FromGguf, TokenizerError> {
    let reader = Reader { path, file };
    let tokens = reader.texts("tokenizer.ggml.tokens")?;
    let types = reader.integers("tokenizer.ggml.token_type")?;
    if types.len() != tokens.len() {
        let message = format!("tokenizer.ggml.token_type has {} entries for {} tokens", types.len(), tokens.len());
        return Err(unusable(path, message));
    }
    let model = reader.text("tokenizer.ggml.model")?;
    let is_bert = model == WORD_PIECES;
    let of_bert = is_bert.then(|| word_pieces::vocabulary(tokens));
    let tokens = of_bert.as_ref().unwrap_or(tokens);
    let (mut inner, defaults) = match model {
        BYTE_LEVEL => byte_level(&reader, tokens)?,
        SENTENCEPIECE => sentencepiece(&reader, tokens, types)?,
        UNIGRAM => unigram(&reader, tokens)?,
        WORD_PIECES => {
            let special = word_pieces::defaults(tokens);
            let unknown = reader.id_or("tokenizer.ggml.unknown_token_id", tokens.len(), special.unk)?;
            let inner = word_pieces::tokenizer(path, tokens, unknown)?;
            (inner, Defaults { special, add_bos: false, prefix: None })
        }
        _ => {
            let known = format!(
                "\"{BYTE_LEVEL}\" (byte-level BPE), \"{SENTENCEPIECE}\" (SentencePiece's BPE), \"{UNIGRAM}\" (its Unigram) and \
                 \"{WORD_PIECES}\" (word pieces) are"
            );
            let message = format!("tokenizer.ggml.model is \"{model}\", which is not supported: {known}");
            return Err(unusable(path, message));
        }
    };
    let whole = tokens.iter().zip(types).filter(|(_, kind)| [UNKNOWN, CONTROL, USER_DEFINED].contains(kind));
    let added = whole.map(|(token, kind)| match (*kind, defaults.prefix) {
        // As in SentencePiece, they are found where spaces are parts of pieces; with a prefix, which is not theirs, before that.
        (USER_DEFINED, Some(prefix)) => AddedToken::from(token.replace(SPACE, " "), false).normalized(!prefix),
        (kind, _) => AddedToken::from(token, kind != USER_DEFINED).normalized(false),
    });
    inner.add_tokens(&added.collect::<Vec<_>>());
    let id = |key: &str, default| reader.id_or(key, tokens.len(), default);
    let own = defaults.special;
    let bos = id("tokenizer.ggml.bos_token_id", own.bos)?;
    let special = SpecialIds {
        bos,
        eos: id("tokenizer.ggml.eos_token_id", own.eos)?,
        unk: id("tokenizer.ggml.unknown_token_id", own.unk)?,
        sep: id("tokenizer.ggml.seperator_token_id", own.sep)?,
        pad: id("tokenizer.ggml.padding_token_id", own.pad)?,
        // In files of BERT, the token before texts has either name.
        cls: id("tokenizer.ggml.cls_token_id", bos.filter(|_| is_bert).or(own.cls))?,
        mask: id("tokenizer.ggml.mask_token_id", own.mask)?,
    };
    let around = match is_bert {
        true => Some(word_pieces::around(path, tokens, &special)?.into()),
        false => around(&reader, &inner, &special, tokens, defaults.add_bos)?,
    };
    inner.with_post_processor(around);
    Ok(FromGguf { inner, special, has_types: is_bert })
}

/// Byte-level BPE, without the tokens around a text.
fn byte_level(reader: &Reader<'_>, tokens: &GgufTexts) -> Result<(Inner, Defaults), TokenizerError> {
    let failed = |reason: String| unusable(reader.path, reason);
    let split = reader.text("tokenizer.ggml.pre")?;
    let way = WORDS.iter().find(|(known, _)| *known == split).map(|(_, way)| *way).ok_or_else(|| {
        let known: Vec<&str> = WORDS.iter().map(|(name, _)| *name).collect();
        failed(format!("tokenizer.ggml.pre is \"{split}\", which is not known: {} are", known.join(", ")))
    })?;
    let is_llama3 = way == Words::Llama3;
    let model = BytePairs::new(tokens.clone(), reader.texts("tokenizer.ggml.merges")?, is_llama3).map_err(failed)?;
    let mut inner = Inner::new(Model::BytePairs(Arc::new(model)));
    inner.with_pre_tokenizer(Some(Sequence::new(words(way).map_err(|error| failed(error.to_string()))?)));
    inner.with_decoder(Some(ByteLevelDecoder::default()));
    Ok((inner, Defaults { special: SpecialIds::default(), add_bos: is_llama3, prefix: None }))
}

/// SentencePiece's BPE, without the tokens around a text.
fn sentencepiece(reader: &Reader<'_>, tokens: &GgufTexts, types: &[i64]) -> Result<(Inner, Defaults), TokenizerError> {
    let failed = |reason: String| unusable(reader.path, reason);
    // What files leave out.
    let special = SpecialIds { bos: Some(1), eos: Some(2), unk: Some(0), ..SpecialIds::default() };
    let unknown = reader.id("tokenizer.ggml.unknown_token_id", tokens.len())?.or(special.unk);
    let scores = reader.floats("tokenizer.ggml.scores")?;
    let model = SentencePiece::new(tokens.clone(), types, scores, unknown).map_err(failed)?;
    let mut inner = Inner::new(Model::SentencePiece(Arc::new(model)));
    let has_prefix = reader.flag("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    inner.with_normalizer(Some(spaces_as_pieces(has_prefix).map_err(failed)?));
    inner.with_decoder(Some(pieces_as_text(has_prefix).map_err(failed)?));
    Ok((inner, Defaults { special, add_bos: true, prefix: Some(has_prefix) }))
}

/// SentencePiece's Unigram, without the tokens around a text.
fn unigram(reader: &Reader<'_>, tokens: &GgufTexts) -> Result<(Inner, Defaults), TokenizerError> {
    let failed = |reason: String| unusable(reader.path, reason);
    let special = SpecialIds { eos: Some(1), unk: Some(2), pad: Some(0), ..SpecialIds::default() };
    let unknown = reader.id_or("tokenizer.ggml.unknown_token_id", tokens.len(), special.unk)?;
    let scores = reader.floats("tokenizer.ggml.scores")?;
    if scores.len() != tokens.len() {
        let (scores, tokens) = (scores.len(), tokens.len());
        return Err(failed(format!("tokenizer.ggml.scores has {scores} entries for {tokens} tokens")));
    }
    if let Some(at) = scores.iter().position(|score| !score.is_finite()) {
        return Err(failed(format!("tokenizer.ggml.scores: that of token {at} is not a finite number")));
    }
    Pieces::new(tokens.clone()).map_err(|reason| failed(format!("tokenizer.ggml.tokens has {reason}")))?;
    // llama.cpp keeps spaces where this is false; the models that are read, XLM-RoBERTa's, have been trained without.
    const SPACES: &str = "tokenizer.ggml.remove_extra_whitespaces";
    if !reader.needed(SPACES, reader.flag(SPACES)?)? {
        return Err(failed(format!("{SPACES} is false, which is not supported; true is")));
    }
    const PREFIX: &str = "tokenizer.ggml.add_space_prefix";
    let has_prefix = reader.needed(PREFIX, reader.flag(PREFIX)?)?;
    const CHARSMAP: &str = "tokenizer.ggml.precompiled_charsmap";
    let map = reader.get(CHARSMAP, "a list of bytes", GgufValue::as_integers)?.unwrap_or_default();
    let map: Result<Vec<u8>, _> = map.iter().map(|byte| u8::try_from(*byte)).collect();
    let map = map.map_err(|_| failed(format!("{CHARSMAP} has a number that is not a byte")))?;
    check_charsmap(&map).map_err(failed)?;
    let vocabulary = tokens.iter().zip(scores).map(|(token, score)| (token.to_owned(), *score)).collect();
    let model = Unigram::from(vocabulary, unknown.map(|id| id as usize), false);
    let mut inner = Inner::new(model.map_err(|error| failed(error.to_string()))?.into());
    let scheme = if has_prefix { PrependScheme::Always } else { PrependScheme::Never };
    let spaces = Metaspace::new(SPACE, scheme, true);
    inner.with_normalizer(Some(unigram_text(&map).map_err(failed)?));
    inner.with_pre_tokenizer(Some(spaces.clone()));
    inner.with_decoder(Some(spaces));
    Ok((inner, Defaults { special, add_bos: false, prefix: None }))
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

/// The tokens around a text that the file asks for.
fn around(
    reader: &Reader<'_>,
    inner: &Inner,
    special: &SpecialIds,
    tokens: &GgufTexts,
    add_bos: bool,
) -> Result<Option<PostProcessorWrapper>, TokenizerError> {
    let wanted = |key: &str, id: Option<u32>, default: bool| -> Result<Option<u32>, TokenizerError> {
        match (reader.flag(key)?.unwrap_or(default), id) {
            (true, None) => Err(unusable(reader.path, format!("{key} is true, but the file names no such token"))),
            (true, id) => Ok(id),
            (false, _) => Ok(None),
        }
    };
    let is_unigram = reader.text("tokenizer.ggml.model")? == UNIGRAM;
    let first = wanted("tokenizer.ggml.add_bos_token", special.bos, add_bos)?;
    let last = wanted("tokenizer.ggml.add_eos_token", special.eos, is_unigram)?;
    if first.is_none() && last.is_none() {
        return Ok(None);
    }
    let token = |id: Option<u32>| tokens.get(id? as usize);
    // Between two texts, XLM-RoBERTa has the last token twice.
    if let (true, Some((first, bos)), Some((last, eos))) = (is_unigram, token(first).zip(first), token(last).zip(last))
    {
        return Ok(Some(
            RobertaProcessing::new((last.to_owned(), eos), (first.to_owned(), bos)).trim_offsets(false).into(),
        ));
    }
    of_each(inner, reader.path, token(first), token(last)).map(Some)
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

    fn floats(&self, key: &str) -> Result<&'a [f64], TokenizerError> {
        self.needed(key, self.get(key, "a list of numbers", GgufValue::as_floats)?)
    }

    fn flag(&self, key: &str) -> Result<Option<bool>, TokenizerError> {
        self.get(key, "true or false", GgufValue::as_bool)
    }

    /// A token by its id, or the default if there is such a token.
    fn id_or(&self, key: &str, count: usize, default: Option<u32>) -> Result<Option<u32>, TokenizerError> {
        Ok(self.id(key, count)?.or(default.filter(|id| (*id as usize) < count)))
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
