//! Groups of attention blocks that share one set of parameters.

use std::fmt;

use burn_adapters_config::PrefixTuningConfig;
use burn_adapters_core::{ModelSpec, Place, Site, StackKind};

/// The kinds of attention with prefixes of their own, named as in the reference's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PrefixKind {
    /// Self-attention of the encoder of an encoder-decoder model.
    Encoder,
    /// Self-attention of a decoder, or of the only stack.
    SelfAttention,
    /// Cross-attention.
    Cross,
}

impl PrefixKind {
    /// The kind of a model's attention block.
    pub fn of(site: Site, spec: &ModelSpec) -> Self {
        match (site.place, site.stack) {
            (Place::CrossAttention, _) => PrefixKind::Cross,
            (_, StackKind::Encoder) if spec.stack(StackKind::Decoder).is_some() => PrefixKind::Encoder,
            _ => PrefixKind::SelfAttention,
        }
    }

    /// `encoder_prefix`, `self_prefix` or `cross_prefix`.
    pub fn name(self) -> &'static str {
        match self {
            PrefixKind::Encoder => "encoder_prefix",
            PrefixKind::SelfAttention => "self_prefix",
            PrefixKind::Cross => "cross_prefix",
        }
    }
}

impl fmt::Display for PrefixKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The attention blocks of one kind. They share the prefix embedding and the MLP, each with its own part of the MLP's
/// output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrefixGroup {
    /// The kind of attention.
    pub kind: PrefixKind,
    /// The blocks, in the order of the MLP's outputs: the first block uses the first `2 · heads · head_dim`.
    pub sites: Vec<Site>,
    /// The width of the model's hidden states, which is also that of the prefix embedding and of the gates' input.
    pub hidden_size: usize,
    /// The number of heads of keys and values.
    pub heads: usize,
    /// The width of a head.
    pub head_dim: usize,
}

impl PrefixGroup {
    /// The non-empty groups of a model. Layers in `leave_out` have no part in the MLP's output.
    ///
    /// ```
    /// use burn_adapters_config::PrefixTuningConfig;
    /// use burn_adapters_core::{ModelSpec, Place, Site, StackSpec};
    /// use burn_adapters_prefix_tuning::{PrefixGroup, PrefixKind};
    ///
    /// let spec = ModelSpec::new("bert", 32).with_stack(StackSpec::encoder(3, 32, 4, 64));
    /// let config = PrefixTuningConfig::prefix_tuning().with_leave_out([1]);
    /// let groups = PrefixGroup::of_model(&config, &spec);
    /// assert_eq!(groups.len(), 1);
    /// assert_eq!(groups[0].kind, PrefixKind::SelfAttention);
    /// assert_eq!(groups[0].sites, [Site::encoder(0, Place::Attention), Site::encoder(2, Place::Attention)]);
    /// ```
    pub fn of_model(config: &PrefixTuningConfig, spec: &ModelSpec) -> Vec<Self> {
        let mut groups: Vec<Self> = Vec::new();
        for (site, stack) in spec.attentions() {
            let kind = PrefixKind::of(site, spec);
            let wanted = match kind {
                PrefixKind::Encoder => config.encoder_prefix || spec.is_pair,
                PrefixKind::Cross => config.cross_prefix,
                PrefixKind::SelfAttention => true,
            };
            if !wanted || config.leave_out.contains(&spec.layer_number(site)) {
                continue;
            }
            match groups.iter_mut().find(|group| group.kind == kind) {
                Some(group) => group.sites.push(site),
                None => groups.push(Self {
                    kind,
                    sites: vec![site],
                    hidden_size: stack.hidden_size,
                    heads: stack.key_value_heads,
                    head_dim: stack.head_dim,
                }),
            }
        }
        groups
    }

    /// The number of elements per prefix position: the keys and values of all blocks.
    pub fn width(&self) -> usize {
        (self.sites.len() * 2).saturating_mul(self.heads).saturating_mul(self.head_dim)
    }
}

#[cfg(test)]
mod tests {
    use burn_adapters_core::StackSpec;

    use super::*;

    fn encoder_decoder() -> ModelSpec {
        let mut decoder = StackSpec::encoder(2, 8, 2, 16);
        decoder.kind = StackKind::Decoder;
        decoder.attentions.push(Place::CrossAttention);
        ModelSpec::new("bart", 8).with_stack(StackSpec::encoder(3, 8, 2, 16)).with_stack(decoder)
    }

    #[test]
    fn an_encoder_decoder_model_has_three_groups() {
        let groups = PrefixGroup::of_model(&PrefixTuningConfig::prefix_tuning(), &encoder_decoder());
        let sizes: Vec<_> = groups.iter().map(|group| (group.kind, group.sites.len())).collect();
        assert_eq!(sizes, [(PrefixKind::Encoder, 3), (PrefixKind::SelfAttention, 2), (PrefixKind::Cross, 2)]);
    }

    #[test]
    fn encoder_and_cross_prefixes_can_be_switched_off_and_layers_are_counted_through_both_stacks() {
        let config = PrefixTuningConfig::prefix_tuning()
            .with_encoder_prefix(false)
            .with_cross_prefix(false)
            .with_leave_out([0, 3]);
        let groups = PrefixGroup::of_model(&config, &encoder_decoder());
        assert_eq!(groups.len(), 1);
        assert_eq!(groups[0].sites, [Site::decoder(1, Place::Attention)]);
    }
}
