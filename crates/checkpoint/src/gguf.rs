//! LoRA in GGUF files, as llama.cpp reads it.
//!
//! A file has the keys `general.type` (`adapter`), `general.architecture` (the model's), `adapter.type` (`lora`) and
//! `adapter.lora.alpha`, and for each matrix the tensors `blk.N.attn_q.weight.lora_a` (`[r, input]`) and `.lora_b` (`[output, r]`).
//! The factor is `alpha / r`, with the rank of the tensor. Where llama.cpp stores the rows of query and key as neighboring pairs,
//! those of `B` are so, too. GPT-2's query, key and value are one matrix there, whose update is that of all three.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::Device;
use burn_adapters_core::{LlamaCpp, ModelSpec, Place, Site, SiteName};
use burn_adapters_files::{MAX_WEIGHTS, shorten};
use burn_adapters_model::{Adapter, AdapterBank};
use burn_adapters_tensors::{BlockType, Gguf, GgufTensor, GgufValue, heads_in_pairs, pairs_in_heads, write_gguf};

use crate::convert::Converted;
use crate::format::path_name;
use crate::updates::{Update, Values, fused, of_parts, updates};
use crate::{CheckpointError, LoadReport, SaveReport};

const TYPE: &str = "general.type";
const ARCHITECTURE: &str = "general.architecture";
const NAME: &str = "general.name";
const METHOD: &str = "adapter.type";
const ALPHA: &str = "adapter.lora.alpha";

/// The halves of an update.
const HALVES: [&str; 2] = ["lora_a", "lora_b"];

/// Reads a file for a model.
pub(crate) fn read(
    path: &Path,
    spec: &ModelSpec,
    device: &Device,
    name: Option<&str>,
) -> Result<(Adapter, LoadReport), CheckpointError> {
    let file = Gguf::open(path, MAX_WEIGHTS)?;
    let wrong = |reason: String| CheckpointError::Foreign { path: path.to_owned(), format: "llama.cpp", reason };
    let model = check(&file, spec).map_err(wrong)?;
    let alpha = file.metadata().get(ALPHA).and_then(GgufValue::as_float).filter(|alpha| alpha.is_finite());
    let alpha = alpha.ok_or_else(|| wrong(format!("the key `{ALPHA}` is missing, or no number")))?;
    let mut updates = Vec::new();
    let mut applied = Vec::new();
    for (stored, (targets, shapes)) in matrices(&file, spec).map_err(wrong)? {
        let [[rank, input], [output, other]] = whole(&stored, shapes).map_err(wrong)?;
        let [a, b] = HALVES.map(|half| format!("{stored}.{half}"));
        let factor = if alpha == 0.0 { 1.0 } else { alpha / rank as f64 };
        let (of_a, of_b): (Vec<f32>, Vec<f32>) = (file.read(&a)?, file.read(&b)?);
        let mut parts = Vec::new();
        for Target { site, size, part, of } in targets {
            let [d_input, d_output] = size;
            if rank != other || rank == 0 || [input, output] != [d_input, of * d_output] {
                return Err(wrong(format!(
                    "`{stored}` has halves of {:?} and {:?}, but the model's matrix is [{}, {d_input}]",
                    [rank, input],
                    [output, other],
                    of * d_output
                )));
            }
            let rows = of_b.chunks(d_output * rank).nth(part).unwrap_or_default().to_vec();
            let b_rows = match heads(site, spec, model) {
                Some(heads) => pairs_in_heads(&rows, d_output, heads).ok_or_else(|| wrong(uneven(&b, heads)))?,
                None => rows,
            };
            parts.push(Update { site, rank, size, a: of_a.clone(), b: b_rows, factor, magnitude: None, bias: None });
        }
        updates.extend(of_parts(parts));
        applied.extend([a, b]);
    }
    let converted = Converted::of_updates(&updates, 0.0, spec).map_err(wrong)?;
    let saved_name = path_name(path);
    let name = name.unwrap_or(&saved_name);
    let (adapter, notes) = converted.build(spec, device, name, wrong)?;
    let parameters = adapter.parameters();
    let files = vec![path.to_owned()];
    Ok((adapter, LoadReport { name: name.to_owned(), saved_name, files, applied, parameters, notes }))
}

