//! The chat templates in a model's files, as texts.

use std::path::{Path, PathBuf};

use burn_adapters_files::{MAX_TEXT, is_there, parse_json, read_text};
use burn_adapters_tensors::{Gguf, GgufValue};
use serde_json::Value;

use crate::gguf::{is_gguf, open_config};
use crate::{ModelConfigError, TokenizerError};

/// The key of the template in `tokenizer_config.json` and `chat_template.json`.
const KEY: &str = "chat_template";
/// The key of the template in GGUF files; further ones have a name after it.
const GGUF_KEY: &str = "tokenizer.chat_template";

/// A chat template of a model: how a conversation becomes one text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelChatTemplate {
    /// Its name; `default` if it is the only one.
    pub name: String,
    /// The file that it is in.
    pub file: PathBuf,
    /// The template.
    pub source: String,
}

impl ModelChatTemplate {
    /// The name of the template that is used without tools.
    pub const DEFAULT: &str = "default";
    /// The name of the template that is used with tools, if there is one.
    pub const TOOLS: &str = "tool_use";

    /// Reads the templates of a model folder: `chat_template.jinja`, or else `chat_template.json`, or else `chat_template` in
    /// `tokenizer_config.json`, which is one template or a list of named ones. Of a GGUF file, they are in the metadata.
    ///
    /// ```no_run
    /// use burn_adapters_transformers::ModelChatTemplate;
    ///
    /// let templates = ModelChatTemplate::all("SmolLM2-135M-Instruct".as_ref())?;
    /// println!("{} templates", templates.len());
    /// # Ok::<(), burn_adapters_transformers::TokenizerError>(())
    /// ```
    ///
    /// # Errors
    /// If a file cannot be read, or does not hold a template where one is expected. A model without a template is not an
    /// error.
    pub fn all(dir: &Path) -> Result<Vec<Self>, TokenizerError> {
        if is_gguf(dir) {
            return of_gguf(dir, &open_config(dir)?);
        }
        let file = dir.join("chat_template.jinja");
        if is_there(&file) {
            let source = read(&file)?;
            return Ok(vec![Self { name: Self::DEFAULT.to_owned(), file, source }]);
        }
        for name in ["chat_template.json", "tokenizer_config.json"] {
            let file = dir.join(name);
            if !is_there(&file) {
                continue;
            }
            let text = read(&file)?;
            let value = parse_json(&text).map_err(|error| unusable(&file, format!("it is not JSON: {error}")))?;
            match value.get(KEY) {
                None | Some(Value::Null) => {}
                Some(value) => return of_value(&file, value),
            }
        }
        Ok(Vec::new())
    }

    /// The template for conversations with or without tools, as Transformers chooses it. `None` if there is none, or only
    /// templates of other names.
    pub fn choose(templates: &[Self], has_tools: bool) -> Option<&Self> {
        let named = |name: &str| templates.iter().find(|template| template.name == name);
        has_tools.then(|| named(Self::TOOLS)).flatten().or_else(|| named(Self::DEFAULT))
    }
}

fn read(file: &Path) -> Result<String, TokenizerError> {
    read_text(file, MAX_TEXT).map_err(|error| unusable(file, error.kind.to_string()))
}

fn unusable(file: &Path, message: String) -> TokenizerError {
    TokenizerError::Unusable { file: file.to_owned(), message }
}

/// One template, or a list of objects with `name` and `template`.
fn of_value(file: &Path, value: &Value) -> Result<Vec<ModelChatTemplate>, TokenizerError> {
    let new = |name: &str, source: &str| ModelChatTemplate {
        name: name.to_owned(),
        file: file.to_owned(),
        source: source.to_owned(),
    };
    let one = |entry: &Value| match (entry.get("name"), entry.get("template")) {
        (Some(Value::String(name)), Some(Value::String(source))) => Some(new(name, source)),
        _ => None,
    };
    let found = match value {
        Value::String(source) => Some(vec![new(ModelChatTemplate::DEFAULT, source)]),
        Value::Array(entries) => entries.iter().map(one).collect::<Option<Vec<_>>>(),
        _ => None,
    };
    let message = "`chat_template` must be a template, or a list of objects with `name` and `template`";
    found.ok_or_else(|| unusable(file, message.to_owned()))
}

