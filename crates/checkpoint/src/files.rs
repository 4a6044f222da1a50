//! The files of a folder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use burn_adapters_fusion as fusion;

use crate::{CheckpointError, Tensors, tensors};

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

impl Kind {
    /// Whether a folder has the configuration file.
    pub(crate) fn exists(&self, dir: &Path) -> bool {
        dir.join(self.config).exists()
    }

    /// The configuration file's path and text.
    pub(crate) fn read_config(&self, dir: &Path) -> Result<(PathBuf, String), CheckpointError> {
        let path = dir.join(self.config);
        match read_text(&path)? {
            Some(text) => Ok((path, text)),
            None => Err(self.not_found(dir, vec![self.config])),
        }
    }

    /// The weights, from the safetensors file if there is one, else from the PyTorch file.
    pub(crate) fn read_weights(&self, dir: &Path) -> Result<(PathBuf, Tensors), CheckpointError> {
        let safetensors = dir.join(self.safetensors);
        if safetensors.exists() {
            let tensors = tensors::read_safetensors(&safetensors)?;
            return Ok((safetensors, tensors));
        }
        let pytorch = dir.join(self.pytorch);
        if pytorch.exists() {
            let tensors = tensors::read_pytorch(&pytorch)?;
            return Ok((pytorch, tensors));
        }
        Err(self.not_found(dir, vec![self.safetensors, self.pytorch]))
    }

    fn not_found(&self, dir: &Path, expected: Vec<&'static str>) -> CheckpointError {
        CheckpointError::NotFound { dir: dir.to_owned(), what: self.what, expected }
    }
}

/// A file's text; none if there is no such file.
pub(crate) fn read_text(path: &Path) -> Result<Option<String>, CheckpointError> {
    match fs::read(path) {
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => Ok(Some(text)),
            Err(error) => {
                Err(CheckpointError::Json { path: path.to_owned(), reason: format!("not UTF-8 text: {error}") })
            }
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CheckpointError::Io { doing: "read", path: path.to_owned(), source }),
    }
}
