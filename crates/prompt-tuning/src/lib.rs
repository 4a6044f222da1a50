//! Prompt tuning: trained embeddings in the input sequence (Lester et al., 2021, <https://arxiv.org/abs/2104.08691>).
//!
//! With `p` prompt positions and the input embeddings `X: [sequence, embedding]`, the model runs on `[P; X]` (or `[x₁;
//! P; x₂…]`) with a trained `P: [p, embedding]`; nothing else is trained.
//!
//! The prompt is inserted *after* the embedding layer, including its position embeddings, norm and dropout. So the
//! prompt has no position embeddings, and the tokens keep theirs. From there on, every sequence is `p` positions
//! longer. A head that reads the first position (BERT's pooler, say) reads the first position of the prompt, unless the
//! prompt is put after the first token; per-token outputs start `p` positions later.
//!
//! The crate can be used on its own: any Burn module can hold a [`PromptTuning`] after its embedding layer.
//!
//! ```
//! use burn::module::Module;
//! use burn::nn::{Embedding, EmbeddingConfig};
//! use burn::tensor::{Bool, Device, Int, Tensor};
//! use burn_adapters_config::PromptTuningConfig;
//! use burn_adapters_core::Init;
//! use burn_adapters_prompt_tuning::{PromptError, PromptTuning};
//!
//! #[derive(Module, Debug)]
//! struct Embedded {
//!     embedding: Embedding,
//!     prompt: PromptTuning,
//! }
//!
//! impl Embedded {
//!     fn forward(&self, tokens: Tensor<2, Int>, padding: Tensor<2, Bool>) -> Result<Tensor<3>, PromptError> {
//!         let (embeddings, _padding) = self.prompt.forward(self.embedding.forward(tokens), padding)?;
//!         Ok(embeddings)
//!     }
//! }
//!
//! let device = Device::default();
//! let embedded = Embedded {
//!     embedding: EmbeddingConfig::new(100, 16).init(&device),
//!     prompt: PromptTuning::new(&PromptTuningConfig::prompt_tuning(), 16, &mut Init::from_seed(1), &device)?,
//! };
//! let tokens = Tensor::zeros([2, 5], &device);
//! let padding = Tensor::full([2, 5], false, &device);
//! assert_eq!(embedded.forward(tokens, padding)?.dims(), [2, 10 + 5, 16]);
//! # Ok::<(), PromptError>(())
//! ```

mod prompt;

pub use prompt::{PromptError, PromptTuning};
