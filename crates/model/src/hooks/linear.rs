//! A matrix: LoRA, DoRA, VeRA, MTL-LoRA, (IA)³.

use std::ops::Range;

use burn::nn::Linear;
use burn::tensor::{Device, Tensor};
use burn_adapters_core::{Site, dense_weight};
use burn_adapters_lora::LoraOutput;

use super::ActiveHooks;
use super::walk::{HookPoint, Rows, State};

/// How the last adapter's states act on the matrix' output.
#[derive(Clone, Copy, PartialEq)]
enum Effect<'a> {
    /// Not at all.
    None,
    /// They are added to it.
    Add,
    /// They are added to it, and the sum is scaled to the magnitude of this adapter (DoRA).
    AddToMagnitude(&'a str),
    /// It is multiplied by them.
    Scale,
}

/// A matrix' output between its adapters.
#[derive(Clone)]
pub(super) struct Adapted<'a> {
    input: Tensor<3>,
    /// The matrix' output; settled, the adapted one.
    pub(super) output: Tensor<3>,
    /// The combined states of the adapters so far: updates `[batch, sequence, d_output]` or factors `[batch or 1, 1,
    /// d_output]`.
    states: Option<Tensor<3>>,
    effect: Effect<'a>,
}

impl Adapted<'_> {
    pub(super) fn new(input: Tensor<3>, output: Tensor<3>) -> Self {
        Self { input, output, states: None, effect: Effect::None }
    }

    fn map(&self, change: impl Fn(Tensor<3>) -> Tensor<3>) -> Self {
        let batch = self.batch();
        Self {
            input: change(self.input.clone()),
            output: change(self.output.clone()),
            states: self.states.clone().map(|states| {
                let [rows, _, _] = states.dims();
                // A factor for all rows is not expanded.
                if rows == 1 && batch > 1 { states } else { change(states) }
            }),
            effect: self.effect,
        }
    }
}

impl State for Adapted<'_> {
    fn batch(&self) -> usize {
        let [batch, _, _] = self.input.dims();
        batch
    }

    fn device(&self) -> Device {
        self.input.device().without_autodiff()
    }

    fn rows(&self, range: Range<usize>) -> Self {
        self.map(|tensor| tensor.narrow(0, range.start, range.len()))
    }

    fn select(&self, rows: &Rows) -> Self {
        self.map(|tensor| tensor.select(0, rows.indices.clone()))
    }
}

/// A matrix of the model.
pub(super) struct LinearPoint<'h, 'a> {
    pub(super) hooks: &'h ActiveHooks<'a>,
    pub(super) site: Site,
    pub(super) linear: &'h Linear,
}

impl<'a> LinearPoint<'_, 'a> {
    /// Adds an update, which starts from the states of the previous adapters if they add too.
    fn add(
        &self,
        adapter: &'a str,
        state: Adapted<'a>,
        has_magnitude: bool,
        update: impl FnOnce(Tensor<3>, Tensor<3>) -> LoraOutput,
    ) -> Adapted<'a> {
        let state = if matches!(state.effect, Effect::Scale) { self.settle(state) } else { state };
        let from = state.states.clone().unwrap_or_else(|| state.input.clone());
        let output = update(from, state.input.clone());
        self.hooks.observe_gate(adapter, self.site, output.gate);
        let effect = if has_magnitude { Effect::AddToMagnitude(adapter) } else { Effect::Add };
        Adapted { states: Some(output.update), effect, ..state }
    }

    fn magnitude_factor(&self, adapter: &str) -> Option<Tensor<3>> {
        let module = self.hooks.active.get(adapter)?;
        let weight = || dense_weight(&self.linear.weight);
        if let Some(lora) = module.lora.get(&self.site) {
            return Some(lora.magnitude.as_ref()?.factor(weight(), lora.a.val(), lora.b.val()));
        }
        let (vera, shared) = (module.vera.get(&self.site)?, module.vera_shared.as_ref()?);
        let (a, b) = vera.factors(shared);
        Some(vera.magnitude.as_ref()?.factor(weight(), a, b))
    }
}

