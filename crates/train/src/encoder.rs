//! The base model, as training sees it.

use burn::tensor::{Device, Tensor};
use burn_adapters_model::Hooks;
use burn_adapters_transformers::{Batch, Bert, BertOutput};

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

    /// As [`encode`](Self::encode), for heads, which read the pooled output or the first of the hidden states: the others
    /// need not be there. Unless a model has a cheaper way, this is `encode`.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    fn encode_first(&self, batch: &TokenBatch<'_>, hooks: &Hooks<'_>) -> Result<Encoded, BoxError> {
        self.encode(batch, hooks)
    }

    /// Where the model is.
    fn device(&self) -> Device;
}

impl TextEncoder for Bert {
    fn encode(&self, batch: &TokenBatch<'_>, hooks: &Hooks<'_>) -> Result<Encoded, BoxError> {
        Ok(self.forward(input(self, batch), hooks)?.into())
    }

    fn encode_first(&self, batch: &TokenBatch<'_>, hooks: &Hooks<'_>) -> Result<Encoded, BoxError> {
        Ok(self.forward_first(input(self, batch), hooks)?.into())
    }

    fn device(&self) -> Device {
        Bert::device(self)
    }
}

fn input(bert: &Bert, batch: &TokenBatch<'_>) -> Batch {
    Batch::from_rows(batch.rows().iter().copied(), bert.config().pad_token_id as u32, &Bert::device(bert))
}

impl From<BertOutput> for Encoded {
    fn from(output: BertOutput) -> Self {
        Self { hidden: output.hidden, pooled: output.pooled }
    }
}

impl<E: TextEncoder + ?Sized> TextEncoder for &E {
    fn encode(&self, batch: &TokenBatch<'_>, hooks: &Hooks<'_>) -> Result<Encoded, BoxError> {
        (**self).encode(batch, hooks)
    }

    fn encode_first(&self, batch: &TokenBatch<'_>, hooks: &Hooks<'_>) -> Result<Encoded, BoxError> {
        (**self).encode_first(batch, hooks)
    }

    fn device(&self) -> Device {
        (**self).device()
    }
}
