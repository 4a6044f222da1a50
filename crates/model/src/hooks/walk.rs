//! The walk of a composition over a hook, written once for every method.
//!
//! A hook gives a [`HookPoint`]: which adapters act there, how one transforms the hook's state, and how states are
//! joined and averaged. The walk is the reference's. A block lets its first adapter *enter* (apply the residuals and
//! norms that come before an adapter), then runs its children. What comes after the last adapter is applied when the
//! state is *settled*.

use std::ops::Range;

use burn::tensor::{Bool, Device, Int, Tensor};
use burn_adapters_composition::{Composition, Route};
use burn_adapters_core::row_indices;

use super::ActiveHooks;

/// The state that a hook passes from adapter to adapter; the first dimension of its tensors is the batch.
pub(super) trait State: Sized + Clone {
    /// The number of rows.
    fn batch(&self) -> usize;
    /// The device of the tensors.
    fn device(&self) -> Device;
    /// Some neighboring rows.
    fn rows(&self, range: Range<usize>) -> Self;
    /// These rows, in this order.
    fn select(&self, rows: &Rows) -> Self;
}

/// Rows of a batch in some order, on the host and on the device of the tensors.
pub(super) struct Rows {
    pub(super) order: Vec<usize>,
    pub(super) indices: Tensor<1, Int>,
}

impl Rows {
    fn new(order: Vec<usize>, device: &Device) -> Self {
        Self { indices: row_indices(&order, device), order }
    }
}

/// One hook at one site.
pub(super) trait HookPoint {
    /// The state that adapters transform.
    type State: State;

    /// The hooks of the pass, which record misfits.
    fn hooks(&self) -> &ActiveHooks<'_>;

    /// Whether an adapter has a module here.
    fn acts(&self, adapter: &str) -> bool;

    /// Applies what comes before an adapter.
    fn enter(&self, _adapter: &str, state: Self::State) -> Self::State {
        state
    }

    /// Applies the adapter itself.
    fn apply(&self, adapter: &str, state: Self::State) -> Self::State;

    /// Applies what comes after the last adapter; a settled state is unchanged.
    fn settle(&self, state: Self::State) -> Self::State;

    /// Joins the parts of a batch.
    fn join(&self, parts: Vec<Self::State>) -> Self::State;

    /// The weighted sum of states of the same rows; `before` is the state that they started from.
    fn average(&self, before: &Self::State, states: Vec<Self::State>, weights: &[f64]) -> Self::State;

    /// Applies AdapterFusion over the children.
    fn fuse(&self, _fusion: &str, _children: &[Composition], state: Self::State) -> Self::State {
        state
    }

    /// Runs parts of the sequence through the children.
    fn split(&self, _children: &[Composition], _splits: &[usize], state: Self::State) -> Self::State {
        state
    }
}

/// Runs a composition over a state and settles it.
pub(super) fn run<P: HookPoint>(point: &P, composition: &Composition, state: P::State) -> P::State {
    let state = match composition {
        // An adapter by itself is a stack of one.
        Composition::Adapter(_) => stack(point, std::slice::from_ref(composition), state),
        composition => block(point, composition, state),
    };
    point.settle(state)
}

fn stack<P: HookPoint>(point: &P, children: &[Composition], mut state: P::State) -> P::State {
    for child in children {
        state = match child {
            Composition::Adapter(name) if point.acts(name) => point.apply(name, point.enter(name, state)),
            Composition::Adapter(_) => state,
            child => block(point, child, state),
        };
    }
    state
}

