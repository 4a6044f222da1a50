//! Options of generation.

use crate::GenerateError;

/// Options of generation.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct GenerationOptions {
    /// How tokens are chosen.
    pub strategy: Strategy,
    /// The maximum number of new tokens per row.
    pub max_new_tokens: usize,
    /// Tokens that end a row. They are part of its tokens.
    pub end_ids: Vec<u32>,
    /// Forces the first token: in some translation models, it is the language.
    pub first_id: Option<u32>,
    /// Repetition penalty (Keskar et al., 2019): divides the logits of tokens that already occur in the row, or
    /// multiplies them if they are negative; 1 has no effect.
    pub repetition_penalty: f64,
}

/// How tokens are chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Strategy {
    /// The most probable token.
    Greedy,
    /// A random token.
    Sample(Sampling),
    /// Beam search: the most probable of several sequences that are continued at once.
    Beams {
        /// The number of sequences of each row.
        count: usize,
        /// Length penalty: sequences are compared by their log-probability divided by their length to this power.
        length_penalty: f64,
    },
}

/// Random choice by probability. The limits apply in this order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Temperature: divides the logits. Below 1, probable tokens become more probable.
    pub temperature: f64,
    /// Top-k: only this many of the most probable tokens; 0 disables the limit.
    pub top_k: usize,
    /// Top-p: only the most probable tokens, until their probabilities add up to this (Holtzman et al., 2020); 1
    /// disables the limit.
    pub top_p: f64,
    /// Min-p: only tokens with at least this fraction of the largest probability; 0 disables the limit.
    pub min_p: f64,
    /// Random seed. Each row has its own sequence of random numbers.
    pub seed: u64,
}

impl Default for Sampling {
    /// Sampling from the model's own probabilities, without limits.
    fn default() -> Self {
        Self { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, seed: 0 }
    }
}

impl Sampling {
    /// A random seed of at most nine digits.
    pub fn random_seed() -> u64 {
        rand::random_range(0..1_000_000_000)
    }
}

impl GenerationOptions {
    /// The most probable token at each step; at most 128 tokens.
    pub fn greedy() -> Self {
        Self {
            strategy: Strategy::Greedy,
            max_new_tokens: 128,
            end_ids: Vec::new(),
            first_id: None,
            repetition_penalty: 1.0,
        }
    }

    /// Random tokens.
    pub fn sample(sampling: Sampling) -> Self {
        Self { strategy: Strategy::Sample(sampling), ..Self::greedy() }
    }

    /// Beam search.
    pub fn beams(count: usize) -> Self {
        Self { strategy: Strategy::Beams { count, length_penalty: 1.0 }, ..Self::greedy() }
    }

    /// Sets how tokens are chosen.
    pub fn with_strategy(mut self, strategy: Strategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// Sets the maximum number of new tokens.
    pub fn with_max_new_tokens(mut self, max_new_tokens: usize) -> Self {
        self.max_new_tokens = max_new_tokens;
        self
    }

    /// Sets the tokens that end a row.
    pub fn with_end_ids(mut self, end_ids: impl Into<Vec<u32>>) -> Self {
        self.end_ids = end_ids.into();
        self
    }

    /// Sets the forced first token.
    pub fn with_first_id(mut self, first_id: Option<u32>) -> Self {
        self.first_id = first_id;
        self
    }

    /// Sets the repetition penalty.
    pub fn with_repetition_penalty(mut self, repetition_penalty: f64) -> Self {
        self.repetition_penalty = repetition_penalty;
        self
    }

    /// Checks that the options are in range.
    pub(crate) fn check(&self) -> Result<(), GenerateError> {
        let bad = |option, expected, found: String| Err(GenerateError::BadOption { option, expected, found });
        let positive = |value: f64| value > 0.0 && value.is_finite();
        if self.max_new_tokens == 0 {
            return bad("max_new_tokens", "at least 1", "0".into());
        }
        if !positive(self.repetition_penalty) {
            return bad("repetition_penalty", "a number above 0", self.repetition_penalty.to_string());
        }
        match self.strategy {
            Strategy::Greedy => Ok(()),
            Strategy::Sample(Sampling { temperature, top_p, min_p, .. }) => match () {
                () if !positive(temperature) => bad("temperature", "a number above 0", temperature.to_string()),
                () if !(top_p > 0.0 && top_p <= 1.0) => bad("top_p", "above 0, at most 1", top_p.to_string()),
                () if !(0.0..=1.0).contains(&min_p) => bad("min_p", "from 0 to 1", min_p.to_string()),
                () => Ok(()),
            },
            Strategy::Beams { count, length_penalty } => match () {
                () if !(1..=1024).contains(&count) => bad("beams", "from 1 to 1024", count.to_string()),
                () if !length_penalty.is_finite() => {
                    bad("length_penalty", "a finite number", length_penalty.to_string())
                }
                () => Ok(()),
            },
        }
    }
}
