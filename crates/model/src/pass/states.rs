//! The hidden states between two steps of a pass.

use burn::tensor::Tensor;
use burn_adapters_core::{TokenSpan, row_indices};

use super::packing::Packing;

/// The hidden states between two steps of a pass.
pub(super) struct States<'p> {
    pub(super) hidden: Tensor<3>,
    pub(super) tokens: Vec<TokenSpan>,
    pub(super) form: Form<'p>,
}

/// The positions of the hidden states.
pub(super) enum Form<'p> {
    /// All positions, including padding: `[rows, sequence, hidden]`.
    Padded,
    /// All non-padding positions: `[Σ lengths, 1, hidden]`.
    Packed(Box<Packing<'p>>),
    /// The first position of each row: `[rows, 1, hidden]`.
    First,
}

impl States<'_> {
    /// `[rows, 1, hidden]`.
    pub(super) fn first(&self) -> Tensor<3> {
        match &self.form {
            Form::Padded => self.hidden.clone().narrow(1, 0, 1),
            Form::Packed(packing) => packing.first(self.hidden.clone()),
            Form::First => self.hidden.clone(),
        }
    }

    /// The state of the last token of each row: `[rows, 1, hidden]`.
    pub(super) fn last(&self) -> Tensor<3> {
        let [_, positions, _] = self.hidden.dims();
        let mut before = 0;
        let index = |span: &TokenSpan| {
            let index = before + span.last();
            before += if matches!(self.form, Form::Packed(_)) { span.end() } else { positions };
            index
        };
        let indices: Vec<usize> = self.tokens.iter().map(index).collect();
        let indices = row_indices(&indices, &self.hidden.device().without_autodiff());
        self.hidden.clone().flatten::<2>(0, 1).select(0, indices).unsqueeze_dim(1)
    }

    /// `[rows, sequence, hidden]`.
    pub(super) fn padded(&self) -> Tensor<3> {
        match &self.form {
            Form::Packed(packing) => packing.unpack(self.hidden.clone()),
            Form::Padded | Form::First => self.hidden.clone(),
        }
    }
}

impl Form<'_> {
    /// The length of the padded sequences.
    pub(super) fn sequence(&self, hidden: &Tensor<3>) -> usize {
        match self {
            Form::Packed(packing) => packing.sequence(),
            Form::Padded | Form::First => hidden.dims()[1],
        }
    }
}
