//! Folders of many kinds give the tokens that the reference gives: vocabularies, SentencePiece models and
//! `tokenizer.json` with the files beside them.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;

use burn_adapters_transformers::Tokenizer;
use serde_json::{Value, json};

/// Writes the files of a golden; what `config.json` lacks is a model that takes any of the tokens.
fn write(dir: &Path, files: &Value) {
    for (name, content) in files.as_object().unwrap() {
        let bytes = match content {
            Value::String(text) => text.clone().into_bytes(),
            Value::Object(map) if map.contains_key("base64") => {
                use base64::Engine;
                base64::prelude::BASE64_STANDARD.decode(map["base64"].as_str().unwrap()).unwrap()
            }
            other => other.to_string().into_bytes(),
        };
        std::fs::write(dir.join(name), bytes).unwrap();
    }
    let mut config = json!({
        "vocab_size": 5000, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "pad_token_id": 0,
        "intermediate_size": 24, "max_position_embeddings": 600, "embedding_size": 16
    });
    let own = files["config.json"].as_object().unwrap().clone();
    config.as_object_mut().unwrap().extend(own);
    std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
}

fn ids(value: &Value) -> Vec<Vec<u32>> {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn tokens_are_those_of_the_reference() {
    let goldens: Value =
        serde_json::from_str(&burn_adapters_goldens::text(include_bytes!("goldens/tokenizers.json.xz"))).unwrap();
    let texts: Vec<String> = serde_json::from_value(goldens["texts"].clone()).unwrap();
    let (mut names, mut failures) = (Vec::new(), Vec::new());
    for (name, golden) in goldens["cases"].as_object().unwrap() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &golden["files"]);
        let tokenizer = match Tokenizer::from_dir(dir.path()) {
            Ok(tokenizer) => tokenizer,
            Err(error) => {
                failures.push(format!("{name}: {error}"));
                continue;
            }
        };
        for (key, length) in [("ids", 512), ("cut", 6)] {
            let rows = tokenizer.encode(&texts, length).unwrap().rows;
            for ((text, row), expected) in texts.iter().zip(rows).zip(ids(&golden[key])) {
                if row.ids != expected || row.token_type_ids.iter().any(|id| *id != 0) {
                    failures.push(format!("{name}, {key}, {text:?}:\n  {:?}\n  {expected:?}", row.ids));
                }
            }
        }
        let longest = golden["max_length"].as_u64().unwrap() as usize;
        assert_eq!(tokenizer.max_length(), tokenizer.model_limit().min(longest), "{name}");
        names.push(name);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(names.len() >= 40, "{names:?}");
}
