//! Between a module's parameters and named tensors on the host.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Tensor, TensorData};

/// A tensor as a file holds it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RawTensor {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f32>,
}

/// Tensors by name.
pub(crate) type Tensors = BTreeMap<String, RawTensor>;

/// Adds a module's parameters, their names below `prefix`.
pub(crate) fn collect<M: Module>(module: &M, prefix: &str, tensors: &mut Tensors) {
    module.visit(&mut Collector { names: Names::new(prefix), tensors });
}

/// Adds the shapes of a module's parameters; none is drawn for it.
pub(crate) fn shapes<M: Module>(module: &M, prefix: &str, shapes: &mut BTreeMap<String, Vec<usize>>) {
    module.visit(&mut Shapes { names: Names::new(prefix), shapes });
}

/// Puts tensors into modules.
pub(crate) struct Filler {
    tensors: Tensors,
    names: Names,
}

impl Filler {
    pub(crate) fn new(tensors: Tensors) -> Self {
        Self { tensors, names: Names::new("") }
    }

    /// The module with the values of the tensors below `prefix`, which were checked to be there.
    pub(crate) fn fill<M: Module>(&mut self, module: M, prefix: &str) -> M {
        self.names = Names::new(prefix);
        module.map(self)
    }
}

/// The name of the parameter that a traversal is at. Variants of enums are left out of it, but the first, in lower case,
/// is the method.
struct Names {
    prefix: String,
    path: Vec<String>,
}

impl Names {
    fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), path: Vec::new() }
    }

    fn enter(&mut self, name: &str, container_type: &str) {
        let variant = container_type.starts_with("Enum:");
        self.path.push(match variant {
            true if self.path.is_empty() => name.to_lowercase(),
            true => String::new(),
            false => name.to_owned(),
        });
    }

    fn exit(&mut self) {
        self.path.pop();
    }

    fn name(&self) -> String {
        let parts = std::iter::once(&self.prefix).chain(&self.path).filter(|part| !part.is_empty());
        parts.map(String::as_str).collect::<Vec<_>>().join(".")
    }
}

macro_rules! track_names {
    () => {
        fn enter_module(&mut self, name: &str, container_type: &str) {
            self.names.enter(name, container_type);
        }

        fn exit_module(&mut self, _name: &str, _container_type: &str) {
            self.names.exit();
        }
    };
}

struct Collector<'a> {
    names: Names,
    tensors: &'a mut Tensors,
}

impl ModuleVisitor for Collector<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val();
        let shape = value.dims().to_vec();
        let values = value.into_data().iter::<f32>().collect();
        self.tensors.insert(self.names.name(), RawTensor { shape, values });
    }

    track_names!();
}

struct Shapes<'a> {
    names: Names,
    shapes: &'a mut BTreeMap<String, Vec<usize>>,
}

impl ModuleVisitor for Shapes<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.shapes.insert(self.names.name(), param.lazy_shape().as_slice().to_vec());
    }

    track_names!();
}

impl ModuleMapper for Filler {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(RawTensor { shape, values }) = self.tensors.remove(&self.names.name()) else {
            return param;
        };
        let value = Tensor::<D>::from_data(TensorData::new(values, shape), &param.lazy_device());
        let id = param.id;
        param.transform_for_load(value, id)
    }

    track_names!();
}
