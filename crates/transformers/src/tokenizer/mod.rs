//! From text to rows of tokens.

use std::path::{Path, PathBuf};

use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::{AddedToken, PostProcessor, TruncationDirection};

use crate::fields::Fields;
use crate::long_text;
use crate::{ModelConfig, TokenizerError};

/// One encoded text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Row {
    /// The tokens, the special ones included.
    pub ids: Vec<u32>,
    /// The type of each token.
    pub token_type_ids: Vec<u32>,
}

impl Row {
    /// A row of tokens of type 0.
    pub fn new(ids: Vec<u32>) -> Self {
        Self { token_type_ids: vec![0; ids.len()], ids }
    }
}

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
    inner: tokenizers::Tokenizer,
    config: ModelConfig,
}

impl Tokenizer {
    /// Reads the tokenizer of a Hugging Face folder: `tokenizer.json`, or `vocab.txt` (BERT's word pieces). Padding and
    /// truncation that the file asks for are left aside; the model's limits come from the `config.json` beside it.
    ///
    /// # Errors
    /// If a file is absent or broken.
    pub fn from_dir(dir: &Path) -> Result<Self, TokenizerError> {
        let config = ModelConfig::from_dir(dir)?;
        let (json, vocabulary) = (dir.join("tokenizer.json"), dir.join("vocab.txt"));
        let mut inner = if json.is_file() {
            tokenizers::Tokenizer::from_file(&json).map_err(|error| unusable(&json, error))?
        } else if vocabulary.is_file() {
            word_pieces(dir, &vocabulary)?
        } else {
            return Err(TokenizerError::Missing { dir: dir.to_owned() });
        };
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|error| unusable(&json, error))?;
        Ok(Self { inner, config })
    }

    /// The token that fills up rows.
    pub fn pad_id(&self) -> u32 {
        self.config.pad_token_id() as u32
    }

    /// The longest row that the model takes, in tokens.
    pub fn max_length(&self) -> usize {
        self.config.max_sequence_length()
    }

    /// The shortest row that has room for a token of a text beside the special ones.
    pub fn min_length(&self) -> usize {
        self.special_tokens() + 1
    }

    fn special_tokens(&self) -> usize {
        self.inner.get_post_processor().map_or(0, |processor| processor.added_tokens(false))
    }

    /// Encodes texts, cut to `max_length` tokens with the special ones (or to the model's own limit, where that is
    /// shorter).
    ///
    /// # Errors
    /// If a text cannot be encoded, `max_length` leaves no room for it, or the tokenizer is of another model than the
    /// `config.json` beside it.
    pub fn encode<T: AsRef<str> + Sync>(&self, texts: &[T], max_length: usize) -> Result<Encoded, TokenizerError> {
        let max_length = max_length.min(self.max_length());
        let special = self.special_tokens();
        let Some(room) = max_length.checked_sub(special).filter(|room| *room > 0) else {
            return Err(TokenizerError::MaxLength { max_length, special });
        };
        let mut encoded = Encoded { rows: Vec::with_capacity(texts.len()), truncated: 0 };
        for (index, text) in texts.iter().enumerate() {
            let failed = |error: tokenizers::Error| TokenizerError::Encoding { index, message: error.to_string() };
            // Cut between the two steps, so that the special tokens at the end stay.
            let mut encoding = long_text::encode(&self.inner, text.as_ref(), room).map_err(failed)?;
            if encoding.len() > room {
                encoded.truncated += 1;
                encoding.truncate(room, 0, TruncationDirection::Right);
            }
            let encoding = self.inner.post_process(encoding, None, true).map_err(failed)?;
            let row = Row { ids: encoding.get_ids().to_vec(), token_type_ids: encoding.get_type_ids().to_vec() };
            self.check(&row)?;
            encoded.rows.push(row);
        }
        Ok(encoded)
    }

    fn check(&self, row: &Row) -> Result<(), TokenizerError> {
        let vocab_size = self.config.vocab_size();
        if let Some(&id) = row.ids.iter().find(|id| **id as usize >= vocab_size) {
            let token = self.inner.id_to_token(id).unwrap_or_default();
            return Err(TokenizerError::UnknownToken { id, token, vocab_size });
        }
        let ModelConfig::Bert(config) = &self.config;
        let type_vocab_size = config.type_vocab_size;
        match row.token_type_ids.iter().find(|id| **id as usize >= type_vocab_size) {
            Some(&token_type) => Err(TokenizerError::UnknownTokenType { token_type, type_vocab_size }),
            None => Ok(()),
        }
    }
}

fn unusable(file: &Path, error: impl ToString) -> TokenizerError {
    TokenizerError::Unusable { file: PathBuf::from(file), message: error.to_string() }
}

/// BERT's tokenizer from its vocabulary, as it was saved before there was `tokenizer.json`.
fn word_pieces(dir: &Path, vocabulary: &Path) -> Result<tokenizers::Tokenizer, TokenizerError> {
    let settings = Settings::read(&dir.join("tokenizer_config.json"))?;
    let path = vocabulary.to_str().ok_or_else(|| unusable(vocabulary, "its path is not UTF-8"))?;
    let model =
        WordPiece::from_file(path).unk_token("[UNK]".into()).build().map_err(|error| unusable(vocabulary, error))?;
    let mut tokenizer = tokenizers::Tokenizer::new(model);
    let special = |token: &str| {
        let id = tokenizer.token_to_id(token);
        id.map(|id| (token.to_owned(), id)).ok_or_else(|| unusable(vocabulary, format!("it lacks the token {token}")))
    };
    let (separator, class) = (special("[SEP]")?, special("[CLS]")?);
    special("[UNK]")?;
    let lower = settings.lower_case;
    tokenizer
        .with_normalizer(Some(BertNormalizer::new(true, settings.chinese, settings.strip_accents, lower)))
        .with_pre_tokenizer(Some(BertPreTokenizer))
        .with_post_processor(Some(BertProcessing::new(separator, class)));
    let special: Vec<AddedToken> = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        .into_iter()
        .filter(|token| tokenizer.token_to_id(token).is_some())
        .map(|token| AddedToken::from(token, true))
        .collect();
    tokenizer.add_special_tokens(&special);
    Ok(tokenizer)
}

/// What `tokenizer_config.json` says of the text before it is split.
struct Settings {
    lower_case: bool,
    chinese: bool,
    strip_accents: Option<bool>,
}

impl Settings {
    fn read(path: &Path) -> Result<Self, TokenizerError> {
        if !path.is_file() {
            return Ok(Self { lower_case: true, chinese: true, strip_accents: None });
        }
        let text = std::fs::read_to_string(path).map_err(|error| unusable(path, error))?;
        let file = path.display().to_string();
        let value = crate::config::parse(&text, &file)?;
        let fields = Fields::new(&value, &file)?;
        Ok(Self {
            lower_case: fields.flag("do_lower_case")?.unwrap_or(true),
            chinese: fields.flag("tokenize_chinese_chars")?.unwrap_or(true),
            strip_accents: fields.flag("strip_accents")?,
        })
    }
}
