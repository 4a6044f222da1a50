//! What a pass lets one see of its inside.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use burn_adapters_core::Site;

/// The gate's values by adapter and site; each tensor is `[batch, 1, gates]`.
pub type GateScores = BTreeMap<String, BTreeMap<Site, Tensor<3>>>;

/// AdapterFusion's attention by fusion and site; each tensor is `[batch, sequence, fused adapters]`.
pub type FusionAttention = BTreeMap<String, BTreeMap<Site, Tensor<3>>>;

/// What a pass observed, as far as its [`Setup`](crate::Setup) asked for it.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// The values of the gates.
    pub gates: GateScores,
    /// The attention of the fusions.
    pub fusions: FusionAttention,
}
