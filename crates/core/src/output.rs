//! The output of a base model, and the part of it that a head reads.

use burn::tensor::{Int, Tensor, TensorData};

/// The positions of the last layer that are read. A base model may leave the others uncomputed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Reads {
    /// Every position, padding included.
    #[default]
    All,
    /// Every position of a token; the states at padding are not computed, and may be anything finite.
    Tokens,
    /// The position of each row that stands for all of it: see [`RowPosition`].
    First,
}

/// The position whose state stands for a row, where a head reads only one state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RowPosition {
    /// The first, as in encoders.
    #[default]
    First,
    /// That of the last token, as in decoders.
    LastToken,
    /// None: the mean over the tokens stands for the row.
    Mean,
}

impl Reads {
    /// The least that serves two readers.
    ///
    /// ```
    /// use burn_adapters_core::Reads;
    ///
    /// assert_eq!(Reads::First.and(Reads::First), Reads::First);
    /// assert_eq!(Reads::First.and(Reads::Tokens), Reads::Tokens);
    /// assert_eq!(Reads::All.and(Reads::Tokens), Reads::All);
    /// ```
    pub fn and(self, other: Reads) -> Reads {
        match (self, other) {
            (Reads::All, _) | (_, Reads::All) => Reads::All,
            (Reads::Tokens, _) | (_, Reads::Tokens) => Reads::Tokens,
            (Reads::First, Reads::First) => Reads::First,
        }
    }
}

/// The output of a base model for a batch.
#[derive(Debug, Clone)]
pub struct Output {
    /// The hidden states of the last layer: `[rows, positions, hidden]`. The first position alone where that was all
    /// that [`Reads`] requests; more positions than the input has where an adapter inserted a prompt.
    pub hidden: Tensor<3>,
    /// The pooler's output: `[rows, hidden]`. `None` for models without a pooler.
    pub pooled: Option<Tensor<2>>,
    /// The place of each row's tokens among the positions; one entry a row.
    pub tokens: Vec<TokenSpan>,
    /// The position that stands for a row.
    pub row_position: RowPosition,
}

impl Output {
    /// An output in which each row has its tokens from the first position on.
    pub fn new(hidden: Tensor<3>, lengths: impl IntoIterator<Item = usize>) -> Self {
        let tokens = lengths.into_iter().map(TokenSpan::new).collect();
        Self { hidden, pooled: None, tokens, row_position: RowPosition::default() }
    }

    /// The state that stands for each row: `[rows, hidden]`.
    pub fn row_states(&self) -> Tensor<2> {
        let [rows, positions, _] = self.hidden.dims();
        // The only position of an output that was computed for it alone.
        if positions == 1 || self.row_position == RowPosition::First {
            return self.hidden.clone().narrow(1, 0, 1).squeeze_dim(1);
        }
        if self.row_position == RowPosition::Mean {
            return mean_of_tokens(self.hidden.clone(), &self.tokens).squeeze_dim(1);
        }
        let last = |(row, span): (usize, &TokenSpan)| (row * positions + span.last()) as i32;
        let last: Vec<i32> = self.tokens.iter().enumerate().take(rows).map(last).collect();
        let count = last.len();
        let last =
            Tensor::<1, Int>::from_data(TensorData::new(last, [count]), &self.hidden.device().without_autodiff());
        self.hidden.clone().flatten::<2>(0, 1).select(0, last)
    }

    /// Sets the pooler's output: `[rows, hidden]`.
    pub fn with_pooled(mut self, pooled: Option<Tensor<2>>) -> Self {
        self.pooled = pooled;
        self
    }
}

/// The mean over the tokens of each row, without padding and prompts: `[rows, positions, hidden]` to `[rows, 1, hidden]`.
/// States at other positions may be anything finite.
pub fn mean_of_tokens(hidden: Tensor<3>, tokens: &[TokenSpan]) -> Tensor<3> {
    let [rows, positions, _] = hidden.dims();
    let mut shares = vec![0.0_f32; rows * positions];
    for (span, shares) in tokens.iter().zip(shares.chunks_mut(positions.max(1))) {
        for position in span.positions() {
            shares.get_mut(position).into_iter().for_each(|share| *share = 1.0 / span.length as f32);
        }
    }
    let device = hidden.device().without_autodiff();
    let shares = Tensor::<3>::from_data(TensorData::new(shares, [rows, 1, positions]), &device);
    shares.cast(hidden.dtype()).matmul(hidden)
}

/// The positions of one row's tokens: consecutive, but for the prompts that adapters inserted.
///
/// ```
/// use burn_adapters_core::TokenSpan;
///
/// let mut span = TokenSpan::new(3);
/// span.insert(1, 10); // a prompt of ten positions after the first token
/// assert_eq!(span.positions().collect::<Vec<_>>(), [0, 11, 12]);
/// assert_eq!(span.end(), 13);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TokenSpan {
    /// The number of tokens, padding excluded.
    pub length: usize,
    /// The number of positions of padding before the first token.
    pub start: usize,
    inserted: Vec<(usize, usize)>,
}

impl TokenSpan {
    /// Tokens from the first position on.
    pub fn new(length: usize) -> Self {
        Self { length, ..Self::default() }
    }

    /// Tokens after `start` positions of padding.
    pub fn after(start: usize, length: usize) -> Self {
        Self { length, start, inserted: Vec::new() }
    }

    /// Records that `count` positions were inserted before position `at`.
    pub fn insert(&mut self, at: usize, count: usize) {
        self.inserted.push((at, count));
    }

    /// The number of positions up to the last token's, prompts included: the positions from here on are padding.
    pub fn end(&self) -> usize {
        self.start + self.length + self.prompts()
    }

    /// Whether a position is padding. As in the reference, the positions of prompts count as the first ones of the row,
    /// also where a prompt was inserted after a first position of padding.
    pub fn is_padding(&self, position: usize) -> bool {
        position >= self.end() || (self.prompts()..self.prompts() + self.start).contains(&position)
    }

    /// The position of a token.
    pub fn position(&self, token: usize) -> usize {
        let moved = |position, &(at, count): &(usize, usize)| if position < at { position } else { position + count };
        self.inserted.iter().fold(self.start + token, moved)
    }

    /// The position of the last token; 0 if there is none.
    pub fn last(&self) -> usize {
        self.length.checked_sub(1).map_or(0, |token| self.position(token))
    }

    /// The positions of all tokens, in order.
    pub fn positions(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.length).map(|token| self.position(token))
    }

    fn prompts(&self) -> usize {
        self.inserted.iter().map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn the_mean_over_tokens_leaves_out_padding_and_prompts() {
        let hidden = [1.0, 100.0, 3.0, 5.0, 50.0, 2.0, 4.0, 60.0];
        let hidden = TensorData::new(hidden.to_vec(), [2, 4, 1]);
        let mut with_prompt = TokenSpan::new(3);
        with_prompt.insert(1, 1);
        let output = Output {
            hidden: Tensor::from_data(hidden, &Device::default()),
            pooled: None,
            tokens: vec![with_prompt, TokenSpan::after(1, 2)],
            row_position: RowPosition::Mean,
        };
        let states = output.row_states().into_data();
        let states: Vec<f32> = states.try_to_vec().unwrap();
        assert_eq!(states, [3.0, 3.0]);
    }
}
