//! Reading and replacing the adapters of a parameter.
//!
//! A Burn visitor or mapper sees the parameters inside a reparameterization, but not the reparameterization itself, so
//! no traversal can add or activate an adapter. Therefore a traversal of this crate sets a thread-local variable that
//! asks the next visited [`ParamAdapters`] to show itself, or the next mapped one to be replaced. Nothing else runs in
//! between, because a traversal is one call on one thread; all other traversals find the variable unset.

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

/// The next one visited must show itself.
pub(crate) fn want() {
    EXCHANGE.replace(Exchange::Wanted);
}

/// The next one mapped must be replaced by this one.
pub(crate) fn give(replacement: ParamAdapters) {
    EXCHANGE.replace(Exchange::Given(replacement));
}

/// Called by a visited one: returns whether it must show itself.
pub(crate) fn show(adapters: &ParamAdapters) -> bool {
    let wanted = EXCHANGE.with_borrow(|exchange| matches!(exchange, Exchange::Wanted));
    if wanted {
        EXCHANGE.replace(Exchange::Shown(adapters.clone()));
    }
    wanted
}

/// Called by a mapped one: returns its replacement.
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

/// Ends an exchange; returns what was shown.
pub(crate) fn end() -> Option<ParamAdapters> {
    match EXCHANGE.replace(Exchange::Idle) {
        Exchange::Shown(adapters) => Some(adapters),
        _ => None,
    }
}
