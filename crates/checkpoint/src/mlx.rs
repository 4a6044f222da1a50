//! LoRA in folders of mlx-lm: `adapters.safetensors` and `adapter_config.json`.
//!
//! A module's tensors are `lora_a` (`[input, r]`) and `lora_b` (`[r, output]`); `scale` multiplies the update directly.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use burn::tensor::Device;
use burn_adapters_core::{ModelSpec, Site, SiteName, StackKind, join_path};
use burn_adapters_files::{FolderSave, MAX_CONFIG, parse_json, read_text, shorten};
use burn_adapters_model::{Adapter, AdapterBank};
use burn_adapters_tensors::{RawTensor, Tensors};
use serde_json::{Value, json};

use crate::convert::Converted;
use crate::files::weights_in;
use crate::format::path_name;
use crate::updates::{Update, Values, transposed, updates};
use crate::write::encode;
use crate::{CheckpointError, LoadReport, SaveReport};

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapters.safetensors";
const HALVES: [&str; 2] = ["lora_a", "lora_b"];

/// Reads a folder for a model.
pub(crate) fn read(
    dir: &Path,
    spec: &ModelSpec,
    device: &Device,
    name: Option<&str>,
) -> Result<(Adapter, LoadReport), CheckpointError> {
    let config_path = dir.join(CONFIG);
    let text = read_text(&config_path, MAX_CONFIG)?;
    let wrong = |reason: String| CheckpointError::Foreign { path: dir.to_owned(), format: "mlx-lm", reason };
    let config = parse_json(&text).map_err(|error| wrong(format!("`{CONFIG}` is not valid JSON: {error}")))?;
    let settings = Settings::read(&config).map_err(wrong)?;
    // Of the two names, only the first is one of mlx-lm.
    let (weights_path, tensors) = weights_in(dir, [WEIGHTS, WEIGHTS])?.ok_or_else(|| CheckpointError::NotFound {
        dir: dir.to_owned(),
        what: "adapter",
        expected: vec![WEIGHTS],
    })?;
    let updates = of_tensors(&tensors, settings.scale, spec).map_err(wrong)?;
    let converted = Converted::of_updates(&updates, settings.dropout, spec).map_err(wrong)?;
    let saved_name = path_name(dir);
    let name = name.unwrap_or(&saved_name);
    let (adapter, notes) = converted.build(spec, device, name, wrong)?;
    let report = LoadReport {
        name: name.to_owned(),
        saved_name,
        files: vec![config_path, weights_path],
        applied: tensors.into_keys().collect(),
        parameters: adapter.parameters(),
        notes,
    };
    Ok((adapter, report))
}

struct Settings {
    scale: f64,
    dropout: f64,
}

impl Settings {
    fn read(config: &Value) -> Result<Self, String> {
        match config.get("fine_tune_type").and_then(Value::as_str) {
            None | Some("lora") => {}
            Some(other) => return Err(format!("it holds `{}`, of which only LoRA is read", shorten(other))),
        }
        let parameters = config.get("lora_parameters").ok_or("the key `lora_parameters` is missing")?;
        let number = |key: &str| parameters.get(key).and_then(Value::as_f64).filter(|number| number.is_finite());
        let scale = number("scale").ok_or("the key `scale` of `lora_parameters` is missing, or no number")?;
        Ok(Self { scale, dropout: number("dropout").unwrap_or(0.0) })
    }
}

/// The module of a site, and whether it is one of its own.
fn module(site: Site, spec: &ModelSpec) -> Option<String> {
    match spec.names.site(site)? {
        SiteName::Whole(_) => Some(join_path(&spec.hub_prefix, &spec.names.module(site)?)),
        SiteName::Part { .. } => None,
    }
}

