//! MTL-LoRA, LoRA for several tasks (Yang et al., 2024, <https://arxiv.org/abs/2410.09437>): one down-projection, a
//! small matrix for each task, and several up-projections that are averaged with trained weights,
//!
//! ```text
//! y = x W + (alpha / r) · Σᵢ softmax(w / τ)ᵢ · x A Λ Bᵢ
//! ```
//!
//! with `A: [d_input, r]`, `Λ: [r, r]` (diagonal by default), `Bᵢ: [r, d_output]`, one element of `w` per
//! up-projection, and `τ` the `weights_sharpness`.

use burn::module::{Module, Param};
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor};
use burn_adapters_config::{CompositionMode, LoraConfig, LoraInit, TaskMatrix};
use burn_adapters_core::{Fill, Gate, Init, Mode, linear};

use crate::{LoraError, LoraOutput};

/// The task's own matrix.
#[derive(Module, Debug)]
pub enum TaskSpecific {
    /// A diagonal matrix: `[r]`.
    SingularValues(Param<Tensor<1>>),
    /// A full matrix: `[r, r]`.
    Linear(Param<Tensor<2>>),
}

/// The MTL-LoRA update of one matrix.
#[derive(Module, Debug)]
pub struct MtlLoraModule {
    /// `[d_input, r]`.
    pub a: Param<Tensor<2>>,
    /// `[up-projections, r, d_output]`.
    pub b: Param<Tensor<3>>,
    /// The task's own matrix.
    pub task: TaskSpecific,
    /// The weights of the up-projections before the softmax: `[up-projections]`.
    pub weights: Param<Tensor<1>>,
    /// The gate, one value per sequence; it replaces `alpha / r`.
    pub gate: Option<Gate>,
    /// `alpha / r`.
    pub scaling: f64,
    /// The temperature of the softmax.
    pub sharpness: f64,
    /// Dropout on the input.
    pub dropout: f64,
}

impl MtlLoraModule {
    /// A new module for a matrix of `[d_input, d_output]`.
    ///
    /// # Errors
    /// If the configuration has no MTL-LoRA keys, has a rank of 0 or no up-projections, or does not add its update.
    pub fn new(
        config: &LoraConfig,
        [d_input, d_output]: [usize; 2],
        init: &mut Init,
        device: &Device,
    ) -> Result<Self, LoraError> {
        let mtl = config.mtl.as_ref().ok_or(LoraError::NotMtl)?;
        if config.r == 0 || mtl.n_up_projection == 0 {
            return Err(LoraError::ZeroRank);
        }
        if config.composition_mode != CompositionMode::Add {
            return Err(LoraError::NotAdditive);
        }
        let init = &mut init.for_module(config.init_weights_seed);
        let (a, b) = match config.init_weights {
            LoraInit::Lora => (Fill::kaiming_uniform_sqrt5(d_input), Fill::ZEROS),
            LoraInit::Bert => (Fill::Normal { std: 0.02 }, Fill::Normal { std: 0.02 }),
            LoraInit::Ia3 => (Fill::ONES, Fill::ZEROS),
            LoraInit::Vera => (Fill::kaiming_uniform(d_input), Fill::ZEROS),
        };
        Ok(Self {
            a: init.param([d_input, config.r], a, device),
            b: init.param([mtl.n_up_projection, config.r, d_output], b, device),
            task: match mtl.task_specific_matrix_type {
                TaskMatrix::SingularValues => TaskSpecific::SingularValues(init.param([config.r], Fill::ONES, device)),
                TaskMatrix::Linear => TaskSpecific::Linear(init.param([config.r, config.r], Fill::ONES, device)),
            },
            weights: init.param([mtl.n_up_projection], Fill::ONES, device),
            gate: config.use_gating.then(|| {
                let bias = Fill::kaiming_uniform_sqrt5(d_input);
                Gate::new(d_input, 1, Fill::Normal { std: 0.02 }, bias, init, device)
            }),
            scaling: config.alpha / config.r as f64,
            sharpness: mtl.weights_sharpness,
            dropout: config.dropout,
        })
    }

    /// The update for an input.
    ///
    /// # Shapes
    /// - input: `[batch, sequence, d_input]`
    /// - update: `[batch, sequence, d_output]`
    pub fn forward(&self, input: Tensor<3>, mode: Mode) -> LoraOutput {
        self.forward_from(input.clone(), input, mode)
    }

    /// [`forward`](Self::forward) with an update that starts from states other than the layer's input.
    pub fn forward_from(&self, states: Tensor<3>, layer_input: Tensor<3>, mode: Mode) -> LoraOutput {
        let low = linear(mode.dropout(self.dropout, states), self.a.val(), None);
        let update = linear(low, self.up(), None);
        match &self.gate {
            Some(gate) => {
                let gate = gate.forward(layer_input);
                LoraOutput { update: update * gate.clone(), gate: Some(gate) }
            }
            None => LoraOutput { update: update * self.scaling, gate: None },
        }
    }

    /// `Λ Σᵢ softmax(w / τ)ᵢ Bᵢ`: `[r, d_output]`. The up-projections are averaged first, so that the activations are
    /// projected up only once.
    fn up(&self) -> Tensor<2> {
        let weights: Tensor<3> = softmax(self.weights.val() / self.sharpness, 0).unsqueeze_dims(&[1, 2]);
        let up = (self.b.val() * weights).sum_dim(0).squeeze_dim(0);
        match &self.task {
            TaskSpecific::SingularValues(values) => up * values.val().unsqueeze_dim(1),
            TaskSpecific::Linear(matrix) => matrix.val().matmul(up),
        }
    }

    /// The dense update `(alpha / r) · A Λ B`: `[d_input, d_output]`.
    pub fn delta_weight(&self) -> Tensor<2> {
        self.a.val().matmul(self.up()) * self.scaling
    }
}
