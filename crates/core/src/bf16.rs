//! Frozen weights in half the memory.

use burn::module::{Module, ModuleMapper, Param};
use burn::nn::Linear;
use burn::tensor::{DType, Device, FloatDType, Tensor};
use thiserror::Error;

use crate::{is_quantized, quantized_matrix};

/// Reasons why weights cannot be stored in bf16.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Bf16Error {
    /// The backend does not support bf16.
    #[error("the device {device} does not support bf16; on the CPU, use the flex backend")]
    Unsupported {
        /// The device of the weights, as Burn shows it.
        device: String,
    },
    /// Weights on an autodiff device are trained, and bf16 is too coarse for optimizer steps.
    #[error(
        "weights on an autodiff device are trained and cannot be bf16: put a frozen model on the plain device first"
    )]
    Trained,
    /// Weights in blocks, which take less memory than bf16.
    #[error("weights that are quantized are not converted to bf16: load the model with bf16 weights instead")]
    Quantized,
    /// The module has no linear layers.
    #[error("expected a module with linear layers (burn's `Linear`), found none: there are no weights to convert")]
    NoLinear,
}

/// Checks whether frozen weights on a device may be bf16.
///
/// # Errors
/// If the device does not support bf16, or is an autodiff device, where weights are trained.
pub fn check_bf16(device: &Device) -> Result<(), Bf16Error> {
    if device.is_autodiff() {
        Err(Bf16Error::Trained)
    } else if !device.supports_dtype(FloatDType::BF16) {
        Err(Bf16Error::Unsupported { device: format!("{device:?}") })
    } else {
        Ok(())
    }
}

/// Whether the weight of a layer is bf16. A quantized weight stays in its blocks.
pub fn is_bf16(layer: &Linear) -> bool {
    quantized_matrix(&layer.weight).is_none() && layer.weight.val().dtype() == DType::BF16
}

/// Stores the weights of a module's linear layers in bf16; biases, norms and embeddings are unchanged.
///
/// The weights take half the memory, and [`project`](crate::project), which the hooks use, multiplies by them at twice
/// the rate on AMD CPUs with AVX-512 BF16, and at several times on those with AMX. Results differ from f32 because the weights, their inputs and, in training, the
/// gradients that pass through them are rounded to 8 significant bits. Everything else, adapters included, stays f32. A
/// layer that adapters are merged into becomes f32 again.
///
/// Run such layers with hooks or with [`project`](crate::project): burn's own `Linear::forward` does not mix types.
///
/// # Errors
/// If the device does not support bf16, the weights are on an autodiff device or quantized, or there are no linear layers.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_adapters_core::{linear_weights_in_bf16, project};
///
/// let device = Device::default();
/// let linear = linear_weights_in_bf16(LinearConfig::new(8, 4).init(&device))?;
/// assert_eq!(project(&linear, Tensor::<2>::ones([3, 8], &device)).dims(), [3, 4]);
/// # Ok::<(), burn_adapters_core::Bf16Error>(())
/// ```
pub fn linear_weights_in_bf16<M: Module>(module: M) -> Result<M, Bf16Error> {
    if is_quantized(&module) {
        return Err(Bf16Error::Quantized);
    }
    let mut cast = Cast::default();
    let module = module.map(&mut cast);
    match cast.problem {
        Some(problem) => Err(problem),
        None if cast.layers == 0 => Err(Bf16Error::NoLinear),
        None => Ok(module),
    }
}

#[derive(Default)]
struct Cast {
    /// For each level of the module tree, whether it is the weight of a linear layer.
    entered: Vec<bool>,
    layers: usize,
    problem: Option<Bf16Error>,
}

impl ModuleMapper for Cast {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.entered.push(name == "weight" && container_type == "Struct:Linear");
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.entered.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.problem.is_some() || self.entered.last() != Some(&true) {
            return param;
        }
        self.layers += 1;
        match check_bf16(&param.lazy_device()) {
            Err(problem) => self.problem = Some(problem),
            Ok(()) => {
                let (id, weight, _) = param.consume();
                return Param::initialized(id, weight.cast(FloatDType::BF16));
            }
        }
        param
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn::nn::{Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig};
    use burn::tensor::{DType, Device};

    use super::*;

    #[derive(Module, Debug)]
    struct Layers {
        words: Embedding,
        deep: Vec<Linear>,
        norm: Option<LayerNorm>,
    }

    impl Layers {
        fn new(deep: usize, device: &Device) -> Self {
            Self {
                words: EmbeddingConfig::new(5, 4).init(device),
                deep: (0..deep).map(|_| LinearConfig::new(4, 4).init(device)).collect(),
                norm: Some(LayerNormConfig::new(4).init(device)),
            }
        }
    }

    #[test]
    fn only_the_weights_of_linear_layers_change() {
        let device = Device::default();
        let layers = Layers::new(2, &device);
        if !device.supports_dtype(FloatDType::BF16) {
            let error = linear_weights_in_bf16(layers).unwrap_err();
            assert!(matches!(error, Bf16Error::Unsupported { .. }), "{error}");
            return;
        }
        let ids: Vec<_> = layers.deep.iter().map(|linear| linear.weight.id).collect();
        let half = linear_weights_in_bf16(layers).unwrap();
        assert_eq!(half.words.weight.val().dtype(), DType::F32);
        assert_eq!(half.norm.unwrap().gamma.val().dtype(), DType::F32);
        for (linear, id) in half.deep.iter().zip(ids) {
            assert_eq!((linear.weight.val().dtype(), linear.weight.id), (DType::BF16, id));
            assert_eq!(linear.bias.as_ref().unwrap().val().dtype(), DType::F32);
        }
    }

    #[test]
    fn nothing_to_do_and_what_is_trained_are_errors() {
        let device = Device::default();
        assert_eq!(linear_weights_in_bf16(Layers::new(0, &device)).unwrap_err(), Bf16Error::NoLinear);
        let trained = linear_weights_in_bf16(Layers::new(1, &device.autodiff()));
        assert_eq!(trained.unwrap_err(), Bf16Error::Trained);
    }
}
