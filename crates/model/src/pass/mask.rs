//! Padding masks for attention.

use std::cell::RefCell;
use std::collections::BTreeMap;

use burn::tensor::{Bool, Device, Tensor, TensorData};
use burn_adapters_core::TokenSpan;
use burn_adapters_ops::{Rotary, RotaryTable};

use crate::cache::Continued;

/// The padding of a batch: `None` if there is none.
pub(super) struct Mask(Option<Tensor<4, Bool>>);

impl Mask {
    /// A decoder of two stacks has no mask over the padding after its tokens (`is_decoding`): they do not see it, and the
    /// reference has none, which shows in gates, the means over all positions.
    pub(super) fn new(tokens: &[TokenSpan], sequence: usize, is_decoding: bool, device: &Device) -> Self {
        if is_decoding && tokens.iter().all(|span| span.start == 0) {
            return Self(None);
        }
        let is_padded = tokens.iter().any(|span| span.start > 0 || span.end() < sequence);
        Self(is_padded.then(|| {
            let rows = tokens.len();
            padding_of(tokens, sequence, &device.clone().without_autodiff()).reshape([rows, 1, 1, sequence])
        }))
    }

    /// The padding of the keys of a pass that continues from a cache.
    pub(super) fn continued(continued: &Continued, rows: usize, device: &Device) -> Self {
        let is_padded = continued.keys.iter().flatten().any(Option::is_none);
        Self(is_padded.then(|| {
            let columns = continued.keys.first().map_or(0, Vec::len);
            let keys = (0..rows).flat_map(|row| continued.keys_of(row).iter().map(Option::is_none));
            let values: Vec<bool> = keys.collect();
            Tensor::from_data(TensorData::new(values, [rows, 1, 1, columns]), &device.clone().without_autodiff())
        }))
    }

    /// True where a key is padding: `[rows, 1, 1, keys]`.
    pub(super) fn tensor(&self) -> Option<Tensor<4, Bool>> {
        self.0.clone()
    }

    /// True where a key or a query is padding, for the first of the queries: `[rows, 1, queries, keys]`.
    pub(super) fn of_pairs(&self, queries: usize) -> Option<Tensor<4, Bool>> {
        let keys = self.tensor()?;
        let [rows, _, _, count] = keys.dims();
        let of_queries = keys.clone().swap_dims(2, 3).narrow(2, 0, queries);
        let shape = [rows, 1, queries, count];
        Some(keys.expand(shape).bool_or(of_queries.expand(shape)))
    }
}

/// True where a position is padding: `[rows, sequence]`.
pub(crate) fn padding_of(tokens: &[TokenSpan], sequence: usize, device: &Device) -> Tensor<2, Bool> {
    let values: Vec<bool> =
        tokens.iter().flat_map(|span| (0..sequence).map(|position| span.is_padding(position))).collect();
    Tensor::from_data(TensorData::new(values, [tokens.len(), sequence]), device)
}

/// Which keys a query sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Sight {
    /// None that come after it.
    pub(super) causal: bool,
    /// Of those before it, so many, its own included.
    pub(super) window: Option<usize>,
    /// None that are further away.
    pub(super) reach: Option<usize>,
}

impl Sight {
    fn hides(self, query: usize, key: usize) -> bool {
        (self.causal && key > query)
            || self.window.is_some_and(|window| key + window <= query)
            || self.reach.is_some_and(|reach| key.abs_diff(query) > reach)
    }
}

/// A mask, or `None` if every query sees all keys.
type SightMask = Option<Tensor<4, Bool>>;

/// What layers of one kind share: masks, by what the queries see, their number, that of the keys, and that of the prefixes
/// before them; and the tables of rotary positions.
#[derive(Default)]
pub(super) struct SharedByLayers {
    masks: RefCell<BTreeMap<(Sight, [usize; 3]), SightMask>>,
    tables: RefCell<Vec<(Rotary, Positions, RotaryTable)>>,
}

/// The positions of a table.
#[derive(PartialEq)]
enum Positions {
    /// So many from each of the first ones.
    From(Vec<usize>, usize),
    /// Those of sequences of these lengths, one after the other.
    Packed(Vec<usize>),
}

impl SharedByLayers {
    pub(super) fn of(&self, sight: Sight, sizes: [usize; 3], compute: impl FnOnce() -> SightMask) -> SightMask {
        self.masks.borrow_mut().entry((sight, sizes)).or_insert_with(compute).clone()
    }

    /// The table of so many positions from each of the first ones.
    pub(super) fn table(&self, rotary: &Rotary, first: &[usize], positions: usize) -> RotaryTable {
        self.cached(rotary, Positions::From(first.to_vec(), positions))
    }

    /// The table of sequences of these lengths, one after the other.
    pub(super) fn packed_table(&self, rotary: &Rotary, lengths: &[usize]) -> RotaryTable {
        self.cached(rotary, Positions::Packed(lengths.to_vec()))
    }

    fn cached(&self, rotary: &Rotary, positions: Positions) -> RotaryTable {
        let mut tables = self.tables.borrow_mut();
        if let Some((.., table)) = tables.iter().find(|(one, of, _)| one == rotary && *of == positions) {
            return table.clone();
        }
        let table = match &positions {
            Positions::From(first, count) => rotary.table(first.iter().flat_map(|first| *first..first + count)),
            Positions::Packed(lengths) => rotary.table(lengths.iter().flat_map(|length| 0..*length)),
        };
        tables.push((rotary.clone(), positions, table.clone()));
        table
    }
}

/// True where a query must not see a key: `[1, 1, queries, keys]`. The first `before` keys are prefixes, which all queries
/// see.
pub(super) fn out_of_sight(
    [queries, keys]: [usize; 2],
    before: usize,
    sight: Sight,
    device: &Device,
) -> Tensor<4, Bool> {
    let is_hidden = |query: usize, key: usize| match key.checked_sub(before) {
        Some(key) => sight.hides(query, key),
        None => false,
    };
    let values: Vec<bool> =
        (0..queries).flat_map(|query| (0..keys).map(move |key| (query, key))).map(|(q, k)| is_hidden(q, k)).collect();
    Tensor::from_data(TensorData::new(values, [1, 1, queries, keys]), device)
}

/// [`out_of_sight`] of a pass that continues from a cache: `[rows, 1, queries, prefixes + keys]`; `None` if every query sees
/// all keys that are no padding.
pub(super) fn continued_out_of_sight(
    continued: &Continued,
    rows: usize,
    prefixes: usize,
    sight: Sight,
    device: &Device,
) -> Option<Tensor<4, Bool>> {
    let columns = continued.keys.first().map_or(0, Vec::len);
    if continued.new == 1 && sight.window.is_none_or(|window| columns <= window) {
        return None;
    }
    let mut values = Vec::with_capacity(rows * continued.new * (prefixes + columns));
    for row in 0..rows {
        let keys = continued.keys_of(row);
        for query in &keys[columns - continued.new..] {
            values.resize(values.len() + prefixes, false);
            // What a position of padding sees is not read.
            let hides = |key: &Option<usize>| query.zip(*key).is_some_and(|(query, key)| sight.hides(query, key));
            values.extend(keys.iter().map(hides));
        }
    }
    let shape = [rows, 1, continued.new, prefixes + columns];
    Some(Tensor::from_data(TensorData::new(values, shape), device))
}
