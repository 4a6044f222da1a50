//! The module that computes prefixes.

use burn::module::{Module, Param, ParamId};
use burn::nn::{Embedding, Linear};
use burn::tensor::{Device, Tensor};
use burn_adapters_config::{Activation, PrefixTuningConfig};
use burn_adapters_core::{Fill, Gate, Init, Mode, Site, SiteMap, activate, project};
use thiserror::Error;

use crate::{PrefixGroup, Prefixes};

/// The MLP that computes the prefixes of all blocks of a group: `act(E W₁ + b₁) W₂ + b₂`.
#[derive(Module, Debug)]
pub struct PrefixMlp {
    /// `E`, the prefix embedding: `[prefix_length, hidden]`.
    pub wte: Embedding,
    /// `[hidden] → [bottleneck_size]`.
    pub control_in: Linear,
    /// `[bottleneck_size] → [blocks · 2 · heads · head_dim]`.
    pub control_out: Linear,
    /// The activation between the two.
    #[module(skip)]
    pub non_linearity: Activation,
}

impl PrefixMlp {
    /// `P: [prefix_length, blocks · 2 · heads · head_dim]`.
    fn forward(&self) -> Tensor<2> {
        let hidden = project(&self.control_in, self.wte.weight.val());
        project(&self.control_out, activate(self.non_linearity, hidden))
    }
}

/// The source of the prefixes.
// One value per adapter: its size does not matter, and a module cannot be boxed.
#[allow(clippy::large_enum_variant)]
#[derive(Module, Debug)]
pub enum PrefixSource {
    /// An MLP computes them.
    Mlp(PrefixMlp),
    /// They are parameters themselves: `[prefix_length · blocks · 2 · heads · head_dim]`; positions are the outermost
    /// dimension.
    Flat(Param<Tensor<1>>),
}

/// The prefixes of all attention blocks of one group. See the [crate] for an example.
#[derive(Module, Debug)]
pub struct PrefixTuning {
    /// The source of the prefixes.
    pub source: PrefixSource,
    /// The gates, one per block: one value per sequence (for keys and values), or two (keys, values).
    pub gates: SiteMap<Gate>,
    /// The blocks.
    #[module(skip)]
    pub group: PrefixGroup,
    /// The number of prefix positions.
    pub prefix_length: usize,
    /// Dropout on the prefixes, drawn for each row of a batch.
    pub dropout: f64,
}

impl PrefixTuning {
    /// New prefixes for the blocks of a group.
    ///
    /// # Errors
    /// If the configuration has no prefix position or no MLP width, or the group has no blocks.
    pub fn new(
        config: &PrefixTuningConfig,
        group: PrefixGroup,
        init: &mut Init,
        device: &Device,
    ) -> Result<Self, PrefixError> {
        if config.prefix_length == 0 {
            return Err(PrefixError::ZeroLength);
        }
        if !config.flat && config.bottleneck_size == 0 {
            return Err(PrefixError::ZeroBottleneck);
        }
        if group.sites.is_empty() {
            return Err(PrefixError::NoSites { group: group.kind.name() });
        }
        let init = &mut init.for_module(config.init_weights_seed);
        let (length, hidden, width) = (config.prefix_length, group.hidden_size, group.width());
        let standard = Fill::Normal { std: 1.0 };
        let source = if config.flat {
            PrefixSource::Flat(init.param([length.saturating_mul(width)], standard, device))
        } else {
            // Both layers with PyTorch's default initialization.
            let mut linear = |input: usize, output: usize| {
                let fill = Fill::kaiming_uniform_sqrt5(input);
                init.linear([input, output], fill, Some(fill), device)
            };
            let control_in = linear(hidden, config.bottleneck_size);
            let control_out = linear(config.bottleneck_size, width);
            PrefixSource::Mlp(PrefixMlp {
                wte: Embedding { weight: init.param([length, hidden], standard, device) },
                control_in,
                control_out,
                non_linearity: config.non_linearity,
            })
        };
        let gates = group.sites.iter().filter(|_| config.use_gating).map(|site| {
            let outputs = if config.shared_gating { 1 } else { 2 };
            let (weight, bias) = (Fill::Normal { std: 0.02 }, Fill::kaiming_uniform_sqrt5(hidden));
            (*site, Gate::new(hidden, outputs, weight, bias, init, device))
        });
        Ok(Self { source, gates: gates.collect(), group, prefix_length: length, dropout: config.dropout })
    }

    /// The prefixes of a pass, for all blocks. Without an MLP nothing is computed here: the parameters are only
    /// reshaped.
    pub fn compute(&self, mode: Mode) -> Prefixes<'_> {
        let PrefixGroup { sites, heads, head_dim, .. } = &self.group;
        let shape = [self.prefix_length, sites.len() * 2, *heads, *head_dim];
        let prefixes = match &self.source {
            PrefixSource::Mlp(mlp) => mlp.forward().reshape(shape),
            PrefixSource::Flat(flat) => flat.val().reshape(shape),
        };
        // `[blocks · 2, heads, prefix_length, head_dim]`: keys and values of a block are neighbors.
        Prefixes::new(self, prefixes.permute([1, 2, 0, 3]), mode)
    }

    /// Whether the prefixes are parameters themselves, without an MLP.
    pub fn is_flat(&self) -> bool {
        matches!(self.source, PrefixSource::Flat(_))
    }

    /// Computes the prefixes once and for all and drops the MLP. Results are the same, with less work and fewer
    /// parameters to store. The prefixes are now parameters, and can be trained further. Prefixes that are flat already
    /// are unchanged.
    ///
    /// An adapter with ejected prefixes has `flat = True`: its configuration must say so when it is saved.
    #[must_use]
    pub fn eject(mut self) -> Self {
        if let PrefixSource::Mlp(mlp) = &self.source {
            let device = mlp.wte.weight.val().device();
            // Computed without autodiff, so that the MLP's graph does not stay in memory.
            let flat = mlp.valid().forward().reshape([-1]);
            let flat = if device.is_autodiff() { flat.autodiff() } else { flat };
            let flat = Param::initialized(ParamId::new(), flat);
            self.source = PrefixSource::Flat(flat.set_require_grad(true));
        }
        self
    }
}

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
