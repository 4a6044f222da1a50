//! The LoRA module.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use burn_adapters_config::{CompositionMode, LoraConfig, LoraInit};
use burn_adapters_core::{Fill, Gate, Init, Mode, linear};
use thiserror::Error;

use crate::{Bias, Magnitude};

/// The low-rank update of one matrix. See the [crate] for an example.
#[derive(Module, Debug)]
pub struct Lora {
    /// `[d_input, r]`, the transpose of the paper's `A`.
    pub a: Param<Tensor<2>>,
    /// `[r, d_output]`, the transpose of the paper's `B`.
    pub b: Param<Tensor<2>>,
    /// The gate, one value per sequence; it replaces `alpha / r`.
    pub gate: Option<Gate>,
    /// The magnitude of DoRA.
    pub magnitude: Option<Magnitude>,
    /// The trained bias.
    pub bias: Option<Bias>,
    /// `alpha / r`.
    pub scaling: f64,
    /// Dropout on the input.
    pub dropout: f64,
}

/// The output of a LoRA module.
#[derive(Debug, Clone)]
pub struct LoraOutput {
    /// The update to add to the matrix' own output: `[batch, sequence, d_output]`.
    pub update: Tensor<3>,
    /// The gate: `[batch, 1, 1]`.
    pub gate: Option<Tensor<3>>,
}

impl Lora {
    /// A new module for a matrix of `[d_input, d_output]`.
    ///
    /// # Errors
    /// If the rank is 0, or the configuration is that of a method that does not add its update.
    pub fn new(
        config: &LoraConfig,
        [d_input, d_output]: [usize; 2],
        init: &mut Init,
        device: &Device,
    ) -> Result<Self, LoraError> {
        if config.r == 0 {
            return Err(LoraError::ZeroRank);
        }
        if config.composition_mode != CompositionMode::Add {
            return Err(LoraError::NotAdditive);
        }
        let init = &mut init.for_module(config.init_weights_seed);
        let (a, b) = match config.init_weights {
            LoraInit::Lora => (Fill::kaiming_uniform_sqrt5(d_input), Fill::ZEROS),
            LoraInit::Bert => (Fill::Normal { std: 0.02 }, Fill::Normal { std: 0.02 }),
            LoraInit::Ia3 => (Fill::ONES, Fill::ONES),
            LoraInit::Vera => (Fill::kaiming_uniform(d_input), Fill::kaiming_uniform(config.r)),
        };
        Ok(Self {
            a: init.param([d_input, config.r], a, device),
            b: init.param([config.r, d_output], b, device),
            gate: config.use_gating.then(|| {
                // PyTorch's default for the bias of a linear layer.
                let bias = Fill::kaiming_uniform_sqrt5(d_input);
                Gate::new(d_input, 1, Fill::Normal { std: 0.02 }, bias, init, device)
            }),
            magnitude: config.use_dora.then(|| Magnitude::new(d_output, init, device)),
            bias: Bias::new(config.bias, d_output, init, device),
            scaling: config.alpha / config.r as f64,
            dropout: config.dropout,
        })
    }

    /// `[d_input, d_output]` of the matrix that this module is for.
    pub fn shape(&self) -> [usize; 2] {
        let [d_input, _] = self.a.lazy_shape().dims();
        let [_, d_output] = self.b.lazy_shape().dims();
        [d_input, d_output]
    }

    /// The update for an input. A [bias](Self::bias) that replaces the matrix' own is not a part of it:
    /// [`Bias::change`] is added to it.
    ///
    /// # Shapes
    /// - input: `[batch, sequence, d_input]`
    /// - update: `[batch, sequence, d_output]`
    pub fn forward(&self, input: Tensor<3>, mode: Mode) -> LoraOutput {
        self.forward_from(input.clone(), input, mode)
    }

