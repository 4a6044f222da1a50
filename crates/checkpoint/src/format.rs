//! The formats of adapters, recognized by their content.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use burn::tensor::Device;
use burn_adapters_core::ModelSpec;
use burn_adapters_files::FolderKind;
use burn_adapters_model::Adapter;

use crate::{AdapterFolder, CheckpointError, LoadReport, gguf, mlx, peft};

/// The format of an adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AdapterFormat {
    /// A folder of AdapterHub's library.
    AdapterHub,
    /// A folder of PEFT.
    Peft,
    /// A folder of mlx-lm.
    Mlx,
    /// A GGUF file of llama.cpp.
    Gguf,
}

impl AdapterFormat {
    /// The format of the adapter at a path; AdapterHub's if nothing says otherwise.
    pub fn of(path: &Path) -> Self {
        if path.is_file() {
            let mut magic = [0; 4];
            let is_gguf =
                File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && &magic == b"GGUF";
            return if is_gguf { Self::Gguf } else { Self::AdapterHub };
        }
        match FolderKind::of(path) {
            Some(FolderKind::Peft { .. }) => Self::Peft,
            Some(FolderKind::Mlx) => Self::Mlx,
            _ => Self::AdapterHub,
        }
    }
}

/// The name of the adapter at a path. Other formats than AdapterHub's have none: it is that of the folder or the file.
///
/// # Errors
/// If AdapterHub's folder cannot be read.
pub fn adapter_name(path: &Path) -> Result<String, CheckpointError> {
    match AdapterFormat::of(path) {
        AdapterFormat::AdapterHub => Ok(AdapterFolder::read(path)?.meta.name),
        _ => Ok(path_name(path)),
    }
}

/// The name of a folder or a file, as that of an adapter.
pub(crate) fn path_name(path: &Path) -> String {
    let path = std::path::absolute(path).ok();
    let name = path.as_deref().and_then(|path| if path.is_dir() { path.file_name() } else { path.file_stem() });
    let name = name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name: String = name.chars().map(|c| if c == '.' || c.is_control() { '_' } else { c }).collect();
    if name.is_empty() { "adapter".to_owned() } else { name }
}

/// Reads an adapter of any format for a model, under its saved name or another one.
///
/// # Errors
/// If a file is missing, damaged, or for another model; if the adapter has no exact counterpart here.
pub fn read_adapter(
    path: &Path,
    spec: &ModelSpec,
    device: &Device,
    name: Option<&str>,
) -> Result<(Adapter, LoadReport), CheckpointError> {
    match AdapterFormat::of(path) {
        AdapterFormat::AdapterHub => AdapterFolder::read(path)?.into_adapter(spec, device, name),
        AdapterFormat::Peft => peft::read(path, spec, device, name),
        AdapterFormat::Mlx => mlx::read(path, spec, device, name),
        AdapterFormat::Gguf => gguf::read(path, spec, device, name),
    }
}
