//! The weight files of a Hugging Face folder: one file or several, safetensors or PyTorch.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::TensorData;
use burn_adapters_files::is_there;
use burn_adapters_tensors::{BlockType, FloatType, Gguf, Mismatch, TensorFile, TensorShape, shards};
use bytes::Bytes;

use crate::gguf::{self, Layout, Names, is_gguf};
use crate::plan::{ModelPlan, TiedWeight};
use crate::{LoadError, ModelConfig};

/// Where weights are looked for, in this order.
const FILES: [&str; 4] =
    ["model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"];

/// A tensor in a file.
#[derive(Debug, Clone)]
struct Stored {
    file: usize,
    name: String,
    shape: Vec<usize>,
    /// How the file holds it.
    layout: Layout,
}

/// The tensors of a folder's weight files, by the names that the base model knows them by.
#[derive(Debug)]
pub(crate) struct Weights {
    dir: PathBuf,
    files: Vec<TensorFile>,
    tensors: BTreeMap<String, Stored>,
}

impl Weights {
    /// Opens the files; no tensor is read yet. `prefix` is what the names begin with where a task model was saved.
    pub(crate) fn open(dir: &Path, prefix: &str) -> Result<Self, LoadError> {
        if is_gguf(dir) {
            let file = gguf::open(dir)?;
            let plan = ModelConfig::from_gguf(&file)?.plan;
            return Self::of_gguf(file, &plan);
        }
        let mut files = Vec::new();
        for path in weight_files(dir)? {
            // Of any size: no tensor is read before its shape is known to be the model's.
            files.push(TensorFile::open(&path, u64::MAX)?);
        }
        let mut stored = Vec::new();
        for (file, open) in files.iter().enumerate() {
            let tensors = open.tensors();
            stored.extend(tensors.map(|(name, shape)| Stored {
                file,
                name: name.to_owned(),
                shape: shape.to_vec(),
                layout: Layout::Same,
            }));
        }
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

    /// The tensors of a GGUF file, whose metadata is given up.
    pub(crate) fn of_gguf(mut file: Gguf, plan: &ModelPlan) -> Result<Self, LoadError> {
        let path = file.path().to_owned();
        let architecture = gguf::architecture(&file)?;
        let names = Names::new(architecture, plan);
        let mut tensors: BTreeMap<String, Stored> = BTreeMap::new();
        // Factors of rotary positions are part of the plan.
        for (name, shape) in file.tensors().filter(|(name, _)| !gguf::is_factors(name, architecture)) {
            let (weight, layout) = names.weight(name);
            if let Some(first) = tensors.get(&weight) {
                let (first, second) = (first.name.clone(), name.to_owned());
                return Err(LoadError::Duplicate { file: path, weight, first, second });
            }
            tensors.insert(weight, Stored { file: 0, name: name.to_owned(), shape: layout.shape(shape), layout });
        }
        file.drop_metadata();
        Ok(Self { dir: path, files: vec![TensorFile::Gguf(file)], tensors })
    }

    /// Takes a copy of the table of word embeddings for the table itself where files hold copies alone.
    pub(crate) fn take_copy(&mut self, plan: &ModelPlan) {
        let name = format!("{}.weight", plan.embeddings.words.name);
        if !self.tensors.contains_key(&name)
            && let Some(copy) = plan.word_copies().find_map(|copy| self.tensors.remove(&copy))
        {
            self.tensors.insert(name, copy);
        }
    }

    /// Takes the decoder's weights for those of the encoder that it has in common with it, where files hold them once.
    /// Files may hold both.
    ///
    /// # Errors
    /// If they differ.
    pub(crate) fn take_tied(&mut self, plan: &ModelPlan) -> Result<(), LoadError> {
        for TiedWeight { encoder, decoder } in &plan.tied {
            let Some(of_decoder) = self.tensors.get(decoder) else { continue };
            let Some(of_encoder) = self.tensors.get(encoder) else {
                self.tensors.insert(encoder.clone(), of_decoder.clone());
                continue;
            };
            let is_same = of_encoder.shape == of_decoder.shape
                && self.read(encoder, FloatType::F32)? == self.read(decoder, FloatType::F32)?;
            if !is_same {
                let (encoder, decoder) = (of_encoder.name.clone(), of_decoder.name.clone());
                return Err(LoadError::NotTied { dir: self.dir.clone(), encoder, decoder });
            }
        }
        Ok(())
    }

    /// The files.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        self.files.iter().map(|file| file.path().to_owned()).collect()
    }

