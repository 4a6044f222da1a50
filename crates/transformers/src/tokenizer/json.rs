//! `tokenizer.json`: read by the `tokenizers` crate, after a look at what would let it use memory or time without bound,
//! and changed by the files beside it as in the reference.

use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use burn_adapters_files::is_there;
use serde_json::Value;
use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;

use super::around;
use super::class::Class;
use super::guard::guarded;
use super::model::Inner;
use super::settings::{File, Settings};
use super::unusable;
use super::vocabulary::bert_normalizer;
use crate::TokenizerError;

/// How many times longer normalizers may make a text.
const MOST_GROWTH: usize = 1024;
/// The longest token that stands for unknown words, or prefix that is put before pieces.
const MOST_AFFIX: usize = 256;
/// The longest word, in characters, that word pieces are looked for in: the time grows with its square.
const MOST_WORD: u64 = 4096;
/// The longest regular expression, and how often it may repeat its parts.
const MOST_PATTERN: usize = 16_384;
const MOST_REPEATS: u64 = 100_000;
/// The longest replacement in a charsmap.
const MOST_REPLACEMENT: usize = 1024;

/// The tokenizer of a `tokenizer.json` with the given text, and what the files beside it say.
pub(super) fn tokenizer(dir: &Path, path: &Path, text: &str) -> Result<(Inner, Settings), TokenizerError> {
    let file = File::parse(path.to_owned(), text)?;
    check(&file).map_err(|message| unusable(path, message))?;
    let settings = Settings::read(dir, Some(&file))?;
    drop(file);
    if settings.names_prefix_space && settings.class.prefix_space() && is_there(&dir.join(settings.class.files()[0])) {
        // As in the reference, which builds these classes from the SentencePiece model then.
        return super::from_vocabulary(dir);
    }
    let read = || text.parse::<Inner>().map_err(|error| error.to_string());
    let mut tokenizer = guarded(read).map_err(|message| unusable(path, message))?;
    guarded(|| Ok(settings.tokens.add_to(&mut tokenizer))).map_err(|message| unusable(path, message))??;
    if let (Class::Bert, Some(NormalizerWrapper::BertNormalizer(normalizer))) =
        (settings.class, tokenizer.get_normalizer().cloned())
    {
        let mut own = bert_normalizer(&settings);
        own.clean_text = normalizer.clean_text;
        tokenizer.with_normalizer(Some(own));
    }
    if let Some(around) = around::of_class(&tokenizer, &settings, path)? {
        tokenizer.with_post_processor(Some(around));
    }
    if let Some(PreTokenizerWrapper::ByteLevel(mut bytes)) = tokenizer.get_pre_tokenizer().cloned() {
        bytes.add_prefix_space = settings.add_prefix_space;
        tokenizer.with_pre_tokenizer(Some(bytes));
    }
    Ok((tokenizer, settings))
}

fn check(file: &File) -> Result<(), String> {
    let normalizer = file.get("normalizer");
    let growth = normalizer.map_or(Ok(1), growth)?;
    if growth > MOST_GROWTH {
        return Err(format!(
            "its normalizers can make a text {growth} times longer; at most {MOST_GROWTH} times is read"
        ));
    }
    for part in [normalizer, file.get("pre_tokenizer")].into_iter().flatten() {
        patterns(part)?;
    }
    file.get("model").map_or(Ok(()), model)
}

/// How many times longer a normalizer can make a text.
fn growth(normalizer: &Value) -> Result<usize, String> {
    let text = |key: &str| normalizer.get(key).and_then(Value::as_str).unwrap_or_default();
    match text("type") {
        "Sequence" => {
            let all = normalizer.get("normalizers").and_then(Value::as_array).into_iter().flatten();
            all.map(growth).try_fold(1usize, |product, factor| Ok(product.saturating_mul(factor?)))
        }
        "Replace" => {
            let content = text("content").len();
            let pattern = normalizer.get("pattern");
            let of = |kind: &str| pattern.and_then(|pattern| pattern.get(kind)).and_then(Value::as_str);
            let may_be_empty = |regex: &str| regex.is_empty() || regex.contains(['*', '?', '|', '^', '$', '\\']);
            Ok(match (of("String"), of("Regex")) {
                (Some(pattern), _) if !pattern.is_empty() => content.div_ceil(pattern.len()).max(1),
                (None, Some(regex)) if !may_be_empty(regex) => content.max(1),
                _ => content + 1,
            })
        }
        "Precompiled" => {
            let charsmap = BASE64_STANDARD.decode(text("precompiled_charsmap"));
            check_charsmap(&charsmap.map_err(|error| format!("`precompiled_charsmap` is not base64: {error}"))?)?;
            Ok(1)
        }
        _ => Ok(1),
    }
}

/// Checks SentencePiece's charsmap: the size of a trie, the trie, and the replacements that it points to, each ended by
/// a zero byte. An empty one stands for none.
pub(super) fn check_charsmap(charsmap: &[u8]) -> Result<(), String> {
    let Some((size, rest)) = charsmap.split_first_chunk() else {
        return if charsmap.is_empty() { Ok(()) } else { Err("its charsmap is cut off".into()) };
    };
    let size = u32::from_le_bytes(*size) as usize;
    if size == 0 || !size.is_multiple_of(4) || size > rest.len() {
        return Err(format!("its charsmap is broken: a trie of {size} bytes, and {} bytes follow", rest.len()));
    }
    let replacements = &rest[size..];
    let longest = replacements.split(|byte| *byte == 0).map(<[u8]>::len).max().unwrap_or(0);
    if longest > MOST_REPLACEMENT {
        return Err(format!(
            "its charsmap replaces a character by {longest} bytes; at most {MOST_REPLACEMENT} are read"
        ));
    }
    Ok(())
}

/// Checks every regular expression in a value.
fn patterns(value: &Value) -> Result<(), String> {
    match value {
        Value::Object(map) => map.iter().try_for_each(|(key, value)| match value {
            Value::String(regex) if key == "Regex" => pattern(regex),
            value => patterns(value),
        }),
        Value::Array(values) => values.iter().try_for_each(patterns),
        _ => Ok(()),
    }
}

/// A repetition is compiled as that many copies, and repetitions of repetitions multiply.
fn pattern(regex: &str) -> Result<(), String> {
    let mut repeats = 1u64;
    for braces in regex.split('{').skip(1) {
        let counts = braces.split('}').next().unwrap_or_default().split(',');
        let most = counts.filter_map(|count| count.trim().parse::<u64>().ok()).max();
        repeats = repeats.saturating_mul(most.unwrap_or(1).max(1));
    }
    if regex.len() > MOST_PATTERN || repeats > MOST_REPEATS {
        return Err(format!(
            "it holds a regular expression of {} bytes that repeats its parts {repeats} times; at most {MOST_PATTERN} \
             bytes and {MOST_REPEATS} times are read",
            regex.len()
        ));
    }
    Ok(())
}

fn model(model: &Value) -> Result<(), String> {
    for key in ["unk_token", "continuing_subword_prefix", "end_of_word_suffix"] {
        let length = model.get(key).and_then(Value::as_str).map_or(0, str::len);
        if length > MOST_AFFIX {
            return Err(format!("the model's `{key}` has {length} bytes; at most {MOST_AFFIX} are read"));
        }
    }
    match model.get("max_input_chars_per_word").and_then(Value::as_u64) {
        Some(most) if most > MOST_WORD => Err(format!(
            "the model's `max_input_chars_per_word` is {most}; at most {MOST_WORD} is read (100 is usual): words that are \
             longer become one unknown token"
        )),
        _ => Ok(()),
    }
}
