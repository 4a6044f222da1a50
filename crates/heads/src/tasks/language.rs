//! Language modeling: at each token, a logit for each token of the vocabulary.
//!
//! Three types of heads of the reference share their layers and their loss. They differ in defaults, and in the token that
//! the logits of a position are for: the one there (`masked_lm`, and `seq2seq_lm`, whose decoder reads labels shifted to
//! the right), or the next one (`causal_lm`). Targets are those of the positions: [`HeadConfig::align`] shifts labels.

use burn::tensor::Tensor;
use burn_adapters_core::Reads;

use super::tagging::token_loss;
use super::{Task, no_weights, wrong_targets};
use crate::{HeadConfig, HeadError, HeadType, Logits, Targets};

/// Predicting tokens, by cross-entropy over the tokens that have a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LanguageModeling {
    name: &'static str,
    head_type: HeadType,
}

/// Masked language modeling (Devlin et al., 2019): the tokens that were masked. The reference's `masked_lm` head, by default
/// two layers with GELU and a norm between them.
pub static MASKED_LM: LanguageModeling = LanguageModeling { name: "masked-lm", head_type: MASKED };

/// Causal language modeling: the next token. The reference's `causal_lm` head, by default one layer without a bias.
pub static CAUSAL_LM: LanguageModeling = LanguageModeling { name: "causal-lm", head_type: CAUSAL };

/// Language modeling by the decoder of an encoder-decoder model. The reference's `seq2seq_lm` head, by default one layer
/// without a bias.
pub static SEQ2SEQ_LM: LanguageModeling = LanguageModeling { name: "seq2seq-lm", head_type: SEQ2SEQ };

const MASKED: HeadType = HeadType::of_language("masked_lm", &["bias", "embedding_size"], false).transformed();
const CAUSAL: HeadType = HeadType::of_language("causal_lm", &["bias", "embedding_size", "dropout_prob"], true);
const SEQ2SEQ: HeadType = HeadType::of_language("seq2seq_lm", &["bias"], false);

impl HeadConfig {
    /// A head for masked language modeling over `vocab_size` tokens, with BERT's layers.
    pub fn masked_lm(vocab_size: usize) -> Self {
        Self::new(MASKED, vocab_size)
    }

    /// A head for causal language modeling over `vocab_size` tokens: a single layer.
    pub fn causal_lm(vocab_size: usize) -> Self {
        Self::new(CAUSAL, vocab_size)
    }

    /// A head for the decoder of an encoder-decoder model, over `vocab_size` tokens: a single layer.
    pub fn seq2seq_lm(vocab_size: usize) -> Self {
        Self::new(SEQ2SEQ, vocab_size)
    }

    /// The targets of a row's positions, from the labels of its tokens: with `shift_labels`, each position has the label of
    /// the next one, and the last none.
    ///
    /// ```
    /// use burn_adapters_heads::HeadConfig;
    ///
    /// let labels = vec![Some(5), Some(6), Some(7)];
    /// assert_eq!(HeadConfig::causal_lm(10).align(labels.clone()), [Some(6), Some(7), None]);
    /// assert_eq!(HeadConfig::masked_lm(10).align(labels.clone()), labels);
    /// ```
    pub fn align(&self, mut labels: Vec<Option<usize>>) -> Vec<Option<usize>> {
        if self.shift_labels && !labels.is_empty() {
            labels.remove(0);
            labels.push(None);
        }
        labels
    }
}

impl Task for LanguageModeling {
    fn name(&self) -> &'static str {
        self.name
    }

    fn head_type(&self) -> HeadType {
        self.head_type
    }

    fn language_head(&self, tokens: usize) -> Option<HeadConfig> {
        Some(HeadConfig::new(self.head_type, tokens))
    }

    fn reads(&self, _config: &HeadConfig) -> Reads {
        Reads::Tokens
    }

    fn targets(&self) -> &'static str {
        "a token for each token of a row"
    }

    fn has_classes(&self) -> bool {
        false
    }

    fn loss(
        &self,
        config: &HeadConfig,
        logits: &Logits,
        targets: &Targets,
        weights: Option<&[f32]>,
    ) -> Result<Tensor<1>, HeadError> {
        no_weights(weights)?;
        let Targets::Tokens(_) = targets else { return Err(wrong_targets(self, targets)) };
        token_loss(self, config, logits, targets, None)
    }

    fn mass(&self, targets: &Targets, _weights: Option<&[f32]>) -> f64 {
        targets.token_classes().count() as f64
    }
}
