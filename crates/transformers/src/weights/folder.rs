//! The weight files of a Hugging Face folder: one file or several, safetensors or PyTorch.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use burn::tensor::TensorData;
use burn_adapters_files::{FloatType, MAX_TEXT, Safetensors, is_there, parse_json, read_text, shorten};
use serde_json::Value;

use super::pytorch::PytorchFile;
use super::report::{Mismatch, Reshaped};
use crate::LoadError;

/// Where weights are looked for, in this order.
const FILES: [&str; 4] =
    ["model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"];

enum WeightFile {
    Safetensors(Safetensors),
    Pytorch(PytorchFile),
}

impl WeightFile {
    fn open(path: &Path) -> Result<Self, LoadError> {
        if path.extension().is_some_and(|extension| extension == "safetensors") {
            // Of any size: no tensor is read before its shape is known to be the model's.
            Ok(Self::Safetensors(Safetensors::open(path, u64::MAX)?))
        } else {
            PytorchFile::open(path).map(Self::Pytorch)
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Safetensors(file) => file.path(),
            Self::Pytorch(file) => file.path(),
        }
    }

    fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        match self {
            Self::Safetensors(file) => file.tensors().collect(),
            Self::Pytorch(file) => file.tensors().collect(),
        }
    }

    fn is_f32(&self, name: &str) -> Result<bool, LoadError> {
        Ok(match self {
            Self::Safetensors(file) => file.float_type(name)?,
            Self::Pytorch(file) => file.float_type(name)?,
        } == FloatType::F32)
    }

    fn read(&mut self, name: &str) -> Result<Vec<f32>, LoadError> {
        match self {
            Self::Safetensors(file) => Ok(file.read(name)?),
            Self::Pytorch(file) => file.read(name),
        }
    }
}

/// A tensor in a file.
struct Stored {
    file: usize,
    name: String,
    shape: Vec<usize>,
}

/// The tensors of a folder's weight files, by the names that the base model knows them by.
pub(crate) struct Weights {
    dir: PathBuf,
    files: Vec<WeightFile>,
    tensors: BTreeMap<String, Stored>,
}

impl Weights {
    /// Opens the files; no tensor is read yet. `prefix` is what the names begin with where a task model was saved.
    pub(crate) fn open(dir: &Path, prefix: &str) -> Result<Self, LoadError> {
        let files = weight_files(dir)?.iter().map(|path| WeightFile::open(path)).collect::<Result<Vec<_>, _>>()?;
        let stored: Vec<Stored> = files
            .iter()
            .enumerate()
            .flat_map(|(file, open)| open.tensors().into_iter().map(move |(name, shape)| Stored { file, name, shape }))
            .collect();
        let prefix = if stored.iter().any(|tensor| tensor.name.starts_with(prefix)) { prefix } else { "" };
        let mut tensors: BTreeMap<String, Stored> = BTreeMap::new();
        for tensor in stored {
            let weight = canonical(&tensor.name, prefix);
            if let Some(first) = tensors.get(&weight) {
                return Err(LoadError::Duplicate {
                    file: files[tensor.file].path().to_owned(),
                    weight,
                    first: first.name.clone(),
                    second: tensor.name,
                });
            }
            tensors.insert(weight, tensor);
        }
        Ok(Self { dir: dir.to_owned(), files, tensors })
    }

