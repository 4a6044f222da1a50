//! Word, position and token-type embeddings.

use burn::module::Module;
use burn::nn::{Embedding, LayerNorm, Linear};
use burn::tensor::{Int, Tensor, TensorData};
use burn_adapters_core::{Norm, NormWithEpsilon, project};
use burn_adapters_model::Hooks;

use crate::weights::Source;
use crate::{BertConfig, BertInput, LoadError};

/// The sum of three embeddings, its norm, and ELECTRA's projection to the hidden size.
#[derive(Module, Debug)]
pub(crate) struct Embeddings {
    words: Embedding,
    positions: Embedding,
    token_types: Embedding,
    norm: LayerNorm,
    projection: Option<Linear>,
    epsilon: f64,
    dropout: f64,
    pad_token_id: usize,
    first_position: usize,
}

impl Embeddings {
    pub(crate) fn build(config: &BertConfig, source: &mut impl Source) -> Result<Self, LoadError> {
        let (size, std) = (config.embedding_size, config.initializer_range);
        let projection = config
            .projects_embeddings()
            .then(|| source.linear("embeddings_project", [size, config.hidden_size], std))
            .transpose()?;
        Ok(Self {
            words: source.embedding("embeddings.word_embeddings", [config.vocab_size, size], std)?,
            positions: source.embedding(
                "embeddings.position_embeddings",
                [config.max_position_embeddings, size],
                std,
            )?,
            token_types: source.embedding("embeddings.token_type_embeddings", [config.type_vocab_size, size], std)?,
            norm: source.layer_norm("embeddings.LayerNorm", size, config.layer_norm_eps)?,
            projection,
            epsilon: config.layer_norm_eps,
            dropout: config.hidden_dropout_prob,
            pad_token_id: config.pad_token_id,
            first_position: config.first_position(),
        })
    }

    /// Where the model is.
    pub(crate) fn device(&self) -> burn::tensor::Device {
        self.words.weight.lazy_device()
    }

    /// The word embeddings of these tokens, all of which must be in the vocabulary: `[tokens, embedding]`.
    pub(crate) fn of_words(&self, ids: &[u32]) -> Tensor<2> {
        let ids: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
        let ids = Tensor::<1, Int>::from_data(TensorData::new(ids.clone(), [ids.len()]), &self.device());
        self.words.weight.val().select(0, ids)
    }

    /// # Shapes
    /// - output: `[batch, sequence, embedding]`
    pub(crate) fn forward(&self, input: &BertInput, hooks: &Hooks) -> Tensor<3> {
        let positions = self.positions(input);
        let types = match &input.token_type_ids {
            Some(ids) => self.token_types.forward(ids.clone()),
            None => self.token_types.weight.val().narrow(0, 0, 1).unsqueeze(),
        };
        // The two may both be one row for the whole batch: added first, they cost one sum over the batch, not two.
        let sum = self.words.forward(input.input_ids.clone()) + (positions + types);
        hooks.dropout(self.dropout, NormWithEpsilon { norm: &self.norm, epsilon: self.epsilon }.norm(sum))
    }

    /// From the width of the embeddings to that of the layers.
    pub(crate) fn project(&self, embeddings: Tensor<3>) -> Tensor<3> {
        match &self.projection {
            Some(projection) => project(projection, embeddings),
            None => embeddings,
        }
    }

    /// `[batch or 1, sequence, embedding]`.
    fn positions(&self, input: &BertInput) -> Tensor<3> {
        match &input.position_ids {
            Some(ids) => self.positions.forward(ids.clone()),
            None if self.first_position > 0 => self.positions.forward(self.counted(input.input_ids.clone())),
            None => self.positions.weight.val().narrow(0, 0, input.input_ids.dims()[1]).unsqueeze(),
        }
    }

    /// RoBERTa's positions: padding tokens are all at `pad_token_id`, the others are counted from there.
    fn counted(&self, ids: Tensor<2, Int>) -> Tensor<2, Int> {
        let is_token = ids.not_equal_elem(self.pad_token_id as i64).int();
        is_token.clone().cumsum(1) * is_token + self.pad_token_id as i64
    }
}
