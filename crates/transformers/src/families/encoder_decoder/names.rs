//! AdapterHub's names of the modules of a pair: those of its two models, each below a path of its own.

use std::collections::HashMap;
use std::sync::Mutex;

use burn_adapters_core::{AttentionNames, Place, SiteName, SiteNames, StackKind, StackNames, join_path};

/// The names of cross-attention in a family's layers.
pub(in crate::families) struct CrossNames {
    /// The attention module.
    pub(in crate::families) module: &'static str,
    /// The places that adapters act on.
    pub(in crate::families) places: &'static [(Place, SiteName)],
}

/// The Python classes of an encoder and a decoder, by which their names are known.
type Classes = [Option<&'static str>; 2];

/// The names of a pair. They are made once for each two families, and live as long as the program.
pub(super) fn of_pair(encoder: &SiteNames, decoder: &SiteNames, cross: &CrossNames) -> SiteNames {
    static KNOWN: Mutex<Option<HashMap<Classes, SiteNames>>> = Mutex::new(None);
    // Nothing panics while it is locked.
    let mut known = KNOWN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let classes = [encoder.model_class, decoder.model_class];
    *known.get_or_insert_default().entry(classes).or_insert_with(|| make(encoder, decoder, cross))
}

fn make(encoder: &SiteNames, decoder: &SiteNames, cross: &CrossNames) -> SiteNames {
    let root: &'static str = join_path("decoder", decoder.prefix.unwrap_or_default()).leak();
    let attention = AttentionNames { place: Place::CrossAttention, module: cross.module, prefix_key: None };
    let of_encoder = encoder.stacks.iter().map(|stack| StackNames {
        root: "encoder",
        attentions: self_attention(stack).collect::<Vec<_>>().leak(),
        ..*stack
    });
    let of_decoder = decoder.stacks.iter().map(|stack| StackNames {
        kind: StackKind::Decoder,
        root,
        places: [stack.places, cross.places].concat().leak(),
        attentions: self_attention(stack).chain([attention]).collect::<Vec<_>>().leak(),
        ..*stack
    });
    SiteNames {
        model_class: Some("EncoderDecoderModelWithAdapters"),
        prefix: None,
        stacks: of_encoder.chain(of_decoder).collect::<Vec<_>>().leak(),
        invertible: vec!["encoder", root, ""].leak(),
        interface: &[],
        shared_parameters: vec!["encoder", root].leak(),
        ..*encoder
    }
}

/// Self-attention, with the key that it has in a model of one stack.
fn self_attention(stack: &StackNames) -> impl Iterator<Item = AttentionNames> + '_ {
    let own = stack.attentions.iter().filter(|names| names.place == Place::Attention);
    own.map(|names| AttentionNames { prefix_key: names.prefix_key.or(Some("self_prefix")), ..*names })
}
