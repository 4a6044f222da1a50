//! LoRA in GGUF files, as llama.cpp reads it.
//!
//! A file has the keys `general.type` (`adapter`), `general.architecture` (the model's), `adapter.type` (`lora`) and
//! `adapter.lora.alpha`, and for each matrix the tensors `blk.N.attn_q.weight.lora_a` (`[r, input]`) and `.lora_b` (`[output, r]`).
//! The factor is `alpha / r`, with the rank of the tensor. Where llama.cpp stores the rows of query and key as neighboring pairs,
//! those of `B` are so, too.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::Device;
use burn_adapters_core::{LlamaCpp, ModelSpec, Place, Site, StackKind};
use burn_adapters_files::{MAX_WEIGHTS, shorten};
use burn_adapters_model::{Adapter, AdapterBank};
use burn_adapters_tensors::{BlockType, Gguf, GgufTensor, GgufValue, heads_in_pairs, pairs_in_heads, write_gguf};

use crate::convert::Converted;
use crate::format::path_name;
use crate::updates::{Update, Values, updates};
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
    for (site, (stored, shapes)) in sites(&file, spec).map_err(wrong)? {
        let [[rank, input], [output, other]] = whole(site, shapes).map_err(wrong)?;
        let size = spec.matrix(site).ok_or_else(|| wrong(format!("the model has no matrix `{stored}`")))?;
        let [d_input, d_output] = size;
        if rank != other || rank == 0 || [input, output] != size {
            return Err(wrong(format!(
                "`{stored}` has halves of {:?} and {:?}, but the model's matrix is [{d_output}, {d_input}]",
                [rank, input],
                [output, other]
            )));
        }
        let [a, b] = HALVES.map(|half| format!("{stored}.{half}"));
        let factor = if alpha == 0.0 { 1.0 } else { alpha / rank as f64 };
        let rows: Vec<f32> = file.read(&b)?;
        let b_rows = match heads(site, spec, model) {
            Some(heads) => pairs_in_heads(&rows, d_output, heads).ok_or_else(|| wrong(uneven(&b, heads)))?,
            None => rows,
        };
        updates.push(Update { site, rank, size, a: file.read(&a)?, b: b_rows, factor, magnitude: None, bias: None });
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

/// The name of a tensor's matrix, and the shapes of both halves.
type Halves = (String, [Option<Vec<usize>>; 2]);

/// The tensors by the sites of their matrices.
fn sites(file: &Gguf, spec: &ModelSpec) -> Result<BTreeMap<Site, Halves>, String> {
    let mut sites: BTreeMap<Site, Halves> = BTreeMap::new();
    for (name, shape) in file.tensors() {
        let half =
            HALVES.iter().enumerate().find_map(|(half, end)| Some((half, name.strip_suffix(end)?.strip_suffix('.')?)));
        let found = half.and_then(|(half, stored)| Some((half, stored, site(stored, spec)?)));
        let (half, stored, site) = found.ok_or_else(|| {
            let name = shorten(name);
            format!(
                "its tensor `{name}` is no half of an update of a matrix that adapters change in this {} model",
                spec.model_type
            )
        })?;
        sites.entry(site).or_insert_with(|| (stored.to_owned(), [None, None])).1[half] = Some(shape.to_vec());
    }
    if sites.is_empty() { Err("it has no tensors".to_owned()) } else { Ok(sites) }
}

/// The site of a matrix.
fn site(stored: &str, spec: &ModelSpec) -> Option<Site> {
    let (layer, module) = stored.strip_prefix("blk.")?.strip_suffix(".weight")?.split_once('.')?;
    let place = Place::ALL.into_iter().find(|place| place.llama_cpp_name() == Some(module))?;
    let site = Site::decoder(layer.parse().ok()?, place);
    spec.matrix(site).map(|_| site)
}

/// The shapes of both halves of a site's update.
fn whole(site: Site, shapes: [Option<Vec<usize>>; 2]) -> Result<[[usize; 2]; 2], String> {
    let [a, b] = shapes.map(|shape| <[usize; 2]>::try_from(shape?).ok());
    a.zip(b).map(|(a, b)| [a, b]).ok_or_else(|| format!("the update at {site} lacks a half, or it is no matrix"))
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
    let model = spec.llama_cpp.filter(|_| spec.stack(StackKind::Encoder).is_none());
    let model =
        model.ok_or_else(|| refused(format!("it has no names for the matrices of a {} model", spec.model_type)))?;
    let updates =
        updates(adapter, &mut Values::of(adapter)?).map_err(|reason| refused(format!("{reason}; {MERGE}")))?;
    let (mut tensors, mut values) = (Vec::new(), BTreeMap::new());
    // One `alpha` for all: `alpha / r` is the factor where the rank is the same.
    let alpha = updates.first().map_or(0.0, |update| update.factor * update.rank as f64);
    for update in updates {
        if update.magnitude.is_some() {
            return Err(refused(format!("it does not have DoRA; {MERGE}")));
        }
        if update.bias.is_some() {
            return Err(refused(format!("it has no biases beside LoRA (`bias`); {MERGE}")));
        }
        let (site, rank, [d_input, d_output]) = (update.site, update.rank, update.size);
        let stored = site.place.llama_cpp_name();
        let stored = stored.ok_or_else(|| refused(format!("it has no update of the matrix at {site}; {MERGE}")))?;
        let [a, b] = HALVES.map(|half| format!("blk.{}.{stored}.weight.{half}", site.layer));
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
