//! Files of every format, and their errors.

#![allow(clippy::unwrap_used)]

use super::super::{Header, RowProblem};
use super::*;
use crate::tasks::{Multilabel, Regression};
use crate::train_task_named;

/// The columns 0 and 1; the second has a task's labels, or `optional` ones.
fn reading(text: usize, label: usize, kind: &str) -> Columns {
    let columns = Columns::new(text, label);
    match kind {
        "optional" => columns.with_optional_label(),
        task => columns.with_task(train_task_named(task).unwrap()),
    }
}

fn csv(text: &str) -> Result<Dataset, DataError> {
    Dataset::parse("data.csv", text.as_bytes(), Format::Csv, &Columns::default())
}

fn problems(result: Result<Dataset, DataError>) -> Vec<(usize, DataProblem)> {
    match result {
        Err(DataError::BadRows { problems, .. }) => {
            problems.into_iter().map(|RowProblem { line, problem }| (line, problem)).collect()
        }
        other => panic!("expected bad rows, found {other:?}"),
    }
}

fn rows(data: &Dataset) -> Vec<(&str, String)> {
    let label = |example: &Example| match example.label.clone() {
        Some(Label::Class(name)) => name,
        other => format!("{other:?}"),
    };
    data.examples().iter().map(|example| (example.text.as_str(), label(example))).collect()
}

#[test]
fn quoted_cells_hold_commas_quotes_and_line_breaks() {
    let data = csv("id,text,label\n1,\"one, \"\"two\"\"\nthree\",a\n2,plain, b \n").unwrap();
    assert_eq!(rows(&data), [("one, \"two\"\nthree", "a".into()), ("plain", "b".into())]);
    assert_eq!(data.examples()[1].line, 4, "the second row begins after the quoted line break");
}

#[test]
fn a_byte_order_mark_is_not_part_of_the_first_name() {
    for (format, text) in [
        (Format::Csv, "\u{feff}text,label\nx,a\n"),
        (Format::Tsv, "\u{feff}text\tlabel\nx\ta\n"),
        (Format::JsonLines, "\u{feff}{\"text\":\"x\",\"label\":\"a\"}\n"),
    ] {
        let data = Dataset::parse("d", text.as_bytes(), format, &Columns::default()).unwrap();
        assert_eq!(rows(&data), [("x", "a".into())]);
    }
}

#[test]
fn numbered_columns_count_from_zero() {
    let read = |text: &str, header| {
        let columns = Columns::new(2, 1).with_header(header);
        Dataset::parse("d", text.as_bytes(), Format::Tsv, &columns)
    };
    let data = read("7\tneg\t\"quotes\" mean nothing\r\n", Header::No).unwrap();
    assert_eq!(rows(&data), [("\"quotes\" mean nothing", "neg".into())]);
    let data = read("id\tlabel\ttext\n7\tneg\tx\n", Header::Yes).unwrap();
    assert_eq!(rows(&data), [("x", "neg".into())]);
}

#[test]
fn a_first_line_that_may_be_a_header_or_an_example_is_not_guessed() {
    let read = |text: &str, kind| {
        let columns = reading(0, 1, kind);
        Dataset::parse("d.csv", text.as_bytes(), Format::Csv, &columns)
    };
    for (text, kind) in [
        ("text,label\ngood,pos\nbad,neg\nfine,pos\n", "classification"),
        ("good,pos\nbad,neg\n", "classification"),
        ("text,label\ngood,a|b\nbad,b\n", "multilabel"),
        ("text,kind\ngood,\nbad,x\n", "optional"),
    ] {
        let error = read(text, kind).unwrap_err();
        assert!(matches!(error, DataError::HeaderOrExample { .. }), "{error}");
    }
    let unlabeled = Dataset::parse("d.csv", b"a,b\nx,y\n", Format::Csv, &Columns::unlabeled(0)).unwrap_err();
    assert!(unlabeled.to_string().contains("line 1 (`a`, `b`) may be a header or the first example"), "{unlabeled}");
    // A value that occurs again is not a header, and neither is a number to be predicted.
    assert_eq!(read("good,pos\nbad,neg\nfine,pos\n", "classification").unwrap().len(), 3);
    assert_eq!(read("good,1.5\nbad,2\n", "regression").unwrap().len(), 2);
    assert_eq!(read("good,\"[0, 1]\"\nbad,\"[1, 0]\"\n", "multilabel").unwrap().len(), 2);
    let error = read("text,label\ngood,1.5\n", "regression").unwrap_err().to_string();
    assert!(error.contains("header"), "{error}");
}

