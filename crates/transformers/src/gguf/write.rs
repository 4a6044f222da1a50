//! Writing a model as a GGUF file.

use std::collections::BTreeMap;
use std::path::Path;

use burn_adapters_tensors::{BlockType, GgufTensor, GgufValue, write_gguf};

use super::{Architecture, Layout, Names, is_gguf, metadata, open, rope};
use crate::families::ARCHITECTURES;
use crate::{AutoModel, ModelSaveError, ModelSaveReport};

/// How the matrices of a model are written. Norms, biases, and tables of positions and of types of tokens are
/// always f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GgufFormat {
    /// As they are.
    F32,
    /// Rounded to bf16.
    Bf16,
    /// Rounded to blocks of 32 8-bit numbers with a factor; bf16 where rows are no multiple of 32.
    Q8_0,
}

/// The tables of positions and of the types of tokens, which llama.cpp keeps in f32, too.
const TABLES: [&str; 2] = ["position_embd.weight", "token_types.weight"];

impl GgufFormat {
    /// The type of a tensor's blocks.
    fn kind(self, name: &str, shape: &[usize]) -> BlockType {
        let kind = match self {
            _ if shape.len() < 2 || TABLES.contains(&name) => return BlockType::F32,
            Self::F32 => BlockType::F32,
            Self::Bf16 => BlockType::Bf16,
            Self::Q8_0 => BlockType::Q8_0,
        };
        match shape.last() {
            Some(row) if row % kind.elements() != 0 => BlockType::Bf16,
            _ => kind,
        }
    }

    /// The number of `general.file_type` for a file that is mostly of this format.
    fn file_type(self) -> u64 {
        match self {
            Self::F32 => 0,
            Self::Q8_0 => 7,
            Self::Bf16 => 32,
        }
    }
}

impl AutoModel {
    /// Writes the model as a GGUF file, which llama.cpp reads. `like` is the GGUF file or the Hugging Face folder that the model
    /// was read from: it gives the tokenizer, the chat template and the other metadata.
    ///
    /// # Errors
    /// If the model is not of an architecture whose tensors have names there, or its weights are quantized; if `like` cannot be
    /// read, or has a tokenizer that cannot be written; if the file cannot be written.
    pub fn save_gguf(&self, like: &Path, file: &Path, format: GgufFormat) -> Result<ModelSaveReport, ModelSaveError> {
        let plan = &self.config.plan;
        let architecture = ARCHITECTURES.iter().find(|known| known.model_type == plan.model_type);
        let architecture = architecture.ok_or(ModelSaveError::NoGguf { model_type: plan.model_type })?;
        let metadata = self.metadata(like, architecture, format)?;
        let refused = |reason: String| ModelSaveError::GgufMetadata { path: like.to_owned(), reason };
        let activation = plan.stack.layer.feed_forward.activation;
        if !architecture.activations.contains(&activation) {
            let known: Vec<&str> = architecture.activations.iter().map(|known| known.name()).collect();
            let (name, known) = (activation.name(), known.join(", "));
            return Err(refused(format!(
                "its activation is {name}, but llama.cpp computes {known} in models of its type"
            )));
        }
        let names = Names::new(architecture, plan);
        let own = self.names(|_| true)?;
        let mut report = ModelSaveReport::default();
        let mut tensors = Vec::new();
        let mut sources: BTreeMap<String, (&str, Layout)> = BTreeMap::new();
        for (name, parts) in &own {
            let Some((stored, layout)) = names.stored(name) else {
                // llama.cpp has encoders for their last states alone.
                if architecture.is_encoder() && !name.starts_with(names.layers()) {
                    report.left_out.push(name.clone());
                    continue;
                }
                return Err(refused(format!("llama.cpp has no tensor for its `{name}`")));
            };
            let Some(first) = parts.first() else { continue };
            let shape = layout.shape(&first.parameter.stored_shape());
            tensors.push(GgufTensor { name: stored.clone(), kind: format.kind(&stored, &shape), shape });
            sources.insert(stored, (name, layout));
        }
        let factors = rope::factors(plan, architecture).map_err(refused)?;
        let (of_factors, factors) = factors.unzip();
        tensors.extend(of_factors);
        let metadata: Vec<(&str, GgufValue)> =
            metadata.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
        write_gguf(file, &metadata, &tensors, |stored| {
            let Some((name, layout)) = sources.get(stored) else { return Ok(factors.clone().unwrap_or_default()) };
            let data = self.value(&own[*name])?;
            report.tensors += 1;
            report.parameters += data.num_elements();
            layout.stored(data).map_err(ModelSaveError::Device)
        })?;
        report.bytes = std::fs::metadata(file).map_or(0, |metadata| metadata.len());
        Ok(report)
    }

    /// The metadata of a file like the one that the model was read from.
    fn metadata(
        &self,
        like: &Path,
        architecture: &Architecture,
        format: GgufFormat,
    ) -> Result<BTreeMap<String, GgufValue>, ModelSaveError> {
        let mut values = match is_gguf(like) {
            true => open(like)?.metadata().clone(),
            false => metadata::of_folder(like, &self.config.plan, architecture)?,
        };
        values.insert("general.file_type".to_owned(), GgufValue::Unsigned(format.file_type()));
        values.insert("general.quantization_version".to_owned(), GgufValue::Unsigned(2));
        Ok(values)
    }
}
