//! Slots: the named adapters of a parameter, and the active one.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use burn::module::{Devices, Module, ModuleMapper, ModuleVisitor, Reparameterization};
use burn::tensor::{DType, Device, Tensor};
use burn_adapters_config::LoraConfig;
use burn_adapters_core::{Mode, NameMap};
use burn_adapters_lora::VeraShared;

use crate::link::{Link, Side};
use crate::{Update, exchange};

/// The adapters of one matrix.
#[derive(Debug, Clone, Default)]
pub(crate) struct Named {
    pub(crate) updates: NameMap<Update>,
    pub(crate) about: BTreeMap<String, About>,
    pub(crate) active: Option<String>,
    pub(crate) mode: Mode,
}

/// The properties of an adapter besides its parameters; the same at all its matrices.
#[derive(Debug, Clone)]
pub(crate) struct About {
    pub(crate) config: Arc<LoraConfig>,
    pub(crate) frozen: Option<Frozen>,
}

impl Named {
    fn active(&self) -> Option<(&Update, Option<&Frozen>)> {
        let name = self.active.as_deref()?;
        Some((self.updates.get(name)?, self.about.get(name).and_then(|about| about.frozen.as_ref())))
    }

    fn with_updates(self, change: impl FnOnce(NameMap<Update>) -> NameMap<Update>) -> Self {
        Self { updates: change(self.updates), ..self }
    }
}

/// The named adapters of one parameter, attached to it as Burn's [`Reparameterization`].
///
/// [`WeightAdapters`](crate::WeightAdapters) creates and changes it;
/// [`Param::reparameterization`](burn::module::Param::reparameterization) gives access to it.
#[derive(Debug, Clone)]
pub struct ParamAdapters(pub(crate) Slot);

#[derive(Debug, Clone)]
pub(crate) enum Slot {
    /// At a matrix: holds the trained parameters.
    Weight { named: Named, link: Option<Arc<Link>> },
    /// At the bias beside it.
    Bias(Arc<Link>),
}

impl ParamAdapters {
    /// The trained parameters of an adapter here; `None` at a bias, which is scaled by those of its weight.
    pub fn update(&self, name: &str) -> Option<&Update> {
        match &self.0 {
            Slot::Weight { named, .. } => named.updates.get(name),
            Slot::Bias(_) => None,
        }
    }

    /// VeRA's frozen matrices of an adapter, which all its parameters share.
    pub fn shared(&self, name: &str) -> Option<VeraShared> {
        match &self.0 {
            Slot::Weight { named, .. } => named.about.get(name)?.frozen.as_ref()?.first(),
            Slot::Bias(_) => None,
        }
    }

    /// Rebuilds this side and the link to the other.
    fn rebuilt(self, change: impl FnOnce(NameMap<Update>) -> NameMap<Update>) -> Self {
        Self(match self.0 {
            Slot::Weight { named, link } => {
                let named = named.with_updates(change);
                let link = link.map(|link| {
                    let link = link.successor(Side::Weight);
                    link.set_named(named.clone());
                    link
                });
                Slot::Weight { named, link }
            }
            Slot::Bias(link) => Slot::Bias(link.successor(Side::Bias)),
        })
    }
}

impl Reparameterization for ParamAdapters {
    const NAME: &'static str = "adapters";

    fn apply<const D: usize>(&self, base: Tensor<D>) -> Tensor<D> {
        match &self.0 {
            Slot::Weight { named, link } => {
                if let (Some(link), Some(weight)) = (link, of_rank::<D, 2>(&base)) {
                    link.set_weight(Some(weight));
                }
                let Some((update, frozen)) = named.active() else { return base };
                with_rank::<D, 2>(base, |weight| update.effective(weight, frozen, named.mode))
            }
            Slot::Bias(link) => {
                let named = link.named();
                let Some((update, frozen)) = named.active() else { return base };
                with_rank::<D, 1>(base, |bias| {
                    let weight = link.weight().map(|weight| to_same_device(weight, &bias.device()));
                    match update.bias_factor(weight, frozen) {
                        Some(factor) => scaled(bias, factor),
                        None => bias,
                    }
                })
            }
        }
    }
}

