//! SentencePiece's BPE on the vocabulary of a GGUF file, which has scores and no merges.

use std::collections::HashMap;

use burn_adapters_tensors::GgufTexts;

use crate::tokenizer::pieces::{Joined, Pieces, Symbol, merge};

/// What pieces are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A part of texts.
    Text,
    /// A part of larger pieces alone.
    Unused,
    /// A byte.
    Byte,
    /// No part of a text.
    Mark,
}

impl Kind {
    /// The kind of a number in GGUF files.
    fn from_number(number: i64) -> Self {
        match number {
            2 | 3 => Self::Mark,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => Self::Text,
        }
    }
}

/// SentencePiece's BPE (Kudo and Richardson, 2018): neighbors are merged if together they are a piece, those of the highest
/// score first.
#[derive(Debug)]
pub(crate) struct SentencePiece {
    pieces: Pieces,
    kinds: Vec<Kind>,
    /// By ids; the highest score has the lowest.
    ranks: Vec<u32>,
    /// The pieces of all bytes, if there are such.
    bytes: Option<Box<[u32; 256]>>,
    unknown: Option<u32>,
    /// Whether any piece is only a part of larger ones.
    has_unused: bool,
}

impl SentencePiece {
    /// `types` has a number for each token.
    ///
    /// # Errors
    /// The reason why they are not such a model.
    pub(in crate::tokenizer) fn new(
        tokens: GgufTexts,
        types: &[i64],
        scores: &[f64],
        unknown: Option<u32>,
    ) -> Result<Self, String> {
        let pieces = Pieces::new(tokens).map_err(|reason| format!("tokenizer.ggml.tokens has {reason}"))?;
        let kinds: Vec<Kind> = types.iter().map(|number| Kind::from_number(*number)).collect();
        if [kinds.len(), scores.len()] != [pieces.len(); 2] {
            let (scores, tokens) = (scores.len(), pieces.len());
            return Err(format!("tokenizer.ggml.scores has {scores} entries for {tokens} tokens"));
        }
        if let Some(at) = scores.iter().position(|score| score.is_nan()) {
            return Err(format!("tokenizer.ggml.scores: that of token {at} is not a number"));
        }
        let byte = |byte: usize| {
            let id = pieces.id(&format!("<0x{byte:02X}>"))?;
            (kinds[id as usize] == Kind::Byte).then_some(id)
        };
        let bytes = (0..256).map(byte).collect::<Option<Vec<u32>>>().and_then(|bytes| bytes.try_into().ok());
        let ranks = scores.iter().map(|score| rank(*score as f32)).collect();
        let has_unused = kinds.contains(&Kind::Unused);
        Ok(Self { pieces, kinds, ranks, bytes, unknown, has_unused })
    }

    /// The vocabulary.
    pub(in crate::tokenizer) fn pieces(&self) -> &Pieces {
        &self.pieces
    }

    /// The token of a text, in which spaces may be spaces.
    pub(in crate::tokenizer) fn id(&self, text: &str) -> Option<u32> {
        let escaped = || text.contains(' ').then(|| text.replace(' ', super::SPACE.encode_utf8(&mut [0; 4])));
        self.pieces.id(text).or_else(|| self.pieces.id(&escaped()?))
    }

    /// The piece of a part of a text.
    fn piece(&self, text: &str) -> Option<u32> {
        let is_of_text = |id: &u32| matches!(self.kinds[*id as usize], Kind::Text | Kind::Unused);
        self.pieces.id(text).filter(is_of_text)
    }

    /// The tokens of a text in which spaces are [`SPACE`](super::SPACE).
    pub(in crate::tokenizer) fn symbols(&self, text: &str) -> Vec<Symbol> {
        let letter = |(start, letter): (usize, char)| {
            let symbol = Symbol { start, length: letter.len_utf8(), id: None };
            Symbol { id: self.piece(symbol.of(text)), ..symbol }
        };
        let mut symbols: Vec<Symbol> = text.char_indices().map(letter).collect();
        let mut parts = HashMap::new();
        merge(&mut symbols, |left, right| {
            let both = Symbol { start: left.start, length: left.length + right.length, id: None };
            let id = self.piece(both.of(text))?;
            if self.has_unused && self.kinds[id as usize] == Kind::Unused {
                parts.insert(id, left.length);
            }
            Some(Joined { rank: self.ranks[id as usize], id })
        });
        let mut all = Vec::with_capacity(symbols.len());
        for symbol in symbols {
            self.split(symbol, text, &parts, &mut all);
        }
        all
    }

    /// Appends the tokens of a symbol: an unused piece becomes the two that it was made of; what is not a piece its bytes, or
    /// the unknown one.
    fn split(&self, symbol: Symbol, text: &str, parts: &HashMap<u32, usize>, all: &mut Vec<Symbol>) {
        let mut left = vec![symbol];
        while let Some(symbol) = left.pop() {
            let Some(id) = symbol.id else {
                self.without_piece(symbol, text, all);
                continue;
            };
            match parts.get(&id) {
                Some(&length) if length < symbol.length => {
                    let [first, second] = [(0, length), (length, symbol.length - length)].map(|(start, length)| {
                        let part = Symbol { start: symbol.start + start, length, id: None };
                        Symbol { id: self.piece(part.of(text)), ..part }
                    });
                    left.extend([second, first]);
                }
                _ => all.push(symbol),
            }
        }
    }

    fn without_piece(&self, symbol: Symbol, text: &str, all: &mut Vec<Symbol>) {
        if let Some(bytes) = &self.bytes {
            let byte = |(at, byte): (usize, &u8)| Symbol {
                start: symbol.start + at,
                length: 1,
                id: Some(bytes[usize::from(*byte)]),
            };
            return all.extend(symbol.of(text).as_bytes().iter().enumerate().map(byte));
        }
        let Some(unknown) = self.unknown else { return };
        match all.last_mut().filter(|last| last.id == Some(unknown) && last.end() == symbol.start) {
            Some(last) => last.length += symbol.length,
            None => all.push(Symbol { id: Some(unknown), ..symbol }),
        }
    }
}

/// Whole numbers in the reverse order of scores; equal ones for equal scores.
fn rank(score: f32) -> u32 {
    // Both zeros are one.
    let bits = (score + 0.0).to_bits();
    if bits >> 31 == 1 { bits } else { !(bits | 1 << 31) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn higher_scores_have_lower_ranks() {
        let scores = [f32::INFINITY, 3.0, 1e-30, 0.0, -1e-30, -1.0, -2.5, -1000.0, f32::NEG_INFINITY];
        assert!(scores.map(rank).is_sorted());
        assert!(scores.windows(2).all(|pair| rank(pair[0]) < rank(pair[1])));
        assert_eq!(rank(0.0), rank(-0.0));
    }
}
