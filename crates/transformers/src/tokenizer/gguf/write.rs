//! The metadata of a GGUF file with a tokenizer.

use burn_adapters_tensors::GgufValue;
use tokenizers::models::bpe::BPE;
use tokenizers::{ModelWrapper, PreTokenizerWrapper};

use super::super::model::{Inner, Model};
use super::{CONTROL, SpecialIds, USER_DEFINED, word_pieces, words};
use crate::families::{BYTE_LEVEL, WORD_PIECES, WORDS, Words};

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
pub(in crate::tokenizer) fn metadata(
    inner: &Inner,
    special: &SpecialIds,
    vocabulary: usize,
) -> Result<Vec<(String, GgufValue)>, String> {
    let model = match inner.get_model() {
        Model::Library(model) => model.as_ref(),
        Model::BytePairs(_) | Model::SentencePiece(_) => {
            return Err("its tokenizer is that of another GGUF file".to_owned());
        }
    };
    let (mut tokens, types) = tokens(inner, vocabulary)?;
    let (name, mut values) = match model {
        ModelWrapper::BPE(model) => (BYTE_LEVEL, byte_level(inner, model, special)?),
        ModelWrapper::WordPiece(model) => {
            let values = word_pieces::metadata(inner, model, special)?;
            tokens = tokens.iter().map(|token| word_pieces::stored(token)).collect();
            (WORD_PIECES, values)
        }
        _ => return Err("its tokenizer has neither byte-level BPE nor BERT's word pieces".to_owned()),
    };
    values.extend([
        ("tokenizer.ggml.model".to_owned(), GgufValue::Text(name.to_owned())),
        ("tokenizer.ggml.tokens".to_owned(), GgufValue::Texts(tokens.into_iter().collect())),
        ("tokenizer.ggml.token_type".to_owned(), GgufValue::Integers(types)),
    ]);
    let ids = special_keys(special).into_iter();
    values.extend(ids.filter_map(|(key, id)| Some((key.to_owned(), GgufValue::Unsigned(id?.into())))));
    Ok(values)
}

/// The tokens by their ids, and their types.
fn tokens(inner: &Inner, vocabulary: usize) -> Result<(Vec<String>, Vec<i64>), String> {
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
    Ok((tokens, types))
}

/// What byte-level BPE has beside its tokens.
fn byte_level(inner: &Inner, model: &BPE, special: &SpecialIds) -> Result<Vec<(String, GgufValue)>, String> {
    if inner.get_normalizer().is_some() {
        return Err("its tokenizer changes texts before it splits them".to_owned());
    }
    let split = inner.get_pre_tokenizer().and_then(|split| serde_json::to_value(split).ok()).unwrap_or_default();
    let is_it = |way: Words| words(way).is_ok_and(|parts| same_split(&split, &parts));
    let (pre, _) = WORDS
        .iter()
        .find(|(_, way)| is_it(*way))
        .ok_or_else(|| format!("its tokenizer splits texts in a way that has no name there: {split}"))?;
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
    Ok(vec![
        ("tokenizer.ggml.pre".to_owned(), GgufValue::Text((*pre).to_owned())),
        ("tokenizer.ggml.merges".to_owned(), GgufValue::Texts(merges)),
        (
            "tokenizer.ggml.add_bos_token".to_owned(),
            GgufValue::Bool(special.bos.is_some() && around.first().copied() == special.bos),
        ),
        (
            "tokenizer.ggml.add_eos_token".to_owned(),
            GgufValue::Bool(special.eos.is_some() && around.last().copied() == special.eos),
        ),
    ])
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
