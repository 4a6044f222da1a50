//! Adapters.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use burn_adapters_config::{AdapterConfig, MethodConfig};
use burn_adapters_core::{ModelSpec, Place, Site, StackKind};
use burn_adapters_files::{FolderKind, FolderSave};
use burn_adapters_model::{Adapter, AdapterBank};
use burn_adapters_reft::Projection;

use crate::files::ADAPTER;
use crate::fused::{self, Converted};
use crate::names::{Context, adapter_entries, full_where_needed};
use crate::write::{is_ours, save_alone, stage};
use crate::{
    CheckpointError, FolderMeta, LoadReport, SaveOptions, SaveReport, Tensors, interface, legacy, meta, python,
    read_adapter, strict,
};

/// The contents of an adapter's folder, independent of a model.
#[derive(Debug, Clone)]
pub struct AdapterFolder {
    /// Name, model and version.
    pub meta: FolderMeta,
    /// The adapter's configuration.
    pub config: AdapterConfig,
    /// Its tensors, under the file's names.
    pub tensors: Tensors,
    /// Notes on what was updated while reading.
    pub notes: Vec<String>,
    config_path: PathBuf,
    weights_path: PathBuf,
}

impl AdapterFolder {
    /// Whether a folder holds an adapter.
    pub fn exists(dir: impl AsRef<Path>) -> bool {
        ADAPTER.exists(dir.as_ref())
    }

    /// A folder that was not read from disk; see [`write`](Self::write).
    pub fn new(meta: FolderMeta, config: AdapterConfig, tensors: Tensors) -> Self {
        let (config_path, weights_path) = (PathBuf::from(ADAPTER.config), PathBuf::from(ADAPTER.safetensors));
        Self { meta, config, tensors, notes: vec![], config_path, weights_path }
    }

    /// Writes the folder, which is created if necessary. No model is needed: the tensors are written unchanged, and the
    /// report counts all their values as parameters.
    ///
    /// # Errors
    /// If writing fails. The folder is then unchanged.
    pub fn write(&self, dir: impl AsRef<Path>) -> Result<SaveReport, CheckpointError> {
        save_alone(dir.as_ref(), |save| self.stage(save))
    }

    /// Adds the adapter to a save, as [`write`](Self::write) does.
    ///
    /// # Errors
    /// If writing fails.
    pub fn stage(&self, save: &mut FolderSave) -> Result<SaveReport, CheckpointError> {
        let config = meta::format(&self.meta.stamped(), python::config_value(&self.config));
        let report = stage(save, Path::new(""), ADAPTER, &config, &self.tensors, count_values(&self.tensors))?;
        Ok(SaveReport { notes: python::notes(&self.config), ..report })
    }

    /// Reads a folder.
    ///
    /// # Errors
    /// If a file is missing, damaged or of another format, or the configuration is invalid.
    pub fn read(dir: impl AsRef<Path>) -> Result<Self, CheckpointError> {
        let dir = dir.as_ref();
        let (config_path, text) = ADAPTER.read_config(dir)?;
        let parsed = meta::parse_adapter(&config_path, &text);
        let (meta, mut config, rest) = parsed.map_err(|error| match FolderKind::of(dir) {
            Some(found @ FolderKind::Peft { .. }) => {
                CheckpointError::OtherKind { dir: dir.to_owned(), what: ADAPTER.what, found }
            }
            _ => error,
        })?;
        let mut notes = legacy::update(&meta, &mut config);
        let ambiguous = legacy::ambiguous_reft(&config);
        let config = AdapterConfig::from_json_value(&config)
            .map_err(|source| CheckpointError::Config { path: config_path.clone(), source })?;
        let (weights_path, found) = ADAPTER.read_weights(dir)?;
        let found = legacy::rename(found);
        let (config, note) = legacy::without_phantom(config, rest.get("type"), &meta.name, &found);
        notes.extend(note);
        notes.extend(ambiguous.filter(|_| !is_ours(&weights_path)));
        Ok(Self { meta, config, tensors: found, notes, config_path, weights_path })
    }

