//! Tokenizers from the metadata of a GGUF file.
//!
//! A file holds the tokens with their types and what is merged, and names the expression by which a text is split into words
//! (`tokenizer.ggml.pre`) without spelling it out: a name that is not known here is an error, because another expression
//! would give other tokens.

use std::path::Path;

use burn_adapters_tensors::{Gguf, GgufValue};
use tokenizers::decoders::byte_level::ByteLevel as ByteLevelDecoder;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, ModelWrapper, PreTokenizerWrapper, SplitDelimiterBehavior};

use super::around::of_each;
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
    pub(super) inner: tokenizers::Tokenizer,
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
    let mut vocabulary = Vocab::default();
    for (token, id) in tokens.iter().zip(0..) {
        if vocabulary.insert(token.clone(), id).is_some() {
            return Err(unusable(path, format!("tokenizer.ggml.tokens has the token {token:?} twice")));
        }
    }
    let mut merges = Vec::new();
    for merge in reader.texts("tokenizer.ggml.merges")? {
        let pair = merge.split_once(' ').filter(|(first, second)| !first.is_empty() && !second.contains(' '));
        let pair = pair.ok_or_else(|| unusable(path, format!("tokenizer.ggml.merges: {merge:?} is not two pieces")))?;
        merges.push((pair.0.to_owned(), pair.1.to_owned()));
    }
    let split = reader.text("tokenizer.ggml.pre")?;
    let way = WORDS.iter().find(|(known, _)| *known == split).map(|(_, way)| *way).ok_or_else(|| {
        let known: Vec<&str> = WORDS.iter().map(|(name, _)| *name).collect();
        unusable(path, format!("tokenizer.ggml.pre is \"{split}\", which is not known: {} are", known.join(", ")))
    })?;
    let words = words(way);
    let ignores_merges = way == Words::Llama3;
    let model = BPE::builder().vocab_and_merges(vocabulary, merges).ignore_merges(ignores_merges).build();
    let mut inner = tokenizers::Tokenizer::new(model.map_err(|error| unusable(path, error))?);
    inner.with_pre_tokenizer(Some(Sequence::new(words.map_err(|error| unusable(path, error))?)));
    inner.with_decoder(Some(ByteLevelDecoder::default()));
    let whole = tokens.iter().zip(types).filter(|(_, kind)| [CONTROL, USER_DEFINED].contains(kind));
    let added = whole.map(|(token, kind)| AddedToken::from(token.clone(), *kind == CONTROL).normalized(false));
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

/// The type of a plain token, and of an id without one.
const NORMAL: i64 = 1;
const UNUSED: i64 = 5;

