//! Tokenizers from a vocabulary, as they were saved before there was `tokenizer.json`: BERT's word pieces, and the
//! byte-level BPE of GPT-2 and its relatives.

use std::collections::HashSet;
use std::path::Path;

use burn_adapters_files::{MAX_TEXT, read_text};
use tokenizers::SplitDelimiterBehavior;
use tokenizers::decoders::wordpiece::WordPiece as WordPieceDecoder;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::{BertNormalizer, NFC};
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};

use super::class::Class;
use super::model::Inner;
use super::settings::{File, Settings};
use super::unusable;
use crate::TokenizerError;

/// The normalizer of a `BertTokenizer`.
pub(super) fn bert_normalizer(settings: &Settings) -> BertNormalizer {
    BertNormalizer::new(true, settings.chinese, settings.strip_accents, settings.lower_case)
}

/// BERT's tokenizer: one token a line, whose number is its id. The last of two equal ones counts, as in the reference.
pub(super) fn word_pieces(dir: &Path, settings: &Settings) -> Result<Inner, TokenizerError> {
    let path = dir.join("vocab.txt");
    let text = lines_of(&path)?;
    let vocabulary: Vocab = text.lines().zip(0..).map(|(token, id)| (token.to_owned(), id)).collect();
    let unknown = settings.tokens.special("unk_token").unwrap_or("[UNK]").to_owned();
    if !vocabulary.contains_key(&unknown) {
        return Err(unusable(&path, format!("it lacks the token {unknown}")));
    }
    let model = WordPiece::builder().vocab(vocabulary).unk_token(unknown).build();
    let model = model.map_err(|error| unusable(&path, error))?;
    let mut tokenizer = Inner::new(model.into());
    tokenizer.with_normalizer(Some(bert_normalizer(settings))).with_pre_tokenizer(Some(BertPreTokenizer));
    tokenizer.with_decoder(Some(WordPieceDecoder::new("##".into(), true)));
    Ok(tokenizer)
}

/// Qwen2's words: contractions, letters, single digits, signs, and white space.
pub(super) const QWEN2: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);

/// GPT-2's tokenizer: a vocabulary of byte-level pieces, and what is merged, in order.
pub(super) fn byte_pairs(dir: &Path, settings: &Settings) -> Result<Inner, TokenizerError> {
    let (vocabulary, merges) = (dir.join("vocab.json"), dir.join("merges.txt"));
    let missing = || TokenizerError::Missing { dir: dir.to_owned(), expected: settings.class.files().join(" and ") };
    let file = File::read(vocabulary)?.ok_or_else(missing)?;
    let mut tokens = Vocab::default();
    for (token, id) in file.entries() {
        let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
        let value = file.value(token).cloned().unwrap_or_default();
        let id = id.ok_or_else(|| file.wrong(token, "an id as a whole number", &value))?;
        tokens.insert(token.clone(), id);
    }
    let text = lines_of(&merges)?;
    let mut seen = HashSet::new();
    let mut pairs = Vec::new();
    // The first line is the version. The reference reads up to the last line break, and so does this; Qwen2's class reads
    // every line that is not empty.
    let qwen2 = settings.class == Class::Qwen2;
    let complete = if qwen2 { text.as_str() } else { text.rfind('\n').map_or("", |end| &text[..end]) };
    for (number, line) in complete.split('\n').enumerate() {
        let skipped =
            if qwen2 { line.trim().is_empty() || line.starts_with("#version:") && number == 0 } else { number == 0 };
        if skipped {
            continue;
        }
        let [first, second] = line.split_whitespace().collect::<Vec<_>>()[..] else {
            let found = if line.trim().is_empty() { "an empty line" } else { "something else" };
            return Err(unusable(&merges, format!("line {}: expected two pieces to merge, found {found}", number + 1)));
        };
        if seen.insert((first, second)) {
            pairs.push((first.to_owned(), second.to_owned()));
        }
    }
    let model = BPE::builder().vocab_and_merges(tokens, pairs).build().map_err(|error| unusable(&merges, error))?;
    let mut tokenizer = Inner::new(model.into());
    if qwen2 {
        let words = Split::new(SplitPattern::Regex(QWEN2.into()), SplitDelimiterBehavior::Isolated, false);
        let words = words.map_err(|error| unusable(&merges, error))?;
        let bytes = ByteLevel::new(false, true, false);
        tokenizer.with_normalizer(Some(NFC)).with_pre_tokenizer(Some(Sequence::new(vec![words.into(), bytes.into()])));
    } else {
        tokenizer.with_pre_tokenizer(Some(ByteLevel::new(settings.add_prefix_space, true, true)));
    }
    tokenizer.with_decoder(Some(ByteLevel::default()));
    Ok(tokenizer)
}

/// A file's text with `\n` as its only line breaks.
fn lines_of(path: &Path) -> Result<String, TokenizerError> {
    let text = read_text(path, MAX_TEXT).map_err(|error| unusable(path, error.kind))?;
    Ok(if text.contains('\r') { text.replace("\r\n", "\n").replace('\r', "\n") } else { text })
}
