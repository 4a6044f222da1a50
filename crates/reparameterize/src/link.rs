//! What ties a bias to the weight beside it.
//!
//! (IA)³ and DoRA scale a layer's whole output, so its bias as well, by a factor of the weight's trained parameters. Burn
//! attaches a reparameterization to one parameter, and a trained tensor can live at one place only: an optimizer that
//! meets it a second time has no gradient left for it and would let the two drift apart. So the parameters live at the
//! weight, and the bias reads them through a [`Link`].
//!
//! The two are rebuilt apart from each other whenever the module is mapped, moved, validated or trained, in the order
//! of the layer's fields, and clones of a module must not see each other's parameters. So each rebuilding makes a new
//! link: the first of the two to be rebuilt makes it, and leaves it at the old one for the other to find.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, ThreadId};

use burn::tensor::Tensor;

use crate::slot::Named;

/// A side of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Weight,
    Bias,
}

/// What the bias reads of the weight.
#[derive(Debug)]
pub(crate) struct Link {
    named: Mutex<Named>,
    weight: Mutex<Option<Tensor<2>>>,
    /// By thread, for clones of a module may be rebuilt at the same time.
    successors: Mutex<HashMap<ThreadId, (Side, Arc<Link>)>>,
}

impl Link {
    pub(crate) fn new(named: Named, weight: Option<Tensor<2>>) -> Arc<Self> {
        Arc::new(Self { named: Mutex::new(named), weight: Mutex::new(weight), successors: Mutex::default() })
    }

    /// The link of the rebuilt module: made by the side that asks first, taken over by the other.
    pub(crate) fn successor(&self, side: Side) -> Arc<Link> {
        let mut successors = lock(&self.successors);
        let thread = thread::current().id();
        match successors.remove(&thread) {
            Some((maker, link)) if maker != side => link,
            // Nothing left there, or by a rebuilding that only this side took part in.
            _ => {
                let link = Self::new(self.named(), self.weight());
                successors.insert(thread, (side, link.clone()));
                link
            }
        }
    }

    pub(crate) fn named(&self) -> Named {
        lock(&self.named).clone()
    }

    pub(crate) fn set_named(&self, named: Named) {
        *lock(&self.named) = named;
    }

    /// The base weight, as it was last used.
    pub(crate) fn weight(&self) -> Option<Tensor<2>> {
        lock(&self.weight).clone()
    }

    pub(crate) fn set_weight(&self, weight: Option<Tensor<2>>) {
        *lock(&self.weight) = weight;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