    /// Builds the adapter for a model, under its saved name or another one.
    ///
    /// # Errors
    /// If the adapter is for a model of another type, width or depth, or its tensors do not match its parameters one to
    /// one.
    pub fn into_adapter(
        mut self,
        spec: &ModelSpec,
        device: &Device,
        name: Option<&str>,
    ) -> Result<(Adapter, LoadReport), CheckpointError> {
        self.meta.check_model("adapter", spec)?;
        let converted = fused::convert(&self.config, &self.tensors, spec, &self.meta.name)
            .map_err(|reason| CheckpointError::Fused { path: self.weights_path.clone(), reason })?;
        if let Some(Converted { config, tensors, note }) = converted {
            (self.config, self.tensors) = (config, tensors);
            self.notes.push(note);
        }
        let depth = self.depth(spec);
        let other_depth = |name: &str, file| CheckpointError::Depth {
            what: "adapter",
            name: name.to_owned(),
            file,
            model: spec.layer_numbers(),
        };
        if depth.tensors > spec.layer_numbers() {
            return Err(other_depth(&self.meta.name, depth.tensors));
        }
        let name = name.unwrap_or(&self.meta.name);
        let (mut adapter, added) = AdapterBank::new(spec.clone(), device).plan(name, self.config.clone())?;
        let context = Context { spec, name: &self.meta.name };
        full_where_needed(&mut adapter, &self.tensors, &context, device);
        let entries = adapter_entries(&adapter, &context)?;
        let mut matched = match strict::match_tensors(&self.weights_path, self.tensors, &entries, spec.names.prefix) {
            // If whole layers are missing, their number says more than a list of their tensors.
            Err(CheckpointError::Mismatch { .. }) if depth.tensors > 0 && depth.all < spec.layer_numbers() => {
                return Err(other_depth(&self.meta.name, depth.all));
            }
            matched => matched?,
        };
        let mut adapter = matched.fill(adapter);
        adapter.mark_loaded();
        check_signs(&adapter, &self.weights_path)?;
        let report = LoadReport {
            name: name.to_owned(),
            saved_name: self.meta.name.clone(),
            files: vec![self.config_path, self.weights_path],
            applied: matched.applied,
            parameters: adapter.parameters(),
            notes: self.notes.into_iter().chain(added.notes).collect(),
        };
        Ok((adapter, report))
    }

    /// The least number of layers that the adapter's model can have, counted through all stacks.
    fn depth(&self, spec: &ModelSpec) -> Depth {
        let tensors = depth(self.tensors.keys().map(String::as_str), spec);
        let left_out = self.config.methods().iter().flat_map(leave_out).map(|layer| layer.saturating_add(1)).max();
        Depth { tensors, all: tensors.max(left_out.unwrap_or(0)) }
    }
}

/// The least number of layers, counted through all stacks, of a model that has the layers of these tensors. A stack that
/// is deeper than the model's adds the difference.
pub(crate) fn depth<'a>(tensors: impl Iterator<Item = &'a str>, spec: &ModelSpec) -> usize {
    let layers = tensors.filter_map(|name| spec.names.layer_of(name));
    let number = |(kind, layer): (StackKind, usize)| match spec.stack(kind) {
        Some(stack) if layer >= stack.layers => spec.layer_numbers().saturating_add(layer - stack.layers),
        _ => spec.layer_number(Site::new(kind, layer, Place::Layer)),
    };
    layers.map(|layer| number(layer).saturating_add(1)).max().unwrap_or(0)
}

/// Checks that the orthogonal projections of a file are orthogonal.
fn check_signs(adapter: &Adapter, path: &Path) -> Result<(), CheckpointError> {
    for (site, reft) in adapter.reft.iter() {
        for unit in &reft.units {
            if let Projection::Orthogonal(orthogonal) = &unit.projection {
                let error = |source| CheckpointError::Reft { path: path.to_owned(), site: *site, source };
                orthogonal.check_signs().map_err(error)?;
            }
        }
    }
    Ok(())
}

/// The adapter with signs of exactly 1 and -1 in its orthogonal projections, whatever was put there.
fn with_whole_signs(mut adapter: Adapter) -> Adapter {
    let units = adapter.reft.iter_mut().flat_map(|(_, reft)| reft.units.iter_mut());
    for unit in units {
        if let Projection::Orthogonal(orthogonal) = &mut unit.projection {
            *orthogonal = orthogonal.clone().with_whole_signs();
        }
    }
    adapter
}

