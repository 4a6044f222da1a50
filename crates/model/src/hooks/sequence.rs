//! The embeddings (prompt tuning, invertible adapters) and the ends of layers (ReFT).

use std::ops::Range;

use burn::tensor::{Device, Tensor};
use burn_adapters_config::PromptCombine;
use burn_adapters_core::{Site, TokenSpan};

use super::ActiveHooks;
use super::walk::{HookPoint, Rows, State};
use crate::pass::padding_of;

/// Sequences of vectors, and the positions of each row's tokens.
#[derive(Clone)]
pub(super) struct Sequence {
    pub(super) hidden: Tensor<3>,
    pub(super) tokens: Vec<TokenSpan>,
}

impl State for Sequence {
    fn batch(&self) -> usize {
        let [batch, _, _] = self.hidden.dims();
        batch
    }

    fn device(&self) -> Device {
        self.hidden.device().without_autodiff()
    }

    fn rows(&self, range: Range<usize>) -> Self {
        Self { hidden: self.hidden.clone().narrow(0, range.start, range.len()), tokens: self.tokens[range].to_vec() }
    }

    fn select(&self, rows: &Rows) -> Self {
        Self {
            hidden: self.hidden.clone().select(0, rows.indices.clone()),
            tokens: rows.order.iter().map(|row| self.tokens[*row].clone()).collect(),
        }
    }
}

/// Joins parts of a batch; shorter sequences are padded at their ends.
fn join(parts: Vec<Sequence>) -> Sequence {
    let length = |part: &Sequence| part.hidden.dims()[1];
    let longest = parts.iter().map(length).max().unwrap_or(0);
    let (mut hidden, mut tokens) = (Vec::new(), Vec::new());
    for part in parts {
        let [batch, own, width] = part.hidden.dims();
        tokens.extend(part.tokens);
        if own == longest {
            hidden.push(part.hidden);
            continue;
        }
        let zeros = Tensor::zeros([batch, longest - own, width], &part.hidden.device());
        hidden.push(Tensor::cat(vec![part.hidden, zeros], 1));
    }
    Sequence { hidden: Tensor::cat(hidden, 0), tokens }
}

fn average(before: &Sequence, states: Vec<Sequence>, weights: &[f64]) -> Sequence {
    let changes =
        states.into_iter().zip(weights).map(|(state, weight)| (state.hidden - before.hidden.clone()) * *weight);
    Sequence { hidden: changes.fold(before.hidden.clone(), |sum, change| sum + change), ..before.clone() }
}

/// After the embedding layer: prompts.
pub(super) struct PromptPoint<'h, 'a>(pub(super) &'h ActiveHooks<'a>);

impl HookPoint for PromptPoint<'_, '_> {
    type State = Sequence;

    fn hooks(&self) -> &ActiveHooks<'_> {
        self.0
    }

    fn acts(&self, adapter: &str) -> bool {
        self.0.active.get(adapter).is_some_and(|module| module.prompt.is_some())
    }

    fn apply(&self, adapter: &str, state: Self::State) -> Self::State {
        let Some(prompt) = self.0.active.get(adapter).and_then(|module| module.prompt.as_ref()) else { return state };
        let padding = padding_of(&state.tokens, state.hidden.dims()[1], &state.device());
        match prompt.forward(state.hidden.clone(), padding) {
            Ok((hidden, _)) => {
                let at = match prompt.combine {
                    PromptCombine::Prefix => 0,
                    PromptCombine::PrefixAfterBos => 1,
                };
                let mut tokens = state.tokens;
                tokens.iter_mut().for_each(|span| span.insert(at, prompt.length()));
                Sequence { hidden, tokens }
            }
            Err(error) => {
                self.0.fail(error.into());
                state
            }
        }
    }

    fn settle(&self, state: Self::State) -> Self::State {
        state
    }

    fn join(&self, parts: Vec<Self::State>) -> Self::State {
        join(parts)
    }

    /// Prompts are never averaged: such a setup is refused before the pass.
    fn average(&self, before: &Self::State, _states: Vec<Self::State>, _weights: &[f64]) -> Self::State {
        before.clone()
    }
}

/// After the embedding layer: invertible adapters.
pub(super) struct InvertiblePoint<'h, 'a> {
    pub(super) hooks: &'h ActiveHooks<'a>,
    pub(super) inverse: bool,
}

impl HookPoint for InvertiblePoint<'_, '_> {
    type State = Sequence;

    fn hooks(&self) -> &ActiveHooks<'_> {
        self.hooks
    }

    fn acts(&self, adapter: &str) -> bool {
        self.hooks.active.get(adapter).is_some_and(|module| module.invertible.is_some())
    }

    fn apply(&self, adapter: &str, state: Self::State) -> Self::State {
        let module = self.hooks.active.get(adapter).and_then(|module| module.invertible.as_ref());
        let Some(module) = module else { return state };
        let hidden = state.hidden.clone();
        Sequence { hidden: if self.inverse { module.inverse(hidden) } else { module.forward(hidden) }, ..state }
    }

    fn settle(&self, state: Self::State) -> Self::State {
        state
    }

    fn join(&self, parts: Vec<Self::State>) -> Self::State {
        join(parts)
    }

    fn average(&self, before: &Self::State, states: Vec<Self::State>, weights: &[f64]) -> Self::State {
        average(before, states, weights)
    }
}

/// The end of a layer: ReFT.
pub(super) struct LayerPoint<'h, 'a> {
    pub(super) hooks: &'h ActiveHooks<'a>,
    pub(super) site: Site,
}

impl HookPoint for LayerPoint<'_, '_> {
    type State = Sequence;

    fn hooks(&self) -> &ActiveHooks<'_> {
        self.hooks
    }

    fn acts(&self, adapter: &str) -> bool {
        self.hooks.active.get(adapter).is_some_and(|module| module.reft.contains_key(&self.site))
    }

    fn apply(&self, adapter: &str, state: Self::State) -> Self::State {
        let Some(reft) = self.hooks.active.get(adapter).and_then(|module| module.reft.get(&self.site)) else {
            return state;
        };
        let padding = padding_of(&state.tokens, state.hidden.dims()[1], &state.device());
        let positions = reft.positions(&padding);
        Sequence { hidden: reft.forward(state.hidden.clone(), &positions, self.hooks.mode), ..state }
    }

    fn settle(&self, state: Self::State) -> Self::State {
        state
    }

    fn join(&self, parts: Vec<Self::State>) -> Self::State {
        join(parts)
    }

    fn average(&self, before: &Self::State, states: Vec<Self::State>, weights: &[f64]) -> Self::State {
        average(before, states, weights)
    }
}
