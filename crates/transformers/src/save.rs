//! Writing a model's weights as the files that they were read from hold them.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use burn::module::ParamId;
use burn::tensor::{Device, Tensor, TensorData};
use burn_adapters_core::is_quantized;
use burn_adapters_tensors::{FloatType, parameters, save_safetensors, transposed, values};

use crate::gguf::is_gguf;
use crate::load::is_buffer;
use crate::plan::{Part, TiedWeight};
use crate::skeleton::Skeleton;
use crate::weights::{Listed, ListedParameter, Weights};
use crate::{AutoModel, LoadError, ModelSaveError, ModelSaveReport};

impl AutoModel {
    /// Writes the weights to a safetensors file, under their names in the folder `like`, from which the model was read.
    /// Tensors there that a base model does not use (the heads of task models) are copied; buffers are left out. All
    /// tensors are written as f32.
    ///
    /// Merging an adapter and saving the resulting model:
    ///
    /// ```no_run
    /// # use std::path::Path;
    /// # use burn_adapters_model::{AdapterBank, MergedModel};
    /// # use burn_adapters_transformers::AutoModel;
    /// # fn merge(model: AutoModel, bank: &AdapterBank) -> Result<(), Box<dyn std::error::Error>> {
    /// let merged = MergedModel::merge(model, bank.adapter("reviews")?)?;
    /// merged.save(Path::new("all-MiniLM-L6-v2"), Path::new("merged/model.safetensors"))?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If the files of `like` cannot be read or belong to another model, weights are quantized, or the file cannot be written.
    pub fn save(&self, like: &Path, file: &Path) -> Result<ModelSaveReport, ModelSaveError> {
        self.save_as(like, file, FloatType::F32)
    }

    /// As [`save`](Self::save), with all tensors in the given number format.
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub fn save_as(&self, like: &Path, file: &Path, format: FloatType) -> Result<ModelSaveReport, ModelSaveError> {
        if is_gguf(like) {
            return Err(ModelSaveError::Gguf { file: like.to_owned() });
        }
        if is_quantized(&self.skeleton) {
            return Err(ModelSaveError::Quantized);
        }
        let mut weights = Weights::open(like, self.config.plan.prefix)?;
        let own = self.names(|name| weights.has(name))?;
        weights.take_copy(&self.config.plan);
        weights.take_tied(&self.config.plan)?;
        self.check_tied(&own)?;
        let shapes =
            own.iter().filter_map(|(name, own)| Some((name.clone(), own.first()?.parameter.stored_shape()))).collect();
        weights.check(&shapes, |_| true)?;
        let names: BTreeMap<String, String> =
            weights.names().filter(|(weight, _)| !is_buffer(weight)).map(|(weight, name)| (name, weight)).collect();
        let mut tensors = BTreeMap::new();
        for (name, weight) in &names {
            tensors.insert(name.clone(), (format, weights.shape(weight)?.to_vec()));
        }
        let mut report = ModelSaveReport::default();
        // Without the metadata the reference does not read the file.
        save_safetensors(file, &tensors, &[("format", "pt")], |name| {
            let weight = &names[name];
            let stored = weights.read(weight, FloatType::F32)?;
            report.converted += usize::from(weights.float_type(weight)? != format);
            let data = match own.get(weight) {
                Some(own) => {
                    let data = self.value(own)?;
                    report.changed += usize::from(data.as_bytes() != stored.as_bytes());
                    data
                }
                None => stored,
            };
            let data = data.convert_dtype(format.dtype());
            report.tensors += 1;
            report.parameters += data.num_elements();
            report.bytes += data.as_bytes().len() as u64;
            Ok::<_, ModelSaveError>(data)
        })?;
        Ok(report)
    }

    /// Checks that the weights that an encoder and a decoder have in common are still the same.
    fn check_tied(&self, own: &BTreeMap<String, Vec<Own>>) -> Result<(), ModelSaveError> {
        for TiedWeight { encoder, decoder } in &self.config.plan.tied {
            let (Some(of_encoder), Some(of_decoder)) = (own.get(encoder), own.get(decoder)) else { continue };
            if self.value(of_encoder)?.as_bytes() != self.value(of_decoder)?.as_bytes() {
                let (encoder, decoder) = (encoder.clone(), decoder.clone());
                return Err(ModelSaveError::NotTied { encoder, decoder });
            }
        }
        Ok(())
    }

