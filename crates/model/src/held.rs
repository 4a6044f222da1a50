//! A module of the bank, and its view without autodiff.

use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use burn::module::{Content, Devices, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor};
use burn_adapters_core::Mode;

/// A module that a pass reads in one of two forms: unchanged for training, or without autodiff for inference.
///
/// Burn keeps the graph of a pass until a later backward pass. Inference has none, so with tensors on autodiff every
/// graph would stay in memory forever. The view without autodiff shares the tensors. It is created when it is first
/// read, and dropped whenever the module may change: by every operation that returns a new `Held`.
#[derive(Clone, Debug)]
pub(crate) struct Held<M> {
    module: M,
    /// `None` if the module is not on autodiff.
    inner: OnceLock<Option<Arc<M>>>,
}

impl<M: Module + Sync> Held<M> {
    pub(crate) fn new(module: M) -> Self {
        Self { module, inner: OnceLock::new() }
    }

    /// The module for a pass: with a graph in training, without at inference.
    pub(crate) fn for_mode(&self, mode: Mode) -> &M {
        if mode.is_training() {
            return &self.module;
        }
        let inner = self.inner.get_or_init(|| {
            let (parameters, device) = on_autodiff(&self.module)?;
            let inner = Arc::new(self.module.valid());
            forget_dropped(parameters, &device);
            Some(inner)
        });
        inner.as_deref().unwrap_or(&self.module)
    }

    /// Whether no parameter is on an autodiff device.
    pub(crate) fn is_plain(&self) -> bool {
        on_autodiff(&self.module).is_none()
    }

    pub(crate) fn into_module(self) -> M {
        self.module
    }

    /// The module, mutable.
    pub(crate) fn get_mut(&mut self) -> &mut M {
        self.inner = OnceLock::new();
        &mut self.module
    }

    /// Applies a change to the module.
    pub(crate) fn change(self, change: impl FnOnce(M) -> M) -> Self {
        Self::new(change(self.module))
    }
}

impl<M> Deref for Held<M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.module
    }
}

/// The number of parameters that are (or will be, when drawn) on an autodiff device, and the device; `None` if there
/// are none.
fn on_autodiff(module: &impl Module) -> Option<(usize, Device)> {
    struct Find(Option<(usize, Device)>);
    impl ModuleVisitor for Find {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let device = param.lazy_device();
            if device.is_autodiff() {
                self.0.get_or_insert((0, device)).0 += 1;
            }
        }
    }
    let mut find = Find(None);
    module.visit(&mut find);
    find.0
}

/// Burn registers each trained parameter when it is drawn, and removes dropped ones during a backward pass. If adapters
/// are added and removed without training, there is no backward pass, so this runs one on a single element now and
/// then.
fn forget_dropped(drawn: usize, device: &Device) {
    const OFTEN: usize = 1024;
    static DRAWN: AtomicUsize = AtomicUsize::new(0);
    if DRAWN.fetch_add(drawn, Ordering::Relaxed) + drawn >= OFTEN {
        DRAWN.store(0, Ordering::Relaxed);
        Tensor::<1>::zeros([1], device).require_grad().backward();
    }
}

/// The paths of parameters are those in the module.
impl<M: Module + Sync> Module for Held<M> {
    fn collect_devices(&self, devices: Devices) -> Devices {
        self.module.collect_devices(devices)
    }

    fn fork(self, device: &Device) -> Self {
        self.change(|module| module.fork(device))
    }

    fn to_device(self, device: &Device) -> Self {
        self.change(|module| module.to_device(device))
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        self.module.visit(visitor);
    }

    fn map<P: ModuleMapper>(self, mapper: &mut P) -> Self {
        self.change(|module| module.map(mapper))
    }

    fn train(self) -> Self {
        self.change(Module::train)
    }

    fn valid(&self) -> Self {
        Self::new(self.module.valid())
    }

    fn materialize(self) -> Self {
        self.change(Module::materialize)
    }
}

impl<M: ModuleDisplay> ModuleDisplayDefault for Held<M> {
    fn content(&self, content: Content) -> Option<Content> {
        self.module.content(content)
    }
}

impl<M: ModuleDisplay> ModuleDisplay for Held<M> {}
