//! From text to rows of tokens, and back.

mod around;
mod class;
mod clean;
mod decode;
mod encode;
mod gguf;
mod guard;
mod json;
mod model;
mod pieces;
mod sentencepiece;
mod settings;
mod tokens;
mod vocabulary;
mod windows;

use std::path::{Path, PathBuf};

use burn_adapters_files::{MAX_TEXT, is_there, read_text};
use burn_adapters_model::{Limits, Row};
use burn_adapters_tensors::GgufValue;
use tokenizers::TruncationDirection;

pub(crate) use self::class::Class;
pub use self::decode::{DecodeStream, SpecialIds};
use self::guard::guarded;
pub(crate) use self::model::Inner;
use self::settings::Settings;
use crate::gguf::{is_gguf, open_config};
use crate::{ModelConfig, TokenizerError};

/// Encoded texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// A row for each text, in order.
    pub rows: Vec<Row>,
    /// How many texts were longer than the maximum, and cut.
    pub truncated: usize,
}

/// The tokenizer of a model.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: Inner,
    limits: Limits,
    /// The longest row that the tokenizer is meant for.
    max_length: Option<usize>,
    truncation: TruncationDirection,
    /// Decoded text is without spaces before punctuation.
    clean_up_spaces: bool,
    /// Rows have token types.
    token_types: bool,
    special_ids: SpecialIds,
}

impl Tokenizer {
    /// Reads the tokenizer of a Hugging Face folder: `tokenizer.json`; or the vocabulary of its class, which is `vocab.txt`
    /// (word pieces, as BERT's), `vocab.json` with `merges.txt` (byte-level BPE, as GPT-2's), or a SentencePiece model
    /// (`tokenizer.model`, `spiece.model`, `spm.model` or `sentencepiece.bpe.model`; Unigram or BPE). Of a GGUF file, it is in
    /// the metadata.
    ///
    /// As in the reference, `tokenizer_config.json`, `special_tokens_map.json` and `added_tokens.json` beside it count:
    /// added and special tokens, lower case, accents, Chinese characters, the space before the first word, the side that
    /// is cut, and the class (of which some are known). Padding and lengths of `tokenizer.json` do not.
    ///
    /// # Errors
    /// If a file is absent or broken, the class is unknown, or the ids of tokens contradict each other.
    pub fn from_dir(dir: &Path) -> Result<Self, TokenizerError> {
        if is_gguf(dir) {
            return Self::from_gguf(dir);
        }
        let limits = ModelConfig::from_dir(dir)?.limits();
        let json = dir.join("tokenizer.json");
        let (mut inner, settings) = match read_text(&json, MAX_TEXT) {
            Ok(text) => json::tokenizer(dir, &json, &text)?,
            Err(_) if !is_there(&json) => from_vocabulary(dir)?,
            Err(error) => return Err(unusable(&json, error.kind)),
        };
        let truncation = settings.truncation.or(inner.get_truncation().map(|truncation| truncation.direction));
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|error| unusable(&json, error))?;
        inner.set_encode_special_tokens(settings.split_special);
        let truncation = truncation.unwrap_or(TruncationDirection::Right);
        let special = |attribute| settings.tokens.special(attribute).and_then(|token| inner.token_to_id(token));
        let special_ids = SpecialIds {
            bos: special("bos_token"),
            eos: special("eos_token"),
            unk: special("unk_token"),
            sep: special("sep_token"),
            pad: special("pad_token"),
            cls: special("cls_token"),
            mask: special("mask_token"),
        };
        // DeBERTa's class gives types also where its model has none.
        let has_types = limits.token_types > 1 || matches!(settings.class, Class::Bert | Class::Albert);
        let tokenizer = Self {
            inner,
            limits,
            max_length: settings.max_length,
            truncation,
            clean_up_spaces: settings.clean_up_spaces,
            token_types: settings.token_types && has_types,
            special_ids,
        };
        // What is around every text is used once here, so that a file which is broken there is one when it is read.
        let alone = || tokenizer.encode_in("".into(), usize::MAX, false).map_err(|error| error.to_string());
        guarded(alone).map_err(|message| unusable(&json, message))?;
        Ok(tokenizer)
    }

    /// The metadata of a GGUF file with this tokenizer, for a model of so many tokens.
    ///
    /// # Errors
    /// The reason why llama.cpp has no such tokenizer.
    pub(crate) fn gguf_metadata(&self, vocabulary: usize) -> Result<Vec<(String, GgufValue)>, String> {
        gguf::metadata(&self.inner, &self.special_ids, vocabulary)
    }

    fn from_gguf(path: &Path) -> Result<Self, TokenizerError> {
        let file = open_config(path)?;
        let limits = ModelConfig::from_gguf(&file)?.limits();
        let build = || Ok(gguf::tokenizer(path, &file));
        let gguf::FromGguf { inner, special, has_types } =
            guarded(build).map_err(|message| unusable(path, message))??;
        Ok(Self {
            inner,
            limits,
            max_length: None,
            truncation: TruncationDirection::Right,
            clean_up_spaces: false,
            token_types: has_types && limits.token_types > 1,
            special_ids: special,
        })
    }

    /// The token that fills up rows.
    pub fn pad_id(&self) -> u32 {
        self.limits.pad_id
    }

    /// The longest row in tokens: that of the model, or `model_max_length` of `tokenizer_config.json` where it is shorter.
    pub fn max_length(&self) -> usize {
        self.model_limit().min(self.max_length.unwrap_or(usize::MAX))
    }

    /// The longest row that the model takes, in tokens.
    pub fn model_limit(&self) -> usize {
        self.limits.sequence
    }

    /// The shortest row that has room for a token of a text beside the special ones.
    pub fn min_length(&self) -> usize {
        self.special_tokens(false) + 1
    }

    /// Encodes texts, cut to `max_length` tokens with the special ones (or to the model's own limit, where that is
    /// shorter).
    ///
    /// # Errors
    /// If a text cannot be encoded, `max_length` leaves no room for it, or the tokenizer is of another model than the
    /// `config.json` beside it.
    pub fn encode<T: AsRef<str> + Sync>(&self, texts: &[T], max_length: usize) -> Result<Encoded, TokenizerError> {
        // Also without any text.
        self.room(max_length, false)?;
        let mut encoded = Encoded { rows: Vec::with_capacity(texts.len()), truncated: 0 };
        for (index, text) in texts.iter().enumerate() {
            let text = self.encode_one(index, text.as_ref().into(), max_length, false)?;
            encoded.truncated += usize::from(text.truncated);
            encoded.rows.push(text.row);
        }
        Ok(encoded)
    }

    fn check(&self, row: &Row) -> Result<(), TokenizerError> {
        let vocab_size = self.limits.vocabulary;
        if let Some(&id) = row.ids.iter().find(|id| **id as usize >= vocab_size) {
            let token = self.inner.id_to_token(id).unwrap_or_default();
            return Err(TokenizerError::UnknownToken { id, token, vocab_size });
        }
        let type_vocab_size = self.limits.token_types;
        match row.token_type_ids.iter().find(|id| **id as usize >= type_vocab_size) {
            Some(&token_type) => Err(TokenizerError::UnknownTokenType { token_type, type_vocab_size }),
            None => Ok(()),
        }
    }
}