/// Checks that a file holds LoRA for this model.
fn check(file: &Gguf, spec: &ModelSpec) -> Result<LlamaCpp, String> {
    let text = |key: &str| file.metadata().get(key).and_then(GgufValue::as_text).unwrap_or_default();
    match text(TYPE) {
        "adapter" => {}
        "" | "model" => return Err("it holds a model, expected an adapter; give it as the model".to_owned()),
        other => return Err(format!("it holds a {}, expected an adapter", shorten(other))),
    }
    if text(METHOD) != "lora" {
        return Err(format!("it holds an adapter of the type `{}`, expected `lora`", shorten(text(METHOD))));
    }
    let model =
        spec.llama_cpp.ok_or_else(|| format!("llama.cpp's names of a {} model are not known", spec.model_type))?;
    match text(ARCHITECTURE) {
        found if found == model.architecture => Ok(model),
        found => {
            Err(format!("it is for the architecture `{}`, but this model is `{}`", shorten(found), model.architecture))
        }
    }
}

/// The shapes of both halves.
type Halves = [Option<Vec<usize>>; 2];

/// The matrices of the model, and the halves of their update, by the names of llama.cpp's matrices.
fn matrices(file: &Gguf, spec: &ModelSpec) -> Result<BTreeMap<String, (Vec<Target>, Halves)>, String> {
    let mut matrices: BTreeMap<String, (Vec<Target>, Halves)> = BTreeMap::new();
    for (name, shape) in file.tensors() {
        let half =
            HALVES.iter().enumerate().find_map(|(half, end)| Some((half, name.strip_suffix(end)?.strip_suffix('.')?)));
        let (half, stored) = half.ok_or_else(|| format!("its tensor `{}` is no half of an update", shorten(name)))?;
        if let Some((_, halves)) = matrices.get_mut(stored) {
            halves[half] = Some(shape.to_vec());
            continue;
        }
        let mut halves = Halves::default();
        halves[half] = Some(shape.to_vec());
        matrices.insert(stored.to_owned(), (targets(stored, spec)?, halves));
    }
    if matrices.is_empty() { Err("it has no tensors".to_owned()) } else { Ok(matrices) }
}

/// A matrix of the model, as a part of one in llama.cpp.
struct Target {
    site: Site,
    /// `[d_input, d_output]`.
    size: [usize; 2],
    part: usize,
    of: usize,
}

/// The matrices of the model that one of llama.cpp's consists of.
fn targets(stored: &str, spec: &ModelSpec) -> Result<Vec<Target>, String> {
    let known = || {
        let (layer, module) = stored.strip_prefix("blk.")?.strip_suffix(".weight")?.split_once('.')?;
        let layer = layer.parse().ok()?;
        let target = |place: Place| {
            let site = Site { stack: spec.stacks.first()?.kind, layer, place };
            let name = spec.names.llama_cpp_name(site).filter(|name| *name == module);
            name.and_then(|_| of_site(site, spec))
        };
        Some(Place::ALL.into_iter().filter_map(target).collect())
    };
    known().filter(|targets: &Vec<Target>| !targets.is_empty()).ok_or_else(|| {
        let (stored, model_type) = (shorten(stored), &spec.model_type);
        format!("it has an update of `{stored}`, which is no matrix that adapters change in this {model_type} model")
    })
}

fn of_site(site: Site, spec: &ModelSpec) -> Option<Target> {
    let (part, of) = match spec.names.site(site) {
        Some(SiteName::Part { index, of, .. }) => (index, of),
        _ => (0, 1),
    };
    Some(Target { site, size: spec.matrix(site)?, part, of })
}

/// The shapes of both halves of a matrix' update.
fn whole(stored: &str, shapes: Halves) -> Result<[[usize; 2]; 2], String> {
    let [a, b] = shapes.map(|shape| <[usize; 2]>::try_from(shape?).ok());
    a.zip(b).map(|(a, b)| [a, b]).ok_or_else(|| format!("the update of `{stored}` lacks a half, or it is no matrix"))
}

/// The number of heads of a matrix whose rows are stored as pairs.
fn heads(site: Site, spec: &ModelSpec, model: LlamaCpp) -> Option<usize> {
    let stack = spec.stack(site.stack)?;
    let [_, d_output] = spec.matrix(site)?;
    (model.is_interleaved && matches!(site.place, Place::Query | Place::Key)).then(|| d_output / stack.head_dim.max(1))
}

