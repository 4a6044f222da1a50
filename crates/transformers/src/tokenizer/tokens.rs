//! Added and special tokens, put together as `PreTrainedTokenizerFast` does.
//!
//! Where `tokenizer_config.json` has `added_tokens_decoder`, that and the attributes beside it count, and
//! `special_tokens_map.json` and `added_tokens.json` do not. Otherwise (folders from before 2023) those two do. The order
//! in which tokens are added decides their ids and which of two spellings wins, so it is the reference's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::{Map, Value};
use tokenizers::AddedToken;

use super::class::Class;
use super::model::Inner;
use super::settings::{self, File, Files};
use crate::TokenizerError;

/// The attributes that name special tokens, in the order in which they are added.
const ATTRIBUTES: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// A token with what the files say of it. `normalized` is left open where they do not say: it then is "not special".
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    content: String,
    /// Given by its content alone: what is known of a token of this content already holds.
    bare: bool,
    single_word: bool,
    lstrip: bool,
    rstrip: bool,
    normalized: Option<bool>,
    special: bool,
}

impl Token {
    fn bare(content: &str) -> Self {
        let content = content.to_owned();
        let (single_word, lstrip, rstrip, special) = (false, false, false, false);
        Self { content, bare: true, single_word, lstrip, rstrip, normalized: None, special }
    }

    /// A token as an object; `key` is what errors call it.
    fn of_object(object: &Map<String, Value>, file: &File, key: &str) -> Result<Self, TokenizerError> {
        let flag = |name: &str| match object.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(file.wrong(&format!("{key}: {name}"), "true or false", other)),
        };
        let Some(Value::String(content)) = object.get("content") else {
            return Err(file.wrong(key, "a token with its `content`", &Value::Object(object.clone())));
        };
        Ok(Self {
            content: content.clone(),
            bare: false,
            single_word: flag("single_word")?.unwrap_or(false),
            lstrip: flag("lstrip")?.unwrap_or(false),
            rstrip: flag("rstrip")?.unwrap_or(false),
            normalized: flag("normalized")?,
            special: flag("special")?.unwrap_or(false),
        })
    }

    /// A token as a string or an object; `special` is whether the file describes special ones only.
    fn of_value(value: &Value, file: &File, key: &str, special: bool) -> Result<Self, TokenizerError> {
        match value {
            Value::String(content) => Ok(Self::bare(content)),
            Value::Object(object) => {
                let token = Self::of_object(object, file, key)?;
                Ok(Self { special: special || token.special, ..token })
            }
            other => Err(file.wrong(key, "a token: a string or an object", other)),
        }
    }

    fn build(self) -> AddedToken {
        AddedToken::from(self.content, self.special)
            .single_word(self.single_word)
            .lstrip(self.lstrip)
            .rstrip(self.rstrip)
            .normalized(self.normalized.unwrap_or(!self.special))
    }
}

/// The added and special tokens of a folder.
#[derive(Debug, Clone, Default)]
pub(super) struct Tokens {
    /// Added tokens by their ids.
    added: BTreeMap<u32, Token>,
    /// Special tokens by the attribute that names them.
    special: BTreeMap<&'static str, Token>,
    additional: Vec<Token>,
    /// The file with the ids, for errors.
    file: PathBuf,
}

impl Tokens {
    /// Reads them from the files of a folder; `json` is its `tokenizer.json`.
    pub(super) fn read(class: Class, files: &Files, json: Option<&File>) -> Result<Self, TokenizerError> {
        let mut tokens = Self::default();
        let reader = Reader { class, slow: json.is_none() };
        for &(attribute, content) in class.defaults() {
            tokens.special.insert(attribute, reader.bare(attribute, content));
        }
        let config = files.config.as_ref();
        if let Some(config) = config {
            reader.attributes(&mut tokens, config, false)?;
        }
        tokens.add_own(class, config)?;
        if let Some((config, decoder)) = config.and_then(|config| Some((config, config.get("added_tokens_decoder")?))) {
            let Value::Object(decoder) = decoder else {
                return Err(config.wrong("added_tokens_decoder", "an object of tokens by id", decoder));
            };
            tokens.file.clone_from(&config.path);
            for (id, token) in decoder {
                let key = format!("added_tokens_decoder: {id}");
                let number = id.parse().map_err(|_| config.wrong(&key, "an id as a whole number", token))?;
                let Value::Object(object) = token else { return Err(config.wrong(&key, "an object", token)) };
                tokens.added.insert(number, Token::of_object(object, config, &key)?);
            }
            tokens.name_added();
            return Ok(tokens);
        }
        if let Some(map) = &files.map {
            let before = std::mem::take(&mut tokens.additional);
            reader.attributes(&mut tokens, map, true)?;
            let new = std::mem::replace(&mut tokens.additional, before);
            let new: Vec<Token> = new.into_iter().filter(|token| !tokens.additional.contains(token)).collect();
            tokens.additional.extend(new);
        }
        if let Some(added) = &files.added {
            tokens.file.clone_from(&added.path);
            let special = tokens.special_contents();
            for (content, id) in added.entries() {
                let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
                let id = id.ok_or_else(|| added.wrong(content, "an id as a whole number", &Value::Null))?;
                let special = special.contains(content);
                let token = Token { normalized: Some(!special), special, ..Token::bare(content) };
                tokens.added.insert(id, token);
            }
        }
        if let Some(json) = json {
            tokens.file.clone_from(&json.path);
            for token in json.get("added_tokens").and_then(Value::as_array).into_iter().flatten() {
                let (Value::Object(object), Some(id)) = (token, token.get("id").and_then(Value::as_u64)) else {
                    return Err(json.wrong("added_tokens", "tokens with their `id`", token));
                };
                let id = u32::try_from(id).map_err(|_| json.wrong("added_tokens", "an id below 2³²", token))?;
                tokens.added.insert(id, Token::of_object(object, json, "added_tokens")?);
            }
            tokens.name_added();
        }
        Ok(tokens)
    }

