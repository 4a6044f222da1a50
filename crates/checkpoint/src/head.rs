//! Heads.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use burn_adapters_core::{Init, ModelSpec};
use burn_adapters_files::{FolderSave, shorten};
use burn_adapters_heads::{Head, HeadConfig, reference_names};
use burn_adapters_model::AdapterBank;
use burn_adapters_tensors::parameters;
use serde_json::Value;

use crate::adapter::{count_values, meta_for};
use crate::files::{ADAPTER, HEAD};
use crate::layout::Layout;
use crate::names::Entry;
use crate::write::{save_alone, stage};
use crate::{
    CheckpointError, FolderMeta, LoadReport, SaveOptions, SaveReport, Tensors, meta, peft, static_head, strict,
};

/// The contents of a head's folder, independent of a model.
#[derive(Debug, Clone)]
pub struct HeadFolder {
    /// Name, model and version.
    pub meta: FolderMeta,
    /// The head's configuration.
    pub config: HeadConfig,
    /// Its tensors, under the file's names. For a head without a name, under the names that go with the name it gets.
    pub tensors: Tensors,
    /// Notes on what the folder leaves open.
    pub notes: Vec<String>,
    /// Whether it is that of one of Hugging Face's own classes.
    is_static: bool,
    config_path: PathBuf,
    weights_path: PathBuf,
}

impl HeadFolder {
    /// Whether a folder holds a head, in a file of its own or beside an adapter of PEFT.
    pub fn exists(dir: impl AsRef<Path>) -> bool {
        HEAD.exists(dir.as_ref()) || peft::has_head(dir.as_ref())
    }

    /// The head of one of Hugging Face's classes, with its tensors under the names of its name, and the files.
    pub(crate) fn of_class(meta: FolderMeta, config: HeadConfig, tensors: Tensors, files: [PathBuf; 2]) -> Self {
        let note = static_head::note(meta.model_class.as_deref(), &config);
        let [config_path, weights_path] = files;
        Self { meta, config, tensors, notes: vec![note], is_static: true, config_path, weights_path }
    }

    /// As [`read`](Self::read), also beside an adapter of PEFT, whose files leave the class of the head to the model.
    ///
    /// # Errors
    /// As [`read`](Self::read), or if the class of the model and the task has no head that is known.
    pub fn read_for(dir: impl AsRef<Path>, spec: &ModelSpec) -> Result<Self, CheckpointError> {
        let dir = dir.as_ref();
        if peft::has_head(dir) { peft::read_head(dir, spec) } else { Self::read(dir) }
    }

    /// A folder that was not read from disk; see [`write`](Self::write).
    pub fn new(meta: FolderMeta, config: HeadConfig, tensors: Tensors) -> Self {
        let (config_path, weights_path) = (PathBuf::from(HEAD.config), PathBuf::from(HEAD.safetensors));
        Self { meta, config, tensors, notes: vec![], is_static: false, config_path, weights_path }
    }

    /// Writes the folder, which may also hold an adapter and is created if necessary. No model is needed: the tensors are
    /// written unchanged.
    ///
    /// # Errors
    /// If writing fails. The folder is then unchanged.
    pub fn write(&self, dir: impl AsRef<Path>) -> Result<SaveReport, CheckpointError> {
        save_alone(dir.as_ref(), |save| self.stage(save))
    }

    /// Adds the head to a save, as [`write`](Self::write) does.
    ///
    /// # Errors
    /// If writing fails.
    pub fn stage(&self, save: &mut FolderSave) -> Result<SaveReport, CheckpointError> {
        self.stage_in(save, Path::new(""))
    }

    /// As [`stage`](Self::stage), in a subfolder.
    ///
    /// # Errors
    /// If writing fails, or the subfolder is outside of the folder.
    pub fn stage_in(&self, save: &mut FolderSave, part: &Path) -> Result<SaveReport, CheckpointError> {
        let config = meta::format(&self.meta.stamped(), self.config.to_json_value());
        stage(save, part, HEAD, &config, &self.tensors, count_values(&self.tensors))
    }

    /// Reads a folder.
    ///
    /// The head of one of Hugging Face's own classes (`adapters.init` of a `BertForSequenceClassification`) has no name.
    /// It gets the name of the adapter in the folder, or else of the folder itself.
    ///
    /// # Errors
    /// If a file is missing, damaged or of another format, or the configuration is invalid. If it is for a type of head
    /// that this crate does not have ([`CheckpointError::is_unknown_head`]), no weights are read.
    pub fn read(dir: impl AsRef<Path>) -> Result<Self, CheckpointError> {
        let dir = dir.as_ref();
        let (config_path, text) = HEAD.read_config(dir)?;
        let bad_head = |source| CheckpointError::Head { path: config_path.clone(), source };
        let bad_json = |reason| CheckpointError::Json { path: config_path.clone(), reason };
        let (meta, config, rest) = meta::parse_unnamed(&config_path, &text)?;
        match config {
            Some(config @ Value::Object(_)) => {
                let name = meta.name.clone().ok_or_else(|| bad_json("the key `name` is missing".into()))?;
                let config = HeadConfig::from_json_value(&config).map_err(bad_head)?;
                let (weights_path, tensors) = HEAD.read_weights(dir)?;
                let (notes, meta) = (vec![], meta.named(name));
                Ok(Self { meta, config, tensors, notes, is_static: false, config_path, weights_path })
            }
            Some(Value::Null) => {
                let class = meta.model_class.clone();
                let needed = match static_head::needs_tensors(class.as_deref()) {
                    true => Some(HEAD.read_weights(dir)?),
                    false => None,
                };
                let shape = |name: &str| Some(needed.as_ref()?.1.get(name)?.shape.clone());
                let config = static_head::config(class.as_deref(), &rest, shape);
                let config = config.map_err(bad_head)?;
                let name = match meta.name.clone().or_else(|| name_beside(dir)) {
                    Some(name) => name,
                    None => return Err(bad_json("the head has no name, and neither has its folder".into())),
                };
                let (weights_path, tensors) = match needed {
                    Some(read) => read,
                    None => HEAD.read_weights(dir)?,
                };
                let tensors = static_head::rename(class.as_deref(), &config, &name, tensors);
                Ok(Self::of_class(meta.named(name), config, tensors, [config_path, weights_path]))
            }
            Some(other) => Err(bad_json(format!("`config` must be an object, found {}", shorten(&other.to_string())))),
            None => Err(bad_json("the key `config` is missing".into())),
        }
    }

