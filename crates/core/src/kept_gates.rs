//! Gates of the beginning of a text, kept while the text grows.

use std::cell::RefCell;
use std::collections::HashMap;

use burn::module::{Module, ParamId};
use burn::nn::Linear;
use burn::tensor::activation::sigmoid;
use burn::tensor::{Device, Tensor};

use crate::{Fill, Init, project, repeated_rows, row_indices};

/// The gates of a pass, for passes that continue it. A gate is a mean over a sequence, so computing it from each new
/// token alone would change it.
///
/// Gates are deep inside the modules of several methods, so the passes of a thread share them implicitly.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_adapters_core::{Fill, Gate, Init, KeptGates};
///
/// let device = Device::default();
/// let gate = Gate::new(2, 1, Fill::ONES, Fill::ZEROS, &mut Init::from_seed(1), &device);
/// let mut kept = KeptGates::default();
/// let prompt = kept.during(|| gate.forward(Tensor::ones([1, 3, 2], &device)));
/// let next = kept.during(|| gate.forward(Tensor::zeros([1, 1, 2], &device)));
/// assert_eq!(next.into_data(), prompt.into_data());
/// ```
#[derive(Debug, Clone, Default)]
pub struct KeptGates {
    /// By the weight of the gate, in the order in which a pass computes them: rows of a batch may do so in turn.
    values: HashMap<ParamId, Vec<Tensor<3>>>,
}

/// The gates of the current pass.
struct Running {
    kept: KeptGates,
    /// The number of a gate's values that the pass has used.
    used: HashMap<ParamId, usize>,
}

thread_local! {
    static RUNNING: RefCell<Option<Running>> = const { RefCell::new(None) };
}

/// Restores the previous pass, even after a panic.
struct Restore(Option<Running>);

impl Drop for Restore {
    fn drop(&mut self) {
        RUNNING.with(|running| running.replace(self.0.take()));
    }
}

impl KeptGates {
    /// Runs a pass. Kept gates are used; the others are computed and kept.
    pub fn during<T>(&mut self, pass: impl FnOnce() -> T) -> T {
        let running = Running { kept: std::mem::take(self), used: HashMap::new() };
        let restore = Restore(RUNNING.with(|slot| slot.replace(Some(running))));
        let result = pass();
        if let Some(running) = RUNNING.with(RefCell::take) {
            *self = running.kept;
        }
        drop(restore);
        result
    }

    /// The gates of these rows of a batch of `rows`, which may have been repeated. `None` if a gate belongs to some rows of
    /// the batch only, as in a routed batch.
    pub fn select(&self, order: &[usize], rows: usize) -> Option<Self> {
        let select = |value: &Tensor<3>| {
            let indices = repeated_rows(order, rows, value.dims()[0])?;
            Some(value.clone().select(0, row_indices(&indices, &value.device().without_autodiff())))
        };
        let select = |(id, values): (&ParamId, &Vec<Tensor<3>>)| {
            Some((*id, values.iter().map(select).collect::<Option<Vec<_>>>()?))
        };
        Some(Self { values: self.values.iter().map(select).collect::<Option<_>>()? })
    }

    /// The gates of a batch whose rows had passes of their own, in this order.
    pub fn joined<'g>(rows: impl IntoIterator<Item = &'g Self>) -> Self {
        let mut by_row: HashMap<ParamId, Vec<&Vec<Tensor<3>>>> = HashMap::new();
        for row in rows {
            row.values.iter().for_each(|(id, values)| by_row.entry(*id).or_default().push(values));
        }
        // A pass that computes a gate several times does so for all rows each time.
        let transposed = |rows: &[&Vec<Tensor<3>>]| {
            let times = rows.iter().map(|row| row.len()).max().unwrap_or(0);
            (0..times).flat_map(|time| rows.iter().filter_map(move |row| row.get(time).cloned())).collect()
        };
        Self { values: by_row.iter().map(|(id, rows)| (*id, transposed(rows))).collect() }
    }

    /// The next value of a gate in the current pass, computed if it is not kept.
    pub(crate) fn of(id: ParamId, hidden: Tensor<3>, compute: impl FnOnce(Tensor<3>) -> Tensor<3>) -> Tensor<3> {
        let kept = RUNNING.with(|running| {
            let mut running = running.borrow_mut();
            let Running { kept, used } = running.as_mut()?;
            let used = used.entry(id).or_insert(0);
            let [rows, _, _] = hidden.dims();
            let mut next = || {
                let value = kept.values.get(&id)?.get(*used)?.clone();
                *used += 1;
                Some(value)
            };
            let mut found = vec![next()?];
            let rows_of = |values: &[Tensor<3>]| values.iter().map(|value| value.dims()[0]).sum::<usize>();
            // After `joined`, rows that are computed together have values of their own.
            while rows_of(&found) < rows {
                found.push(next()?);
            }
            Some(if found.len() == 1 { found.remove(0) } else { Tensor::cat(found, 0) })
        });
        if let Some(kept) = kept {
            return kept;
        }
        let value = compute(hidden);
        RUNNING.with(|running| {
            if let Some(Running { kept, used }) = running.borrow_mut().as_mut() {
                kept.values.entry(id).or_default().push(value.clone());
                *used.entry(id).or_insert(0) += 1;
            }
        });
        value
    }
}

