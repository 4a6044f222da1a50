//! The base model, as training sees it.

use burn::tensor::{Device, Tensor};
use burn_adapters_model::Hooks;
use burn_adapters_transformers::{Batch, Bert};

use crate::{BoxError, TokenBatch};

/// What a base model gives for a batch.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// The hidden states: `[batch, sequence, hidden]`.
    pub hidden: Tensor<3>,
    /// The pooled output, where the model has one: `[batch, hidden]`.
    pub pooled: Option<Tensor<2>>,
}

/// A base model that reads tokens and calls the hooks of adapters.
///
/// Implemented for [`Bert`], and a few lines for any other. The model is never changed: it can stay on a plain device
/// while adapters on an autodiff one are trained.
pub trait TextEncoder {
    /// Runs the model on a batch.
    ///
    /// # Errors
    /// If the model cannot read the batch: it is too long, a token is unknown to it.
    fn encode(&self, batch: &TokenBatch<'_>, hooks: &Hooks<'_>) -> Result<Encoded, BoxError>;

    /// Where the model is.
    fn device(&self) -> Device;
}

impl TextEncoder for Bert {
    fn encode(&self, batch: &TokenBatch<'_>, hooks: &Hooks<'_>) -> Result<Encoded, BoxError> {
        let pad = self.config().pad_token_id as u32;
        let input = Batch::from_rows(batch.rows().iter().copied(), pad, &Bert::device(self));
        let output = self.forward(input, hooks)?;
        Ok(Encoded { hidden: output.hidden, pooled: output.pooled })
    }

    fn device(&self) -> Device {
        Bert::device(self)
    }
}

impl<E: TextEncoder + ?Sized> TextEncoder for &E {
    fn encode(&self, batch: &TokenBatch<'_>, hooks: &Hooks<'_>) -> Result<Encoded, BoxError> {
        (**self).encode(batch, hooks)
    }

    fn device(&self) -> Device {
        (**self).device()
    }
}
