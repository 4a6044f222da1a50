//! Conflicts between the methods of a union, and validation against the number of layers.

use crate::check::Finding;
use crate::problem::ProblemKind;
use crate::{AdapterConfig, ConfigError, LoraConfig, MethodConfig, ReductionFactor, ReftLayers};

/// A problem of a method of the union, by the method's index, and the key if it is about an attribute.
pub(crate) struct Located {
    pub(crate) method: usize,
    pub(crate) key: Option<&'static str>,
    pub(crate) kind: ProblemKind,
}

impl AdapterConfig {
    /// Reports every pair that cannot be combined on any model, by the reference's rules.
    pub(crate) fn clashes(&self) -> Vec<Located> {
        let mut found = Vec::new();
        for (index, second) in self.methods.iter().enumerate() {
            // One report per method is enough.
            let clash = self.methods[..index].iter().find_map(|first| Some((first, clash(first, second)?)));
            if let Some((first, reason)) = clash {
                let kind = ProblemKind::Clash { first: first.to_string(), second: second.to_string(), reason };
                found.push(Located { method: index, key: None, kind });
            }
        }
        found
    }

    /// Checks that the configuration fits a model with this many layers: each layer that it names exists, at least one
    /// layer is adapted, a `reduction_factor` map covers every adapted layer, and no two methods of a union adapt the
    /// same site.
    ///
    /// ```
    /// # use burn_adapters_config::AdapterConfig;
    /// let config: AdapterConfig = "seq_bn[leave_out=[0,1]]|seq_bn[leave_out=[2,3]]".parse()?;
    /// assert!(config.check_layers(4).is_ok());
    /// assert!(config.check_layers(5).is_err()); // both would adapt layer 4
    /// # Ok::<(), burn_adapters_config::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// All problems at once. Problems on every model are reported when reading and by [`validate`](Self::validate).
    pub fn check_layers(&self, layers: usize) -> Result<(), ConfigError> {
        let mut found = Vec::new();
        for (index, method) in self.methods.iter().enumerate() {
            let problems = method.misfits(layers).into_iter();
            found.extend(problems.map(|(key, kind)| Located { method: index, key: Some(key), kind }));
            let conflict = self.methods[..index].iter().find_map(|first| {
                let layer = (0..layers).find(|layer| first.adapts(*layer) && method.adapts(*layer))?;
                Some(ProblemKind::SiteConflict {
                    first: first.to_string(),
                    second: method.to_string(),
                    place: meeting_place(first, method)?,
                    layer,
                })
            });
            found.extend(conflict.map(|kind| Located { method: index, key: None, kind }));
        }
        self.located(found)
    }
}

/// The reason why two methods can never be combined.
fn clash(first: &MethodConfig, second: &MethodConfig) -> Option<&'static str> {
    use MethodConfig::{Bottleneck, Lora, PrefixTuning, PromptTuning, Reft};
    let undecided = !first.leave_out().is_empty() || !second.leave_out().is_empty();
    match (first, second) {
        (Bottleneck(a), Bottleneck(b)) => {
            if a.inv_adapter.is_some() && b.inv_adapter.is_some() {
                return Some("both have an invertible adapter after the embeddings");
            }
            let apart = a.mh_adapter != b.mh_adapter
                && a.output_adapter != b.output_adapter
                && !(a.cross_adapter && b.cross_adapter);
            (!undecided && !apart).then_some("both are bottleneck adapters at the same place of a layer")
        }
        (Lora(a), Lora(b)) => {
            let meet = a.mtl.is_some() == b.mtl.is_some() || shared_matrices(a, b).is_some();
            (!undecided && meet).then_some("both are LoRA or derived from it")
        }
        (PrefixTuning(_), PrefixTuning(_)) => Some("both are prefix tuning"),
        (PromptTuning(_), PromptTuning(_)) => Some("both are prompt tuning"),
        (Reft(_), Reft(_)) => Some("both are ReFT"),
        _ => None,
    }
}

fn shared_matrices(a: &LoraConfig, b: &LoraConfig) -> Option<&'static str> {
    if a.selfattn_lora && b.selfattn_lora {
        Some("the attention matrices")
    } else if a.intermediate_lora && b.intermediate_lora {
        Some("the first feed-forward matrix")
    } else if a.output_lora && b.output_lora {
        Some("the second feed-forward matrix")
    } else if a.gate_lora && b.gate_lora {
        Some("the gate of the feed-forward block")
    } else {
        None
    }
}

/// The place that two methods share if they adapt the same layer.
fn meeting_place(first: &MethodConfig, second: &MethodConfig) -> Option<&'static str> {
    match (first, second) {
        (MethodConfig::Bottleneck(a), MethodConfig::Bottleneck(b)) => {
            if a.mh_adapter && b.mh_adapter {
                Some("the attention block")
            } else if a.output_adapter && b.output_adapter {
                Some("the feed-forward block")
            } else if a.cross_adapter && b.cross_adapter {
                Some("the cross-attention block")
            } else {
                None
            }
        }
        (MethodConfig::Lora(a), MethodConfig::Lora(b)) => shared_matrices(a, b),
        _ => None,
    }
}

impl MethodConfig {
    /// The layers that the method leaves out.
    pub fn leave_out(&self) -> &[usize] {
        match self {
            Self::Bottleneck(config) => &config.leave_out,
            Self::Lora(config) => &config.leave_out,
            Self::PrefixTuning(config) => &config.leave_out,
            Self::PromptTuning(_) | Self::Reft(_) => &[],
        }
    }

    /// Whether the method may adapt this layer.
    pub fn adapts(&self, layer: usize) -> bool {
        match self {
            Self::PromptTuning(_) => false,
            Self::Reft(config) => match &config.layers {
                ReftLayers::All => true,
                ReftLayers::Some(layers) => layers.contains(&layer),
            },
            _ => !self.leave_out().contains(&layer),
        }
    }

    fn misfits(&self, layers: usize) -> Vec<Finding> {
        let (key, named) = match self {
            Self::Reft(config) => match &config.layers {
                ReftLayers::All => ("layers", &[][..]),
                ReftLayers::Some(named) => ("layers", named.as_slice()),
            },
            _ => ("leave_out", self.leave_out()),
        };
        let mut found = Vec::new();
        if let Some(&layer) = named.iter().find(|layer| **layer >= layers) {
            found.push((key, ProblemKind::NoSuchLayer { key, layer, layers }));
        }
        let mut adapted = (0..layers).filter(|layer| self.adapts(*layer)).peekable();
        match self {
            Self::PromptTuning(_) => {}
            Self::Bottleneck(config) if config.inv_adapter.is_some() => {}
            _ if adapted.peek().is_none() && found.is_empty() => {
                found.push((key, ProblemKind::EveryLayerLeftOut { key, layers }));
            }
            _ => {}
        }
        if let Self::Bottleneck(config) = self
            && let ReductionFactor::PerLayer { .. } = config.reduction_factor
            && let Some(layer) = adapted.find(|layer| config.reduction_factor.at(*layer).is_none())
        {
            found.push(("reduction_factor", ProblemKind::NoReductionFactor { layer }));
        }
        found
    }
}
