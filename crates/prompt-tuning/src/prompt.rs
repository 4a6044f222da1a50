//! The prompt module.

use burn::module::{Module, Param, ParamId};
use burn::nn::Embedding;
use burn::tensor::{Bool, Device, Tensor};
use burn_adapters_config::{PromptCombine, PromptInit, PromptTuningConfig};
use burn_adapters_core::{Fill, Init};
use thiserror::Error;

/// A trained prompt. See the [crate] for an example.
#[derive(Module, Debug)]
pub struct PromptTuning {
    /// `[prompt_length, embedding]`.
    pub prompt_embedding: Embedding,
    /// Where the prompt goes.
    #[module(skip)]
    pub combine: PromptCombine,
}

impl PromptTuning {
    /// A new prompt for embeddings of this width, drawn uniformly from `[-random_uniform_scale, random_uniform_scale]`.
    ///
    /// # Errors
    /// If the prompt has no positions, or is to be initialized from a text: see
    /// [`from_embeddings`](Self::from_embeddings).
    pub fn new(
        config: &PromptTuningConfig,
        embedding_size: usize,
        init: &mut Init,
        device: &Device,
    ) -> Result<Self, PromptError> {
        if config.prompt_init == PromptInit::FromString {
            return Err(PromptError::NeedsEmbeddings);
        }
        Self::for_loading(config, embedding_size, init, device)
    }

    /// A prompt whose values will be read from a file, or set otherwise, whatever `prompt_init` is. Until then it has
    /// the values that [`new`](Self::new) draws.
    ///
    /// # Errors
    /// If the prompt has no positions.
    pub fn for_loading(
        config: &PromptTuningConfig,
        embedding_size: usize,
        init: &mut Init,
        device: &Device,
    ) -> Result<Self, PromptError> {
        if config.prompt_length == 0 {
            return Err(PromptError::ZeroLength);
        }
        let init = &mut init.for_module(config.init_weights_seed);
        let bound = config.random_uniform_scale;
        let weight = init.param([config.prompt_length, embedding_size], Fill::Uniform { bound }, device);
        Ok(Self { prompt_embedding: Embedding { weight }, combine: config.combine })
    }

    /// A prompt that starts as the embeddings of a text's tokens, repeated if the text is shorter than the prompt,
    /// truncated if it is longer. The tokens are those that the tokenizer returns for a sequence (special tokens
    /// included); the embeddings are the model's plain word embeddings.
    ///
    /// # Shapes
    /// - text: `[tokens, embedding]`
    ///
    /// # Errors
    /// If the prompt has no positions, or the text no tokens.
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use burn_adapters_config::PromptTuningConfig;
    /// use burn_adapters_prompt_tuning::PromptTuning;
    ///
    /// let device = Device::default();
    /// let text = Tensor::<2>::from_data([[1.0, 2.0], [3.0, 4.0]], &device); // two tokens
    /// let config = PromptTuningConfig::prompt_tuning().with_prompt_length(3);
    /// let prompt = PromptTuning::from_embeddings(&config, text, &device)?;
    /// let values = prompt.prompt_embedding.weight.val().into_data();
    /// assert_eq!(values.iter::<f32>().collect::<Vec<_>>(), [1.0, 2.0, 3.0, 4.0, 1.0, 2.0]);
    /// # Ok::<(), burn_adapters_prompt_tuning::PromptError>(())
    /// ```
    pub fn from_embeddings(config: &PromptTuningConfig, text: Tensor<2>, device: &Device) -> Result<Self, PromptError> {
        if config.prompt_length == 0 {
            return Err(PromptError::ZeroLength);
        }
        let [tokens, _] = text.dims();
        if tokens == 0 {
            return Err(PromptError::EmptyText);
        }
        let repeated = text.repeat_dim(0, config.prompt_length.div_ceil(tokens));
        let values = repeated.narrow(0, 0, config.prompt_length).into_data();
        let weight = Param::initialized(ParamId::new(), Tensor::from_data(values, device)).set_require_grad(true);
        Ok(Self { prompt_embedding: Embedding { weight }, combine: config.combine })
    }

    /// The number of prompt positions.
    pub fn length(&self) -> usize {
        let [length, _] = self.prompt_embedding.weight.lazy_shape().dims();
        length
    }

    /// Inserts the prompt into each row of a batch. Prompt positions are not padding; all other positions keep their
    /// mask. (In rows whose first token is padding, [`PromptCombine::PrefixAfterBos`] shifts the mask by one position,
    /// as in the reference: pad on the right.)
    ///
    /// # Shapes
    /// - embeddings: `[batch, sequence, embedding]`; out: `[batch, prompt_length + sequence, embedding]`
    /// - padding: true where a position is padding, `[batch, sequence]`; out: `[batch, prompt_length + sequence]`
    ///
    /// # Errors
    /// If the embeddings have another width, or there is no first token to put the prompt after.
    pub fn forward(
        &self,
        embeddings: Tensor<3>,
        padding: Tensor<2, Bool>,
    ) -> Result<(Tensor<3>, Tensor<2, Bool>), PromptError> {
        let [batch, sequence, found] = embeddings.dims();
        let [length, expected] = self.prompt_embedding.weight.lazy_shape().dims();
        if found != expected {
            return Err(PromptError::Width { expected, found });
        }
        let prompt = self.prompt_embedding.weight.val();
        let prompt = prompt.unsqueeze::<3>().expand([batch, length, expected]);
        let open = Tensor::full([batch, length], false, &padding.device());
        match self.combine {
            PromptCombine::Prefix => {
                Ok((Tensor::cat(vec![prompt, embeddings], 1), Tensor::cat(vec![open, padding], 1)))
            }
            PromptCombine::PrefixAfterBos => {
                if sequence == 0 {
                    return Err(PromptError::NoFirstToken);
                }
                let mut embedded = vec![embeddings.clone().narrow(1, 0, 1), prompt];
                if sequence > 1 {
                    embedded.push(embeddings.narrow(1, 1, sequence - 1));
                }
                // As in the reference, the mask grows at its front even if the prompt goes after the first token. The
                // result is the same, unless the first token is padding.
                Ok((Tensor::cat(embedded, 1), Tensor::cat(vec![open, padding], 1)))
            }
        }
    }
}

/// A prompt that cannot be built or used.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum PromptError {
    /// A prompt without positions.
    #[error("prompt_length must be at least 1, found 0: an empty prompt trains nothing")]
    ZeroLength,
    /// A prompt from a text needs the text's embeddings.
    #[error(
        "prompt_init='from_string' starts from the embeddings of prompt_init_text: tokenize the text, look its tokens up \
         in the model's embedding and call PromptTuning::from_embeddings, or use prompt_init='random_uniform'"
    )]
    NeedsEmbeddings,
    /// The text has no tokens.
    #[error("the prompt's text has no tokens: prompt_init='from_string' needs at least one")]
    EmptyText,
    /// The width of the model's embeddings differs from the prompt's.
    #[error("the prompt has the width {expected}, but the embeddings have {found}")]
    Width {
        /// The prompt's width.
        expected: usize,
        /// The embeddings' width.
        found: usize,
    },
    /// There is no first token to put the prompt after.
    #[error(
        "combine='prefix_after_bos' puts the prompt after the first token, but the sequences are empty: pass at least \
         one token, or use combine='prefix'"
    )]
    NoFirstToken,
}
