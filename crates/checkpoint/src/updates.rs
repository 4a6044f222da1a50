//! The updates of LoRA as other libraries hold them: both matrices in rows of their outputs, and a factor.

use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::TensorData;
use burn_adapters_config::LoraBias;
use burn_adapters_core::Site;
use burn_adapters_model::Adapter;
use burn_adapters_tensors::values;

use crate::CheckpointError;

/// The update of one matrix, `factor · B A`.
#[derive(Debug, Clone)]
pub(crate) struct Update {
    pub(crate) site: Site,
    pub(crate) rank: usize,
    /// `[d_input, d_output]`.
    pub(crate) size: [usize; 2],
    /// `[r, d_input]`.
    pub(crate) a: Vec<f32>,
    /// `[d_output, r]`.
    pub(crate) b: Vec<f32>,
    pub(crate) factor: f64,
    /// The magnitude of DoRA: `[d_output]`.
    pub(crate) magnitude: Option<Vec<f32>>,
    pub(crate) bias: Option<TrainedBias>,
}

/// The bias that was trained beside an update.
#[derive(Debug, Clone)]
pub(crate) struct TrainedBias {
    /// That of the update, which has its factor, or the one of the matrix.
    pub(crate) kind: LoraBias,
    /// `[d_output]`.
    pub(crate) values: Vec<f32>,
}

impl Update {
    /// Whether its factor has an effect: not where it is a bias of the matrix alone.
    pub(crate) fn has_factor(&self) -> bool {
        self.rank > 0 || self.bias.as_ref().is_some_and(|bias| bias.kind == LoraBias::Update)
    }

    /// The ranks that change the output: those with an element of `B` that is not 0.
    pub(crate) fn used_ranks(&self) -> BTreeSet<usize> {
        let is_used = |rank: &usize| self.b.iter().skip(*rank).step_by(self.rank.max(1)).any(|value| *value != 0.0);
        (0..self.rank).filter(is_used).collect()
    }

    /// The ranks that read the input: those with an element of `A` that is not 0.
    pub(crate) fn input_ranks(&self) -> BTreeSet<usize> {
        let rows = self.a.chunks(self.size[0].max(1)).enumerate();
        rows.filter(|(_, row)| row.iter().any(|value| *value != 0.0)).map(|(rank, _)| rank).collect()
    }

    /// The same update with these ranks alone.
    pub(crate) fn with_ranks(self, ranks: &BTreeSet<usize>) -> Self {
        let rows = ranks.iter().filter_map(|rank| self.a.chunks(self.size[0].max(1)).nth(*rank));
        let a = rows.flatten().copied().collect();
        let columns = |row: &[f32]| ranks.iter().filter_map(|rank| row.get(*rank).copied()).collect::<Vec<_>>();
        let b = self.b.chunks(self.rank.max(1)).flat_map(columns).collect();
        Self { rank: ranks.len(), a, b, ..self }
    }

    /// As our module has it, `[d_input, r]` and `[r, d_output]`, with zeros up to a rank, and `B` times a factor.
    pub(crate) fn padded(&self, rank: usize, factor: f32) -> [Vec<f32>; 2] {
        let [d_input, d_output] = self.size;
        let (mut a, mut b) = (vec![0.0; d_input * rank], vec![0.0; rank * d_output]);
        for (inner, row) in self.a.chunks(d_input.max(1)).enumerate() {
            row.iter().enumerate().for_each(|(input, value)| a[input * rank + inner] = *value);
        }
        for (output, row) in self.b.chunks(self.rank.max(1)).enumerate() {
            row.iter().enumerate().for_each(|(inner, value)| b[inner * d_output + output] = value * factor);
        }
        [a, b]
    }
}

/// The updates of a fused module's parts, with the ranks that each part uses: those for which it has elements other than 0
/// in `B`. The others change nothing in the part, and are there because all parts share an `A`.
///
/// Ranks that no part uses yet are left to the parts that use none, so that an untrained update can still be trained. A part
/// without ranks is not adapted, if it has nothing else.
pub(crate) fn of_parts(parts: Vec<Update>) -> Vec<Update> {
    if parts.len() < 2 {
        return parts;
    }
    let used: Vec<BTreeSet<usize>> = parts.iter().map(Update::used_ranks).collect();
    let mut untrained: BTreeSet<usize> = parts.iter().take(1).flat_map(Update::input_ranks).collect();
    untrained.retain(|rank| used.iter().all(|used| !used.contains(rank)));
    let kept = |used| if BTreeSet::is_empty(used) { &untrained } else { used };
    let parts = parts.into_iter().zip(&used).map(|(part, used)| part.with_ranks(kept(used)));
    parts.filter(|part| part.rank > 0 || part.magnitude.is_some() || part.bias.is_some()).collect()
}

