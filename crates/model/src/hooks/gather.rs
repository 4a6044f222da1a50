//! Gathering the rows of a routed batch by adapter.

use burn_adapters_composition::{Composition, Route};

use super::ActiveHooks;

/// The rows of a batch in the order of their adapters.
#[derive(Debug, Clone)]
pub(crate) struct Gathered<'a> {
    /// `gathered[i] = batch[order[i]]`.
    pub(crate) order: Vec<usize>,
    /// `batch[i] = gathered[restore[i]]`.
    pub(crate) restore: Vec<usize>,
    /// The hooks for the gathered batch.
    pub(crate) hooks: ActiveHooks<'a>,
}

impl<'a> ActiveHooks<'a> {
    /// The order that makes the rows of each routed adapter contiguous, and the hooks for a batch in that order: rows
    /// are then gathered once per pass instead of at every hook. `None` if they are contiguous already, or nothing is
    /// routed.
    pub(crate) fn gathered(&self) -> Option<Gathered<'a>> {
        let gather = |route: &Route| {
            let order = route.gather_order();
            let rows = order.iter().map(|row| route.rows()[*row].clone());
            (Route::new(rows), order)
        };
        let (composition, order) = match self.composition.as_ref()? {
            Composition::Route(route) => {
                let (route, order) = gather(route);
                (Composition::Route(route), order)
            }
            // Other adapters of the stack do not depend on the order of the rows.
            Composition::Stack(children) => {
                let plain = |child: &Composition| matches!(child, Composition::Adapter(_) | Composition::Route(_));
                let mut routes = children.iter().filter_map(|child| match child {
                    Composition::Route(route) => Some(route),
                    _ => None,
                });
                let (Some(route), None, true) = (routes.next(), routes.next(), children.iter().all(plain)) else {
                    return None;
                };
                let (route, order) = gather(route);
                let children = children.iter().map(|child| match child {
                    Composition::Route(_) => Composition::Route(route.clone()),
                    child => child.clone(),
                });
                (Composition::Stack(children.collect()), order)
            }
            _ => return None,
        };
        if order.iter().enumerate().all(|(place, row)| place == *row) {
            return None;
        }
        let mut restore = vec![0; order.len()];
        order.iter().enumerate().for_each(|(place, row)| restore[*row] = place);
        Some(Gathered { order, restore, hooks: Self { composition: Some(composition), ..self.clone() } })
    }
}
