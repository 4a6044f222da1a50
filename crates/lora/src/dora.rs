//! DoRA, weight-decomposed low-rank adaptation (Liu et al., 2024, <https://arxiv.org/abs/2402.09353>): the direction
//! and the magnitude of each output's weights are trained separately,
//!
//! ```text
//! y = m / ‖W + ΔW‖ ⊙ (x W + b + x ΔW)
//! ```
//!
//! where `‖·‖` is the norm over the inputs, one value per output, and `m` is a trained vector, initially `‖W‖`. As in
//! the reference, the bias is scaled too, `ΔW` enters the norm without `alpha / r`, and the norm is part of the graph.
//!
//! The norm is computed without forming `ΔW = A B` (inputs by outputs): for each output's columns `w` of `W` and `b` of
//! `B`, `‖w + A b‖² = ‖w‖² + 2 bᵀ(Aᵀw) + bᵀ(AᵀA)b`.

use burn::module::{Module, Param, ParamId};
use burn::nn::Linear;
use burn::tensor::{Device, FloatDType, Shape, Tensor};

use burn_adapters_core::{Fill, Init, dense_weight};

/// The trained magnitude `m` of each output. It is all ones until it is [set from the base weight](Self::set_from).
#[derive(Module, Debug)]
pub struct Magnitude {
    /// `[d_output]`.
    pub vector: Param<Tensor<1>>,
    /// Whether the vector was set from a weight or a file.
    #[module(skip)]
    pub(crate) is_set: bool,
}

impl Magnitude {
    /// A magnitude that must still be set.
    pub fn new(d_output: usize, init: &mut Init, device: &Device) -> Self {
        Self { vector: init.param([d_output], Fill::ONES, device), is_set: false }
    }

    /// Whether the vector was set from a base weight, or read from a file.
    pub fn is_set(&self) -> bool {
        self.is_set
    }

    /// Records that the vector was read from a file.
    pub fn mark_set(&mut self) {
        self.is_set = true;
    }

    /// Sets the magnitude to the norms of the base weight, so that the adapted layer computes the same as the base.
    pub fn set_from(&mut self, linear: &Linear) {
        self.set_from_weight(dense_weight(&linear.weight));
    }

    /// [`set_from`](Self::set_from) for a matrix without a layer.
    ///
    /// # Shapes
    /// - weight: `[d_input, d_output]`
    pub fn set_from_weight(&mut self, weight: Tensor<2>) {
        let device = self.vector.lazy_device();
        let norms = column_norms(weight.without_autodiff()).to_device(&device.clone().without_autodiff());
        let shape = Shape::from(norms.dims());
        // Lazy, so that the parameter is a leaf of its own device's graph.
        self.vector = Param::uninitialized(
            ParamId::new(),
            move |device: &Device, require_grad: bool| {
                let vector = Tensor::from_data(norms.into_data(), device);
                if require_grad { vector.require_grad() } else { vector }
            },
            device,
            true,
            shape,
        );
        self.is_set = true;
    }

    /// `m / ‖W + A B‖`, the factor on the sum of the layer's output and its update: `[1, 1, d_output]`.
    ///
    /// # Shapes
    /// - weight: `[d_input, d_output]`, a: `[d_input, r]`, b: `[r, d_output]`
    pub fn factor(&self, weight: Tensor<2>, a: Tensor<2>, b: Tensor<2>) -> Tensor<3> {
        (self.vector.val() / adapted_norms(weight, a, b)).unsqueeze()
    }
}

/// `‖W‖` over the inputs, in f32 for weights of any type: `[d_output]`.
pub(crate) fn column_norms(weight: Tensor<2>) -> Tensor<1> {
    let weight = weight.cast(FloatDType::F32);
    (weight.clone() * weight).sum_dim(0).sqrt().squeeze_dim(0)
}

/// `‖W + A B‖` over the inputs, without forming `A B`: `[d_output]`.
pub(crate) fn adapted_norms(weight: Tensor<2>, a: Tensor<2>, b: Tensor<2>) -> Tensor<1> {
    let weight = weight.cast(a.dtype());
    let own = (weight.clone() * weight.clone()).sum_dim(0);
    let cross = (a.clone().transpose().matmul(weight) * b.clone()).sum_dim(0);
    let gram = a.clone().transpose().matmul(a);
    let update = (gram.matmul(b.clone()) * b).sum_dim(0);
    (own + cross * 2.0 + update).clamp_min(0.0).sqrt().squeeze_dim(0)
}
