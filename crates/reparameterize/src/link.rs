//! The link between a bias and the weight beside it.
//!
//! (IA)³ and DoRA scale the whole output of a layer, including its bias, by a factor of the weight's trained
//! parameters. Burn attaches a reparameterization to one parameter, and a trained tensor can exist in one place only:
//! an optimizer that encounters it a second time has no gradient left for it, and the two copies would diverge. So the
//! parameters belong to the weight, and the bias reads them through a [`Link`].
//!
//! The two are rebuilt separately whenever the module is mapped, moved, validated or trained, in the order of the
//! layer's fields, and clones of a module must not see each other's parameters. So each rebuild creates a new link: the
//! first of the two creates it, and leaves it in the old link for the other to take.

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

/// The values that the bias reads from the weight.
#[derive(Debug)]
pub(crate) struct Link {
    named: Mutex<Named>,
    weight: Mutex<Option<Tensor<2>>>,
    /// By thread, because clones of a module may be rebuilt at the same time.
    successors: Mutex<HashMap<ThreadId, (Side, Arc<Link>)>>,
}

impl Link {
    pub(crate) fn new(named: Named, weight: Option<Tensor<2>>) -> Arc<Self> {
        Arc::new(Self { named: Mutex::new(named), weight: Mutex::new(weight), successors: Mutex::default() })
    }

    /// The link of the rebuilt module: created by the first side, taken over by the other.
    pub(crate) fn successor(&self, side: Side) -> Arc<Link> {
        let mut successors = lock(&self.successors);
        let thread = thread::current().id();
        match successors.remove(&thread) {
            Some((maker, link)) if maker != side => link,
            // Nothing is left there, or it is from a rebuild that only this side took part in.
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

    /// The base weight that was last used.
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
