//! From data to an adapter, and from an adapter to labels.

use std::fs;

use crate::common::{Workplace, json_of};
use serde_json::json;

fn train<'a>(extra: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec![
        "train",
        "--model",
        "model",
        "--data",
        "data.csv",
        "--config",
        "seq_bn[reduction_factor=2]",
        "--name",
        "reviews",
        "--output",
        "out",
        "--batch-size",
        "8",
        "--learning-rate",
        "0.01",
        "--seed",
        "3",
    ];
    arguments.extend(extra);
    arguments
}

fn place() -> Workplace {
    let place = Workplace::new();
    place.model("model", 2);
    place.data("data.csv", 72);
    place
}

#[test]
fn a_trained_adapter_is_evaluated_and_predicts_in_the_order_of_the_input() {
    let place = place();
    let (code, out, err) = place.run(train(&["--epochs", "12", "--eval", "data.csv", "--json"]));
    assert_eq!(code, 0, "{err}");
    let trained = json_of(&out);
    assert_eq!(trained["adapter_parameters"], 2 * (16 * 8 + 8 + 8 * 16 + 16));
    assert!(err.contains("epoch 12 of 12"), "{err}");
    for file in [
        "adapter_config.json",
        "adapter.safetensors",
        "head_config.json",
        "model_head.safetensors",
        "history.json",
        "curve.svg",
        "curve.png",
    ] {
        assert!(place.path("out").join(file).is_file(), "{file}");
    }
    assert!(!place.path("out/checkpoints").exists());

    let (code, out, err) =
        place.run(["evaluate", "--model", "model", "--adapter", "out", "--data", "data.csv", "--json"]);
    assert_eq!(code, 0, "{err}");
    let evaluation = json_of(&out);
    assert!(evaluation["accuracy"].as_f64().unwrap() > 0.95, "{out}");
    assert_eq!(
        (evaluation["examples"].as_u64(), evaluation["confusion"]["labels"][0].as_str()),
        (Some(72), Some("neg"))
    );
    let (_, out, _) = place.run(["evaluate", "--model", "model", "--adapter", "out", "--data", "data.csv"]);
    assert!(out.contains("truth \\ predicted") && out.contains("accuracy"), "{out}");

    let texts = ["the film is good", "story and dull", "the film is fine"];
    place.write("texts.txt", &(texts.join("\n") + "\n"));
    let (code, from_file, err) =
        place.run(["predict", "--model", "model", "--adapter", "out", "--input", "texts.txt", "--json"]);
    assert_eq!(code, 0, "{err}");
    let lines: Vec<_> = from_file.lines().map(json_of).collect();
    assert_eq!(lines.len(), 3);
    for (line, (text, label)) in lines.iter().zip(texts.iter().zip(["pos", "neg", "pos"])) {
        assert_eq!((line["text"].as_str(), line["label"].as_str()), (Some(*text), Some(label)));
        let probabilities: f64 = line["probabilities"].as_array().unwrap().iter().map(|p| p.as_f64().unwrap()).sum();
        assert!((probabilities - 1.0).abs() < 1e-5);
        assert_eq!(line["logits"].as_array().unwrap().len(), 2);
        assert_eq!(line.as_object().unwrap().len(), 4);
    }

    // The same texts on the command line and on standard input give the same lines.
    let (_, from_text, _) = place.run([
        "predict",
        "--model",
        "model",
        "--adapter",
        "out",
        "--json",
        "--text",
        texts[0],
        "--text",
        texts[1],
        "--text",
        texts[2],
    ]);
    assert_eq!(from_text, from_file);
    let piped = place
        .program()
        .args(["predict", "--model", "model", "--adapter", "out", "--json", "--input", "-"])
        .write_stdin(texts.join("\n"))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(piped.stdout).unwrap(), from_file);
    let (_, table, _) = place.run(["predict", "--model", "model", "--adapter", "out", "--text", texts[0]]);
    assert!(table.contains("pos") && table.contains(texts[0]), "{table}");
}

#[test]
fn frozen_weights_in_bf16_change_little() {
    let place = place();
    let (code, _, err) = place.run(train(&["--epochs", "12", "--bf16"]));
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("bf16"), "{err}");
    let predict = |extra: &[&str]| {
        let mut arguments = vec!["predict", "--model", "model", "--adapter", "out", "--text", "good", "--json"];
        arguments.extend(extra);
        let (code, out, err) = place.run(arguments);
        assert_eq!(code, 0, "{err}");
        json_of(&out)["logits"].as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect::<Vec<_>>()
    };
    let (whole, half) = (predict(&[]), predict(&["--bf16"]));
    assert_ne!(whole, half);
    for (whole, half) in whole.iter().zip(&half) {
        assert!((whole - half).abs() < 0.1, "{whole} and {half}");
    }
    assert_eq!(half, predict(&["--quantize", "bf16"]));
    assert_eq!(whole, predict(&["--quantize", "none"]));
}

