//! Conversions between a module's parameters and named tensors on the host.

use std::collections::BTreeMap;

use burn::module::{Module, Param};
use burn::tensor::{Tensor, TensorData};
use burn_adapters_tensors::{ModulePath, ParameterVisitor, RawTensor, Tensors, fill, values, visit_parameters};

use crate::WeightAdapterError;

/// Adds a module's parameters, with names below `prefix`.
pub(crate) fn collect<M: Module>(module: &M, prefix: &str, tensors: &mut Tensors) -> Result<(), WeightAdapterError> {
    let values = values(module, |path| Some(name(prefix, path)));
    for (name, data) in values.map_err(|error| WeightAdapterError::Device(error.to_string()))? {
        let (shape, values) = (data.shape().to_vec(), data.iter::<f32>().collect());
        tensors.insert(name, RawTensor { shape, values });
    }
    Ok(())
}

/// Adds the shapes of a module's parameters, without drawing them.
pub(crate) fn shapes<M: Module>(module: &M, prefix: &str, shapes: &mut BTreeMap<String, Vec<usize>>) {
    struct Shapes<'a>(&'a str, &'a mut BTreeMap<String, Vec<usize>>);
    impl ParameterVisitor for Shapes<'_> {
        fn visit<const D: usize>(&mut self, path: &ModulePath, param: &Param<Tensor<D>>) {
            self.1.insert(name(self.0, path), param.lazy_shape().to_vec());
        }
    }
    visit_parameters(module, &mut Shapes(prefix, shapes));
}

/// The module with the values of the tensors below `prefix`. They are removed; the caller has checked that they exist.
pub(crate) fn fill_from<M: Module>(tensors: &mut Tensors, module: M, prefix: &str) -> M {
    fill(module, |path, _| {
        let RawTensor { shape, values } = tensors.remove(&name(prefix, path))?;
        Some(TensorData::new(values, shape))
    })
}

/// The name of a parameter. Enum variants are not part of it, except the first, in lower case: the method.
fn name(prefix: &str, path: &ModulePath) -> String {
    let mut parts = vec![prefix.to_owned()];
    for (level, (name, container)) in path.levels().enumerate() {
        match container.starts_with("Enum:") {
            true if level == 0 => parts.push(name.to_lowercase()),
            true => {}
            false => parts.push(name.to_owned()),
        }
    }
    parts.join(".")
}
