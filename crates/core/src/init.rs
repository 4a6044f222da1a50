//! Initialization of new modules.
//!
//! Every parameter is *lazy*: it knows its shape and its distribution, and is drawn when it is first read. So an
//! adapter can be built, and its parameters counted, without computing anything, and weights that are read from a file
//! are never drawn. Random numbers come from this crate's own generator on the host, so one seed gives the same adapter
//! on every backend.

use std::sync::{Arc, Mutex, PoisonError};

use burn::module::{Param, ParamId};
use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::{Device, Shape, Tensor, TensorData};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use rand_distr::{Distribution as _, StandardNormal};

use crate::Demand;

/// A distribution for initial weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fill {
    /// A constant.
    Constant(f64),
    /// Normal with mean 0.
    Normal {
        /// Standard deviation.
        std: f64,
    },
    /// Normal with mean 0, truncated: values further than two standard deviations from 0 are drawn again.
    TruncatedNormal {
        /// Standard deviation before truncation.
        std: f64,
    },
    /// Uniform in `[-bound, bound]`.
    Uniform {
        /// Half the width of the interval.
        bound: f64,
    },
}

impl Fill {
    /// Zeros.
    pub const ZEROS: Fill = Fill::Constant(0.0);
    /// Ones.
    pub const ONES: Fill = Fill::Constant(1.0);

    /// PyTorch's `kaiming_uniform_(a=√5)` for a matrix with `fan_in` inputs: the bound is `1 / √fan_in`.
    pub fn kaiming_uniform_sqrt5(fan_in: usize) -> Self {
        Fill::Uniform { bound: 1.0 / (fan_in.max(1) as f64).sqrt() }
    }

    /// PyTorch's `kaiming_uniform_(a=0)`: the bound is `√(6 / fan_in)`.
    pub fn kaiming_uniform(fan_in: usize) -> Self {
        Fill::Uniform { bound: (6.0 / fan_in.max(1) as f64).sqrt() }
    }

    /// PyTorch's `xavier_uniform_`: the bound is `√(6 / (fan_in + fan_out))`.
    pub fn xavier_uniform(fan_in: usize, fan_out: usize) -> Self {
        Fill::Uniform { bound: (6.0 / fan_in.saturating_add(fan_out).max(1) as f64).sqrt() }
    }

    fn draw(self, count: usize, seed: u64) -> Vec<f32> {
        let mut rng = StdRng::seed_from_u64(seed);
        let normal = |rng: &mut StdRng| -> f64 { StandardNormal.sample(rng) };
        match self {
            Fill::Constant(value) => vec![value as f32; count],
            Fill::Normal { std } => (0..count).map(|_| (normal(&mut rng) * std) as f32).collect(),
            Fill::TruncatedNormal { std } => (0..count)
                .map(|_| {
                    loop {
                        let value = normal(&mut rng);
                        if value.abs() <= 2.0 {
                            return (value * std) as f32;
                        }
                    }
                })
                .collect(),
            Fill::Uniform { bound } => (0..count).map(|_| ((rng.random::<f64>() * 2.0 - 1.0) * bound) as f32).collect(),
        }
    }
}

/// The source of seeds for the parameters of new modules.
///
/// ```
/// use burn_adapters_core::{Fill, Init};
///
/// let device = burn::tensor::Device::default();
/// let mut init = Init::from_seed(7);
/// let weight = init.param::<2>([4, 3], Fill::Normal { std: 0.02 }, &device);
/// assert!(!weight.is_initialized()); // drawn when first read
/// assert_eq!(weight.val().dims(), [4, 3]);
/// ```
#[derive(Debug)]
pub struct Init {
    seeds: StdRng,
    /// Shared by this source and those that [`for_module`](Self::for_module) made from it.
    demand: Arc<Mutex<Demand>>,
}

impl Init {
    /// A source that depends on this seed alone.
    pub fn from_seed(seed: u64) -> Self {
        Self { seeds: StdRng::seed_from_u64(seed), demand: Arc::default() }
    }

    /// A source that differs each time.
    pub fn from_entropy() -> Self {
        Self { seeds: StdRng::from_rng(&mut rand::rng()), demand: Arc::default() }
    }

    /// The source for one module. With `init_weights_seed` in its configuration, every module starts from that seed (so
    /// modules of one shape are equal); without it, this source is continued.
    pub fn for_module(&mut self, init_weights_seed: Option<u64>) -> Self {
        let seed = init_weights_seed.unwrap_or_else(|| self.next_seed());
        Self { demand: self.demand.clone(), ..Self::from_seed(seed) }
    }

