//! The prefixes of a pass, and how attention uses them.

use burn::tensor::{Bool, Tensor};
use burn_adapters_core::{Mode, Site};

use crate::{PrefixError, PrefixTuning};

/// The keys and values of an attention block.
#[derive(Debug, Clone)]
pub struct Attended {
    /// `[batch, heads, keys, head_dim]`.
    pub keys: Tensor<4>,
    /// `[batch, heads, keys, head_dim]`.
    pub values: Tensor<4>,
    /// True where a key must not be attended to: `[1 or batch, 1, 1 or queries, keys]`.
    pub mask: Option<Tensor<4, Bool>>,
}

/// The result of [`Prefixes::extend`].
#[derive(Debug, Clone)]
pub struct Extended {
    /// The keys and values after `prefix_length` new ones.
    pub attended: Attended,
    /// The gate: `[batch, 1, 1]` if keys and values share it, else `[batch, 1, 2]` (keys, values).
    pub gate: Option<Tensor<3>>,
}

/// The prefixes of one pass: computed once by [`PrefixTuning::compute`], used in every attention block.
#[derive(Debug, Clone)]
pub struct Prefixes<'a> {
    tuning: &'a PrefixTuning,
    /// `[blocks · 2, heads, prefix_length, head_dim]`.
    prefixes: Tensor<4>,
    mode: Mode,
}

impl<'a> Prefixes<'a> {
    pub(crate) fn new(tuning: &'a PrefixTuning, prefixes: Tensor<4>, mode: Mode) -> Self {
        Self { tuning, prefixes, mode }
    }

    /// Whether a block has a prefix.
    pub fn has(&self, site: Site) -> bool {
        self.tuning.group.sites.contains(&site)
    }

    /// The prefixes' keys and values at one block, before gate and dropout.
    ///
    /// # Shapes
    /// - keys, values: `[heads, prefix_length, head_dim]`
    ///
    /// # Errors
    /// If the block has no prefix.
    pub fn at(&self, site: Site) -> Result<[Tensor<3>; 2], PrefixError> {
        let group = &self.tuning.group;
        let Some(index) = group.sites.iter().position(|other| *other == site) else {
            let sites: Vec<_> = group.sites.iter().map(Site::to_string).collect();
            return Err(PrefixError::UnknownSite { site, sites: sites.join(", ") });
        };
        let part = |index: usize| self.prefixes.clone().narrow(0, index, 1).squeeze_dim(0);
        Ok([part(2 * index), part(2 * index + 1)])
    }

    /// Prepends the block's prefix to its keys and values, the same for each row of the batch; the mask lets every
    /// query attend to it.
    ///
    /// # Shapes
    /// - layer_input: the hidden states that the attention block was called with, `[batch, sequence, hidden]`; only
    ///   gates read them
    ///
    /// # Errors
    /// If the block has no prefix, the heads of its keys differ from the prefix's, or a gate has no input to read.
    pub fn extend(
        &self,
        site: Site,
        attended: Attended,
        layer_input: Option<&Tensor<3>>,
    ) -> Result<Extended, PrefixError> {
        let [keys, values] = self.at(site)?;
        let [batch, found_heads, _, found_head_dim] = attended.keys.dims();
        let [heads, length, head_dim] = keys.dims();
        if [found_heads, found_head_dim] != [heads, head_dim] {
            return Err(PrefixError::Heads {
                site,
                expected_heads: heads,
                expected_head_dim: head_dim,
                found_heads,
                found_head_dim,
            });
        }
        let expand = |prefix: Tensor<3>| {
            let prefix = prefix.unsqueeze::<4>().expand([batch, heads, length, head_dim]);
            self.mode.dropout(self.tuning.dropout, prefix)
        };
        let (mut keys, mut values) = (expand(keys), expand(values));
        let gate = match (self.tuning.gates.get(&site), layer_input) {
            (None, _) => None,
            (Some(_), None) => return Err(PrefixError::GateWithoutInput { site }),
            (Some(gate), Some(input)) => Some(gate.forward(input.clone())),
        };
        if let Some(gate) = &gate {
            let [batch, _, outputs] = gate.dims();
            let part = |index| gate.clone().narrow(2, index, 1).reshape([batch, 1, 1, 1]);
            keys = keys * part(0);
            values = values * part(outputs - 1);
        }
        let mask = attended.mask.map(|mask| {
            let [rows, _, queries, _] = mask.dims();
            let open = Tensor::<4, Bool>::full([rows, 1, queries, length], false, &mask.device());
            Tensor::cat(vec![open, mask], 3)
        });
        Ok(Extended {
            attended: Attended {
                keys: Tensor::cat(vec![keys, attended.keys], 2),
                values: Tensor::cat(vec![values, attended.values], 2),
                mask,
            },
            gate,
        })
    }
}
