//! The interventions of a layer.

use burn::module::Module;
use burn::tensor::{Bool, Device, IndexingUpdateOp, Tensor};
use burn_adapters_config::{ReftConfig, ReftLayers};
use burn_adapters_core::{Init, Mode};
use thiserror::Error;

use crate::positions::End;
use crate::{Positions, ReftUnit};

/// The interventions at the end of one layer. See the [crate] for an example.
///
/// The configuration's `dtype` is ignored: parameters have the backend's own type.
#[derive(Module, Debug)]
pub struct Reft {
    /// One intervention for all positions (tied weights), or one for the first and one for the last.
    pub units: Vec<ReftUnit>,
    /// The number of first positions.
    pub prefix_positions: usize,
    /// The number of last positions.
    pub suffix_positions: usize,
}

impl Reft {
    /// New interventions on hidden states of `hidden_size`.
    ///
    /// # Errors
    /// If there are no positions to intervene on, the rank is 0, or it is too high for orthonormal rows.
    pub fn new(config: &ReftConfig, hidden_size: usize, init: &mut Init, device: &Device) -> Result<Self, ReftError> {
        if config.prefix_positions == 0 && config.suffix_positions == 0 {
            return Err(ReftError::NoPositions);
        }
        let units = if config.tied_weights { 1 } else { 2 };
        Ok(Self {
            units: (0..units).map(|_| ReftUnit::new(config, hidden_size, init, device)).collect::<Result<_, _>>()?,
            prefix_positions: config.prefix_positions,
            suffix_positions: config.suffix_positions,
        })
    }

    /// Whether the configuration has interventions in this layer; layers are counted through all stacks.
    pub fn acts_in_layer(config: &ReftConfig, layer: usize) -> bool {
        config.output_reft
            && match &config.layers {
                ReftLayers::All => true,
                ReftLayers::Some(layers) => layers.contains(&layer),
            }
    }

    /// The positions to intervene on, the same for all layers of a pass.
    ///
    /// # Shapes
    /// - padding: true where a position is padding, `[batch, sequence]`
    pub fn positions(&self, padding: &Tensor<2, Bool>) -> Positions {
        Positions::new(self.prefix_positions, self.suffix_positions, padding)
    }

    /// Intervenes on the hidden states at the positions; the others are unchanged.
    ///
    /// # Shapes
    /// - hidden, output: `[batch, sequence, hidden]`
    pub fn forward(&self, hidden: Tensor<3>, positions: &Positions, mode: Mode) -> Tensor<3> {
        let ends =
            [self.units.first().zip(positions.prefix.as_ref()), self.units.last().zip(positions.suffix.as_ref())];
        let mut output = hidden.clone();
        for (unit, End { indices, keep }) in ends.into_iter().flatten() {
            let [batch, _, hidden_size] = hidden.dims();
            let [_, count] = indices.dims();
            let indices = indices.clone().unsqueeze_dim::<3>(2).expand([batch, count, hidden_size]);
            let change = unit.change(hidden.clone().gather(1, indices.clone()), mode) * keep.clone();
            output = output.scatter(1, indices, change, IndexingUpdateOp::Add);
        }
        output
    }

    /// The number of trained parameters; the frozen base of an orthogonal projection does not count.
    pub fn num_trained(&self) -> usize {
        self.units.iter().map(ReftUnit::num_trained).fold(0, usize::saturating_add)
    }
}

/// An intervention that cannot be built or applied.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum ReftError {
    /// A rank of 0 would change nothing.
    #[error("r must be at least 1, found 0: an intervention of rank 0 changes nothing")]
    ZeroRank,
    /// No positions to intervene on.
    #[error(
        "prefix_positions and suffix_positions are both 0: name at least one position to intervene on, as in \
         prefix_positions=3"
    )]
    NoPositions,
    /// More orthonormal rows than hidden states of this width allow.
    #[error(
        "orthogonality=True needs a rank below the width of the hidden states, found r={r} for a width of \
         {hidden_size}: lower r, or set orthogonality=False"
    )]
    OrthogonalRank {
        /// The rank.
        r: usize,
        /// The width of the hidden states.
        hidden_size: usize,
    },
    /// Stored reflectors whose signs are lost.
    #[error(
        "the stored projection is broken: the diagonal of `original` must be 1 or -1, found {found} in row {row}. \
         PyTorch's weight decay causes this, and PyTorch then treats the row as 0: train it again without weight \
         decay, or call Orthogonal::with_whole_signs to use the nearest sign"
    )]
    BrokenSign {
        /// The row.
        row: usize,
        /// The element on the diagonal.
        found: f32,
    },
}
