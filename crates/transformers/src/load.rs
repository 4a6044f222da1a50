//! Loading a model from a Hugging Face folder.

use std::path::Path;

use burn::module::Module;
use burn::tensor::Device;

use crate::gguf::{self, is_gguf};
use crate::skeleton::Skeleton;
use crate::weights::{FromFiles, Listed, ModelLoadReport, WeightFormat, Weights};
use crate::{AutoModel, LoadError, ModelConfig};

/// Buffers that old files hold: not weights, the model computes them.
const BUFFERS: [&str; 2] = ["embeddings.position_ids", "embeddings.token_type_ids"];

/// The causal masks that old files hold in each layer.
const MASKS: [&str; 4] = [".attn.bias", ".attn.masked_bias", ".crossattention.bias", ".crossattention.masked_bias"];

/// The prefixes of the heads of task models.
const HEADS: &[&str] = &[
    "final_logits_bias",
    "classification_head.",
    "pre_classifier.",
    "vocab_transform.",
    "vocab_layer_norm.",
    "vocab_projector.",
    "cls.",
    "predictions.",
    "sop_classifier.",
    "classifier.",
    "qa_outputs.",
    "lm_head.",
    "score.",
    "discriminator_predictions.",
    "generator_predictions.",
    "generator_lm_head.",
    "sequence_summary.",
    "qa_classifier.",
];

pub(crate) fn from_dir(
    dir: &Path,
    format: WeightFormat,
    device: &Device,
) -> Result<(AutoModel, ModelLoadReport), LoadError> {
    format.check(device)?;
    let (config, weights) = open(dir)?;
    build(config, weights, format, device)
}

/// # Safety
/// As [`Gguf::map`](burn_adapters_tensors::Gguf::map).
pub(crate) unsafe fn from_mapped_gguf(
    path: &Path,
    format: WeightFormat,
    device: &Device,
) -> Result<(AutoModel, ModelLoadReport), LoadError> {
    format.check(device)?;
    let mut file = gguf::open(path)?;
    // SAFETY: the caller promises that the file does not change.
    unsafe { file.map() }?;
    let config = ModelConfig::from_gguf(&file)?;
    let weights = Weights::of_gguf(file, &config.plan)?;
    let (model, report) = build(config, weights, format, device)?;
    if report.formats.mapped == 0 {
        return Err(LoadError::NotMapped { path: path.to_owned() });
    }
    Ok((model, report))
}

/// Reads the weights of a model.
fn build(
    config: ModelConfig,
    mut weights: Weights,
    format: WeightFormat,
    device: &Device,
) -> Result<(AutoModel, ModelLoadReport), LoadError> {
    let mut plan = config.plan.clone();
    weights.take_copy(&plan);
    weights.take_tied(&plan)?;
    let missing_pooler = plan.pooler.as_ref().is_some_and(|pooler| !weights.any(&format!("{}.", pooler.name)));
    if missing_pooler {
        plan.pooler = None;
    }

    plan.output = plan.output.and_then(|output| output.in_files(|name| weights.has(name)));

    let mut listed = Listed::new(device);
    Skeleton::build(&plan, &mut listed)?;
    let expected = listed.parameters.iter().map(|one| (one.name.clone(), one.stored_shape())).collect();
    let unused = weights.check(&expected, |name| {
        is_buffer(name)
            || plan.languages.as_ref().is_some_and(|languages| languages.has(name))
            || plan.word_copies().any(|copy| copy == name)
            || HEADS.iter().chain(plan.heads).any(|head| name.starts_with(head))
    })?;

    let files = weights.files();
    let mut source = FromFiles::new(weights, device, format, plan.outputs_words());
    let skeleton = Skeleton::build(&plan, &mut source)?;
    let model = AutoModel { skeleton, config };
    let report = ModelLoadReport {
        files,
        tensors: expected.len(),
        parameters: Module::num_params(&model),
        unused,
        formats: source.formats(),
        missing_pooler,
    };
    Ok((model, report))
}

/// The configuration and the weight files, of which a GGUF file is read once for both.
fn open(dir: &Path) -> Result<(ModelConfig, Weights), LoadError> {
    if is_gguf(dir) {
        let file = gguf::open(dir)?;
        let config = ModelConfig::from_gguf(&file)?;
        let weights = Weights::of_gguf(file, &config.plan)?;
        return Ok((config, weights));
    }
    let config = ModelConfig::from_dir(dir)?;
    let weights = Weights::open(dir, config.plan.prefix)?;
    Ok((config, weights))
}

/// Whether a tensor is a buffer that old files hold.
pub(crate) fn is_buffer(name: &str) -> bool {
    // In a pair, below the path of a model.
    let is = |buffer: &str| name.strip_suffix(buffer).is_some_and(|path| path.is_empty() || path.ends_with('.'));
    BUFFERS.into_iter().any(is) || MASKS.iter().any(|mask| name.ends_with(mask))
}
