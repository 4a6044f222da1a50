//! Adapter files.
//!
//! The format is safetensors. Tensors are in single precision, and named by the path of the adapted parameter, the
//! method, and the parameter of the method (`layers.0.mha.query.weight.lora.a`); VeRA's frozen matrices are
//! `vera_shared.a` and `vera_shared.b`. Under one key, the header holds a JSON object with the configuration and the
//! adapted paths, so that a missing tensor can be detected.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use burn::module::{Module, Param};
use burn::tensor::{Tensor, TensorData};
use burn_adapters_config::{AdapterConfig, LoraConfig, MethodConfig};
use burn_adapters_core::Init;
use burn_adapters_files::{MAX_WEIGHTS, SaveError, parse_json, save_file};
use burn_adapters_tensors::{
    FloatType, Mismatch, ModulePath, ParameterVisitor, RawTensor, Safetensors, TensorFile, TensorFileError, Tensors,
    encode_safetensors, fill, values, visit_parameters,
};
use serde_json::{Value, json};

use crate::attach::Adapted;
use crate::plan::Plan;
use crate::{AdapterSaveReport, Targets, WeightAdapterError};

/// The key of the header.
const HEADER: &str = "burn_adapters";
const FORMAT: &str = "weight_adapter";
const VERSION: u64 = 1;
/// The prefix of VeRA's frozen matrices. No method has this name, so no parameter's path can begin with it.
const SHARED: &str = "vera_shared";

pub(crate) fn save(adapted: &Adapted, name: &str, file: &Path) -> Result<AdapterSaveReport, WeightAdapterError> {
    let mut tensors = Tensors::new();
    let mut targets = Vec::new();
    let mut about = None;
    for (path, named) in &adapted.named {
        if let Some(update) = named.updates.get(name) {
            collect(update, path, &mut tensors)?;
            targets.push(path.as_str());
            about = about.or(named.about.get(name));
        }
    }
    if let Some(shared) = about.and_then(|about| about.frozen.as_ref()?.first()) {
        collect(&shared, SHARED, &mut tensors)?;
    }
    let config = about.map_or(Value::Null, |about| AdapterConfig::from((*about.config).clone()).to_json_value());
    let header = json!({ "format": FORMAT, "version": VERSION, "config": config, "targets": targets });
    let bytes = encode_safetensors(file, &tensors, &[(HEADER, &header.to_string())]).map_err(not_written)?;
    save_file(file, &bytes).map_err(save_error(file))?;
    Ok(AdapterSaveReport {
        file: file.to_owned(),
        tensors: tensors.len(),
        parameters: tensors.values().map(|tensor| tensor.values.len()).sum(),
        bytes: bytes.len() as u64,
    })
}

/// The adapter of a file, matched to a module.
pub(crate) fn load<M: Module>(module: &M, name: &str, file: &Path) -> Result<Plan, WeightAdapterError> {
    let (header, mut tensors) = read(file)?;
    let (config, targets) = parse(&header).map_err(|reason| damaged(file, reason))?;
    let mut plan = Plan::new(module, name, &Targets::paths(targets), &config, &mut Init::from_seed(0))?;
    check(file, &plan, &tensors)?;
    for place in &mut plan.places {
        place.update = fill_from(&mut tensors, place.update.clone(), &place.path);
        if let Some(magnitude) = place.update.magnitude_mut() {
            magnitude.mark_set();
        }
    }
    plan.shared = plan.shared.map(|shared| fill_from(&mut tensors, shared, SHARED));
    Ok(plan)
}

/// Compares the file's tensors with the adapter's.
fn check(file: &Path, plan: &Plan, tensors: &Tensors) -> Result<(), WeightAdapterError> {
    let mut expected = BTreeMap::new();
    for place in &plan.places {
        crate::file::shapes(&place.update, &place.path, &mut expected);
    }
    if let Some(shared) = &plan.shared {
        crate::file::shapes(shared, SHARED, &mut expected);
    }
    let found = tensors.iter().map(|(name, tensor)| (name.clone(), tensor.shape.clone())).collect();
    let mismatch = Mismatch::between(&expected, &found);
    if mismatch.is_empty() {
        return Ok(());
    }
    Err(WeightAdapterError::Mismatch { file: file.to_owned(), mismatch: Box::new(mismatch) })
}

