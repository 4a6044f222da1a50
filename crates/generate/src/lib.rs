//! Generation of text by decoders and encoder-decoders with adapters.
//!
//! [`generate`] continues each row of a batch token by token, with a cache of keys and values. It chooses the most
//! probable token, [samples](Sampling), or runs a [beam search](Strategy::Beams). Every adapter method works, and so
//! does a routed batch, in which each row has its own adapter. Tokens can be streamed as they are chosen.
//!
//! The tokens of a row do not depend on the other rows of its batch, with two exceptions. Sampling draws different
//! numbers for each position in the batch. A gate, as in UniPELT, is a mean over the padded row: with prompts of different
//! lengths, it depends on the padding, as in the reference.
//!
//! [`GrowingText`] is for servers: texts of any adapters that grow together, and join and leave the batch between steps.
//!
//! ```
//! use burn::tensor::Device;
//! use burn_adapters_generate::{GenerationOptions, StopReason, generate};
//! use burn_adapters_model::{Forward, Hooks, TokenBatch};
//! use burn_adapters_transformers::{AutoModel, ModelConfig};
//!
//! let config = ModelConfig::from_json_str(
//!     r#"{"model_type": "gpt2", "vocab_size": 50, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 32}"#,
//! )?;
//! let model = AutoModel::new_seeded(&config, 7, &Device::default());
//! let logits = |states| Ok(model.token_logits(states)?);
//! let prompts = TokenBatch::new([[5, 6, 7].as_slice(), &[8]]);
//! let options = GenerationOptions::greedy().with_max_new_tokens(4);
//! let texts = generate(&model, &Hooks::none(), &prompts, &logits, &options)?;
//! assert_eq!(texts[0].ids.len(), 4);
//! assert_eq!(texts[0].stopped, StopReason::MaxNewTokens);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod beams;
mod choose;
mod decoder;
mod error;
mod growing;
mod heads;
mod options;
mod rows;
mod stops;

use burn::tensor::Tensor;
use burn_adapters_model::{BaseModel, Hooks, TokenBatch};

pub use choose::log_softmax;
pub use error::{GenerateError, LogitsError};
pub use growing::GrowingText;
pub use heads::head_logits;
pub use options::{GenerationOptions, Sampling, Strategy};
pub use rows::{Flow, Generated, StopReason, TokenChooser};
pub use stops::Stops;

use crate::decoder::Decoder;

/// Computes the logits of the next token, `[rows, vocabulary]`, from the states of the last tokens, `[rows, hidden]`.
pub type Logits<'l> = dyn Fn(Tensor<2>) -> Result<Tensor<2>, LogitsError> + 'l;

/// Continues every row of a batch.
///
/// For an encoder-decoder model, the rows are the encoder's. The decoder begins with the decoder rows of the batch or,
/// if it has none, with the model's [start](BaseModel::decoder_start).
///
/// # Errors
/// If an option is out of range, the model or an adapter fails, or logits are NaN or infinite.
pub fn generate(
    model: &dyn BaseModel,
    hooks: &Hooks<'_>,
    prompts: &TokenBatch,
    logits: &Logits<'_>,
    options: &GenerationOptions,
) -> Result<Vec<Generated>, GenerateError> {
    generate_with(model, hooks, prompts, logits, options, &mut |_, _| Flow::Continue)
}

/// [`generate`] with a callback that receives the row and each new token. If it returns [`Flow::Stop`], the row ends
/// with this token. Beam search calls it when all rows are finished, with the tokens of the best sequences.
///
/// # Errors
/// As [`generate`].
pub fn generate_with(
    model: &dyn BaseModel,
    hooks: &Hooks<'_>,
    prompts: &TokenBatch,
    logits: &Logits<'_>,
    options: &GenerationOptions,
    on_token: &mut dyn FnMut(usize, u32) -> Flow,
) -> Result<Vec<Generated>, GenerateError> {
    options.check()?;
    let decoder = Decoder::new(model, hooks, prompts, logits)?;
    match options.strategy {
        Strategy::Beams { count, length_penalty } => beams::generate(decoder, options, count, length_penalty, on_token),
        Strategy::Greedy => rows::generate(decoder, options, None, on_token),
        Strategy::Sample(sampling) => rows::generate(decoder, options, Some(sampling), on_token),
    }
}
