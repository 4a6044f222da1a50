//! LoRA and DoRA of PEFT.

use std::collections::{BTreeMap, BTreeSet};

use burn_adapters_core::ModelSpec;
use burn_adapters_files::shorten;
use burn_adapters_tensors::{RawTensor, Tensors};
use serde_json::{Map, Value};

use super::module_of;
use super::settings::LoraSettings;
use super::targets::{Target, required};
use crate::convert::Converted;
use crate::updates::Update;

/// Reads LoRA.
pub(super) fn read(config: &Map<String, Value>, tensors: &Tensors, spec: &ModelSpec) -> Result<Converted, String> {
    let settings = LoraSettings::read(config)?;
    let mut updates = Vec::new();
    for (path, module) in modules(tensors, settings.is_dora)? {
        let factor = settings.scale(&path, module.rank)?;
        let parts = required(&path, spec)?.into_iter().map(|target| module.update(&path, target, factor));
        updates.extend(of_parts(parts.collect::<Result<_, _>>()?));
    }
    Converted::of_updates(&updates, settings.dropout, spec)
}

/// The updates of a fused module's parts, with the ranks that each part uses: those for which it has elements other than 0
/// in `B`. The others change nothing in the part, and are there because all parts share an `A`.
///
/// Ranks that no part uses yet are left to the parts that use none, so that an untrained update can still be trained. A part
/// without ranks is not adapted.
fn of_parts(parts: Vec<Update>) -> Vec<Update> {
    if parts.len() < 2 {
        return parts;
    }
    let used: Vec<BTreeSet<usize>> = parts.iter().map(Update::used_ranks).collect();
    let mut untrained: BTreeSet<usize> = parts.iter().take(1).flat_map(Update::input_ranks).collect();
    untrained.retain(|rank| used.iter().all(|used| !used.contains(rank)));
    let kept = |used| if BTreeSet::is_empty(used) { &untrained } else { used };
    let parts = parts.into_iter().zip(&used).map(|(part, used)| part.with_ranks(kept(used)));
    parts.filter(|part| part.rank > 0 || part.magnitude.is_some()).collect()
}

/// The update of a module: `A` (`[r, input]`), `B` (`[output, r]`), and the magnitude of DoRA (`[output]`).
struct Module<'a> {
    a: &'a RawTensor,
    b: &'a RawTensor,
    magnitude: Option<&'a RawTensor>,
    rank: usize,
}

const PARTS: [&str; 3] = ["lora_A.weight", "lora_B.weight", "lora_magnitude_vector"];

/// The modules by their paths in Hugging Face's class.
fn modules(tensors: &Tensors, is_dora: bool) -> Result<BTreeMap<String, Module<'_>>, String> {
    let mut parts: BTreeMap<String, [Option<&RawTensor>; 3]> = BTreeMap::new();
    for (name, tensor) in tensors {
        // Older files have the magnitude as a module.
        let name = name.strip_suffix("vector.weight").map_or(name.clone(), |start| format!("{start}vector"));
        let found = PARTS.iter().enumerate().find_map(|(part, suffix)| Some((part, module_of(&name, suffix)?)));
        let (part, module) = found.ok_or_else(|| format!("its tensor `{}` is no part of LoRA", shorten(&name)))?;
        parts.entry(module.to_owned()).or_default()[part] = Some(tensor);
    }
    if parts.is_empty() {
        return Err("it has no tensors".to_owned());
    }
    parts.into_iter().map(|(module, parts)| whole(module, parts, is_dora)).collect()
}

/// A module with all parts of its update.
fn whole(
    module: String,
    [a, b, magnitude]: [Option<&RawTensor>; 3],
    is_dora: bool,
) -> Result<(String, Module<'_>), String> {
    if magnitude.is_some() != is_dora {
        let (has, says) = if is_dora { ("lacks its magnitude", "true") } else { ("has a magnitude", "false") };
        return Err(format!("`{module}` {has}, but `use_dora` is {says}"));
    }
    let (Some(a), Some(b)) = (a, b) else {
        return Err(format!("`{module}` lacks its lora_{}", if a.is_some() { "B" } else { "A" }));
    };
    match (a.shape.as_slice(), b.shape.as_slice()) {
        ([rank, _], [output, other])
            if rank == other && *rank > 0 && magnitude.is_none_or(|vector| vector.shape == [*output]) =>
        {
            Ok((module, Module { a, b, magnitude, rank: *rank }))
        }
        (a, b) => Err(format!("`{module}` has lora_A of {a:?} and lora_B of {b:?}, which do not fit together")),
    }
}

impl Module<'_> {
    /// The update of one part of a module.
    fn update(&self, path: &str, target: Target, factor: f64) -> Result<Update, String> {
        let ([d_input, d_output], (a, b)) = (target.size, (&self.a.shape, &self.b.shape));
        if a[1] != d_input || b[0] != d_output * target.of {
            return Err(format!(
                "`{path}` has lora_A of {a:?} and lora_B of {b:?}, but the model's matrix is [{}, {d_input}]",
                d_output * target.of
            ));
        }
        let part = |values: &[f32], row: usize| {
            values.chunks((d_output * row).max(1)).nth(target.part).unwrap_or_default().to_vec()
        };
        Ok(Update {
            site: target.site,
            rank: self.rank,
            size: target.size,
            a: self.a.values.clone(),
            b: part(&self.b.values, self.rank),
            factor,
            magnitude: self.magnitude.map(|magnitude| part(&magnitude.values, 1)),
        })
    }
}