/// The keys of special tokens' ids.
fn special_keys(special: &SpecialIds) -> [(&'static str, Option<u32>); 7] {
    [
        ("tokenizer.ggml.bos_token_id", special.bos),
        ("tokenizer.ggml.eos_token_id", special.eos),
        ("tokenizer.ggml.unknown_token_id", special.unk),
        ("tokenizer.ggml.seperator_token_id", special.sep),
        ("tokenizer.ggml.padding_token_id", special.pad),
        ("tokenizer.ggml.cls_token_id", special.cls),
        ("tokenizer.ggml.mask_token_id", special.mask),
    ]
}

/// The metadata of a file with this tokenizer, for a model of so many tokens.
///
/// # Errors
/// The reason why there is no such file.
pub(super) fn metadata(
    inner: &tokenizers::Tokenizer,
    special: &SpecialIds,
    vocabulary: usize,
) -> Result<Vec<(String, GgufValue)>, String> {
    let ModelWrapper::BPE(model) = inner.get_model() else {
        return Err("its tokenizer is not byte-level BPE".to_owned());
    };
    if inner.get_normalizer().is_some() {
        return Err("its tokenizer changes texts before it splits them".to_owned());
    }
    let split = inner.get_pre_tokenizer().and_then(|split| serde_json::to_value(split).ok()).unwrap_or_default();
    let is_it = |way: Words| words(way).is_ok_and(|parts| same_split(&split, &parts));
    let (pre, _) = WORDS
        .iter()
        .find(|(_, way)| is_it(*way))
        .ok_or_else(|| format!("its tokenizer splits texts in a way that has no name there: {split}"))?;
    let ids = inner.get_vocab(true);
    let added = inner.get_added_tokens_decoder();
    let count = vocabulary.max(ids.len());
    let mut tokens: Vec<String> = (0..count).map(|id| format!("[PAD{id}]")).collect();
    let mut types = vec![UNUSED; count];
    for (token, id) in ids {
        let place = tokens.get_mut(id as usize).ok_or_else(|| format!("the token {token:?} has the id {id}"))?;
        types[id as usize] = match added.get(&id) {
            Some(added) if added.special => CONTROL,
            Some(_) => USER_DEFINED,
            None => NORMAL,
        };
        *place = token;
    }
    let merges = serde_json::to_value(model).map_err(|error| error.to_string())?;
    let merge = |merge: &serde_json::Value| match merge {
        serde_json::Value::Array(pair) => {
            let halves: Vec<&str> = pair.iter().filter_map(serde_json::Value::as_str).collect();
            halves.join(" ")
        }
        other => other.as_str().unwrap_or_default().to_owned(),
    };
    let merges = merges.get("merges").and_then(serde_json::Value::as_array).into_iter().flatten().map(merge).collect();
    let empty = inner.encode("", true).map_err(|error| error.to_string())?;
    let around = empty.get_ids();
    let mut values = vec![
        ("tokenizer.ggml.model".to_owned(), GgufValue::Text(BYTE_LEVEL.to_owned())),
        ("tokenizer.ggml.pre".to_owned(), GgufValue::Text((*pre).to_owned())),
        ("tokenizer.ggml.tokens".to_owned(), GgufValue::Texts(tokens)),
        ("tokenizer.ggml.token_type".to_owned(), GgufValue::Integers(types)),
        ("tokenizer.ggml.merges".to_owned(), GgufValue::Texts(merges)),
        (
            "tokenizer.ggml.add_bos_token".to_owned(),
            GgufValue::Bool(special.bos.is_some() && around.first().copied() == special.bos),
        ),
        (
            "tokenizer.ggml.add_eos_token".to_owned(),
            GgufValue::Bool(special.eos.is_some() && around.last().copied() == special.eos),
        ),
    ];
    let ids = special_keys(special).into_iter();
    values.extend(ids.filter_map(|(key, id)| Some((key.to_owned(), GgufValue::Unsigned(id?.into())))));
    Ok(values)
}

/// Whether a pre-tokenizer is that of these parts.
fn same_split(found: &serde_json::Value, parts: &[PreTokenizerWrapper]) -> bool {
    let parts: Vec<serde_json::Value> = parts.iter().filter_map(|part| serde_json::to_value(part).ok()).collect();
    match (found.get("pretokenizers").and_then(serde_json::Value::as_array), parts.as_slice()) {
        (Some(found), parts) => found.iter().map(plain).eq(parts.iter().map(plain)),
        (None, [part]) => plain(found) == plain(part),
        (None, _) => false,
    }
}

/// A pre-tokenizer without what does not change its words.
fn plain(part: &serde_json::Value) -> serde_json::Value {
    let mut part = part.clone();
    if let Some(keys) = part.as_object_mut() {
        keys.remove("trim_offsets");
    }
    part
}

/// Puts the tokens around a text that the file asks for.
fn around(
    reader: &Reader<'_>,
    inner: &mut tokenizers::Tokenizer,
    special: &SpecialIds,
    tokens: &[String],
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
    let token = |id: Option<u32>| id.map(|id| tokens[id as usize].as_str());
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

    fn texts(&self, key: &str) -> Result<&'a [String], TokenizerError> {
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