    /// Adds the special tokens that a class has in numbers: languages, and T5's sentinels.
    fn add_own(&mut self, class: Class, config: Option<&File>) -> Result<(), TokenizerError> {
        let count = config.map_or(Ok(settings::EXTRA_IDS), settings::extra_ids)?;
        let given = self.additional.iter().filter(|token| token.content.contains("<extra_id_")).count();
        match (class, config) {
            (Class::T5, Some(config)) if given > 0 && count > 0 && given != count => {
                let expected = format!("the number of sentinels in additional_special_tokens, {given}");
                return Err(config.wrong("extra_ids", &expected, &count.into()));
            }
            (Class::T5, _) if given > 0 => return Ok(()),
            _ => {}
        }
        let all = config.map_or(Ok(false), settings::all_languages)?;
        let languages = class.languages(all).iter().map(|language| Token::bare(language));
        let sentinels = if class == Class::T5 { count } else { 0 };
        let own: Vec<Token> =
            languages.chain((0..sentinels).map(|i| Token::bare(&format!("<extra_id_{i}>")))).collect();
        let is_new = |token: &Token| !self.additional.iter().any(|known| known.content == token.content);
        let new: Vec<Token> = own.into_iter().filter(is_new).collect();
        self.additional.extend(new);
        Ok(())
    }

    /// A special token that is an added one too is what is said of it there.
    fn name_added(&mut self) {
        for token in self.special.values_mut() {
            if let Some(added) = self.added.values().find(|added| added.content == token.content) {
                *token = added.clone();
            }
        }
    }

    fn special_contents(&self) -> BTreeSet<String> {
        self.special.values().chain(&self.additional).map(|token| token.content.clone()).collect()
    }

    /// The token that this attribute names.
    pub(super) fn special(&self, attribute: &'static str) -> Option<&str> {
        self.special.get(attribute).map(|token| token.content.as_str())
    }

    /// Whether a file gives this token an id.
    pub(super) fn has_id(&self, content: &str) -> bool {
        self.added.values().any(|added| added.content == content)
    }

    /// Adds all to a tokenizer, and checks that each has the id that its file says.
    pub(super) fn add_to(&self, tokenizer: &mut Inner) -> Result<(), TokenizerError> {
        let special = self.special_contents();
        let mut seen = BTreeSet::new();
        let named = ATTRIBUTES.iter().filter_map(|attribute| self.special.get(attribute)).chain(&self.additional);
        let named = named.filter(|token| seen.insert(token.content.clone()));
        let known: BTreeSet<String> =
            tokenizer.get_added_tokens_decoder().values().map(|t| t.content.clone()).collect();
        let known = |content: &str| known.contains(content) || self.has_id(content);
        let named = named.filter(|token| !(token.bare && known(&token.content)));
        let tokens: Vec<AddedToken> = self
            .added
            .values()
            .chain(named)
            .cloned()
            .map(|token| Token { special: token.special || special.contains(&token.content), ..token }.build())
            .collect();
        tokenizer.add_tokens(&tokens);
        for (&id, token) in &self.added {
            let found = tokenizer.token_to_id(&token.content);
            if found != Some(id) && !token.content.is_empty() {
                return Err(TokenizerError::TokenId {
                    file: self.file.clone(),
                    token: token.content.clone(),
                    id,
                    found,
                });
            }
        }
        Ok(())
    }
}

/// How a class reads the attributes of special tokens.
#[derive(Clone, Copy)]
struct Reader {
    class: Class,
    /// Without a `tokenizer.json`, the slow tokenizer's tokens are taken over.
    slow: bool,
}

impl Reader {
    /// A special token that is given as a string, as the class makes it.
    fn bare(self, attribute: &str, content: &str) -> Token {
        let bare = Token::bare(content);
        let mask = attribute == "mask_token";
        match self.class {
            // The mask takes the space before it.
            Class::Roberta if mask => Token { bare: false, lstrip: true, normalized: Some(false), ..bare },
            Class::XlmRoberta | Class::MBart | Class::MBart50 | Class::PlBart | Class::Deberta if mask => {
                Token { bare: false, lstrip: true, ..bare }
            }
            Class::Albert if mask => Token { bare: false, lstrip: true, normalized: Some(false), ..bare },
            Class::DebertaV2 if self.slow && attribute == "unk_token" => {
                Token { bare: false, normalized: Some(true), ..bare }
            }
            // Made before it is known to be special.
            Class::Roberta if self.slow => Token { bare: false, normalized: Some(true), ..bare },
            _ => bare,
        }
    }

    fn attributes(self, tokens: &mut Tokens, file: &File, special: bool) -> Result<(), TokenizerError> {
        for attribute in ATTRIBUTES {
            match file.value(attribute) {
                None => {}
                Some(Value::Null) => {
                    tokens.special.remove(attribute);
                }
                Some(Value::String(content)) => {
                    tokens.special.insert(attribute, self.bare(attribute, content));
                }
                Some(value) => {
                    tokens.special.insert(attribute, Token::of_value(value, file, attribute, special)?);
                }
            }
        }
        const ADDITIONAL: &str = "additional_special_tokens";
        match file.get(ADDITIONAL) {
            None => Ok(()),
            Some(Value::Array(values)) => {
                let read = |value| Token::of_value(value, file, ADDITIONAL, special);
                tokens.additional = values.iter().map(read).collect::<Result<_, _>>()?;
                Ok(())
            }
            Some(other) => Err(file.wrong(ADDITIONAL, "a list of tokens", other)),
        }
    }
}
