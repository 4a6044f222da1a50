//! AdapterHub's names of the modules of BERT and the families that share its code.

use burn_adapters_core::SiteName::Whole;
use burn_adapters_core::{AttentionNames, Place, SiteName, SiteNames, StackKind, StackNames};

use crate::BertFamily;
use crate::families::encoder_decoder::CrossNames;

impl BertFamily {
    /// The names of the family's modules in the files of adapters.
    pub fn names(self) -> SiteNames {
        let (prefix, model_class) = match self {
            Self::Bert => ("bert", "BertAdapterModel"),
            Self::Roberta => ("roberta", "RobertaAdapterModel"),
            // The adapter classes call the base model as RoBERTa's.
            Self::XlmRoberta => ("roberta", "XLMRobertaAdapterModel"),
            Self::Electra => ("electra", "ElectraAdapterModel"),
        };
        SiteNames { model_class: Some(model_class), prefix: Some(prefix), ..NAMES }
    }
}

/// BERT's, without class and prefix.
pub(in crate::families) const NAMES: SiteNames = SiteNames {
    stacks: &[StackNames {
        kind: StackKind::Encoder,
        root: "",
        layer: "encoder.layer.{}",
        places: &places(["attention.self.query", "attention.self.key", "attention.self.value"]),
        attentions: &[AttentionNames { place: Place::Attention, module: "attention.self", prefix_key: None }],
    }],
    ..SiteNames::OWN
};

/// Those of cross-attention in a decoder.
pub(in crate::families) const CROSS_NAMES: CrossNames = CrossNames {
    module: "crossattention.self",
    places: &[
        (Place::CrossQuery, Whole("crossattention.self.query")),
        (Place::CrossKey, Whole("crossattention.self.key")),
        (Place::CrossValue, Whole("crossattention.self.value")),
        (Place::CrossAttentionOutput, Whole("crossattention.output.dense")),
        (Place::CrossAttention, Whole("crossattention.output")),
    ],
};

/// The places of a layer, whose query, key and value may have other names.
pub(in crate::families) const fn places([query, key, value]: [&'static str; 3]) -> [(Place, SiteName); 9] {
    [
        (Place::Query, Whole(query)),
        (Place::Key, Whole(key)),
        (Place::Value, Whole(value)),
        (Place::AttentionOutput, Whole("attention.output.dense")),
        (Place::FeedForwardUp, Whole("intermediate.dense")),
        (Place::FeedForwardDown, Whole("output.dense")),
        (Place::Attention, Whole("attention.output")),
        (Place::FeedForward, Whole("output")),
        (Place::Layer, Whole("reft_layer")),
    ]
}

#[cfg(test)]
mod tests {
    use burn_adapters_core::Site;

    use super::*;

    #[test]
    fn a_site_has_the_name_of_its_family() {
        let names = BertFamily::XlmRoberta.names();
        let module = |place| names.module(Site::encoder(3, place)).map(|module| names.prefixed(&module));
        assert_eq!(module(Place::FeedForwardUp).as_deref(), Some("roberta.encoder.layer.3.intermediate.dense"));
        assert_eq!(module(Place::FeedForwardGate), None, "it has no gate");
        let layer = names.layer_of("roberta.encoder.layer.3.output.adapters.0.adapter_up.bias");
        assert_eq!(layer, Some((StackKind::Encoder, 3)));
    }
}
