//! The parameters of a setup's adapters, fusions and heads, by path.

use std::collections::BTreeMap;

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};
use burn_adapters_composition::HeadSetup;
use burn_adapters_model::{AdapterBank, Setup};
use burn_adapters_tensors::{
    Mismatch, ModulePath, Parameter, ParameterMapper, map_parameters, parameters, trained_parameters, values,
};

use crate::TrainError;

/// The parameters of a setup, including frozen ones: those whose paths begin with one of these prefixes.
#[derive(Debug, Clone)]
pub(crate) struct Scope(Vec<String>);

impl Scope {
    pub(crate) fn new(setup: &Setup) -> Self {
        let adapters = setup.adapter_names().into_iter().map(|name| format!("adapters.{name}."));
        let fusions = setup.fusion_names().into_iter().map(|name| format!("fusions.{name}."));
        let heads = setup.heads();
        let heads = heads.iter().flat_map(HeadSetup::names).map(|name| format!("heads.{name}."));
        Self(adapters.chain(fusions).chain(heads).collect())
    }

    fn contains(&self, path: &str) -> bool {
        self.0.iter().any(|prefix| path.starts_with(prefix))
    }
}

/// Information about the parameters in a scope.
#[derive(Debug)]
pub(crate) struct Found {
    /// The number of trained parameters.
    pub(crate) trained: usize,
    /// The device of the parameters; `None` if there are none.
    pub(crate) device: Option<Device>,
}

impl Found {
    pub(crate) fn of(bank: &AdapterBank, scope: &Scope) -> Self {
        let trained = trained_parameters(bank, |path| scope.contains(path));
        let device = parameters(bank).into_iter().find(|parameter| scope.contains(&parameter.path));
        Self {
            trained: trained.iter().map(Parameter::elements).sum(),
            device: device.map(|parameter| parameter.device),
        }
    }
}

/// The paths of the trained tensors of adapters and fusions. Heads are not included: they always learn.
pub(crate) fn trained_beside_heads(bank: &AdapterBank, scope: &Scope) -> Vec<String> {
    let idle = idle_units(bank);
    let wanted = |path: &str| {
        scope.contains(path) && !path.starts_with("heads.") && !idle.iter().any(|prefix| path.starts_with(prefix))
    };
    trained_parameters(bank, wanted).into_iter().map(|parameter| parameter.path).collect()
}

/// ReFT interventions without positions: as in the reference they exist, but never act.
fn idle_units(bank: &AdapterBank) -> Vec<String> {
    let adapters = bank.names().filter_map(|name| Some((name, bank.adapter(name).ok()?)));
    let mut idle = Vec::new();
    for (name, adapter) in adapters {
        for (site, reft) in adapter.reft.iter().filter(|(_, reft)| reft.units.len() > 1) {
            for (unit, positions) in [reft.prefix_positions, reft.suffix_positions].into_iter().enumerate() {
                if positions == 0 {
                    idle.push(format!("adapters.{name}.reft.{}.units.{unit}.", site.key()));
                }
            }
        }
    }
    idle
}

/// The values of the parameters in a scope.
pub(crate) fn read(bank: &AdapterBank, scope: &Scope) -> Result<BTreeMap<String, TensorData>, TrainError> {
    values(bank, |path| Some(path.to_string()).filter(|path| scope.contains(path)))
        .map_err(|error| TrainError::Device(error.to_string()))
}

/// Replaces the parameters in a scope. Every parameter must have a value of its shape, and every value a parameter.
pub(crate) fn write(
    bank: AdapterBank,
    scope: &Scope,
    values: BTreeMap<String, TensorData>,
) -> Result<AdapterBank, Box<Mismatch>> {
    struct Write(BTreeMap<String, TensorData>);
    impl ParameterMapper for Write {
        fn map<const D: usize>(&mut self, path: &ModulePath, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let Some(value) = self.0.remove(&path.to_string()) else { return param };
            param.map(|old| {
                let (device, trained) = (old.device(), old.is_require_grad());
                let new = Tensor::from_data(value, (&device, old.dtype()));
                if device.is_autodiff() { new.set_require_grad(trained) } else { new }
            })
        }
    }
    let needed = parameters(&bank).into_iter().filter(|parameter| scope.contains(&parameter.path));
    let needed = needed.map(|parameter| (parameter.path, parameter.shape)).collect();
    let found = values.iter().map(|(path, data)| (path.clone(), data.shape().to_vec())).collect();
    match Mismatch::between(&needed, &found) {
        mismatch if mismatch.is_empty() => Ok(map_parameters(bank, &mut Write(values))),
        mismatch => Err(Box::new(mismatch)),
    }
}
