//! Configurations of fusions, read and written.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use burn_adapters_config::{ConfigError, FusionConfig, ProblemKind};
use serde_json::{Value, json};

fn read(text: &str) -> Result<FusionConfig, ConfigError> {
    text.parse()
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

/// The text under the carets, and the message with its label.
fn only(error: &ConfigError) -> (&str, String) {
    let [problem] = error.problems() else { panic!("{} problems: {error}", error.problems().len()) };
    (&error.text()[problem.span.clone()], error.to_string())
}

#[test]
fn what_is_wrong_in_a_string_is_said_at_its_place() {
    for (text, place, message) in [
        ("", "", "expected `static` or `dynamic`, found the end"),
        ("[key=True]", "[", "expected `static` or `dynamic`, found `[`"),
        ("dynamc", "dynamc", "unknown AdapterFusion `dynamc` (did you mean `dynamic`?)"),
        ("bananas", "bananas", "unknown AdapterFusion `bananas` (expected `static` or `dynamic`)"),
        ("static[ky=True]", "ky", "unknown key `ky` for `static` (did you mean `key`?)"),
        ("static[key=True,key=True]", "key", "the key `key` is given twice"),
        ("static[key=1]", "1", "`key` must be True or False, not the integer 1"),
        ("static[key='yes']", "'yes'", "`key` must be True or False, not the string 'yes'"),
        ("static[key=yes]", "yes", "expected a value, found the word `yes` (did you mean the string `'yes'`?)"),
        ("static[key]", "]", "expected `=` after the key, found `]`"),
        ("static[key=True", "[", "this `[` is never closed"),
        ("static[key='x", "'", "this `'` is never closed"),
        ("static[key=True query=True]", "query", "expected `,` or `]`, found `query`"),
        ("static[key=True]|dynamic", "|", "expected the end of the configuration, found `|`"),
        ("static[key=True] dynamic", "dynamic", "expected the end of the configuration, found `dynamic`"),
        ("static[dropout_prob=1.0]", "1.0", "`dropout_prob` is 1, but must be at least 0 and below 1"),
        ("static[dropout_prob=-0.1]", "-0.1", "`dropout_prob` is -0.1, but must be at least 0 and below 1"),
        ("static[dropout_prob=[1]]", "[1]", "`dropout_prob` must be a number, not a list"),
    ] {
        assert_eq!(only(&read(text).unwrap_err()), (place, message.to_owned()), "{text}");
    }
}

#[test]
fn several_problems_are_told_at_once() {
    let error = read("static[ky=True,value=1,dropout_prob=2]").unwrap_err();
    let places: Vec<_> = error.problems().iter().map(|problem| &error.text()[problem.span.clone()]).collect();
    assert_eq!(places, ["ky", "1", "2"]);
    assert!(error.problems()[0].help().unwrap().contains("residual_before"));
}

#[test]
fn what_is_wrong_in_a_file_is_said_at_its_place() {
    let dictionary = |key: &str, value: Value| {
        let mut dictionary = FusionConfig::dynamic().to_json_value();
        dictionary[key] = value;
        json!({"name": "key", "adapter_names": ["a", {"b": []}], "config": dictionary}).to_string()
    };
    let wrong = |text: &str| FusionConfig::from_json_str(text).unwrap_err();
    let error = wrong(&dictionary("key", json!("yes")));
    assert_eq!(only(&error), ("\"yes\"", "`key` must be True or False, not the string 'yes'".to_owned()));
    let error = wrong(&dictionary("quary", json!(true)));
    assert_eq!(only(&error).0, "\"quary\"");
    assert_eq!(error.problems()[0].label(), "did you mean `query`?");
    let error = wrong("{\"key\": true,\n \"query\": }");
    assert!(matches!(error.problems()[0].kind, ProblemKind::InvalidJson { .. }));
    assert_eq!(only(&error).0, "}");
    let mut dictionary = FusionConfig::dynamic().to_json_value();
    dictionary.as_object_mut().unwrap().remove("query");
    let error = wrong(&json!({"config": dictionary}).to_string());
    assert_eq!(only(&error).1, "this AdapterFusion needs the key `query`");
    assert_eq!(error.problems()[0].label(), "add `query`");
    assert_eq!(only(&wrong(r#"{"config": "statik"}"#)).0, "\"statik\"");
    assert!(wrong("[1]").to_string().starts_with("expected the configuration of an AdapterFusion"));
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
        assert!(matches!(&error.problems()[0].kind, ProblemKind::OutOfRange { key, .. } if key == "dropout_prob"));
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
        let problem = &error.problems()[0];
        assert!(matches!(problem.kind, ProblemKind::DuplicateKey { .. }), "{text}: {error}");
        assert!(problem.span.start > 10, "{text}: the second is pointed at");
    }
    let long = " ".repeat(2 << 20);
    for error in [long.parse::<FusionConfig>().unwrap_err(), FusionConfig::from_json_str(&long).unwrap_err()] {
        assert!(matches!(error.problems()[0].kind, ProblemKind::TooLong { .. }), "{error}");
        assert!(error.text().len() <= 80);
    }
}
