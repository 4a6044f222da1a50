//! Configurations, read and written.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use burn_adapters_fusion::{FusionConfig, FusionConfigError, FusionProblem};
use serde_json::{Value, json};

fn read(text: &str) -> Result<FusionConfig, FusionConfigError> {
    text.parse()
}

fn goldens() -> Value {
    serde_json::from_str(include_str!("goldens/fusion.json")).unwrap()
}

#[test]
fn the_named_configurations_are_those_of_the_reference() {
    let goldens = goldens();
    assert_eq!(FusionConfig::r#static().to_json_value(), goldens["configs"]["static"]);
    assert_eq!(FusionConfig::dynamic().to_json_value(), goldens["configs"]["dynamic"]);
    assert_eq!(FusionConfig::default(), FusionConfig::dynamic());
}

#[test]
fn files_that_the_reference_saved_are_read_and_their_dictionary_is_written_alike() {
    let goldens = goldens();
    for (name, saved) in goldens["saved"].as_object().unwrap() {
        let file = &saved["adapter_fusion_config"];
        let config = FusionConfig::from_json_str(&file.to_string()).unwrap();
        assert_eq!(config.to_json_value(), file["config"], "{name}");
        assert_eq!(serde_json::from_value::<FusionConfig>(file["config"].clone()).unwrap(), config);
        assert_eq!(serde_json::to_value(&config).unwrap(), file["config"]);
    }
    for case in goldens["cases"].as_object().unwrap().values() {
        let config = FusionConfig::from_json_value(&case["config"]).unwrap();
        assert_eq!(config.to_json_value(), case["config"]);
    }
}

#[test]
fn every_configuration_reads_back_from_the_string_that_it_prints_as() {
    for bits in 0..512_u32 {
        for dropout in [None, Some(0.0), Some(0.25), Some(1e-7)] {
            let is = |bit: u32| bits & (1 << bit) != 0;
            let config = FusionConfig::dynamic().with_key(is(0)).with_query(is(1)).with_value(is(2));
            let config = config.with_query_before_ln(is(3)).with_regularization(is(4)).with_residual_before(is(5));
            let config = config.with_temperature(is(6)).with_value_before_softmax(is(7)).with_value_initialized(is(8));
            let config = config.with_dropout_prob(dropout);
            assert_eq!(read(&config.to_string()).unwrap(), config, "{config}");
            assert_eq!(FusionConfig::from_json_value(&config.to_json_value()).unwrap(), config);
            assert_eq!(config.trains(), is(0) || is(1) || is(2));
        }
    }
}

#[test]
fn the_string_is_the_shortest() {
    assert_eq!(FusionConfig::dynamic().to_string(), "dynamic");
    assert_eq!(FusionConfig::r#static().with_temperature(true).to_string(), "static[temperature=True]");
    let changed = FusionConfig::dynamic().with_regularization(false).with_dropout_prob(0.0);
    assert_eq!(changed.to_string(), "dynamic[regularization=False,dropout_prob=0.0]");
}

#[test]
fn strings_are_read_with_any_spacing_and_either_spelling_of_values() {
    let expected = FusionConfig::r#static().with_temperature(true).with_key(false).with_dropout_prob(0.5);
    for text in [
        "static[temperature=True,key=False,dropout_prob=0.5]",
        "  static [ 'temperature': true , \"key\" = false,dropout_prob=.5, ] ",
    ] {
        assert_eq!(read(text).unwrap(), expected, "{text}");
    }
    assert_eq!(read("dynamic[]").unwrap(), FusionConfig::dynamic());
    assert_eq!(read("dynamic[dropout_prob=None]").unwrap(), FusionConfig::dynamic());
}

#[test]
fn what_is_wrong_in_a_string_is_said_at_its_place() {
    for (text, place, message) in [
        ("", "", "expected `static` or `dynamic`, found the end"),
        ("dynamc", "dynamc", "unknown AdapterFusion `dynamc` (did you mean `dynamic`?)"),
        ("bananas", "bananas", "unknown AdapterFusion `bananas` (expected `static` or `dynamic`)"),
        ("static[ky=True]", "ky", "unknown key `ky` for an AdapterFusion (did you mean `key`?)"),
        ("static[key=True,key=True]", "key", "the key `key` is given twice"),
        ("static[key=1]", "1", "`key` must be True or False, not the number 1"),
        ("static[key='yes']", "'yes'", "`key` must be True or False, not the string 'yes'"),
        ("static[key=yes]", "yes", "expected True, False, None or a number, found `yes`"),
        ("static[key]", "]", "expected `=` after the key, found `]`"),
        ("static[key=True", "[", "this `[` is never closed"),
        ("static[key='x", "'", "this `'` is never closed"),
        ("static[key=True query=True]", "q", "expected `,` or `]`, found `q`"),
        ("static[key=True]|dynamic", "|", "expected the end of the configuration, found `|`"),
        ("static[dropout_prob=1.0]", "1.0", "`dropout_prob` is 1, but must be at least 0 and below 1"),
        ("static[dropout_prob=-0.1]", "-0.1", "`dropout_prob` is -0.1, but must be at least 0 and below 1"),
        ("static[dropout_prob=nan]", "nan", "expected True, False, None or a number, found `nan`"),
        ("static[dropout_prob=[1]]", "[1]", "`dropout_prob` must be a number or None, not a list"),
    ] {
        let error = read(text).unwrap_err();
        assert_eq!(error.to_string(), message, "{text}");
        assert_eq!(&error.text[error.span.clone()], place, "{text}");
    }
}

#[test]
fn what_is_wrong_in_a_file_is_said_at_its_place() {
    let dictionary = |key: &str, value: Value| {
        let mut dictionary = FusionConfig::dynamic().to_json_value();
        dictionary[key] = value;
        json!({"name": "key", "adapter_names": ["a", {"b": []}], "config": dictionary}).to_string()
    };
    let error = FusionConfig::from_json_str(&dictionary("key", json!("yes"))).unwrap_err();
    assert_eq!(error.to_string(), "`key` must be True or False, not the string 'yes'");
    assert_eq!(&error.text[error.span], "\"yes\"");
    let error = FusionConfig::from_json_str(&dictionary("quary", json!(true))).unwrap_err();
    assert_eq!(&error.text[error.span.clone()], "\"quary\"");
    assert_eq!(error.label(), "did you mean `query`?");
    let error = FusionConfig::from_json_str("{\"key\": true,\n \"query\": }").unwrap_err();
    assert!(matches!(error.kind, FusionProblem::InvalidJson { .. }));
    assert_eq!(&error.text[error.span], "}");
    let error = FusionConfig::from_json_str(r#"{"config": {"key": true}}"#).unwrap_err();
    assert_eq!(error.to_string(), "the key `query` is missing in this AdapterFusion (add `query`)");
    let error = FusionConfig::from_json_str(r#"{"config": "statik"}"#).unwrap_err();
    assert_eq!(&error.text[error.span.clone()], "\"statik\"");
    assert!(FusionConfig::from_json_str("[1]").unwrap_err().to_string().starts_with("expected the configuration"));
}

#[test]
fn files_from_before_there_was_a_dropout_are_read() {
    let mut dictionary = FusionConfig::r#static().to_json_value();
    dictionary.as_object_mut().unwrap().remove("dropout_prob");
    assert_eq!(FusionConfig::from_json_value(&dictionary).unwrap(), FusionConfig::r#static());
}

#[test]
fn a_configuration_made_in_rust_is_checked_too() {
    for p in [1.0, -0.5, f64::NAN, f64::INFINITY] {
        let error = FusionConfig::dynamic().with_dropout_prob(p).validate().unwrap_err();
        assert!(matches!(error.kind, FusionProblem::OutOfRange { key: "dropout_prob", .. }));
    }
    assert_eq!(FusionConfig::dynamic().with_dropout_prob(0.5).validate(), Ok(()));
}

#[test]
fn hostile_texts_are_errors_and_never_panics() {
    let deep = format!("static[key={}", "[".repeat(100_000));
    let long = format!("static[{}]", "key=True,".repeat(100_000));
    let texts = [
        deep.as_str(),
        &long,
        "static[ü=ö]",
        "static[key=\\]",
        "'",
        "\"\\",
        "static['\\",
        "{",
        "static{",
        "ß[",
        "static[=]",
    ];
    for text in texts {
        assert!(read(text).is_err());
        assert!(FusionConfig::from_json_str(text).is_err());
    }
    assert!(FusionConfig::from_json_str(&format!("{}{}", "[".repeat(60), "]".repeat(60))).is_err());
}

#[test]
fn a_key_that_stands_twice_and_a_text_that_is_too_long_are_refused() {
    let twice = [
        r#"{"key": true, "key": false}"#,
        r#"{"name": "a,b", "config": "static", "name": "c"}"#,
        r#"{"config": "static", "config": "dynamic"}"#,
    ];
    for text in twice {
        let error = FusionConfig::from_json_str(text).unwrap_err();
        assert!(matches!(error.kind, FusionProblem::DuplicateKey { .. }), "{text}: {error}");
        assert!(error.span.start > 10, "{text}: the second is pointed at");
    }
    let long = " ".repeat(2 << 20);
    for error in [long.parse::<FusionConfig>().unwrap_err(), FusionConfig::from_json_str(&long).unwrap_err()] {
        assert!(matches!(error.kind, FusionProblem::TooLong { .. }) && error.text.len() <= 80, "{error}");
    }
}
