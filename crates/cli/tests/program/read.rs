//! Files that cannot be used, numbers that nothing can be computed with, and heads that nothing needs.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{Workplace, json_of};
use serde_json::json;

/// A place with a model and an adapter.
fn place() -> (Workplace, PathBuf, PathBuf) {
    let place = Workplace::new();
    let model = place.model("model", 2);
    let adapter = place.adapter(&model, "seq_bn[reduction_factor=4]");
    (place, model, adapter)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.path().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// Puts a number in the place of the last numbers of a file.
fn overwrite(path: &Path, value: f32, count: usize) {
    let mut bytes = fs::read(path).unwrap();
    let end = bytes.len();
    for at in 1..=count {
        bytes[end - 4 * at..end - 4 * (at - 1)].copy_from_slice(&value.to_le_bytes());
    }
    fs::write(path, bytes).unwrap();
}

/// The head in a folder becomes one of a kind that is not known here, as the Python library saves it for parsers.
fn make_unknown_head(dir: &Path) {
    let path = dir.join("head_config.json");
    let mut config = json_of(&fs::read_to_string(&path).unwrap());
    config["config"] = json!({"head_type": "image_classification", "label2id": null, "num_labels": 2, "layers": 1});
    fs::write(path, config.to_string()).unwrap();
}

fn fails(place: &Workplace, code: i32, arguments: &[&str], expected: &[&str]) {
    let (found, out, err) = place.run(arguments);
    assert_eq!(found, code, "{arguments:?}: {out}{err}");
    expected.iter().for_each(|text| assert!(err.contains(text), "{arguments:?}: no `{text}` in {err}"));
    assert_eq!(out, "", "{arguments:?}");
}

#[test]
fn weights_that_are_not_finite_are_a_mistake_that_names_them() {
    let (place, model, adapter) = place();
    let data = place.data("data.csv", 12);
    let data = data.to_str().unwrap();
    let spoilt = |name: &str, file: &str, from: &Path| {
        copy(from, &place.path(name));
        overwrite(&place.path(name).join(file), f32::NAN, 1);
    };
    spoilt("nan-adapter", "adapter.safetensors", &adapter);
    spoilt("nan-head", "model_head.safetensors", &adapter);
    spoilt("nan-model", "model.safetensors", &model);
    for (adapter, model, file) in [
        ("nan-adapter", "model", "adapter.safetensors"),
        ("nan-head", "model", "model_head.safetensors"),
        ("adapter", "nan-model", "model.safetensors"),
    ] {
        let expected = [file, "NaN", "the tensor `"];
        fails(&place, 2, &["predict", "--model", model, "--adapter", adapter, "--text", "good"], &expected);
        fails(&place, 2, &["evaluate", "--model", model, "--adapter", adapter, "--data", data], &expected);
    }
    fails(&place, 2, &["inspect", "--model", "model", "--adapter", "nan-adapter"], &["NaN"]);
    fails(&place, 2, &["merge", "adapter", "nan-adapter", "--output", "merged"], &["NaN"]);
    fails(&place, 2, &["train", "--model", "nan-model", "--data", data, "--output", "out"], &["NaN"]);
}

#[test]
fn an_overflow_is_an_error_that_names_the_texts_and_says_what_to_look_at() {
    let (place, _, adapter) = place();
    let data = place.data("data.csv", 12);
    // Finite, but the head's products are not.
    copy(&adapter, &place.path("large"));
    overwrite(&place.path("large/adapter.safetensors"), 3e38, 64);
    overwrite(&place.path("large/model_head.safetensors"), 3e38, 60);
    for json in [&[][..], &["--json"]] {
        let predict = ["predict", "--model", "model", "--adapter", "large", "--text", "good", "bad"];
        fails(&place, 1, &[&predict[..], json].concat(), &["not finite", "the texts 1, 2", "weights"]);
        let evaluate = ["evaluate", "--model", "model", "--adapter", "large", "--data", data.to_str().unwrap()];
        fails(&place, 1, &[&evaluate[..], json].concat(), &["not finite", "weights"]);
    }
}

#[cfg(unix)]
#[test]
fn pipes_folders_and_giants_in_the_place_of_files_are_refused() {
    let (place, _, _) = place();
    let data = place.data("data.csv", 12);
    let data = data.to_str().unwrap();
    place.write("texts.txt", "good\n");
    let predict = ["predict", "--model", "model", "--adapter", "adapter", "--text", "good"];
    let cases: [(&str, &[&str]); 8] = [
        ("model/config.json", &predict),
        ("model/model.safetensors", &predict),
        ("adapter/adapter_config.json", &predict),
        ("adapter/adapter.safetensors", &predict),
        ("adapter/head_config.json", &predict),
        ("data.csv", &["evaluate", "--model", "model", "--adapter", "adapter", "--data", data]),
        ("texts.txt", &["predict", "--model", "model", "--adapter", "adapter", "--input", "texts.txt"]),
        ("config.json", &["config", "./config.json"]),
    ];
    place.write("config.json", "{}");
    for (file, arguments) in cases {
        let path = place.path(file);
        let before = fs::read(&path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        fs::remove_file(&path).unwrap();
        if !arguments.contains(&"config") {
            fs::create_dir(&path).unwrap();
            fails(&place, 2, arguments, &[name, "a directory"]);
            fs::remove_dir(&path).unwrap();
        }
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        fails(&place, 2, arguments, &[name, "a pipe"]);
        fs::remove_file(&path).unwrap();
        fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
        fails(&place, 2, arguments, &[name]);
        fs::remove_file(&path).unwrap();
        fs::write(&path, before).unwrap();
    }
}

#[test]
fn a_head_of_another_kind_stops_only_who_asks_for_it() {
    let (place, _, adapter) = place();
    let data = place.data("data.csv", 12);
    let data = data.to_str().unwrap();
    copy(&adapter, &place.path("language"));
    make_unknown_head(&place.path("language"));
    let both = ["--adapter", "language=language", "--adapter", "task=adapter", "--setup"];
    for (setup, extra) in [("Stack(language, task)", &[][..]), ("Average(language, task)", &["--head", "adapter"])] {
        let predict = [&["predict", "--model", "model", "--text", "good"][..], &both, &[setup], extra].concat();
        let (code, out, err) = place.run(&predict);
        assert_eq!(code, 0, "{setup}: {err}");
        assert!(out.contains("pos") || out.contains("neg"), "{out}");
        assert!(err.contains("image_classification"), "it is said that the head is left aside: {err}");
        let evaluate = [&["evaluate", "--model", "model", "--data", data][..], &both, &[setup], extra].concat();
        assert_eq!(place.run(&evaluate).0, 0, "{setup}");
    }
    // The branches of a Parallel have a head each, and an adapter alone its own.
    for arguments in [
        [&["predict", "--model", "model", "--text", "good"][..], &both, &["Parallel(language, task)"]].concat(),
        ["predict", "--model", "model", "--text", "good", "--adapter", "language"].to_vec(),
    ] {
        fails(&place, 2, &arguments, &["image_classification"]);
    }

    let (code, _, err) = place.run(["merge", "adapter", "language", "--output", "merged"]);
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("warning:") && err.contains("image_classification"), "{err}");
    assert!(!place.path("merged/head_config.json").exists());

    let train = ["train", "--model", "model", "--data", data, "--epochs", "1", "--output", "stacked", "--name", "task"];
    let arguments = [&train[..], &["--adapter", "language=language", "--setup", "Stack(language, task)"]].concat();
    let (code, _, err) = place.run(&arguments);
    assert_eq!(code, 0, "{err}");
}

#[test]
fn a_damaged_head_is_not_passed_over_in_favor_of_another() {
    let (place, _, adapter) = place();
    copy(&adapter, &place.path("damaged"));
    fs::write(place.path("damaged/model_head.safetensors"), "nothing").unwrap();
    let predict = ["predict", "--model", "model", "--text", "good", "--adapter", "a=damaged", "--adapter", "b=adapter"];
    fails(&place, 2, &[&predict[..], &["--setup", "Average(a, b)"]].concat(), &["model_head.safetensors"]);
}

#[test]
fn folders_of_other_kinds_are_named_in_every_command() {
    let (place, _, _) = place();
    let data = place.data("data.csv", 12);
    let data = data.to_str().unwrap();
    fs::create_dir(place.path("peft")).unwrap();
    place.write("peft/adapter_config.json", r#"{"peft_type": "LORA", "r": 4, "lora_alpha": 8}"#);
    place.write("peft/adapter_model.safetensors", "");
    let train =
        ["train", "--model", "model", "--data", data, "--output", "out", "--setup", "Stack(x, task)", "--name", "task"];
    let peft: [&[&str]; 4] = [
        &["predict", "--model", "model", "--adapter", "peft", "--text", "good"],
        &["evaluate", "--model", "model", "--adapter", "peft", "--data", data],
        &["inspect", "--model", "model", "--adapter", "peft"],
        &[&train[..], &["--adapter", "x=peft"]].concat(),
    ];
    for arguments in peft {
        fails(&place, 2, arguments, &["adapter_model.safetensors", "too few for a safetensors file"]);
    }
    let merge = ["merge", "peft", "adapter", "--output", "merged"];
    fails(&place, 2, &merge, &["a LoRA adapter of PEFT", "are read for a model"]);
    fails(&place, 2, &["config", "peft/adapter_config.json"], &["a LoRA adapter of PEFT"]);
    fails(
        &place,
        2,
        &["predict", "--model", "model", "--adapter", "model", "--text", "x"],
        &["a whole Hugging Face model"],
    );
    fails(
        &place,
        2,
        &["predict", "--model", "adapter", "--adapter", "adapter", "--text", "x"],
        &["an AdapterHub adapter"],
    );
    fails(&place, 2, &["inspect", "--model", "peft"], &["a LoRA adapter of PEFT"]);
    let head = ["predict", "--model", "model", "--adapter", "adapter", "--head", "model", "--text", "x"];
    fails(&place, 2, &head, &["a whole Hugging Face model"]);
}

#[test]
fn a_mismatch_is_told_in_a_few_lines() {
    let place = Workplace::new();
    let deep = place.model("deep", 12);
    let adapter = place.adapter(&deep, "double_seq_bn[reduction_factor=4]");
    let path = adapter.join("adapter_config.json");
    let mut config = json_of(&fs::read_to_string(&path).unwrap());
    config["config"]["reduction_factor"] = json!(2);
    fs::write(&path, config.to_string()).unwrap();
    let (code, _, err) = place.run(["predict", "--model", "deep", "--adapter", "adapter", "--text", "good"]);
    assert_eq!(code, 2, "{err}");
    assert!(err.lines().count() < 20 && err.contains("64 more"), "{err}");
}
