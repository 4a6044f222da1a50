//! Loading a BERT from a Hugging Face folder.

use std::path::Path;

use burn::module::Module;
use burn::tensor::Device;

use super::Bert;
use crate::weights::{Expected, FromFiles, LoadReport, WeightFormat, Weights};
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
    /// several files with an index. All weights become f32. A `.bin` is interpreted; nothing in it is executed.
    ///
    /// Checkpoints of task models are fine: their heads are left out, and listed in the report. So are those without a
    /// pooler.
    ///
    /// # Errors
    /// If the configuration cannot be used, a file is absent or broken, or the weights are not exactly those that the
    /// configuration describes.
    pub fn from_dir(dir: &Path, device: &Device) -> Result<(Self, LoadReport), LoadError> {
        Self::from_dir_as(dir, WeightFormat::F32, device)
    }

    /// As [`from_dir`](Self::from_dir), with the weights of linear layers in a number format. They are converted one by
    /// one as they are read, so that the model is never in memory in another format than this.
    ///
    /// # Errors
    /// As [`from_dir`](Self::from_dir); if the device does not have the format, or trains weights.
    pub fn from_dir_as(dir: &Path, format: WeightFormat, device: &Device) -> Result<(Self, LoadReport), LoadError> {
        format.check(device)?;
        let ModelConfig::Bert(config) = ModelConfig::from_dir(dir)?;
        let weights = Weights::open(dir, config.family.prefix())?;
        let has_pooler = config.family.has_pooler() && weights.any("pooler.");

        let mut expected = Expected::new(device);
        Self::build(&config, has_pooler, &mut expected)?;
        let unused = weights
            .check(&expected.shapes, |name| is_buffer(name) || HEADS.iter().any(|head| name.starts_with(head)))?;

        let files = weights.files();
        let bert = Self::build(&config, has_pooler, &mut FromFiles { weights, device, format })?;
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
