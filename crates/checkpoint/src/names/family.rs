//! Where the sites of each model family are.

use burn_adapters_core::{Place, Site};

/// The module names of a model family.
#[derive(Debug, Clone)]
pub(crate) struct Family {
    /// As Hugging Face names it.
    pub(crate) model_type: String,
    /// The name of the base model within the Python class with heads (`base_model_prefix`).
    pub(crate) prefix: Option<&'static str>,
    /// That Python class.
    pub(crate) class: Option<&'static str>,
    module: fn(Site) -> Option<String>,
}

impl Family {
    /// The family of this type. One that the Python library does not have gets names of our own.
    pub(crate) fn of(model_type: &str) -> Self {
        let bert_like = |prefix, class| (Some(prefix), Some(class), bert as fn(Site) -> Option<String>);
        let (prefix, class, module) = match model_type {
            "bert" => bert_like("bert", "BertAdapterModel"),
            "roberta" => bert_like("roberta", "RobertaAdapterModel"),
            // Not `xlm-roberta`: the adapter classes call it as RoBERTa's.
            "xlm-roberta" => bert_like("roberta", "XLMRobertaAdapterModel"),
            "electra" => bert_like("electra", "ElectraAdapterModel"),
            _ => (None, None, own as fn(Site) -> Option<String>),
        };
        Self { model_type: model_type.to_owned(), prefix, class, module }
    }

    /// The module at a site, without the prefix.
    pub(crate) fn module(&self, site: Site) -> Option<String> {
        (self.module)(site)
    }

    /// The attention module whose sublayer's end or keys and values this site is, without the prefix.
    pub(crate) fn attention(&self, site: Site) -> Option<String> {
        let query = match site.place {
            Place::Attention => Place::Query,
            Place::CrossAttention => Place::CrossQuery,
            _ => return None,
        };
        let module = self.module(Site { place: query, ..site })?;
        module.rsplit_once('.').map(|(attention, _)| attention.to_owned())
    }

    /// A tensor's name in a file of the class with heads.
    pub(crate) fn prefixed(&self, name: &str) -> String {
        match self.prefix {
            Some(prefix) => format!("{prefix}.{name}"),
            None => name.to_owned(),
        }
    }
}

fn bert(site: Site) -> Option<String> {
    let module = match site.place {
        Place::Query => "attention.self.query",
        Place::Key => "attention.self.key",
        Place::Value => "attention.self.value",
        Place::CrossQuery => "crossattention.self.query",
        Place::CrossKey => "crossattention.self.key",
        Place::CrossValue => "crossattention.self.value",
        Place::FeedForwardUp => "intermediate.dense",
        Place::FeedForwardDown => "output.dense",
        Place::Attention => "attention.output",
        Place::CrossAttention => "crossattention.output",
        Place::FeedForward => "output",
        Place::Layer => "reft_layer",
        _ => return None,
    };
    // A BERT that decodes calls its stack the encoder too.
    Some(format!("encoder.layer.{}.{module}", site.layer))
}

fn own(site: Site) -> Option<String> {
    Some(format!("{}.layer.{}.{}", site.stack.name(), site.layer, site.place.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_has_the_name_of_its_family() {
        let site = Site::encoder(3, Place::FeedForwardUp);
        assert_eq!(Family::of("bert").module(site).as_deref(), Some("encoder.layer.3.intermediate.dense"));
        assert_eq!(Family::of("mine").module(site).as_deref(), Some("encoder.layer.3.feed_forward_up"));
        assert_eq!(Family::of("xlm-roberta").prefixed("x"), "roberta.x");
        assert_eq!(Family::of("mine").prefixed("x"), "x");
    }
}
