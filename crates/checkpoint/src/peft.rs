//! LoRA adapters of the library PEFT.
//!
//! A folder of PEFT has the same names of files for its configuration, `adapter_config.json`, which has the key `peft_type`, and
//! `adapter_model.safetensors` (or `.bin`). Its tensors are called `base_model.model.` + the module + `.lora_A.weight`
//! (`[r, input]`) and `.lora_B.weight` (`[output, r]`). What it holds of LoRA is exact here:
//!
//! - the factor of each module, `alpha / r` or, with rsLoRA, `alpha / √r`, also where `rank_pattern` and `alpha_pattern` give
//!   modules ranks and factors of their own: lower ranks are filled up with zeros, and factors that differ go into `B`;
//! - modules that only some layers adapt: in the others the update is zero, or the layer is left out;
//! - an update of a fused matrix (GPT-2's `c_attn`): one of each part, with the same `A`.
//!
//! What changes the base model, or what the methods of AdapterHub do not have, is an error that names it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};
use burn_adapters_config::{AdapterConfig, LoraConfig};
use burn_adapters_core::{ModelSpec, Place, Site, SiteName};
use burn_adapters_files::{FolderKind, MAX_CONFIG, parse_json, read_text, shorten};
use burn_adapters_model::{Adapter, AdapterBank};
use burn_adapters_tensors::{RawTensor, Tensors};
use serde_json::{Map, Value};

use crate::files::weights_in;
use crate::{CheckpointError, LoadReport};

/// The files of the weights.
const WEIGHTS: [&str; 2] = ["adapter_model.safetensors", "adapter_model.bin"];

/// What to do with an adapter that is more than LoRA here.
const REMEDY: &str =
    "merge it into its model with PEFT (`merge_and_unload`, `save_pretrained`) and use that as the model";

/// What the names of all tensors start with.
const PREFIX: &str = "base_model.model.";

/// Keys that change what an adapter computes in ways that have no counterpart here, with what they stand for.
const UNSUPPORTED: [(&str, &str); 10] = [
    ("use_dora", "DoRA, whose magnitudes PEFT computes otherwise than AdapterHub"),
    ("lora_bias", "biases of the update"),
    ("layer_replication", "layers that are repeated"),
    ("modules_to_save", "modules that are trained whole"),
    ("target_parameters", "parameters that are no modules"),
    ("trainable_token_indices", "trained tokens"),
    ("alora_invocation_tokens", "activated LoRA"),
    ("arrow_config", "Arrow"),
    ("use_qalora", "QA-LoRA"),
    ("use_bdlora", "block-diagonal LoRA"),
];

/// Initializations after which the file is an update of a changed base model.
const CHANGED_BASE: [&str; 6] = ["pissa", "olora", "corda", "eva", "loftq", "lora_ga"];

/// Whether a folder holds an adapter of PEFT.
pub fn is_peft(dir: &Path) -> bool {
    matches!(FolderKind::of(dir), Some(FolderKind::Peft { .. }))
}

/// The name that an adapter of PEFT gets: that of its folder, because its files have none.
pub fn peft_name(dir: &Path) -> String {
    let name = std::path::absolute(dir).ok().and_then(|dir| Some(dir.file_name()?.to_string_lossy().into_owned()));
    let name: String =
        name.unwrap_or_default().chars().map(|c| if c == '.' || c.is_control() { '_' } else { c }).collect();
    if name.is_empty() { "adapter".to_owned() } else { name }
}