fn unusable(file: &Path, error: impl ToString) -> TokenizerError {
    TokenizerError::Unusable { file: PathBuf::from(file), message: error.to_string() }
}

/// The tokenizer of a folder without `tokenizer.json`.
fn from_vocabulary(dir: &Path) -> Result<(Inner, Settings), TokenizerError> {
    let settings = Settings::read(dir, None)?;
    let files = settings.class.files();
    if files.is_empty() || !files.iter().all(|name| is_there(&dir.join(name))) {
        let class = &settings.class_name;
        let own = if files.is_empty() { String::new() } else { format!(" or {}", files.join(" with ")) };
        let expected = format!("tokenizer.json{own} (for {class})");
        return Err(TokenizerError::Missing { dir: dir.to_owned(), expected });
    }
    let file = dir.join(files[0]);
    let build = || {
        let mut tokenizer = match settings.class.files() {
            ["vocab.txt"] => vocabulary::word_pieces(dir, &settings),
            ["vocab.json", ..] => vocabulary::byte_pairs(dir, &settings),
            _ => sentencepiece::tokenizer(dir, &settings),
        }?;
        settings.tokens.add_to(&mut tokenizer)?;
        let around = around::of_vocabulary(&tokenizer, &settings, &file)?;
        tokenizer.with_post_processor(around);
        Ok::<_, TokenizerError>(tokenizer)
    };
    let tokenizer = guarded(|| Ok(build())).map_err(|message| unusable(&file, message))??;
    Ok((tokenizer, settings))
}
