//! Checkpoints: everything that training needs to continue as if it had not been interrupted.
//!
//! A folder `epoch-0002` holds `parameters.safetensors` (the adapter and its head), `optimizer.safetensors` (AdamW's
//! two moments of each parameter), `best.safetensors` (the parameters of the best epoch, if that is an earlier one),
//! and `state.json` (the epoch and step, the settings, the history). It is saved and deleted atomically, so a folder of
//! this name is always complete. Random numbers need no state: they depend on the seed and the step.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use burn_adapters_files::{FolderSave, MAX_TEXT, is_there, parse_json, read, remove_folder};
use burn_adapters_tensors::{FloatType, TensorFile, TensorFileError, write_safetensors};
use serde::{Deserialize, Serialize};

use crate::adamw::Moments;
use crate::{History, TrainError};

/// The version of the format.
const VERSION: u32 = 1;
const PARAMETERS: &str = "parameters.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
const BEST: &str = "best.safetensors";
const STATE: &str = "state.json";

pub(crate) type Values = BTreeMap<String, TensorData>;

/// The progress of training, and its settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) version: u32,
    /// The number of completed epochs.
    pub(crate) epoch: usize,
    /// The number of completed optimizer steps.
    pub(crate) step: usize,
    /// The settings that must be the same when training is resumed, by name.
    pub(crate) made_with: BTreeMap<String, String>,
    /// An output of the base model, without adapters, for a text of the training data.
    pub(crate) base_probe: f64,
    /// The number of AdamW steps of each parameter.
    pub(crate) optimizer_steps: BTreeMap<String, u32>,
    pub(crate) history: History,
}

/// A complete checkpoint.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    pub(crate) state: State,
    pub(crate) parameters: Values,
    pub(crate) moments: BTreeMap<String, Moments>,
    /// The parameters of the best epoch, if that is an earlier one.
    pub(crate) best: Option<Values>,
}

impl State {
    pub(crate) fn new(epoch: usize, step: usize, made_with: BTreeMap<String, String>, base_probe: f64) -> Self {
        let (optimizer_steps, history) = (BTreeMap::new(), History::default());
        Self { version: VERSION, epoch, step, made_with, base_probe, optimizer_steps, history }
    }
}

/// The checkpoints in a folder with their epochs, in order.
pub(crate) fn list(folder: &Path) -> Result<Vec<(usize, PathBuf)>, TrainError> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(TrainError::io(folder))? {
        let path = entry.map_err(TrainError::io(folder))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if let Some(epoch) = name.strip_prefix("epoch-").and_then(|epoch| epoch.parse().ok()) {
            found.push((epoch, path));
        }
    }
    found.sort();
    Ok(found)
}

/// Writes a checkpoint into `folder` and returns its path.
pub(crate) fn save(folder: &Path, mut checkpoint: Checkpoint) -> Result<PathBuf, TrainError> {
    let name = format!("epoch-{:04}", checkpoint.state.epoch);
    let path = folder.join(&name);
    clear_remnants(folder)?;
    let mut save = FolderSave::new(&path)?;
    save.write(PARAMETERS, &encode(&path.join(PARAMETERS), &checkpoint.parameters)?)?;
    match &checkpoint.best {
        Some(best) => save.write(BEST, &encode(&path.join(BEST), best)?)?,
        None => drop(save.remove(BEST)),
    }
    let mut moments = Values::new();
    for (parameter, Moments { first, second, steps }) in checkpoint.moments {
        for (name, tensor) in [("first", first), ("second", second)] {
            let data = tensor.try_into_data().map_err(|error| TrainError::Device(error.to_string()))?;
            moments.insert(format!("{parameter}.{name}"), data);
        }
        checkpoint.state.optimizer_steps.insert(parameter, steps);
    }
    save.write(OPTIMIZER, &encode(&path.join(OPTIMIZER), &moments)?)?;
    save.write(STATE, &serde_json::to_vec_pretty(&checkpoint.state).map_err(bad(&path))?)?;
    save.commit()?;
    Ok(path)
}

/// Deletes all but the newest `keep` checkpoints.
pub(crate) fn prune(folder: &Path, keep: usize) -> Result<(), TrainError> {
    let found = list(folder)?;
    for (_, path) in found.iter().rev().skip(keep) {
        remove_folder(path)?;
    }
    Ok(())
}

