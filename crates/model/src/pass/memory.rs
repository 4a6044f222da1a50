//! The states of an encoder, which a decoder attends to.

use burn::tensor::{Bool, Device, Tensor};
use burn_adapters_core::{TokenSpan, repeated_rows, row_indices};

use super::mask::Mask;

/// The encoder's states: `[rows, positions, hidden]`, and their padding.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    pub(super) hidden: Tensor<3>,
    mask: Option<Tensor<4, Bool>>,
}

impl Memory {
    pub(super) fn new(hidden: Tensor<3>, tokens: &[TokenSpan], device: &Device) -> Self {
        let mask = Mask::new(tokens, hidden.dims()[1], false, device).tensor();
        Self { hidden, mask }
    }

    /// True where a position is padding: `[rows, 1, 1, positions]`.
    pub(super) fn mask(&self) -> Option<Tensor<4, Bool>> {
        self.mask.clone()
    }

    /// That of these rows of a batch of `rows`, which may have been repeated.
    pub(crate) fn select(&self, order: &[usize], rows: usize) -> Option<Self> {
        let indices = row_indices(&repeated_rows(order, rows, self.hidden.dims()[0])?, &self.hidden.device());
        Some(Self {
            hidden: self.hidden.clone().select(0, indices.clone()),
            mask: self.mask.clone().map(|mask| mask.select(0, indices)),
        })
    }

    /// The encoder's states: `[rows, positions, hidden]`.
    pub(crate) fn states(&self) -> &Tensor<3> {
        &self.hidden
    }

    /// Applies a function to the states.
    pub(super) fn map(self, function: impl Fn(Tensor<3>) -> Tensor<3>) -> Self {
        Self { hidden: function(self.hidden), ..self }
    }

    /// The number of rows.
    pub(super) fn rows(&self) -> usize {
        self.hidden.dims()[0]
    }

    /// The same for a batch that was repeated.
    pub(super) fn repeated(self, copies: usize) -> Self {
        Self {
            hidden: self.hidden.repeat_dim(0, copies),
            mask: self.mask.map(|mask| {
                // Booleans are repeated by concatenation: not every backend repeats them.
                Tensor::cat(vec![mask; copies.max(1)], 0)
            }),
        }
    }
}
