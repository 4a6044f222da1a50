//! The files of a folder.

use std::path::{Path, PathBuf};

use burn_adapters_files::{FolderKind, MAX_CONFIG, MAX_WEIGHTS, is_there, read_text};
use burn_adapters_fusion as fusion;
use burn_adapters_tensors::{Pytorch, Safetensors, TensorFile, Tensors};

use crate::CheckpointError;

/// The names of the files of one kind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) what: &'static str,
    pub(crate) config: &'static str,
    pub(crate) safetensors: &'static str,
    pub(crate) pytorch: &'static str,
}

pub(crate) const ADAPTER: Kind = Kind {
    what: "adapter",
    config: "adapter_config.json",
    safetensors: "adapter.safetensors",
    pytorch: "pytorch_adapter.bin",
};

pub(crate) const HEAD: Kind = Kind {
    what: "head",
    config: "head_config.json",
    safetensors: "model_head.safetensors",
    pytorch: "pytorch_model_head.bin",
};

pub(crate) const FUSION: Kind = Kind {
    what: "fusion",
    config: fusion::CONFIG_FILE,
    safetensors: fusion::SAFETENSORS_FILE,
    pytorch: fusion::PYTORCH_FILE,
};

/// The weights of a folder, from a safetensors file of this name if there is one, else from a PyTorch file.
pub(crate) fn weights_in(
    dir: &Path,
    [safetensors, pytorch]: [&str; 2],
) -> Result<Option<(PathBuf, Tensors)>, CheckpointError> {
    let (safetensors, pytorch) = (dir.join(safetensors), dir.join(pytorch));
    Ok(if is_there(&safetensors) {
        let tensors = TensorFile::Safetensors(Safetensors::open(&safetensors, MAX_WEIGHTS)?).read_all()?;
        Some((safetensors, tensors))
    } else if is_there(&pytorch) {
        let tensors = TensorFile::Pytorch(Pytorch::open_plain(&pytorch, MAX_WEIGHTS)?).read_all()?;
        Some((pytorch, tensors))
    } else {
        None
    })
}

impl Kind {
    /// Whether a folder has the configuration file, or something else of its name.
    pub(crate) fn exists(&self, dir: &Path) -> bool {
        is_there(&dir.join(self.config))
    }

    /// The configuration file's path and text.
    pub(crate) fn read_config(&self, dir: &Path) -> Result<(PathBuf, String), CheckpointError> {
        let path = dir.join(self.config);
        match read_if_there(&path)? {
            Some(text) => Ok((path, text)),
            None => Err(self.not_found(dir, vec![self.config])),
        }
    }

    /// The weights, from the safetensors file if there is one, else from the PyTorch file.
    pub(crate) fn read_weights(&self, dir: &Path) -> Result<(PathBuf, Tensors), CheckpointError> {
        let names = [self.safetensors, self.pytorch];
        weights_in(dir, names)?.ok_or_else(|| self.not_found(dir, names.to_vec()))
    }

    /// A folder without the files of its kind may be one of another kind.
    pub(crate) fn not_found(&self, dir: &Path, expected: Vec<&'static str>) -> CheckpointError {
        let (dir, what) = (dir.to_owned(), self.what);
        match FolderKind::of(&dir) {
            Some(found) if !self.is(&found) => CheckpointError::OtherKind { dir, what, found },
            _ => CheckpointError::NotFound { dir, what, expected },
        }
    }

    fn is(&self, kind: &FolderKind) -> bool {
        match kind {
            FolderKind::Adapter => self.what == ADAPTER.what || self.what == HEAD.what,
            FolderKind::Head => self.what == HEAD.what,
            FolderKind::Fusion => self.what == FUSION.what || self.what == HEAD.what,
            _ => false,
        }
    }
}

/// A file's text; none if there is no such file.
pub(crate) fn read_if_there(path: &Path) -> Result<Option<String>, CheckpointError> {
    if is_there(path) { Ok(Some(read_text(path, MAX_CONFIG)?)) } else { Ok(None) }
}
