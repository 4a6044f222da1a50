//! The hooks of a setup.

mod active;
mod attention;
mod fit;
mod gather;
mod linear;
mod parts;
mod sequence;
mod sublayer;
mod walk;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use burn_adapters_core::Mode;

pub use self::active::ActiveHooks;
pub use self::sublayer::AroundProjection;
use crate::{Adapter, AdapterBank, BankError, Observed, Setup};

/// The hooks of a setup, borrowed from an [`AdapterBank`](crate::AdapterBank) for any number of passes.
///
/// [`Forward`](crate::Forward) runs a [`BaseModel`](crate::BaseModel) with them. A custom forward pass calls them
/// inside [`run`](Self::run).
///
/// In training, create new hooks for each backward pass: everything that layers share (prefixes) is computed when hooks
/// are created, and a graph can be traversed only once.
#[derive(Debug, Clone)]
pub struct Hooks<'a> {
    active: ActiveHooks<'a>,
    /// Whether the setup has adapters or heads for single rows.
    is_sized: bool,
}

impl Hooks<'static> {
    /// No adapters, at inference: every hook computes exactly what the plain model would.
    pub fn none() -> Self {
        Self { active: ActiveHooks::none(), is_sized: false }
    }
}

impl<'a> Hooks<'a> {
    pub(crate) fn new(bank: &'a AdapterBank, active: BTreeMap<&'a str, &'a Adapter>, setup: &Setup) -> Self {
        Self { active: ActiveHooks::new(bank, active, setup), is_sized: setup.rows().is_some() }
    }

    /// Runs a forward pass that calls the hooks. This is the only way to call them, so the result of a pass with an
    /// adapter that does not fit cannot be used.
    ///
    /// ```
    /// use burn::nn::LinearConfig;
    /// use burn::tensor::{Device, Tensor};
    /// use burn_adapters_core::{ModelSpec, Place, Site, StackSpec};
    /// use burn_adapters_model::{AdapterBank, Setup};
    ///
    /// let device = Device::default();
    /// let query = LinearConfig::new(8, 8).init(&device);
    /// let spec = ModelSpec::new("mine", 8).with_stack(StackSpec::encoder(1, 8, 2, 16));
    /// let mut bank = AdapterBank::new(spec, &device.clone().autodiff());
    /// bank.add("reviews", "lora[attn_matrices=['q']]".parse()?)?;
    ///
    /// let x = Tensor::<3>::ones([2, 3, 8], &device);
    /// let hooks = bank.hooks(&Setup::adapter("reviews"))?;
    /// let queries = hooks.run(|hooks| hooks.linear(Site::encoder(0, Place::Query), &query, x.clone()))?;
    /// assert_eq!(queries.dims(), [2, 3, 8]);
    /// // The specification has one layer:
    /// assert!(hooks.run(|hooks| hooks.linear(Site::encoder(1, Place::Query), &query, x)).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The first misfit between an adapter, the model and the batch.
    pub fn run<T>(&self, forward: impl FnOnce(&ActiveHooks<'_>) -> T) -> Result<T, BankError> {
        let pass = self.pass();
        let result = forward(&pass);
        match pass.failure() {
            Some(error) => Err(error),
            None => Ok(result),
        }
    }

    /// Whether their setup fits only batches with a certain number of rows: see [`Setup::rows`].
    pub fn is_sized(&self) -> bool {
        self.is_sized
    }

    /// Whether a text may be read in parts: every adapter treats each position by itself. Gates (means over a text), ReFT
    /// (positions of a text) and blocks that split texts do not.
    pub fn is_positionwise(&self) -> bool {
        self.active.is_positionwise()
            && self.active.active.values().all(|one| one.prefix.values().all(|prefix| prefix.gates.is_empty()))
    }

    /// The hooks for a batch in which each row stands `times` times, one after the other, as in a beam search.
    pub fn with_repeated_rows(&self, times: usize) -> Self {
        let composition = self.active.composition.as_ref().map(|composition| composition.with_repeated_rows(times));
        Self { active: ActiveHooks { composition, ..self.active.clone() }, is_sized: self.is_sized }
    }

    /// The hooks of a new pass.
    pub(crate) fn pass(&self) -> ActiveHooks<'a> {
        self.active.fresh()
    }

    /// Training or inference.
    pub fn mode(&self) -> Mode {
        self.active.mode()
    }

    /// The values that passes with these hooks observed; empty unless the setup requested them.
    pub fn observed(&self) -> Observed {
        lock(&self.active.observed).clone()
    }
}

/// If another thread panics, its values remain usable: each is a complete observation or error.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