fn uneven(name: &str, heads: usize) -> String {
    format!("the rows of `{name}` are no {heads} heads")
}

/// Writes the LoRA adapter of a bank as a GGUF file, whose old version stays whole if that fails.
///
/// # Errors
/// If the adapter is not LoRA alone, or adapts what llama.cpp does not; if the bank has none of this name, or writing fails.
pub fn save_gguf_adapter(path: &Path, bank: &AdapterBank, name: &str) -> Result<SaveReport, CheckpointError> {
    let (adapter, spec) = (bank.adapter(name)?, bank.spec());
    let refused = |reason| CheckpointError::Export { name: name.to_owned(), format: "llama.cpp", reason };
    let model = spec.llama_cpp.filter(|_| spec.stacks.len() == 1);
    let model =
        model.ok_or_else(|| refused(format!("it has no names for the matrices of a {} model", spec.model_type)))?;
    let updates =
        updates(adapter, &mut Values::of(adapter)?).map_err(|reason| refused(format!("{reason}; {MERGE}")))?;
    let (mut tensors, mut values) = (Vec::new(), BTreeMap::new());
    let mut modules: BTreeMap<(usize, &'static str), Vec<(Target, Update)>> = BTreeMap::new();
    for update in updates {
        if update.magnitude.is_some() {
            return Err(refused(format!("it does not have DoRA; {MERGE}")));
        }
        if update.bias.is_some() {
            return Err(refused(format!("it has no biases beside LoRA (`bias`); {MERGE}")));
        }
        let site = update.site;
        let found = spec.names.llama_cpp_name(site).zip(of_site(site, spec));
        let (stored, target) =
            found.ok_or_else(|| refused(format!("it has no update of the matrix at {site}; {MERGE}")))?;
        modules.entry((site.layer, stored)).or_default().push((target, update));
    }
    let whole = |((layer, stored), parts): ((usize, &'static str), Vec<(Target, Update)>)| {
        let of = parts.first().map_or(1, |(target, _)| target.of);
        Some((layer, stored, fused(parts.into_iter().map(|(target, update)| (target.part, update)).collect(), of)?))
    };
    let updates: Vec<_> = modules.into_iter().filter_map(whole).collect();
    // One `alpha` for all: `alpha / r` is the factor where the rank is the same. What is left of others is multiplied into `B`.
    let own_alpha = |update: &Update| update.factor * update.rank as f64;
    let alpha = updates.first().map_or(0.0, |(_, _, update)| own_alpha(update));
    for (layer, stored, mut update) in updates {
        let left = own_alpha(&update) / alpha;
        if left != 1.0 && left.is_finite() {
            update.b.iter_mut().for_each(|value| *value = (f64::from(*value) * left) as f32);
        }
        let (site, rank, [d_input, d_output]) = (update.site, update.rank, update.size);
        let [a, b] = HALVES.map(|half| format!("blk.{layer}.{stored}.weight.{half}"));
        let rows = match heads(site, spec, model) {
            Some(heads) => heads_in_pairs(&update.b, d_output, heads).ok_or_else(|| refused(uneven(&b, heads)))?,
            None => update.b,
        };
        for (name, shape, data) in [(a, vec![rank, d_input], update.a), (b, vec![d_output, rank], rows)] {
            tensors.push(GgufTensor { name: name.clone(), shape, kind: BlockType::F32 });
            values.insert(name, data);
        }
    }
    let metadata = [
        (TYPE, GgufValue::Text("adapter".to_owned())),
        (ARCHITECTURE, GgufValue::Text(model.architecture.to_owned())),
        (NAME, GgufValue::Text(name.to_owned())),
        (METHOD, GgufValue::Text("lora".to_owned())),
        (ALPHA, GgufValue::F32(alpha as f32)),
    ];
    let take = |name: &str| Ok::<_, CheckpointError>(values.remove(name).unwrap_or_default());
    write_gguf(path, &metadata, &tensors, take)?;
    let bytes = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    Ok(SaveReport {
        files: vec![path.to_owned()],
        tensors: tensors.len(),
        parameters: adapter.parameters(),
        bytes,
        removed: vec![],
        notes: vec![],
    })
}

const MERGE: &str = "merge it into its model (`merge-into`) instead";