/// Reads a LoRA adapter of PEFT for a model.
///
/// # Errors
/// If a file is missing or damaged; if the folder holds another method, or anything that AdapterHub's LoRA cannot express; if
/// the model lacks a module, or its matrix has another shape.
pub fn read_peft(
    dir: &Path,
    spec: &ModelSpec,
    device: &Device,
    name: Option<&str>,
) -> Result<(Adapter, LoadReport), CheckpointError> {
    let config_path = dir.join("adapter_config.json");
    let text = read_text(&config_path, MAX_CONFIG)?;
    let wrong = |reason: String| CheckpointError::Peft { path: config_path.clone(), reason };
    let config = match parse_json(&text) {
        Ok(Value::Object(config)) => config,
        Ok(_) => return Err(wrong("expected a JSON object".to_owned())),
        Err(error) => return Err(wrong(format!("not valid JSON: {error}"))),
    };
    let settings = Settings::read(&config).map_err(wrong)?;
    let missing = || {
        let (dir, expected) = (dir.to_owned(), WEIGHTS.to_vec());
        CheckpointError::NotFound { dir, what: "adapter", expected }
    };
    let (path, tensors) = weights_in(dir, WEIGHTS)?.ok_or_else(missing)?;
    let wrong = |reason: String| CheckpointError::Peft { path: path.clone(), reason };
    let modules = modules(&tensors).map_err(wrong)?;
    let updates = Updates::new(&settings, modules, spec).map_err(wrong)?;
    let config = updates.config(&settings, spec);
    let saved_name = peft_name(dir);
    let name = name.unwrap_or(&saved_name);
    let (mut adapter, added) = AdapterBank::new(spec.clone(), device).plan(name, AdapterConfig::from(config))?;
    let mut filled = BTreeSet::new();
    for (site, lora) in adapter.lora.iter_mut() {
        let [d_input, rank] = lora.a.lazy_shape().dims();
        let [_, d_output] = lora.b.lazy_shape().dims();
        let (a, b) = match updates.of_site.get(site) {
            Some((a, b)) => (a.clone(), b.clone()),
            None => (vec![0.0; d_input * rank], vec![0.0; rank * d_output]),
        };
        let matrix = |values: Vec<f32>, shape: [usize; 2]| {
            Param::from_tensor(Tensor::<2>::from_data(TensorData::new(values, shape), device))
        };
        lora.a = matrix(a, [d_input, rank]);
        lora.b = matrix(b, [rank, d_output]);
        filled.insert(*site);
    }
    if let Some(site) = updates.of_site.keys().find(|site| !filled.contains(site)) {
        return Err(wrong(format!("LoRA has no place for the update at {site}")));
    }
    adapter.mark_loaded();
    let missing = filled.len() - updates.of_site.len();
    let note = (missing > 0).then(|| {
        format!("{missing} matrices that it does not adapt have an update of zero: AdapterHub's LoRA adapts the same in each layer")
    });
    let report = LoadReport {
        name: name.to_owned(),
        saved_name,
        files: vec![config_path, path],
        applied: tensors.keys().cloned().collect(),
        parameters: adapter.parameters(),
        notes: note.into_iter().chain(added.notes).collect(),
    };
    Ok((adapter, report))
}

/// The keys of a configuration that count.
struct Settings {
    rank: usize,
    alpha: f64,
    is_rank_stabilized: bool,
    ranks: BTreeMap<String, f64>,
    alphas: BTreeMap<String, f64>,
    dropout: f64,
}

impl Settings {
    fn read(config: &Map<String, Value>) -> Result<Self, String> {
        let get = |key: &str| config.get(key).filter(|value| !value.is_null());
        match get("peft_type").and_then(Value::as_str) {
            Some("LORA") => {}
            Some(other) => {
                let method = shorten(other);
                return Err(format!("it holds {method} of PEFT, of which only LoRA is read; {REMEDY}"));
            }
            None => return Err("the key `peft_type` is missing".to_owned()),
        }
        for (key, what) in UNSUPPORTED {
            let is_neutral = |value: &Value| match value {
                Value::Bool(flag) => !flag,
                Value::Array(list) => list.is_empty(),
                Value::Object(map) => map.is_empty(),
                _ => false,
            };
            if get(key).is_some_and(|value| !is_neutral(value)) {
                return Err(format!("it has {what} (`{key}`), which AdapterHub's LoRA lacks; {REMEDY}"));
            }
        }
        if let Some(kind) = get("init_lora_weights").and_then(Value::as_str)
            && CHANGED_BASE.iter().any(|known| kind.to_lowercase().starts_with(known))
        {
            let kind = shorten(kind);
            return Err(format!(
                "it was initialized by \"{kind}\", so that it is an update of a changed base model; convert it in PEFT \
                 (`save_pretrained` with `path_initial_model_for_weight_conversion`)"
            ));
        }
        match get("bias").and_then(Value::as_str) {
            None | Some("none") => {}
            Some(bias) => {
                let bias = shorten(bias);
                return Err(format!("it trained biases of the base model (bias=\"{bias}\"); {REMEDY}"));
            }
        }
        let number = |key: &str, default: f64| match get(key) {
            None => Ok(default),
            Some(value) => value
                .as_f64()
                .filter(|number| number.is_finite())
                .ok_or_else(|| format!("`{key}` must be a number, found {}", shorten(&value.to_string()))),
        };
        let rank = number("r", 8.0)?;
        if rank < 1.0 || rank.fract() != 0.0 || rank > f64::from(u16::MAX) {
            return Err(format!("`r` must be a whole number from 1 to 65535, found {rank}"));
        }
        let pattern = |key: &str| -> Result<BTreeMap<String, f64>, String> {
            let Some(value) = get(key) else { return Ok(BTreeMap::new()) };
            let entries = value.as_object().ok_or_else(|| format!("`{key}` must be an object"))?;
            let number = |(name, value): (&String, &Value)| {
                let number = value.as_f64().filter(|number| number.is_finite());
                Ok((name.clone(), number.ok_or_else(|| format!("`{key}` must give numbers"))?))
            };
            entries.iter().map(number).collect()
        };
        Ok(Self {
            rank: rank as usize,
            alpha: number("lora_alpha", 8.0)?,
            is_rank_stabilized: get("use_rslora").and_then(Value::as_bool).unwrap_or(false),
            ranks: pattern("rank_pattern")?,
            alphas: pattern("alpha_pattern")?,
            dropout: number("lora_dropout", 0.0)?,
        })
    }

