//! How the adapters of a parameter are read and replaced.
//!
//! A Burn visitor or mapper sees the parameters inside a reparameterization, but never the reparameterization itself, so
//! no traversal can add an adapter to it or switch it. Here a traversal of this crate says beforehand, in a variable of
//! its own thread, that the next [`ParamAdapters`] that is visited is to show itself, or that the next that is mapped
//! is to be replaced. In between nothing else runs, for a traversal is one call on one thread; all other traversals find
//! the variable idle.

use std::cell::RefCell;

use crate::ParamAdapters;

enum Exchange {
    Idle,
    Wanted,
    Shown(ParamAdapters),
    Given(ParamAdapters),
}

thread_local! {
    static EXCHANGE: RefCell<Exchange> = const { RefCell::new(Exchange::Idle) };
}

/// The next one visited is to show itself.
pub(crate) fn want() {
    EXCHANGE.replace(Exchange::Wanted);
}

/// The next one mapped is to be replaced by this one.
pub(crate) fn give(replacement: ParamAdapters) {
    EXCHANGE.replace(Exchange::Given(replacement));
}

/// Called by one that is visited: whether it was to show itself.
pub(crate) fn show(adapters: &ParamAdapters) -> bool {
    let wanted = EXCHANGE.with_borrow(|exchange| matches!(exchange, Exchange::Wanted));
    if wanted {
        EXCHANGE.replace(Exchange::Shown(adapters.clone()));
    }
    wanted
}

/// Called by one that is mapped: what it is to be replaced by.
pub(crate) fn take() -> Option<ParamAdapters> {
    let given = EXCHANGE.with_borrow(|exchange| matches!(exchange, Exchange::Given(_)));
    if !given {
        return None;
    }
    match EXCHANGE.replace(Exchange::Idle) {
        Exchange::Given(replacement) => Some(replacement),
        _ => None,
    }
}

/// Ends an exchange; gives what was shown.
pub(crate) fn end() -> Option<ParamAdapters> {
    match EXCHANGE.replace(Exchange::Idle) {
        Exchange::Shown(adapters) => Some(adapters),
        _ => None,
    }
}
