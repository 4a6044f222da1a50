//! AdapterHub's names of a family's modules, as data.
//!
//! A tensor of an adapter is called `bert.` + `encoder.layer.0.` + `attention.self.query` + `.loras.reviews.lora_A`: the
//! base model within the class with heads, the layer, the site within the layer, and what the method adds. [`SiteNames`]
//! holds the first three; the methods' own names belong to the crate that reads and writes files.

use crate::{Place, Site, StackKind};

/// The module that a site is in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SiteName {
    /// A module of its own: `attention.self.query`.
    Whole(&'static str),
    /// One of `of` matrices of the same width that one module computes: query, key and value in GPT-2's `attn.c_attn`.
    /// An adapter's file holds the tensors of those matrices that it adapts as one, in order of `index`.
    Part {
        /// The module.
        module: &'static str,
        /// The position among the module's matrices, from 0.
        index: usize,
        /// The number of the module's matrices.
        of: usize,
    },
}

impl SiteName {
    /// The module, without the path of its layer.
    pub const fn module(self) -> &'static str {
        match self {
            SiteName::Whole(module) | SiteName::Part { module, .. } => module,
        }
    }
}

/// The attention module at [`Place::Attention`] or [`Place::CrossAttention`], where prefixes and their gates are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttentionNames {
    /// [`Place::Attention`] or [`Place::CrossAttention`].
    pub place: Place,
    /// The module within the layer: `attention.self`. Empty for the layer itself.
    pub module: &'static str,
    /// The key of the prefixes in the pool, where it is not the usual one of this kind of attention (`encoder_prefix`,
    /// `self_prefix` or `cross_prefix`).
    pub prefix_key: Option<&'static str>,
}

/// The names of a stack of layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StackNames {
    /// Encoder or decoder.
    pub kind: StackKind,
    /// The path of the model that holds the stack and a pool of prefixes, within the base model: `decoder.bert` where an
    /// encoder and a decoder are models of their own. Empty for the base model itself.
    pub root: &'static str,
    /// The path of a layer below the root, with `{}` for its number: `encoder.layer.{}`. Layers that are numbered within
    /// groups have two: `encoder.albert_layer_groups.{}.albert_layers.{}`.
    pub layer: &'static str,
    /// The module at each place within a layer. Bottlenecks hang below that of the sublayer's end
    /// ([`Place::Attention`], [`Place::CrossAttention`], [`Place::FeedForward`]), interventions below [`Place::Layer`].
    pub places: &'static [(Place, SiteName)],
    /// The attention modules of a layer.
    pub attentions: &'static [AttentionNames],
}

/// AdapterHub's names of the modules of a model family.
///
/// ```
/// use burn_adapters_core::{Place, Site, SiteNames, SiteName, StackKind, StackNames};
///
/// const NAMES: SiteNames = SiteNames {
///     model_class: Some("DistilBertAdapterModel"),
///     prefix: Some("distilbert"),
///     stacks: &[StackNames {
///         kind: StackKind::Encoder,
///         root: "",
///         layer: "transformer.layer.{}",
///         places: &[
///             (Place::Query, SiteName::Whole("attention.q_lin")),
///             (Place::FeedForward, SiteName::Whole("output_adapters")),
///         ],
///         attentions: &[],
///     }],
///     ..SiteNames::OWN
/// };
/// let query = Site::encoder(3, Place::Query);
/// assert_eq!(NAMES.module(query).as_deref(), Some("transformer.layer.3.attention.q_lin"));
/// assert_eq!(NAMES.module(Site::encoder(3, Place::Key)), None);
/// let tensor = "distilbert.transformer.layer.3.attention.q_lin.loras.reviews.lora_A";
/// assert_eq!(NAMES.layer_of(tensor), Some((StackKind::Encoder, 3)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SiteNames {
    /// The Python class with heads (`BertAdapterModel`), which is written into files.
    pub model_class: Option<&'static str>,
    /// The name of the base model within that class (`bert`); the names of all tensors start with it.
    pub prefix: Option<&'static str>,
    /// The stacks.
    pub stacks: &'static [StackNames],
    /// The number of layers in a group, where layers are numbered within groups.
    pub layers_per_group: usize,
    /// The module of a layer that computes query, key and value interleaved by head, if AdapterHub's library applies LoRA
    /// and (IA)³ to it as if they were one after the other. Its files are converted to adapters of the three places; what
    /// is written has the names of those, which the library does not read.
    pub fused_by_head: Option<&'static str>,
    /// The models that hold the invertible adapter, within the base model; empty for the base model itself. With more
    /// than one, files hold it under each.
    pub invertible: &'static [&'static str],
    /// The entries of the reference's plug-in interface (`adapter_interface.json`), which it saves with an adapter; empty for
    /// families with code of their own there.
    pub interface: &'static [(&'static str, &'static str)],
    /// The models that hold the parameters that the modules of an adapter share (Compacter, VeRA), like `invertible`.
    pub shared_parameters: &'static [&'static str],
}