fn of_gguf(path: &Path, file: &Gguf) -> Result<Vec<ModelChatTemplate>, TokenizerError> {
    let wrong = |key: &str, value: &GgufValue, expected: &str| {
        let message = format!("{key} is {}, expected {expected}", value.kind());
        TokenizerError::from(ModelConfigError::Gguf { message: format!("{}: {message}", path.display()) })
    };
    let read = |key: &str, name: &str| -> Result<Option<ModelChatTemplate>, TokenizerError> {
        let Some(value) = file.metadata().get(key) else { return Ok(None) };
        let source = value.as_text().ok_or_else(|| wrong(key, value, "a text"))?.to_owned();
        Ok(Some(ModelChatTemplate { name: name.to_owned(), file: path.to_owned(), source }))
    };
    let mut templates = Vec::from_iter(read(GGUF_KEY, ModelChatTemplate::DEFAULT)?);
    if let Some(value) = file.metadata().get("tokenizer.chat_templates") {
        let names = value.as_texts().ok_or_else(|| wrong("tokenizer.chat_templates", value, "a list of names"))?;
        for name in names.iter().filter(|name| *name != ModelChatTemplate::DEFAULT) {
            templates.extend(read(&format!("{GGUF_KEY}.{name}"), name)?);
        }
    }
    Ok(templates)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;

    fn all(files: &[(&str, &str)]) -> Result<Vec<ModelChatTemplate>, TokenizerError> {
        let dir = tempfile::tempdir().unwrap();
        files.iter().for_each(|(name, text)| fs::write(dir.path().join(name), text).unwrap());
        ModelChatTemplate::all(dir.path())
    }

    #[test]
    fn a_template_of_its_own_file_goes_before_the_others() {
        let config = ("tokenizer_config.json", r#"{"chat_template": "c"}"#);
        let json = ("chat_template.json", r#"{"chat_template": "b"}"#);
        let own = ("chat_template.jinja", "a");
        let sources =
            |files: &[(&str, &str)]| all(files).unwrap().into_iter().map(|one| one.source).collect::<Vec<_>>();
        assert_eq!(sources(&[config]), ["c"]);
        assert_eq!(sources(&[config, json]), ["b"]);
        assert_eq!(sources(&[config, json, own]), ["a"]);
        assert!(
            sources(&[]).is_empty() && sources(&[("tokenizer_config.json", r#"{"chat_template": null}"#)]).is_empty()
        );
    }

    #[test]
    fn named_templates_are_chosen_by_the_tools() {
        let list =
            r#"{"chat_template": [{"name": "default", "template": "a"}, {"name": "tool_use", "template": "b"}]}"#;
        let templates = all(&[("tokenizer_config.json", list)]).unwrap();
        let chosen = |has_tools| ModelChatTemplate::choose(&templates, has_tools).unwrap().source.as_str();
        assert_eq!((chosen(false), chosen(true)), ("a", "b"));
        assert_eq!(ModelChatTemplate::choose(&templates[..1], true).unwrap().source, "a");
        assert_eq!(ModelChatTemplate::choose(&templates[1..], false), None);
    }

    #[test]
    fn what_is_no_template_is_an_error() {
        for text in [r#"{"chat_template": 3}"#, r#"{"chat_template": [{"name": "a"}]}"#, "{"] {
            let error = all(&[("tokenizer_config.json", text)]).unwrap_err().to_string();
            assert!(error.contains("tokenizer_config.json"), "{error}");
        }
    }
}