#[test]
fn a_name_that_the_header_has_twice_is_refused_where_it_is_used() {
    let error = csv("text,label,label\nx,a,b\n").unwrap_err();
    let expected = "data.csv has 2 columns `label`: number 1, 2 (counted from 0)";
    assert!(error.to_string().starts_with(expected), "{error}");
    assert_eq!(csv("text,more,more,label\nx,1,2,a\n").unwrap().len(), 1);
    let by_number = Columns::new("text", 2);
    let data = Dataset::parse("d", b"text,label,label\nx,a,b\n", Format::Csv, &by_number).unwrap();
    assert_eq!(rows(&data), [("x", "b".into())]);
    let error =
        Dataset::parse("d", b"{\"text\":\"a\",\"label\":1,\"label\":2}\n", Format::JsonLines, &Columns::default());
    assert!(error.unwrap_err().to_string().contains("\"label\" appears twice"));
    let error = Dataset::parse("d", b"a,b\nx,y\n", Format::Csv, &Columns::new("a", "a")).unwrap_err().to_string();
    assert!(error.contains("text and label"), "{error}");
}

#[test]
fn quotes_that_are_not_closed_are_named_by_line() {
    let error = csv("text,label\nfine,a\n\"never closed,b\nmore,a\n").unwrap_err().to_string();
    assert!(error.starts_with("data.csv, line 3: a quoted cell begins here and never ends"), "{error}");
    let error = csv("text,label\nA fine film, really,pos\n").unwrap_err().to_string();
    assert!(
        error.contains("line 2: 3 columns, but the first line has 2") && error.contains("must be quoted"),
        "{error}"
    );
}

#[test]
fn spaces_around_labels_are_left_out_and_told() {
    let data = csv("text,label\nx,a\ny, a \nz,b \n").unwrap();
    assert_eq!(data.label_names(), ["a", "b"]);
    assert_eq!(
        data.notes(),
        ["data.csv: 2 labels have spaces around the name, which are removed (the first on line 3)"]
    );
    assert!(csv("text,label\nx,a\n").unwrap().notes().is_empty());
}

fn listed(format: Format, text: &str) -> Result<Dataset, DataError> {
    let columns = Columns::default().with_task(&Multilabel);
    Dataset::parse("d", text.as_bytes(), format, &columns)
}

#[test]
fn lists_of_zeros_and_ones_are_vectors() {
    let vectors = |data: &Dataset| {
        let of = |example: &Example| match &example.label {
            Some(Label::Vector(flags)) => {
                flags.iter().map(|flag| char::from(b'0' + u8::from(*flag))).collect::<String>()
            }
            other => panic!("{other:?}"),
        };
        data.examples().iter().map(of).collect::<Vec<_>>()
    };
    for cells in [
        ["\"[0, 1, 1]\"", "\"[1, 0, 0]\""],
        ["[0 1 1]", "[1 0 0]"],
        ["0 1 1", "1 0 0"],
        ["\"[False, True, True]\"", "\"[True, False, False]\""],
        ["\"(0, 1, 1)\"", "\"(1,0,0)\""],
        ["\"[0.0, 1.0, 1]\"", "[1. 0. 0.]"],
    ] {
        let data = listed(Format::Csv, &format!("text,label\na,{}\nb,{}\n", cells[0], cells[1])).unwrap();
        assert_eq!(vectors(&data), ["011", "100"], "{cells:?}");
        assert_eq!(data.head_config().unwrap().labels(), ["LABEL_0", "LABEL_1", "LABEL_2"]);
    }
    for labels in [["[0,1,1]", "[1,0,0]"], ["[false,true,true]", "[true,false,false]"], ["\"[0, 1, 1]\"", "[1,0,0]"]] {
        let [first, second] = labels;
        let text = format!("{{\"text\":\"a\",\"label\":{first}}}\n{{\"text\":\"b\",\"label\":{second}}}\n");
        assert_eq!(vectors(&listed(Format::JsonLines, &text).unwrap()), ["011", "100"], "{labels:?}");
    }
}