struct Depth {
    /// The number of layers by the tensors alone.
    tensors: usize,
    /// The number of layers by the tensors and the layers that the configuration leaves out.
    all: usize,
}

fn leave_out(method: &MethodConfig) -> &[usize] {
    match method {
        MethodConfig::Bottleneck(config) => &config.leave_out,
        MethodConfig::Lora(config) => &config.leave_out,
        MethodConfig::PrefixTuning(config) => &config.leave_out,
        MethodConfig::PromptTuning(_) | MethodConfig::Reft(_) => &[],
    }
}

/// Loads an adapter into a bank, under its saved name or another one: from a folder of AdapterHub, PEFT or mlx-lm, or a GGUF
/// file. The last three have no name, so that it is that of the folder or the file.
///
/// # Errors
/// As [`read_adapter`]; if the bank already has an adapter of that name. The bank is then unchanged.
pub fn load_adapter(
    path: impl AsRef<Path>,
    bank: &mut AdapterBank,
    name: Option<&str>,
) -> Result<LoadReport, CheckpointError> {
    let (adapter, report) = read_adapter(path.as_ref(), bank.spec(), bank.device(), name)?;
    bank.insert(adapter)?;
    Ok(report)
}

/// Saves an adapter of a bank to a folder, which is created if necessary. Other files in the folder are kept.
///
/// # Errors
/// If the bank has no adapter of that name, or writing fails. The folder is then unchanged.
pub fn save_adapter(
    dir: impl AsRef<Path>,
    bank: &AdapterBank,
    name: &str,
    options: &SaveOptions,
) -> Result<SaveReport, CheckpointError> {
    bank.adapter(name)?;
    save_alone(dir.as_ref(), |save| stage_adapter(save, bank, name, options))
}

/// Adds an adapter of a bank to a save.
///
/// # Errors
/// If the bank has no adapter of that name, or writing fails.
pub fn stage_adapter(
    save: &mut FolderSave,
    bank: &AdapterBank,
    name: &str,
    options: &SaveOptions,
) -> Result<SaveReport, CheckpointError> {
    stage_adapter_in(save, Path::new(""), bank, name, options)
}

pub(crate) fn stage_adapter_in(
    save: &mut FolderSave,
    part: &Path,
    bank: &AdapterBank,
    name: &str,
    options: &SaveOptions,
) -> Result<SaveReport, CheckpointError> {
    let (adapter, spec) = (bank.adapter(name)?, bank.spec());
    let entries = adapter_entries(adapter, &Context { spec, name })?;
    let whole = with_whole_signs(adapter.clone());
    let tensors = strict::to_tensors(&whole, &entries, |name| spec.names.prefixed(name))?;
    let meta = meta_for(spec, spec.hidden_size, name, options);
    let config = meta::format(&meta, python::config_value(adapter.config()));
    let mut report = stage(save, part, ADAPTER, &config, &tensors, adapter.parameters())?;
    if !spec.names.interface.is_empty() {
        let file = part.join(interface::FILE);
        save.write(&file, interface::format(spec).as_bytes())?;
        report.files.push(save.dir().join(file));
    }
    let notes = python::notes(adapter.config()).into_iter().chain(fused::note(adapter.config(), spec));
    Ok(SaveReport { notes: notes.collect(), ..report })
}

pub(crate) fn count_values(tensors: &Tensors) -> usize {
    tensors.values().map(|tensor| tensor.values.len()).sum()
}

pub(crate) fn meta_for(spec: &ModelSpec, hidden_size: usize, name: &str, options: &SaveOptions) -> FolderMeta {
    FolderMeta {
        name: name.to_owned(),
        model_type: Some(spec.model_type.clone()),
        hidden_size: (!spec.is_pair).then_some(hidden_size),
        model_name: Some(options.model_name.clone()),
        model_class: options.model_class.clone().or_else(|| spec.names.model_class.map(str::to_owned)),
        version: Some(meta::VERSION.to_owned()),
    }
}