fn of_tensors(tensors: &Tensors, scale: f64, spec: &ModelSpec) -> Result<Vec<Update>, String> {
    let sites: BTreeMap<String, (Site, [usize; 2])> =
        spec.matrices().filter_map(|(site, size)| Some((module(site, spec)?, (site, size)))).collect();
    let mut halves: BTreeMap<&str, [Option<&RawTensor>; 2]> = BTreeMap::new();
    for (name, tensor) in tensors {
        let half =
            HALVES.iter().enumerate().find_map(|(half, end)| Some((half, name.strip_suffix(end)?.strip_suffix('.')?)));
        let (half, path) = half.ok_or_else(|| format!("its tensor `{}` is no half of LoRA", shorten(name)))?;
        halves.entry(path).or_default()[half] = Some(tensor);
    }
    if halves.is_empty() {
        return Err("it has no tensors".to_owned());
    }
    halves
        .into_iter()
        .map(|(path, halves)| {
            let [Some(a), Some(b)] = halves else { return Err(format!("`{path}` lacks a half")) };
            let (site, size) = *sites.get(path).ok_or_else(|| {
                format!("`{path}` is not a matrix that adapters change in this {} model", spec.model_type)
            })?;
            match (a.shape.as_slice(), b.shape.as_slice()) {
                (&[input, rank], &[other, output]) if rank == other && rank > 0 && [input, output] == size => {
                    Ok(Update {
                        site,
                        rank,
                        size,
                        a: transposed(&a.values, [input, rank]),
                        b: transposed(&b.values, [rank, output]),
                        factor: scale,
                        magnitude: None,
                        bias: None,
                    })
                }
                (a, b) => Err(format!("`{path}` has halves of {a:?} and {b:?}, but the model's matrix is {size:?}")),
            }
        })
        .collect()
}

/// Adds the LoRA adapter of a bank to a save, as mlx-lm has it.
///
/// # Errors
/// If the adapter has other methods than LoRA, or mlx-lm names the modules of the model differently; if the bank has no adapter
/// of this name, or writing fails.
pub fn stage_mlx(save: &mut FolderSave, bank: &AdapterBank, name: &str) -> Result<SaveReport, CheckpointError> {
    let (adapter, spec) = (bank.adapter(name)?, bank.spec());
    let refused = |reason: String| CheckpointError::Export { name: name.to_owned(), format: "mlx-lm", reason };
    let stack = spec.stack(StackKind::Decoder).filter(|_| spec.stacks.len() == 1);
    let stack = stack.ok_or_else(|| refused("it has decoders alone".to_owned()))?;
    let updates = updates(adapter, &mut Values::of(adapter)?).map_err(refused)?;
    let dropout = adapter.lora.values().map(|lora| lora.dropout).fold(0.0, f64::max);
    let (rank, scale) = updates.first().map_or((0, 1.0), |update| (update.rank, update.factor));
    let first = updates.iter().map(|update| update.site.layer).min().unwrap_or(0);
    let (mut tensors, mut keys) = (Tensors::new(), BTreeSet::new());
    for update in updates {
        if update.magnitude.is_some() {
            return Err(refused(
                "its DoRA has another norm; merge it into its model (`merge-into`) instead".to_owned(),
            ));
        }
        if update.bias.is_some() {
            let reason = "it has no biases beside LoRA (`bias`); merge it into its model (`merge-into`) instead";
            return Err(refused(reason.to_owned()));
        }
        let (path, Some(name)) = (module(update.site, spec), spec.names.site(update.site)) else { continue };
        let path = path.ok_or_else(|| refused(format!("the matrix at {} is a part of a fused one", update.site)))?;
        keys.insert(name.module());
        let [d_input, d_output] = update.size;
        let halves = [
            ([d_input, rank], transposed(&update.a, [rank, d_input])),
            ([rank, d_output], transposed(&update.b, [d_output, rank])),
        ];
        for (half, (shape, values)) in HALVES.iter().zip(halves) {
            tensors.insert(format!("{path}.{half}"), RawTensor { shape: shape.into(), values });
        }
    }
    let config = json!({
        "fine_tune_type": "lora",
        "num_layers": stack.layers - first,
        "lora_parameters": { "rank": rank, "scale": scale, "dropout": dropout, "keys": keys },
    });
    let config = format!("{config:#}\n");
    let bytes = encode(&save.dir().join(WEIGHTS), &tensors, &[("format", "mlx")])?;
    save.write(WEIGHTS, &bytes)?;
    save.write(CONFIG, config.as_bytes())?;
    Ok(SaveReport {
        files: [WEIGHTS, CONFIG].map(|file| save.dir().join(file)).into(),
        tensors: tensors.len(),
        parameters: adapter.parameters(),
        bytes: (bytes.len() + config.len()) as u64,
        removed: vec![],
        notes: vec![],
    })
}