    /// [`forward`](Self::forward) with an update that starts from states other than the layer's input, which the gate
    /// reads (one LoRA stacked on another).
    pub fn forward_from(&self, states: Tensor<3>, layer_input: Tensor<3>, mode: Mode) -> LoraOutput {
        let states = mode.dropout(self.dropout, states);
        let low = linear(states, self.a.val(), None);
        let bias = self.bias.as_ref().and_then(Bias::of_update);
        match &self.gate {
            Some(gate) => {
                let gate = gate.forward(layer_input);
                let update = linear(low, self.b.val(), bias) * gate.clone();
                LoraOutput { update, gate: Some(gate) }
            }
            None => {
                // The scale is applied on the narrow side: to r elements per position instead of d_output.
                let scaled = self.scaling != 1.0;
                let low = if scaled { low * self.scaling } else { low };
                let bias = bias.map(|bias| if scaled { bias * self.scaling } else { bias });
                LoraOutput { update: linear(low, self.b.val(), bias), gate: None }
            }
        }
    }

    /// The dense update `(alpha / r) · A B`: `[d_input, d_output]`. Use it for merging and analysis, not in a forward
    /// pass.
    pub fn delta_weight(&self) -> Tensor<2> {
        self.a.val().matmul(self.b.val()) * self.scaling
    }
}

