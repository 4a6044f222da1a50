//! Merging: the update of an adapter is added to the weight, so that serving it costs nothing.

use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::tensor::Tensor;
use burn_adapters_core::dense_weight;

use crate::{Lora, LoraError, Magnitude, MtlLoraModule, Vera, VeraShared};

/// A matrix with a merged update, and its original values.
///
/// The original is kept, not recomputed by subtraction, so [`unmerge`](Self::unmerge) restores it bit for bit.
#[derive(Debug)]
#[must_use = "without this value the base weight cannot be restored"]
pub struct Merged {
    weight: Param<Tensor<2>>,
    bias: Option<Param<Tensor<1>>>,
}

impl Merged {
    /// Merges a [`Lora`] (or DoRA) into `linear`.
    ///
    /// # Errors
    /// If the module has a gate, or a trained bias where `linear` has none, or is for a matrix of another shape; `linear` is
    /// then unchanged.
    pub fn merge(lora: &Lora, linear: &mut Linear) -> Result<Self, LoraError> {
        if lora.gate.is_some() {
            return Err(LoraError::MergeWithGate);
        }
        check_shape(lora.shape(), linear)?;
        // Without autodiff: a merge has no backward pass, and its graph would stay in memory.
        let lora = &lora.valid();
        let delta = lora.delta_weight();
        let weight = frozen(linear, &delta);
        let merged = weight.clone() + delta;
        let factor = magnitude_factor(&lora.magnitude, weight, || (lora.a.val(), lora.b.val()))?;
        let bias = match (&lora.bias, &linear.bias) {
            (None, _) => None,
            (Some(_), None) => return Err(LoraError::MergeBias),
            (Some(trained), Some(own)) => {
                let own_value = own.val().without_autodiff();
                let bias = match trained.of_update() {
                    Some(bias) => own_value + bias * lora.scaling,
                    None => trained.vector.val(),
                };
                Some(Param::initialized(own.id, bias))
            }
        };
        let before = Self::replace(linear, merged, factor);
        if bias.is_some() {
            linear.bias = bias;
        }
        Ok(before)
    }

    /// Merges a [`Vera`] (or DVoRA) into `linear`.
    ///
    /// # Errors
    /// As [`merge`](Self::merge).
    pub fn merge_vera(vera: &Vera, shared: &VeraShared, linear: &mut Linear) -> Result<Self, LoraError> {
        if vera.gate.is_some() {
            return Err(LoraError::MergeWithGate);
        }
        check_shape(vera.shape(), linear)?;
        let (vera, shared) = (&vera.valid(), &shared.valid());
        let (a, b) = vera.factors(shared);
        let delta = a.clone().matmul(b.clone()) * vera.scaling;
        let weight = frozen(linear, &delta);
        let merged = weight.clone() + delta;
        let factor = magnitude_factor(&vera.magnitude, weight, || (a, b))?;
        Ok(Self::replace(linear, merged, factor))
    }

    /// Merges a [`MtlLoraModule`] into `linear`.
    ///
    /// # Errors
    /// As [`merge`](Self::merge).
    pub fn merge_mtl(mtl: &MtlLoraModule, linear: &mut Linear) -> Result<Self, LoraError> {
        if mtl.gate.is_some() {
            return Err(LoraError::MergeWithGate);
        }
        let delta = mtl.valid().delta_weight();
        check_shape(delta.dims(), linear)?;
        let merged = frozen(linear, &delta) + delta;
        Ok(Self::replace(linear, merged, None))
    }

    /// Restores the original weight and bias.
    pub fn unmerge(self, linear: &mut Linear) {
        linear.weight = self.weight;
        linear.bias = self.bias;
    }

    fn replace(linear: &mut Linear, weight: Tensor<2>, factor: Option<Tensor<1>>) -> Self {
        let before = Self { weight: linear.weight.clone(), bias: linear.bias.clone() };
        let (weight, bias) = match factor {
            // DoRA scales the layer's whole output, its bias included.
            Some(factor) => {
                let scaled = |bias: Param<Tensor<1>>| {
                    Param::initialized(bias.id, bias.val().without_autodiff() * factor.clone())
                };
                (weight * factor.clone().unsqueeze(), before.bias.clone().map(scaled))
            }
            None => (weight, before.bias.clone()),
        };
        linear.weight = Param::initialized(before.weight.id, weight);
        linear.bias = bias;
        before
    }
}

/// The weight in the number format of the update: in bf16 or blocks, most of an update would be rounded away.
fn frozen(linear: &Linear, delta: &Tensor<2>) -> Tensor<2> {
    dense_weight(&linear.weight).without_autodiff().cast(delta.dtype())
}

fn magnitude_factor(
    magnitude: &Option<Magnitude>,
    weight: Tensor<2>,
    factors: impl FnOnce() -> (Tensor<2>, Tensor<2>),
) -> Result<Option<Tensor<1>>, LoraError> {
    let Some(magnitude) = magnitude else { return Ok(None) };
    if !magnitude.is_set() {
        return Err(LoraError::MagnitudeNotSet);
    }
    let (a, b) = factors();
    let factor = magnitude.factor(weight, a, b);
    Ok(Some(factor.flatten(0, 2)))
}

fn check_shape(expected: [usize; 2], linear: &Linear) -> Result<(), LoraError> {
    let found = linear.weight.lazy_shape().dims();
    if expected == found { Ok(()) } else { Err(LoraError::Shape { expected, found }) }
}
