//! The names of families of models stand with the families alone: a new one then touches nothing else.

use std::path::Path;

use super::Finding;
use super::sources::Source;

/// The `model_type`s of Hugging Face's `config.json` that are looked for. Others may be added; what they must not do is
/// stand in code outside [`HOME`].
const MODEL_TYPES: &[&str] = &[
    "albert",
    "bart",
    "beit",
    "bert",
    "bert-generation",
    "clip",
    "deberta",
    "deberta-v2",
    "distilbert",
    "electra",
    "gemma2",
    "gemma3_text",
    "gpt2",
    "gptj",
    "llama",
    "mbart",
    "mistral",
    "modernbert",
    "mt5",
    "phi",
    "plbart",
    "qwen2",
    "qwen3",
    "roberta",
    "t5",
    "vit",
    "whisper",
    "xlm-roberta",
    "xmod",
];

/// Where families are.
const HOME: &str = "crates/transformers/src/families/";

/// The files outside that still name some, and why. The list only shrinks: a file that names none any more must leave it.
const ALLOWED: [(&str, &str); 4] = [
    ("crates/bench/src/make.rs", "makes a model folder"),
    ("crates/config/src/bottleneck.rs", "a way to initialize, which the reference calls so"),
    ("crates/config/src/lora.rs", "a way to initialize, which the reference calls so"),
    ("crates/merging/src/peft.rs", "writes a folder of PEFT"),
];

pub(super) fn check(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.is_rust() && source.is_library()) {
        let named = named(&source.text);
        let allowed = ALLOWED.iter().any(|(path, _)| source.path.ends_with(path));
        if named.is_empty() && allowed {
            let message = "names no model type any more: take it off the list in xtask/src/tidy/model_types.rs";
            findings.push(Finding::new(&source.path, 0, message));
        }
        let at_home = source.path.to_string_lossy().replace('\\', "/").starts_with(HOME);
        if !allowed && !at_home && !source.path.starts_with("xtask") {
            findings.extend(named.into_iter().map(|(line, model_type)| {
                let message = format!("`\"{model_type}\"` belongs into {HOME}: a family is named in its folder only");
                Finding::new(&source.path, line, message)
            }));
        }
    }
    let lost = ALLOWED.iter().filter(|(path, _)| sources.iter().all(|source| !source.path.ends_with(path)));
    findings.extend(lost.map(|(path, _)| {
        let message = "is not there: take it off the list in xtask/src/tidy/model_types.rs";
        Finding::new(Path::new(path), 0, message)
    }));
    findings
}

/// The model types that stand in a file as strings, outside comments and tests, and their lines.
fn named(text: &str) -> Vec<(usize, &'static str)> {
    let mut named = Vec::new();
    let code = text.lines().take_while(|line| !line.trim_start().starts_with("#[cfg(test)]"));
    for (index, line) in code.enumerate() {
        let code = if line.trim_start().starts_with("//") { "" } else { line };
        let found = MODEL_TYPES.iter().filter(|model_type| code.contains(&format!("\"{model_type}\"")));
        named.extend(found.map(|model_type| (index + 1, *model_type)));
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<usize> {
        let findings = check(&[Source { path: path.into(), text: text.into() }]);
        findings.into_iter().filter(|finding| finding.file == Path::new(path)).map(|finding| finding.line).collect()
    }

    #[test]
    fn a_model_type_outside_the_families_is_found() {
        let text = "//! `\"bert\"`\nmatch name {\n    \"bert\" => 1,\n}\n#[cfg(test)]\nmod tests { \"bert\" }\n";
        assert_eq!(found("crates/train/src/a.rs", text), [3]);
        assert_eq!(found("crates/transformers/src/families/bert/mod.rs", text), [0; 0]);
        assert_eq!(found("crates/train/tests/a.rs", text), [0; 0]);
        assert_eq!(found("crates/train/src/a.rs", "\"bert_adapter\""), [0; 0]);
    }

    #[test]
    fn a_place_that_is_allowed_leaves_the_list_when_it_is_clean() {
        assert_eq!(found("crates/config/src/lora.rs", "\"bert\""), [0; 0]);
        assert_eq!(found("crates/config/src/lora.rs", ""), [0]);
    }
}
