//! Tokenizer files that are broken or made to break: an error each, never a panic, a hang or memory without bound.

use std::path::Path;
use std::time::{Duration, Instant};

use burn_adapters_model::{Text, Tokenize};
use burn_adapters_transformers::{Tokenizer, TokenizerError};
use serde_json::{Value, json};

const TEXTS: [&str; 6] =
    ["A fine film in Paris.", "", "  two  spaces ", "[MASK]<mask> é中🙂\u{0}", "ａｂ½ \u{301}", "aaaaaaaaaaaaaaaa"];

fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let config = json!({
        "model_type": "bert", "vocab_size": 5000, "hidden_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "intermediate_size": 24, "max_position_embeddings": 64
    });
    std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    let generic = r#"{"tokenizer_class": "PreTrainedTokenizerFast"}"#;
    std::fs::write(dir.path().join("tokenizer_config.json"), generic).unwrap();
    dir
}

/// The `tokenizer.json` of a golden.
fn golden(name: &str) -> Value {
    let mut goldens: Value =
        serde_json::from_str(&burn_adapters_goldens::text(include_bytes!("../goldens/tokenizers.json.xz"))).unwrap();
    goldens["cases"][name]["files"]["tokenizer.json"].take()
}

/// Reads the file and encodes with it; the error, if any.
fn run(dir: &Path, json: &Value, text: &str) -> Option<TokenizerError> {
    std::fs::write(dir.join("tokenizer.json"), json.to_string()).unwrap();
    let start = Instant::now();
    let result = Tokenizer::from_dir(dir).and_then(|tokenizer| {
        tokenizer.encode(&TEXTS, 32)?;
        tokenizer.encode(&[text], 32)
    });
    assert!(start.elapsed() < Duration::from_secs(10), "it takes {:?}", start.elapsed());
    result.err()
}

/// A file with a change.
fn with(base: &Value, change: impl Fn(&mut Value)) -> Value {
    let mut json = base.clone();
    change(&mut json);
    json
}