/// Runs a block of the composition.
pub(super) fn block<P: HookPoint>(point: &P, composition: &Composition, state: P::State) -> P::State {
    match composition {
        Composition::Adapter(_) => stack(point, std::slice::from_ref(composition), state),
        Composition::Stack(children) => stack(point, children, state),
        Composition::BatchSplit { children, batch_sizes } => {
            if !point.hooks().are_rows("BatchSplit", batch_sizes.iter().sum(), state.batch()) {
                return state;
            }
            let entered = enter_first(point, composition, &state);
            let mut start = 0;
            let parts = children.iter().zip(batch_sizes).map(|(one, size)| {
                let range = start..start + size;
                start = range.end;
                part(point, one, state.rows(range.clone()), entered.rows(range))
            });
            let parts = parts.collect();
            point.join(parts)
        }
        Composition::Parallel(children) => {
            if !point.hooks().is_repeated(children.len(), state.batch()) {
                return state;
            }
            let entered = enter_first(point, composition, &state);
            let size = state.batch() / children.len().max(1);
            let parts = children.iter().enumerate().map(|(index, one)| {
                let range = index * size..(index + 1) * size;
                part(point, one, state.rows(range.clone()), entered.rows(range))
            });
            let parts = parts.collect();
            point.join(parts)
        }
        Composition::Average { children, .. } => {
            let entered = enter_first(point, composition, &state);
            let weights = composition.average_weights().unwrap_or_default();
            let states = children.iter().map(|one| part(point, one, state.clone(), entered.clone())).collect();
            point.average(&state, states, &weights)
        }
        Composition::Fuse { children, .. } => {
            point.fuse(&composition.fusion_name().unwrap_or_default(), children, state)
        }
        Composition::Split { children, splits } => point.split(children, splits, state),
        Composition::Route(route) => routed(point, route, state),
    }
}

/// Runs a child of a block whose first adapter has entered. Children with an adapter that acts here start from
/// `entered`, the others from `plain`.
pub(super) fn part<P: HookPoint>(point: &P, one: &Composition, plain: P::State, entered: P::State) -> P::State {
    match one {
        Composition::Adapter(name) if point.acts(name) => point.apply(name, entered),
        one if !acts_anywhere(point, one) => plain,
        one => block(point, one, entered),
    }
}

fn acts_anywhere<P: HookPoint>(point: &P, composition: &Composition) -> bool {
    composition.names().into_iter().any(|name| point.acts(name))
}

/// The state after the first adapter of a block that acts here has entered.
pub(super) fn enter_first<P: HookPoint>(point: &P, composition: &Composition, state: &P::State) -> P::State {
    match composition.names().into_iter().find(|name| point.acts(name)) {
        Some(first) => point.enter(first, state.clone()),
        None => state.clone(),
    }
}

/// Runs each row through its own adapter: rows with the same adapter together, each group settled by itself.
fn routed<P: HookPoint>(point: &P, route: &Route, state: P::State) -> P::State {
    let groups = route.groups();
    let expected = route.rows().len();
    if state.batch() != expected * point.hooks().channels() && !point.hooks().are_rows("Route", expected, state.batch())
    {
        return state;
    }
    // After a `Parallel` in the same stack, the batch is repeated once per branch.
    let copies = state.batch() / route.rows().len().max(1);
    let order = route.gather_order();
    let in_order = order.iter().enumerate().all(|(position, row)| position == *row);
    // Neighboring rows on which no adapter acts here are one part.
    let mut runs: Vec<(Option<&str>, Range<usize>)> = Vec::new();
    for (name, rows) in &groups {
        let name = name.filter(|name| point.acts(name));
        let start = runs.last().map_or(0, |(_, range)| range.end);
        match runs.last_mut() {
            Some((None, range)) if name.is_none() => range.end += rows.len(),
            _ => runs.push((name, start..start + rows.len())),
        }
    }
    let copy = |copy: usize| {
        let rows = route.rows().len();
        let own = if copies == 1 { state.clone() } else { state.rows(copy * rows..(copy + 1) * rows) };
        let gathered = if in_order { own } else { own.select(&Rows::new(order.clone(), &state.device())) };
        let parts = runs.iter().map(|(name, range)| {
            let part = gathered.rows(range.clone());
            match name {
                Some(name) => point.settle(point.apply(name, point.enter(name, part))),
                None => point.settle(part),
            }
        });
        let parts = parts.collect();
        let joined = point.join(parts);
        if in_order { joined } else { joined.select(&Rows::new(route.restore_order(), &state.device())) }
    };
    if copies == 1 { copy(0) } else { point.join((0..copies).map(copy).collect()) }
}

/// Rows of a mask, one after the other, as integers for the same reason as in [`select_mask`].
pub(super) fn narrow_mask<const D: usize>(mask: &Tensor<D, Bool>, start: usize, count: usize) -> Tensor<D, Bool> {
    mask.clone().int().narrow(0, start, count).not_equal_elem(0)
}

/// Rows of a mask. They are selected as integers: on some backends, selected booleans have another type.
pub(super) fn select_mask<const D: usize>(mask: &Tensor<D, Bool>, rows: &Rows) -> Tensor<D, Bool> {
    mask.clone().int().select(0, rows.indices.clone()).not_equal_elem(0)
}