    /// Builds the head for hidden states of `hidden_size`, under its saved name or another one (see the report).
    ///
    /// # Errors
    /// If the head is for another width, or its tensors do not match its parameters one to one.
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
        let mut matched = strict::match_tensors(&self.weights_path, self.tensors, &entries, None)?;
        let head = matched.fill(head).filled();
        let head = if self.is_static { head.without_inverse() } else { head };
        let report = LoadReport {
            name: name.unwrap_or(&self.meta.name).to_owned(),
            saved_name: self.meta.name,
            files: vec![self.config_path, self.weights_path],
            applied: matched.applied,
            parameters: head.parameters(),
            notes: self.notes,
        };
        Ok((head, report))
    }
}

/// Loads a head's folder into a bank, under its saved name or another one.
///
/// # Errors
/// As [`HeadFolder::read`] and [`HeadFolder::into_head`]; if the head is for another type of model, or the bank
/// already has a head of that name. The bank is then unchanged.
pub fn load_head(
    dir: impl AsRef<Path>,
    bank: &mut AdapterBank,
    name: Option<&str>,
) -> Result<LoadReport, CheckpointError> {
    let spec = bank.spec();
    let mut folder = HeadFolder::read_for(dir, spec)?;
    // The files of Hugging Face's own classes leave the activation to the model.
    let has_models = folder.config.head_type.is_language_model() || folder.config.transform.is_some();
    if folder.is_static && has_models {
        folder.config.activation_function = spec.output_layer.activation.or(folder.config.activation_function);
    }
    if let Some(file) = folder.meta.model_type.clone().filter(|file| *file != spec.model_type) {
        let (name, model) = (folder.meta.name, spec.model_type.clone());
        return Err(CheckpointError::ModelType { what: "head", name, file, model });
    }
    let (head, report) = folder.into_head(spec.hidden_size, bank.device(), name)?;
    bank.insert_head(&report.name, head)?;
    Ok(report)
}

/// Saves a head of a bank to a folder, which may also hold an adapter and is created if necessary.
///
/// # Errors
/// If the bank has no head of that name, or writing fails. The folder is then unchanged.
pub fn save_head(
    dir: impl AsRef<Path>,
    bank: &AdapterBank,
    name: &str,
    options: &SaveOptions,
) -> Result<SaveReport, CheckpointError> {
    bank.head(name)?;
    save_alone(dir.as_ref(), |save| stage_head(save, bank, name, options))
}

/// Adds a head of a bank to a save, which may also have an adapter. Of a head that is the model's own output layer nothing
/// is written, and the files of a former head are removed.
///
/// # Errors
/// If the bank has no head of that name, or writing fails.
pub fn stage_head(
    save: &mut FolderSave,
    bank: &AdapterBank,
    name: &str,
    options: &SaveOptions,
) -> Result<SaveReport, CheckpointError> {
    stage_head_in(save, Path::new(""), bank, name, options)
}

pub(crate) fn stage_head_in(
    save: &mut FolderSave,
    part: &Path,
    bank: &AdapterBank,
    name: &str,
    options: &SaveOptions,
) -> Result<SaveReport, CheckpointError> {
    let head = bank.head(name)?;
    if head.is_of_model() {
        let files = [HEAD.config, HEAD.safetensors, HEAD.pytorch].map(|file| part.join(file));
        let dir = save.dir().to_owned();
        let removed = files.into_iter().filter(|file| save.remove(file)).map(|file| dir.join(file)).collect();
        let (files, notes) = (vec![], vec![]);
        return Ok(SaveReport { files, tensors: 0, parameters: 0, bytes: 0, removed, notes });
    }
    let entries = head_entries(head, name);
    let tensors = strict::to_tensors(head, &entries, str::to_owned)?;
    let meta = meta_for(bank.spec(), head.hidden_size(), name, options);
    let config = meta::format(&meta, head.config().to_json_value());
    stage(save, part, HEAD, &config, &tensors, head.parameters())
}

/// The name for a head without one: that of the adapter in the folder, or else of the folder.
fn name_beside(dir: &Path) -> Option<String> {
    let adapter = ADAPTER.read_config(dir).ok();
    let named = adapter.and_then(|(path, text)| meta::parse_unnamed(&path, &text).ok()?.0.name);
    named.or_else(|| Some(dir.file_name()?.to_str()?.to_owned()))
}

fn head_entries(head: &Head, name: &str) -> Vec<Entry> {
    let names = reference_names(head.config(), name);
    let parameters = parameters(head);
    names
        .into_iter()
        .filter_map(|name| {
            let parameter = parameters.iter().find(|parameter| parameter.path == name.path)?;
            let layout = if name.path.ends_with(".weight") { Layout::Transposed } else { Layout::Same };
            Some(Entry::new(parameter, vec![name.reference], layout))
        })
        .collect()
}
