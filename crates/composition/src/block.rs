//! The kinds of blocks, and how they nest.

use std::fmt;

/// The kind of a composition block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Block {
    /// One adapter after the other.
    Stack,
    /// AdapterFusion: attention over the outputs of several adapters (Pfeiffer et al. 2021, arXiv 2005.00247).
    Fuse,
    /// Each adapter processes a part of the sequence.
    Split,
    /// Each adapter processes some rows of the batch.
    BatchSplit,
    /// Each adapter processes the whole batch, which is repeated for it (Rücklé et al. 2021, arXiv 2010.11918).
    Parallel,
    /// The weighted average of the adapters' outputs (Wang et al. 2021, arXiv 2109.04877).
    Average,
    /// Each row of the batch has its own adapter.
    Route,
}

impl Block {
    /// Every kind.
    pub const ALL: [Self; 7] =
        [Self::Stack, Self::Fuse, Self::Split, Self::BatchSplit, Self::Parallel, Self::Average, Self::Route];

    /// The kind's name in texts and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stack => "Stack",
            Self::Fuse => "Fuse",
            Self::Split => "Split",
            Self::BatchSplit => "BatchSplit",
            Self::Parallel => "Parallel",
            Self::Average => "Average",
            Self::Route => "Route",
        }
    }

    /// The kind with this name; case matters.
    ///
    /// ```
    /// use burn_adapters_composition::Block;
    ///
    /// assert_eq!(Block::of_name("BatchSplit"), Some(Block::BatchSplit));
    /// assert_eq!(Block::of_name("batchsplit"), None);
    /// ```
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|block| block.name() == name)
    }

    /// The blocks that may be direct children of this one, besides adapters. The table is the reference's, with one
    /// addition: a `Route` is allowed wherever its rows are the rows of the whole batch.
    ///
    /// ```
    /// use burn_adapters_composition::Block;
    ///
    /// assert_eq!(Block::Fuse.allowed(), [Block::Stack]);
    /// ```
    pub const fn allowed(self) -> &'static [Self] {
        match self {
            Self::Stack => &[Self::Fuse, Self::Split, Self::Parallel, Self::BatchSplit, Self::Average, Self::Route],
            Self::Fuse => &[Self::Stack],
            Self::Split => &[Self::Split, Self::Stack, Self::BatchSplit, Self::Average, Self::Route],
            Self::Parallel => &[Self::Stack, Self::BatchSplit, Self::Average, Self::Route],
            Self::BatchSplit => &[Self::Stack, Self::Split, Self::BatchSplit, Self::Average],
            Self::Average => &[Self::Stack, Self::Split, Self::BatchSplit, Self::Route],
            Self::Route => &[],
        }
    }

    /// The names of the block's arguments, as in `splits=[64, 64]`.
    pub(crate) const fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Fuse => &["name"],
            Self::Split => &["splits"],
            Self::BatchSplit => &["batch_sizes"],
            Self::Average => &["weights", "normalize_weights"],
            Self::Stack | Self::Parallel | Self::Route => &[],
        }
    }

    /// The argument that the block requires.
    pub(crate) const fn required(self) -> Option<&'static str> {
        match self {
            Self::Split => Some("splits"),
            Self::BatchSplit => Some("batch_sizes"),
            _ => None,
        }
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
