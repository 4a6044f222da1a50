//! Folders of many kinds give the tokens that the reference gives: vocabularies, SentencePiece models and
//! `tokenizer.json` with the files beside them.

use std::path::Path;

use burn_adapters_model::Text;
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
    if matches!(own["model_type"].as_str(), Some("mistral" | "qwen2" | "qwen3" | "gemma2" | "gemma3_text")) {
        config["num_key_value_heads"] = 2.into();
    }
    config.as_object_mut().unwrap().extend(own);
    std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
}

fn ids(value: &Value) -> Vec<Vec<u32>> {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn tokens_are_those_of_the_reference() {
    let goldens = tokenizers();
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
        failures.extend(
            decoded(&tokenizer, golden, name == "bert_generation_plain").map(|failure| format!("{name}, {failure}")),
        );
        let longest = golden["max_length"].as_u64().unwrap() as usize;
        assert_eq!(tokenizer.max_length(), tokenizer.model_limit().min(longest), "{name}");
        names.push(name);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(names.len() >= 80, "{names:?}");
}

/// What differs from the reference in the decoded texts, whole and token by token, and in the special tokens.
fn decoded<'a>(tokenizer: &'a Tokenizer, golden: &'a Value, loose: bool) -> impl Iterator<Item = String> + 'a {
    let special = tokenizer.special_ids();
    let special = json!({
        "bos": special.bos, "eos": special.eos, "unk": special.unk, "sep": special.sep, "pad": special.pad,
        "cls": special.cls, "mask": special.mask
    });
    let special = (special != golden["special"]).then(|| format!("{special}, but {}", golden["special"]));
    let rows = ids(&golden["ids"]);
    let texts = [false, true].into_iter().flat_map(move |skip| {
        let expected = golden["decoded"][usize::from(skip)].as_array().unwrap();
        let check = move |(row, expected): (&Vec<u32>, &Value)| {
            let mut stream = tokenizer.decode_stream(skip);
            let mut streamed: String = row.iter().map(|id| stream.push(*id).unwrap()).collect();
            streamed.push_str(&stream.finish().unwrap());
            let whole = tokenizer.decode(row, skip).unwrap();
            // Shown special tokens take the spaces after them here; the reference has no fast tokenizer of this class.
            let spaces = |text: &str| text.replace(' ', "");
            let differs =
                if loose && !skip { spaces(&whole) != spaces(expected.as_str().unwrap()) } else { whole != *expected };
            (differs || streamed != whole).then(|| format!("{whole:?}, {streamed:?}, but {expected}"))
        };
        rows.iter().zip(expected).filter_map(check).collect::<Vec<_>>()
    });
    special.into_iter().chain(texts)
}

#[test]
fn a_stream_gives_whole_characters_and_ends_with_what_is_left() {
    let (_dir, tokenizer) = folder("roberta_plain");
    let ids = tokenizer.encode(&["x🙂y"], 512).unwrap().rows[0].ids.clone();
    let mut stream = tokenizer.decode_stream(true);
    let parts: Vec<String> = ids.iter().map(|id| stream.push(*id).unwrap()).collect();
    assert!(ids.len() > 5 && parts.iter().all(|part| !part.contains('\u{fffd}')), "{parts:?}");
    assert_eq!(parts.concat() + &stream.finish().unwrap(), "x🙂y");
    // Only the first bytes of the emoji: what `decode` shows, at the end or when no character can follow any more.
    let cut = &ids[..ids.len() - 3];
    let mut stream = tokenizer.decode_stream(true);
    let given: String = cut.iter().map(|id| stream.push(*id).unwrap()).collect();
    assert_eq!(given, "x");
    assert_eq!(given + &stream.finish().unwrap(), tokenizer.decode(cut, true).unwrap());
    let mut stream = tokenizer.decode_stream(true);
    let given: String = [cut[2]; 20].iter().map(|id| stream.push(*id).unwrap()).collect();
    assert!(given.chars().count() >= 8 && tokenizer.decode(&[cut[2]; 20], true).unwrap().starts_with(&given));
    // The model may have rows for which there is no token.
    assert_eq!(tokenizer.decode(&[4999, cut[1], 4998], false).unwrap(), "x");
    assert_eq!(tokenizer.decode_stream(false).push(4999).unwrap(), "");
}

fn tokenizers() -> Value {
    serde_json::from_str(&burn_adapters_goldens::text(include_bytes!("../goldens/tokenizers.json.xz"))).unwrap()
}

fn pair_goldens() -> Value {
    serde_json::from_str(&burn_adapters_goldens::text(include_bytes!("../goldens/pairs.json.xz"))).unwrap()
}

/// A folder of a golden. Its model takes tokens of two types.
fn folder(case: &str) -> (tempfile::TempDir, Tokenizer) {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &tokenizers()["cases"][case]["files"]);
    let path = dir.path().join("config.json");
    let mut config: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    config["type_vocab_size"] = 2.into();
    std::fs::write(&path, config.to_string()).unwrap();
    let tokenizer = Tokenizer::from_dir(dir.path()).unwrap_or_else(|error| panic!("{case}: {error}"));
    (dir, tokenizer)
}

