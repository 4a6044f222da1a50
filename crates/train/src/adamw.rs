//! AdamW (Loshchilov & Hutter, 2019), with the same results as PyTorch.
//!
//! Burn's own AdamW computes the same, but stores its state by parameter ids, which are new in every process: training
//! could not be resumed in another process, and two runs would not give identical files.

use std::collections::BTreeMap;

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn_adapters_tensors::{ModulePath, ParameterMapper, map_parameters};
use serde::{Deserialize, Serialize};

use crate::Gradients;
use crate::gradients::flat;

/// The hyperparameters of AdamW. The defaults are those of the reference's training: PyTorch's, but without weight
/// decay.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AdamWOptions {
    /// Decay of the running mean of the gradients.
    pub beta_1: f64,
    /// Decay of the running mean of the squared gradients.
    pub beta_2: f64,
    /// Added to the square root of the second mean.
    pub epsilon: f64,
    /// Weight decay. Biases and the weights of norms are not decayed.
    pub weight_decay: f64,
}

impl Default for AdamWOptions {
    fn default() -> Self {
        Self { beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8, weight_decay: 0.0 }
    }
}

/// The state that AdamW keeps for a parameter between steps.
#[derive(Debug, Clone)]
pub(crate) struct Moments {
    pub(crate) first: Tensor<1>,
    pub(crate) second: Tensor<1>,
    pub(crate) steps: u32,
}

/// The AdamW optimizer.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_adapters_train::{AdamW, AdamWOptions, Gradients};
///
/// let device = Device::default().autodiff();
/// let mut module = LinearConfig::new(2, 2).init(&device);
/// let mut optimizer = AdamW::new(AdamWOptions::default());
///
/// let loss = module.forward(Tensor::<2>::ones([1, 2], &device)).sum();
/// let mut gradients = Gradients::collect(loss.backward(), &module);
/// let norm = gradients.norm();
/// gradients.clip(norm, 1.0);
/// module = optimizer.step(1e-3, module, gradients);
/// ```
#[derive(Debug, Clone, Default)]
pub struct AdamW {
    options: AdamWOptions,
    pub(crate) moments: BTreeMap<String, Moments>,
}

impl AdamW {
    /// An optimizer without state.
    pub fn new(options: AdamWOptions) -> Self {
        Self { options, moments: BTreeMap::new() }
    }

    /// Performs one step: updates the parameters that have a gradient.
    pub fn step<M: Module>(&mut self, learning_rate: f64, module: M, gradients: Gradients) -> M {
        map_parameters(module, &mut Step { optimizer: self, learning_rate, gradients })
    }

    /// The next value of a parameter, flattened.
    fn update(&mut self, path: String, learning_rate: f64, value: Tensor<1>, gradient: Tensor<1>) -> Tensor<1> {
        let AdamWOptions { beta_1, beta_2, epsilon, weight_decay } = self.options;
        let square = gradient.clone() * gradient.clone();
        let moments = match self.moments.remove(&path) {
            None => Moments { first: gradient * (1.0 - beta_1), second: square * (1.0 - beta_2), steps: 1 },
            Some(Moments { first, second, steps }) => Moments {
                first: first * beta_1 + gradient * (1.0 - beta_1),
                second: second * beta_2 + square * (1.0 - beta_2),
                steps: steps + 1,
            },
        };
        let steps = f64::from(moments.steps);
        let correction_1 = 1.0 - beta_1.powf(steps);
        let correction_2 = (1.0 - beta_2.powf(steps)).sqrt();
        let denominator = moments.second.clone().sqrt() / correction_2 + epsilon;
        let update = moments.first.clone() / denominator * (learning_rate / correction_1);
        let decays = weight_decay > 0.0 && !is_bias_or_norm(&path);
        self.moments.insert(path, moments);
        let value = if decays { value * (1.0 - learning_rate * weight_decay) } else { value };
        value - update
    }
}

