//! Heads.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use burn_adapters_core::Init;
use burn_adapters_heads::{Head, HeadConfig, reference_names};
use burn_adapters_model::AdapterBank;

use crate::adapter::{count_values, meta_for};
use crate::files::HEAD;
use crate::layout::Layout;
use crate::names::{Entry, Family};
use crate::write::write_folder;
use crate::{CheckpointError, FolderMeta, LoadReport, SaveOptions, SaveReport, Tensors, meta, parameters, strict};

/// A head's folder as it is, without a model.
#[derive(Debug, Clone)]
pub struct HeadFolder {
    /// What the folder says of itself.
    pub meta: FolderMeta,
    /// What the head is.
    pub config: HeadConfig,
    /// Its tensors, under the file's names.
    pub tensors: Tensors,
    config_path: PathBuf,
    weights_path: PathBuf,
}

impl HeadFolder {
    /// Whether a folder holds a head.
    pub fn exists(dir: impl AsRef<Path>) -> bool {
        HEAD.exists(dir.as_ref())
    }

    /// A folder that was made, not read; see [`write`](Self::write).
    pub fn new(meta: FolderMeta, config: HeadConfig, tensors: Tensors) -> Self {
        let (config_path, weights_path) = (PathBuf::from(HEAD.config), PathBuf::from(HEAD.safetensors));
        Self { meta, config, tensors, config_path, weights_path }
    }

    /// Writes the folder, which may hold an adapter too, and is created if need be, without a model: the tensors are
    /// written as they are.
    ///
    /// # Errors
    /// If the file system refuses; what was in the folder is then whole.
    pub fn write(&self, dir: impl AsRef<Path>) -> Result<SaveReport, CheckpointError> {
        let config = meta::format(&self.meta.stamped(), self.config.to_json_value());
        write_folder(dir.as_ref(), HEAD, &config, &self.tensors, count_values(&self.tensors))
    }

    /// Reads a folder.
    ///
    /// # Errors
    /// If a file is missing, damaged, or not what its name says; if the configuration is wrong.
    pub fn read(dir: impl AsRef<Path>) -> Result<Self, CheckpointError> {
        let dir = dir.as_ref();
        let (config_path, text) = HEAD.read_config(dir)?;
        let (meta, config) = meta::parse(&config_path, &text)?;
        let config = HeadConfig::from_json_value(&config)
            .map_err(|source| CheckpointError::Head { path: config_path.clone(), source })?;
        let (weights_path, tensors) = HEAD.read_weights(dir)?;
        Ok(Self { meta, config, tensors, config_path, weights_path })
    }

    /// Builds the head for hidden states of `hidden_size`, under its own name (in the report) or another.
    ///
    /// # Errors
    /// If the head is for another width, or its tensors do not fit one by one.
    pub fn into_head(
        self,
        hidden_size: usize,
        device: &Device,
        name: Option<&str>,
    ) -> Result<(Head, LoadReport), CheckpointError> {
        if let Some(file) = self.meta.hidden_size.filter(|file| *file != hidden_size) {
            let name = self.meta.name;
            return Err(CheckpointError::HiddenSize { what: "head", name, file, model: hidden_size });
        }
        let head = Head::new(&self.config, hidden_size, &mut Init::from_seed(0), device)
            .map_err(|source| CheckpointError::Head { path: self.config_path.clone(), source })?;
        let entries = head_entries(&head, &self.meta.name);
        let matched = strict::match_tensors(&self.weights_path, self.tensors, &entries, None)?;
        let report = LoadReport {
            name: name.unwrap_or(&self.meta.name).to_owned(),
            saved_name: self.meta.name,
            files: vec![self.config_path, self.weights_path],
            applied: matched.applied,
            parameters: head.parameters(),
            notes: vec![],
        };
        Ok((parameters::fill(head, matched.values), report))
    }
}

/// Reads a head's folder into a bank, under its own name or another.
///
/// # Errors
/// As [`HeadFolder::read`] and [`HeadFolder::into_head`]; if the head is for another type of model, or the bank has a
/// head of that name. The bank is then as it was.
pub fn load_head(
    dir: impl AsRef<Path>,
    bank: &mut AdapterBank,
    name: Option<&str>,
) -> Result<LoadReport, CheckpointError> {
    let folder = HeadFolder::read(dir)?;
    let spec = bank.spec();
    if let Some(file) = folder.meta.model_type.clone().filter(|file| *file != spec.model_type) {
        let (name, model) = (folder.meta.name, spec.model_type.clone());
        return Err(CheckpointError::ModelType { what: "head", name, file, model });
    }
    let (head, report) = folder.into_head(spec.hidden_size, bank.device(), name)?;
    bank.insert_head(&report.name, head)?;
    Ok(report)
}

/// Writes a head of a bank into a folder, which may hold an adapter too, and is created if need be.
///
/// # Errors
/// If the bank has no head of that name, or the file system refuses; what was in the folder is then whole.
pub fn save_head(
    dir: impl AsRef<Path>,
    bank: &AdapterBank,
    name: &str,
    options: &SaveOptions,
) -> Result<SaveReport, CheckpointError> {
    let head = bank.head(name)?;
    let entries = head_entries(head, name);
    let tensors = strict::to_tensors(parameters::values(head), &entries, str::to_owned);
    let meta = meta_for(&Family::of(&bank.spec().model_type), head.hidden_size(), name, options);
    let config = meta::format(&meta, head.config().to_json_value());
    write_folder(dir.as_ref(), HEAD, &config, &tensors, head.parameters())
}

fn head_entries(head: &Head, name: &str) -> Vec<Entry> {
    let names = reference_names(head.config(), name);
    let parameters = parameters::describe(head);
    names
        .into_iter()
        .filter_map(|name| {
            let parameter = parameters.iter().find(|parameter| parameter.path == name.path)?;
            let layout = if name.path.ends_with(".weight") { Layout::Transposed } else { Layout::Same };
            Some(Entry::new(parameter, vec![name.reference], layout))
        })
        .collect()
}