/// The update of a fused matrix, of those of some of its parts with their numbers: its `A` has the rows of each part's, and its `B` is
/// zero outside of the part. `None` without a part.
pub(crate) fn fused(parts: Vec<(usize, Update)>, of: usize) -> Option<Update> {
    let (_, first) = parts.first()?;
    let (site, factor, [d_input, d_output]) = (first.site, first.factor, first.size);
    let rank = parts.iter().map(|(_, update)| update.rank).sum();
    let (mut a, mut b) = (Vec::with_capacity(rank * d_input), vec![0.0; of * d_output * rank]);
    let mut before = 0;
    for (part, update) in parts {
        let own = (update.factor / factor) as f32;
        for (output, row) in update.b.chunks(update.rank.max(1)).enumerate() {
            let at = (part * d_output + output) * rank + before;
            b[at..at + row.len()].iter_mut().zip(row).for_each(|(to, from)| *to = from * own);
        }
        before += update.rank;
        a.extend(update.a);
    }
    Some(Update { site, rank, size: [d_input, of * d_output], a, b, factor, magnitude: None, bias: None })
}

/// The parameters of an adapter, by path.
pub(crate) struct Values(BTreeMap<String, TensorData>);

impl Values {
    pub(crate) fn of(adapter: &Adapter) -> Result<Self, CheckpointError> {
        let values = values(adapter, |path| Some(path.to_string()));
        values.map(Self).map_err(|error| CheckpointError::Device(error.to_string()))
    }

    /// The values of a parameter; empty if there is none.
    pub(crate) fn take(&mut self, path: &str) -> Vec<f32> {
        // Data that was just converted to f32 is f32.
        let data = self.0.remove(path).map(TensorData::convert::<f32>);
        data.and_then(|data| data.try_into_vec::<f32>().ok()).unwrap_or_default()
    }
}

/// The methods of an adapter, by the names of their modules.
pub(crate) fn methods(adapter: &Adapter) -> Vec<&'static str> {
    let parts = [
        (!adapter.bottleneck.is_empty(), "bottleneck adapters"),
        (adapter.invertible.is_some(), "an invertible adapter"),
        (!adapter.prefix.is_empty(), "prefix tuning"),
        (adapter.prompt.is_some(), "prompt tuning"),
        (!adapter.reft.is_empty(), "ReFT"),
        (!adapter.lora.is_empty(), "LoRA"),
        (!adapter.vera.is_empty(), "VeRA"),
        (!adapter.mtl.is_empty(), "MTL-LoRA"),
        (!adapter.ia3.is_empty(), "(IA)³"),
    ];
    parts.into_iter().filter(|(is_there, _)| *is_there).map(|(_, name)| name).collect()
}

/// The updates of an adapter that is LoRA alone.
///
/// # Errors
/// The reason why it is not.
pub(crate) fn updates(adapter: &Adapter, values: &mut Values) -> Result<Vec<Update>, String> {
    match methods(adapter).as_slice() {
        ["LoRA"] => {}
        other => return Err(format!("`{}` has {}, expected LoRA alone", adapter.name(), other.join(" and "))),
    }
    adapter
        .lora
        .iter()
        .map(|(site, lora)| {
            if lora.gate.is_some() {
                return Err(format!("`{}` has gates (`use_gating`), which only AdapterHub has", adapter.name()));
            }
            let (size, [_, rank]) = (lora.shape(), lora.a.lazy_shape().dims());
            let [d_input, d_output] = size;
            let path = |local: &str| format!("lora.{}.{local}", site.key());
            Ok(Update {
                site: *site,
                rank,
                size,
                a: transposed(&values.take(&path("a")), [d_input, rank]),
                b: transposed(&values.take(&path("b")), [rank, d_output]),
                factor: lora.scaling,
                magnitude: lora.magnitude.is_some().then(|| values.take(&path("magnitude.vector"))),
                bias: lora.bias.as_ref().map(|bias| TrainedBias {
                    kind: if bias.replaces() { LoraBias::Base } else { LoraBias::Update },
                    values: values.take(&path("bias.vector")),
                }),
            })
        })
        .collect()
}

/// The transpose of a matrix, row by row.
pub(crate) fn transposed(values: &[f32], [rows, columns]: [usize; 2]) -> Vec<f32> {
    let column = |column: usize| (0..rows).filter_map(move |row| values.get(row * columns + column).copied());
    (0..columns).flat_map(column).collect()
}
