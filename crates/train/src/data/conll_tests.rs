//! Words with tags in columns, and what is wrong with them.

#![allow(clippy::unwrap_used)]

use super::super::{Columns, Dataset, Format};
use super::*;
use crate::tasks::Tagging;

fn columns() -> Columns {
    Columns::new("tokens", "tags").with_task(&Tagging)
}

fn conll(text: &str, columns: &Columns) -> Result<Dataset, DataError> {
    Dataset::parse("d.conll", text.as_bytes(), Format::Conll, columns)
}

fn rows(data: &Dataset) -> Vec<(usize, String, Vec<String>)> {
    let row = |example: &Example| {
        let Some(Label::Tags(tags)) = &example.label else { panic!("no tags") };
        let words: Vec<&str> = example.words.iter().map(|word| &example.text[word.clone()]).collect();
        (example.line, words.join("|"), tags.clone())
    };
    data.examples().iter().map(row).collect()
}

#[test]
fn sentences_end_at_blank_lines_and_documents_are_skipped() {
    let text = "-DOCSTART- -X- -X- O\n\nAda NNP B-NP B-PER\nslept VBD B-VP O\n\n\nIn IN B-PP O\nRome NNP B-NP B-LOC\n";
    let data = conll(text, &columns()).unwrap();
    let expected = [
        (3, "Ada|slept".to_owned(), vec!["B-PER".to_owned(), "O".into()]),
        (7, "In|Rome".to_owned(), vec!["O".to_owned(), "B-LOC".into()]),
    ];
    assert_eq!(rows(&data), expected);
    assert_eq!(data.examples()[0].text, "Ada slept");
    assert!(data.notes().is_empty());
    let head = data.head_config().unwrap();
    assert_eq!((head.task().name(), head.labels()), ("tagging", vec!["B-LOC".into(), "B-PER".into(), "O".into()]));
}

#[test]
fn columns_are_numbered_and_tabs_keep_spaces() {
    let text = "# sent_id = 1\n1\tNew York\tB-LOC\tx\n2\t#\tO\tx\r\n";
    let numbered = Columns::new(1, 2).with_task(&Tagging);
    assert_eq!(rows(&conll(text, &numbered).unwrap())[0].1, "New York|#");
    let error = conll(text, &Columns::new("word", 2).with_task(&Tagging)).unwrap_err().to_string();
    assert!(error.contains("have no names") && error.contains("word"), "{error}");
    let error = conll(text, &Columns::new(1, 9).with_task(&Tagging)).unwrap_err().to_string();
    assert!(error.contains("no column number 9"), "{error}");
    let error = conll("one\ntwo\n", &columns()).unwrap_err().to_string();
    assert!(error.contains("one is the token and another the tag"), "{error}");
}

#[test]
fn uneven_lines_and_tags_of_no_scheme_are_named_by_line() {
    let error = conll("a B-X\nb I-X extra\nc O\n", &columns()).unwrap_err().to_string();
    assert!(error.contains("line 2") && error.contains("3 columns"), "{error}");
    let error = conll("a B-X\n\nb U-X\n", &columns()).unwrap_err().to_string();
    assert!(error.contains("line 3") && error.contains("`U-X`") && error.contains("BILOU"), "{error}");
    assert!(matches!(conll("\n\n", &columns()), Err(DataError::Empty { .. })));
}

#[test]
fn iob1_is_read_as_iob2_and_this_is_told() {
    let data = conll("a I-X\nb I-X\nc B-X\nd O\ne I-Y\n\nf I-Y\n", &columns()).unwrap();
    assert_eq!(rows(&data)[0].2, ["B-X", "I-X", "B-X", "O", "B-Y"]);
    assert_eq!(rows(&data)[1].2, ["B-Y"]);
    assert!(data.notes()[0].contains("IOB1"), "{:?}", data.notes());

    let broken = conll("a B-X\nb O\nc I-X\n", &columns()).unwrap();
    assert_eq!(rows(&broken)[0].2, ["B-X", "O", "I-X"]);
    assert!(broken.notes()[0].contains("1 entities begin with `I-`"), "{:?}", broken.notes());
    let iobes = conll("a B-X\nb I-X\nc E-X\nd S-Y\n", &columns()).unwrap();
    assert!(iobes.notes().is_empty());
}

#[test]
fn parts_of_speech_need_no_scheme() {
    let data = conll("a DET\nb NOUN\n", &columns()).unwrap();
    assert_eq!(data.head_config().unwrap().labels(), ["DET", "NOUN"]);
}

#[test]
fn lists_of_tokens_and_tags_are_read_from_json_lines() {
    let json = |text: &str| Dataset::parse("d.jsonl", text.as_bytes(), Format::JsonLines, &columns());
    let data = json(r#"{"tokens": ["Ada", "slept"], "tags": ["B-PER", "O"]}"#).unwrap();
    assert_eq!(rows(&data), [(1, "Ada|slept".to_owned(), vec!["B-PER".to_owned(), "O".into()])]);
    for (text, reason) in [
        (r#"{"tokens": ["a", "b"], "tags": ["O"]}"#, "2 tokens, but 1 tags"),
        (r#"{"tokens": ["a", " "], "tags": ["O", "O"]}"#, "token 2 (counted from 1) is empty"),
        (r#"{"tokens": [], "tags": []}"#, "empty"),
        (r#"{"tokens": "a b", "tags": ["O", "O"]}"#, "expected an array of tokens"),
        (r#"{"tokens": ["a"], "tags": "O"}"#, "expected an array with a tag for each token"),
        (r#"{"tokens": ["a"]}"#, "no key `tags`"),
    ] {
        let error = json(text).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
    // Numbers are the numbers of names.
    let data = json(r#"{"tokens": ["a", "b"], "tags": [1, 0]}"#).unwrap().with_label_names(["O", "B-X"]).unwrap();
    assert_eq!(rows(&data)[0].2, ["B-X", "O"]);
}

#[test]
fn a_format_that_does_not_fit_the_task_is_an_error_that_says_so() {
    let csv = Dataset::parse("d.csv", b"tokens,tags\na,O\n", Format::Csv, &columns()).unwrap_err().to_string();
    assert!(csv.contains("JSON Lines") && csv.contains("CoNLL"), "{csv}");
    let texts = Dataset::parse("d.conll", b"a O\n", Format::Conll, &Columns::default()).unwrap_err().to_string();
    assert!(texts.contains("tagging"), "{texts}");
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes: Vec<u8>, token in 0usize..3, tag in 0usize..3) {
        let columns = Columns::new(token, tag).with_task(&Tagging);
        let _ = Dataset::parse("d", &bytes, Format::Conll, &columns);
        let _ = Dataset::parse("d", &bytes, Format::JsonLines, &columns);
    }
}