fn to_same_device(weight: Tensor<2>, device: &Device) -> Tensor<2> {
    if weight.device() == *device { weight } else { weight.to_device(&device.clone().without_autodiff()) }
}

fn scaled(bias: Tensor<1>, factor: Tensor<1>) -> Tensor<1> {
    match bias.dtype() {
        DType::F32 => bias * factor,
        DType::QFloat(_) => bias.dequantize() * factor,
        dtype => (bias.cast(DType::F32) * factor).cast(dtype),
    }
}

/// The tensor, if its rank is `E`.
fn of_rank<const D: usize, const E: usize>(tensor: &Tensor<D>) -> Option<Tensor<E>> {
    (tensor as &dyn Any).downcast_ref::<Tensor<E>>().cloned()
}

/// Changes a tensor of rank `E`; any other is returned unchanged. Unlike a reshape, it does not touch quantized data.
fn with_rank<const D: usize, const E: usize>(
    tensor: Tensor<D>,
    change: impl FnOnce(Tensor<E>) -> Tensor<E>,
) -> Tensor<D> {
    match of_rank::<D, E>(&tensor) {
        Some(matched) => of_rank::<E, D>(&change(matched)).unwrap_or(tensor),
        None => tensor,
    }
}

impl Module for ParamAdapters {
    fn collect_devices(&self, devices: Devices) -> Devices {
        match &self.0 {
            Slot::Weight { named, .. } => named.updates.collect_devices(devices),
            Slot::Bias(_) => devices,
        }
    }

    fn fork(self, device: &Device) -> Self {
        self.rebuilt(|updates| updates.fork(device))
    }

    fn to_device(self, device: &Device) -> Self {
        self.rebuilt(|updates| updates.to_device(device))
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        if exchange::show(self) {
            return;
        }
        if let Slot::Weight { named, .. } = &self.0 {
            named.updates.visit(visitor);
        }
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        match exchange::take() {
            Some(replacement) => replacement,
            None => self.rebuilt(|updates| updates.map(mapper)),
        }
    }

    fn train(self) -> Self {
        self.rebuilt(Module::train)
    }

    fn valid(&self) -> Self {
        let mut slot = self.clone().rebuilt(|updates| updates.valid());
        if let Slot::Weight { named, link } = &mut slot.0 {
            named.mode = Mode::Inference;
            if let Some(link) = link {
                link.set_named(named.clone());
                link.set_weight(link.weight().map(Tensor::without_autodiff));
            }
        }
        slot
    }

    fn materialize(self) -> Self {
        self
    }
}

// VeRA's frozen matrices.

/// The two frozen matrices that all parameters of a VeRA adapter share: one copy per device.
///
/// They are not parameters of the module: as parameters, they would be counted, saved and moved once for each adapted
/// weight.
#[derive(Debug, Clone)]
pub(crate) struct Frozen(Arc<Mutex<Vec<(Device, VeraShared)>>>);

impl Frozen {
    pub(crate) fn new(device: &Device, shared: VeraShared) -> Self {
        Self(Arc::new(Mutex::new(vec![(device.clone(), shared)])))
    }

    /// The matrices on this device, as constants.
    pub(crate) fn on(&self, device: &Device) -> Option<VeraShared> {
        let mut copies = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        // Devices are equal if they are the same hardware, with or without a graph.
        if let Some((_, shared)) = copies.iter().find(|(there, _)| there == device) {
            return Some(shared.clone());
        }
        let shared = copies.first()?.1.clone().to_device(&device.clone().without_autodiff());
        copies.push((device.clone(), shared.clone()));
        Some(shared)
    }

    /// The first copy, for writing to a file.
    pub(crate) fn first(&self) -> Option<VeraShared> {
        let copies = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        copies.first().map(|(_, shared)| shared.clone())
    }
}
