//! A batch without its padding.

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use burn_adapters_model::Hooks;

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
    /// Of each position that stays, its place in the whole batch.
    places: Tensor<1, Int>,
    /// Of each place in the whole batch, the position that stays; any for padding.
    positions: Tensor<1, Int>,
    /// The first position of each row.
    firsts: Tensor<1, Int>,
}

impl<'a> Packing<'a> {
    /// None where nothing is padding, where a row begins with padding (or is nothing else), or where an adapter does
    /// not treat each position by itself.
    pub(crate) fn new(padding: &Tensor<2, Bool>, hooks: &Hooks<'a>, device: &Device) -> Option<Self> {
        let [batch, sequence] = padding.dims();
        let padding: Vec<bool> = padding.clone().into_data().iter::<bool>().collect();
        let (mut lengths, mut places, mut positions, mut firsts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (row, padding) in padding.chunks(sequence).enumerate() {
            if *padding.first()? {
                return None;
            }
            firsts.push(places.len());
            for (position, _) in padding.iter().enumerate().filter(|(_, is_padding)| !**is_padding) {
                places.push(row * sequence + position);
            }
            let first = *firsts.last()?;
            lengths.push(places.len() - first);
            let mut next = first..places.len();
            positions.extend(padding.iter().map(|is_padding| match is_padding {
                true => first,
                false => next.next().unwrap_or(first),
            }));
        }
        if places.len() == batch * sequence {
            return None;
        }
        let hooks = hooks.packed(&lengths)?;
        let [places, positions, firsts] = [places, positions, firsts].map(|indices| {
            let (count, indices) = (indices.len(), indices.into_iter().map(|index| index as i32).collect::<Vec<_>>());
            Tensor::<1, Int>::from_data(TensorData::new(indices, [count]), device)
        });
        Some(Self { lengths, hooks, dims: [batch, sequence], places, positions, firsts })
    }

    /// Without padding.
    ///
    /// # Shapes
    /// - hidden: `[batch, sequence, hidden]`
    /// - output: `[Σ lengths, 1, hidden]`
    pub(crate) fn pack(&self, hidden: Tensor<3>) -> Tensor<3> {
        hidden.flatten::<2>(0, 1).select(0, self.places.clone()).unsqueeze_dim(1)
    }

    /// With padding, that holds copies of each row's first position.
    ///
    /// # Shapes
    /// - hidden: `[Σ lengths, 1, hidden]`
    /// - output: `[batch, sequence, hidden]`
    pub(crate) fn unpack(&self, hidden: Tensor<3>) -> Tensor<3> {
        let [_, _, width] = hidden.dims();
        let [batch, sequence] = self.dims;
        hidden.select(0, self.positions.clone()).reshape([batch, sequence, width])
    }

    /// The first positions.
    ///
    /// # Shapes
    /// - hidden: `[Σ lengths, 1, hidden]`
    /// - output: `[batch, 1, hidden]`
    pub(crate) fn first(&self, hidden: Tensor<3>) -> Tensor<3> {
        hidden.select(0, self.firsts.clone())
    }
}
