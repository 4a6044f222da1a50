#![allow(clippy::unwrap_used)]

use super::super::{Header, RowProblem};
use super::*;

fn csv(text: &str) -> Result<Dataset, DataError> {
    Dataset::parse("data.csv", text.as_bytes(), Format::Csv, &Columns::default())
}

fn problems(result: Result<Dataset, DataError>) -> Vec<(usize, Problem)> {
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
fn numbered_columns_count_from_zero_and_mean_no_header() {
    let data = Dataset::parse("d", b"7\tneg\t\"quotes\" mean nothing\r\n", Format::Tsv, &Columns::new(2, 1)).unwrap();
    assert_eq!(rows(&data), [("\"quotes\" mean nothing", "neg".into())]);
    let with_header = Columns::new(0, 1).with_header(Header::Yes);
    let data = Dataset::parse("d", b"a,b\nx,y\n", Format::Csv, &with_header).unwrap();
    assert_eq!(rows(&data), [("x", "y".into())]);
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
        (3, Problem::EmptyText),
        (4, Problem::EmptyLabel),
        (5, Problem::ColumnCount { expected: 2, found: 1 }),
        (6, Problem::InvalidUtf8),
        (7, Problem::ColumnCount { expected: 2, found: 3 }),
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
    assert!(matches!(found[0].1, Problem::BrokenJson { .. }));
    assert!(matches!(found[1].1, Problem::WrongType { what: "text", .. }));
    assert_eq!(found[2].1, Problem::MissingKey { key: "text".into() });
    assert_eq!(found[3].1, Problem::EmptyText);
    assert_eq!(found[4].1, Problem::EmptyLabel);
    assert!(matches!(found[5].1, Problem::WrongType { what: "label", .. }));
    assert!(matches!(found[6].1, Problem::BrokenJson { .. }));
    assert_eq!(found[7].1, Problem::InvalidUtf8);
}

#[test]
fn a_json_array_is_refused_with_the_reason() {
    let error = Dataset::parse("d", b" [{\"text\": 1}]", Format::JsonLines, &Columns::default()).unwrap_err();
    assert!(error.to_string().contains("expected JSON Lines"), "{error}");
}

#[test]
fn numbers_are_read_where_asked_for() {
    let columns = Columns::default().with_label_kind(LabelKind::Number);
    let data = Dataset::parse("d", b"text,label\na,-0.5\nb, 2 \n", Format::Csv, &columns).unwrap();
    assert_eq!(data.examples()[0].label, Some(Label::Number(-0.5)));
    assert_eq!(data.examples()[1].label, Some(Label::Number(2.0)));
    let found = problems(Dataset::parse("d", b"text,label\na,high\nb,\nc,inf\nd,NaN\n", Format::Csv, &columns));
    assert_eq!(found[0], (2, Problem::NotANumber { found: "high".into() }));
    assert_eq!(found[1], (3, Problem::EmptyLabel));
    assert_eq!(found.len(), 4);
}

#[test]
fn several_labels_are_separated_by_bars_or_stand_in_an_array() {
    let columns = Columns::default().with_label_kind(LabelKind::Classes);
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
    let missing = directory.path().join("none.csv");
    assert!(Dataset::read(&missing, &Columns::default()).unwrap_err().to_string().contains("none.csv"));
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_readers_panic(bytes: Vec<u8>, number in 0usize..3) {
        for format in [Format::Csv, Format::Tsv, Format::JsonLines] {
            for kind in [LabelKind::Class, LabelKind::Classes, LabelKind::Number] {
                let columns = Columns::new(number, 0).with_label_kind(kind);
                let _ = Dataset::parse("d", &bytes, format, &columns);
            }
        }
    }
}
