//! VeRA, vector-based random matrix adaptation (Kopiczko et al., 2023, <https://arxiv.org/abs/2310.11454>): all layers
//! share two frozen random matrices, and only vectors are trained,
//!
//! ```text
//! y = x W + (alpha / r) · ((x A) ⊙ d) B ⊙ b
//! ```
//!
//! with `A: [d_input, r]` and `B: [r, d_output]` frozen, `d: [r]` and `b: [d_output]` trained.
//!
//! The reference trains full matrices instead of the two vectors (14,157,312 instead of 18,624 parameters on
//! BERT-base). This module uses the paper's vectors; files of the reference are read into [`Diagonal::Matrix`].

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use burn_adapters_config::{CompositionMode, LoraConfig, LoraInit};
use burn_adapters_core::{Fill, Gate, Init, Mode, linear};

use crate::{LoraError, LoraOutput, Magnitude};

/// The frozen random matrices of an adapter, shared by all its sites. They fit the largest matrix; smaller matrices use
/// their first rows or columns.
#[derive(Module, Debug)]
pub struct VeraShared {
    /// `[largest d_input, r]`.
    pub a: Param<Tensor<2>>,
    /// `[r, largest d_output]`.
    pub b: Param<Tensor<2>>,
}

impl VeraShared {
    /// New shared matrices for model matrices of these sizes, `[d_input, d_output]` each.
    pub fn new(
        config: &LoraConfig,
        sizes: impl IntoIterator<Item = [usize; 2]>,
        init: &mut Init,
        device: &Device,
    ) -> Self {
        let [d_input, d_output] =
            sizes.into_iter().fold([0, 0], |[input, output], size| [input.max(size[0]), output.max(size[1])]);
        let init = &mut init.for_module(config.init_weights_seed);
        let (a, b) = match config.init_weights {
            LoraInit::Lora => (Fill::kaiming_uniform_sqrt5(d_input), Fill::ZEROS),
            LoraInit::Bert => (Fill::Normal { std: 0.02 }, Fill::Normal { std: 0.02 }),
            LoraInit::Ia3 => (Fill::ONES, Fill::ONES),
            LoraInit::Vera => (Fill::kaiming_uniform(d_input), Fill::kaiming_uniform(config.r)),
        };
        Self {
            a: init.param([d_input, config.r], a, device).set_require_grad(false),
            b: init.param([config.r, d_output], b, device).set_require_grad(false),
        }
    }

    fn for_size(&self, [d_input, d_output]: [usize; 2]) -> (Tensor<2>, Tensor<2>) {
        let (a, b) = (self.a.val(), self.b.val());
        let ([rows, rank], [_, columns]) = (a.dims(), b.dims());
        let a = if rows == d_input { a } else { a.slice([0..d_input, 0..rank]) };
        let b = if columns == d_output { b } else { b.slice([0..rank, 0..d_output]) };
        (a, b)
    }
}

/// A trained diagonal matrix stored as a vector, or the reference's full matrix.
#[derive(Module, Debug)]
pub enum Diagonal {
    /// The diagonal: `[size]`.
    Vector(Param<Tensor<1>>),
    /// The transpose of the reference's matrix: `[size, size]`.
    Matrix(Param<Tensor<2>>),
}

impl Diagonal {
    fn apply(&self, x: Tensor<3>) -> Tensor<3> {
        match self {
            Diagonal::Vector(vector) => x * vector.val().unsqueeze(),
            Diagonal::Matrix(matrix) => linear(x, matrix.val(), None),
        }
    }

    fn apply_to_matrix(&self, x: Tensor<2>) -> Tensor<2> {
        match self {
            Diagonal::Vector(vector) => x * vector.val().unsqueeze(),
            Diagonal::Matrix(matrix) => x.matmul(matrix.val()),
        }
    }
}

/// The VeRA update of one matrix.
#[derive(Module, Debug)]
pub struct Vera {
    /// `d`, of size `r`.
    pub d: Diagonal,
    /// `b`, of size `d_output`.
    pub b: Diagonal,
    /// The gate, one value per sequence; it replaces `alpha / r`.
    pub gate: Option<Gate>,
    /// The magnitude of DVoRA.
    pub magnitude: Option<Magnitude>,
    /// `alpha / r`.
    pub scaling: f64,
    /// Dropout on the input.
    pub dropout: f64,
    d_input: usize,
    d_output: usize,
}

impl Vera {
    /// A new module for a matrix of `[d_input, d_output]`, to be used with the adapter's [`VeraShared`].
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
        let vector = |init: &mut Init, size, value: Option<f64>| {
            Diagonal::Vector(init.param([size], Fill::Constant(value.unwrap_or(0.0)), device))
        };
        Ok(Self {
            d: vector(init, config.r, config.vera_d),
            b: vector(init, d_output, config.vera_b),
            gate: config.use_gating.then(|| {
                let bias = Fill::kaiming_uniform_sqrt5(d_input);
                Gate::new(d_input, 1, Fill::Normal { std: 0.02 }, bias, init, device)
            }),
            magnitude: config.use_dora.then(|| Magnitude::new(d_output, init, device)),
            scaling: config.alpha / config.r as f64,
            dropout: config.dropout,
            d_input,
            d_output,
        })
    }

    /// `[d_input, d_output]` of the matrix that this module is for.
    pub fn shape(&self) -> [usize; 2] {
        [self.d_input, self.d_output]
    }

    /// The update for an input.
    ///
    /// # Shapes
    /// - input: `[batch, sequence, d_input]`
    /// - update: `[batch, sequence, d_output]`
    pub fn forward(&self, input: Tensor<3>, shared: &VeraShared, mode: Mode) -> LoraOutput {
        self.forward_from(input.clone(), input, shared, mode)
    }

    /// [`forward`](Self::forward) with an update that starts from states other than the layer's input.
    pub fn forward_from(
        &self,
        states: Tensor<3>,
        layer_input: Tensor<3>,
        shared: &VeraShared,
        mode: Mode,
    ) -> LoraOutput {
        let (a, b) = shared.for_size(self.shape());
        let low = self.d.apply(linear(mode.dropout(self.dropout, states), a, None));
        let update = self.b.apply(linear(low, b, None));
        match &self.gate {
            Some(gate) => {
                let gate = gate.forward(layer_input);
                LoraOutput { update: update * gate.clone(), gate: Some(gate) }
            }
            None if self.scaling == 1.0 => LoraOutput { update, gate: None },
            None => LoraOutput { update: update * self.scaling, gate: None },
        }
    }

    /// The two factors of the unscaled dense update: `[d_input, r]` and `[r, d_output]`.
    pub fn factors(&self, shared: &VeraShared) -> (Tensor<2>, Tensor<2>) {
        let (a, b) = shared.for_size(self.shape());
        (self.d.apply_to_matrix(a), self.b.apply_to_matrix(b))
    }
}
