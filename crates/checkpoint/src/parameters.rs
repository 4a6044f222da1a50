//! The parameters of a Burn module, by path.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Tensor, TensorData};

/// A parameter's path and shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Described {
    pub(crate) path: String,
    pub(crate) shape: Vec<usize>,
}

/// Every parameter, in the module's order; draws and copies nothing.
pub(crate) fn describe<M: Module>(module: &M) -> Vec<Described> {
    struct Describe(Path, Vec<Described>);
    impl ModuleVisitor for Describe {
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.0.enter(name);
        }
        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.0.exit();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let shape = param.lazy_shape().dims::<D>().to_vec();
            self.1.push(Described { path: self.0.joined(), shape });
        }
    }
    let mut describe = Describe(Path::default(), Vec::new());
    module.visit(&mut describe);
    describe.1
}

/// The values of every parameter, by path.
pub(crate) fn values<M: Module>(module: &M) -> BTreeMap<String, Vec<f32>> {
    struct Values(Path, BTreeMap<String, Vec<f32>>);
    impl ModuleVisitor for Values {
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.0.enter(name);
        }
        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.0.exit();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            // Data that was just converted to f32 is f32.
            let values = param.val().into_data().convert::<f32>().try_into_vec::<f32>().unwrap_or_default();
            self.1.insert(self.0.joined(), values);
        }
    }
    let mut values = Values(Path::default(), BTreeMap::new());
    module.visit(&mut values);
    values.1
}

/// Fills parameters, by path; those without a value stay. The values must have the parameters' sizes.
pub(crate) fn fill<M: Module>(module: M, values: BTreeMap<String, Vec<f32>>) -> M {
    struct Fill(Path, BTreeMap<String, Vec<f32>>);
    impl ModuleMapper for Fill {
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.0.enter(name);
        }
        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.0.exit();
        }
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let Some(values) = self.1.remove(&self.0.joined()) else {
                return param;
            };
            let data = TensorData::new(values, param.lazy_shape());
            let (id, device) = (param.id, param.lazy_device());
            param.transform_for_load(Tensor::from_data(data, &device), id)
        }
    }
    module.map(&mut Fill(Path::default(), values))
}

#[derive(Default)]
struct Path(Vec<String>);

impl Path {
    fn enter(&mut self, name: &str) {
        self.0.push(name.to_owned());
    }

    fn exit(&mut self) {
        self.0.pop();
    }

    fn joined(&self) -> String {
        self.0.join(".")
    }
}