#[test]
fn vectors_of_other_lengths_and_mixed_forms_are_errors_with_their_line() {
    for (labels, line, told) in [
        (["[0,1,1]", "[1,0]"], 2, "a vector of 2 entries: expected 3"),
        (["[0,1,1]", "[]"], 2, "an empty list"),
        (["[0,1,1]", "[\"a\"]"], 2, "a list of names"),
        (["[\"a\"]", "[0,1,1]"], 2, "a vector of 0 and 1, but that on line 1 is a list of names"),
        (["[0,1]", "[true,false]"], 2, "true and false"),
        (["[0,1,true]", "[1,0,0]"], 1, "truth values beside others"),
        (["[0.25,0.75]", "[1,0]"], 1, "fractions"),
        (["[0,1,1]", "[2]"], 1, "a vector of 0 and 1, but that on line 2 is a list of numbers"),
        (["[0,1,1]", "\"0|1|1\""], 2, "given twice"),
        (["[0]", "[1]"], 1, "the number of a class"),
    ] {
        let [first, second] = labels;
        let text = format!("{{\"text\":\"a\",\"label\":{first}}}\n{{\"text\":\"b\",\"label\":{second}}}\n");
        let error = listed(Format::JsonLines, &text).unwrap_err().to_string();
        assert!(error.contains(&format!("line {line}:")) && error.contains(told), "{labels:?}: {error}");
    }
    let error = listed(Format::Csv, "text,label\na,\"['x', 'y']\"\n").unwrap_err().to_string();
    assert!(error.contains("not a JSON array"), "{error}");
}

#[test]
fn lists_of_class_numbers_are_not_vectors() {
    let text = "{\"text\":\"a\",\"label\":[2,0]}\n{\"text\":\"b\",\"label\":[0,1]}\n{\"text\":\"c\",\"label\":[1]}\n";
    assert_eq!(listed(Format::JsonLines, text).unwrap().label_names(), ["0", "1", "2"]);
}

#[test]
fn many_columns_many_bad_rows_and_long_labels_take_little() {
    let wide = format!("text,label{}\nx,a{}\n", ",c".repeat(300_000), ",1".repeat(300_000));
    assert_eq!(csv(&wide).unwrap().len(), 1);
    let bad = format!("text,label\n{}", "x,\n".repeat(200_000));
    assert!(matches!(csv(&bad), Err(DataError::BadRows { more: 199_990, .. })));
    let error = csv(&format!("text,label\nx,{}\n", "a".repeat(100_000))).unwrap_err().to_string();
    assert!(error.contains("100000 characters") && error.len() < 300, "{error}");
}

#[test]
fn where_there_is_a_header_names_go_before_numbers() {
    let columns = Columns::new("1", "label");
    let data = Dataset::parse("d", b"1,other,label\nfirst,second,a\n", Format::Csv, &columns).unwrap();
    assert_eq!(rows(&data), [("first", "a".into())]);
}

#[test]
fn a_missing_column_names_those_that_there_are() {
    let error = csv("sentence,label\nx,a\n").unwrap_err();
    assert!(error.to_string().contains("no column `text`; it has `sentence`, `label`"), "{error}");
    let error = Dataset::parse("d", b"x,a\n", Format::Csv, &Columns::new(2, 1)).unwrap_err();
    assert!(error.to_string().contains("number 2 (counted from 0); it has `0`, `1`"), "{error}");
}

#[test]
fn every_bad_row_is_named_with_its_line() {
    let text = b"text,label\ngood,a\n  ,a\nx,\nonly\n\xff\xfe,a\ny,b,c\n".as_slice();
    let found = problems(Dataset::parse("d", text, Format::Csv, &Columns::default()));
    let expected = [
        (3, DataProblem::EmptyText),
        (4, DataProblem::EmptyLabel),
        (5, DataProblem::ColumnCount { expected: 2, found: 1 }),
        (6, DataProblem::InvalidUtf8),
        (7, DataProblem::ColumnCount { expected: 2, found: 3 }),
    ];
    assert_eq!(found, expected);
}

#[test]
fn more_than_ten_bad_rows_are_counted() {
    let text = "text,label\n".to_owned() + &",a\n".repeat(14);
    let error = csv(&text).unwrap_err();
    assert!(matches!(&error, DataError::BadRows { problems, more: 4, .. } if problems.len() == 10), "{error}");
    assert!(error.to_string().starts_with("data.csv has 14 bad rows:\n  line 2: the text is empty"), "{error}");
    assert!(error.to_string().ends_with("… and 4 more"), "{error}");
}

#[test]
fn a_file_without_rows_is_an_error() {
    for text in ["", "text,label\n", "\n\n"] {
        assert!(matches!(csv(text), Err(DataError::Empty { .. })), "{text:?}");
        let json = Dataset::parse("d", b"\n \n", Format::JsonLines, &Columns::default());
        assert!(matches!(json, Err(DataError::Empty { .. })));
    }
}

#[test]
fn json_lines_take_strings_numbers_and_truth_values_for_classes() {
    let text = br#"{"text": "a", "label": "x"}

{"text": "b", "label": 1}
{"label": true, "text": "c", "more": []}"#;
    let data = Dataset::parse("d", text, Format::JsonLines, &Columns::default()).unwrap();
    assert_eq!(rows(&data), [("a", "x".into()), ("b", "1".into()), ("c", "true".into())]);
    assert_eq!(data.examples()[1].line, 3);
}

