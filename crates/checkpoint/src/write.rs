//! What is written into a folder.

use std::path::Path;

use burn_adapters_files::{FolderSave, SaveError};

use crate::files::{ADAPTER, FUSION, HEAD, Kind};
use crate::{CheckpointError, SaveReport, Tensors, tensors};

/// All that a folder of its own can hold.
const KINDS: [Kind; 3] = [ADAPTER, HEAD, FUSION];

/// Adds configuration and weights of one kind to a save; `part` is the folder in the folder, or empty.
pub(crate) fn stage(
    save: &mut FolderSave,
    part: &Path,
    kind: Kind,
    config: &str,
    weights: &Tensors,
    parameters: usize,
) -> Result<SaveReport, CheckpointError> {
    let dir = save.dir().to_owned();
    let (weights_name, config_name) = (part.join(kind.safetensors), part.join(kind.config));
    let bytes = tensors::encode_safetensors(&dir.join(&weights_name), weights)?;
    save.write(&weights_name, &bytes)?;
    save.write(&config_name, config.as_bytes())?;
    // The Python library takes the `.bin` first: left there, it would be read with the new configuration.
    let stale = part.join(kind.pytorch);
    let removed = if save.remove(&stale) { vec![dir.join(stale)] } else { vec![] };
    Ok(SaveReport {
        files: vec![dir.join(config_name), dir.join(weights_name)],
        tensors: weights.len(),
        parameters,
        bytes: (config.len() + bytes.len()) as u64,
        removed,
        notes: vec![],
    })
}

/// Leaves out of a save what its folder holds of kinds other than these: a reader would take an old head for the new
/// adapter's.
pub(crate) fn keep_only(save: &mut FolderSave, part: &Path, kinds: &[Kind]) {
    for kind in KINDS.iter().filter(|kind| kinds.iter().all(|kept| kept.what != kind.what)) {
        for name in [kind.config, kind.safetensors, kind.pytorch] {
            save.remove(part.join(name));
        }
    }
}

/// Saves one thing as a whole folder.
pub(crate) fn save_alone<T>(
    dir: &Path,
    stage: impl FnOnce(&mut FolderSave) -> Result<T, CheckpointError>,
) -> Result<T, CheckpointError> {
    let mut save = FolderSave::new(dir)?;
    let report = stage(&mut save)?;
    save.commit()?;
    Ok(report)
}

impl From<SaveError> for CheckpointError {
    fn from(error: SaveError) -> Self {
        match error {
            SaveError::Io { doing, path, source } => CheckpointError::Io { doing, path, source },
            SaveError::Busy { path: dir, pid } => CheckpointError::Busy { dir, pid },
            other => CheckpointError::Encode { path: Default::default(), reason: other.to_string() },
        }
    }
}
