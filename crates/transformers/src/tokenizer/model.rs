//! The models of tokenizers: those of the `tokenizers` crate, and two of ours for the vocabularies of GGUF files.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use burn_adapters_tensors::GgufTexts;
use serde::{Deserialize, Deserializer};
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::BpeTrainer;
use tokenizers::{
    DecoderWrapper, ModelWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, Token, TokenizerImpl,
};

use super::pieces::{Joined, Pieces, Symbol, merge};
use super::sentencepiece::SentencePiece;

/// A tokenizer of the `tokenizers` crate with any of the models.
pub(crate) type Inner =
    TokenizerImpl<Model, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;

/// How the words of a text become tokens.
#[derive(Debug, Clone)]
pub(crate) enum Model {
    /// By a model of the `tokenizers` crate.
    Library(Arc<ModelWrapper>),
    /// By byte-level BPE.
    BytePairs(Arc<BytePairs>),
    /// By SentencePiece's BPE.
    SentencePiece(Arc<SentencePiece>),
}

impl<T: Into<ModelWrapper>> From<T> for Model {
    fn from(model: T) -> Self {
        Self::Library(Arc::new(model.into()))
    }
}

impl<'de> Deserialize<'de> for Model {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ModelWrapper::deserialize(deserializer).map(Self::from)
    }
}

impl Model {
    /// The vocabulary, if it is one of ours.
    fn pieces(&self) -> Option<&Pieces> {
        match self {
            Self::Library(_) => None,
            Self::BytePairs(model) => Some(&model.pieces),
            Self::SentencePiece(model) => Some(model.pieces()),
        }
    }
}

impl tokenizers::Model for Model {
    type Trainer = TrainerWrapper;

    fn tokenize(&self, sequence: &str) -> tokenizers::Result<Vec<Token>> {
        let (pieces, symbols) = match self {
            Self::Library(model) => return model.tokenize(sequence),
            Self::BytePairs(model) => (&model.pieces, model.symbols(sequence)),
            Self::SentencePiece(model) => (model.pieces(), model.symbols(sequence)),
        };
        let token = |symbol: Symbol| {
            let id = symbol.id?;
            Some(Token::new(id, pieces.text(id).to_owned(), (symbol.start, symbol.end())))
        };
        Ok(symbols.into_iter().filter_map(token).collect())
    }

    fn token_to_id(&self, token: &str) -> Option<u32> {
        match self {
            Self::Library(model) => model.token_to_id(token),
            Self::BytePairs(model) => model.pieces.id(token),
            Self::SentencePiece(model) => model.id(token),
        }
    }

    fn id_to_token(&self, id: u32) -> Option<String> {
        match (self, self.pieces()) {
            (Self::Library(model), _) => model.id_to_token(id),
            (_, pieces) => {
                pieces.filter(|pieces| (id as usize) < pieces.len()).map(|pieces| pieces.text(id).to_owned())
            }
        }
    }

    fn get_vocab(&self) -> HashMap<String, u32> {
        match (self, self.pieces()) {
            (Self::Library(model), _) => model.get_vocab(),
            (_, pieces) => pieces.map(Pieces::to_map).unwrap_or_default(),
        }
    }

    fn get_vocab_size(&self) -> usize {
        match (self, self.pieces()) {
            (Self::Library(model), _) => model.get_vocab_size(),
            (_, pieces) => pieces.map_or(0, Pieces::len),
        }
    }

    fn save(&self, folder: &Path, prefix: Option<&str>) -> tokenizers::Result<Vec<PathBuf>> {
        match self {
            Self::Library(model) => model.save(folder, prefix),
            _ => Err("the tokenizer of a GGUF file is not saved alone".into()),
        }
    }

    fn get_trainer(&self) -> TrainerWrapper {
        match self {
            Self::Library(model) => model.get_trainer(),
            _ => BpeTrainer::default().into(),
        }
    }
}

/// Byte-level BPE (Sennrich et al., 2016): pairs of tokens are merged in the order of a list.
#[derive(Debug)]
pub(crate) struct BytePairs {
    pieces: Pieces,
    merges: HashMap<[u32; 2], Joined>,
    /// Whether a word that is a token is that token, whatever its merges give.
    ignores_merges: bool,
    /// The tokens of words that texts had: most words of a text are among its most frequent ones.
    known: RwLock<HashMap<String, Vec<Symbol>>>,
}

/// The most words whose tokens are kept, and the longest of them in bytes.
const MOST_KNOWN: usize = 10_000;
const LONGEST_KNOWN: usize = 256;

impl BytePairs {
    /// # Errors
    /// The reason why they are not such a model.
    pub(super) fn new(tokens: GgufTexts, merges: &GgufTexts, ignores_merges: bool) -> Result<Self, String> {
        let pieces = Pieces::new(tokens).map_err(|reason| format!("tokenizer.ggml.tokens has {reason}"))?;
        let id = |text: &str| {
            pieces.id(text).ok_or_else(|| format!("tokenizer.ggml.merges has {text:?}, which is not a token"))
        };
        let mut ranks = HashMap::with_capacity(merges.len());
        let mut joined = String::new();
        for (merge, rank) in merges.iter().zip(0..) {
            let pair = merge.split_once(' ').filter(|(first, second)| !first.is_empty() && !second.contains(' '));
            let (first, second) = pair.ok_or_else(|| format!("tokenizer.ggml.merges: {merge:?} is not two pieces"))?;
            joined.clear();
            joined.extend([first, second]);
            // Of two equal merges the last counts, as in the `tokenizers` crate.
            ranks.insert([id(first)?, id(second)?], Joined { rank, id: id(&joined)? });
        }
        Ok(Self { pieces, merges: ranks, ignores_merges, known: RwLock::default() })
    }

