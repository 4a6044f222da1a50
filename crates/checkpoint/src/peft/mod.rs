//! Adapters of the library PEFT.
//!
//! A folder of PEFT has the same names of files for its configuration, `adapter_config.json`, which has the key `peft_type`, and
//! `adapter_model.safetensors` (or `.bin`). Its tensors are called `base_model.model.` + the module + a name of the method.
//! Everything that is read is exact:
//!
//! - LoRA: `lora_A.weight` (`[r, input]`) and `lora_B.weight` (`[output, r]`). The factor of each module is `alpha / r` or, with
//!   rsLoRA, `alpha / √r`, also where `rank_pattern` and `alpha_pattern` give modules ranks and factors of their own: lower ranks
//!   are filled up with zeros, and factors that differ go into `B`. Where only some layers adapt a module, the update is zero in
//!   the others, or the layer is left out. An update of a fused matrix (GPT-2's `c_attn`) is one of each part, with the
//!   ranks that it uses.
//! - The biases that were trained beside LoRA: those of updates (`lora_bias`), and those of the model's matrices
//!   (`bias="lora_only"`, and `"all"` where nothing else has a bias), which replace the model's.
//! - DoRA, for matrices without a bias; (IA)³ on outputs, and on the input of a gated block's last matrix; VeRA, if its frozen
//!   matrices are in the file; prompt tuning and p-tuning for decoders without a table of positions; prefix tuning for decoders with rotary positions.
//! - The head of a class for a task (`modules_to_save`), as a head of the same layers.
//!
//! What changes the base model, or what the methods of AdapterHub do not have, is an error that names it.

mod head;
mod lora;
mod prefix;
mod prompt;
mod settings;
mod targets;
mod vectors;
mod vera;
mod write;

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use burn_adapters_core::ModelSpec;
use burn_adapters_files::{FolderKind, MAX_CONFIG, parse_json, read_text};
use burn_adapters_model::Adapter;
use burn_adapters_tensors::Tensors;
use serde_json::{Map, Value};

pub(crate) use self::head::{has_head, read_head};
use self::settings::Method;
pub use self::write::{ExportOptions, stage_peft};
use crate::files::weights_in;
use crate::format::path_name;
use crate::{CheckpointError, LoadReport};

/// The files of the weights.
const WEIGHTS: [&str; 2] = ["adapter_model.safetensors", "adapter_model.bin"];

/// What the names of all tensors of modules start with.
const PREFIX: &str = "base_model.model.";

/// Whether a folder holds an adapter of PEFT.
pub(crate) fn is_peft(dir: &Path) -> bool {
    matches!(FolderKind::of(dir), Some(FolderKind::Peft { .. }))
}

/// A folder as it is.
struct Folder {
    config: Map<String, Value>,
    config_path: PathBuf,
    tensors: Tensors,
    weights_path: PathBuf,
}

impl Folder {
    fn read(dir: &Path) -> Result<Self, CheckpointError> {
        let (config_path, config) = read_config(dir)?;
        let missing = || {
            let (dir, expected) = (dir.to_owned(), WEIGHTS.to_vec());
            CheckpointError::NotFound { dir, what: "adapter", expected }
        };
        let (weights_path, tensors) = weights_in(dir, WEIGHTS)?.ok_or_else(missing)?;
        Ok(Self { config, config_path, tensors, weights_path })
    }

    /// An error about the weights.
    fn wrong(&self, reason: String) -> CheckpointError {
        CheckpointError::Foreign { path: self.weights_path.clone(), format: "PEFT", reason }
    }
}

fn read_config(dir: &Path) -> Result<(PathBuf, Map<String, Value>), CheckpointError> {
    let path = dir.join("adapter_config.json");
    let text = read_text(&path, MAX_CONFIG)?;
    let reason = match parse_json(&text) {
        Ok(Value::Object(config)) => return Ok((path, config)),
        Ok(_) => "expected a JSON object".to_owned(),
        Err(error) => format!("not valid JSON: {error}"),
    };
    Err(CheckpointError::Foreign { path, format: "PEFT", reason })
}

/// The module of a tensor with this last part.
fn module_of<'a>(name: &'a str, part: &str) -> Option<&'a str> {
    name.strip_prefix(PREFIX).unwrap_or(name).strip_suffix(part)?.strip_suffix('.')
}

/// Reads an adapter of PEFT for a model. A head in its folder is read by [`load_head`](crate::load_head).
///
/// # Errors
/// If a file is missing or damaged; if the folder holds another method, or anything that AdapterHub's methods cannot express; if
/// the model lacks a module, or its matrix has another shape.
pub(crate) fn read(
    dir: &Path,
    spec: &ModelSpec,
    device: &Device,
    name: Option<&str>,
) -> Result<(Adapter, LoadReport), CheckpointError> {
    let mut folder = Folder::read(dir)?;
    let of_config = |reason| CheckpointError::Foreign { path: folder.config_path.clone(), format: "PEFT", reason };
    let method = Method::of(&folder.config).map_err(of_config)?;
    settings::check(&folder.config, method).map_err(of_config)?;
    head::check(&folder.config).map_err(of_config)?;
    let of_head = head::take(&folder.config, &mut folder.tensors);
    let converted = match method {
        Method::Lora => lora::read(&folder.config, &folder.tensors, spec),
        Method::Ia3 => vectors::read(&folder.tensors, spec),
        Method::Vera => vera::read(&folder.config, &folder.tensors, spec),
        Method::Prefix => prefix::read(&folder.config, &folder.tensors, spec),
        Method::Prompt => prompt::read(&folder.tensors, spec),
    };
    let converted = converted.map_err(|reason| folder.wrong(reason))?;
    let saved_name = path_name(dir);
    let name = name.unwrap_or(&saved_name);
    let (adapter, notes) = converted.build(spec, device, name, |reason| folder.wrong(reason))?;
    let report = LoadReport {
        name: name.to_owned(),
        saved_name,
        files: vec![folder.config_path, folder.weights_path],
        applied: folder.tensors.keys().cloned().collect(),
        parameters: adapter.parameters(),
        notes: of_head.into_iter().chain(notes).collect(),
    };
    Ok((adapter, report))
}
