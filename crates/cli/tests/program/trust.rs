//! What files that cannot be trusted say reaches no terminal as it is, and no note on them is hidden.

use std::fs;
use std::path::Path;

use crate::common::{Workplace, json_of};
use serde_json::{Value, json};

/// Escape sequences, a bell, a C1 control, bidirectional marks, a zero-width space, and a line that looks like ours.
const NASTY: &str = "g\u{1b}]0;title\u{7}\u{9b}31m\u{202e}x\u{2066}\u{200b}\nerror: forged";

fn is_deceptive(c: char) -> bool {
    c.is_control() && c != '\n'
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[track_caller]
fn assert_harmless(text: &str) {
    assert!(!text.contains(is_deceptive), "{}", text.escape_debug());
    assert!(!text.lines().any(|line| line.starts_with("error: forged")), "{text}");
}

fn edit(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value: Value = json_of(&fs::read_to_string(path).unwrap());
    change(&mut value);
    fs::write(path, value.to_string()).unwrap();
}

/// Runs the program, both of whose outputs must be harmless.
#[track_caller]
fn run(place: &Workplace, arguments: &[&str]) -> (i32, String, String) {
    let (code, out, err) = place.run(arguments);
    assert_harmless(&out);
    assert_harmless(&err);
    (code, out, err)
}

#[test]
fn labels_of_a_head_and_texts_are_shown_escaped() {
    let place = Workplace::new();
    let model = place.model("model", 1);
    let adapter = place.adapter(&model, "seq_bn");
    edit(&adapter.join("head_config.json"), |head| {
        head["config"]["label2id"] = json!({NASTY: 0, "\u{202e}b": 1});
    });
    let predict = ["predict", "--model", "model", "--adapter", "adapter", "--text"];
    let text = "a\u{1b}[2J film\u{202e}\r\nwarning: forged";
    let (code, out, _) = run(&place, &[&predict[..], &[text]].concat());
    assert_eq!(code, 0);
    assert_eq!(out.lines().count(), 2, "one line for the header, one for the text: {out}");
    assert!(out.contains("a\\u{1b}[2J film\\u{202e}\\r\\nwarning: forged"), "{out}");

    let (code, out, _) = run(&place, &[&predict[..], &[text, "--json"]].concat());
    assert_eq!((code, out.lines().count()), (0, 1));
    let value = json_of(&out);
    assert_eq!(value["text"], text);
    assert!(value["label"] == NASTY || value["label"] == "\u{202e}b");

    // The error lists the labels that are known.
    place.write("data.csv", "text,label\na film,\u{1b}[31mother\n");
    let evaluate = ["evaluate", "--model", "model", "--adapter", "adapter", "--data", "data.csv"];
    let (code, _, err) = run(&place, &evaluate);
    assert_eq!(code, 2);
    assert!(err.contains("\\u{1b}[31mother") && err.contains("\\u{202e}b"), "{err}");

    place.write("data.csv", "text,label\na film,\u{202e}b\nthe plot,\u{202e}b\n");
    let (code, out, _) = run(&place, &evaluate);
    assert_eq!(code, 0);
    assert!(out.contains("\\nerror: forged"), "{out}");
    let (code, out, _) = run(&place, &[&evaluate[..], &["--json"]].concat());
    assert_eq!((code, &json_of(&out)["classes"][0]["label"]), (0, &json!(NASTY)));
}

#[test]
fn names_and_types_in_files_are_shown_escaped() {
    let place = Workplace::new();
    let model = place.model("model", 1);
    let adapter = place.adapter(&model, "lora");
    let nasty_dir = place.path("\u{1b}[31mmodel\u{202e}\n");
    fs::create_dir(&nasty_dir).unwrap();
    for file in fs::read_dir(&model).unwrap().flatten() {
        fs::copy(file.path(), nasty_dir.join(file.file_name())).unwrap();
    }
    let dir = nasty_dir.to_str().unwrap();
    assert_eq!(run(&place, &["inspect", "--model", dir]).0, 0);
    assert_eq!(run(&place, &["inspect", "--model", &format!("{dir}/{NASTY}")]).0, 2);
    assert_eq!(run(&place, &["predict", "--model", dir, "--adapter", "adapter", "--text", "a"]).0, 0);

    edit(&adapter.join("adapter_config.json"), |config| config["name"] = NASTY.into());
    assert_ne!(run(&place, &["predict", "--model", "model", "--adapter", "adapter", "--text", "a"]).0, 1);
    edit(&adapter.join("adapter_config.json"), |config| config["model_type"] = NASTY.into());
    let (code, _, err) = run(&place, &["inspect", "--model", "model", "--adapter", "adapter"]);
    assert_eq!(code, 2);
    assert!(err.contains("\\u{202e}"), "{err}");

    edit(&model.join("config.json"), |config| config["model_type"] = NASTY.into());
    for extra in [&[][..], &["--json"]] {
        let (code, _, err) = run(&place, &[&["inspect", "--model", "model"], extra].concat());
        assert_eq!(code, 2);
        assert!(err.contains("\\u{202e}"), "{err}");
    }
    fs::write(model.join("config.json"), format!("{{\"a\": \u{1b}[31m{NASTY}")).unwrap();
    assert_eq!(run(&place, &["inspect", "--model", "model"]).0, 2);
}

#[test]
fn what_training_writes_of_its_data_is_shown_escaped() {
    let place = Workplace::new();
    place.model("model", 1);
    place.write("data.csv", &format!("text,label\na good film,\"{NASTY}\"\na bad film,b\n").repeat(1));
    let train = ["train", "--model", "model", "--data", "data.csv", "--epochs", "1", "--name", "a\u{202e}b"];
    let (_, _, _) = run(&place, &[&train[..], &["--output", "o\u{1b}[31mut"]].concat());
    let (_, out, _) = run(&place, &[&train[..5], &["--epochs", "1", "--output", "out2", "--json"]].concat());
    assert!(json_of(&out)["steps"].as_u64() > Some(0));
    let curve = fs::read_to_string(place.path("out2/curve.svg")).unwrap();
    assert_harmless(&curve);
}

#[test]
fn arguments_and_configurations_are_quoted_escaped() {
    let place = Workplace::new();
    for arguments in [
        &["\u{1b}[31mfly"][..],
        &["train", "--\u{202e}x"],
        &["train", "--epochs", "\u{9b}1\nerror: forged"],
        &["train", "a\nerror: forged"],
        &["config", "seq_bn[\u{1b}[31mreduction=8,\u{202e}=1]"],
        &["config", "seq_bn[non_linearity='\u{202e}\nerror: forged']"],
        &["config", "./\u{1b}c.json"],
        &["predict", "--model", "x", "--adapter", "a", "--setup", "Stack(\u{1b}[1A\u{2066}", "--text", "x"],
    ] {
        let (code, out, err) = run(&place, arguments);
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}");
        assert!(err.contains("error:"), "{err}");
    }
}

