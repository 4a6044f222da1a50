//! The end of a sublayer, or of its last matrix: bottlenecks and AdapterFusion.

use std::ops::Range;

use burn::tensor::{Device, Tensor};
use burn_adapters_bottleneck::{Bottleneck, Entry};
use burn_adapters_composition::Composition;
use burn_adapters_core::{Norm, Site};

use super::ActiveHooks;
use super::walk::{HookPoint, Rows, State, block, enter_first};
use crate::BankError;

/// The states around the output of a sublayer's last matrix, where adapters act on that output in place.
pub struct AroundProjection<'n> {
    /// The sublayer's input, which parallel adapters read: `[batch, sequence, hidden]`.
    pub input: Tensor<3>,
    /// Whether adapters that read the model's residual (`original_ln_before`) add the input to the output.
    pub adds_input: bool,
    /// The norm that these adapters apply to that sum.
    pub norm: Option<&'n dyn Norm>,
}

impl AroundProjection<'_> {
    /// Adapters read the sum of output and input, without a norm.
    pub fn new(input: Tensor<3>) -> Self {
        Self { input, adds_input: true, norm: None }
    }
}

/// How a sublayer ends after its adapters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// With the residual and the norm.
    Residual,
    /// With the output of its last matrix: the model adds its residual itself.
    Projection {
        /// Whether adapters that read the residual find the input in it.
        adds_input: bool,
    },
}

/// A sublayer's end between its adapters.
#[derive(Clone)]
pub(super) struct Sublayer<'a> {
    /// The input of the next adapter; when settled, the output of the sublayer.
    pub(super) hidden: Tensor<3>,
    /// The sublayer's input.
    input: Tensor<3>,
    /// The residual around the next adapter.
    residual: Tensor<3>,
    /// The sublayer's output before any adapter.
    output: Tensor<3>,
    /// The last adapter's up-projection, for AdapterFusion.
    up: Option<Tensor<3>>,
    last: Option<&'a Bottleneck>,
    settled: bool,
}

impl Sublayer<'_> {
    pub(super) fn new(output: Tensor<3>, input: Tensor<3>) -> Self {
        Self { hidden: output.clone(), residual: input.clone(), input, output, up: None, last: None, settled: false }
    }

    fn map(&self, change: impl Fn(Tensor<3>) -> Tensor<3>) -> Self {
        Self {
            hidden: change(self.hidden.clone()),
            input: change(self.input.clone()),
            residual: change(self.residual.clone()),
            output: change(self.output.clone()),
            up: self.up.clone().map(change),
            ..self.clone()
        }
    }
}

impl State for Sublayer<'_> {
    fn batch(&self) -> usize {
        let [batch, _, _] = self.hidden.dims();
        batch
    }

    fn device(&self) -> Device {
        self.hidden.device().without_autodiff()
    }

    fn rows(&self, range: Range<usize>) -> Self {
        self.map(|tensor| tensor.narrow(0, range.start, range.len()))
    }

    fn select(&self, rows: &Rows) -> Self {
        self.map(|tensor| tensor.select(0, rows.indices.clone()))
    }
}

/// The end of a sublayer of the model.
pub(super) struct SublayerPoint<'h, 'a> {
    pub(super) hooks: &'h ActiveHooks<'a>,
    pub(super) site: Site,
    pub(super) norm: Option<&'h dyn Norm>,
    pub(super) end: End,
}