impl SiteNames {
    /// Names for a model that AdapterHub does not have: `encoder.layer.0.query`.
    pub const OWN: SiteNames = SiteNames {
        model_class: None,
        prefix: None,
        stacks: &[own(StackKind::Encoder, "encoder.layer.{}"), own(StackKind::Decoder, "decoder.layer.{}")],
        layers_per_group: 1,
        fused_by_head: None,
        invertible: &[""],
        interface: &[],
        shared_parameters: &[""],
    };

    /// The names of a stack, if the family has it.
    pub fn stack(&self, kind: StackKind) -> Option<&StackNames> {
        self.stacks.iter().find(|stack| stack.kind == kind)
    }

    /// The name of a site within its layer, if the family has it.
    pub fn site(&self, site: Site) -> Option<SiteName> {
        let mut places = self.stack(site.stack)?.places.iter();
        places.find(|(place, _)| *place == site.place).map(|(_, name)| *name)
    }

    /// The name in llama.cpp of the module that computes a site's matrix: that of the place, or `attn_qkv` for query, key and value
    /// in one. `None` if llama.cpp has none, or the family lacks the site.
    pub fn llama_cpp_name(&self, site: Site) -> Option<&'static str> {
        match (self.site(site)?, site.place) {
            (SiteName::Whole(_), place) => place.llama_cpp_name(),
            (SiteName::Part { of: 3, .. }, Place::Query | Place::Key | Place::Value) => Some("attn_qkv"),
            (SiteName::Part { .. }, _) => None,
        }
    }

    /// The path of the module at a site, without the prefix. Sites that are parts of one module have the same.
    pub fn module(&self, site: Site) -> Option<String> {
        Some(join_path(&self.layer(site)?, self.site(site)?.module()))
    }

    /// The path of the attention module at [`Place::Attention`] or [`Place::CrossAttention`], without the prefix, and its
    /// entry.
    pub fn attention(&self, site: Site) -> Option<(String, AttentionNames)> {
        let mut attentions = self.stack(site.stack)?.attentions.iter();
        let names = attentions.find(|names| names.place == site.place)?;
        Some((join_path(&self.layer(site)?, names.module), *names))
    }

    /// A tensor's name in a file of the class with heads.
    pub fn prefixed(&self, name: &str) -> String {
        join_path(self.prefix.unwrap_or_default(), name)
    }

    /// The stack and the layer of a tensor, from its name with or without the prefix; `None` for parameters outside of the
    /// layers.
    pub fn layer_of(&self, name: &str) -> Option<(StackKind, usize)> {
        let base = self.prefix.and_then(|prefix| below(name, prefix)).unwrap_or(name);
        self.stacks.iter().find_map(|stack| {
            let numbers = numbers(stack.layer, below(base, stack.root)?)?;
            let layer = match numbers.as_slice() {
                [layer] => *layer,
                [group, layer] if *layer < self.layers_per_group => {
                    group.checked_mul(self.layers_per_group)?.checked_add(*layer)?
                }
                _ => return None,
            };
            Some((stack.kind, layer))
        })
    }

    /// The path of a site's layer, without the prefix.
    fn layer(&self, site: Site) -> Option<String> {
        let stack = self.stack(site.stack)?;
        let groups = self.layers_per_group.max(1);
        let path = match stack.layer.matches(NUMBER).count() {
            1 => stack.layer.replacen(NUMBER, &site.layer.to_string(), 1),
            _ => (stack.layer.replacen(NUMBER, &(site.layer / groups).to_string(), 1)).replacen(
                NUMBER,
                &(site.layer % groups).to_string(),
                1,
            ),
        };
        Some(join_path(stack.root, &path))
    }
}

impl Default for SiteNames {
    fn default() -> Self {
        Self::OWN
    }
}

/// A number in a pattern.
const NUMBER: &str = "{}";

/// A path below another; either may be empty.
pub fn join_path(above: &str, below: &str) -> String {
    match (above, below) {
        ("", path) | (path, "") => path.to_owned(),
        (above, below) => format!("{above}.{below}"),
    }
}

/// The part of a path below a module.
fn below<'a>(path: &'a str, module: &str) -> Option<&'a str> {
    if module.is_empty() { Some(path) } else { path.strip_prefix(module)?.strip_prefix('.') }
}

/// The numbers in a path that starts with a pattern.
fn numbers(pattern: &str, path: &str) -> Option<Vec<usize>> {
    let mut parts = path.split('.');
    let mut numbers = Vec::new();
    for expected in pattern.split('.') {
        let found = parts.next()?;
        if expected != NUMBER {
            if found != expected {
                return None;
            }
        } else if found.bytes().all(|byte| byte.is_ascii_digit()) {
            numbers.push(found.parse().ok()?);
        } else {
            return None;
        }
    }
    Some(numbers)
}