    /// The files.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        self.files.iter().map(|file| file.path().to_owned()).collect()
    }

    /// Whether any weight's name begins so.
    pub(crate) fn any(&self, prefix: &str) -> bool {
        self.tensors.keys().any(|name| name.starts_with(prefix))
    }

    /// Every tensor: its name in the base model, and that in its file.
    pub(crate) fn names(&self) -> impl Iterator<Item = (String, String)> {
        self.tensors.iter().map(|(weight, stored)| (weight.clone(), stored.name.clone()))
    }

    /// Compares the files with the weights that a model needs; gives the names of what it does not use.
    pub(crate) fn check(
        &self,
        expected: &BTreeMap<String, Vec<usize>>,
        is_known_unused: impl Fn(&str) -> bool,
    ) -> Result<Vec<String>, LoadError> {
        let mut mismatch = Mismatch::default();
        for (name, shape) in expected {
            match self.tensors.get(name) {
                None => mismatch.missing.push(name.clone()),
                Some(stored) if stored.shape != *shape => mismatch.reshaped.push(Reshaped {
                    name: name.clone(),
                    expected: shape.clone(),
                    found: stored.shape.clone(),
                }),
                Some(_) => {}
            }
        }
        let mut unused = Vec::new();
        for (name, stored) in self.tensors.iter().filter(|(name, _)| !expected.contains_key(*name)) {
            let list = if is_known_unused(name) { &mut unused } else { &mut mismatch.unexpected };
            list.push(stored.name.clone());
        }
        if mismatch.is_empty() {
            Ok(unused)
        } else {
            Err(LoadError::Mismatch { dir: self.dir.clone(), mismatch: Box::new(mismatch) })
        }
    }

    /// Reads a weight as f32, with all its numbers finite.
    pub(crate) fn read(&mut self, weight: &str) -> Result<TensorData, LoadError> {
        self.read_stored(weight).map(|(data, _)| data)
    }

    /// Reads a weight as f32, and tells whether its file holds it so.
    pub(crate) fn read_stored(&mut self, weight: &str) -> Result<(TensorData, bool), LoadError> {
        let Some(stored) = self.tensors.get(weight) else {
            let mismatch = Mismatch { missing: vec![weight.to_owned()], ..Mismatch::default() };
            return Err(LoadError::Mismatch { dir: self.dir.clone(), mismatch: Box::new(mismatch) });
        };
        let (file, shape) = (&mut self.files[stored.file], stored.shape.clone());
        let is_f32 = file.is_f32(&stored.name)?;
        Ok((TensorData::new(file.read(&stored.name)?, shape), is_f32))
    }
}

/// The name of a tensor in the base model: without the prefix of task models; `gamma` and `beta` are what norms called
/// their weight and bias once.
fn canonical(name: &str, prefix: &str) -> String {
    let name = name.strip_prefix(prefix).unwrap_or(name);
    if let Some(stem) = name.strip_suffix(".gamma") {
        format!("{stem}.weight")
    } else if let Some(stem) = name.strip_suffix(".beta") {
        format!("{stem}.bias")
    } else {
        name.to_owned()
    }
}

fn weight_files(dir: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let found = FILES.into_iter().map(|name| dir.join(name)).find(|path| is_there(path));
    let Some(path) = found else {
        return Err(LoadError::NoWeights { dir: dir.to_owned(), expected: FILES.to_vec() });
    };
    if path.extension().is_some_and(|extension| extension == "json") { shards(dir, &path) } else { Ok(vec![path]) }
}

/// The files that an index names; each must be a plain name of a file beside it.
fn shards(dir: &Path, index: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let text = read_text(index, MAX_TEXT)
        .map_err(|error| LoadError::Unreadable { file: index.to_owned(), message: error.kind.to_string() })?;
    let value: Value = parse_json(&text).map_err(|error| broken(index, format!("not JSON: {error}")))?;
    let map = value
        .get("weight_map")
        .and_then(Value::as_object)
        .ok_or_else(|| broken(index, "expected an object under the key `weight_map`".into()))?;
    let mut names = BTreeSet::new();
    for (tensor, file) in map {
        let file = file.as_str().unwrap_or_default();
        let extension = Path::new(file).extension().and_then(|extension| extension.to_str());
        let plain = Path::new(file).file_name().is_some_and(|name| name == file) && !file.contains(['/', '\\']);
        if !plain || !matches!(extension, Some("safetensors" | "bin")) {
            let (tensor, found) = (shorten(tensor), map[tensor].to_string());
            let message = format!("`{tensor}` is said to be in {}: expected the name of a file", shorten(&found));
            return Err(broken(index, message));
        }
        names.insert(file);
    }
    if names.is_empty() {
        return Err(broken(index, "`weight_map` names no file".into()));
    }
    Ok(names.into_iter().map(|name| dir.join(name)).collect())
}

pub(super) fn broken(file: &Path, message: String) -> LoadError {
    LoadError::Broken { file: file.to_owned(), message }
}