#[test]
fn frozen_weights_in_blocks_change_little() {
    for (format, shown, bound) in [("int8", "in Q8_0 (", 0.1), ("int4", "in Q4_1 (", 1.0)] {
        let place = place();
        let (code, _, err) = place.run(train(&["--epochs", "12", "--quantize", format]));
        assert_eq!(code, 0, "{err}");
        // Most of this model's matrices have rows of 16 elements.
        assert!(err.contains("warning: ") && err.contains(shown) && err.contains("not quantized"), "{err}");
        let predict = |extra: &[&str]| {
            let mut arguments = vec!["predict", "--model", "model", "--adapter", "out", "--text", "good", "--json"];
            arguments.extend(extra);
            let (code, out, err) = place.run(arguments);
            assert_eq!(code, 0, "{err}");
            json_of(&out)["logits"]
                .as_array()
                .unwrap()
                .iter()
                .map(|number| number.as_f64().unwrap())
                .collect::<Vec<_>>()
        };
        let (whole, rounded) = (predict(&[]), predict(&["--quantize", format]));
        assert_ne!(whole, rounded);
        for (whole, rounded) in whole.iter().zip(&rounded) {
            assert!((whole - rounded).abs() < bound, "{format}: {whole} and {rounded}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_files() {
    let files = || {
        let place = place();
        let (code, _, err) =
            place.run(train(&["--epochs", "2", "--eval-fraction", "0.25", "--quiet", "--device", "cpu"]));
        assert_eq!((code, err.as_str()), (0, ""));
        [
            "adapter.safetensors",
            "adapter_config.json",
            "model_head.safetensors",
            "head_config.json",
            "history.json",
            "curve.png",
        ]
        .map(|name| fs::read(place.path("out").join(name)).unwrap())
    };
    assert_eq!(files(), files());
}

#[test]
fn checkpoints_of_an_interrupted_training_are_not_overwritten_without_being_asked() {
    let place = place();
    fs::create_dir_all(place.path("out/checkpoints/epoch-0001")).unwrap();
    let (code, _, err) = place.run(train(&["--epochs", "2"]));
    assert_eq!(code, 2);
    assert!(err.contains("--resume"), "{err}");
}

#[test]
fn a_training_that_was_killed_is_resumed_to_the_same_files() {
    let files = ["adapter.safetensors", "model_head.safetensors", "history.json"];
    let read = |place: &Workplace| files.map(|name| fs::read(place.path("out").join(name)).unwrap());
    let arguments = || train(&["--epochs", "8", "--eval-fraction", "0.1", "--best", "accuracy", "--device", "cpu"]);

    let whole = place();
    whole.data("data.csv", 600);
    assert_eq!(whole.run(arguments()).0, 0);

    let killed = place();
    killed.data("data.csv", 600);
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_burn-adapters"))
        .args(arguments())
        .current_dir(killed.dir.path())
        .stderr(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    while !killed.path("out/checkpoints/epoch-0002").exists() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(killed.path("out/checkpoints").exists(), "it was killed under way");
    assert!(!killed.path("out/adapter.safetensors").exists());

    let mut resumed = arguments();
    resumed.push("--resume");
    let (code, _, err) = killed.run(resumed);
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("continuing after step"), "{err}");
    assert_eq!(read(&killed), read(&whole));
}

#[test]
fn several_labels_and_numbers_can_be_learned_too() {
    let place = place();
    place.write("tags.jsonl", &"{\"text\": \"a good film\", \"label\": [\"good\", \"film\"]}\n{\"text\": \"a dull plot\", \"label\": [\"plot\"]}\n".repeat(4));
    let arguments = [
        "train",
        "--model",
        "model",
        "--data",
        "tags.jsonl",
        "--labels",
        "classes",
        "--config",
        "lora[r=2]",
        "--output",
        "tags",
        "--epochs",
        "1",
    ];
    let (code, _, err) = place.run(arguments);
    assert_eq!(code, 0, "{err}");
    let (_, out, _) = place.run(["predict", "--model", "model", "--adapter", "tags", "--text", "a film", "--json"]);
    assert!(json_of(&out)["label"].is_array(), "{out}");

    place.write("ratings.tsv", "text\tlabel\na good film\t1.5\na dull film\t-2\n");
    let arguments = [
        "train",
        "--model",
        "model",
        "--data",
        "ratings.tsv",
        "--labels",
        "number",
        "--config",
        "lora[r=2]",
        "--output",
        "ratings",
        "--epochs",
        "1",
    ];
    let (code, _, err) = place.run(arguments);
    assert_eq!(code, 0, "{err}");
    let (_, out, _) = place.run(["predict", "--model", "model", "--adapter", "ratings", "--text", "a film", "--json"]);
    let line = json_of(&out);
    assert!(line["label"].is_f64() && line["logits"] == json!([line["label"]]), "{out}");
}

#[test]
fn a_label_that_training_never_saw_is_an_error_with_its_line() {
    let place = place();
    place.write("eval.csv", "text,label\na film,pos\na plot,meh\n");
    let (code, out, err) = place.run(train(&["--eval", "eval.csv"]));
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("eval.csv, line 3") && err.contains("`meh`") && err.contains("`neg`"), "{err}");
}

#[test]
fn bad_data_is_an_error_that_says_where() {
    let place = place();
    for (name, text, told) in [
        ("empty.csv", "", "empty.csv"),
        ("header.csv", "text,label\n", "no examples"),
        ("columns.csv", "sentence,label\na,b\n", "`text`"),
        ("ragged.csv", "text,label\na,pos\nb\n", "line 3"),
        ("one.csv", "text,label\na,pos\nb,pos\n", "two classes"),
        ("odd.xyz", "text,label\na,pos\n", ".csv"),
    ] {
        place.write(name, text);
        let (code, out, err) = place.run(["train", "--model", "model", "--data", name, "--output", "out"]);
        assert_eq!((code, out.as_str()), (2, ""), "{name}: {err}");
        assert!(err.contains(told), "{name}: {err}");
        assert!(!place.path("out").exists(), "{name}");
    }
    let (code, _, err) = place.run(["train", "--model", "model", "--data", "nowhere.csv", "--output", "out"]);
    assert_eq!(code, 2);
    assert!(err.contains("nowhere.csv"), "{err}");
}

#[test]
fn what_cannot_work_is_told_before_the_training() {
    let place = place();
    place.write("taken", "a file");
    for (option, value, told) in [
        ("--config", "lora[attn_matrices=['qq']]", "qq"),
        ("--config", "seq_bn[leave_out=[0,1]]", "leave_out"),
        ("--output", "taken", "taken"),
    ] {
        let mut arguments = vec!["train", "--model", "model", "--data", "data.csv", option, value];
        if option != "--output" {
            arguments.extend(["--output", "out"]);
        }
        let (code, out, err) = place.run(arguments);
        assert_eq!((code, out.as_str()), (2, ""), "{value}: {err}");
        assert!(err.contains(told) && !err.contains("training"), "{value}: {err}");
        assert!(!place.path("out").exists());
    }
}

#[test]
fn columns_are_named_or_numbered() {
    let place = place();
    place.write("plain.tsv", &"pos\ta good film\nneg\ta dull film\n".repeat(4));
    let arguments = [
        "train",
        "--model",
        "model",
        "--data",
        "plain.tsv",
        "--text-column",
        "1",
        "--label-column",
        "0",
        "--config",
        "lora[r=2]",
        "--epochs",
        "1",
        "--output",
        "out",
        "--json",
    ];
    let (code, _, err) = place.run(arguments);
    assert_eq!(code, 0, "{err}");
}

#[test]
fn a_text_longer_than_the_model_is_cut_and_this_is_said_once() {
    let place = place();
    let model = place.path("model");
    place.adapter(&model, "seq_bn[reduction_factor=4]");
    let long = "good ".repeat(200);
    place.write("long.txt", &format!("{long}\nfine\n{long}\n"));
    let (code, out, err) = place.run([
        "predict",
        "--model",
        "model",
        "--adapter",
        "adapter",
        "--input",
        "long.txt",
        "--json",
        "--batch-size",
        "1",
    ]);
    assert_eq!((code, out.lines().count()), (0, 3), "{err}");
    assert_eq!(err.matches("warning:").count(), 1, "{err}");
    assert!(err.contains("2 of 3 texts are longer than 20 tokens"), "{err}");
    assert_eq!(json_of(out.lines().next().unwrap())["text"], long.as_str());
}

#[test]
fn predicting_without_an_adapter_or_a_head_says_what_is_missing() {
    let place = place();
    let (code, _, err) = place.run(["predict", "--model", "model", "--text", "a film"]);
    assert_eq!(code, 2);
    assert!(err.contains("--adapter"), "{err}");
    let model = place.path("model");
    let adapter = place.adapter(&model, "lora[r=2]");
    fs::remove_file(adapter.join("head_config.json")).unwrap();
    let (code, _, err) = place.run(["predict", "--model", "model", "--adapter", "adapter", "--text", "a film"]);
    assert_eq!(code, 2);
    assert!(err.contains("no prediction head") && err.contains("head_config.json"), "{err}");
    let (code, _, err) = place.run(["predict", "--model", "model", "--adapter", "nowhere", "--text", "a film"]);
    assert_eq!(code, 2);
    assert!(err.contains("nowhere") && err.contains("adapter_config.json"), "{err}");
}

#[test]
fn options_out_of_range_are_mistakes() {
    let place = place();
    let cases = [
        ["--epochs", "0"],
        ["--batch-size", "0"],
        ["--learning-rate", "nan"],
        ["--eval-fraction", "2"],
        ["--max-length", "900"],
        ["--warmup", "2.5"],
    ];
    for [option, value] in cases {
        let (code, out, err) =
            place.run(["train", "--model", "model", "--data", "data.csv", "--output", "out", option, value]);
        assert_eq!((code, out.as_str()), (2, ""), "{option}: {err}");
        assert!(err.contains(option.trim_start_matches("--eval-")) || err.contains(option), "{option}: {err}");
    }
}
