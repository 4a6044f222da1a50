//! Model cards, with the front matter that each library writes.

use burn_adapters_core::ModelSpec;
use serde_json::Value;

/// The card of an adapter (`README.md`), with the keys and tags that the library of this format writes. For PEFT it is that of
/// LoRA; [`stage_peft`](crate::stage_peft) writes one with the method and the task.
///
/// `base_model` is the name of the base model at Hugging Face, or its folder; it may be empty. `adapter` is the adapter's
/// name.
///
/// ```
/// use burn_adapters_checkpoint::{AdapterFormat, model_card};
/// use burn_adapters_core::{ModelSpec, StackSpec};
///
/// let spec = ModelSpec::new("bert", 8).with_stack(StackSpec::encoder(1, 8, 2, 16));
/// let card = model_card(AdapterFormat::AdapterHub, &spec, "bert-base-uncased", "reviews");
/// assert!(card.starts_with("---\ntags:\n- adapter-transformers\n- bert\n---\n"));
/// ```
pub fn model_card(format: crate::AdapterFormat, spec: &ModelSpec, base_model: &str, adapter: &str) -> String {
    use crate::AdapterFormat::{AdapterHub, Gguf, Mlx, Peft};
    let (front, program) = match format {
        Peft => return peft_card(base_model, "lora", None),
        AdapterHub => (format!("tags:\n- adapter-transformers\n- {}\n", spec.model_type), "AdapterHub's library"),
        Mlx => (of_base(base_model, "library_name: mlx\npipeline_tag: text-generation\n", &["mlx", "lora"]), "mlx-lm"),
        Gguf => (of_base(base_model, "", &["gguf", "lora"]), "llama.cpp"),
    };
    let of = if base_model.is_empty() { spec.model_type.as_str() } else { base_model };
    format!(
        "---\n{front}---\n\n# Adapter {} for {}\n\nTrained with burn-adapters, written in the format of {program}.\n",
        one_line(adapter),
        one_line(of)
    )
}

/// The card of an adapter of PEFT.
pub(crate) fn peft_card(base_model: &str, method: &str, task: Option<&str>) -> String {
    let pipeline = match task {
        Some("CAUSAL_LM") => "pipeline_tag: text-generation\n",
        Some("SEQ_CLS") => "pipeline_tag: text-classification\n",
        Some("TOKEN_CLS") => "pipeline_tag: token-classification\n",
        Some("QUESTION_ANS") => "pipeline_tag: question-answering\n",
        _ => "",
    };
    let front = of_base(base_model, &format!("library_name: peft\n{pipeline}"), &[method, "transformers"]);
    format!("---\n{front}---\n\n# Adapter\n\nTrained with burn-adapters, written in PEFT's format.\n")
}

/// The front matter of an adapter of a base model.
fn of_base(base_model: &str, keys: &str, tags: &[&str]) -> String {
    // A quoted text of YAML is one of JSON.
    let quoted = |text: &str| Value::from(text).to_string();
    let (base, tag) = match base_model {
        "" => (String::new(), String::new()),
        name => (
            format!("base_model: {}\n", quoted(name)),
            format!("- {}\n", quoted(&format!("base_model:adapter:{name}"))),
        ),
    };
    let tags: String = tags.iter().map(|tag| format!("- {tag}\n")).collect();
    format!("{base}{keys}tags:\n{tag}{tags}")
}

/// A name as a part of a heading.
fn one_line(name: &str) -> String {
    name.chars().map(|symbol| if symbol.is_control() { ' ' } else { symbol }).collect()
}

#[cfg(test)]
mod tests {
    use burn_adapters_core::StackSpec;

    use super::*;
    use crate::AdapterFormat;

    #[test]
    fn the_front_matter_names_the_base_model() {
        let card = peft_card("org/base: 1", "lora", Some("CAUSAL_LM"));
        assert!(
            card.starts_with("---\nbase_model: \"org/base: 1\"\nlibrary_name: peft\npipeline_tag: text-generation\n")
        );
        assert!(card.contains("\n- \"base_model:adapter:org/base: 1\"\n- lora\n- transformers\n---\n"));
        let spec = ModelSpec::new("llama", 8).with_stack(StackSpec::encoder(1, 8, 2, 16));
        let card = model_card(AdapterFormat::Mlx, &spec, "org/base", "a\nb");
        assert!(card.starts_with("---\nbase_model: \"org/base\"\nlibrary_name: mlx\n"), "{card}");
        assert!(card.contains("\n# Adapter a b for org/base\n"), "{card}");
        let card = model_card(AdapterFormat::Gguf, &spec, "", "a");
        assert!(card.starts_with("---\ntags:\n- gguf\n- lora\n---\n") && card.contains(" for llama\n"), "{card}");
    }
}
