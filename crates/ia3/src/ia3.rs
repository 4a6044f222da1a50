//! The (IA)³ module.

use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::tensor::{Device, Tensor};
use burn_adapters_config::{LoraConfig, LoraInit};
use burn_adapters_core::{Fill, Gate, Init, dense_weight};
use thiserror::Error;

/// The vector that scales the output of one matrix. See the [crate] for an example.
#[derive(Module, Debug)]
pub struct Ia3 {
    /// The vector `l`: `[d_output]`.
    pub vector: Param<Tensor<1>>,
    /// The gate, one value per sequence; it replaces `alpha`.
    pub gate: Option<Gate>,
    /// `alpha`, a factor on the vector.
    pub alpha: f64,
}

/// The output of an (IA)³ module.
#[derive(Debug, Clone)]
pub struct Ia3Scale {
    /// The factor on the matrix' output: `[1 or batch, 1, d_output]`.
    pub factor: Tensor<3>,
    /// The gate: `[batch, 1, 1]`.
    pub gate: Option<Tensor<3>>,
}

impl Ia3 {
    /// A new module for a matrix of `[d_input, d_output]`; its vector is all ones, so it changes nothing yet.
    ///
    /// # Errors
    /// If the configuration requests a rank above 1, dropout, or DoRA.
    pub fn new(
        config: &LoraConfig,
        [d_input, d_output]: [usize; 2],
        init: &mut Init,
        device: &Device,
    ) -> Result<Self, Ia3Error> {
        if config.r != 1 {
            return Err(Ia3Error::Rank { found: config.r });
        }
        if config.dropout > 0.0 {
            return Err(Ia3Error::Dropout { found: config.dropout });
        }
        if config.use_dora {
            return Err(Ia3Error::Dora);
        }
        let init = &mut init.for_module(config.init_weights_seed);
        let fill = match config.init_weights {
            LoraInit::Lora => Fill::ZEROS,
            LoraInit::Bert => Fill::Normal { std: 0.02 },
            LoraInit::Ia3 => Fill::ONES,
            LoraInit::Vera => Fill::kaiming_uniform(1),
        };
        Ok(Self {
            vector: init.param([d_output], fill, device),
            gate: config.use_gating.then(|| {
                let bias = Fill::kaiming_uniform_sqrt5(d_input);
                Gate::new(d_input, 1, Fill::Normal { std: 0.02 }, bias, init, device)
            }),
            alpha: config.alpha,
        })
    }

    /// Computes the factor on the matrix' output.
    ///
    /// # Shapes
    /// - input: the input of the matrix, `[batch, sequence, d_input]`
    /// - factor: `[1 or batch, 1, d_output]`
    pub fn scale(&self, input: Tensor<3>) -> Ia3Scale {
        let vector = self.vector.val().unsqueeze::<3>();
        match &self.gate {
            Some(gate) => {
                let gate = gate.forward(input);
                Ia3Scale { factor: vector * gate.clone(), gate: Some(gate) }
            }
            None if self.alpha == 1.0 => Ia3Scale { factor: vector, gate: None },
            None => Ia3Scale { factor: vector * self.alpha, gate: None },
        }
    }
}

/// An (IA)³ module that cannot be built or merged.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum Ia3Error {
    /// The rank must be 1.
    #[error("(IA)³ scales by one vector, so r must be 1, found {found}")]
    Rank {
        /// The requested rank.
        found: usize,
    },
    /// Dropout does not apply to (IA)³.
    #[error("(IA)³ scales an output and has no input to apply dropout to, so dropout must be 0, found {found}")]
    Dropout {
        /// The requested dropout.
        found: f64,
    },
    /// DoRA needs an additive update.
    #[error("use_dora=True needs composition_mode='add', but (IA)³ scales: drop one of them")]
    Dora,
    /// The gate depends on the input, so there is no weight that replaces it.
    #[error("an (IA)³ with use_gating=True cannot be merged: its gate depends on the input; run it unmerged")]
    MergeWithGate,
    /// The matrix to merge into has another shape.
    #[error("cannot merge an (IA)³ vector for {expected} outputs into a matrix with {found} outputs")]
    Shape {
        /// Outputs of the module.
        expected: usize,
        /// Outputs of the matrix.
        found: usize,
    },
}

// Merging: the vector is multiplied into the weight and the bias.

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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn::nn::LinearConfig;
    use burn::tensor::Tolerance;

    use super::*;
    use crate::MergedIa3;

    fn ia3(config: &LoraConfig) -> Ia3 {
        Ia3::new(config, [6, 5], &mut Init::from_seed(1), &Device::default()).unwrap()
    }

    fn input() -> Tensor<3> {
        Init::from_seed(9).param([2, 4, 6], Fill::Normal { std: 1.0 }, &Device::default()).val()
    }

    #[test]
    fn a_new_module_scales_by_one() {
        let factor = ia3(&LoraConfig::ia3()).scale(input()).factor;
        assert_eq!(factor.into_data().try_to_vec::<f32>().unwrap(), vec![1.0; 5]);
    }

    #[test]
    fn merging_scales_weight_and_bias_and_unmerging_gives_them_back_bit_for_bit() {
        let mut linear = LinearConfig::new(6, 5).init(&Device::default());
        let before = (linear.weight.val().into_data(), linear.bias.as_ref().unwrap().val().into_data());
        // Read now: some backends read data lazily, after the change.
        let _ = (before.0.as_bytes(), before.1.as_bytes());
        let ia3 = ia3(&LoraConfig::ia3().with_init_weights(LoraInit::Bert).with_alpha(3.0));
        let unmerged = linear.forward(input()) * ia3.scale(input()).factor;
        let merged = MergedIa3::merge(&ia3, &mut linear).unwrap();
        let output = linear.forward(input());
        output.into_data().assert_approx_eq::<f32>(&unmerged.into_data(), Tolerance::absolute(1e-6));
        merged.unmerge(&mut linear);
        assert_eq!(before, (linear.weight.val().into_data(), linear.bias.as_ref().unwrap().val().into_data()));
    }

    #[test]
    fn a_rank_above_one_and_dropout_are_errors() {
        let build = |config: LoraConfig| Ia3::new(&config, [6, 5], &mut Init::from_seed(1), &Device::default());
        assert_eq!(build(LoraConfig { r: 2, ..LoraConfig::ia3() }).unwrap_err(), Ia3Error::Rank { found: 2 });
        let error = build(LoraConfig { dropout: 0.1, ..LoraConfig::ia3() }).unwrap_err();
        assert_eq!(error, Ia3Error::Dropout { found: 0.1 });
    }
}
