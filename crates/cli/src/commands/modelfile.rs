//! The `Modelfile` with which Ollama makes a model: its GGUF file, an adapter, and where an answer ends. The chat template is in
//! the GGUF file.

use std::path::Path;

use burn_adapters_chat::{ChatTemplate, SpecialTokens};
use burn_adapters_transformers::{GenerationConfig, ModelChatTemplate, Tokenizer};
use serde_json::Value;

use super::template::turn_ends;

/// The text of a Modelfile. `model` is where the tokenizer and the template of the model are.
pub(super) fn modelfile(from: &str, adapter: Option<&str>, model: &Path) -> String {
    let mut text = format!("FROM {from}\n");
    if let Some(adapter) = adapter {
        text.push_str(&format!("ADAPTER {adapter}\n"));
    }
    for stop in stops(model) {
        // A quoted text of JSON is one there.
        text.push_str(&format!("PARAMETER stop {}\n", Value::from(stop)));
    }
    text
}

/// The texts of the tokens that end an answer; none if they are not known.
fn stops(model: &Path) -> Vec<String> {
    let Ok(tokenizer) = Tokenizer::from_dir(model) else { return Vec::new() };
    let mut ids = GenerationConfig::from_dir(model).map(|config| config.end_ids).unwrap_or_default();
    let templates = ModelChatTemplate::all(model).unwrap_or_default();
    if let Some(chosen) = ModelChatTemplate::choose(&templates, false) {
        let tokens = SpecialTokens::new(tokenizer.named_special_tokens());
        let template = ChatTemplate::parse(chosen.name.clone(), &chosen.source, tokens);
        ids.extend(template.iter().flat_map(|template| turn_ends(&tokenizer, template)));
    }
    ids.sort_unstable();
    ids.dedup();
    let texts = ids.into_iter().filter_map(|id| tokenizer.decode(&[id], false).ok());
    texts.filter(|text| !text.trim().is_empty()).collect()
}
