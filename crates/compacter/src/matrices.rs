//! Stacks of matrices, whole or factorized.

use burn::module::{Module, Param, ParamId};
use burn::tensor::{Device, Tensor};
use burn_adapters_core::{Fill, Init};

/// `n` matrices of one shape, each stored whole or as a product of two factors. Both the rule and the weights of a PHM
/// layer have this form.
#[derive(Module, Debug)]
pub enum Matrices {
    /// The matrices themselves: `[n, rows, columns]`.
    Full(Param<Tensor<3>>),
    /// The factors of each matrix.
    Factorized(Factors),
}

/// The two factors of each of `n` matrices.
#[derive(Module, Debug)]
pub struct Factors {
    /// `[n, rows, rank]`.
    pub left: Param<Tensor<3>>,
    /// `[n, rank, columns]`.
    pub right: Param<Tensor<3>>,
}

impl Matrices {
    /// Whole matrices, drawn from `fill`.
    pub fn full(shape: [usize; 3], fill: Fill, init: &mut Init, device: &Device) -> Self {
        Self::Full(init.param(shape, fill, device))
    }

    /// Factors of rank `rank`, drawn from `left` and `right`.
    pub fn factorized(
        [n, rows, columns]: [usize; 3],
        rank: usize,
        [left, right]: [Fill; 2],
        init: &mut Init,
        device: &Device,
    ) -> Self {
        Self::Factorized(Factors {
            left: init.param([n, rows, rank], left, device),
            right: init.param([n, rank, columns], right, device),
        })
    }

    /// Multiplies out the matrices: `[n, rows, columns]`.
    pub fn product(&self) -> Tensor<3> {
        match self {
            Self::Full(matrices) => matrices.val(),
            Self::Factorized(factors) => factors.left.val().matmul(factors.right.val()),
        }
    }

    /// The ids of the parameters.
    pub fn ids(&self) -> Vec<ParamId> {
        match self {
            Self::Full(matrices) => vec![matrices.id],
            Self::Factorized(factors) => vec![factors.left.id, factors.right.id],
        }
    }
}
