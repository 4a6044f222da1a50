//! The configuration of BERT and the families that share its code, as Hugging Face's `config.json` holds it.

use burn_adapters_core::{Activation, ModelSpec};
use burn_adapters_files::deserialize_unique;
use burn_adapters_model::Limits;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::layers::{BertLayers, check_supported};
use crate::fields::{Fields, parse};
use crate::plan::{Counting, EmbeddingsPlan, LinearPlan, ModelPlan, NormPlan, TablePlan};
use crate::{ModelConfig, ModelConfigError};

/// The families that share BERT's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum BertFamily {
    /// BERT (Devlin et al., 2019), and the MiniLMs.
    #[serde(rename = "bert")]
    Bert,
    /// RoBERTa (Liu et al., 2019): positions are counted from `pad_token_id + 1`.
    #[serde(rename = "roberta")]
    Roberta,
    /// XLM-RoBERTa (Conneau et al., 2020): RoBERTa's code.
    #[serde(rename = "xlm-roberta")]
    XlmRoberta,
    /// ELECTRA (Clark et al., 2020): embeddings of a width of their own, no pooler.
    #[serde(rename = "electra")]
    Electra,
}

impl BertFamily {
    /// Every family.
    pub const ALL: [BertFamily; 4] = [Self::Bert, Self::Roberta, Self::XlmRoberta, Self::Electra];

    /// The `model_type` of `config.json`.
    pub fn model_type(self) -> &'static str {
        match self {
            Self::Bert => "bert",
            Self::Roberta => "roberta",
            Self::XlmRoberta => "xlm-roberta",
            Self::Electra => "electra",
        }
    }

    /// The family of this `model_type`.
    pub fn from_model_type(model_type: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.model_type() == model_type)
    }

    /// The prefix of the base model's weights in the checkpoint of a task model.
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Self::Bert => "bert.",
            Self::Roberta | Self::XlmRoberta => "roberta.",
            Self::Electra => "electra.",
        }
    }

    /// Whether models of this family have a pooler over the first position.
    pub(crate) fn has_pooler(self) -> bool {
        self != Self::Electra
    }

    /// Whether padding takes no position, and the others are counted from `pad_token_id + 1`.
    pub(crate) fn counts_positions(self) -> bool {
        matches!(self, Self::Roberta | Self::XlmRoberta)
    }

    fn default_pad_token_id(self) -> usize {
        if self.counts_positions() { 1 } else { 0 }
    }
}

/// The configuration of a BERT-shaped encoder; the fields are named as the keys of `config.json`.
///
/// ```
/// use burn_adapters_transformers::BertConfig;
///
/// let config = BertConfig::new(30_522, 768, 12, 12, 3072);
/// assert_eq!(config.spec().parameters, 109_482_240); // bert-base-uncased
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct BertConfig {
    /// The family.
    #[serde(rename = "model_type")]
    pub family: BertFamily,
    /// The number of tokens.
    pub vocab_size: usize,
    /// The width of the embeddings: the hidden size, except for ELECTRA.
    pub embedding_size: usize,
    /// The width of the hidden states.
    pub hidden_size: usize,
    /// The number of layers.
    pub num_hidden_layers: usize,
    /// The number of attention heads.
    pub num_attention_heads: usize,
    /// The width of the feed-forward block.
    pub intermediate_size: usize,
    /// The non-linearity of the feed-forward block.
    pub hidden_act: Activation,
    /// Dropout after the embeddings and after each dense layer.
    pub hidden_dropout_prob: f64,
    /// Dropout on the attention probabilities.
    pub attention_probs_dropout_prob: f64,
    /// Dropout of a prediction head; `None` uses that of the hidden states.
    pub classifier_dropout: Option<f64>,
    /// The number of position embeddings.
    pub max_position_embeddings: usize,
    /// The number of token types.
    pub type_vocab_size: usize,
    /// The standard deviation of new weights.
    pub initializer_range: f64,
    /// The epsilon of the layer norms.
    pub layer_norm_eps: f64,
    /// The padding token.
    pub pad_token_id: usize,
    /// Whether the matrix of the language model's output layer is the table of word embeddings.
    pub tie_word_embeddings: bool,
}

impl BertConfig {
    /// A BERT of these sizes, with the other settings of bert-base-uncased.
    pub fn new(
        vocab_size: usize,
        hidden_size: usize,
        num_hidden_layers: usize,
        num_attention_heads: usize,
        intermediate_size: usize,
    ) -> Self {
        Self {
            family: BertFamily::Bert,
            vocab_size,
            embedding_size: hidden_size,
            hidden_size,
            num_hidden_layers,
            num_attention_heads,
            intermediate_size,
            hidden_act: Activation::Gelu,
            hidden_dropout_prob: 0.1,
            attention_probs_dropout_prob: 0.1,
            classifier_dropout: None,
            max_position_embeddings: 512,
            type_vocab_size: 2,
            initializer_range: 0.02,
            layer_norm_eps: 1e-12,
            pad_token_id: 0,
            tie_word_embeddings: true,
        }
    }

    /// Reads the text of a `config.json`.
    ///
    /// # Errors
    /// If it is not a JSON object, a key is missing or of the wrong type, or a setting is not supported.
    pub fn from_json_str(text: &str) -> Result<Self, ModelConfigError> {
        Self::from_fields(&Fields::new(&parse(text, "config.json")?, "config.json")?)
    }

