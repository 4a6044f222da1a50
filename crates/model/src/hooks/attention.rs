//! The keys and values of an attention block: prefix tuning.

use std::ops::Range;

use burn::tensor::{Bool, Device, Tensor};
use burn_adapters_core::Site;
use burn_adapters_prefix_tuning::{Attended, Prefixes};

use super::ActiveHooks;
use super::walk::{HookPoint, Rows, State, narrow_mask, select_mask};

/// Keys, values and mask between adapters.
#[derive(Clone)]
pub(super) struct Attending {
    pub(super) attended: Attended,
    input: Tensor<3>,
    /// The number of prefixes of each row.
    pub(super) prefixes: Vec<usize>,
}

impl Attending {
    pub(super) fn new(attended: Attended, input: Tensor<3>) -> Self {
        // A mask for all rows is expanded to one per row: rows may be split and joined.
        let [batch, _, _, _] = attended.keys.dims();
        let prefixes = vec![0; batch];
        let mask = attended.mask.map(|mask| {
            let [rows, heads, queries, keys] = mask.dims();
            if rows == batch { mask } else { mask.expand([batch, heads, queries, keys]) }
        });
        Self { attended: Attended { mask, ..attended }, input, prefixes }
    }
}

impl State for Attending {
    fn batch(&self) -> usize {
        let [batch, _, _, _] = self.attended.keys.dims();
        batch
    }

    fn device(&self) -> Device {
        self.input.device().without_autodiff()
    }

    fn rows(&self, range: Range<usize>) -> Self {
        let (start, count) = (range.start, range.len());
        Self {
            attended: Attended {
                keys: self.attended.keys.clone().narrow(0, start, count),
                values: self.attended.values.clone().narrow(0, start, count),
                mask: self.attended.mask.as_ref().map(|mask| narrow_mask(mask, start, count)),
            },
            input: self.input.clone().narrow(0, start, count),
            prefixes: self.prefixes[range].to_vec(),
        }
    }

    fn select(&self, rows: &Rows) -> Self {
        Self {
            attended: Attended {
                keys: self.attended.keys.clone().select(0, rows.indices.clone()),
                values: self.attended.values.clone().select(0, rows.indices.clone()),
                mask: self.attended.mask.clone().map(|mask| select_mask(&mask, rows)),
            },
            input: self.input.clone().select(0, rows.indices.clone()),
            prefixes: rows.order.iter().map(|row| self.prefixes[*row]).collect(),
        }
    }
}

/// An attention block of the model.
pub(super) struct AttentionPoint<'h, 'a> {
    pub(super) hooks: &'h ActiveHooks<'a>,
    pub(super) site: Site,
}

impl<'a> AttentionPoint<'_, 'a> {
    fn prefixes(&self, adapter: &str) -> Option<&Prefixes<'a>> {
        self.hooks.prefixes.get(adapter)?.iter().find(|prefixes| prefixes.has(self.site))
    }
}

impl HookPoint for AttentionPoint<'_, '_> {
    type State = Attending;

    fn hooks(&self) -> &ActiveHooks<'_> {
        self.hooks
    }

    fn acts(&self, adapter: &str) -> bool {
        self.prefixes(adapter).is_some()
    }

    fn apply(&self, adapter: &str, state: Self::State) -> Self::State {
        let Some(prefixes) = self.prefixes(adapter) else { return state };
        match prefixes.extend(self.site, state.attended.clone(), Some(&state.input)) {
            Ok(extended) => {
                self.hooks.observe_gate(adapter, self.site, extended.gate);
                let [_, _, before, _] = state.attended.keys.dims();
                let more = extended.attended.keys.dims()[2].saturating_sub(before);
                let prefixes = state.prefixes.iter().map(|count| count + more).collect();
                Attending { attended: extended.attended, prefixes, ..state }
            }
            Err(error) => {
                self.hooks.fail(error.into());
                state
            }
        }
    }

    fn settle(&self, state: Self::State) -> Self::State {
        state
    }

    /// Rows with fewer keys are padded in front with masked ones.
    fn join(&self, parts: Vec<Self::State>) -> Self::State {
        let keys_of = |part: &Attending| part.attended.keys.dims()[2];
        let most = parts.iter().map(keys_of).max().unwrap_or(0);
        let uneven = parts.iter().any(|part| keys_of(part) != most);
        let masked = uneven || parts.iter().any(|part| part.attended.mask.is_some());
        let mut keys = Vec::new();
        let mut values = Vec::new();
        let mut masks = Vec::new();
        let queries = parts.iter().filter_map(|part| Some(part.attended.mask.as_ref()?.dims()[2])).max().unwrap_or(1);
        for part in &parts {
            let [batch, heads, own, width] = part.attended.keys.dims();
            let device = part.attended.keys.device();
            let missing = most - own;
            let pad = |tensor: &Tensor<4>| {
                if missing == 0 {
                    return tensor.clone();
                }
                Tensor::cat(vec![Tensor::zeros([batch, heads, missing, width], &device), tensor.clone()], 2)
            };
            keys.push(pad(&part.attended.keys));
            values.push(pad(&part.attended.values));
            if masked {
                let plain = device.without_autodiff();
                let full =
                    |count: usize, value: bool| Tensor::<4, Bool>::full([batch, 1, queries, count], value, &plain);
                let own_mask = match &part.attended.mask {
                    Some(mask) => mask.clone().expand([batch, 1, queries, own]),
                    None => full(own, false),
                };
                masks.push(if missing == 0 { own_mask } else { Tensor::cat(vec![full(missing, true), own_mask], 3) });
            }
        }
        Attending {
            prefixes: parts.iter().flat_map(|part| part.prefixes.iter().copied()).collect(),
            attended: Attended {
                keys: Tensor::cat(keys, 0),
                values: Tensor::cat(values, 0),
                mask: masked.then(|| Tensor::cat(masks, 0)),
            },
            input: Tensor::cat(parts.into_iter().map(|part| part.input).collect(), 0),
        }
    }

    /// Prefixes are never averaged: such a setup is refused before the pass.
    fn average(&self, before: &Self::State, _states: Vec<Self::State>, _weights: &[f64]) -> Self::State {
        before.clone()
    }
}
