//! Random parameters, so that a new adapter, which changes nothing, has an effect.

use burn::module::{ModuleMapper, Param};
use burn::tensor::{Tensor, TensorData};

/// Adds numbers to every parameter that look random and are the same on every backend: uniform, at most `spread` from 0.
///
/// ```
/// # use burn::module::Module;
/// # use burn_adapters_goldens::Noise;
/// # fn noisy<M: Module>(adapter: M) -> M {
/// adapter.map(&mut Noise::new(0.5, 7))
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Noise {
    spread: f32,
    state: u32,
}

impl Noise {
    /// Noise from a seed.
    pub fn new(spread: f32, seed: u32) -> Self {
        Self { spread, state: seed }
    }

    /// The next number of a linear congruential generator.
    fn draw(&mut self) -> f32 {
        self.state = self.state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        2.0 * self.spread * ((self.state >> 8) as f32 / (1 << 24) as f32 - 0.5)
    }
}

impl ModuleMapper for Noise {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| {
            let shape = tensor.dims();
            let values: Vec<f32> = (0..shape.iter().product()).map(|_| self.draw()).collect();
            let trained = tensor.device().is_autodiff().then(|| tensor.is_require_grad());
            let tensor = tensor.without_autodiff();
            let noise = Tensor::from_data(TensorData::new(values, shape), &tensor.device());
            match trained {
                Some(trained) => (tensor + noise).autodiff().set_require_grad(trained),
                None => tensor + noise,
            }
        })
    }
}