fn read(file: &Path) -> Result<(String, Tensors), WeightAdapterError> {
    let open = Safetensors::open(file, MAX_WEIGHTS)?;
    let header = open.metadata(HEADER).map(str::to_owned);
    let header = header.ok_or_else(|| damaged(file, format!("its header has no key `{HEADER}`")))?;
    for (name, _) in open.tensors() {
        match open.float_type(name)? {
            FloatType::F32 => {}
            other => return Err(damaged(file, format!("the tensor `{name}` must be F32, found {other:?}"))),
        }
    }
    Ok((header, TensorFile::Safetensors(open).read_all()?))
}

/// The configuration and the targets in a header.
fn parse(header: &str) -> Result<(LoraConfig, Vec<String>), String> {
    let header: Value = parse_json(header).map_err(|error| format!("its header is not JSON: {error}"))?;
    let (format, version) = (&header["format"], &header["version"]);
    if format != FORMAT || version != VERSION {
        return Err(format!("expected format \"{FORMAT}\" version {VERSION}, found {format} version {version}"));
    }
    let config = AdapterConfig::from_json_value(&header["config"]).map_err(|error| format!("its `config`: {error}"))?;
    let [MethodConfig::Lora(config)] = config.methods() else {
        return Err(format!("its `config` must be LoRA or a method derived from it, found `{config}`"));
    };
    let targets = header["targets"].as_array().map(|paths| paths.iter().map(|path| path.as_str().map(str::to_owned)));
    match targets.and_then(Iterator::collect::<Option<Vec<String>>>) {
        Some(targets) => Ok((config.clone(), targets)),
        None => Err("its `targets` must be a list of parameter paths".into()),
    }
}

fn not_written(error: TensorFileError) -> WeightAdapterError {
    match error {
        TensorFileError::NotFinite { path, tensor, found } => {
            WeightAdapterError::NotFinite { doing: "save", file: path, tensor, found }
        }
        other => other.into(),
    }
}

fn save_error(file: &Path) -> impl FnOnce(SaveError) -> WeightAdapterError + '_ {
    move |error| match error {
        SaveError::Io { source, .. } => io_error("write", file, source),
        other => io_error("write", file, io::Error::other(other.to_string())),
    }
}

fn io_error(doing: &'static str, file: &Path, source: io::Error) -> WeightAdapterError {
    WeightAdapterError::Io { doing, file: file.to_owned(), source }
}

fn damaged(file: &Path, reason: impl Into<String>) -> WeightAdapterError {
    WeightAdapterError::Damaged { file: file.to_owned(), reason: reason.into() }
}

// Conversions between a module's parameters and named tensors on the host.

/// Adds a module's parameters, with names below `prefix`.
pub(crate) fn collect<M: Module>(module: &M, prefix: &str, tensors: &mut Tensors) -> Result<(), WeightAdapterError> {
    let values = values(module, |path| Some(name(prefix, path)));
    for (name, data) in values.map_err(|error| WeightAdapterError::Device(error.to_string()))? {
        let (shape, values) = (data.shape().to_vec(), data.iter::<f32>().collect());
        tensors.insert(name, RawTensor { shape, values });
    }
    Ok(())
}

/// Adds the shapes of a module's parameters, without drawing them.
pub(crate) fn shapes<M: Module>(module: &M, prefix: &str, shapes: &mut BTreeMap<String, Vec<usize>>) {
    struct Shapes<'a>(&'a str, &'a mut BTreeMap<String, Vec<usize>>);
    impl ParameterVisitor for Shapes<'_> {
        fn visit<const D: usize>(&mut self, path: &ModulePath, param: &Param<Tensor<D>>) {
            self.1.insert(name(self.0, path), param.lazy_shape().to_vec());
        }
    }
    visit_parameters(module, &mut Shapes(prefix, shapes));
}

/// The module with the values of the tensors below `prefix`. They are removed; the caller has checked that they exist.
pub(crate) fn fill_from<M: Module>(tensors: &mut Tensors, module: M, prefix: &str) -> M {
    fill(module, |path, _| {
        let RawTensor { shape, values } = tensors.remove(&name(prefix, path))?;
        Some(TensorData::new(values, shape))
    })
}

/// The name of a parameter. Enum variants are not part of it, except the first, in lower case: the method.
fn name(prefix: &str, path: &ModulePath) -> String {
    let mut parts = vec![prefix.to_owned()];
    for (level, (name, container)) in path.levels().enumerate() {
        match container.starts_with("Enum:") {
            true if level == 0 => parts.push(name.to_lowercase()),
            true => {}
            false => parts.push(name.to_owned()),
        }
    }
    parts.join(".")
}
