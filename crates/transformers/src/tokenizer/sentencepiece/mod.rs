//! Tokenizers from a SentencePiece model, each class as the reference's converter builds it.
//!
//! fairseq's ids (XLM-RoBERTa, mBART, PLBART) begin with four special tokens, of which the model's own first three are left
//! out, so that all others move up by one; languages and the mask come last.

mod bpe;
mod merges;
mod proto;

use std::collections::HashMap;
use std::path::Path;

use burn_adapters_files::{MAX_TEXT, read};
use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence as DecoderSequence;
use tokenizers::decoders::strip::Strip as StripDecoder;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::models::unigram::Unigram;
use tokenizers::normalizers::replace::{Replace, ReplacePattern};
use tokenizers::normalizers::utils::Lowercase;
use tokenizers::normalizers::{NFKD, NormalizerWrapper, Precompiled, Prepend, Sequence, Strip, StripAccents};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::punctuation::Punctuation;
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizerSequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, DecoderWrapper, ModelWrapper, SplitDelimiterBehavior};

pub(super) use self::bpe::SentencePiece;
use self::proto::{CONTROL, Model, Piece, UNKNOWN, USER_DEFINED};
use super::class::Class;
use super::json::check_charsmap;
use super::model::Inner;
use super::settings::Settings;
use super::unusable;
use crate::TokenizerError;

/// What stands for a space in pieces.
pub(super) const SPACE: char = '▁';

/// Spaces become what stands for them in pieces; with a prefix, there is one before a text.
pub(super) fn spaces_as_pieces(has_prefix: bool) -> Result<NormalizerWrapper, String> {
    let prefix = has_prefix.then(|| Prepend::new(SPACE.to_string()).into());
    let replace = Replace::new(ReplacePattern::String(" ".into()), SPACE.to_string());
    let replace = replace.map_err(|error| error.to_string())?;
    Ok(Sequence::new(prefix.into_iter().chain([replace.into()]).collect()).into())
}

/// The text of pieces, of which some are bytes; a prefix is left out.
pub(super) fn pieces_as_text(has_prefix: bool) -> Result<DecoderWrapper, String> {
    let spaces = Replace::new(ReplacePattern::String(SPACE.into()), " ").map_err(|error| error.to_string())?;
    let mut all: Vec<DecoderWrapper> = vec![spaces.into(), ByteFallback::new().into(), Fuse::new().into()];
    if has_prefix {
        all.push(StripDecoder::new(' ', 1, 0).into());
    }
    Ok(DecoderSequence::new(all).into())
}

/// Several spaces become one, or what stands for it.
fn spaces(to: &str) -> Result<NormalizerWrapper, String> {
    let replace = Replace::new(ReplacePattern::Regex(" {2,}".into()), to);
    Ok(replace.map_err(|error| error.to_string())?.into())
}

/// What replaces characters; nothing if it is empty.
fn charsmap(map: &[u8]) -> Result<Option<NormalizerWrapper>, String> {
    if map.is_empty() {
        return Ok(None);
    }
    Ok(Some(Precompiled::from(map).map_err(|error| error.to_string())?.into()))
}

/// A text as Unigram reads it: characters replaced by a [checked](check_charsmap) charsmap, and without superfluous spaces.
pub(super) fn unigram_text(map: &[u8]) -> Result<NormalizerWrapper, String> {
    let all = charsmap(map)?.into_iter().chain([Strip::new(false, true).into(), spaces("▁")?]);
    Ok(Sequence::new(all.collect()).into())
}

/// The tokenizer of a folder with a SentencePiece model, without the tokens around a text.
pub(super) fn tokenizer(dir: &Path, settings: &Settings) -> Result<Inner, TokenizerError> {
    let path = dir.join(settings.class.files()[0]);
    let bytes = read(&path, MAX_TEXT).map_err(|error| unusable(&path, error.kind))?;
    let failed = |message: String| unusable(&path, message);
    let model =
        proto::parse(&bytes).map_err(|message| failed(format!("it is not a SentencePiece model: {message}")))?;
    if let Some(piece) = model.pieces.iter().find(|piece| !piece.score.is_finite()) {
        return Err(failed(format!("the piece `{}` has the score {}", piece.text, piece.score)));
    }
    check_charsmap(&model.charsmap).map_err(failed)?;
    let builder = Builder { dir, settings, model };
    builder.build().map_err(failed)
}

