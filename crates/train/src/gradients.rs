//! Gradients by parameter path.

use std::collections::BTreeMap;

use burn::module::{Module, Param};
use burn::tensor::{Gradients as BackwardGradients, Tensor};
use burn_adapters_tensors::{ModulePath, ParameterVisitor, visit_parameters};

/// The flattened gradients of trained parameters, by path.
///
/// Burn's own containers clip each tensor separately; PyTorch, and so the reference, clips by the global norm. Unlike
/// parameter ids, paths are the same in every process.
#[derive(Debug, Clone, Default)]
pub struct Gradients {
    pub(crate) tensors: BTreeMap<String, Tensor<1>>,
}

impl Gradients {
    /// The gradients of a module's parameters after a backward pass. Frozen parameters have none.
    pub fn collect<M: Module>(mut gradients: BackwardGradients, module: &M) -> Self {
        struct Collect<'a> {
            from: &'a mut BackwardGradients,
            tensors: BTreeMap<String, Tensor<1>>,
        }
        impl ParameterVisitor for Collect<'_> {
            fn visit<const D: usize>(&mut self, path: &ModulePath, param: &Param<Tensor<D>>) {
                if !param.lazy_device().is_autodiff() || !param.is_require_grad() {
                    return;
                }
                if let Some(gradient) = param.val().grad_remove(self.from) {
                    self.tensors.insert(path.to_string(), flat(gradient));
                }
            }
        }
        let mut collect = Collect { from: &mut gradients, tensors: BTreeMap::new() };
        visit_parameters(module, &mut collect);
        Self { tensors: collect.tensors }
    }

    /// Whether the parameter with this path has a gradient.
    pub(crate) fn contains(&self, path: &str) -> bool {
        self.tensors.contains_key(path)
    }

    /// Adds other gradients.
    pub fn accumulate(&mut self, other: Self) {
        for (path, gradient) in other.tensors {
            let sum = match self.tensors.remove(&path) {
                Some(so_far) => so_far + gradient,
                None => gradient,
            };
            self.tensors.insert(path, sum);
        }
    }

    /// The global Euclidean norm of all gradients.
    pub fn norm(&self) -> f64 {
        let squares: Vec<Tensor<1>> =
            self.tensors.values().map(|gradient| (gradient.clone() * gradient.clone()).sum()).collect();
        if squares.is_empty() {
            return 0.0;
        }
        Tensor::cat(squares, 0).sum().into_scalar::<f32>().sqrt().into()
    }

    /// Scales all gradients down so that their global norm, which is passed as an argument, is at most `max_norm`
    /// (PyTorch's `clip_grad_norm_`).
    pub fn clip(&mut self, norm: f64, max_norm: f64) {
        let factor = max_norm / (norm + 1e-6);
        if factor < 1.0 {
            self.tensors.values_mut().for_each(|gradient| *gradient = gradient.clone() * factor);
        }
    }

    /// The number of parameters with a gradient.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there are no gradients.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }
}

pub(crate) fn flat<const D: usize>(tensor: Tensor<D>) -> Tensor<1> {
    let count = tensor.shape().num_elements();
    tensor.reshape([count])
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::nn::LinearConfig;
    use burn::tensor::Device;

    #[test]
    fn the_norm_is_that_of_all_gradients_together_and_frozen_parameters_have_none() {
        let device = Device::default().autodiff();
        let linear = LinearConfig::new(2, 3).init(&device);
        let gradients = |linear: &burn::nn::Linear| {
            // d/dW of sum(x W + b) is x in every column, d/db is the number of rows.
            let output = linear.forward(Tensor::<2>::from_data([[3.0, 4.0]], &device));
            Gradients::collect(output.sum().backward(), linear)
        };
        let mut found = gradients(&linear);
        assert_eq!(found.tensors.keys().collect::<Vec<_>>(), ["bias", "weight"]);
        assert!((found.norm() - (3.0f64 * 25.0 + 3.0).sqrt()).abs() < 1e-5);
        let norm = found.norm();
        found.clip(norm, 1.0);
        assert!((found.norm() - 1.0).abs() < 1e-5);
        let norm = found.norm();
        found.clip(norm, 5.0);
        assert!((found.norm() - 1.0).abs() < 1e-5, "a small norm stays as it is");

        let mut linear = linear;
        linear.bias = linear.bias.map(|bias| bias.set_require_grad(false));
        assert_eq!(gradients(&linear).tensors.keys().collect::<Vec<_>>(), ["weight"]);
    }

    #[test]
    fn accumulated_gradients_add_up() {
        let device = Device::default().autodiff();
        let linear = LinearConfig::new(2, 1).with_bias(false).init(&device);
        let gradients = |x: f32| {
            let output = linear.forward(Tensor::<2>::from_data([[x, 0.0]], &device));
            Gradients::collect(output.sum().backward(), &linear)
        };
        let mut sum = Gradients::default();
        sum.accumulate(gradients(1.0));
        sum.accumulate(gradients(2.5));
        assert!((sum.norm() - 3.5).abs() < 1e-6);
    }
}