    /// The size of all parameters that were made so far, none of which needs to be allocated yet. A builder
    /// [checks](Demand::check) it before anything reads them.
    pub fn demand(&self) -> Demand {
        *self.demand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resets the [demand](Self::demand) to zero, so that what is made from here on is counted separately.
    pub fn restart_demand(&mut self) {
        self.demand = Arc::default();
    }

    /// Counts a parameter of this shape that is not made by [`param`](Self::param).
    pub fn count(&mut self, shape: &[usize]) {
        self.demand.lock().unwrap_or_else(PoisonError::into_inner).add(shape);
    }

    fn next_seed(&mut self) -> u64 {
        self.seeds.next_u64()
    }

    /// A parameter that will be drawn from `fill` when it is first read.
    pub fn param<const D: usize>(&mut self, shape: [usize; D], fill: Fill, device: &Device) -> Param<Tensor<D>> {
        let seed = self.next_seed();
        self.count(&shape);
        // A caller that draws more than there is memory for has not checked the demand.
        let count = shape.iter().fold(1_usize, |count, size| count.saturating_mul(*size));
        Param::uninitialized(
            ParamId::new(),
            move |device: &Device, require_grad: bool| {
                let tensor = Tensor::from_data(TensorData::new(fill.draw(count, seed), shape), device);
                if require_grad { tensor.require_grad() } else { tensor }
            },
            device.clone(),
            true,
            Shape::from(shape),
        )
    }

    /// A linear layer `[d_input] → [d_output]`; its bias, if any, is drawn from `bias`.
    pub fn linear(
        &mut self,
        [d_input, d_output]: [usize; 2],
        weight: Fill,
        bias: Option<Fill>,
        device: &Device,
    ) -> Linear {
        let mut linear = LinearConfig::new(d_input, d_output).with_bias(false).init(device);
        linear.weight = self.param([d_input, d_output], weight, device);
        linear.bias = bias.map(|fill| self.param([d_output], fill, device));
        linear
    }

    /// A layer norm over `size` features with PyTorch's default epsilon, `1e-5`.
    pub fn layer_norm(&mut self, size: usize, device: &Device) -> LayerNorm {
        self.count(&[2, size]);
        LayerNormConfig::new(size).init(device)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn values(fill: Fill, seed: u64) -> Vec<f32> {
        let weight = Init::from_seed(seed).param::<1>([20_000], fill, &Device::default());
        weight.val().into_data().try_to_vec().unwrap()
    }

    fn std(values: &[f32]) -> f32 {
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        (values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / values.len() as f32).sqrt()
    }

    #[test]
    fn one_seed_gives_the_same_weights_and_another_seed_others() {
        let fill = Fill::Normal { std: 0.02 };
        assert_eq!(values(fill, 1), values(fill, 1));
        assert_ne!(values(fill, 1), values(fill, 2));
    }

    #[test]
    fn each_distribution_has_its_spread() {
        assert!((std(&values(Fill::Normal { std: 0.02 }, 3)) - 0.02).abs() < 5e-4);
        // Truncation at two standard deviations leaves 0.8796 of the standard deviation.
        assert!((std(&values(Fill::TruncatedNormal { std: 0.01 }, 3)) - 0.008796).abs() < 2e-4);
        let uniform = values(Fill::kaiming_uniform_sqrt5(16), 3);
        assert!(uniform.iter().all(|v| v.abs() <= 0.25) && (std(&uniform) - 0.25 / 3f32.sqrt()).abs() < 3e-3);
        assert!(values(Fill::TruncatedNormal { std: 0.01 }, 3).iter().all(|v| v.abs() <= 0.02));
    }

    #[test]
    fn modules_with_a_seed_of_their_own_start_equal() {
        let mut init = Init::from_seed(1);
        let device = Device::default();
        let mut draw = |seed| init.for_module(seed).param::<1>([8], Fill::ONES, &device).lazy_shape();
        assert_eq!(draw(Some(3)), draw(Some(3)));
        let mut init = Init::from_seed(1);
        let mut first = |seed: Option<u64>| {
            init.for_module(seed).param::<1>([8], Fill::Normal { std: 1.0 }, &device).val().into_data()
        };
        assert_eq!(first(Some(3)), first(Some(3)));
        assert_ne!(first(None), first(None));
    }
}