// The gate of UniPELT (Mao et al., 2022, <https://arxiv.org/abs/2110.07577>): how strongly a module acts on a
// sequence.

/// `g = mean over positions of σ(x Wᵍ + bᵍ)`: one number per sequence (and output) in `(0, 1)`.
#[derive(Module, Debug)]
pub struct Gate {
    /// `[hidden] → [outputs]`.
    pub projection: Linear,
}

impl Gate {
    /// A new gate over hidden states of `hidden_size` with one value per output; weights are drawn from `weight`,
    /// biases from `bias`.
    pub fn new(hidden_size: usize, outputs: usize, weight: Fill, bias: Fill, init: &mut Init, device: &Device) -> Self {
        Self { projection: init.linear([hidden_size, outputs], weight, Some(bias), device) }
    }

    /// Computes the gate; within [`KeptGates::during`], returns the kept gate if there is one.
    ///
    /// # Shapes
    /// - hidden: `[batch, sequence, hidden]`
    /// - output: `[batch, 1, outputs]`
    pub fn forward(&self, hidden: Tensor<3>) -> Tensor<3> {
        KeptGates::of(self.projection.weight.id, hidden, |hidden| {
            sigmoid(project(&self.projection, hidden)).mean_dim(1)
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::{Fill, Gate, Init};

    fn gate() -> (Gate, impl Fn(f32, usize) -> Tensor<3>) {
        let device = Device::default();
        let gate = Gate::new(2, 1, Fill::ONES, Fill::ZEROS, &mut Init::from_seed(1), &device);
        (gate, move |value, rows| Tensor::full([rows, 1, 2], value, &device))
    }

    fn value(gate: Tensor<3>) -> Vec<f32> {
        gate.into_data().try_to_vec().unwrap()
    }

    #[test]
    fn rows_that_take_turns_keep_their_own_gates() {
        let (gate, hidden) = gate();
        let mut kept = KeptGates::default();
        let first = kept.during(|| [gate.forward(hidden(1.0, 2)), gate.forward(hidden(2.0, 1))].map(value));
        let later = kept.during(|| [gate.forward(hidden(0.0, 2)), gate.forward(hidden(0.0, 1))].map(value));
        assert_eq!(first, later);
        assert_ne!(value(gate.forward(hidden(0.0, 2))), first[0], "outside of a pass nothing is kept");
    }

    #[test]
    fn rows_of_different_passes_are_joined() {
        let (gate, hidden) = gate();
        let mut rows = [1.0, 2.0, 3.0].map(|content| {
            let mut kept = KeptGates::default();
            (value(kept.during(|| gate.forward(hidden(content, 1)))), kept)
        });
        let mut joined = KeptGates::joined(rows.iter().map(|(_, kept)| kept));
        // The first two rows are computed together, then the third.
        let later = joined.during(|| [gate.forward(hidden(0.0, 2)), gate.forward(hidden(0.0, 1))].map(value));
        assert_eq!(later.concat(), rows.each_mut().map(|(value, _)| value[0]));
    }

    #[test]
    fn rows_are_selected() {
        let (gate, hidden) = gate();
        let mut kept = KeptGates::default();
        let rows = Tensor::cat(vec![hidden(1.0, 1), hidden(2.0, 1)], 0);
        let first = kept.during(|| value(gate.forward(rows.clone())));
        let mut selected = kept.select(&[1, 0, 1], 2).unwrap();
        let later = selected.during(|| value(gate.forward(hidden(0.0, 3))));
        assert_eq!(later, [first[1], first[0], first[1]]);
        assert!(kept.select(&[1, 0, 1], 3).is_none(), "the gate has two rows");
    }
}