struct Builder<'a> {
    dir: &'a Path,
    settings: &'a Settings,
    model: Model,
}

impl Builder<'_> {
    fn build(&self) -> Result<Inner, String> {
        let mut tokenizer = Inner::new(self.vocabulary()?.into());
        let is_special = |piece: &Piece| {
            let turn = self.settings.class == Class::Gemma && piece.text.ends_with("_of_turn>");
            piece.kind == CONTROL || turn
        };
        let added = self.model.pieces.iter().filter(|piece| [CONTROL, USER_DEFINED].contains(&piece.kind));
        let added = added.map(|piece| AddedToken::from(&*piece.text, is_special(piece)).normalized(false));
        tokenizer.add_tokens(&added.collect::<Vec<_>>());
        tokenizer.with_normalizer(self.normalizer()?);
        tokenizer.with_pre_tokenizer(self.pre_tokenizer()?);
        tokenizer.with_decoder(Some(self.decoder()?));
        Ok(tokenizer)
    }

    /// The pieces by their ids, as the class has them, and the id of the unknown one.
    fn pieces(&self) -> Result<(Vec<Piece>, usize), String> {
        let own = |text: &str| Piece { text: text.to_owned(), score: 0.0, kind: CONTROL };
        let pieces = &self.model.pieces;
        let rest = || pieces.iter().skip(3).cloned();
        let (class, special) = (self.settings.class, |attribute| self.settings.tokens.special(attribute));
        Ok(match class {
            Class::XlmRoberta | Class::MBart | Class::MBart50 | Class::PlBart => {
                let types: Vec<u64> = pieces.iter().take(3).map(|piece| piece.kind).collect();
                if types != [UNKNOWN, CONTROL, CONTROL] {
                    let message = "its first three pieces are not <unk>, <s> and </s>, as this class has them";
                    return Err(format!("{message}. {}", self.hint()));
                }
                let languages = class.languages(self.settings.all_languages).iter().copied();
                let last = languages.chain((!self.settings.all_languages).then_some("<mask>"));
                let first = ["<s>", "<pad>", "</s>", "<unk>"].into_iter().map(own);
                (first.chain(rest()).chain(last.map(own)).collect(), 3)
            }
            Class::T5 => {
                let sentinels = (0..self.settings.extra_ids).rev().map(|index| own(&format!("<extra_id_{index}>")));
                (pieces.iter().cloned().chain(sentinels).collect(), self.model.unknown)
            }
            Class::Llama => {
                let first = pieces.iter().take(3).map(|piece| own(&piece.text));
                (first.chain(rest()).collect(), 0)
            }
            Class::Gemma => {
                let first = ["pad_token", "eos_token", "bos_token"].map(|attribute| {
                    special(attribute).map(own).ok_or_else(|| format!("no file names the {attribute}"))
                });
                let mut pieces: Vec<Piece> = first.into_iter().chain(rest().map(Ok)).collect::<Result<_, String>>()?;
                // Older models lack the tab.
                if !pieces.iter().any(|piece| piece.text == "\t")
                    && let Some(byte) = pieces.iter_mut().find(|piece| piece.text == "<0x09>")
                {
                    *byte = own("\t");
                }
                (pieces, 3)
            }
            Class::Albert => {
                // A comma after a digit is a piece of its own.
                let after_digit = |text: &str| {
                    let mut end = text.chars().rev();
                    end.next() == Some(',') && end.next().is_some_and(char::is_numeric)
                };
                let lowered = |piece: &Piece| {
                    let lower = if after_digit(&piece.text) { 100.0 } else { 0.0 };
                    Piece { score: piece.score - lower, ..piece.clone() }
                };
                (pieces.iter().map(lowered).collect(), self.model.unknown)
            }
            _ => (pieces.clone(), self.model.unknown),
        })
    }

    fn vocabulary(&self) -> Result<ModelWrapper, String> {
        if !matches!(self.model.kind, 1 | 2) {
            let kind = ["word", "character"].get((self.model.kind as usize).wrapping_sub(3)).unwrap_or(&"unknown");
            let read = "Unigram and BPE are read";
            return Err(format!("it is a SentencePiece model of the type {kind}; {read}. {}", self.hint()));
        }
        let (pieces, unknown) = self.pieces()?;
        let byte_fallback = matches!(self.settings.class, Class::Llama | Class::Gemma);
        match self.model.kind {
            1 => {
                let vocabulary = pieces.into_iter().map(|piece| (piece.text, f64::from(piece.score))).collect();
                let unigram = Unigram::from(vocabulary, Some(unknown), byte_fallback);
                Ok(unigram.map_err(|error| error.to_string())?.into())
            }
            _ => {
                let ids = self.model.pieces.iter().enumerate().map(|(id, piece)| (piece.text.as_str(), id));
                let mut ids: HashMap<&str, usize> = ids.collect();
                if self.settings.class == Class::Gemma
                    && !ids.contains_key("\t")
                    && let Some(id) = ids.get("<0x09>")
                {
                    ids.insert("\t", *id);
                }
                let merges = merges::merges(&ids, &pieces)?;
                let vocabulary = pieces.iter().zip(0..).map(|(piece, id)| (piece.text.clone(), id)).collect();
                let bpe = BPE::builder().vocab_and_merges::<Vocab>(vocabulary, merges);
                let bpe = bpe.unk_token(self.model.unknown_piece.clone()).fuse_unk(true).byte_fallback(byte_fallback);
                Ok(bpe.build().map_err(|error| error.to_string())?.into())
            }
        }
    }

    fn normalizer(&self) -> Result<Option<NormalizerWrapper>, String> {
        let settings = self.settings;
        let string = |from: &str, to: &str| -> Result<NormalizerWrapper, String> {
            let replace = Replace::new(ReplacePattern::String(from.into()), to);
            Ok(replace.map_err(|error| error.to_string())?.into())
        };
        let mut all: Vec<NormalizerWrapper> = Vec::new();
        match settings.class {
            Class::Gemma => return string(" ", "▁").map(Some),
            Class::Llama if !settings.legacy => return Ok(None),
            Class::Llama => return spaces_as_pieces(settings.add_prefix_space).map(Some),
            Class::Albert => {
                all.extend([string("``", "\"")?, string("''", "\"")?]);
                if !settings.keep_accents {
                    all.extend([NFKD.into(), StripAccents.into()]);
                }
                if settings.lower_case {
                    all.push(Lowercase.into());
                }
                all.extend(charsmap(&self.model.charsmap)?);
                all.push(spaces(" ")?);
            }
            Class::DebertaV2 => {
                if settings.lower_case {
                    all.push(Lowercase.into());
                }
                all.push(Strip::new(true, true).into());
                all.extend(charsmap(&self.model.charsmap)?);
                all.push(spaces(" ")?);
            }
            _ => return unigram_text(&self.model.charsmap).map(Some),
        }
        Ok(Some(Sequence::new(all).into()))
    }

    /// Where a space is put before a text.
    fn prepend(&self) -> PrependScheme {
        let settings = self.settings;
        match settings.class {
            Class::Llama | Class::T5 if !settings.add_prefix_space => PrependScheme::Never,
            Class::Llama | Class::T5 if !settings.legacy => PrependScheme::First,
            _ => PrependScheme::Always,
        }
    }

    fn pre_tokenizer(&self) -> Result<Option<PreTokenizerWrapper>, String> {
        let spaces = |split| PreTokenizerWrapper::from(Metaspace::new(SPACE, self.prepend(), split));
        Ok(Some(match self.settings.class {
            Class::Llama if self.settings.legacy => return Ok(None),
            Class::Llama => spaces(false),
            Class::Gemma => {
                let pattern = SplitPattern::String(" ".into());
                let split = Split::new(pattern, SplitDelimiterBehavior::MergedWithPrevious, false);
                split.map_err(|error| error.to_string())?.into()
            }
            Class::DebertaV2 if self.settings.split_by_punct => {
                let punctuation = Punctuation::new(SplitDelimiterBehavior::Isolated);
                PreTokenizerSequence::new(vec![punctuation.into(), spaces(true)]).into()
            }
            _ => spaces(true),
        }))
    }

    fn decoder(&self) -> Result<DecoderWrapper, String> {
        if !matches!(self.settings.class, Class::Llama | Class::Gemma) {
            return Ok(Metaspace::new(SPACE, self.prepend(), true).into());
        }
        pieces_as_text(self.settings.class == Class::Llama && self.settings.add_prefix_space)
    }

    /// How to get a file that is read.
    fn hint(&self) -> String {
        let dir = self.dir.display();
        format!(
            "Make a tokenizer.json: python -c \"from transformers import AutoTokenizer; \
             AutoTokenizer.from_pretrained('{dir}').save_pretrained('{dir}')\""
        )
    }
}
