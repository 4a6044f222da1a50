//! Options of generation.

use crate::GenerateError;

/// How text is generated.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct GenerationOptions {
    /// How tokens are chosen.
    pub strategy: Strategy,
    /// The largest number of new tokens of a row.
    pub max_new_tokens: usize,
    /// Tokens that end a row. They are part of its tokens.
    pub end_ids: Vec<u32>,
    /// The token that the first one is forced to be: a language, in some translation models.
    pub first_id: Option<u32>,
    /// Divides the logits of tokens that the row already has, or multiplies them if they are negative (Keskar et al.,
    /// 2019); 1 changes nothing.
    pub repetition_penalty: f64,
}

/// How tokens are chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Strategy {
    /// The most probable token.
    Greedy,
    /// A random token.
    Sample(Sampling),
    /// The most probable of several sequences that are continued at once.
    Beams {
        /// The number of sequences of each row.
        count: usize,
        /// Sequences are compared by their log-probability, divided by their length to this power.
        length_penalty: f64,
    },
}

/// A random choice by probability. The limits apply in this order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Divides the logits: below 1, probable tokens become more probable.
    pub temperature: f64,
    /// Only so many of the most probable tokens; 0 is all.
    pub top_k: usize,
    /// Only the most probable tokens whose probabilities add up to this (Holtzman et al., 2020); 1 is all.
    pub top_p: f64,
    /// Only tokens with at least this fraction of the largest probability; 0 is all.
    pub min_p: f64,
    /// The seed of the random numbers. Each row has its own sequence of them.
    pub seed: u64,
}

impl Default for Sampling {
    /// By the model's own probabilities.
    fn default() -> Self {
        Self { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, seed: 0 }
    }
}

impl GenerationOptions {
    /// The most probable token each time; 128 tokens at most.
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

    /// Sets the largest number of new tokens.
    pub fn with_max_new_tokens(mut self, max_new_tokens: usize) -> Self {
        self.max_new_tokens = max_new_tokens;
        self
    }

    /// Sets the tokens that end a row.
    pub fn with_end_ids(mut self, end_ids: impl Into<Vec<u32>>) -> Self {
        self.end_ids = end_ids.into();
        self
    }

    /// Sets the token that the first one is forced to be.
    pub fn with_first_id(mut self, first_id: Option<u32>) -> Self {
        self.first_id = first_id;
        self
    }

    /// Sets the penalty of repetitions.
    pub fn with_repetition_penalty(mut self, repetition_penalty: f64) -> Self {
        self.repetition_penalty = repetition_penalty;
        self
    }

    /// Checks the values.
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
