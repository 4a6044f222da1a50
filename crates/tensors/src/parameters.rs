//! The parameters of a Burn module, by path: `layers.0.attention.query.weight`.

use std::collections::BTreeMap;
use std::fmt;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Device, ExecutionError, Tensor, TensorData};

/// The position of a traversal of a module. Its `Display` is the path, joined by dots.
#[derive(Debug, Clone, Default)]
pub struct ModulePath {
    names: Vec<String>,
    containers: Vec<String>,
}

impl ModulePath {
    /// Goes one level deeper; for implementations of Burn's `enter_module`.
    pub fn enter(&mut self, name: &str, container: &str) {
        self.names.push(name.to_owned());
        self.containers.push(container.to_owned());
    }

    /// Leaves a level; for implementations of Burn's `exit_module`.
    pub fn exit(&mut self) {
        self.names.pop();
        self.containers.pop();
    }

    /// The type that the innermost name is a part of, in Burn's notation: `Struct:Linear`, `Enum:Projection`, `Vec`.
    pub fn container(&self) -> &str {
        self.containers.last().map_or("", String::as_str)
    }

    /// The names from the outside in, each with the type that it is a part of.
    pub fn levels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.names.iter().map(String::as_str).zip(self.containers.iter().map(String::as_str))
    }
}

impl fmt::Display for ModulePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.names.iter().enumerate() {
            write!(f, "{}{name}", if index == 0 { "" } else { "." })?;
        }
        Ok(())
    }
}

/// Information on a parameter that is available without drawing it.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// Its path.
    pub path: String,
    /// Its identifier in this process.
    pub id: ParamId,
    /// Its shape.
    pub shape: Vec<usize>,
    /// The device that it is on, or will be.
    pub device: Device,
}

impl Parameter {
    fn new<const D: usize>(path: String, param: &Param<Tensor<D>>) -> Self {
        Self { path, id: param.id, shape: param.lazy_shape().to_vec(), device: param.lazy_device() }
    }

    /// The number of its elements; the largest number if it overflows.
    pub fn elements(&self) -> usize {
        self.shape.iter().fold(1, |product, extent| product.saturating_mul(*extent))
    }
}

/// Lists the float parameters of a module in its order, without drawing them.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn_adapters_tensors::parameters;
///
/// let linear = LinearConfig::new(3, 2).init(&Default::default());
/// let found: Vec<_> = parameters(&linear).into_iter().map(|found| (found.path, found.shape)).collect();
/// assert_eq!(found, [("weight".to_owned(), vec![3, 2]), ("bias".to_owned(), vec![2])]);
/// ```
pub fn parameters<M: Module>(module: &M) -> Vec<Parameter> {
    struct List(Vec<Parameter>);
    impl ParameterVisitor for List {
        fn visit<const D: usize>(&mut self, path: &ModulePath, param: &Param<Tensor<D>>) {
            self.0.push(Parameter::new(path.to_string(), param));
        }
    }
    let mut list = List(Vec::new());
    visit_parameters(module, &mut list);
    list.0
}

/// Lists the float parameters with `wanted` paths that an optimizer changes. Burn must draw them to know.
pub fn trained_parameters<M: Module>(module: &M, wanted: impl FnMut(&str) -> bool) -> Vec<Parameter> {
    struct List<F>(F, Vec<Parameter>);
    impl<F: FnMut(&str) -> bool> ParameterVisitor for List<F> {
        fn visit<const D: usize>(&mut self, path: &ModulePath, param: &Param<Tensor<D>>) {
            let path = path.to_string();
            if (self.0)(&path) && param.is_require_grad() {
                self.1.push(Parameter::new(path, param));
            }
        }
    }
    let mut list = List(wanted, Vec::new());
    visit_parameters(module, &mut list);
    list.1
}

/// Reads the float parameters for which `name` returns a name (often the path itself), in their own number format.
///
/// # Errors
/// If the device fails.
pub fn values<M: Module>(
    module: &M,
    name: impl FnMut(&ModulePath) -> Option<String>,
) -> Result<BTreeMap<String, TensorData>, ExecutionError> {
    struct Read<F> {
        name: F,
        values: Result<BTreeMap<String, TensorData>, ExecutionError>,
    }
    impl<F: FnMut(&ModulePath) -> Option<String>> ParameterVisitor for Read<F> {
        fn visit<const D: usize>(&mut self, path: &ModulePath, param: &Param<Tensor<D>>) {
            let Ok(values) = &mut self.values else { return };
            let Some(name) = (self.name)(path) else { return };
            match param.val().without_autodiff().try_into_data() {
                Ok(data) => drop(values.insert(name, data)),
                Err(error) => self.values = Err(error),
            }
        }
    }
    let mut read = Read { name, values: Ok(BTreeMap::new()) };
    visit_parameters(module, &mut read);
    read.values
}

/// Replaces the float parameters for which `value` returns a value, as loading does; the value must have the
/// parameter's shape. The others are unchanged.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::TensorData;
/// use burn_adapters_tensors::{fill, values};
///
/// let linear = LinearConfig::new(2, 2).init(&Default::default());
/// let linear = fill(linear, |path, shape| (path.to_string() == "bias").then(|| TensorData::full(shape, 0.5f32)));
/// let found = values(&linear, |path| Some(path.to_string()))?;
/// assert_eq!(found["bias"], TensorData::from([0.5f32, 0.5]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn fill<M: Module>(module: M, value: impl FnMut(&ModulePath, Vec<usize>) -> Option<TensorData>) -> M {
    struct Fill<F>(F);
    impl<F: FnMut(&ModulePath, Vec<usize>) -> Option<TensorData>> ParameterMapper for Fill<F> {
        fn map<const D: usize>(&mut self, path: &ModulePath, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let Some(data) = (self.0)(path, param.lazy_shape().to_vec()) else { return param };
            let (id, device) = (param.id, param.lazy_device());
            param.transform_for_load(Tensor::from_data(data, &device), id)
        }
    }
    map_parameters(module, &mut Fill(value))
}

/// Visits float parameters with their paths; see [`visit_parameters`].
pub trait ParameterVisitor {
    /// Visits one parameter.
    fn visit<const D: usize>(&mut self, path: &ModulePath, param: &Param<Tensor<D>>);
}

/// Changes float parameters with their paths; see [`map_parameters`].
pub trait ParameterMapper {
    /// Changes one parameter.
    fn map<const D: usize>(&mut self, path: &ModulePath, param: Param<Tensor<D>>) -> Param<Tensor<D>>;
}

/// Visits the float parameters of a module in its order.
pub fn visit_parameters<M: Module, V: ParameterVisitor>(module: &M, visitor: &mut V) {
    module.visit(&mut At { path: ModulePath::default(), inner: visitor });
}

/// Changes the float parameters of a module in its order.
pub fn map_parameters<M: Module, V: ParameterMapper>(module: M, mapper: &mut V) -> M {
    module.map(&mut At { path: ModulePath::default(), inner: mapper })
}

/// Keeps the path for a visitor or mapper.
struct At<'a, T> {
    path: ModulePath,
    inner: &'a mut T,
}

impl<V: ParameterVisitor> ModuleVisitor for At<'_, V> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.inner.visit(&self.path, param);
    }
}

impl<V: ParameterMapper> ModuleMapper for At<'_, V> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        self.inner.map(&self.path, param)
    }
}
