//! Reading all adapters of a module, and attaching them again.

use std::collections::{BTreeMap, BTreeSet};

use burn::module::{Module, ModuleMapper, Param, Reparameterization, Reparameterizer};
use burn::tensor::Tensor;
use burn_adapters_core::Mode;
use burn_adapters_tensors::ModulePath;

use crate::link::Link;
use crate::slot::{Named, Slot};
use crate::survey::{Found, REPARAMETERIZATION};
use crate::{ParamAdapters, exchange};

/// All adapters of a module, by the paths of their weights.
#[derive(Debug, Default)]
pub(crate) struct Adapted {
    pub(crate) named: BTreeMap<String, Named>,
    /// The weights whose bias is scaled with them.
    pub(crate) linked: BTreeSet<String>,
}

impl Adapted {
    pub(crate) fn read(survey: &[Found]) -> Self {
        let mut adapted = Self::default();
        for found in survey {
            if let Some(ParamAdapters(Slot::Weight { named, link })) = &found.adapters {
                adapted.named.insert(found.path.clone(), named.clone());
                if link.is_some() {
                    adapted.linked.insert(found.path.clone());
                }
            }
        }
        adapted
    }

    /// The names of the adapters.
    pub(crate) fn names(&self) -> BTreeSet<&str> {
        self.named.values().flat_map(|named| named.updates.keys()).map(String::as_str).collect()
    }

    /// The active adapter, and the mode.
    pub(crate) fn state(&self) -> (Option<String>, Mode) {
        match self.named.values().next() {
            Some(named) => (named.active.clone(), named.mode),
            None => (None, Mode::Inference),
        }
    }

    /// The module with these adapters instead of its own. Existing slots are kept, even empty ones.
    pub(crate) fn write<M: Module>(self, module: M, survey: &[Found]) -> M {
        let mut slots = BTreeMap::new();
        for (path, named) in self.named {
            let bias = bias_path(&path).filter(|_| self.linked.contains(&path));
            let link = bias.map(|bias| {
                let weight = survey.iter().find(|found| found.path == path).and_then(|found| found.matrix.as_ref());
                let link = Link::new(named.clone(), weight.map(Param::base));
                slots.insert(bias, ParamAdapters(Slot::Bias(link.clone())));
                link
            });
            slots.insert(path, ParamAdapters(Slot::Weight { named, link }));
        }
        let is_there = |path: &str| survey.iter().any(|found| found.path == path && found.adapters.is_some());
        let (replaced, new): (BTreeMap<_, _>, BTreeMap<_, _>) = slots.into_iter().partition(|(path, _)| is_there(path));
        let module = module.map(&mut Replace { slots: replaced, path: ModulePath::default(), inside: 0 });
        if new.is_empty() { module } else { module.apply_reparameterization(Attach(new)) }
    }
}

/// The path of the bias beside a weight.
pub(crate) fn bias_path(weight: &str) -> Option<String> {
    let layer = weight.strip_suffix("weight")?;
    (layer.is_empty() || layer.ends_with('.')).then(|| format!("{layer}bias"))
}

struct Attach(BTreeMap<String, ParamAdapters>);

impl Reparameterizer for Attach {
    type Reparam = ParamAdapters;

    fn reparameterize<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<ParamAdapters>) {
        (param, self.0.remove(path))
    }
}

struct Replace {
    slots: BTreeMap<String, ParamAdapters>,
    path: ModulePath,
    inside: usize,
}

impl ModuleMapper for Replace {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param
    }

    fn enter_module(&mut self, name: &str, container_type: &str) {
        if container_type == REPARAMETERIZATION {
            if self.inside == 0
                && name == ParamAdapters::NAME
                && let Some(slot) = self.slots.remove(&self.path.to_string())
            {
                exchange::give(slot);
            }
            self.inside += 1;
        }
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, container_type: &str) {
        self.path.exit();
        if container_type == REPARAMETERIZATION {
            self.inside -= 1;
            exchange::end();
        }
    }
}

/// Freezes every float parameter outside reparameterizations.
#[derive(Default)]
pub(crate) struct FreezeBase {
    inside: usize,
}

impl ModuleMapper for FreezeBase {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.inside > 0 {
            return param;
        }
        // A lazy parameter shares its initializer with its clones. It is drawn first, so that the clones keep trainable
        // parameters of their own.
        let _ = param.val();
        param.set_require_grad(false)
    }

    fn enter_module(&mut self, _name: &str, container_type: &str) {
        self.inside += usize::from(container_type == REPARAMETERIZATION);
    }

    fn exit_module(&mut self, _name: &str, container_type: &str) {
        self.inside -= usize::from(container_type == REPARAMETERIZATION);
    }
}
