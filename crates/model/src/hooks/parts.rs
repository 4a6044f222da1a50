//! Hooks and compositions for other rows, or for a part of the adapters.

use std::sync::Arc;

use burn_adapters_bottleneck::Bottleneck;
use burn_adapters_composition::{Composition, Route};

use super::ActiveHooks;
use super::active::Replicated;
use crate::Adapter;

impl ActiveHooks<'_> {
    /// Whether every adapter of the pass treats each position of a sequence independently, once keys and values are
    /// computed. A model may then compute only the positions that are read, from the last layer's queries on. Gates
    /// (means over the sequence), interventions at chosen positions, and blocks that split the sequence do not.
    pub(crate) fn is_positionwise(&self) -> bool {
        let mut split = false;
        if let Some(composition) = &self.composition {
            composition.visit(&mut |part| split |= matches!(part, Composition::Split { .. }));
        }
        let observed = self.observe_gates || self.observe_fusions;
        !split && !observed && self.active.values().all(|adapter| adapter.is_positionwise())
    }

    /// Hooks for the same batch without its padding: each remaining position becomes a row of its own,
    /// `[Σ lengths, 1, hidden]`, for the hooks at matrices and at the ends of sublayers. Attention sees whole sequences, so
    /// its hook is the batch's own, called with padding. `None` if an adapter needs more than one position at a time, or
    /// the row as a whole.
    ///
    /// `lengths` holds the number of non-padding positions of each row.
    pub(crate) fn packed(&self, lengths: &[usize]) -> Option<Self> {
        let whole_rows = |adapter: &Adapter| {
            let gated = adapter.prefix.values().any(|prefix| !prefix.gates.is_empty());
            let deep = |bottleneck: &Bottleneck| self.mode.is_training() && bottleneck.form.stochastic_depth > 0.0;
            gated || adapter.bottleneck.values().any(deep)
        };
        if !self.is_positionwise() || self.active.values().any(|adapter| whole_rows(adapter)) {
            return None;
        }
        let composition = match &self.composition {
            Some(composition) => Some(by_position(composition, lengths)?),
            None => None,
        };
        Some(Self { composition, ..self.clone() })
    }

    /// The hooks for a row of the batch by itself; `None` if the composition repeats or splits rows.
    pub(crate) fn of_row(&self, row: usize) -> Option<Self> {
        let composition = match &self.composition {
            Some(composition) => of_row(composition, row)?,
            None => None,
        };
        let names = composition.as_ref().map(Composition::names).unwrap_or_default();
        let active = self.active.iter().filter(|(name, _)| names.contains(name)).map(|(name, one)| (*name, *one));
        let prefixes = self.prefixes.iter().filter(|(name, _)| names.contains(name));
        let (active, prefixes) =
            (active.collect(), prefixes.map(|(name, prefixes)| (*name, prefixes.clone())).collect());
        Some(Self {
            composition,
            active,
            prefixes,
            bank: self.bank,
            mode: self.mode,
            base_dropout: self.base_dropout,
            skip_layers: self.skip_layers.clone(),
            replicated: Replicated::Never,
            repeated: Arc::clone(&self.repeated),
            observe_gates: self.observe_gates,
            observe_fusions: self.observe_fusions,
            observed: Arc::clone(&self.observed),
            failure: Arc::clone(&self.failure),
        })
    }
}

