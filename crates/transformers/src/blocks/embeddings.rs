//! Word, position and token-type embeddings.

use burn::module::{Module, Param};
use burn::nn::{Embedding, Linear};
use burn::tensor::{Device, FloatDType, Tensor};
use burn_adapters_core::{Norm, look_up, project};
use burn_adapters_model::Pass;

use super::Normalization;
use crate::LoadError;
use crate::plan::{Counting, EmbeddingsPlan};
use crate::weights::Source;

/// The table of word embeddings, and what is added to them.
#[derive(Module, Debug)]
pub(crate) struct Embeddings {
    words: Embedding,
    added: Added,
}

/// What becomes of word embeddings: their sum with the others, its norm, and a projection to the hidden size.
#[derive(Module, Debug)]
pub(crate) struct Added {
    positions: Option<Embedding>,
    token_types: Option<Embedding>,
    norm: Option<Normalization>,
    projection: Option<Linear>,
    scale: Option<f64>,
    late_scale: Option<f64>,
    zeroes_padding: bool,
    dropout: f64,
    late_dropout: f64,
    #[module(skip)]
    counting: Counting,
}

impl Embeddings {
    pub(crate) fn build(plan: &EmbeddingsPlan, std: f64, source: &mut impl Source) -> Result<Self, LoadError> {
        Ok(Self { words: source.words(&plan.words, std)?, added: Added::build(plan, std, source)? })
    }

    /// The device that the model is on.
    pub(crate) fn device(&self) -> Device {
        self.words.weight.lazy_device()
    }

    /// The table of word embeddings in bf16.
    pub(crate) fn with_words_in_bf16(mut self) -> Self {
        let (id, table, _) = self.words.weight.consume();
        self.words.weight = Param::initialized(id, table.cast(FloatDType::BF16));
        self
    }

    /// The table of word embeddings.
    pub(crate) fn words(&self) -> &Embedding {
        &self.words
    }

    /// # Shapes
    /// - output: `[rows, sequence, embedding]`
    pub(crate) fn forward(&self, pass: &Pass<'_>) -> Tensor<3> {
        self.added.forward(&self.words, pass)
    }

    /// The dropout on the states of the layers.
    pub(crate) fn late_dropout(&self) -> f64 {
        self.added.late_dropout
    }

    /// From the embeddings, after the adapters that act on them, to the states of the layers.
    pub(crate) fn project(&self, embeddings: Tensor<3>) -> Tensor<3> {
        let embeddings = match self.added.late_scale {
            Some(scale) => embeddings * scale,
            None => embeddings,
        };
        match &self.added.projection {
            Some(projection) => project(projection, embeddings),
            None => embeddings,
        }
    }
}

impl Added {
    pub(crate) fn build(plan: &EmbeddingsPlan, std: f64, source: &mut impl Source) -> Result<Self, LoadError> {
        let projection = plan.projection.as_ref();
        Ok(Self {
            projection: projection.map(|plan| source.linear(plan, "", std)).transpose()?,
            positions: (plan.positions.as_ref())
                .map(|(table, _)| source.embedding(table.name, table.shape, std))
                .transpose()?,
            token_types: (plan.token_types.as_ref())
                .map(|table| source.embedding(table.name, table.shape, std))
                .transpose()?,
            norm: plan.norm.as_ref().map(|norm| Normalization::build(norm, "", source)).transpose()?,
            scale: plan.scale,
            zeroes_padding: plan.zeroes_padding,
            late_scale: plan.late_scale,
            dropout: plan.dropout,
            late_dropout: plan.late_dropout,
            counting: plan.positions.as_ref().map_or(Counting::FromZero, |(_, counting)| *counting),
        })
    }

    /// # Shapes
    /// - output: `[rows, sequence, embedding]`
    pub(crate) fn forward(&self, words: &Embedding, pass: &Pass<'_>) -> Tensor<3> {
        // Positions and types may both be one row for the whole batch: added first, they cost one sum over the batch.
        let added = [self.positions(pass), self.types(pass)].into_iter().flatten().reduce(|sum, next| sum + next);
        let words = look_up(words, pass.ids());
        let words = match self.scale {
            Some(scale) => words * scale,
            None => words,
        };
        let sum = match added {
            Some(added) => words + added,
            None => words,
        };
        let normed = match &self.norm {
            Some(norm) => norm.norm(sum),
            None => sum,
        };
        let batch = pass.batch();
        let is_padded = batch.ids().len() < batch.len() * batch.sequence();
        let zeroed = match self.zeroes_padding && is_padded {
            true => normed * pass.ints(&vec![1; batch.ids().len()], 0).float().unsqueeze_dim(2),
            false => normed,
        };
        pass.dropout(self.dropout, zeroed)
    }

    /// `[rows or 1, sequence, embedding]`.
    fn positions(&self, pass: &Pass<'_>) -> Option<Tensor<3>> {
        let positions = self.positions.as_ref()?;
        let from = |first: usize| {
            let batch = pass.batch();
            if !pass.continues() {
                return positions.weight.val().narrow(0, first, batch.sequence()).unsqueeze();
            }
            let counted = batch.lengths().iter().enumerate().flat_map(|(row, length)| {
                let first = first + pass.tokens_before(row);
                (first..first + length).map(|position| position as u32)
            });
            positions.forward(pass.ints(&counted.collect::<Vec<_>>(), first as u32))
        };
        Some(match self.counting {
            Counting::FromZero => from(0),
            Counting::From(first) => from(first),
            Counting::FromPadding(pad_id) => {
                let batch = pass.batch();
                let counted = (0..batch.len()).flat_map(|row| {
                    let mut last = pad_id + pass.tokens_before(row) as u32;
                    batch.row(row).iter().map(move |id| {
                        let is_token = *id != pad_id;
                        last += u32::from(is_token);
                        if is_token { last } else { pad_id }
                    })
                });
                positions.forward(pass.ints(&counted.collect::<Vec<_>>(), pad_id))
            }
        })
    }

    /// `[rows or 1, sequence or 1, embedding]`.
    fn types(&self, pass: &Pass<'_>) -> Option<Tensor<3>> {
        let types = self.token_types.as_ref()?;
        Some(match pass.token_types() {
            Some(ids) => types.forward(ids),
            None => types.weight.val().narrow(0, 0, 1).unsqueeze(),
        })
    }
}
