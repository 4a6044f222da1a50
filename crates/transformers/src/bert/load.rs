//! Loading a BERT from a Hugging Face folder.

use std::path::Path;

use burn::module::Module;
use burn::tensor::Device;

use super::Bert;
use crate::weights::{Expected, FromFiles, LoadReport, Weights};
use crate::{LoadError, ModelConfig};

/// Buffers that old files hold: not weights, the model computes them.
const BUFFERS: [&str; 2] = ["embeddings.position_ids", "embeddings.token_type_ids"];

/// What the heads of task models begin with.
const HEADS: [&str; 9] = [
    "cls.",
    "classifier.",
    "qa_outputs.",
    "lm_head.",
    "discriminator_predictions.",
    "generator_predictions.",
    "generator_lm_head.",
    "sequence_summary.",
    "qa_classifier.",
];

impl Bert {
    /// Loads a Hugging Face folder: `config.json`, and `model.safetensors` or `pytorch_model.bin`, either also in
    /// several files with an index. Numbers of 16 bits are widened to f32. A `.bin` is interpreted, nothing in it is
    /// executed.
    ///
    /// Checkpoints of task models are fine: their heads are left out, and listed in the report. So are those without a
    /// pooler.
    ///
    /// # Errors
    /// If the configuration cannot be used, a file is absent or broken, or the weights are not exactly those that the
    /// configuration describes.
    pub fn from_dir(dir: &Path, device: &Device) -> Result<(Self, LoadReport), LoadError> {
        let ModelConfig::Bert(config) = ModelConfig::from_dir(dir)?;
        let weights = Weights::open(dir, config.family.prefix())?;
        let has_pooler = config.family.has_pooler() && weights.any("pooler.");

        let mut expected = Expected::new(device);
        Self::build(&config, has_pooler, &mut expected)?;
        let unused = weights
            .check(&expected.shapes, |name| is_buffer(name) || HEADS.iter().any(|head| name.starts_with(head)))?;

        let files = weights.files();
        let bert = Self::build(&config, has_pooler, &mut FromFiles { weights, device })?;
        let report = LoadReport {
            files,
            tensors: expected.shapes.len(),
            parameters: Module::num_params(&bert),
            unused,
            missing_pooler: config.family.has_pooler() && !has_pooler,
        };
        Ok((bert, report))
    }
}

/// Whether a tensor is a buffer that old files hold.
pub(super) fn is_buffer(name: &str) -> bool {
    BUFFERS.contains(&name)
}
