//! The cache of keys and values of a decoder.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use burn_adapters_core::{KeptGates, TokenSpan, repeated_rows, row_indices};

use crate::BaseError;
use crate::pass::Memory;

/// The keys and values of the tokens that a decoder has read, so that a pass computes only the tokens that follow.
///
/// Keys and values are the model's own, without the prefixes of adapters. The rows of a cache are those of the first
/// batch. All passes with a cache must have hooks of the same setup.
///
/// ```
/// # use burn_adapters_model::{BaseError, BaseModel, Forward, Hooks, KvCache, Reads, TokenBatch};
/// # fn run(model: &dyn BaseModel) -> Result<(), BaseError> {
/// let mut cache = KvCache::new();
/// let hooks = Hooks::none();
/// model.forward_cached(&TokenBatch::new([[5, 6, 7].as_slice()]), &hooks, Reads::First, &mut cache)?;
/// let next = model.forward_cached(&TokenBatch::new([[8].as_slice()]), &hooks, Reads::First, &mut cache)?;
/// assert_eq!(next.hidden.dims()[1], 1);
/// assert_eq!(cache.tokens(0), 4);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct KvCache {
    rows: Vec<CachedRow>,
    /// By the steps of the decoder, which may share layers.
    layers: BTreeMap<usize, [Columns; 2]>,
    /// The projected keys and values of the encoder's states, which do not change.
    encoded: BTreeMap<usize, [Tensor<3>; 2]>,
    pub(crate) memory: Option<Memory>,
    /// The gates that the first pass computed.
    pub(crate) gates: KeptGates,
    /// Whether the cache is incomplete: a pass with it failed, or a part of it could not be selected.
    is_broken: bool,
}

/// Keys or values with room for more, so that a new column is written without copying the others.
#[derive(Debug, Clone)]
struct Columns {
    /// `[rows, heads, columns and room, head]`
    tensor: Tensor<4>,
    used: usize,
}

impl Columns {
    fn new(tensor: Tensor<4>) -> Self {
        Self { used: tensor.dims()[2], tensor }
    }

    /// Adds columns after the used ones.
    fn extend(self, new: Tensor<4>) -> Self {
        let Self { tensor, used } = self;
        let ([rows, heads, room, width], [_, _, count, _]) = (tensor.dims(), new.dims());
        if used + count <= room {
            // In place: nothing else holds the tensor between two passes.
            let tensor = tensor.slice_assign([0..rows, 0..heads, used..used + count, 0..width], new);
            return Self { tensor, used: used + count };
        }
        let spare = (used / 2).max(64);
        let device = tensor.device();
        let zeros = Tensor::<4>::zeros([rows, heads, spare, width], &device).cast(tensor.dtype());
        let tensor = Tensor::cat(vec![tensor.narrow(2, 0, used), new, zeros], 2);
        Self { tensor, used: used + count }
    }

    /// The used columns.
    fn all(&self) -> Tensor<4> {
        self.tensor.clone().narrow(2, 0, self.used)
    }

    /// Those of these rows of a batch of `rows`, which may have been repeated.
    fn select(&self, order: &[usize], rows: usize) -> Option<Self> {
        let indices = repeated_rows(order, rows, self.tensor.dims()[0])?;
        let indices = row_indices(&indices, &self.tensor.device());
        Some(Self { tensor: self.all().select(0, indices), used: self.used })
    }
}

#[derive(Debug, Clone, Default)]
struct CachedRow {
    /// The number of tokens, without those of prompts.
    tokens: usize,
    /// Whether each column of the keys is a position of the row; otherwise it is padding.
    columns: Vec<bool>,
}

impl KvCache {
    /// An empty cache.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the cache is empty.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// The number of tokens that a row has read; 0 for a row that does not exist.
    pub fn tokens(&self, row: usize) -> usize {
        self.rows.get(row).map_or(0, |row| row.tokens)
    }

    /// Removes the last token of a row, for a row that must not continue while others do.
    pub fn forget_last(&mut self, row: usize) {
        let Some(row) = self.rows.get_mut(row) else { return };
        if let Some(last) = row.columns.iter_mut().rev().find(|is_token| **is_token) {
            *last = false;
            row.tokens = row.tokens.saturating_sub(1);
        }
    }

    /// The cache of these rows, in this order; a row may occur several times. If the setup gives rows adapters of their
    /// own and these have gates, the cache cannot be divided: the next pass with the selected cache is an error.
    ///
    /// # Panics
    /// If a row does not exist.
    pub fn select(&self, order: &[usize]) -> Self {
        let broken = || Self { is_broken: true, ..Self::default() };
        self.selected(order).unwrap_or_else(broken)
    }