impl<'a> HookPoint for LinearPoint<'_, 'a> {
    type State = Adapted<'a>;

    fn hooks(&self) -> &ActiveHooks<'_> {
        self.hooks
    }

    fn acts(&self, adapter: &str) -> bool {
        self.hooks.active.get(adapter).is_some_and(|module| {
            module.lora.contains_key(&self.site)
                || module.vera.contains_key(&self.site)
                || module.mtl.contains_key(&self.site)
                || module.ia3.contains_key(&self.site)
        })
    }

    fn apply(&self, adapter: &str, state: Self::State) -> Self::State {
        let Some((adapter, module)) = self.hooks.active.get_key_value(adapter) else { return state };
        let (adapter, mode): (&'a str, _) = (adapter, self.hooks.mode);
        if let Some(lora) = module.lora.get(&self.site) {
            self.add(adapter, state, lora.magnitude.is_some(), |from, input| {
                let output = lora.forward_from(from, input, mode);
                match lora.bias.as_ref().and_then(|bias| bias.change(self.linear)) {
                    Some(change) => LoraOutput { update: output.update + change, ..output },
                    None => output,
                }
            })
        } else if let (Some(vera), Some(shared)) = (module.vera.get(&self.site), &module.vera_shared) {
            let update = |from, input| vera.forward_from(from, input, shared, mode);
            self.add(adapter, state, vera.magnitude.is_some(), update)
        } else if let Some(mtl) = module.mtl.get(&self.site) {
            self.add(adapter, state, false, |from, input| mtl.forward_from(from, input, mode))
        } else if let Some(ia3) = module.ia3.get(&self.site) {
            let adds = !matches!(state.effect, Effect::None | Effect::Scale);
            let state = if adds { self.settle(state) } else { state };
            let scale = ia3.scale(state.input.clone());
            self.hooks.observe_gate(adapter, self.site, scale.gate);
            let factor = match state.states.clone() {
                Some(factor) => factor * scale.factor,
                None => scale.factor,
            };
            Adapted { states: Some(factor), effect: Effect::Scale, ..state }
        } else {
            state
        }
    }

    fn settle(&self, state: Self::State) -> Self::State {
        let output = match (state.states.clone(), state.effect) {
            (Some(factor), Effect::Scale) => state.output.clone() * factor,
            (Some(update), Effect::Add) => state.output.clone() + update,
            (Some(update), Effect::AddToMagnitude(adapter)) => {
                let sum = state.output.clone() + update;
                match self.magnitude_factor(adapter) {
                    Some(factor) => sum * factor,
                    None => sum,
                }
            }
            (None, _) | (_, Effect::None) => state.output.clone(),
        };
        Adapted { output, states: None, effect: Effect::None, ..state }
    }

    fn join(&self, parts: Vec<Self::State>) -> Self::State {
        let effect = parts.first().map_or(Effect::None, |part| part.effect);
        let whole = |part: &Adapted| part.states.as_ref().is_none_or(|states| states.dims()[0] == part.batch());
        let alike = parts.iter().all(|part| part.effect == effect && whole(part));
        let parts: Vec<_> = if alike { parts } else { parts.into_iter().map(|part| self.settle(part)).collect() };
        let effect = if alike { effect } else { Effect::None };
        let states: Option<Vec<Tensor<3>>> = parts.iter().map(|part| part.states.clone()).collect();
        Adapted {
            input: Tensor::cat(parts.iter().map(|part| part.input.clone()).collect(), 0),
            output: Tensor::cat(parts.iter().map(|part| part.output.clone()).collect(), 0),
            states: states.map(|states| Tensor::cat(states, 0)),
            effect,
        }
    }

    fn average(&self, before: &Self::State, states: Vec<Self::State>, weights: &[f64]) -> Self::State {
        let effect = states.first().map_or(Effect::None, |state| state.effect);
        let alike = states.iter().all(|state| state.effect == effect && state.states.is_some());
        if alike && !matches!(effect, Effect::AddToMagnitude(_)) {
            let sum = states.iter().zip(weights).filter_map(|(state, weight)| Some(state.states.clone()? * *weight));
            return Adapted { states: sum.reduce(|sum, next| sum + next), effect, ..before.clone() };
        }
        // For adapters of different kinds: the average of their changes.
        let plain = self.settle(before.clone()).output;
        let mut output = plain.clone();
        for (state, weight) in states.into_iter().zip(weights) {
            output = output + (self.settle(state).output - plain.clone()) * *weight;
        }
        Adapted { output, states: None, effect: Effect::None, ..before.clone() }
    }
}
