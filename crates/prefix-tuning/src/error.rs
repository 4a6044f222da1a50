//! Errors of prefix tuning.

use burn_adapters_core::Site;
use thiserror::Error;

/// A prefix that cannot be built or applied.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum PrefixError {
    /// A prefix without positions.
    #[error("prefix_length must be at least 1, found 0: an empty prefix trains nothing")]
    ZeroLength,
    /// The MLP has no hidden units.
    #[error(
        "bottleneck_size must be at least 1, found 0: it is the width of the prefix MLP; use flat=True \
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
        /// The requested block.
        site: Site,
        /// The blocks with a prefix, joined by commas.
        sites: String,
    },
    /// The heads of the keys differ from those of the prefix.
    #[error(
        "the prefix at {site} is for {expected_heads} heads of width {expected_head_dim}, but the keys have \
         {found_heads} heads of width {found_head_dim}"
    )]
    Heads {
        /// The attention block.
        site: Site,
        /// The prefix's heads.
        expected_heads: usize,
        /// The width of each.
        expected_head_dim: usize,
        /// The heads of the keys.
        found_heads: usize,
        /// The width of each.
        found_head_dim: usize,
    },
    /// A gate without an input to read.
    #[error(
        "the prefix at {site} has a gate (use_gating=True), which reads the layer's input: pass the hidden states that \
         the attention block was called with"
    )]
    GateWithoutInput {
        /// The attention block.
        site: Site,
    },
}
