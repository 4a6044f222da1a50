//! The parameters of a setup's adapters, fusions and heads, by path.

use std::collections::BTreeMap;

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};
use burn_adapters_composition::HeadSetup;
use burn_adapters_model::{AdapterBank, Setup};
use burn_adapters_tensors::{
    ModulePath, Parameter, ParameterMapper, map_parameters, parameters, trained_parameters, values,
};

use crate::TrainError;

/// The parameters of a setup: all below these paths, the frozen ones among them.
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

/// What training needs to know of the parameters in a scope.
#[derive(Debug)]
pub(crate) struct Found {
    /// The number of parameters that are trained.
    pub(crate) trained: usize,
    /// Where the parameters are; none if there is none.
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

/// The paths of the tensors of adapters and fusions that are trained. Heads are left out: one always learns.
pub(crate) fn trained_beside_heads(bank: &AdapterBank, scope: &Scope) -> Vec<String> {
    let idle = idle_units(bank);
    let wanted = |path: &str| {
        scope.contains(path) && !path.starts_with("heads.") && !idle.iter().any(|prefix| path.starts_with(prefix))
    };
    trained_parameters(bank, wanted).into_iter().map(|parameter| parameter.path).collect()
}

/// The interventions of ReFT that have no positions: as in the reference they are there all the same, and never act.
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

/// Puts values in the place of the parameters in a scope. What does not fit is told: a parameter without a value, one
/// of another shape, a value without a parameter.
pub(crate) fn write(
    bank: AdapterBank,
    scope: &Scope,
    values: BTreeMap<String, TensorData>,
) -> Result<AdapterBank, String> {
    struct Write<'a> {
        scope: &'a Scope,
        values: BTreeMap<String, TensorData>,
        problem: Option<String>,
    }
    impl ParameterMapper for Write<'_> {
        fn map<const D: usize>(&mut self, path: &ModulePath, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let path = path.to_string();
            if !self.scope.contains(&path) {
                return param;
            }
            let Some(value) = self.values.remove(&path) else {
                self.problem.get_or_insert(format!("the parameter {path} is missing"));
                return param;
            };
            let (expected, found) = (param.lazy_shape().to_vec(), value.shape().to_vec());
            if expected != found {
                self.problem.get_or_insert(format!("{path} has the shape {found:?}, not {expected:?}"));
                return param;
            }
            param.map(|old| {
                let (device, trained) = (old.device(), old.is_require_grad());
                let new = Tensor::from_data(value, (&device, old.dtype()));
                if device.is_autodiff() { new.set_require_grad(trained) } else { new }
            })
        }
    }
    let mut write = Write { scope, values, problem: None };
    let bank = map_parameters(bank, &mut write);
    match (write.problem, write.values.keys().next()) {
        (Some(problem), _) => Err(problem),
        (None, Some(path)) => Err(format!("{path} is no parameter of the adapter or head")),
        (None, None) => Ok(bank),
    }
}
