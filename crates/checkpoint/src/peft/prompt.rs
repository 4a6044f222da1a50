//! Prompt tuning and p-tuning of PEFT: embeddings before those of the text.

use burn_adapters_config::PromptTuningConfig;
use burn_adapters_core::{ModelSpec, StackKind};
use burn_adapters_files::shorten;
use burn_adapters_tensors::Tensors;

use super::settings::REMEDY;
use crate::convert::Converted;

const PROMPT: &str = "prompt_embeddings";

/// Reads a prompt.
pub(super) fn read(tensors: &Tensors, spec: &ModelSpec) -> Result<Converted, String> {
    if let Some(name) = tensors.keys().find(|name| *name != PROMPT) {
        return Err(format!("its tensor `{}` is no part of a prompt", shorten(name)));
    }
    let prompt = tensors.get(PROMPT).ok_or_else(|| format!("the tensor `{PROMPT}` is missing"))?;
    check(spec)?;
    let &[length, width] = prompt.shape.as_slice() else {
        return Err(format!("`{PROMPT}` has the shape {:?}, expected [length, width]", prompt.shape));
    };
    if width != spec.embedding_size || length == 0 {
        return Err(format!(
            "`{PROMPT}` is [{length}, {width}], but the embeddings of the model have {} elements",
            spec.embedding_size
        ));
    }
    let config = PromptTuningConfig::prompt_tuning().with_prompt_length(length);
    let values = [("prompt.prompt_embedding.weight".to_owned(), prompt.values.clone())].into();
    Ok(Converted { config: config.into(), values, neutral: |_| None })
}

/// Checks that a prompt acts in a model as it does in PEFT.
pub(super) fn check(spec: &ModelSpec) -> Result<(), String> {
    if spec.has_position_table {
        return Err(format!(
            "PEFT counts the prompt as positions of the text, which moves every token in the table of positions of this {} \
             model, and prompts here do not; train it here, or use LoRA",
            spec.model_type
        ));
    }
    if spec.stack(StackKind::Encoder).is_some() {
        return Err(format!("prompts of encoders are other positions there; {REMEDY}"));
    }
    Ok(())
}
