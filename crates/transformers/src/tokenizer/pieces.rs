//! The vocabularies of GGUF files, and how pieces of a text are merged into their tokens.
//!
//! The `tokenizers` crate keeps a vocabulary as two maps with a text for each token, which takes several times the memory
//! of the texts, and it needs SentencePiece's merges spelled out: hundreds of thousands of pairs for a large vocabulary, whose
//! order is not always SentencePiece's. Here the texts stay in one, an index finds them, and neighbors are merged as in both
//! programs: the pair with the lowest rank first, of equal ones the leftmost.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::hash::{BuildHasher, RandomState};

use burn_adapters_tensors::GgufTexts;

/// The tokens of a vocabulary, by their ids and by their texts.
#[derive(Debug)]
pub(super) struct Pieces {
    texts: GgufTexts,
    /// For each hash of a text the id of its token plus one, or that of another, whose place is the next one; 0 if it is free.
    slots: Vec<u32>,
    hasher: RandomState,
    /// The most bytes of a token.
    longest: usize,
}

impl Pieces {
    /// Empty texts have ids, but are not found.
    ///
    /// # Errors
    /// The reason why they are not a vocabulary: two tokens are equal, or there are more than 2³¹.
    pub(super) fn new(texts: GgufTexts) -> Result<Self, String> {
        if texts.len() > i32::MAX as usize {
            return Err(format!("it has {} tokens", texts.len()));
        }
        let slots = vec![0; (texts.len() * 2).next_power_of_two()];
        let longest = texts.iter().map(str::len).max().unwrap_or(0);
        let mut pieces = Self { slots, texts, hasher: RandomState::new(), longest };
        for id in 0..pieces.len() as u32 {
            let text = pieces.text(id);
            if text.is_empty() {
                continue;
            }
            match pieces.find(text) {
                Ok(_) => return Err(format!("the token {text:?} twice")),
                Err(free) => pieces.slots[free] = id + 1,
            }
        }
        Ok(pieces)
    }

    /// The number of tokens.
    pub(super) fn len(&self) -> usize {
        self.texts.len()
    }

    /// The text of a token; empty past the last.
    pub(super) fn text(&self, id: u32) -> &str {
        self.texts.get(id as usize).unwrap_or_default()
    }

    /// The token of a text.
    pub(super) fn id(&self, text: &str) -> Option<u32> {
        // Neighbors are looked up together, and may be long.
        if text.len() > self.longest { None } else { self.find(text).ok() }
    }

    /// The token of a text, or the place where it would be.
    fn find(&self, text: &str) -> Result<u32, usize> {
        let last = self.slots.len() - 1;
        let mut place = self.hasher.hash_one(text) as usize & last;
        loop {
            match self.slots[place].checked_sub(1) {
                None => return Err(place),
                Some(id) if self.text(id) == text => return Ok(id),
                Some(_) => place = (place + 1) & last,
            }
        }
    }

    /// Every token, as the `tokenizers` crate has it.
    pub(super) fn to_map(&self) -> HashMap<String, u32> {
        self.texts.iter().zip(0..).map(|(text, id)| (text.to_owned(), id)).collect()
    }
}

/// A piece of a text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Symbol {
    /// Its first byte.
    pub(super) start: usize,
    /// The number of its bytes.
    pub(super) length: usize,
    /// Its token, if there is one.
    pub(super) id: Option<u32>,
}

impl Symbol {
    /// The byte after its last.
    pub(super) fn end(&self) -> usize {
        self.start + self.length
    }

    /// Its part of the text.
    pub(super) fn of(self, text: &str) -> &str {
        text.get(self.start..self.end()).unwrap_or_default()
    }
}

/// What two neighbors become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Joined {
    /// Of all neighbors those with the lowest are merged first.
    pub(super) rank: u32,
    /// Their token.
    pub(super) id: u32,
}

/// Merges neighbors until none can be: those with the lowest rank first, of equal ones the leftmost.
pub(super) fn merge(symbols: &mut Vec<Symbol>, mut join: impl FnMut(&Symbol, &Symbol) -> Option<Joined>) {
    let mut row = Row::new(symbols);
    let mut queue = BinaryHeap::new();
    for left in 0..symbols.len() {
        queue.extend(row.pair(symbols, left, &mut join));
    }
    while let Some(Reverse(Pair { left, length, id, .. })) = queue.pop() {
        let Some(right) = row.after(left) else { continue };
        // Either of the two may be longer by now, or part of another.
        if symbols[left].length == 0 || symbols[left].length + symbols[right].length != length {
            continue;
        }
        symbols[left] = Symbol { length, id: Some(id), ..symbols[left] };
        symbols[right].length = 0;
        row.remove(right);
        queue.extend(row.before(left).and_then(|before| row.pair(symbols, before, &mut join)));
        queue.extend(row.pair(symbols, left, &mut join));
    }
    symbols.retain(|symbol| symbol.length > 0);
}

/// Two neighbors that can be merged, in the order in which they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Pair {
    rank: u32,
    left: usize,
    /// The number of bytes of both.
    length: usize,
    id: u32,
}

/// The neighbors of symbols of which some are gone.
struct Row {
    before: Vec<usize>,
    after: Vec<usize>,
}

/// No neighbor.
const NONE: usize = usize::MAX;

impl Row {
    fn new(symbols: &[Symbol]) -> Self {
        let count = symbols.len();
        let before = (0..count).map(|index| index.wrapping_sub(1)).collect();
        let after = (1..=count).map(|index| if index == count { NONE } else { index }).collect();
        Self { before, after }
    }

    fn before(&self, index: usize) -> Option<usize> {
        Some(self.before[index]).filter(|before| *before != NONE)
    }

    fn after(&self, index: usize) -> Option<usize> {
        Some(self.after[index]).filter(|after| *after != NONE)
    }

    fn remove(&mut self, index: usize) {
        let (before, after) = (self.before(index), self.after(index));
        if let Some(before) = before {
            self.after[before] = after.unwrap_or(NONE);
        }
        if let Some(after) = after {
            self.before[after] = before.unwrap_or(NONE);
        }
    }

    /// A symbol with the next one, if the two can be merged.
    fn pair(
        &self,
        symbols: &[Symbol],
        left: usize,
        join: &mut impl FnMut(&Symbol, &Symbol) -> Option<Joined>,
    ) -> Option<Reverse<Pair>> {
        let (one, other) = (&symbols[left], &symbols[self.after(left)?]);
        let Joined { rank, id } = join(one, other)?;
        Some(Reverse(Pair { rank, left, length: one.length + other.length, id }))
    }
}
