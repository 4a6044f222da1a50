//! Values observed inside a pass.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use burn_adapters_core::Site;

/// Gate values by adapter and site; each tensor is `[batch, 1, gates]`.
pub type GateScores = BTreeMap<String, BTreeMap<Site, Tensor<3>>>;

/// Attention of AdapterFusion by fusion and site; each tensor is `[batch, sequence, fused adapters]`.
pub type FusionAttention = BTreeMap<String, BTreeMap<Site, Tensor<3>>>;

/// The values that passes observed, if the [`Setup`](crate::Setup) requested them.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// The gate values.
    pub gates: GateScores,
    /// The attention of the fusions over their adapters.
    pub fusions: FusionAttention,
}
