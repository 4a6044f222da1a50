//! Representation fine-tuning (ReFT).

use crate::Activation;
use crate::macros::builders;

/// The layers that have interventions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReftLayers {
    /// Every layer.
    All,
    /// These layers (from 0).
    Some(Vec<usize>),
}

/// ReFT (Wu et al., 2024): low-rank interventions on the hidden states of selected positions. The fields have the names
/// of the reference's `ReftConfig`.
#[derive(Debug, Clone, PartialEq)]
pub struct ReftConfig {
    /// The layers with interventions.
    pub layers: ReftLayers,
    /// The number of first positions.
    pub prefix_positions: usize,
    /// The number of last positions.
    pub suffix_positions: usize,
    /// The rank of an intervention.
    pub r: usize,
    /// Keep the projection's rows orthonormal (LoReFT).
    pub orthogonality: bool,
    /// Share one intervention between first and last positions.
    pub tied_weights: bool,
    /// Subtract the projection of the input (not in DiReFT).
    pub subtract_projection: bool,
    /// Dropout on an intervention's output.
    pub dropout: f64,
    /// An activation in the intervention.
    pub non_linearity: Option<Activation>,
    /// The data type of the parameters, by the reference's name.
    pub dtype: Option<String>,
    /// Intervene on the outputs of layers.
    pub output_reft: bool,
    /// Seed of the initialization.
    pub init_weights_seed: Option<u64>,
}

impl From<Vec<usize>> for ReftLayers {
    fn from(layers: Vec<usize>) -> Self {
        Self::Some(layers)
    }
}

impl<const N: usize> From<[usize; N]> for ReftLayers {
    fn from(layers: [usize; N]) -> Self {
        Self::Some(layers.to_vec())
    }
}

impl Default for ReftConfig {
    /// [`ReftConfig::loreft`].
    fn default() -> Self {
        Self::loreft()
    }
}

impl ReftConfig {
    /// `loreft`: rank 1 on the first three positions of every layer, orthonormal rows.
    pub fn loreft() -> Self {
        Self {
            layers: ReftLayers::All,
            prefix_positions: 3,
            suffix_positions: 0,
            r: 1,
            orthogonality: true,
            tied_weights: false,
            subtract_projection: true,
            dropout: 0.05,
            non_linearity: None,
            dtype: None,
            output_reft: true,
            init_weights_seed: None,
        }
    }

    /// `noreft`: [`loreft`](Self::loreft) without orthogonality.
    pub fn noreft() -> Self {
        Self { orthogonality: false, ..Self::loreft() }
    }

    /// `direft`: [`noreft`](Self::noreft) without subtracting the projection of the input.
    pub fn direft() -> Self {
        Self { subtract_projection: false, ..Self::noreft() }
    }

    /// Sets [`dtype`](Self#structfield.dtype), one of [`DTYPES`](crate::DTYPES).
    #[must_use]
    pub fn with_dtype(mut self, dtype: impl Into<String>) -> Self {
        self.dtype = Some(dtype.into());
        self
    }
}

builders!(ReftConfig {
    with_layers layers: into (ReftLayers);
    with_prefix_positions prefix_positions: plain (usize);
    with_suffix_positions suffix_positions: plain (usize);
    with_r r: plain (usize);
    with_orthogonality orthogonality: plain (bool);
    with_tied_weights tied_weights: plain (bool);
    with_subtract_projection subtract_projection: plain (bool);
    with_dropout dropout: plain (f64);
    with_non_linearity non_linearity: into (Option<Activation>);
    with_output_reft output_reft: plain (bool);
    with_init_weights_seed init_weights_seed: into (Option<u64>);
});
