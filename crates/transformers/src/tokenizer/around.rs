//! The special tokens that a class puts around a text, or around and between two.

use std::path::Path;

use serde_json::{Map, Value, json};
use tokenizers::processors::bert::BertProcessing;
use tokenizers::processors::roberta::RobertaProcessing;
use tokenizers::{Model, PostProcessorWrapper};

use super::class::Class;
use super::model::Inner;
use super::settings::Settings;
use super::unusable;
use crate::TokenizerError;

/// A part of a row; tokens of type 1 belong to the second text.
#[derive(Clone, Copy)]
enum Part<'a> {
    /// The first or the only text.
    First,
    /// The second text, of this type.
    Second(u32),
    Token(&'a str, u32),
}

use Part::{First, Second, Token};

/// The special tokens around the texts of a tokenizer that was made from a vocabulary; `None` for no special tokens.
pub(super) fn of_vocabulary(
    tokenizer: &Inner,
    settings: &Settings,
    file: &Path,
) -> Result<Option<PostProcessorWrapper>, TokenizerError> {
    let around = Around { tokenizer, settings, file };
    let eos = || around.named("eos_token");
    let processor = match settings.class {
        Class::Bert => BertProcessing::new(around.special("sep_token")?, around.special("cls_token")?).into(),
        // Between the texts of a pair RoBERTa has two separators, and all tokens are of type 0.
        Class::Roberta | Class::XlmRoberta => {
            let (sep, cls) = (around.special("sep_token")?, around.special("cls_token")?);
            RobertaProcessing::new(sep, cls).trim_offsets(false).into()
        }
        // These names are fixed in the reference.
        Class::Deberta | Class::DebertaV2 | Class::Albert => {
            let (cls, sep) = (Token("[CLS]", 0), Token("[SEP]", 0));
            around.template(&[cls, First, sep], &[cls, First, sep, Second(1), Token("[SEP]", 1)])?
        }
        Class::T5 => {
            let eos = Token(eos()?, 0);
            around.template(&[First, eos], &[First, eos, Second(0), eos])?
        }
        Class::Gpt2 if settings.add_bos == Some(true) => {
            let bos = Token(around.named("bos_token")?, 0);
            around.template(&[bos, First], &[bos, First, Second(1)])?
        }
        Class::PlBart => {
            let (eos, language) = (Token(eos()?, 0), settings.source_language().map(|language| Token(language, 0)));
            let end = [eos].into_iter().chain(language);
            let single: Vec<Part<'_>> = [First].into_iter().chain(end.clone()).collect();
            let pair: Vec<Part<'_>> = [First, Second(0)].into_iter().chain(end).collect();
            around.template(&single, &pair)?
        }
        _ => return of_class(tokenizer, settings, file),
    };
    Ok(Some(processor))
}

/// The special tokens that a class puts around texts whatever its `tokenizer.json` says, if it does so.
pub(super) fn of_class(
    tokenizer: &Inner,
    settings: &Settings,
    file: &Path,
) -> Result<Option<PostProcessorWrapper>, TokenizerError> {
    let around = Around { tokenizer, settings, file };
    let processor = match settings.class {
        Class::Llama | Class::Gemma => {
            let with = |flag: Option<bool>, default: bool, attribute| {
                flag.unwrap_or(default).then(|| around.named(attribute)).transpose()
            };
            let (bos, eos) = (with(settings.add_bos, true, "bos_token")?, with(settings.add_eos, false, "eos_token")?);
            of_each(tokenizer, file, bos, eos)?
        }
        Class::MBart | Class::MBart50 => {
            let (eos, language) = (around.named("eos_token")?, settings.source_language().unwrap_or("en_XX"));
            let (eos, language) = (Token(eos, 0), Token(language, 0));
            if settings.class == Class::MBart {
                around.template(&[First, eos, language], &[First, Second(0), eos, language])?
            } else {
                around.template(&[language, First, eos], &[language, First, Second(0), eos])?
            }
        }
        _ => return Ok(None),
    };
    Ok(Some(processor))
}

struct Around<'a> {
    tokenizer: &'a Inner,
    settings: &'a Settings,
    file: &'a Path,
}

impl<'a> Around<'a> {
    /// The content of a special token.
    fn named(&self, attribute: &'static str) -> Result<&'a str, TokenizerError> {
        let missing = || unusable(self.file, format!("no file names the {attribute} around each text"));
        self.settings.tokens.special(attribute).ok_or_else(missing)
    }

    /// A special token that the model has a row for: not one that was added without its file saying so.
    fn special(&self, attribute: &'static str) -> Result<(String, u32), TokenizerError> {
        let name = self.named(attribute)?;
        let known = self.tokenizer.get_model().token_to_id(name).is_some() || self.settings.tokens.has_id(name);
        let id = self.tokenizer.token_to_id(name).filter(|_| known);
        let missing = || unusable(self.file, format!("it lacks the token `{name}`, the {attribute} around each text"));
        Ok((name.to_owned(), id.ok_or_else(missing)?))
    }

    /// A template for one text, and one for two.
    fn template(&self, single: &[Part<'_>], pair: &[Part<'_>]) -> Result<PostProcessorWrapper, TokenizerError> {
        template(self.tokenizer, self.file, single, pair)
    }
}

/// A token before each text, and one after it.
pub(super) fn of_each(
    tokenizer: &Inner,
    file: &Path,
    bos: Option<&str>,
    eos: Option<&str>,
) -> Result<PostProcessorWrapper, TokenizerError> {
    let whole = |text: Part<'static>, token_type: u32| {
        let token = |content| Token(content, token_type);
        bos.map(token).into_iter().chain([text]).chain(eos.map(token)).collect::<Vec<_>>()
    };
    template(tokenizer, file, &whole(First, 0), &[whole(First, 0), whole(Second(1), 1)].concat())
}

/// A template for one text, and one for two.
fn template(
    tokenizer: &Inner,
    file: &Path,
    single: &[Part<'_>],
    pair: &[Part<'_>],
) -> Result<PostProcessorWrapper, TokenizerError> {
    let mut tokens = Map::new();
    for part in single.iter().chain(pair) {
        let Token(content, _) = part else { continue };
        let missing = || unusable(file, format!("it lacks the token `{content}`, which stands around each text"));
        let id = tokenizer.token_to_id(content).ok_or_else(missing)?;
        tokens.insert((*content).to_owned(), json!({ "id": content, "ids": [id], "tokens": [content] }));
    }
    let parts = |parts: &[Part<'_>]| -> Value { parts.iter().map(json_of).collect() };
    let template = json!({
        "type": "TemplateProcessing", "single": parts(single), "pair": parts(pair), "special_tokens": tokens
    });
    serde_json::from_value(template).map_err(|error| unusable(file, error))
}

/// A part as `tokenizer.json` has it.
fn json_of(part: &Part<'_>) -> Value {
    match part {
        First => json!({ "Sequence": { "id": "A", "type_id": 0 } }),
        Second(token_type) => json!({ "Sequence": { "id": "B", "type_id": token_type } }),
        Token(content, token_type) => json!({ "SpecialToken": { "id": content, "type_id": token_type } }),
    }
}