/// The composition for positions as rows, given the lengths of the original rows; `None` if it repeats or splits rows
/// in a way that this cannot express.
pub(super) fn by_position(composition: &Composition, lengths: &[usize]) -> Option<Composition> {
    let each =
        |children: &[Composition]| children.iter().map(|child| by_position(child, lengths)).collect::<Option<_>>();
    Some(match composition {
        Composition::Adapter(_) => composition.clone(),
        Composition::Stack(children) => Composition::Stack(each(children)?),
        Composition::Fuse { children, name } => Composition::Fuse { children: each(children)?, name: name.clone() },
        Composition::Average { children, weights, normalize_weights } => Composition::Average {
            children: each(children)?,
            weights: weights.clone(),
            normalize_weights: *normalize_weights,
        },
        Composition::BatchSplit { children, batch_sizes } => {
            let mut first = 0;
            let (mut parts, mut sizes) = (Vec::new(), Vec::new());
            for (child, size) in children.iter().zip(batch_sizes) {
                let lengths = lengths.get(first..first + size)?;
                parts.push(by_position(child, lengths)?);
                sizes.push(lengths.iter().sum());
                first += size;
            }
            (first == lengths.len()).then_some(Composition::BatchSplit { children: parts, batch_sizes: sizes })?
        }
        Composition::Route(route) if route.rows().len() == lengths.len() => {
            let rows = route.rows().iter().zip(lengths);
            Composition::Route(Route::new(rows.flat_map(|(row, length)| std::iter::repeat_n(row.clone(), *length))))
        }
        Composition::Route(_) | Composition::Split { .. } | Composition::Parallel(_) => return None,
    })
}

/// The composition for one row of a batch alone: an outer `None` if it repeats or splits rows, an inner one if no adapter
/// acts on the row.
pub(super) fn of_row(composition: &Composition, row: usize) -> Option<Option<Composition>> {
    Some(match composition {
        Composition::Stack(children) => {
            let children = children.iter().map(|child| of_row(child, row)).collect::<Option<Vec<_>>>()?;
            let children: Vec<Composition> = children.into_iter().flatten().collect();
            (!children.is_empty()).then_some(Composition::Stack(children))
        }
        Composition::BatchSplit { children, batch_sizes } => {
            let mut start = 0;
            let found = children.iter().zip(batch_sizes).find_map(|(child, size)| {
                let first = start;
                start += size;
                (row < start).then(|| of_row(child, row - first))
            });
            found??
        }
        Composition::Route(route) => route.rows().get(row)?.clone().map(Composition::Adapter),
        Composition::Split { .. } | Composition::Parallel(_) => return None,
        Composition::Adapter(_) | Composition::Fuse { .. } | Composition::Average { .. } => Some(composition.clone()),
    })
}

/// Of several adapters in a `Stack`, only the first has its invertible adapter used, as in the reference.
pub(super) fn only_first(composition: &Composition) -> Composition {
    let each = |children: &[Composition]| children.iter().map(only_first).collect::<Vec<_>>();
    match composition {
        Composition::Stack(children) if !children.is_empty() => only_first(&children[0]),
        Composition::BatchSplit { children, batch_sizes } => {
            Composition::BatchSplit { children: each(children), batch_sizes: batch_sizes.clone() }
        }
        Composition::Parallel(children) => Composition::Parallel(each(children)),
        Composition::Adapter(_) | Composition::Route(_) => composition.clone(),
        composition => match composition.first() {
            Some(first) => Composition::Adapter(first.to_owned()),
            None => composition.clone(),
        },
    }
}

/// The adapter whose invertible adapter acts on a row, of `batch` in all.
pub(super) fn first_at(composition: &Composition, row: usize, batch: usize) -> Option<String> {
    match composition {
        Composition::Adapter(name) => Some(name.clone()),
        Composition::Stack(children) => first_at(children.first()?, row, batch),
        Composition::BatchSplit { children, batch_sizes } => {
            let mut start = 0;
            for (child, size) in children.iter().zip(batch_sizes) {
                if row < start + size {
                    return first_at(child, row - start, *size);
                }
                start += size;
            }
            None
        }
        Composition::Parallel(children) => {
            let size = batch / children.len().max(1);
            first_at(children.get(row / size.max(1))?, row % size.max(1), size)
        }
        Composition::Route(route) => route.rows().get(row).cloned().flatten(),
        composition => composition.first().map(str::to_owned),
    }
}
