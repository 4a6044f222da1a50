//! Writing the files of a folder.

use std::path::{Path, PathBuf};

use burn_adapters_files::{FolderSave, MAX_WEIGHTS, SaveError};
use burn_adapters_tensors::{Safetensors, TensorFileError, Tensors, encode_safetensors};

use crate::files::{ADAPTER, FUSION, HEAD, Kind};
use crate::{CheckpointError, SaveReport};

/// All kinds of contents of a folder.
const KINDS: [Kind; 3] = [ADAPTER, HEAD, FUSION];

/// The key that marks files of this crate, and its value.
const WRITER: (&str, &str) = ("writer", "burn-adapters");

/// The metadata beside the tensors: their format, as in the Python library's own files, and the writer.
const METADATA: [(&str, &str); 2] = [("format", "pt"), WRITER];

/// Whether a file of weights was written by this crate.
pub(crate) fn is_ours(path: &Path) -> bool {
    let file = Safetensors::open(path, MAX_WEIGHTS);
    file.is_ok_and(|file| file.metadata(WRITER.0) == Some(WRITER.1))
}

fn not_written(error: TensorFileError) -> CheckpointError {
    match error {
        TensorFileError::NotFinite { path, tensor, found } => {
            CheckpointError::NotFinite { doing: "save", path, tensor, found }
        }
        TensorFileError::Damaged { path, reason } => CheckpointError::Encode { path, reason },
        other => other.into(),
    }
}

/// Adds the configuration and weights of one kind to a save; `part` is the subfolder, or empty.
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
    let bytes = encode(&dir.join(&weights_name), weights, &METADATA)?;
    save.write(&weights_name, &bytes)?;
    save.write(&config_name, config.as_bytes())?;
    // The Python library takes the `.bin` first: left there, it would be read with the new configuration.
    let removed = remove_other(save, part.join(kind.pytorch));
    Ok(SaveReport {
        files: vec![dir.join(config_name), dir.join(weights_name)],
        tensors: weights.len(),
        parameters,
        bytes: (config.len() + bytes.len()) as u64,
        removed,
        notes: vec![],
    })
}

/// The bytes of a safetensors file.
pub(crate) fn encode(path: &Path, tensors: &Tensors, metadata: &[(&str, &str)]) -> Result<Vec<u8>, CheckpointError> {
    encode_safetensors(path, tensors, metadata).map_err(not_written)
}

/// Removes a file from a save, which a reader could take for one of it; its path if it was there.
pub(crate) fn remove_other(save: &mut FolderSave, file: impl AsRef<Path>) -> Vec<PathBuf> {
    if save.remove(file.as_ref()) { vec![save.dir().join(file)] } else { vec![] }
}

/// Removes files of kinds other than these from a save: a reader would take an old head for the new adapter's.
pub(crate) fn keep_only(save: &mut FolderSave, part: &Path, kinds: &[Kind]) {
    for kind in KINDS.iter().filter(|kind| kinds.iter().all(|kept| kept.what != kind.what)) {
        for name in [kind.config, kind.safetensors, kind.pytorch] {
            save.remove(part.join(name));
        }
    }
}

/// Saves one adapter, head or fusion as a folder.
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
