//! Training or inference.

use burn::tensor::{Device, Distribution, Tensor};

/// Training or inference: an argument of every forward pass, not a state of the module that could be forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Dropout and stochastic depth are off.
    #[default]
    Inference,
    /// Dropout and stochastic depth are on.
    Training,
}

impl Mode {
    /// Whether this is [`Mode::Training`].
    pub fn is_training(self) -> bool {
        self == Mode::Training
    }

    /// Dropout: in training each element is zeroed with `probability` and the others are scaled by `1 / (1 -
    /// probability)`. Unlike [`burn::nn::Dropout`], it does not depend on whether the tensor has a graph.
    pub fn dropout<const D: usize>(self, probability: f64, x: Tensor<D>) -> Tensor<D> {
        if !self.is_training() || probability <= 0.0 {
            return x;
        }
        if probability >= 1.0 {
            return x.zeros_like();
        }
        let seed = draw_seed(&x.device());
        burn_adapters_ops::dropout(x, probability, seed)
    }

    /// Stochastic depth (Huang et al., 2016): in training each row of the batch is dropped whole with `probability`.
    ///
    /// # Shapes
    /// - x, output: `[batch, sequence, hidden]`
    pub fn stochastic_depth(self, probability: f64, x: Tensor<3>) -> Tensor<3> {
        if !self.is_training() || probability <= 0.0 {
            return x;
        }
        if probability >= 1.0 {
            return x.zeros_like();
        }
        let [batch, _, _] = x.dims();
        let device = x.device().without_autodiff();
        let keep = Tensor::<3>::random([batch, 1, 1], Distribution::Bernoulli(1.0 - probability), &device);
        x * (keep / (1.0 - probability))
    }
}

/// A seed from the device's generator, which `Device::seed` controls, for operations that draw their own random
/// numbers. It is 0, and nothing is drawn, on devices without such operations.
pub fn draw_seed(device: &Device) -> u64 {
    if !has_own_kernels(device) {
        return 0;
    }
    let plain = device.clone().without_autodiff();
    // Three times 24 bits, all that a float in [0, 1) has.
    let drawn = Tensor::<1>::random([3], Distribution::Uniform(0.0, 1.0), &plain).into_data();
    drawn.iter::<f32>().fold(0u64, |seed, part| (seed << 24) ^ ((part * 16_777_216.0) as u64))
}

/// Whether the kernels of `burn-adapters-ops` run on a device; elsewhere that crate composes Burn's operations.
#[cfg(feature = "flex")]
pub fn has_own_kernels(device: &Device) -> bool {
    *device == Device::flex()
}

/// Whether the kernels of `burn-adapters-ops` run on a device; elsewhere that crate composes Burn's operations.
#[cfg(not(feature = "flex"))]
pub fn has_own_kernels(_device: &Device) -> bool {
    false
}
