//! AdapterFusions.

use std::path::{Path, PathBuf};

use burn_adapters_core::{Init, ModelSpec};
use burn_adapters_files::{FolderSave, shorten};
use burn_adapters_fusion::{Fusion, FusionConfig};
use burn_adapters_model::{AdapterBank, BankError, FusionLayers};
use serde_json::{Map, Value};

use crate::adapter::{count_values, depth, meta_for};
use crate::files::FUSION;
use crate::names::{Context, FusionTensor, fusion_entries};
use crate::write::{save_alone, stage};
use crate::{CheckpointError, FolderMeta, LoadReport, SaveOptions, SaveReport, Tensors, meta, python, strict};

/// The contents of an AdapterFusion's folder, independent of a model.
#[derive(Debug, Clone)]
pub struct FusionFolder {
    /// Name, model and version.
    pub meta: FolderMeta,
    /// The fused adapters, in order.
    pub adapters: Vec<String>,
    /// The configuration of the fusion.
    pub config: FusionConfig,
    /// The temperature that the softmax has cooled down to; `None` if it is that of a new fusion. The Python library does
    /// not read or write it.
    pub temperature: Option<f64>,
    /// Its tensors, under the file's names.
    pub tensors: Tensors,
    /// Notes on what was left out while reading.
    pub notes: Vec<String>,
    config_path: PathBuf,
    weights_path: PathBuf,
}

impl FusionFolder {
    /// Whether a folder holds a fusion.
    pub fn exists(dir: impl AsRef<Path>) -> bool {
        FUSION.exists(dir.as_ref())
    }

    /// Reads a folder.
    ///
    /// ```
    /// # use burn_adapters_checkpoint::{FusionFolder, SaveOptions, save_fusion};
    /// # use burn_adapters_core::{ModelSpec, StackSpec};
    /// # use burn_adapters_fusion::FusionConfig;
    /// # use burn_adapters_model::AdapterBank;
    /// # let spec = ModelSpec::new("bert", 8).with_stack(StackSpec::encoder(2, 8, 2, 16));
    /// # let mut bank = AdapterBank::new(spec, &burn::tensor::Device::default());
    /// # bank.add("a", "seq_bn[reduction_factor=2]".parse()?)?;
    /// # bank.add("b", "seq_bn[reduction_factor=2]".parse()?)?;
    /// # bank.add_fusion("a,b", &["a", "b"], &FusionConfig::dynamic(), 1)?;
    /// # let dir = tempfile::tempdir()?;
    /// # save_fusion(dir.path(), &bank, "a,b", &SaveOptions::default())?;
    /// let folder = FusionFolder::read(dir.path())?;
    /// assert_eq!(folder.adapters, ["a", "b"]);
    /// assert!(folder.tensors.contains_key("encoder.layer.0.feed_forward.adapter_fusion_layer.a,b.value.weight"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If a file is missing, damaged or of another format, or the configuration is invalid.
    pub fn read(dir: impl AsRef<Path>) -> Result<Self, CheckpointError> {
        let dir = dir.as_ref();
        let (config_path, text) = FUSION.read_config(dir)?;
        let fail = |reason| CheckpointError::Json { path: config_path.clone(), reason };
        let (meta, config, rest) = meta::parse_with(&config_path, &text)?;
        let adapters = adapter_names(rest.get("adapter_names"), &meta.name).map_err(fail)?;
        let temperature = temperature(rest.get("temperature")).map_err(fail)?;
        let config = FusionConfig::from_json_value(&config)
            .map_err(|source| CheckpointError::Fusion { path: config_path.clone(), source: Box::new(source) })?;
        let (weights_path, mut tensors) = FUSION.read_weights(dir)?;
        let count = tensors.len();
        tensors.retain(|tensor, _| FusionTensor::of(tensor, &meta.name) != FusionTensor::Longer);
        let left_out = count - tensors.len();
        let notes = (left_out > 0)
            .then(|| format!("left out {left_out} tensors of other fusions, whose names start with `{}`", meta.name));
        let notes = notes.into_iter().collect();
        Ok(Self { meta, adapters, config, temperature, tensors, notes, config_path, weights_path })
    }

