//! The model card, with the front matter that PEFT writes.

/// The card of an adapter.
pub(super) fn card(base_model: &str, method: &str, task: Option<&str>) -> String {
    let pipeline = match task {
        Some("CAUSAL_LM") => "pipeline_tag: text-generation\n",
        Some("SEQ_CLS") => "pipeline_tag: text-classification\n",
        Some("TOKEN_CLS") => "pipeline_tag: token-classification\n",
        Some("QUESTION_ANS") => "pipeline_tag: question-answering\n",
        _ => "",
    };
    // A quoted text of YAML is one of JSON.
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let (base, tag) = match base_model {
        "" => (String::new(), String::new()),
        name => (
            format!("base_model: {}\n", quoted(name)),
            format!("- {}\n", quoted(&format!("base_model:adapter:{name}"))),
        ),
    };
    format!(
        "---\n{base}library_name: peft\n{pipeline}tags:\n{tag}- {method}\n- transformers\n---\n\n# Adapter\n\nTrained with \
         burn-adapters, written in PEFT's format.\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_front_matter_names_the_base_model() {
        let card = card("org/base: 1", "lora", Some("CAUSAL_LM"));
        assert!(
            card.starts_with("---\nbase_model: \"org/base: 1\"\nlibrary_name: peft\npipeline_tag: text-generation\n")
        );
        assert!(card.contains("\n- \"base_model:adapter:org/base: 1\"\n- lora\n- transformers\n---\n"));
    }
}