    /// Whether any weight's name begins so.
    pub(crate) fn any(&self, prefix: &str) -> bool {
        self.tensors.keys().any(|name| name.starts_with(prefix))
    }

    /// Whether the files hold a weight.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
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
            mismatch.compare(name, shape, self.tensors.get(name).map(|stored| stored.shape.as_slice()));
        }
        let mut unused = Vec::new();
        for (name, stored) in self.tensors.iter().filter(|(name, _)| !expected.contains_key(*name)) {
            if is_known_unused(name) {
                unused.push(stored.name.clone());
            } else {
                mismatch.unexpected.push(TensorShape { name: stored.name.clone(), shape: stored.shape.clone() });
            }
        }
        if mismatch.is_empty() {
            Ok(unused)
        } else {
            Err(LoadError::Mismatch { dir: self.dir.clone(), mismatch: Box::new(mismatch) })
        }
    }

    /// A weight in a number format; all its elements are finite.
    pub(crate) fn read(&self, weight: &str, float: FloatType) -> Result<TensorData, LoadError> {
        let stored = self.stored(weight)?;
        Ok(stored.layout.read(self.files[stored.file].read_as(&stored.name, float)?))
    }

    /// The type of the blocks in which its file holds a weight, if it is a GGUF file.
    pub(super) fn block_type(&self, weight: &str) -> Result<Option<BlockType>, LoadError> {
        let stored = self.stored(weight)?;
        match &self.files[stored.file] {
            TensorFile::Gguf(file) => Ok(Some(file.block_type(&stored.name)?)),
            _ => Ok(None),
        }
    }

    /// Whether the rows of a matrix in its file are the columns of that in Hugging Face's files.
    pub(super) fn is_transposed(&self, weight: &str) -> Result<bool, LoadError> {
        Ok(self.stored(weight)?.layout == Layout::Transposed)
    }

    /// The blocks of a matrix in a GGUF file, row by row, in the order of the model's rows; all its elements are finite. Rows are
    /// [those of the file](Self::is_transposed). Also whether the blocks are in the mapped file.
    pub(super) fn read_blocks(&self, weight: &str) -> Result<(Bytes, bool), LoadError> {
        let stored = self.stored(weight)?;
        let TensorFile::Gguf(file) = &self.files[stored.file] else { return Ok((Bytes::new(), false)) };
        let blocks = file.read_blocks(&stored.name)?;
        // A row is whole blocks.
        let rows = stored.shape.first().copied().unwrap_or(1);
        Ok(match stored.layout.put_back(&blocks, rows) {
            Some(ordered) => (ordered.into(), false),
            None => (blocks, file.is_mapped()),
        })
    }

    /// The number format in which its file holds a weight.
    pub(crate) fn float_type(&self, weight: &str) -> Result<FloatType, LoadError> {
        let stored = self.stored(weight)?;
        Ok(self.files[stored.file].float_type(&stored.name)?)
    }

    /// The shape in which its file holds a weight.
    pub(crate) fn shape(&self, weight: &str) -> Result<&[usize], LoadError> {
        self.stored(weight).map(|stored| stored.shape.as_slice())
    }

    fn stored(&self, weight: &str) -> Result<&Stored, LoadError> {
        self.tensors.get(weight).ok_or_else(|| {
            let missing = vec![TensorShape { name: weight.to_owned(), shape: vec![] }];
            let mismatch = Box::new(Mismatch { missing, ..Mismatch::default() });
            LoadError::Mismatch { dir: self.dir.clone(), mismatch }
        })
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
    let is_index = path.extension().is_some_and(|extension| extension == "json");
    if is_index { Ok(shards(&path)?) } else { Ok(vec![path]) }
}