    /// Reads the keys of a `config.json`.
    pub(crate) fn from_fields(fields: &Fields<'_>) -> Result<Self, ModelConfigError> {
        let model_type = fields.required_string("model_type")?;
        let family = BertFamily::from_model_type(model_type)
            .ok_or_else(|| ModelConfigError::UnknownModelType { file: fields.file(), found: model_type.to_owned() })?;
        check_supported(fields)?;
        let hidden_size = fields.size("hidden_size")?;
        let embedding_size = match family {
            BertFamily::Electra => fields.size("embedding_size")?,
            _ => hidden_size,
        };
        let config = Self {
            family,
            vocab_size: fields.size("vocab_size")?,
            embedding_size,
            hidden_size,
            num_hidden_layers: fields.size("num_hidden_layers")?,
            num_attention_heads: fields.size("num_attention_heads")?,
            intermediate_size: fields.size("intermediate_size")?,
            hidden_act: fields.activation("hidden_act")?,
            hidden_dropout_prob: fields.probability("hidden_dropout_prob", 0.1)?,
            attention_probs_dropout_prob: fields.probability("attention_probs_dropout_prob", 0.1)?,
            classifier_dropout: fields.optional_probability("classifier_dropout")?,
            max_position_embeddings: fields.size("max_position_embeddings")?,
            type_vocab_size: fields.optional_size("type_vocab_size")?.unwrap_or(2),
            initializer_range: fields.positive("initializer_range", 0.02)?,
            layer_norm_eps: fields.positive("layer_norm_eps", 1e-12)?,
            pad_token_id: fields.index("pad_token_id", family.default_pad_token_id())?,
            tie_word_embeddings: fields.flag_or("tie_word_embeddings", true)?,
        };
        config.check(fields)?;
        Ok(config)
    }

    fn check(&self, fields: &Fields) -> Result<(), ModelConfigError> {
        let inconsistent = |reason: String| Err(fields.inconsistent(reason));
        fields.check_layers("num_hidden_layers", self.num_hidden_layers)?;
        fields.check_heads(("hidden_size", self.hidden_size), ("num_attention_heads", self.num_attention_heads))?;
        fields.check_padding(self.pad_token_id, self.vocab_size)?;
        if self.max_sequence_length() == 0 {
            return inconsistent(format!(
                "max_position_embeddings ({}) leaves no position beside padding's, {}",
                self.max_position_embeddings, self.pad_token_id
            ));
        }
        Ok(())
    }

    /// The longest sequence, in tokens: RoBERTa's first `pad_token_id + 1` positions are never used.
    pub fn max_sequence_length(&self) -> usize {
        self.max_position_embeddings.saturating_sub(self.first_position())
    }

    /// The position of a row's first token.
    pub(crate) fn first_position(&self) -> usize {
        if self.family.counts_positions() { self.pad_token_id + 1 } else { 0 }
    }

    /// Whether the embeddings are projected to the hidden size.
    pub(crate) fn projects_embeddings(&self) -> bool {
        self.embedding_size != self.hidden_size
    }

    /// The specification that adapters are built from. Its number of parameters is that of the base model with its
    /// pooler.
    pub fn spec(&self) -> ModelSpec {
        ModelConfig::from(self).spec().clone()
    }

    /// The plan of the model.
    pub(crate) fn plan(&self) -> ModelPlan {
        let hidden = self.hidden_size;
        let embedding = |name, rows| TablePlan::new(name, rows, self.embedding_size);
        let counting = match self.family.counts_positions() {
            true => Counting::FromPadding(self.pad_token_id as u32),
            false => Counting::FromZero,
        };
        let layers = BertLayers {
            layers: self.num_hidden_layers,
            hidden,
            heads: self.num_attention_heads,
            intermediate: self.intermediate_size,
            activation: self.hidden_act,
            dropout: self.hidden_dropout_prob,
            attention_dropout: self.attention_probs_dropout_prob,
            epsilon: self.layer_norm_eps,
        };
        let embeddings = EmbeddingsPlan {
            positions: Some((embedding("embeddings.position_embeddings", self.max_position_embeddings), counting)),
            token_types: Some(embedding("embeddings.token_type_embeddings", self.type_vocab_size)),
            norm: Some(NormPlan::new("embeddings.LayerNorm", self.embedding_size, self.layer_norm_eps)),
            projection: self
                .projects_embeddings()
                .then(|| LinearPlan::new("embeddings_project", self.embedding_size, hidden)),
            dropout: self.hidden_dropout_prob,
            ..EmbeddingsPlan::new(embedding("embeddings.word_embeddings", self.vocab_size))
        };
        let limits = Limits {
            vocabulary: self.vocab_size,
            token_types: self.type_vocab_size,
            sequence: self.max_sequence_length(),
            pad_id: self.pad_token_id as u32,
        };
        let (head, activation) = self.family.masked_head();
        let sizes = [self.vocab_size, hidden, self.embedding_size];
        let activation = activation.unwrap_or(self.hidden_act);
        ModelPlan {
            output: Some(head.plan(sizes, activation, self.layer_norm_eps, self.tie_word_embeddings)),
            prefix: self.family.prefix(),
            names: self.family.names(),
            pooler: self.family.has_pooler().then(|| LinearPlan::new("pooler.dense", hidden, hidden)),
            initializer_range: self.initializer_range,
            head_epsilon: self.layer_norm_eps,
            head_dropout: self.classifier_dropout.unwrap_or(self.hidden_dropout_prob),
            ..ModelPlan::new(self.family.model_type(), limits, embeddings, layers.stack())
        }
    }
}

impl From<&BertConfig> for ModelConfig {
    fn from(config: &BertConfig) -> Self {
        Self::new(config.plan())
    }
}

impl<'de> Deserialize<'de> for BertConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(deserialize_unique(deserializer)?).map_err(D::Error::custom)
    }
}

impl TryFrom<Value> for BertConfig {
    type Error = ModelConfigError;

    fn try_from(value: Value) -> Result<Self, Self::Error> {
        Self::from_fields(&Fields::new(&value, "config.json")?)
    }
}
