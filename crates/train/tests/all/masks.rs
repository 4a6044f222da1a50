//! The tokens of conversations and completions that are learned, against Transformers and the rules of TRL.

use std::path::PathBuf;

use burn_adapters_chat::{ChatTemplate, SpecialTokens, TrainOn};
use burn_adapters_heads::{HeadConfig, Targets};
use burn_adapters_train::{ChatData, Dataset, Format, Source, TokenData};
use burn_adapters_transformers::Tokenizer;
use serde_json::Value;

fn goldens() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/goldens")
}

fn tokenizer() -> Tokenizer {
    Tokenizer::from_dir(&goldens().join("chat")).unwrap()
}

fn cases() -> Vec<Value> {
    serde_json::from_str(&burn_adapters_goldens::text(include_bytes!("../goldens/masks.json.xz"))).unwrap()
}

/// The texts of a case, with what is learned.
fn rendered(case: &Value) -> Dataset {
    let tokens = SpecialTokens::new(tokenizer().named_special_tokens());
    let template = case["template"].as_str().map(|text| ChatTemplate::parse("golden", text, tokens).unwrap());
    let source = Source::from_reader("row", case["row"].as_str().unwrap().as_bytes(), Format::JsonLines).unwrap();
    let on: TrainOn = case["on"].as_str().unwrap().parse().unwrap();
    ChatData::from_source(&source).unwrap().render(template.as_ref(), on, Some("</s>")).unwrap()
}

/// The labels of the first row: -100 where nothing is learned.
fn labels(data: &TokenData) -> Vec<i64> {
    let mut labels = vec![-100; data.rows()[0].ids.len()];
    let Some(Targets::Tokens(targets)) = data.labels() else { panic!("no targets") };
    for (at, target) in data.wanted(0).unwrap().iter().zip(&targets[0]) {
        labels[at + 1] = target.unwrap() as i64;
    }
    labels
}

#[test]
fn ids_and_labels_are_those_of_the_reference() {
    let (tokenizer, head) = (tokenizer(), HeadConfig::causal_lm(300));
    let cases = cases();
    assert!(cases.len() >= 12);
    for case in &cases {
        let data = TokenData::tokenize(&rendered(case), &head, &tokenizer, 4096).unwrap();
        let numbers = |key: &str| serde_json::from_value::<Vec<i64>>(case[key].clone()).unwrap();
        let ids: Vec<i64> = data.rows()[0].ids.iter().map(|id| i64::from(*id)).collect();
        assert_eq!(ids, numbers("ids"), "{}", case["name"]);
        assert_eq!(labels(&data), numbers("labels"), "{}", case["name"]);
        let counts = data.counts().unwrap();
        let learned = numbers("labels").iter().filter(|label| **label >= 0).count();
        assert_eq!((counts.rows, counts.tokens, counts.trained), (1, ids.len(), learned), "{}", case["name"]);
    }
}

#[test]
fn rows_that_are_cut_before_their_answer_are_left_out_and_counted() {
    let (tokenizer, head) = (tokenizer(), HeadConfig::causal_lm(300));
    let cases = cases();
    let rows = |names: &[&str]| {
        let of =
            |name: &&str| rendered(cases.iter().find(|case| case["name"] == **name).unwrap()).examples()[0].clone();
        Dataset::from_examples("rows", names.iter().map(of).collect()).unwrap()
    };
    // The answer of the long one begins after more than 40 tokens.
    let data = TokenData::tokenize(&rows(&["chatml_completion", "alpaca"]), &head, &tokenizer, 60).unwrap();
    assert_eq!((data.len(), data.examples().count()), (1, 2));
    let untrained = data.untrained().unwrap();
    assert_eq!((untrained.rows, untrained.cut, untrained.of), (1, 1, 2));
    assert_eq!(data.truncation().unwrap().texts, 1);
    let counts = data.counts().unwrap();
    assert_eq!((counts.rows, counts.untrained_rows, counts.truncated_rows), (2, 1, 1));
    assert_eq!((data.example_of(0), data.select(&[0]).len()), (1, 1));

    let error = TokenData::tokenize(&rows(&["chatml_completion"]), &head, &tokenizer, 60).unwrap_err().to_string();
    assert!(error.contains("no token of any of the 1 rows is learned") && error.contains("cut to 60"), "{error}");
}