impl<'a> SublayerPoint<'_, 'a> {
    fn bottleneck(&self, adapter: &str) -> Option<&'a Bottleneck> {
        self.hooks.active.get(adapter)?.bottleneck.get(&self.site)
    }

    /// The input of the adapter and the residual around it.
    fn entry(&self, bottleneck: &Bottleneck, state: &Sublayer<'a>) -> Entry {
        let (hidden, input) = (state.hidden.clone(), state.input.clone());
        let is_alone = self.end == End::Projection { adds_input: false } && !bottleneck.form.is_parallel;
        bottleneck.enter(hidden, if is_alone { input.zeros_like() } else { input }, self.norm)
    }

    fn cat(&self, parts: &[Sublayer<'a>], dimension: usize) -> Option<Sublayer<'a>> {
        let cat = |get: &dyn Fn(&Sublayer<'a>) -> Tensor<3>| Tensor::cat(parts.iter().map(get).collect(), dimension);
        let has_up = parts.iter().all(|part| part.up.is_some());
        Some(Sublayer {
            hidden: cat(&|part| part.hidden.clone()),
            input: cat(&|part| part.input.clone()),
            residual: cat(&|part| part.residual.clone()),
            output: cat(&|part| part.output.clone()),
            up: has_up.then(|| cat(&|part| part.up.clone().unwrap_or_else(|| part.hidden.clone()))),
            last: parts.iter().rev().find_map(|part| part.last),
            settled: parts.first()?.settled,
        })
    }

    /// Whether the parts return to the model in the same way, so that they can be settled together.
    fn leave_alike(parts: &[Sublayer<'a>]) -> bool {
        let way = |part: &Sublayer| {
            (part.settled, part.last.map(|last| (last.form.is_parallel, last.form.original_ln_after)))
        };
        parts.windows(2).all(|pair| way(&pair[0]) == way(&pair[1]))
    }
}

impl<'a> HookPoint for SublayerPoint<'_, 'a> {
    type State = Sublayer<'a>;

    fn hooks(&self) -> &ActiveHooks<'_> {
        self.hooks
    }

    fn acts(&self, adapter: &str) -> bool {
        self.bottleneck(adapter).is_some()
    }

    fn enter(&self, adapter: &str, state: Self::State) -> Self::State {
        let Some(bottleneck) = self.bottleneck(adapter) else { return state };
        let entry = self.entry(bottleneck, &state);
        Sublayer { hidden: entry.hidden, residual: entry.residual, ..state }
    }

    fn apply(&self, adapter: &str, state: Self::State) -> Self::State {
        let (Some(bottleneck), Some(module)) = (self.bottleneck(adapter), self.hooks.active.get(adapter)) else {
            return state;
        };
        let shared = module.phm_shared.as_ref();
        let output = bottleneck.forward(state.hidden.clone(), state.residual.clone(), shared, self.hooks.mode);
        self.hooks.observe_gate(adapter, self.site, output.gate);
        Sublayer { hidden: output.hidden, up: Some(output.up), last: Some(bottleneck), ..state }
    }

    fn settle(&self, state: Self::State) -> Self::State {
        if state.settled {
            return state;
        }
        let hidden = match (state.last, self.end) {
            (Some(last), End::Projection { .. }) if last.form.is_parallel => {
                state.output.clone() + state.hidden.clone()
            }
            (Some(_), End::Projection { .. }) => state.hidden.clone(),
            (None, End::Projection { .. }) => state.output.clone(),
            (Some(last), End::Residual) => {
                last.leave(state.hidden.clone(), state.output.clone(), state.input.clone(), self.norm)
            }
            (None, End::Residual) => {
                let added = state.output.clone() + state.input.clone();
                self.norm.map_or_else(|| added.clone(), |norm| norm.norm(added.clone()))
            }
        };
        Sublayer { hidden, settled: true, ..state }
    }

    fn join(&self, parts: Vec<Self::State>) -> Self::State {
        let parts =
            if Self::leave_alike(&parts) { parts } else { parts.into_iter().map(|part| self.settle(part)).collect() };
        // A block always has children.
        let first = parts.first().cloned();
        match (self.cat(&parts, 0), first) {
            (Some(joined), _) => joined,
            (None, Some(first)) => first,
            (None, None) => unreachable!("a block of a valid composition has children"),
        }
    }

    fn average(&self, before: &Self::State, states: Vec<Self::State>, weights: &[f64]) -> Self::State {
        let last = states.iter().rev().find_map(|state| state.last);
        let sum = states.into_iter().zip(weights).map(|(state, weight)| state.hidden * *weight);
        let hidden = sum.reduce(|sum, next| sum + next).unwrap_or_else(|| before.hidden.clone());
        Sublayer { hidden, last, ..before.clone() }
    }

    fn fuse(&self, fusion: &str, children: &[Composition], state: Self::State) -> Self::State {
        let Some(layer) = self.hooks.fusion(fusion).and_then(|layers| layers.at(self.site)) else { return state };
        // The last fused adapter that acts here determines query and residual.
        let names: Vec<&str> = children.iter().flat_map(Composition::names).collect();
        let Some(last) = names.into_iter().rev().find_map(|name| self.bottleneck(name)) else { return state };
        let entry = self.entry(last, &state);
        let query = match (last.form.is_parallel, layer.query_before_ln()) {
            (true, _) => state.input.clone(),
            (false, true) => state.hidden.clone(),
            (false, false) => entry.hidden.clone(),
        };
        let entered = Sublayer { hidden: entry.hidden, residual: entry.residual.clone(), ..state.clone() };
        let ups: Vec<Tensor<3>> = children
            .iter()
            .filter_map(|child| match child {
                Composition::Adapter(name) if self.acts(name) => self.apply(name, entered.clone()).up,
                Composition::Adapter(_) => None,
                child => block(self, child, entered.clone()).up,
            })
            .collect();
        if ups.is_empty() {
            return state;
        }
        let output = layer.forward(query, &ups, entry.residual, self.hooks.mode);
        self.hooks.observe_fusion(fusion, self.site, output.attention);
        Sublayer { hidden: output.hidden, last: Some(last), ..entered }
    }

    fn split(&self, children: &[Composition], splits: &[usize], state: Self::State) -> Self::State {
        let ([_, found, _], expected) = (state.hidden.dims(), splits.iter().sum::<usize>());
        if expected != found {
            self.hooks.fail(BankError::Positions { expected, found });
            return state;
        }
        let whole = Composition::Stack(children.to_vec());
        let entered = enter_first(self, &whole, &state);
        let mut start = 0;
        let parts: Vec<_> = children
            .iter()
            .zip(splits)
            .map(|(child, length)| {
                let range = start..start + length;
                start = range.end;
                let cut = |state: &Sublayer<'a>| state.map(|tensor| tensor.narrow(1, range.start, range.len()));
                super::walk::part(self, child, cut(&state), cut(&entered))
            })
            .collect();
        let parts: Vec<_> =
            if Self::leave_alike(&parts) { parts } else { parts.into_iter().map(|part| self.settle(part)).collect() };
        self.cat(&parts, 1).unwrap_or(state)
    }
}