/// Deletes leftovers of checkpoints that were being written or deleted when training was killed. No other process
/// writes to the folder, because the trainer has claimed it.
fn clear_remnants(folder: &Path) -> Result<(), TrainError> {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let older = name.starts_with(".epoch-") && name.ends_with(".partial");
        if older || name.starts_with(".old-epoch-") || name.starts_with(".saving-epoch-") {
            let path = entry.path();
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(TrainError::io(path))?;
        }
    }
    Ok(())
}

/// Reads the state of a checkpoint.
pub(crate) fn read_state(path: &Path) -> Result<State, TrainError> {
    let file = path.join(STATE);
    let bytes = read(&file, MAX_TEXT)?;
    let text = std::str::from_utf8(&bytes).map_err(bad(&file))?;
    let state: State = serde_json::from_value(parse_json(text).map_err(bad(&file))?).map_err(bad(&file))?;
    if state.version != VERSION {
        return Err(bad(&file)(format!("its version is {}, this program reads version {VERSION}", state.version)));
    }
    Ok(state)
}

/// Reads a checkpoint; the optimizer's state is moved to `device`.
pub(crate) fn load(path: &Path, state: State, device: &Device) -> Result<Checkpoint, TrainError> {
    let parameters = read_tensors(&path.join(PARAMETERS))?;
    let best_file = path.join(BEST);
    let best = is_there(&best_file).then(|| read_tensors(&best_file)).transpose()?;
    let file = path.join(OPTIMIZER);
    let mut values = read_tensors(&file)?;
    let mut moments = BTreeMap::new();
    for (parameter, steps) in &state.optimizer_steps {
        let size = parameters.get(parameter).map(TensorData::num_elements);
        let mut moment = |name: &str| {
            let name = format!("{parameter}.{name}");
            let data = values.remove(&name).ok_or_else(|| bad(&file)(format!("{name} is missing")))?;
            if data.shape().to_vec().len() != 1 || Some(data.num_elements()) != size {
                return Err(bad(&file)(format!("{name} does not have the size of its parameter")));
            }
            let dtype = data.dtype();
            Ok(Tensor::<1>::from_data(data, (device, dtype)))
        };
        let (first, second) = (moment("first")?, moment("second")?);
        moments.insert(parameter.clone(), Moments { first, second, steps: *steps });
    }
    Ok(Checkpoint { state, parameters, moments, best })
}

fn encode(path: &Path, values: &Values) -> Result<Vec<u8>, TrainError> {
    let mut tensors = BTreeMap::new();
    for (name, data) in values {
        let float = FloatType::of(data.dtype())
            .ok_or_else(|| bad(path)(format!("{name} is of type {:?}, which is not trained", data.dtype())))?;
        tensors.insert(name.clone(), (float, data.shape().to_vec()));
    }
    let mut bytes = Vec::new();
    write_safetensors(&mut bytes, path, &tensors, &[], |name| Ok(values[name].clone())).map_err(not_read)?;
    Ok(bytes)
}

fn read_tensors(path: &Path) -> Result<Values, TrainError> {
    let file = TensorFile::open(path, u64::MAX).map_err(not_read)?;
    let read = |name: &str| {
        // In their own precision, so that resumed training is identical to uninterrupted training.
        let data = file.float_type(name).and_then(|float| file.read_as(name, float)).map_err(not_read)?;
        Ok((name.to_owned(), data))
    };
    file.tensors().map(|(name, _)| read(name)).collect()
}

fn not_read(error: TensorFileError) -> TrainError {
    match error {
        TensorFileError::File(error) => error.into(),
        TensorFileError::Save(error) => error.into(),
        TensorFileError::NotFinite { path, tensor, found } => TrainError::NotFinite { path, tensor, found },
        TensorFileError::Damaged { path, reason } => TrainError::BadCheckpoint { path, message: reason },
        TensorFileError::DataType { path, tensor, found } => {
            bad(&path)(format!("the tensor `{tensor}` holds {found}, expected floating point numbers"))
        }
        other => bad(Path::new(""))(other),
    }
}

fn bad<E: ToString>(path: &Path) -> impl Fn(E) -> TrainError + use<E> {
    let path = path.to_owned();
    move |error| TrainError::BadCheckpoint { path: path.clone(), message: error.to_string() }
}