#[test]
fn bad_json_rows_are_named_with_their_line() {
    let text = b"{\"text\": \"a\", \"label\": \"x\"}\n{\"text\": \"a\"\n{\"text\": 3, \"label\": 1}\n{\"label\": 1}\n\
        {\"text\": \"\", \"label\": 1}\n{\"text\": \"a\", \"label\": null}\n{\"text\": \"a\", \"label\": [1]}\n\"a\"\n\xff\n";
    let found = problems(Dataset::parse("d", text, Format::JsonLines, &Columns::default()));
    assert_eq!(found.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 3, 4, 5, 6, 7, 8, 9]);
    assert!(matches!(found[0].1, DataProblem::BrokenJson { .. }));
    assert!(matches!(found[1].1, DataProblem::WrongType { what: "text", .. }));
    assert_eq!(found[2].1, DataProblem::MissingKey { key: "text".into() });
    assert_eq!(found[3].1, DataProblem::EmptyText);
    assert_eq!(found[4].1, DataProblem::EmptyLabel);
    assert!(matches!(found[5].1, DataProblem::WrongType { what: "label", .. }));
    assert!(matches!(found[6].1, DataProblem::BrokenJson { .. }));
    assert_eq!(found[7].1, DataProblem::InvalidUtf8);
}

#[test]
fn a_json_array_is_refused_with_the_reason() {
    let error = Dataset::parse("d", b" [{\"text\": 1}]", Format::JsonLines, &Columns::default()).unwrap_err();
    assert!(error.to_string().contains("expected JSON Lines"), "{error}");
}

#[test]
fn numbers_are_read_where_asked_for() {
    let columns = Columns::default().with_task(&Regression);
    let data = Dataset::parse("d", b"text,label\na,-0.5\nb, 2 \n", Format::Csv, &columns).unwrap();
    assert_eq!(data.examples()[0].label, Some(Label::Number(-0.5)));
    assert_eq!(data.examples()[1].label, Some(Label::Number(2.0)));
    let found = problems(Dataset::parse("d", b"text,label\na,high\nb,\nc,inf\nd,NaN\n", Format::Csv, &columns));
    assert_eq!(found[0], (2, DataProblem::NotANumber { found: "high".into() }));
    assert_eq!(found[1], (3, DataProblem::EmptyLabel));
    assert_eq!(found.len(), 4);
}

#[test]
fn several_labels_are_separated_by_bars_or_stand_in_an_array() {
    let columns = Columns::default().with_task(&Multilabel);
    let names = |data: Dataset| {
        data.examples()
            .iter()
            .map(|example| match &example.label {
                Some(Label::Classes(names)) => names.join("+"),
                other => panic!("{other:?}"),
            })
            .collect::<Vec<_>>()
    };
    let data = Dataset::parse("d", b"text\tlabel\na\tx | y\nb\t\nc\t[\"x\"]\n", Format::Tsv, &columns).unwrap();
    assert_eq!(names(data), ["x+y", "", "x"]);
    let text = b"{\"text\": \"a\", \"label\": [\"x\", 2]}\n{\"text\": \"b\", \"label\": []}\n";
    let data = Dataset::parse("d", text, Format::JsonLines, &columns).unwrap();
    assert_eq!(names(data), ["x+2", ""]);
}

#[test]
fn an_unknown_extension_is_an_error_and_an_explicit_format_helps() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data.txt");
    std::fs::write(&path, "text\tlabel\nx\ta\n").unwrap();
    assert!(matches!(Dataset::read(&path, &Columns::default()), Err(DataError::UnknownFormat { .. })));
    assert_eq!(Dataset::read(&path, &Columns::default().with_format(Format::Tsv)).unwrap().len(), 1);
    // Texts without labels are lines.
    std::fs::write(&path, "\u{feff}one\r\n\n  \ntwo, three").unwrap();
    let lines = Dataset::read(&path, &Columns::unlabeled("text")).unwrap();
    let found: Vec<_> = lines.examples().iter().map(|example| (example.line, example.text.as_str())).collect();
    assert_eq!(found, [(1, "one"), (4, "two, three")]);
    let missing = directory.path().join("none.csv");
    assert!(Dataset::read(&missing, &Columns::default()).unwrap_err().to_string().contains("none.csv"));
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_readers_panic(bytes: Vec<u8>, number in 0usize..3) {
        for format in [Format::Csv, Format::Tsv, Format::JsonLines, Format::Lines] {
            for kind in ["classification", "multilabel", "regression", "optional"] {
                let columns = reading(number, 0, kind);
                let _ = Dataset::parse("d", &bytes, format, &columns);
            }
        }
    }
}