    /// Only the names of the fused adapters.
    pub(crate) fn read_names(dir: &Path) -> Result<Vec<String>, CheckpointError> {
        let (path, text) = FUSION.read_config(dir)?;
        let (meta, _, rest) = meta::parse_with(&path, &text)?;
        adapter_names(rest.get("adapter_names"), &meta.name).map_err(|reason| CheckpointError::Json { path, reason })
    }

    /// Writes the folder, which is created if necessary, without a model. The tensors are written unchanged.
    ///
    /// # Errors
    /// If writing fails. The folder is then unchanged.
    pub fn write(&self, dir: impl AsRef<Path>) -> Result<SaveReport, CheckpointError> {
        save_alone(dir.as_ref(), |save| self.stage(save))
    }

    /// Adds the fusion to a save, as [`write`](Self::write) does.
    ///
    /// # Errors
    /// If writing fails.
    pub fn stage(&self, save: &mut FolderSave) -> Result<SaveReport, CheckpointError> {
        self.stage_in(save, Path::new(""), &self.meta.stamped())
    }

    fn stage_in(&self, save: &mut FolderSave, part: &Path, meta: &FolderMeta) -> Result<SaveReport, CheckpointError> {
        let mut beside = Map::from_iter([("adapter_names".to_owned(), Value::from(self.adapters.clone()))]);
        beside.extend(self.temperature.map(|temperature| ("temperature".to_owned(), Value::from(temperature))));
        let config = meta::format_with(meta, self.config.to_json_value(), beside);
        stage(save, part, FUSION, &config, &self.tensors, count_values(&self.tensors))
    }

    /// Builds the fusion for a bank's model and adapters, under its saved name or another one (see the report).
    ///
    /// # Errors
    /// If the fusion is for a model of another type, width or depth, the bank lacks adapters that it fuses, none of them
    /// has a bottleneck, or its tensors do not match its parameters one to one.
    pub fn into_fusion(
        self,
        bank: &AdapterBank,
        name: Option<&str>,
    ) -> Result<(FusionLayers, LoadReport), CheckpointError> {
        let spec = bank.spec();
        self.meta.check_model(FUSION.what, spec)?;
        self.check_depth(spec)?;
        let name = name.unwrap_or(&self.meta.name);
        let missing: Vec<_> = self.adapters.iter().filter(|adapter| bank.adapter(adapter).is_err()).cloned().collect();
        if !missing.is_empty() {
            let (fusion, adapters) = (name.to_owned(), self.adapters);
            return Err(CheckpointError::FusedAdapters { fusion, adapters, missing, place: "the bank" });
        }
        let fused = self.adapters.iter().map(|adapter| bank.adapter(adapter)).collect::<Result<Vec<_>, _>>()?;
        let (dropout, init) = (spec.attention_dropout, &mut Init::from_seed(0));
        let layers = FusionLayers::new(name, &fused, &self.config, spec, dropout, init, bank.device())?;
        let entries = fusion_entries(&layers, &Context { spec, name: &self.meta.name })?;
        let mut matched = strict::match_tensors(&self.weights_path, self.tensors, &entries, spec.names.prefix)?;
        let mut layers = matched.fill(layers);
        if let Some(temperature) = self.temperature {
            layers.layers.iter_mut().for_each(|(_, layer)| layer.temperature = temperature);
        }
        let report = LoadReport {
            name: name.to_owned(),
            saved_name: self.meta.name.clone(),
            files: vec![self.config_path, self.weights_path],
            applied: matched.applied,
            parameters: entries.iter().map(|entry| entry.shape.iter().product::<usize>()).sum(),
            notes: self.notes,
        };
        Ok((layers, report))
    }

