//! A batch without its padding.

use burn::tensor::{Bool, Tensor};
use burn_adapters_model::Hooks;
use burn_adapters_ops::{Rows, take_rows};

/// Which positions of a batch are none of padding. These alone go through the layers, one after the other, each as a row of
/// its own; only attention sees sequences.
#[derive(Debug)]
pub(crate) struct Packing<'a> {
    /// Of each row, the positions that are no padding.
    pub(crate) lengths: Vec<usize>,
    /// The hooks for positions as rows.
    pub(crate) hooks: Hooks<'a>,
    /// `[batch, sequence]` of the whole batch.
    dims: [usize; 2],
    /// The positions that stay, of the whole batch.
    places: Rows,
    /// The whole batch, of the positions that stay.
    positions: Rows,
    /// The first position of each row, of those that stay.
    firsts: Rows,
}

impl<'a> Packing<'a> {
    /// None where nothing is padding, where a row begins with padding (or is nothing else), or where an adapter does
    /// not treat each position by itself.
    pub(crate) fn new(padding: &Tensor<2, Bool>, hooks: &Hooks<'a>) -> Option<Self> {
        let [batch, sequence] = padding.dims();
        let padding: Vec<bool> = padding.clone().into_data().iter::<bool>().collect();
        let (mut lengths, mut places, mut firsts) = (Vec::new(), Vec::new(), Vec::new());
        for (row, padding) in padding.chunks(sequence).enumerate() {
            if *padding.first()? {
                return None;
            }
            let first = places.len();
            firsts.push(Some(first));
            let kept = padding.iter().enumerate().filter(|(_, is_padding)| !**is_padding);
            places.extend(kept.map(|(position, _)| Some(row * sequence + position)));
            lengths.push(places.len() - first);
        }
        let kept = places.len();
        if kept == batch * sequence {
            return None;
        }
        let hooks = hooks.packed(&lengths)?;
        let places = Rows::new(places, batch * sequence)?;
        let positions = places.inverse();
        Some(Self { lengths, hooks, dims: [batch, sequence], places, positions, firsts: Rows::new(firsts, kept)? })
    }

    /// Without padding.
    ///
    /// # Shapes
    /// - hidden: `[batch, sequence, hidden]`
    /// - output: `[Σ lengths, 1, hidden]`
    pub(crate) fn pack(&self, hidden: Tensor<3>) -> Tensor<3> {
        take_rows(hidden.flatten(0, 1), &self.places).unsqueeze_dim(1)
    }

    /// With padding, of zeros.
    ///
    /// # Shapes
    /// - hidden: `[Σ lengths, 1, hidden]`
    /// - output: `[batch, sequence, hidden]`
    pub(crate) fn unpack(&self, hidden: Tensor<3>) -> Tensor<3> {
        let [_, _, width] = hidden.dims();
        let [batch, sequence] = self.dims;
        take_rows(hidden.squeeze_dim(1), &self.positions).reshape([batch, sequence, width])
    }

    /// The first positions.
    ///
    /// # Shapes
    /// - hidden: `[Σ lengths, 1, hidden]`
    /// - output: `[batch, 1, hidden]`
    pub(crate) fn first(&self, hidden: Tensor<3>) -> Tensor<3> {
        take_rows(hidden.squeeze_dim(1), &self.firsts).unsqueeze_dim(1)
    }
}