    /// The parameters by their names in files; several where files store them as one. `has` is whether the files to be
    /// written hold a weight.
    pub(crate) fn names(&self, has: impl Fn(&str) -> bool) -> Result<BTreeMap<String, Vec<Own>>, LoadError> {
        // The names are known where a model is built; two of one configuration have their parameters at the same paths.
        let device = Device::default();
        let mut listed = Listed::new(&device);
        let mut plan = self.config.plan.clone();
        plan.pooler = plan.pooler.filter(|_| self.skeleton.has_pooler());
        plan.output =
            plan.output.filter(|_| self.skeleton.has_output()).and_then(|output| output.trained().in_files(has));
        let model = Skeleton::build(&plan, &mut listed)?;
        let mut paths: HashMap<ParamId, String> =
            parameters(&model).into_iter().map(|parameter| (parameter.id, parameter.path)).collect();
        let mut own: BTreeMap<String, Vec<Own>> = BTreeMap::new();
        for parameter in listed.parameters {
            let Some(path) = paths.remove(&parameter.id) else { continue };
            own.entry(parameter.name.clone()).or_default().push(Own { path, parameter });
        }
        own.values_mut().for_each(|parts| parts.sort_by_key(Own::index));
        Ok(own)
    }

    /// A tensor as files have it, in f32, of the parameters that it consists of.
    pub(crate) fn value(&self, own: &[Own]) -> Result<TensorData, ModelSaveError> {
        let mut found = values(&self.skeleton, |path| {
            Some(path.to_string()).filter(|path| own.iter().any(|own| own.path == *path))
        })
        .map_err(|error| ModelSaveError::Device(error.to_string()))?;
        let mut parts = own.iter().map(|own| {
            let zeros = || TensorData::zeros::<f32, _>(own.parameter.shape.clone());
            found.remove(&own.path).unwrap_or_else(zeros).convert::<f32>()
        });
        let data = match own {
            [_] | [] => parts.next().unwrap_or_else(|| TensorData::zeros::<f32, _>([0])),
            [first, ..] if first.parameter.shape.len() == 2 => joined::<2>(parts, first),
            [first, ..] => joined::<1>(parts, first),
        };
        let is_transposed = own.first().is_some_and(Own::is_transposed);
        Ok(if is_transposed { transposed(data) } else { data })
    }
}

/// The outputs of several layers as those of one; they are the last dimension.
fn joined<const D: usize>(parts: impl Iterator<Item = TensorData>, first: &Own) -> TensorData {
    let device = Device::default();
    let (shape, heads) = (&first.parameter.shape, first.part().map_or(1, |part| part.heads));
    let outputs = shape.last().copied().unwrap_or(1);
    let inputs = shape.iter().rev().skip(1).product::<usize>();
    let by_head = [inputs, heads, 1, outputs / heads.max(1)];
    let parts: Vec<_> = parts.map(|part| Tensor::<D>::from_data(part, &device).reshape(by_head)).collect();
    let shape = if D == 1 { [1, outputs * parts.len()] } else { [inputs, outputs * parts.len()] };
    let all: Tensor<2> = Tensor::cat(parts, 2).reshape(shape);
    if D == 1 { all.flatten::<1>(0, 1).into_data() } else { all.into_data() }
}

/// A parameter of a model.
pub(crate) struct Own {
    /// Its path in the model.
    path: String,
    pub(crate) parameter: ListedParameter,
}

impl Own {
    /// Its position among those that files store as one.
    fn index(&self) -> usize {
        self.part().map_or(0, |part| part.index)
    }

    fn part(&self) -> Option<Part> {
        self.parameter.storage.and_then(|storage| storage.part)
    }

    fn is_transposed(&self) -> bool {
        self.parameter.shape.len() == 2 && self.parameter.storage.is_some_and(|storage| !storage.input_first)
    }
}