#[test]
fn pairs_are_put_together_and_cut_as_the_reference_does() {
    let goldens = pair_goldens();
    let pairs: Vec<(String, String)> = serde_json::from_value(goldens["pairs"].clone()).unwrap();
    for (case, golden) in goldens["cases"].as_object().unwrap() {
        let (_dir, tokenizer) = folder(case);
        let check = |length: usize, expected: &Value| {
            for ((first, second), expected) in pairs.iter().zip(expected.as_array().unwrap()) {
                let text = Text { text: first, pair: Some(second) };
                let encoded = tokenizer.encode_text(text, length, false).unwrap();
                let found = json!([encoded.row.ids, encoded.row.token_type_ids]);
                assert_eq!(&found, expected, "{case}, {length}, {first:?}, {second:?}");
                let whole = tokenizer.encode_text(text, 512, false).unwrap();
                assert_eq!(encoded.truncated, whole.row.ids.len() > length, "{case}, {length}, {first:?}, {second:?}");
            }
        };
        check(512, &golden["whole"]);
        for (length, expected) in golden["cut"].as_object().unwrap() {
            check(length.parse().unwrap(), expected);
        }
    }
}

#[test]
fn tokens_stand_where_the_reference_says() {
    let goldens = pair_goldens();
    let texts: Vec<String> = serde_json::from_value(goldens["texts"].clone()).unwrap();
    for (case, golden) in goldens["cases"].as_object().unwrap() {
        let (_dir, tokenizer) = folder(case);
        for (text, expected) in texts.iter().zip(golden["places"].as_array().unwrap()) {
            let encoded = tokenizer.encode_text(text.as_str().into(), 512, true).unwrap();
            let characters = |byte: usize| text[..byte].chars().count();
            let places: Vec<Value> = encoded
                .pieces
                .iter()
                .map(|piece| {
                    let Some(piece) = piece else { return Value::Null };
                    let bytes = piece.trimmed(text);
                    json!([characters(bytes.start), characters(bytes.end)])
                })
                .collect();
            assert_eq!(&Value::from(places), expected, "{case}, {text:?}");
            let words: Vec<u32> = encoded.pieces.iter().flatten().map(|piece| piece.word).collect();
            assert!(words.is_sorted(), "{case}, {text:?}: {words:?}");
        }
    }
}

#[test]
fn places_in_a_long_text_are_those_of_the_whole_text() {
    let (_dir, tokenizer) = folder("bert_plain");
    let text = "A fine film in Café Paris. ".repeat(6000);
    let encoded = tokenizer.encode_text(text.as_str().into(), 600, true).unwrap();
    assert!(encoded.truncated && text.len() > 2 << 16);
    let words = |from: &str, bytes: std::ops::Range<usize>| from[bytes].to_lowercase();
    let short = tokenizer.encode_text("A fine film in Café Paris.".into(), 600, true).unwrap();
    let short: Vec<_> = short.pieces.into_iter().flatten().collect();
    for (index, piece) in encoded.pieces.into_iter().flatten().enumerate() {
        let (round, place) = (index / short.len(), short[index % short.len()]);
        assert_eq!((piece.start, piece.end), (place.start + round * 28, place.end + round * 28), "{index}");
        assert_eq!(words(&text, piece.trimmed(&text)), words(&text, place.trimmed(&text)));
    }
}
