//! Text becomes rows that the model takes.

use std::path::Path;

use burn_adapters_transformers::{Row, Tokenizer, TokenizerError};

const VOCABULARY: [&str; 12] =
    ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "fine", "film", "##s", ".", "not", "Paris"];

fn write(dir: &Path, name: &str, text: impl AsRef<[u8]>) {
    std::fs::write(dir.join(name), text).unwrap();
}

fn folder(vocab_size: usize) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let config = serde_json::json!({
        "model_type": "bert", "vocab_size": vocab_size, "hidden_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "intermediate_size": 24, "max_position_embeddings": 8
    });
    write(dir.path(), "config.json", config.to_string());
    dir
}

fn with_vocabulary(vocab_size: usize) -> tempfile::TempDir {
    let dir = folder(vocab_size);
    write(dir.path(), "vocab.txt", VOCABULARY.join("\n"));
    dir
}

/// A tokenizer of whole words that asks for padding to 128 and truncation to 3.
fn word_level() -> String {
    let vocabulary: serde_json::Map<_, _> =
        VOCABULARY.iter().enumerate().map(|(id, token)| ((*token).to_owned(), id.into())).collect();
    serde_json::json!({
        "version": "1.0",
        "truncation": { "max_length": 3, "strategy": "LongestFirst", "stride": 0, "direction": "Right" },
        "padding": {
            "strategy": { "Fixed": 128 }, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
            "pad_type_id": 0, "pad_token": "[PAD]"
        },
        "added_tokens": [], "normalizer": null, "pre_tokenizer": { "type": "Whitespace" },
        "post_processor": { "type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2] },
        "decoder": null, "model": { "type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]" }
    })
    .to_string()
}

#[test]
fn a_vocabulary_alone_gives_word_pieces() {
    let tokenizer = Tokenizer::from_dir(with_vocabulary(12).path()).unwrap();
    let encoded = tokenizer.encode(&["A fine films.", "xyz [MASK]", ""], 8).unwrap();
    assert_eq!(encoded.rows[0].ids, [2, 5, 6, 7, 8, 9, 3]);
    assert_eq!(encoded.rows[1].ids, [2, 1, 4, 3]);
    assert_eq!(encoded.rows[2].ids, [2, 3]);
    assert_eq!(encoded.truncated, 0);
}

#[test]
fn lower_case_is_the_tokenizer_s_own_choice() {
    let dir = with_vocabulary(12);
    write(dir.path(), "tokenizer_config.json", r#"{"do_lower_case": false}"#);
    let cased = Tokenizer::from_dir(dir.path()).unwrap();
    assert_eq!(cased.encode(&["Paris"], 8).unwrap().rows[0].ids, [2, 11, 3]);
    write(dir.path(), "tokenizer_config.json", r#"{"do_lower_case": "no"}"#);
    assert!(Tokenizer::from_dir(dir.path()).is_err());
}

#[test]
fn padding_and_truncation_of_the_file_are_left_aside() {
    let dir = folder(12);
    write(dir.path(), "tokenizer.json", word_level());
    let tokenizer = Tokenizer::from_dir(dir.path()).unwrap();
    let encoded = tokenizer.encode(&["a fine film ."], 100).unwrap();
    assert_eq!(encoded.rows, [Row::new(vec![2, 5, 6, 7, 9, 3])]);
}

#[test]
fn long_texts_are_cut_to_the_shorter_limit_and_keep_their_last_token() {
    let tokenizer = Tokenizer::from_dir(with_vocabulary(12).path()).unwrap();
    let long = "a fine film not a fine film not a fine film";
    let encoded = tokenizer.encode(&["a film", long], 5).unwrap();
    assert_eq!(encoded.rows[1].ids, [2, 5, 6, 7, 3]);
    assert_eq!(encoded.truncated, 1);
    // The model has 8 positions.
    assert_eq!(tokenizer.encode(&[long], 512).unwrap().rows[0].ids.len(), 8);
    let error = tokenizer.encode(&["a"], 2).unwrap_err();
    assert_eq!(error, TokenizerError::MaxLength { max_length: 2, special: 2 });
}

#[test]
fn a_token_that_the_model_does_not_have_is_an_error() {
    let tokenizer = Tokenizer::from_dir(with_vocabulary(9).path()).unwrap();
    assert!(tokenizer.encode(&["a fine films"], 8).is_ok());
    let error = tokenizer.encode(&["a fine film."], 8).unwrap_err();
    assert_eq!(error, TokenizerError::UnknownToken { id: 9, token: ".".into(), vocab_size: 9 });
}

#[test]
fn folders_without_a_usable_tokenizer_are_errors() {
    let dir = folder(12);
    assert!(matches!(Tokenizer::from_dir(dir.path()), Err(TokenizerError::Missing { .. })));
    for broken in [
        "",
        "{",
        "[]",
        r#"{"version": "1.0"}"#,
        r#"{"version":"1.0","model":{"type":"BPE","vocab":{},"merges":["a"]}}"#,
    ] {
        write(dir.path(), "tokenizer.json", broken);
        assert!(matches!(Tokenizer::from_dir(dir.path()), Err(TokenizerError::Unusable { .. })), "{broken}");
    }
    let dir = folder(12);
    write(dir.path(), "vocab.txt", "[PAD]\n[UNK]\na");
    let error = Tokenizer::from_dir(dir.path()).unwrap_err().to_string();
    assert!(error.contains("[SEP]"), "{error}");
    write(dir.path(), "vocab.txt", [0xff, 0xfe, 0x00]);
    assert!(Tokenizer::from_dir(dir.path()).is_err());
}

#[test]
fn a_text_of_many_megabytes_is_cut_like_a_short_one() {
    let tokenizer = Tokenizer::from_dir(with_vocabulary(12).path()).unwrap();
    let texts = ["fine film. ".repeat(2_000_000), "a".repeat(3_000_000), format!("{}film", " ".repeat(3_000_000))];
    let encoded = tokenizer.encode(&texts, 8).unwrap();
    assert_eq!(encoded.rows[0].ids, [2, 6, 7, 9, 6, 7, 9, 3]);
    assert_eq!(encoded.rows[1].ids[..2], [2, 1]);
    assert_eq!(encoded.rows[2].ids, [2, 7, 3]);
    assert_eq!(encoded.truncated, 1);
    assert_eq!(tokenizer.min_length(), 3);
}
