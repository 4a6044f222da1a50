//! The interventions of a layer.

use burn::module::Module;
use burn::tensor::{Bool, Device, IndexingUpdateOp, Tensor};
use burn_adapters_config::{ReftConfig, ReftLayers};
use burn_adapters_core::{Init, Mode};

use crate::positions::End;
use crate::{Positions, ReftError, ReftUnit};

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