    /// Checks the number of layers: a fusion has tensors in every layer of its model.
    fn check_depth(&self, spec: &ModelSpec) -> Result<(), CheckpointError> {
        let own = |tensor: &&str| FusionTensor::of(tensor, &self.meta.name) == FusionTensor::Own;
        match depth(self.tensors.keys().map(String::as_str).filter(own), spec) {
            file if file != 0 && file != spec.layer_numbers() => {
                let (what, name) = (FUSION.what, self.meta.name.clone());
                Err(CheckpointError::Depth { what, name, file, model: spec.layer_numbers() })
            }
            _ => Ok(()),
        }
    }
}

/// The fused adapters: a list, or names joined by commas. Old folders only have the fusion's name.
fn adapter_names(value: Option<&Value>, name: &str) -> Result<Vec<String>, String> {
    let split = |names: &str| names.split(',').map(str::to_owned).collect();
    let names: Vec<String> = match value {
        None | Some(Value::Null) => split(name),
        Some(Value::String(names)) => split(names),
        Some(Value::Array(items)) if items.iter().all(Value::is_string) => {
            items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        }
        Some(other) => {
            return Err(format!("`adapter_names` must be a list of names, found {}", shorten(&other.to_string())));
        }
    };
    match names.iter().find(|name| name.is_empty()) {
        None if names.is_empty() => Err("`adapter_names` is empty, expected the adapters that are fused".into()),
        None => Ok(names),
        Some(_) => Err("`adapter_names` holds an empty name".into()),
    }
}

fn temperature(value: Option<&Value>) -> Result<Option<f64>, String> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_f64() {
            Some(temperature) if temperature > 0.0 && temperature.is_finite() => Ok(Some(temperature)),
            _ => Err(format!("`temperature` must be a number above 0, found {}", shorten(&value.to_string()))),
        },
    }
}

/// Loads an AdapterFusion's folder into a bank that has the fused adapters, under its saved name or another one. A `Fuse`
/// without a name finds it under the adapters' names joined by commas.
///
/// ```
/// use burn_adapters_checkpoint::{SaveOptions, load_fusion, save_fusion};
/// use burn_adapters_core::{ModelSpec, StackSpec};
/// use burn_adapters_fusion::FusionConfig;
/// use burn_adapters_model::AdapterBank;
///
/// let spec = ModelSpec::new("bert", 8).with_stack(StackSpec::encoder(2, 8, 2, 16));
/// let mut bank = AdapterBank::new(spec, &burn::tensor::Device::default());
/// bank.add("a", "seq_bn[reduction_factor=2]".parse()?)?;
/// bank.add("b", "seq_bn[reduction_factor=2]".parse()?)?;
/// bank.add_fusion("a,b", &["a", "b"], &FusionConfig::dynamic(), 1)?;
///
/// let folder = tempfile::tempdir()?;
/// save_fusion(folder.path(), &bank, "a,b", &SaveOptions::default())?;
/// let report = load_fusion(folder.path(), &mut bank, Some("mixture"))?;
/// assert_eq!((report.name.as_str(), report.saved_name.as_str()), ("mixture", "a,b"));
/// assert_eq!(bank.fusion("mixture")?.adapters(), ["a", "b"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`FusionFolder::read`] and [`FusionFolder::into_fusion`]; if the bank already has a fusion of that name. The
/// bank is then unchanged.
pub fn load_fusion(
    dir: impl AsRef<Path>,
    bank: &mut AdapterBank,
    name: Option<&str>,
) -> Result<LoadReport, CheckpointError> {
    let (layers, report) = FusionFolder::read(dir)?.into_fusion(bank, name)?;
    bank.insert_fusion(&report.name, layers)?;
    Ok(report)
}