    fn selected(&self, order: &[usize]) -> Option<Self> {
        let rows = self.rows.len();
        Some(Self {
            rows: order.iter().map(|row| self.rows[*row].clone()).collect(),
            layers: pairs_of(&self.layers, |columns| columns.select(order, rows))?,
            encoded: pairs_of(&self.encoded, |tensor| {
                let indices = repeated_rows(order, rows, tensor.dims()[0])?;
                Some(tensor.clone().select(0, row_indices(&indices, &tensor.device())))
            })?,
            memory: match &self.memory {
                Some(memory) => Some(memory.select(order, rows)?),
                None => None,
            },
            gates: self.gates.select(order, rows)?,
            is_broken: self.is_broken,
        })
    }

    /// Takes the contents for a pass; without [`finished`](Self::finished) after it, the cache is broken.
    pub(crate) fn begin(&mut self, rows: usize) -> Result<Self, BaseError> {
        if self.is_broken {
            return Err(BaseError::BrokenCache);
        }
        let held = self.rows.len();
        if held != 0 && held != rows {
            return Err(BaseError::CacheRows { rows: held, found: rows });
        }
        let taken = std::mem::replace(self, Self { is_broken: true, ..Self::default() });
        Ok(match taken.is_empty() {
            true => Self { rows: vec![CachedRow::default(); rows], ..taken },
            false => taken,
        })
    }

    /// Keeps the gates of the first pass.
    pub(crate) fn with_gates(self, gates: KeptGates) -> Self {
        Self { gates, ..self }
    }

    /// The positions of a pass with these new columns.
    pub(crate) fn continued(&self, tokens: &[TokenSpan], columns: usize) -> Continued {
        let row = |(index, row): (usize, &CachedRow)| {
            let new = (0..columns).map(|column| tokens.get(index).is_some_and(|span| !span.is_padding(column)));
            let mut next = 0;
            let position = |is_token: bool| {
                is_token.then(|| {
                    next += 1;
                    next - 1
                })
            };
            row.columns.iter().copied().chain(new).map(position).collect::<Vec<_>>()
        };
        let first = |row: &CachedRow| row.columns.iter().filter(|is_token| **is_token).count();
        Continued {
            first: self.rows.iter().map(first).collect(),
            keys: self.rows.iter().enumerate().map(row).collect(),
            new: columns,
        }
    }

    /// Adds the keys and values of a layer's new columns, and returns all of them.
    pub(crate) fn extend(&mut self, step: usize, new: [Tensor<4>; 2]) -> [Tensor<4>; 2] {
        let [keys, values] = new;
        let all = match self.layers.remove(&step) {
            Some([held_keys, held_values]) => [held_keys.extend(keys), held_values.extend(values)],
            None => [Columns::new(keys), Columns::new(values)],
        };
        let found = all.each_ref().map(Columns::all);
        self.layers.insert(step, all);
        found
    }

    /// The keys and values of the encoder's states of a layer, if they are there.
    pub(crate) fn encoded(&self, step: usize) -> Option<[Tensor<3>; 2]> {
        self.encoded.get(&step).cloned()
    }

    /// Keeps those.
    pub(crate) fn keep_encoded(&mut self, step: usize, keys_and_values: [Tensor<3>; 2]) {
        self.encoded.insert(step, keys_and_values);
    }

    /// Records that the new columns were read: the batch's tokens, and all positions.
    pub(crate) fn finished(&mut self, lengths: &[usize], continued: &Continued) {
        for ((row, length), keys) in self.rows.iter_mut().zip(lengths).zip(&continued.keys) {
            row.tokens += length;
            row.columns = keys.iter().map(Option::is_some).collect();
        }
    }
}

/// Applies a function to the keys and the values of every step.
fn pairs_of<T>(
    layers: &BTreeMap<usize, [T; 2]>,
    function: impl Fn(&T) -> Option<T>,
) -> Option<BTreeMap<usize, [T; 2]>> {
    let pair = |(step, [keys, values]): (&usize, &[T; 2])| Some((*step, [function(keys)?, function(values)?]));
    layers.iter().map(pair).collect()
}

/// The positions of a pass that continues from a cache.
#[derive(Debug)]
pub(crate) struct Continued {
    /// The position of the first new token of each row.
    pub(crate) first: Vec<usize>,
    /// The position of each key of each row, cached ones first; `None` is padding.
    pub(crate) keys: Vec<Vec<Option<usize>>>,
    /// The number of new columns.
    pub(crate) new: usize,
}

impl Continued {
    /// The positions of the keys of a row of the batch, which may have been repeated.
    pub(crate) fn keys_of(&self, row: usize) -> &[Option<usize>] {
        &self.keys[row % self.keys.len()]
    }

    /// The position of the first new token of each row; one for all if they are equal.
    pub(crate) fn firsts(&self, rows: usize) -> Vec<usize> {
        match self.first.as_slice() {
            [one, others @ ..] if others.iter().all(|other| other == one) => vec![*one],
            first => first.iter().copied().cycle().take(rows).collect(),
        }
    }
}
