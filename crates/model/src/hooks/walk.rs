//! The walk of a composition over a hook, written once for every method.
//!
//! A hook gives a [`Place`]: which adapters act there, how one transforms the hook's state, and how states are joined
//! and averaged. The walk is the reference's: a block lets its first adapter *enter* (take the residuals and norms that
//! stand before an adapter), then runs its children; what stands after the last adapter is done when the state is
//! *settled*.

use std::ops::Range;

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use burn_adapters_composition::{Composition, Route};

use super::ActiveHooks;

/// What a hook hands from adapter to adapter; its tensors have the rows of the batch first.
pub(super) trait State: Sized + Clone {
    /// The number of rows.
    fn batch(&self) -> usize;
    /// Where the tensors are.
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
pub(super) trait Place {
    /// What is handed on.
    type State: State;

    /// The hooks of the pass, which keep what does not fit.
    fn hooks(&self) -> &ActiveHooks<'_>;

    /// Whether an adapter has a module here.
    fn acts(&self, adapter: &str) -> bool;

    /// What stands before an adapter.
    fn enter(&self, _adapter: &str, state: Self::State) -> Self::State {
        state
    }

    /// The adapter itself.
    fn apply(&self, adapter: &str, state: Self::State) -> Self::State;

    /// What stands after the last adapter; a settled state stays as it is.
    fn settle(&self, state: Self::State) -> Self::State;

    /// Parts of a batch put together again.
    fn join(&self, parts: Vec<Self::State>) -> Self::State;

    /// The sum of states of the same rows, each times its weight; `before` is what they started from.
    fn average(&self, before: &Self::State, states: Vec<Self::State>, weights: &[f64]) -> Self::State;

    /// AdapterFusion over the children.
    fn fuse(&self, _fusion: &str, _children: &[Composition], state: Self::State) -> Self::State {
        state
    }

    /// Parts of the sequence through the children.
    fn split(&self, _children: &[Composition], _splits: &[usize], state: Self::State) -> Self::State {
        state
    }
}

/// Runs a composition over a state, and settles it.
pub(super) fn run<P: Place>(place: &P, composition: &Composition, state: P::State) -> P::State {
    let state = match composition {
        // An adapter by itself is a stack of one.
        Composition::Adapter(_) => stack(place, std::slice::from_ref(composition), state),
        composition => block(place, composition, state),
    };
    place.settle(state)
}

fn stack<P: Place>(place: &P, children: &[Composition], mut state: P::State) -> P::State {
    for child in children {
        state = match child {
            Composition::Adapter(name) if place.acts(name) => place.apply(name, place.enter(name, state)),
            Composition::Adapter(_) => state,
            child => block(place, child, state),
        };
    }
    state
}

/// A block of the composition.
pub(super) fn block<P: Place>(place: &P, composition: &Composition, state: P::State) -> P::State {
    match composition {
        Composition::Adapter(_) => stack(place, std::slice::from_ref(composition), state),
        Composition::Stack(children) => stack(place, children, state),
        Composition::BatchSplit { children, batch_sizes } => {
            if !place.hooks().are_rows("BatchSplit", batch_sizes.iter().sum(), state.batch()) {
                return state;
            }
            let entered = enter_first(place, composition, &state);
            let mut start = 0;
            let parts = children.iter().zip(batch_sizes).map(|(one, size)| {
                let range = start..start + size;
                start = range.end;
                part(place, one, state.rows(range.clone()), entered.rows(range))
            });
            let parts = parts.collect();
            place.join(parts)
        }
        Composition::Parallel(children) => {
            if !place.hooks().is_repeated(children.len(), state.batch()) {
                return state;
            }
            let entered = enter_first(place, composition, &state);
            let size = state.batch() / children.len().max(1);
            let parts = children.iter().enumerate().map(|(index, one)| {
                let range = index * size..(index + 1) * size;
                part(place, one, state.rows(range.clone()), entered.rows(range))
            });
            let parts = parts.collect();
            place.join(parts)
        }
        Composition::Average { children, .. } => {
            let entered = enter_first(place, composition, &state);
            let weights = composition.average_weights().unwrap_or_default();
            let states = children.iter().map(|one| part(place, one, state.clone(), entered.clone())).collect();
            place.average(&state, states, &weights)
        }
        Composition::Fuse { children, .. } => {
            place.fuse(&composition.fusion_name().unwrap_or_default(), children, state)
        }
        Composition::Split { children, splits } => place.split(children, splits, state),
        Composition::Route(route) => routed(place, route, state),
    }
}

/// A child of a block that has let its first adapter enter: `entered` is for adapters that act, `plain` for what is as
/// if there were none.
pub(super) fn part<P: Place>(place: &P, one: &Composition, plain: P::State, entered: P::State) -> P::State {
    match one {
        Composition::Adapter(name) if place.acts(name) => place.apply(name, entered),
        one if !acts_anywhere(place, one) => plain,
        one => block(place, one, entered),
    }
}

fn acts_anywhere<P: Place>(place: &P, composition: &Composition) -> bool {
    composition.names().into_iter().any(|name| place.acts(name))
}

/// The state after the first adapter of a block that acts here has entered.
pub(super) fn enter_first<P: Place>(place: &P, composition: &Composition, state: &P::State) -> P::State {
    match composition.names().into_iter().find(|name| place.acts(name)) {
        Some(first) => place.enter(first, state.clone()),
        None => state.clone(),
    }
}

/// Each row through its own adapter: the rows of each together, each group settled by itself.
fn routed<P: Place>(place: &P, route: &Route, state: P::State) -> P::State {
    let groups = route.groups();
    let expected = route.rows().len();
    if state.batch() != expected * place.hooks().channels() && !place.hooks().are_rows("Route", expected, state.batch())
    {
        return state;
    }
    // After a `Parallel` in the same stack the batch is there once per branch.
    let copies = state.batch() / route.rows().len().max(1);
    let order = route.gather_order();
    let in_order = order.iter().enumerate().all(|(place, row)| place == *row);
    let copy = |copy: usize| {
        let rows = route.rows().len();
        let own = if copies == 1 { state.clone() } else { state.rows(copy * rows..(copy + 1) * rows) };
        let gathered = if in_order { own } else { own.select(&Rows::new(order.clone(), &state.device())) };
        let mut start = 0;
        let parts = groups.iter().map(|(name, rows)| {
            let range = start..start + rows.len();
            start = range.end;
            let part = gathered.rows(range);
            match name {
                Some(name) if place.acts(name) => place.settle(place.apply(name, place.enter(name, part))),
                _ => place.settle(part),
            }
        });
        let parts = parts.collect();
        let joined = place.join(parts);
        if in_order { joined } else { joined.select(&Rows::new(route.restore_order(), &state.device())) }
    };
    if copies == 1 { copy(0) } else { place.join((0..copies).map(copy).collect()) }
}

/// Rows of a mask. Taken as numbers: on some backends selected booleans are of another type than others.
pub(super) fn select_mask<const D: usize>(mask: &Tensor<D, Bool>, rows: &Rows) -> Tensor<D, Bool> {
    mask.clone().int().select(0, rows.indices.clone()).not_equal_elem(0)
}

/// The indices of rows on a device.
pub(crate) fn row_indices(rows: &[usize], device: &Device) -> Tensor<1, Int> {
    let rows: Vec<i32> = rows.iter().map(|row| *row as i32).collect();
    let count = rows.len();
    Tensor::from_data(TensorData::new(rows, [count]), device)
}