#[test]
fn quiet_does_not_hide_what_was_changed_in_an_adapter() {
    let place = Workplace::new();
    let model = place.model("model", 1);
    let adapter = place.adapter(&model, "lora[r=4,alpha=8]");
    edit(&adapter.join("adapter_config.json"), |config| config["version"] = "adapters.1.0.1".into());
    let data = place.data("data.csv", 12);
    let data = data.to_str().unwrap();
    let stack = ["--data", data, "--setup", "Stack(reviews, n)", "--name", "n", "--output", "n", "--epochs", "1"];
    for command in [
        &["predict", "--model", "model", "--adapter", "adapter", "--text", "a"][..],
        &["evaluate", "--model", "model", "--adapter", "adapter", "--data", data],
        &["inspect", "--model", "model", "--adapter", "adapter"],
        &["inspect", "--model", "model", "--adapter", "adapter", "--json"],
        &["merge", "adapter", "adapter", "--output", "merged"],
        &[&["train", "--model", "model", "--adapter", "adapter"], &stack[..]].concat(),
    ] {
        let (code, out, err) = run(&place, &[&["-q"], command].concat());
        assert_eq!(code, 0, "{command:?}: {err}");
        assert!(err.contains("warning: ") && err.contains("alpha is set to 4"), "{command:?}: {err}");
        assert!(!err.contains("loaded"), "{command:?}: {err}");
        if command.contains(&"--json") {
            assert!(json_of(&out)["notes"][0].as_str().unwrap().contains("alpha is set to 4"), "{out}");
        }
    }
}

#[test]
fn options_without_effect_and_numbers_beyond_all_bounds_are_mistakes() {
    let place = Workplace::new();
    let model = place.model("model", 1);
    place.adapter(&model, "lora");
    for option in [["--rank", "2"], ["--density", "0.3"], ["--majority-sign", "total"], ["--seed", "1"]] {
        let (code, out, err) = run(&place, &[&["merge", "adapter", "adapter", "--output", "m"], &option[..]].concat());
        assert_eq!((code, out.as_str()), (2, ""), "{option:?}");
        assert!(err.contains(option[0]) && !place.path("m").exists(), "{err}");
    }
    let train = ["train", "--model", "model", "--data", "train-data.csv", "--output", "out", "--batch-size", "1"];
    let (code, _, err) = run(&place, &[&train[..], &["--epochs", "18446744073709551615"]].concat());
    assert!(code == 2 && err.contains("--epochs"), "{err}");
    for option in ["--learning-rate", "--weight-decay", "--max-gradient-norm", "--epochs", "--seed"] {
        let (code, out, err) = run(&place, &[&train[..], &[option, "-1"]].concat());
        assert_eq!((code, out.as_str()), (2, ""), "{option}");
        assert!(err.contains(option) && !err.contains("unexpected argument"), "{err}");
    }
}
