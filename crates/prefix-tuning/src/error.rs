//! What can be wrong with prefix tuning.

use burn_adapters_core::Site;
use thiserror::Error;

/// A prefix that cannot be built or applied.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum PrefixError {
    /// A prefix without positions.
    #[error("prefix_length must be at least 1, found 0: a prefix of no positions trains nothing")]
    ZeroLength,
    /// The MLP has no hidden units.
    #[error(
        "bottleneck_size must be at least 1, found 0: it is the width of the MLP that makes the prefixes; use flat=True \
         to train them without an MLP"
    )]
    ZeroBottleneck,
    /// A group without attention blocks.
    #[error("the group {group} has no attention blocks: leave_out names all of its layers, or the model has none")]
    NoSites {
        /// The group's name.
        group: &'static str,
    },
    /// An attention block without a prefix.
    #[error("no prefix at {site}; this group has prefixes at {sites}")]
    UnknownSite {
        /// The block asked for.
        site: Site,
        /// The blocks there are, joined by commas.
        sites: String,
    },
    /// The keys have other heads than the prefix.
    #[error(
        "the prefix at {site} is for {expected_heads} heads of width {expected_head_dim}, the keys have {found_heads} of \
         {found_head_dim}"
    )]
    Heads {
        /// The attention block.
        site: Site,
        /// The prefix's heads.
        expected_heads: usize,
        /// The width of one.
        expected_head_dim: usize,
        /// The heads of the keys.
        found_heads: usize,
        /// The width of one.
        found_head_dim: usize,
    },
    /// Gated, but nothing for the gate to read.
    #[error(
        "the prefix at {site} has a gate (use_gating=True), which reads the layer's input: pass the hidden states that \
         the attention block was called with"
    )]
    GateWithoutInput {
        /// The attention block.
        site: Site,
    },
}