/// A LoRA module that cannot be built or merged.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum LoraError {
    /// A rank of 0 would train nothing.
    #[error("r must be at least 1, found 0: a LoRA of rank 0 trains nothing")]
    ZeroRank,
    /// This module adds its update; `composition_mode = 'scale'` belongs to (IA)³.
    #[error("LoRA adds its update (composition_mode='add'); composition_mode='scale' belongs to (IA)³: use `ia3`")]
    NotAdditive,
    /// The configuration belongs to MTL-LoRA.
    #[error("the configuration has none of MTL-LoRA's keys (n_up_projection, …): use `mtl_lora`")]
    NotMtl,
    /// DoRA's magnitude must still be set from the base weight.
    #[error(
        "the magnitude of this DoRA module was not set: it starts from the norms of the base weight, so add \
         the adapter together with the model, or read it from a file"
    )]
    MagnitudeNotSet,
    /// The gate depends on the input, so there is no weight that replaces it.
    #[error("a LoRA with use_gating=True cannot be merged: its gate depends on the input; run it unmerged")]
    MergeWithGate,
    /// A trained bias has no place in a layer without one.
    #[error("a LoRA with a trained bias (`bias`) cannot be merged into a layer without a bias; run it unmerged")]
    MergeBias,
    /// The matrix to merge into has another shape.
    #[error("cannot merge a LoRA for a matrix of shape {expected:?} into one of shape {found:?}")]
    Shape {
        /// `[d_input, d_output]` of the module.
        expected: [usize; 2],
        /// `[d_input, d_output]` of the matrix.
        found: [usize; 2],
    },
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn::nn::{Linear, LinearConfig};
    use burn::tensor::Tolerance;
    use burn_adapters_config::LoraBias;

    use super::*;
    use crate::Merged;

    fn input(device: &Device) -> Tensor<3> {
        Init::from_seed(9).param([2, 4, 6], Fill::Normal { std: 1.0 }, device).val()
    }

    fn lora(config: &LoraConfig) -> Lora {
        Lora::new(config, [6, 5], &mut Init::from_seed(1), &Device::default()).unwrap()
    }

    #[test]
    fn b_is_zero_so_a_new_module_changes_nothing() {
        let update = lora(&LoraConfig::lora()).forward(input(&Device::default()), Mode::Inference).update;
        assert_eq!(update.abs().max().into_scalar::<f32>(), 0.0);
    }

    #[test]
    fn the_factored_update_equals_the_dense_one() {
        let device = Device::default();
        let lora = lora(&LoraConfig::new(3).with_alpha(6.0).with_init_weights(LoraInit::Bert));
        let x = input(&device);
        let dense = x.clone().matmul(lora.delta_weight().unsqueeze());
        lora.forward(x, Mode::Inference)
            .update
            .into_data()
            .assert_approx_eq::<f32>(&dense.into_data(), Tolerance::absolute(1e-5));
    }

    #[test]
    fn merging_gives_the_same_output_and_unmerging_gives_the_base_back_bit_for_bit() {
        let device = Device::default();
        let mut linear = LinearConfig::new(6, 5).init(&device);
        let lora = lora(&LoraConfig::new(3).with_alpha(6.0).with_init_weights(LoraInit::Bert));
        let x = input(&device);
        let before = linear.weight.val().into_data();
        // Read now: some backends read data lazily, after the change.
        let _ = before.as_bytes();
        let unmerged = linear.forward(x.clone()) + lora.forward(x.clone(), Mode::Inference).update;
        let merged = Merged::merge(&lora, &mut linear).unwrap();
        linear.forward(x).into_data().assert_approx_eq::<f32>(&unmerged.into_data(), Tolerance::absolute(1e-5));
        merged.unmerge(&mut linear);
        assert_eq!(linear.weight.val().into_data(), before);
    }

    #[test]
    fn a_bias_of_the_update_has_its_factor_and_one_of_the_base_replaces_the_layers() {
        let device = Device::default();
        let bias = |seed: u64| Init::from_seed(seed).param([5], Fill::Normal { std: 1.0 }, &device);
        let x = input(&device);
        for kind in [LoraBias::Update, LoraBias::Base] {
            let mut linear = LinearConfig::new(6, 5).init(&device);
            let config = LoraConfig::new(3).with_alpha(6.0).with_init_weights(LoraInit::Bert).with_bias(kind);
            let mut lora = lora(&config);
            let trained = lora.bias.as_mut().unwrap();
            assert_eq!(trained.is_set(), kind == LoraBias::Update);
            trained.set_from(&linear);
            let plain = linear.forward(x.clone()) + x.clone().matmul(lora.delta_weight().unsqueeze());
            let adapted = |lora: &Lora, linear: &Linear| {
                let sum = linear.forward(x.clone()) + lora.forward(x.clone(), Mode::Inference).update;
                lora.bias.as_ref().unwrap().change(linear).map_or(sum.clone(), |change| sum + change)
            };
            // It starts without an effect.
            let near = Tolerance::absolute(1e-5);
            adapted(&lora, &linear).into_data().assert_approx_eq::<f32>(&plain.clone().into_data(), near);
            lora.bias.as_mut().unwrap().vector = bias(3);
            let change = match kind {
                LoraBias::Update => bias(3).val() * 2.0,
                _ => bias(3).val() - linear.bias.as_ref().unwrap().val(),
            };
            let expected = (plain + change.unsqueeze()).into_data();
            adapted(&lora, &linear).into_data().assert_approx_eq::<f32>(&expected, near);
            let before = linear.bias.as_ref().unwrap().val().into_data();
            let _ = before.as_bytes();
            let merged = Merged::merge(&lora, &mut linear).unwrap();
            linear.forward(x.clone()).into_data().assert_approx_eq::<f32>(&expected, near);
            merged.unmerge(&mut linear);
            assert_eq!(linear.bias.unwrap().val().into_data(), before);
            let mut without = LinearConfig::new(6, 5).with_bias(false).init(&device);
            assert_eq!(Merged::merge(&lora, &mut without).unwrap_err(), LoraError::MergeBias);
        }
    }

    #[test]
    fn a_gate_cannot_be_merged() {
        let mut linear = LinearConfig::new(6, 5).init(&Device::default());
        let gated = lora(&LoraConfig::lora().with_use_gating(true));
        assert_eq!(Merged::merge(&gated, &mut linear).unwrap_err(), LoraError::MergeWithGate);
    }

    #[test]
    fn a_rank_of_zero_is_an_error() {
        let config = LoraConfig { r: 0, ..LoraConfig::lora() };
        let error = Lora::new(&config, [6, 5], &mut Init::from_seed(1), &Device::default()).unwrap_err();
        assert_eq!(error, LoraError::ZeroRank);
    }
}
