//! Padding, as attention needs it.

use burn::tensor::{Bool, Device, Tensor, TensorData};
use burn_adapters_core::TokenSpan;

/// The padding of a batch: `None` if there is none.
pub(super) struct Mask(Option<Tensor<4, Bool>>);

impl Mask {
    pub(super) fn new(tokens: &[TokenSpan], sequence: usize, device: &Device) -> Self {
        let is_padded = tokens.iter().any(|span| span.start > 0 || span.end() < sequence);
        Self(is_padded.then(|| {
            let rows = tokens.len();
            padding_of(tokens, sequence, &device.clone().without_autodiff()).reshape([rows, 1, 1, sequence])
        }))
    }

    /// True where a key is padding: `[rows, 1, 1, keys]`.
    pub(super) fn tensor(&self) -> Option<Tensor<4, Bool>> {
        self.0.clone()
    }
}

/// True where a position is padding: `[rows, sequence]`.
pub(crate) fn padding_of(tokens: &[TokenSpan], sequence: usize, device: &Device) -> Tensor<2, Bool> {
    let values: Vec<bool> =
        tokens.iter().flat_map(|span| (0..sequence).map(|position| span.is_padding(position))).collect();
    Tensor::from_data(TensorData::new(values, [tokens.len(), sequence]), device)
}

/// True where a key comes after a query: `[1, 1, queries, keys]`. The first `before` keys come before all queries.
pub(super) fn causal(queries: usize, keys: usize, before: usize, device: &Device) -> Tensor<4, Bool> {
    let values: Vec<bool> = (0..queries).flat_map(|query| (0..keys).map(move |key| key > before + query)).collect();
    Tensor::from_data(TensorData::new(values, [1, 1, queries, keys]), device)
}