/// Whether the last part of a path names a bias or a parameter of a norm.
fn is_bias_or_norm(path: &str) -> bool {
    matches!(path.rsplit('.').next(), Some("bias" | "gamma" | "beta"))
}

struct Step<'a> {
    optimizer: &'a mut AdamW,
    learning_rate: f64,
    gradients: Gradients,
}

impl ParameterMapper for Step<'_> {
    fn map<const D: usize>(&mut self, path: &ModulePath, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = path.to_string();
        let Some(gradient) = self.gradients.tensors.remove(&path) else { return param };
        param.map(|value| {
            let shape = value.dims();
            let device = value.device();
            let strategy = value.gradient_checkpointing_strategy();
            let plain = flat(value.without_autodiff());
            let updated = self.optimizer.update(path, self.learning_rate, plain, gradient).reshape(shape);
            if !device.is_autodiff() {
                return updated;
            }
            let mut updated = updated.autodiff();
            if let Some(strategy) = strategy {
                updated = updated.with_gradient_checkpointing_strategy(strategy);
            }
            updated.require_grad()
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use burn::nn::{Linear, LinearConfig};
    use burn::tensor::Device;

    /// `torch.optim.AdamW` 2.x with `clip_grad_norm_(1.0)`, learning rate 0.01, weight decay 0.1 on the weight alone.
    #[test]
    fn five_clipped_steps_end_where_pytorch_ends() {
        let device = Device::default().autodiff();
        let mut linear: Linear = LinearConfig::new(2, 3).init(&device);
        linear.weight = Param::from_data([[0.5, -0.3, 0.2], [1.0, -2.0, 0.05]], &device);
        linear.bias = Some(Param::from_data([0.1, -0.1, 0.3], &device));
        let x = Tensor::<2>::from_data([[1.0, 2.0], [0.5, -1.5], [3.0, 0.1]], &device);
        let y = Tensor::<2>::from_data([[1.0, 0.0, -1.0], [0.5, 0.5, 0.5], [-2.0, 3.0, 1.0]], &device);
        let mut optimizer = AdamW::new(AdamWOptions { weight_decay: 0.1, ..Default::default() });
        let expected = [
            (7.070516586303711, 5.696223735809326),
            (6.923628807067871, 5.6277594566345215),
            (6.779261589050293, 5.559675216674805),
            (6.637416362762451, 5.4919891357421875),
            (6.4980902671813965, 5.4247212409973145),
        ];
        for (loss, norm) in expected {
            let difference = linear.forward(x.clone()) - y.clone();
            let found = (difference.clone() * difference).mean();
            assert!((f64::from(found.clone().into_scalar::<f32>()) - loss).abs() < 1e-5);
            let mut gradients = Gradients::collect(found.backward(), &linear);
            assert!((gradients.norm() - norm).abs() < 1e-5);
            gradients.clip(norm, 1.0);
            linear = optimizer.step(0.01, linear, gradients);
        }
        let close = |found: Vec<f32>, expected: &[f64]| {
            found.iter().zip(expected).for_each(|(a, b)| assert!((f64::from(*a) - b).abs() < 2e-6, "{found:?}"));
        };
        let weight = linear.weight.val().into_data().try_to_vec().unwrap();
        close(weight, &[0.447615594, -0.248597160, 0.150292978, 0.945124328, -1.940101504, -0.000088377]);
        let bias = linear.bias.unwrap().val().into_data().try_to_vec().unwrap();
        close(bias, &[0.050053384, -0.050005481, 0.250306010]);
    }

    #[test]
    fn biases_and_norms_do_not_decay() {
        assert!(is_bias_or_norm("heads.a.output.bias") && is_bias_or_norm("norm.gamma") && is_bias_or_norm("bias"));
        assert!(!is_bias_or_norm("heads.bias.weight") && !is_bias_or_norm("lora.a"));
    }
}
