//! The heads for masked language modeling of BERT and its relatives.

use burn_adapters_core::Activation;

use crate::BertFamily;
use crate::plan::{LinearPlan, NormPlan, OutputPlan, TransformPlan};

/// The names of a head in files.
pub(in crate::families) struct MaskedHead {
    /// The linear layer before the non-linearity.
    pub(in crate::families) dense: &'static str,
    /// The norm after it.
    pub(in crate::families) norm: &'static str,
    /// The last linear layer.
    pub(in crate::families) decoder: &'static str,
    /// Its bias, under any of these names.
    pub(in crate::families) bias: &'static [&'static str],
}

pub(in crate::families) const BERT_HEAD: MaskedHead = MaskedHead {
    dense: "cls.predictions.transform.dense",
    norm: "cls.predictions.transform.LayerNorm",
    decoder: "cls.predictions.decoder",
    bias: &["cls.predictions.bias", "cls.predictions.decoder.bias"],
};

pub(in crate::families) const ROBERTA_HEAD: MaskedHead = MaskedHead {
    dense: "lm_head.dense",
    norm: "lm_head.layer_norm",
    decoder: "lm_head.decoder",
    bias: &["lm_head.bias", "lm_head.decoder.bias"],
};

const ELECTRA_HEAD: MaskedHead = MaskedHead {
    dense: "generator_predictions.dense",
    norm: "generator_predictions.LayerNorm",
    decoder: "generator_lm_head",
    bias: &["generator_lm_head.bias"],
};

impl MaskedHead {
    /// The plan, for a vocabulary, the hidden size and the width of the embeddings.
    pub(in crate::families) fn plan(
        &self,
        [vocabulary, hidden, embedding]: [usize; 3],
        activation: Activation,
        epsilon: f64,
        is_tied: bool,
    ) -> OutputPlan {
        let transform = TransformPlan {
            dense: LinearPlan::new(self.dense, hidden, embedding),
            activation,
            norm: NormPlan::new(self.norm, embedding, epsilon),
        };
        OutputPlan::new(self.decoder, [vocabulary, embedding], is_tied).masked(transform, self.bias)
    }
}

impl BertFamily {
    /// The names of the family's head, and its activation where no key sets it.
    pub(super) fn masked_head(self) -> (MaskedHead, Option<Activation>) {
        match self {
            Self::Bert => (BERT_HEAD, None),
            Self::Roberta | Self::XlmRoberta => (ROBERTA_HEAD, Some(Activation::Gelu)),
            Self::Electra => (ELECTRA_HEAD, Some(Activation::Gelu)),
        }
    }
}