#[test]
fn what_would_panic_or_grow_without_bound_is_an_error() {
    let dir = folder();
    let (bert, xlmr) = (golden("json_saved"), golden("xlmr_json"));
    let replace = |content: &str| json!({"type": "Replace", "pattern": {"String": "a"}, "content": content});
    let template = json!([{"SpecialToken": {"id": "[NONE]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]);
    let charsmap = |text: &str| json!({"type": "Precompiled", "precompiled_charsmap": text});
    let split =
        |regex: &str| json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false});
    let cases: Vec<(&str, Value, &str)> = vec![
        (
            "growth",
            with(&bert, |json| {
                json["normalizer"] = json!({"type": "Sequence", "normalizers": vec![replace("aa"); 40]})
            }),
            "times longer",
        ),
        ("one replacement", with(&bert, |json| json["normalizer"] = replace(&"x".repeat(100_000))), "times longer"),
        ("template", with(&bert, |json| json["post_processor"]["single"] = template.clone()), "tokenizer.json"),
        ("charsmap cut", with(&xlmr, |json| json["normalizer"] = charsmap("AAA=")), "charsmap"),
        ("charsmap of a giant", with(&xlmr, |json| json["normalizer"] = charsmap("/////wAA")), "charsmap"),
        ("charsmap without a trie", with(&xlmr, |json| json["normalizer"] = charsmap("AAAAAAAA")), "charsmap"),
        // A trie of one unit that points beyond itself.
        (
            "charsmap that leads out",
            with(&xlmr, |json| json["normalizer"] = charsmap("BAAAAP////8A")),
            "library failed",
        ),
        ("no base64", with(&xlmr, |json| json["normalizer"] = charsmap("!")), "base64"),
        (
            "repetitions",
            with(&bert, |json| json["pre_tokenizer"] = split("(((?=a)a{1000}){1000}){1000}")),
            "regular expression",
        ),
        ("no expression", with(&bert, |json| json["pre_tokenizer"] = split("(")), "tokenizer.json"),
        (
            "words",
            with(&bert, |json| json["model"]["max_input_chars_per_word"] = 1_000_000_000.into()),
            "max_input_chars_per_word",
        ),
        ("unknown token", with(&bert, |json| json["model"]["unk_token"] = "x".repeat(1000).into()), "unk_token"),
        ("no unknown token", with(&bert, |json| json["model"]["unk_token"] = "none".into()), "Missing [UNK]"),
        ("no vocabulary", with(&xlmr, |json| json["model"]["vocab"] = json!([])), "tokenizer.json"),
        ("no unknown id", with(&xlmr, |json| json["model"]["unk_id"] = Value::Null), "unk_id"),
        (
            "merge",
            with(&golden("roberta_json"), |json| json["model"]["merges"] = json!([["none", "such"]])),
            "tokenizer.json",
        ),
        ("added id", with(&bert, |json| json["added_tokens"][0]["id"] = 4_294_967_295u32.into()), "4294967295"),
        ("no object", Value::Null, "object"),
    ];
    let wrong: Vec<String> = cases
        .into_iter()
        .filter_map(|(name, json, told)| match run(dir.path(), &json, &"a".repeat(3000)) {
            None => Some(format!("{name}: no error")),
            Some(error) => (!error.to_string().contains(told)).then(|| format!("{name}: {error}")),
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let truncation = json!({"direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 9});
    run(dir.path(), &with(&bert, |json| json["truncation"] = truncation.clone()), "a");
    // Not used, so no error.
    let padded = with(&bert, |json| {
        json["padding"] = json!({"strategy": {"Fixed": 1_000_000_000}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"});
        json["truncation"] =
            json!({"direction": "Right", "max_length": 1_000_000_000, "strategy": "LongestFirst", "stride": 0});
    });
    assert_eq!(run(dir.path(), &padded, "a"), None);
}

#[test]
fn files_of_the_wrong_kind_and_classes_that_are_unknown_are_errors_that_say_what_to_do() {
    let dir = folder();
    let refused = |config: &str, parts: &[&str]| {
        std::fs::write(dir.path().join("tokenizer_config.json"), config).unwrap();
        let error = Tokenizer::from_dir(dir.path()).unwrap_err().to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    };
    refused(r#"{"tokenizer_class": "PreTrainedTokenizerFast"}"#, &["tokenizer.json", "PreTrainedTokenizerFast"]);
    refused(r#"{"tokenizer_class": "BertTokenizer"}"#, &["vocab.txt", "BertTokenizer"]);
    refused(r#"{"tokenizer_class": "RobertaTokenizer"}"#, &["vocab.json with merges.txt"]);
    refused(r#"{"tokenizer_class": "XLMRobertaTokenizer"}"#, &["sentencepiece.bpe.model"]);
    for (name, text) in
        [("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n"), ("tokenizer.json", &golden("json_saved").to_string())]
    {
        std::fs::write(dir.path().join(name), text).unwrap();
        refused(r#"{"tokenizer_class": "BertJapaneseTokenizer"}"#, &["BertJapaneseTokenizer", "XLMRobertaTokenizer"]);
        refused(r#"{"do_lower_case": "yes"}"#, &["do_lower_case", "true or false"]);
        refused(r#"{"do_lower_case": true, "do_lower_case": false}"#, &["twice"]);
        refused(r#"{"added_tokens_decoder": {"9": {"content": "a"}}}"#, &["`a` has the id 9", "not of one tokenizer"]);
        refused(r#"{"added_tokens_decoder": {"x": {"content": "a"}}}"#, &["added_tokens_decoder"]);
        refused(r#"{"mask_token": 1}"#, &["mask_token"]);
        refused("[]", &["object"]);
    }
    std::fs::remove_file(dir.path().join("tokenizer.json")).unwrap();
    let xlmr = r#"{"tokenizer_class": "XLMRobertaTokenizer"}"#;
    let spm = dir.path().join("sentencepiece.bpe.model");
    std::fs::write(&spm, "no model").unwrap();
    refused(xlmr, &["SentencePiece"]);
    // One piece: of a model of words, of BPE, and one that is too long to be taken apart.
    let model = |piece: &[u8], kind: u8| {
        let length = |length: usize| [(length & 127) as u8 | 128, (length >> 7) as u8];
        let mut bytes = vec![0x0a];
        bytes.extend(length(piece.len() + 3).into_iter().chain([0x0a]).chain(length(piece.len())));
        bytes.extend(piece.iter().chain(&[0x12, 2, 0x18, kind]));
        bytes
    };
    std::fs::write(&spm, model(b"a", 3)).unwrap();
    refused(xlmr, &["type word", "BPE", "Make a tokenizer.json", "python -c"]);
    std::fs::write(&spm, model(b"a", 2)).unwrap();
    refused(xlmr, &["first three pieces", "Make a tokenizer.json"]);
    std::fs::write(dir.path().join("tokenizer.model"), model(&[b'a'; 600], 2)).unwrap();
    refused(r#"{"tokenizer_class": "LlamaTokenizer"}"#, &["tokenizer.model", "600 bytes", "512"]);
    refused(r#"{"tokenizer_class": "T5Tokenizer", "extra_ids": 1000000000}"#, &["extra_ids", "10000"]);
    std::fs::write(dir.path().join("vocab.json"), r#"{"<s>": 0, "</s>": 2, "a": 3}"#).unwrap();
    std::fs::write(dir.path().join("merges.txt"), "#version\na\n").unwrap();
    refused(r#"{"tokenizer_class": "RobertaTokenizer"}"#, &["merges.txt", "line 2"]);
    std::fs::write(dir.path().join("merges.txt"), "#version\na b\n").unwrap();
    refused(r#"{"tokenizer_class": "RobertaTokenizer"}"#, &["merges.txt"]);
}

/// Every place in a file, but only the first few of long lists and vocabularies.
fn places(value: &Value, at: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(map) => map.iter().take(12).map(|(key, value)| (key.clone(), value)).collect(),
        Value::Array(values) => values.iter().take(3).enumerate().map(|(at, value)| (at.to_string(), value)).collect(),
        _ => Vec::new(),
    };
    for (key, child) in children {
        at.push(key);
        found.push(at.clone());
        places(child, at, found);
        at.pop();
    }
}

fn change(json: &mut Value, place: &[String], new: &Value) {
    let Some((last, parents)) = place.split_last() else { return };
    let parent = parents.iter().fold(json, |value, key| match value {
        Value::Array(values) => &mut values[key.parse::<usize>().unwrap()],
        value => &mut value[key],
    });
    match parent {
        Value::Array(values) => values[last.parse::<usize>().unwrap()] = new.clone(),
        parent => parent[last] = new.clone(),
    }
}

#[test]
fn no_change_of_a_file_makes_it_panic() {
    let dir = folder();
    let values = [
        json!(null),
        json!(0),
        json!(-1),
        json!(1_000_000_000),
        json!(u64::MAX),
        json!(1.5),
        json!(true),
        json!(""),
        json!("\u{0}"),
        json!("x".repeat(300)),
        json!([]),
        json!({}),
        json!([[]]),
        json!("▁"),
    ];
    for name in ["json_saved", "roberta_json", "xlmr_json"] {
        let base = golden(name);
        assert_eq!(run(dir.path(), &base, "a"), None);
        let mut found = Vec::new();
        places(&base, &mut Vec::new(), &mut found);
        let mut refused = 0;
        for (index, place) in found.iter().enumerate() {
            // Not all pairs, but each value at many places.
            for new in values.iter().skip(index % 3).step_by(3) {
                let mut json = base.clone();
                change(&mut json, place, new);
                refused += usize::from(run(dir.path(), &json, "unknown ☃ word").is_some());
            }
        }
        assert!(refused > found.len() / 2, "{name}: {refused} of {}", found.len());
    }
}

#[test]
fn an_error_names_the_text() {
    let dir = folder();
    // Without a token for unknown words there is nothing that they could become.
    let json = with(&golden("xlmr_json"), |json| json["model"]["unk_id"] = Value::Null);
    std::fs::write(dir.path().join("tokenizer.json"), json.to_string()).unwrap();
    let tokenizer = Tokenizer::from_dir(dir.path()).unwrap();
    let texts = ["film", "film", "\u{1F9FF}"];
    let (encode, tokenize) =
        (tokenizer.encode(&texts, 32).unwrap_err(), tokenizer.tokenize(&texts.map(Text::from), 32).unwrap_err());
    for error in [encode.to_string(), tokenize.to_string()] {
        assert!(error.starts_with("text 2 cannot be encoded"), "{error}");
    }
}
