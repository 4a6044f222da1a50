//! A batch without its padding.

use burn::tensor::Tensor;
use burn_adapters_core::TokenSpan;
use burn_adapters_ops::{Rows, take_rows};

use crate::ActiveHooks;

/// The non-padding positions of a batch. Only these go through the layers, concatenated, each as a separate row; only
/// attention sees sequences.
#[derive(Debug)]
pub(super) struct Packing<'a> {
    /// The number of positions of each row.
    pub(super) lengths: Vec<usize>,
    /// The hooks for positions as rows.
    pub(super) hooks: ActiveHooks<'a>,
    sequence: usize,
    /// The indices of the remaining positions in the padded batch.
    places: Rows,
    /// The padded batch, as indices of the remaining positions.
    positions: Rows,
    /// The first position of each row, as index of the remaining positions.
    firsts: Rows,
}

impl<'a> Packing<'a> {
    /// `None` if there is no padding, a row begins with padding, or an adapter does not treat each position
    /// independently.
    pub(super) fn new(tokens: &[TokenSpan], sequence: usize, hooks: &ActiveHooks<'a>) -> Option<Self> {
        let lengths: Vec<usize> = tokens.iter().map(TokenSpan::end).collect();
        let kept: usize = lengths.iter().sum();
        if kept == lengths.len() * sequence || tokens.iter().any(|span| span.start > 0) {
            return None;
        }
        let hooks = hooks.packed(&lengths)?;
        let rows = lengths.iter().enumerate();
        let places = rows.flat_map(|(row, length)| (0..*length).map(move |position| Some(row * sequence + position)));
        let places = Rows::new(places, lengths.len() * sequence)?;
        let firsts = lengths.iter().scan(0, |end, length| Some(Some(std::mem::replace(end, *end + length))));
        let firsts = Rows::new(firsts, kept)?;
        let positions = places.inverse();
        Some(Self { lengths, hooks, sequence, places, positions, firsts })
    }

    /// The length of the padded sequences.
    pub(super) fn sequence(&self) -> usize {
        self.sequence
    }

    /// Whether a tensor has a row for each row of the batch, instead of one for each position.
    pub(super) fn is_by_row(&self, x: &Tensor<3>) -> bool {
        x.dims()[0] == self.lengths.len()
    }

    /// Drops the padding.
    ///
    /// # Shapes
    /// - hidden: `[rows, sequence, hidden]`
    /// - output: `[Σ lengths, 1, hidden]`
    pub(super) fn pack(&self, hidden: Tensor<3>) -> Tensor<3> {
        take_rows(hidden.flatten(0, 1), &self.places).unsqueeze_dim(1)
    }

    /// Restores the padding, as zeros.
    ///
    /// # Shapes
    /// - hidden: `[Σ lengths, 1, hidden]`
    /// - output: `[rows, sequence, hidden]`
    pub(super) fn unpack(&self, hidden: Tensor<3>) -> Tensor<3> {
        let [_, _, width] = hidden.dims();
        let padded = take_rows(hidden.squeeze_dim(1), &self.positions);
        padded.reshape([self.lengths.len(), self.sequence, width])
    }

    /// The first position of each row.
    ///
    /// # Shapes
    /// - hidden: `[Σ lengths, 1, hidden]`
    /// - output: `[rows, 1, hidden]`
    pub(super) fn first(&self, hidden: Tensor<3>) -> Tensor<3> {
        take_rows(hidden.squeeze_dim(1), &self.firsts).unsqueeze_dim(1)
    }
}