/// Every place under its own name.
const OWN_PLACES: [(Place, SiteName); Place::ALL.len()] = {
    let mut places = [(Place::Query, SiteName::Whole("")); Place::ALL.len()];
    let mut index = 0;
    while index < places.len() {
        let place = Place::ALL[index];
        places[index] = (place, SiteName::Whole(place.name()));
        index += 1;
    }
    places
};

const fn own(kind: StackKind, layer: &'static str) -> StackNames {
    const ATTENTIONS: &[AttentionNames] = &[
        AttentionNames { place: Place::Attention, module: "", prefix_key: None },
        AttentionNames { place: Place::CrossAttention, module: "cross_attention", prefix_key: None },
    ];
    StackNames { kind, root: "", layer, places: &OWN_PLACES, attentions: ATTENTIONS }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUPED: SiteNames = SiteNames {
        prefix: Some("albert"),
        stacks: &[StackNames {
            kind: StackKind::Encoder,
            root: "",
            layer: "encoder.groups.{}.layers.{}",
            places: &[(Place::FeedForwardUp, SiteName::Whole("ffn"))],
            attentions: &[AttentionNames { place: Place::Attention, module: "attention", prefix_key: None }],
        }],
        layers_per_group: 2,
        ..SiteNames::OWN
    };

    const TWO_MODELS: SiteNames = SiteNames {
        stacks: &[
            StackNames {
                kind: StackKind::Encoder,
                root: "encoder",
                layer: "encoder.layer.{}",
                places: &[(Place::Query, SiteName::Whole("attention.self.query"))],
                attentions: &[],
            },
            StackNames {
                kind: StackKind::Decoder,
                root: "decoder.transformer",
                layer: "h.{}",
                places: &[(Place::Query, SiteName::Part { module: "attn.c_attn", index: 0, of: 3 })],
                attentions: &[AttentionNames { place: Place::Attention, module: "attn", prefix_key: Some("own") }],
            },
        ],
        ..SiteNames::OWN
    };

    #[test]
    fn a_model_of_ones_own_is_named_after_our_places() {
        let names = SiteNames::default();
        let site = Site::decoder(3, Place::FeedForwardUp);
        assert_eq!(names.module(site).as_deref(), Some("decoder.layer.3.feed_forward_up"));
        assert_eq!(names.prefixed("x"), "x");
        assert_eq!(names.layer_of("decoder.layer.3.query.loras.a.lora_A"), Some((StackKind::Decoder, 3)));
        let attention = |place| names.attention(Site::decoder(1, place)).map(|(module, _)| module);
        assert_eq!(attention(Place::Attention).as_deref(), Some("decoder.layer.1"));
        assert_eq!(attention(Place::CrossAttention).as_deref(), Some("decoder.layer.1.cross_attention"));
        assert_eq!(attention(Place::Query), None);
    }

    #[test]
    fn layers_in_groups_have_two_numbers() {
        let module = GROUPED.module(Site::encoder(5, Place::FeedForwardUp));
        assert_eq!(module.as_deref(), Some("encoder.groups.2.layers.1.ffn"));
        for prefix in ["", "albert."] {
            let layer = |name: &str| GROUPED.layer_of(&format!("{prefix}{name}")).map(|(_, layer)| layer);
            assert_eq!(layer("encoder.groups.2.layers.1.ffn.loras.a.lora_A"), Some(5));
            assert_eq!(layer("encoder.groups.2.layers.2.ffn.loras.a.lora_A"), None, "a group has two layers");
            assert_eq!(layer("encoder.groups.2"), None);
            assert_eq!(layer(&format!("encoder.groups.{}.layers.1", usize::MAX)), None, "a number that overflows");
        }
    }

    #[test]
    fn stacks_of_models_of_their_own_are_told_apart() {
        let module = |site| TWO_MODELS.module(site);
        assert_eq!(
            module(Site::encoder(0, Place::Query)).as_deref(),
            Some("encoder.encoder.layer.0.attention.self.query")
        );
        assert_eq!(module(Site::decoder(1, Place::Query)).as_deref(), Some("decoder.transformer.h.1.attn.c_attn"));
        let layer = |name| TWO_MODELS.layer_of(name);
        assert_eq!(layer("encoder.encoder.layer.4.output.adapters.7.scaling"), Some((StackKind::Encoder, 4)));
        assert_eq!(layer("decoder.transformer.h.1.attn.c_attn.loras.0.lora_A"), Some((StackKind::Decoder, 1)));
        let beside =
            ["decoder.h.1.attn", "encoder.invertible_adapters.3.F.0.weight", "", "h.1", "encoder.encoder.layer.+4"];
        assert!(beside.into_iter().all(|name| layer(name).is_none()));
        let attention = TWO_MODELS.attention(Site::decoder(2, Place::Attention));
        assert_eq!(attention.map(|(_, names)| names.prefix_key), Some(Some("own")));
    }
}
