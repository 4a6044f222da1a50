//! The parameters of a module, and their reparameterizations.

use std::any::Any;

use burn::module::{Module, ModuleVisitor, Param, ParamId, Reparameterization};
use burn::tensor::{Device, Tensor};
use burn_adapters_tensors::ModulePath;

use crate::{ParamAdapters, exchange};

/// A float parameter of a module.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) path: String,
    pub(crate) id: ParamId,
    pub(crate) shape: Vec<usize>,
    /// The struct that it is a field of.
    pub(crate) owner: String,
    pub(crate) device: Device,
    /// The parameter itself, if it is a matrix.
    pub(crate) matrix: Option<Param<Tensor<2>>>,
    pub(crate) adapters: Option<ParamAdapters>,
    /// The name of a reparameterization that belongs to another crate.
    pub(crate) foreign: Option<String>,
}

/// The float parameters of a module in its own order, without those inside reparameterizations.
pub(crate) fn survey<M: Module>(module: &M) -> Vec<Found> {
    let mut survey = Survey::default();
    module.visit(&mut survey);
    survey.found
}

/// Burn's name for the container of a reparameterization's parameters.
pub(crate) const REPARAMETERIZATION: &str = "Reparameterization";

#[derive(Default)]
struct Survey {
    found: Vec<Found>,
    path: ModulePath,
    /// The nesting depth of reparameterizations.
    inside: usize,
}

impl ModuleVisitor for Survey {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.inside > 0 {
            return;
        }
        let owner = self.path.container();
        self.found.push(Found {
            path: self.path.to_string(),
            id: param.id,
            shape: param.lazy_shape().as_slice().to_vec(),
            owner: owner.strip_prefix("Struct:").unwrap_or(owner).to_owned(),
            device: param.lazy_device(),
            matrix: (param as &dyn Any).downcast_ref::<Param<Tensor<2>>>().cloned(),
            adapters: None,
            foreign: None,
        });
    }

    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
        if container_type == REPARAMETERIZATION {
            self.inside += 1;
            if self.inside == 1 && name == ParamAdapters::NAME {
                exchange::want();
            }
        }
    }

    fn exit_module(&mut self, name: &str, container_type: &str) {
        self.path.exit();
        if container_type != REPARAMETERIZATION {
            return;
        }
        self.inside -= 1;
        if self.inside == 0 {
            let shown = exchange::end();
            // Burn visits the parameter itself right before its reparameterization.
            if let Some(found) = self.found.last_mut() {
                found.foreign = shown.is_none().then(|| name.to_owned());
                found.adapters = shown;
            }
        }
    }
}
