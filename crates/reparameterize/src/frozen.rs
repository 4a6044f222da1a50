//! VeRA's frozen matrices.

use std::sync::{Arc, Mutex};

use burn::module::Module;
use burn::tensor::Device;
use burn_adapters_lora::VeraShared;

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