    /// The tokens of a word; a letter without one is left out.
    fn symbols(&self, word: &str) -> Vec<Symbol> {
        // A lock that another thread holds, or left behind, only means that the word is not looked up.
        if let Ok(known) = self.known.try_read()
            && let Some(symbols) = known.get(word)
        {
            return symbols.clone();
        }
        let symbols = self.merged(word);
        if word.len() <= LONGEST_KNOWN
            && let Ok(mut known) = self.known.try_write()
            && known.len() < MOST_KNOWN
        {
            known.insert(word.to_owned(), symbols.clone());
        }
        symbols
    }

    fn merged(&self, word: &str) -> Vec<Symbol> {
        if let Some(id) = self.pieces.id(word).filter(|_| self.ignores_merges) {
            return vec![Symbol { start: 0, length: word.len(), id: Some(id) }];
        }
        let letter = |(start, letter): (usize, char)| {
            let symbol = Symbol { start, length: letter.len_utf8(), id: None };
            Some(Symbol { id: Some(self.pieces.id(symbol.of(word))?), ..symbol })
        };
        let mut symbols: Vec<Symbol> = word.char_indices().filter_map(letter).collect();
        merge(&mut symbols, |left, right| self.merges.get(&[left.id?, right.id?]).copied());
        symbols
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokenizers::Model as _;
    use tokenizers::models::bpe::{BPE, Vocab};

    use super::*;

    /// Numbers that look random.
    fn numbers() -> impl FnMut(usize) -> usize {
        let mut state = 7_u64;
        move |below| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        }
    }

    /// Random tokens and merges, each of which puts a new token or one that is there together.
    fn vocabulary(number: &mut impl FnMut(usize) -> usize) -> (Vec<String>, Vec<String>) {
        let mut tokens: Vec<String> = ["a", "b", "c", "ä", "Ġ"].map(str::to_owned).into();
        let mut merges = Vec::new();
        while merges.len() < 150 {
            let [first, second] = [(); 2].map(|()| tokens[number(tokens.len())].clone());
            let (merge, joined) = (format!("{first} {second}"), format!("{first}{second}"));
            if joined.chars().count() > 6 || merges.contains(&merge) {
                continue;
            }
            merges.push(merge);
            if !tokens.contains(&joined) {
                tokens.push(joined);
            }
        }
        (tokens, merges)
    }

    #[test]
    fn words_have_the_tokens_of_the_tokenizers_crate() {
        let mut number = numbers();
        for ignores_merges in [false, true] {
            let (tokens, merges) = vocabulary(&mut number);
            let own = BytePairs::new(tokens.iter().collect(), &merges.iter().collect(), ignores_merges).unwrap();
            let own = Model::BytePairs(Arc::new(own));
            let ids: Vocab = tokens.iter().zip(0..).map(|(token, id)| (token.clone(), id)).collect();
            let pairs = merges.iter().map(|merge| merge.split_once(' ').unwrap());
            let pairs = pairs.map(|(first, second)| (first.to_owned(), second.to_owned())).collect();
            let theirs = BPE::builder().vocab_and_merges(ids, pairs).ignore_merges(ignores_merges).build().unwrap();
            for _ in 0..3000 {
                // `z` is not a token.
                let word: String = (0..number(14)).map(|_| ["a", "b", "c", "ä", "Ġ", "z"][number(6)]).collect();
                let [own, theirs] = [own.tokenize(&word).unwrap(), theirs.tokenize(&word).unwrap()];
                let plain = |tokens: &[Token]| tokens.iter().map(|one| (one.id, one.value.clone())).collect::<Vec<_>>();
                assert_eq!(plain(&own), plain(&theirs), "{word}");
                // What follows a letter without a token is at another place there than in the word.
                assert!(own == theirs || word.contains('z'), "{word}");
            }
            assert_eq!(own.get_vocab(), theirs.get_vocab());
            assert_eq!(own.get_vocab_size(), tokens.len());
            for id in 0..=tokens.len() as u32 {
                assert_eq!(own.id_to_token(id), theirs.id_to_token(id));
            }
            assert_eq!([own.token_to_id("ä"), own.token_to_id("z")], [Some(3), None]);
        }
    }

    #[test]
    fn what_is_not_a_vocabulary_says_why() {
        let new = |tokens: &[&str], merges: &[&str]| {
            BytePairs::new(tokens.iter().collect(), &merges.iter().collect(), false).map(drop).unwrap_err()
        };
        for (found, part) in [
            (new(&["a", "b", "a"], &[]), "the token \"a\" twice"),
            (new(&["a"], &["a"]), "\"a\" is not two pieces"),
            (new(&["a"], &[" a"]), "\" a\" is not two pieces"),
            (new(&["a", "b"], &["a b c"]), "\"a b c\" is not two pieces"),
            (new(&["a", "b"], &["a b"]), "\"ab\", which is not a token"),
            (new(&["a", "ab"], &["a b"]), "\"b\", which is not a token"),
        ] {
            assert!(found.contains(part), "{found}");
        }
        // Empty tokens have ids, and are never found.
        assert!(BytePairs::new(["a", "", ""].into_iter().collect(), &GgufTexts::default(), false).is_ok());
    }
}