    /// The factor of a module with this rank.
    fn scale(&self, module: &str, rank: usize) -> Result<f64, String> {
        let alpha = of_pattern(&self.alphas, module)?.unwrap_or(self.alpha);
        if let Some(expected) =
            of_pattern(&self.ranks, module)?.or(Some(self.rank as f64)).filter(|own| *own != rank as f64)
        {
            return Err(format!("`{module}` has the rank {rank}, but the configuration says {expected}"));
        }
        let rank = rank as f64;
        Ok(if self.is_rank_stabilized { alpha / rank.sqrt() } else { alpha / rank })
    }
}

/// The value of the first pattern that a module's path ends with. PEFT takes patterns for regular expressions; of these, only
/// plain paths are read.
fn of_pattern(patterns: &BTreeMap<String, f64>, module: &str) -> Result<Option<f64>, String> {
    for (pattern, value) in patterns {
        let plain = pattern.trim_start_matches('^').trim_end_matches('$');
        if !plain.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.') {
            return Err(format!("the pattern `{}` is a regular expression, which is not read", shorten(pattern)));
        }
        if module == plain || module.strip_suffix(plain).is_some_and(|path| path.ends_with('.')) {
            return Ok(Some(*value));
        }
    }
    Ok(None)
}

/// The update of a module: `A` (`[r, input]`) and `B` (`[output, r]`).
struct Module<'a> {
    a: &'a RawTensor,
    b: &'a RawTensor,
    rank: usize,
}

/// The modules by their paths in Hugging Face's class.
fn modules(tensors: &Tensors) -> Result<BTreeMap<String, Module<'_>>, String> {
    let mut halves: BTreeMap<String, [Option<&RawTensor>; 2]> = BTreeMap::new();
    for (name, tensor) in tensors {
        let path = name.strip_prefix(PREFIX).unwrap_or(name);
        let half = [".lora_A.weight", ".lora_B.weight"].iter().enumerate();
        let half = half.filter_map(|(half, suffix)| Some((half, path.strip_suffix(suffix)?))).next();
        let (half, module) = half.ok_or_else(|| format!("its tensor `{}` is no part of LoRA", shorten(name)))?;
        halves.entry(module.to_owned()).or_default()[half] = Some(tensor);
    }
    if halves.is_empty() {
        return Err("it has no tensors".to_owned());
    }
    halves.into_iter().map(|(module, halves)| whole(module, halves)).collect()
}

/// A module with both halves of its update.
fn whole(module: String, halves: [Option<&RawTensor>; 2]) -> Result<(String, Module<'_>), String> {
    match halves {
        [Some(a), Some(b)] => match (a.shape.as_slice(), b.shape.as_slice()) {
            ([rank, _], [_, other]) if rank == other && *rank > 0 => Ok((module, Module { a, b, rank: *rank })),
            (a, b) => Err(format!("`{module}` has lora_A of {a:?} and lora_B of {b:?}, which do not fit together")),
        },
        [a, _] => Err(format!("`{module}` lacks its lora_{}", if a.is_some() { "B" } else { "A" })),
    }
}

/// The updates of a model's matrices: `A` as `[input, r]` and `B` as `[r, output]`, of one rank.
struct Updates {
    rank: usize,
    /// The factor of all.
    scale: f64,
    of_site: BTreeMap<Site, (Vec<f32>, Vec<f32>)>,
}

