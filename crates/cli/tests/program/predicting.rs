//! Predicting: every row has its line, as soon as it can.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use crate::common::{Workplace, json_of};
use serde_json::Value;

fn place() -> Workplace {
    let place = Workplace::new();
    let model = place.model("model", 1);
    place.adapter(&model, "seq_bn");
    place
}

fn predict(place: &Workplace, extra: &[&str]) -> (i32, String, String) {
    place.run([&["predict", "--model", "model", "--adapter", "adapter"], extra].concat())
}

fn texts(out: &str) -> Vec<String> {
    out.lines().map(|line| json_of(line)["text"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn an_empty_cell_is_an_empty_text_in_every_format() {
    let place = place();
    place.write("lines.txt", "a film\n\nthe plot");
    place.write("table.csv", "id,text\n1,a film\n2,\n3,the plot\n");
    place.write("quoted.csv", "text\na film\n\"\"\nthe plot\n");
    place.write("table.tsv", "text\tid\na film\t1\n\t2\nthe plot\t3\n");
    place.write("rows.jsonl", "{\"text\": \"a film\"}\n{\"text\": \"\"}\n{\"text\": \"the plot\"}\n");
    let (code, expected, err) = predict(&place, &["--json", "--text", "a film", "", "the plot"]);
    assert_eq!((code, expected.lines().count()), (0, 3), "{err}");
    for file in ["lines.txt", "table.csv", "quoted.csv", "table.tsv", "rows.jsonl"] {
        let (code, out, err) = predict(&place, &["--json", "--input", file]);
        assert_eq!((code, out.as_str()), (0, expected.as_str()), "{file}: {err}");
    }
    place.write("routed.csv", "text,to\n,reviews\na film,\n,\n");
    let (code, out, err) = predict(&place, &["--json", "--route", "to", "--input", "routed.csv"]);
    assert_eq!((code, texts(&out)), (0, vec![String::new(), "a film".into(), String::new()]), "{err}");
    // To learn from, a text has to be there.
    place.write("train.csv", "text,label\na film,pos\n,neg\n");
    let (code, _, err) =
        place.run(["train", "--model", "model", "--data", "train.csv", "--output", "out", "--epochs", "1"]);
    assert!(code == 2 && err.contains("line 3") && err.contains("the text is empty"), "{err}");
}

#[test]
fn the_first_texts_are_predicted_before_the_last_are_there() {
    let place = place();
    for (format, header, json) in [("lines", "", true), ("csv", "text\n", false), ("jsonl", "", true)] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_burn-adapters"));
        command.current_dir(place.dir.path()).args([
            "predict",
            "--model",
            "model",
            "--adapter",
            "adapter",
            "--input",
            "-",
        ]);
        command.args(["--format", format]).args(json.then_some("--json"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        input.write_all(header.as_bytes()).unwrap();
        if !json {
            write!(input, "a film").unwrap();
            writeln!(input).unwrap();
            assert!(lines.next().unwrap().unwrap().starts_with("label"));
            assert!(lines.next().unwrap().unwrap().ends_with("a film"));
        }
        for text in ["the plot", "a good story", "bad"] {
            let line = if format == "jsonl" { serde_json::json!({"text": text}).to_string() } else { text.into() };
            writeln!(input, "{line}").unwrap();
            // The input is still open.
            let line = lines.next().unwrap().unwrap();
            assert!(line.contains(text), "{line}");
        }
        drop(input);
        assert!(lines.next().is_none() && child.wait().unwrap().success());
    }
}

#[test]
fn a_long_input_is_predicted_in_parts_in_its_order() {
    let place = place();
    let text = |row: usize| format!("{} film {row}", "very ".repeat(row % 7));
    let lines: String = (0..50).map(|row| text(row) + "\n").collect();
    let csv: String = std::iter::once("text\n".into()).chain((0..50).map(|row| text(row) + "\n")).collect();
    place.write("lines.txt", &lines);
    place.write("table.csv", &csv);
    let all: Vec<String> = (0..50).map(text).collect();
    let (code, out, err) = predict(&place, &["--json", "--batch-size", "2", "--input", "lines.txt"]);
    assert_eq!((code, texts(&out)), (0, all.clone()), "{err}");
    assert_eq!(predict(&place, &["--json", "--batch-size", "2", "--input", "table.csv"]).1, out);
    let (_, table, _) = predict(&place, &["--batch-size", "2", "--input", "lines.txt"]);
    assert_eq!(table.lines().count(), 51, "one header: {table}");
    let columns: std::collections::BTreeSet<_> = table.lines().skip(1).map(|line| line.find('.').unwrap()).collect();
    assert_eq!(columns.len(), 1, "the columns are aligned: {table}");

    // Bad rows are named before anything is predicted, whatever block they are in.
    place.write("bad.jsonl", &"{\"text\": \"a\"}\n{\"text\": 1}\n".repeat(40));
    let (code, out, err) = predict(&place, &["--batch-size", "2", "--input", "bad.jsonl"]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("40 bad rows") && err.contains("line 2:") && err.contains("30 more"), "{err}");
    place.write("bad.csv", &format!("{csv}a,b\n"));
    let (code, out, err) = predict(&place, &["--batch-size", "2", "--input", "bad.csv"]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("line 52"), "{err}");
    let routed = csv.replace("text\n", "text,to\n").replace(" film ", " film,").replace(",49", ",nobody");
    let routed: String = routed.lines().map(|line| line.trim_end_matches(char::is_numeric).to_owned() + "\n").collect();
    place.write("routed.csv", &routed);
    let (code, out, err) = predict(&place, &["--batch-size", "2", "--route", "to", "--input", "routed.csv"]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("line 51") && err.contains("nobody"), "{err}");
}

#[test]
fn texts_that_were_cut_are_counted_over_all_parts() {
    let place = place();
    place.write("long.txt", &format!("a film\n{}\n", "very ".repeat(40)).repeat(30));
    let (code, _, err) = predict(&place, &["--batch-size", "1", "--input", "long.txt"]);
    assert_eq!(code, 0);
    assert_eq!(err.matches("warning").count(), 1, "{err}");
    assert!(err.contains("30 of 60 texts are longer") && err.contains("the first on line 2"), "{err}");
}

#[test]
fn texts_may_begin_with_a_hyphen() {
    let place = place();
    let (code, out, err) = predict(&place, &["--text", "-5 stars", "good", "- item", "--json"]);
    assert_eq!((code, texts(&out)), (0, vec!["-5 stars".into(), "good".into(), "- item".into()]), "{err}");
    let (code, _, err) = predict(&place, &["--text", "a", "--jsn"]);
    assert!(code == 2 && err.contains("--jsn"), "{err}");
    let (code, _, _) = predict(&place, &["--text", "--json"]);
    assert_eq!(code, 2, "a text is missing");
}

#[test]
fn what_is_not_a_file_is_refused() {
    let place = place();
    std::fs::create_dir(place.path("folder")).unwrap();
    for input in ["folder", "/dev/zero", "missing.csv"] {
        let (code, out, err) = predict(&place, &["--input", input]);
        assert_eq!((code, out.as_str()), (2, ""), "{err}");
        assert!(err.contains(input), "{err}");
    }
    for (name, text) in [("empty.txt", ""), ("empty.csv", ""), ("header.csv", "text\n")] {
        place.write(name, text);
        let (code, out, err) = predict(&place, &["--input", name]);
        assert!((code, out.as_str()) == (2, "") && err.contains(name), "{err}");
    }
}

#[test]
fn the_label_of_a_regression_is_its_value() {
    let place = Workplace::new();
    place.model("model", 1);
    place.write("data.csv", "text,label\na good film,2.5\na bad film,-1.5\na film,0.25\n");
    let train = ["train", "--model", "model", "--data", "data.csv", "--labels", "number", "--output", "adapter"];
    let (code, _, err) = place.run([&train[..], &["--epochs", "1"]].concat());
    assert_eq!(code, 0, "{err}");
    let (code, out, err) = predict(&place, &["--json", "--text", "a film"]);
    assert_eq!(code, 0, "{err}");
    let value = json_of(&out);
    assert!(value["label"].is_f64() && value["label"] == value["logits"][0], "{out}");
}

#[test]
fn of_many_classes_tables_show_a_few_and_json_all() {
    let place = Workplace::new();
    place.model("model", 1);
    let rows: String = (0..60).map(|row| format!("a film {row},class{}\n", row % 30)).collect();
    place.write("data.csv", &format!("text,label\n{rows}"));
    let data = ["--model", "model", "--data", "data.csv"];
    let (code, _, err) = place.run([&["train"], &data[..], &["--output", "adapter", "--epochs", "1"]].concat());
    assert_eq!(code, 0, "{err}");
    let evaluate = [&["evaluate", "--adapter", "adapter"], &data[..]].concat();
    let (code, out, err) = place.run(&evaluate);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("the 20 of 30 classes with the most examples; --json gives all"), "{out}");
    assert!(out.contains("the confusion matrix of 30 classes is not shown; --json gives it"), "{out}");
    assert!(out.lines().count() < 30 && out.lines().all(|line| line.chars().count() < 80), "{out}");
    let (_, out, _) = place.run([&evaluate[..], &["--json"]].concat());
    let value: Value = json_of(&out);
    assert_eq!(value["classes"].as_array().unwrap().len(), 30);
    assert_eq!(value["confusion"]["truth_by_prediction"].as_array().unwrap().len(), 30);
}
