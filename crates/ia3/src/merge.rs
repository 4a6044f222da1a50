//! Merging: the vector is multiplied into the weight and the bias.

use burn::module::Param;
use burn::nn::Linear;
use burn::tensor::Tensor;
use burn_adapters_core::dense_weight;

use crate::{Ia3, Ia3Error};

/// A matrix with a merged vector, and its original values, so that [`unmerge`](Self::unmerge) is exact.
#[derive(Debug)]
#[must_use = "without this value the base weight cannot be restored"]
pub struct MergedIa3 {
    weight: Param<Tensor<2>>,
    bias: Option<Param<Tensor<1>>>,
}

impl MergedIa3 {
    /// Scales the outputs of `linear` by the vector of `ia3`.
    ///
    /// # Errors
    /// If the module has a gate, or is for a matrix of another width; `linear` is then unchanged.
    pub fn merge(ia3: &Ia3, linear: &mut Linear) -> Result<Self, Ia3Error> {
        if ia3.gate.is_some() {
            return Err(Ia3Error::MergeWithGate);
        }
        let [_, found] = linear.weight.lazy_shape().dims();
        let [expected] = ia3.vector.lazy_shape().dims();
        if expected != found {
            return Err(Ia3Error::Shape { expected, found });
        }
        let before = Self { weight: linear.weight.clone(), bias: linear.bias.clone() };
        let factor = ia3.vector.val().without_autodiff() * ia3.alpha;
        // In bf16 or blocks the product would be rounded again.
        let weight = dense_weight(&before.weight).without_autodiff().cast(factor.dtype()) * factor.clone().unsqueeze();
        linear.weight = Param::initialized(before.weight.id, weight);
        linear.bias =
            before.bias.clone().map(|bias| Param::initialized(bias.id, bias.val().without_autodiff() * factor));
        Ok(before)
    }

    /// Restores the original weight and bias.
    pub fn unmerge(self, linear: &mut Linear) {
        linear.weight = self.weight;
        linear.bias = self.bias;
    }
}