impl Updates {
    fn new(settings: &Settings, modules: BTreeMap<String, Module<'_>>, spec: &ModelSpec) -> Result<Self, String> {
        let rank = modules.values().map(|module| module.rank).max().unwrap_or(1);
        let mut scales = BTreeMap::new();
        for (path, module) in &modules {
            scales.insert(path.clone(), settings.scale(path, module.rank)?);
        }
        let scale = scales.values().copied().fold(f64::NEG_INFINITY, f64::max);
        if scale == 0.0 || !scale.is_finite() {
            return Err("its factor is 0: it changes nothing".to_owned());
        }
        let mut of_site = BTreeMap::new();
        for (path, module) in &modules {
            let sites = sites(path, spec);
            if sites.is_empty() {
                return Err(format!(
                    "`{path}` is not a matrix that AdapterHub's LoRA adapts in this {}: these are query, key, value, and the \
                     two of the feed-forward block; {REMEDY}",
                    spec.model_type
                ));
            }
            let factor = (scales[path] / scale) as f32;
            for (site, [d_input, d_output], part, of) in sites {
                let (a, b) = (&module.a.shape, &module.b.shape);
                if a[1] != d_input || b[0] != d_output * of {
                    return Err(format!(
                        "`{path}` has lora_A of {a:?} and lora_B of {b:?}, but the model's matrix is [{}, {d_input}]",
                        d_output * of
                    ));
                }
                of_site.insert(site, update(module, [d_input, d_output], part, rank, factor));
            }
        }
        Ok(Self { rank, scale, of_site })
    }

    /// The configuration of AdapterHub's LoRA.
    fn config(&self, settings: &Settings, spec: &ModelSpec) -> LoraConfig {
        let is_at = |places: &[Place]| self.of_site.keys().any(|site| places.contains(&site.place));
        let letters = [
            ("q", [Place::Query, Place::CrossQuery]),
            ("k", [Place::Key, Place::CrossKey]),
            ("v", [Place::Value, Place::CrossValue]),
        ];
        let letters = letters.iter().filter(|(_, places)| is_at(places)).map(|(letter, _)| (*letter).to_owned());
        let attn_matrices: Vec<String> = letters.collect();
        let of_stack = |flag: &dyn Fn(&burn_adapters_core::StackSpec) -> Place| {
            self.of_site.keys().any(|site| spec.stack(site.stack).is_some_and(|stack| flag(stack) == site.place))
        };
        let numbers: BTreeSet<usize> = self.of_site.keys().map(|site| spec.layer_number(*site)).collect();
        LoraConfig {
            leave_out: (0..spec.layer_numbers()).filter(|number| !numbers.contains(number)).collect(),
            selfattn_lora: !attn_matrices.is_empty(),
            attn_matrices,
            intermediate_lora: of_stack(&|stack| stack.intermediate),
            output_lora: of_stack(&|stack| stack.output),
            r: self.rank,
            alpha: self.scale * self.rank as f64,
            dropout: settings.dropout,
            ..LoraConfig::lora()
        }
    }
}

/// The sites that a module is, each with its size, its number among the parts of the module, and their number.
fn sites(path: &str, spec: &ModelSpec) -> Vec<(Site, [usize; 2], usize, usize)> {
    let is = |site: Site| {
        let Some(module) = spec.names.module(site) else { return false };
        path == module || path == spec.names.prefixed(&module)
    };
    let matrices = spec.matrices().filter(|(site, _)| is(*site));
    let found = matrices.map(|(site, size)| match spec.names.site(site) {
        Some(SiteName::Part { index, of, .. }) => (site, size, index, of),
        _ => (site, size, 0, 1),
    });
    found.collect()
}

/// The update of one part of a module, with zeros up to a rank.
fn update(
    module: &Module<'_>,
    [d_input, d_output]: [usize; 2],
    part: usize,
    rank: usize,
    factor: f32,
) -> (Vec<f32>, Vec<f32>) {
    let (mut a, mut b) = (vec![0.0; d_input * rank], vec![0.0; rank * d_output]);
    for inner in 0..module.rank {
        for input in 0..d_input {
            a[input * rank + inner] = module.a.values[inner * d_input + input];
        }
        for output in 0..d_output {
            b[inner * d_output + output] = module.b.values[(part * d_output + output) * module.rank + inner] * factor;
        }
    }
    (a, b)
}