/// Saves an AdapterFusion of a bank, without the fused adapters, to a folder, which is created if necessary. A temperature
/// that has cooled is saved too.
///
/// ```
/// # use burn_adapters_checkpoint::{FusionFolder, SaveOptions, save_fusion};
/// # use burn_adapters_core::{ModelSpec, StackSpec};
/// # use burn_adapters_fusion::FusionConfig;
/// # use burn_adapters_model::AdapterBank;
/// # let spec = ModelSpec::new("bert", 8).with_stack(StackSpec::encoder(2, 8, 2, 16));
/// # let mut bank = AdapterBank::new(spec, &burn::tensor::Device::default());
/// # bank.add("a", "seq_bn[reduction_factor=2]".parse()?)?;
/// # bank.add("b", "seq_bn[reduction_factor=2]".parse()?)?;
/// # let folder = tempfile::tempdir()?;
/// bank.add_fusion("a,b", &["a", "b"], &FusionConfig::r#static(), 1)?;
/// let report = save_fusion(folder.path(), &bank, "a,b", &SaveOptions::new("bert-base-uncased"))?;
/// // Weight and bias of query and key, in two layers.
/// assert_eq!((report.tensors, report.parameters), (8, 2 * 2 * (8 * 8 + 8)));
/// assert!(FusionFolder::exists(folder.path()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// If the bank has no fusion of that name, its layers have cooled differently, or writing fails. The folder is then
/// unchanged.
pub fn save_fusion(
    dir: impl AsRef<Path>,
    bank: &AdapterBank,
    name: &str,
    options: &SaveOptions,
) -> Result<SaveReport, CheckpointError> {
    bank.fusion(name)?;
    save_alone(dir.as_ref(), |save| stage_fusion(save, bank, name, options))
}

/// Adds an AdapterFusion of a bank to a save, without the adapters that it fuses.
///
/// # Errors
/// If the bank has no fusion of that name, its layers have cooled differently, or writing fails.
pub fn stage_fusion(
    save: &mut FolderSave,
    bank: &AdapterBank,
    name: &str,
    options: &SaveOptions,
) -> Result<SaveReport, CheckpointError> {
    stage_fusion_in(save, Path::new(""), bank, name, options)
}

pub(crate) fn stage_fusion_in(
    save: &mut FolderSave,
    part: &Path,
    bank: &AdapterBank,
    name: &str,
    options: &SaveOptions,
) -> Result<SaveReport, CheckpointError> {
    let (dir, layers, spec) = (save.dir().join(part), bank.fusion(name)?, bank.spec());
    let entries = fusion_entries(layers, &Context { spec, name })?;
    let tensors = strict::to_tensors(layers, &entries, |name| spec.names.prefixed(name))?;
    let config_path = dir.join(FUSION.config);
    let meta = meta_for(spec, spec.hidden_size, name, options);
    let folder = FusionFolder {
        temperature: cooled(bank, name, layers, &config_path)?,
        meta: meta.clone(),
        adapters: layers.adapters().to_vec(),
        config: layers.config().clone(),
        tensors,
        notes: vec![],
        config_path,
        weights_path: dir.join(FUSION.safetensors),
    };
    let notes = python::fusion_notes(&folder.config, folder.temperature);
    Ok(SaveReport { notes, ..folder.stage_in(save, part, &meta)? })
}

/// The temperature of all layers, if it differs from that of a new fusion.
fn cooled(bank: &AdapterBank, name: &str, layers: &FusionLayers, path: &Path) -> Result<Option<f64>, CheckpointError> {
    let fresh = Fusion::new(layers.config(), 1, 0.0, &mut Init::from_seed(0), bank.device())
        .map_err(|source| BankError::Fusion { name: name.to_owned(), reason: source.to_string() })?;
    let mut temperatures = layers.layers.values().map(|layer| layer.temperature);
    let temperature = temperatures.next().unwrap_or(fresh.temperature);
    if let Some(other) = temperatures.find(|other| *other != temperature) {
        let reason = format!("its layers have temperatures of {temperature} and {other}, but the format holds one");
        return Err(CheckpointError::Encode { path: path.to_owned(), reason });
    }
    Ok((temperature != fresh.temperature).then_some(temperature))
}
