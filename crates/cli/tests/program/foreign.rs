//! Files of other programs from outside: a model of llama.cpp, an adapter of PEFT.

use std::fs;
use std::path::PathBuf;

use crate::common::{Workplace, fails, json_of, succeeds};

fn golden(name: &str) -> PathBuf {
    burn_adapters_goldens::folder().join(name)
}

#[test]
fn a_gguf_file_is_a_model_in_every_command() {
    let place = Workplace::new();
    fs::copy(golden("gguf/llama.gguf"), place.path("model.gguf")).unwrap();
    let score = succeeds(&place, &["score", "--model", "model.gguf", "--text", "The sea is blue.", "--json"]);
    assert!(score["perplexity"].as_f64().unwrap() > 1.0);
    let generate = ["generate", "--model", "model.gguf", "--greedy", "--ignore-eos", "--max-new-tokens", "5", "--json"];
    let found = succeeds(&place, &[&generate[..], &["--text", "The sea"]].concat());
    assert_eq!(found["ids"].as_array().unwrap().len(), 5);
    let inspected = succeeds(&place, &["inspect", "--model", "model.gguf", "--config", "lora", "--json"]);
    assert!(inspected["trainable"].as_u64().unwrap() > 0);

    fs::write(place.path("data.txt"), "The sea is blue.\nThe sea is two spaces.\n".repeat(4)).unwrap();
    let train =
        ["train", "--model", "model.gguf", "--task", "causal-lm", "--data", "data.txt", "--learning-rate", "0.02"];
    let options = ["--config", "lora[r=2]", "--epochs", "2", "--output", "out", "--name", "a", "--json", "--quiet"];
    succeeds(&place, &[&train[..], &options].concat());
    let adapted = ["--model", "model.gguf", "--adapter", "out", "--text", "The sea is blue.", "--json"];
    let after = succeeds(&place, &[&["score"][..], &adapted].concat());
    assert_ne!(after["log_likelihood"], score["log_likelihood"]);

    let merge = ["merge-into", "--model", "model.gguf", "--adapter", "out", "--json"];
    fails(&place, &[&merge[..], &["--output", "merged"]].concat(), "give the model as a Hugging Face folder");
    fails(&place, &[&merge[..], &["--output", "model.gguf", "--overwrite"]].concat(), "is the file of --model");
    for format in ["f32", "bf16", "q8_0"] {
        let merged = format!("{format}.gguf");
        let report = succeeds(&place, &[&merge[..], &["--output", &merged, "--format", format]].concat());
        let check = |key: &str| report["check"][key].as_f64().unwrap();
        assert!(check("largest_difference") < check("effect"), "{report}");
        let again = succeeds(&place, &["score", "--model", &merged, "--text", "The sea is blue.", "--json"]);
        let difference = again["log_likelihood"].as_f64().unwrap() - after["log_likelihood"].as_f64().unwrap();
        assert!(difference.abs() < if format == "f32" { 1e-4 } else { 0.2 }, "{format}: {difference}");
    }
    fails(&place, &[&merge[..], &["--output", "f32.gguf"]].concat(), "already exists");
    // What is smaller than the rounding would be lost.
    let small = ["--config", "lora[r=2]", "--epochs", "1", "--output", "small", "--name", "b", "--json", "--quiet"];
    let train = [&train[..train.len() - 1], &["0.000001"], &small].concat();
    succeeds(&place, &train);
    let merge =
        ["merge-into", "--model", "model.gguf", "--adapter", "small", "--output", "lost.gguf", "--format", "q8_0"];
    let (code, _, stderr) = place.run(merge);
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("nothing was written") && stderr.contains("rounding hides the adapter"), "{stderr}");
    assert!(!place.path("lost.gguf").exists());
    let whole = fs::read(place.path("model.gguf")).unwrap();
    fs::write(place.path("cut.gguf"), &whole[..whole.len() / 2]).unwrap();
    fails(&place, &["score", "--model", "cut.gguf", "--text", "The sea"], "cut short");
    fs::write(place.path("other.gguf"), "not a model").unwrap();
    fails(&place, &["score", "--model", "other.gguf", "--text", "The sea"], "not a GGUF file");
}

/// GPT-2 generates, BERT classifies; adapters on both are written for llama.cpp, alone and merged.
#[test]
fn gguf_files_of_other_architectures_are_models_in_every_command() {
    let place = Workplace::new();
    fs::write(place.path("text.txt"), "The sea is blue.\nThe sea is two spaces.\n".repeat(4)).unwrap();
    let rows = "the sea is blue,yes\nthe tokenizer is a script,no\n".repeat(8);
    fs::write(place.path("labels.csv"), "text,label\n".to_owned() + &rows).unwrap();
    let lora = "lora[r=2,attn_matrices=['q','k','v'],output_lora=True]";
    for (model, task, data) in [("gpt2.gguf", "causal-lm", "text.txt"), ("bert.gguf", "classification", "labels.csv")] {
        fs::copy(golden("gguf").join(model), place.path(model)).unwrap();
        let out = format!("{task}-out");
        let train =
            ["train", "--model", model, "--task", task, "--data", data, "--learning-rate", "0.02", "--epochs", "2"];
        succeeds(
            &place,
            &[&train[..], &["--config", lora, "--output", &out, "--name", "a", "--json", "--quiet"]].concat(),
        );
        let exported = format!("{task}-gguf");
        let adapted = ["--model", model, "--adapter", &out, "--json"];
        succeeds(
            &place,
            &[&["export", "--to", "gguf", "--without-head", "--output", &exported][..], &adapted].concat(),
        );
        let merged = format!("merged-{model}");
        let report = succeeds(&place, &[&["merge-into", "--output", &merged][..], &adapted].concat());
        let check = |key: &str| report["check"][key].as_f64().unwrap();
        assert!(check("largest_difference") < check("effect"), "{report}");
    }
    let score = |arguments: &[&str]| {
        let score = ["score", "--text", "The sea is blue.", "--json"];
        succeeds(&place, &[&score[..], arguments].concat())["log_likelihood"].as_f64().unwrap()
    };
    let adapted = score(&["--model", "gpt2.gguf", "--adapter", "causal-lm-out"]);
    assert!((adapted - score(&["--model", "gpt2.gguf"])).abs() > 1e-2);
    for others in [
        ["--model", "gpt2.gguf", "--adapter", "causal-lm-gguf/adapter.gguf"].as_slice(),
        &["--model", "merged-gpt2.gguf"],
    ] {
        assert!((score(others) - adapted).abs() < 1e-4, "{others:?}");
    }
}

#[test]
fn the_blocks_of_a_gguf_file_are_kept() {
    let place = Workplace::new();
    fs::copy(golden("gguf/quantized.gguf"), place.path("model.gguf")).unwrap();
    let score = |model: &str, extra: &[&str]| {
        let arguments = ["score", "--model", model, "--device", "flex", "--text", "The sea is blue.", "--json"];
        let (code, stdout, stderr) = place.run([&arguments[..], extra].concat());
        assert_eq!(code, 0, "{stderr}");
        (json_of(&stdout)["log_likelihood"].as_f64().unwrap(), stderr)
    };
    // What the file has in blocks is kept in them without an option.
    let (kept, stderr) = score("model.gguf", &[]);
    assert!(stderr.contains("frozen weights:") && stderr.contains("in Q4_1 ("), "{stderr}");
    let (dense, stderr) = score("model.gguf", &["--quantize", "none"]);
    assert!(!stderr.contains("frozen weights"), "{stderr}");
    assert!((kept - dense).abs() < 1e-4, "{kept} {dense}");
    let (mapped, stderr) = score("model.gguf", &["--mmap"]);
    assert!(stderr.contains("MB in the mapped file"), "{stderr}");
    assert_eq!(mapped, kept);
    let mapped = |model: &str, extra: &[&str], reason: &str| {
        let arguments = ["score", "--model", model, "--device", "flex", "--text", "The sea is blue.", "--mmap"];
        fails(&place, &[&arguments[..], extra].concat(), reason);
    };
    mapped("model.gguf", &["--quantize", "none"], "mapped into memory for nothing");
    mapped(golden("families/llama/models/with_head").to_str().unwrap(), &[], "takes a model in a GGUF file");
    let both = ["score", "--model", "model.gguf", "--text", "The sea", "--bf16", "--quantize", "int8"];
    fails(&place, &both, "cannot be used with");
    fails(&place, &["score", "--model", "model.gguf", "--text", "The sea", "--quantize", "int3"], "int4");
}

#[test]
fn an_adapter_of_peft_is_an_adapter() {
    let place = Workplace::new();
    let model = golden("families/llama/models/with_head");
    let model = model.to_str().unwrap();
    let inspect = |adapter: &PathBuf| {
        let adapter = adapter.to_str().unwrap().to_owned();
        place.run(["inspect", "--model", model, "--adapter", &adapter, "--json"])
    };
    let (code, stdout, stderr) = inspect(&golden("peft/llama"));
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(json_of(&stdout)["config"], "lora[r=2,alpha=4]");
    let (code, stdout, stderr) = inspect(&golden("peft/update_bias"));
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("bias='update'"), "{stdout}");
    let (code, stdout, stderr) = inspect(&golden("peft/pissa"));
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert!(stderr.contains("changed base model"), "{stderr}");
}

#[test]
fn an_adapter_is_written_for_every_program_and_read_back() {
    let place = Workplace::new();
    fs::copy(golden("gguf/llama.gguf"), place.path("model.gguf")).unwrap();
    fs::write(place.path("data.txt"), "The sea is blue.\nThe sea is two spaces.\n".repeat(4)).unwrap();
    let config = "lora[r=2,attn_matrices=['q','k','v','o'],gate_lora=True,intermediate_lora=True,output_lora=True]";
    let train =
        ["train", "--model", "model.gguf", "--task", "causal-lm", "--data", "data.txt", "--learning-rate", "0.01"];
    let options = ["--epochs", "1", "--output", "out", "--name", "a", "--json", "--quiet", "--config", config];
    succeeds(&place, &[&train[..], &options].concat());
    let score = |adapter: &[&str]| {
        let score = ["score", "--model", "model.gguf", "--text", "The sea is blue.", "--json"];
        succeeds(&place, &[&score[..], adapter].concat())["log_likelihood"].as_f64().unwrap()
    };
    let (plain, adapted) = (score(&[]), score(&["--adapter", "out"]));
    assert!((plain - adapted).abs() > 1e-2, "{plain} {adapted}");
    let mut last = "out".to_owned();
    for (format, file) in [("peft", ""), ("gguf", "/adapter.gguf"), ("mlx", ""), ("adapterhub", "")] {
        let export =
            ["export", "--model", "model.gguf", "--adapter", &last, "--to", format, "--output", format, "--json"];
        let report = succeeds(&place, &export);
        assert_eq!(report["head"], false);
        let card = fs::read_to_string(place.path(format).join("README.md")).unwrap();
        let tag = ["library_name: peft", "- gguf", "library_name: mlx", "- adapter-transformers\n- llama"];
        assert!(tag.iter().filter(|tag| card.contains(**tag)).count() == 1, "{format}: {card}");
        last = format!("{format}{file}");
        let found = score(&["--adapter", &last]);
        assert!((found - adapted).abs() < 1e-5, "{format}: {found}, {adapted}");
    }
    let modelfile = fs::read_to_string(place.path("gguf/Modelfile")).unwrap();
    assert!(modelfile.starts_with("FROM /") && modelfile.contains("\nADAPTER ./adapter.gguf\n"), "{modelfile}");
    let again = ["export", "--model", "model.gguf", "--adapter", "out", "--to", "peft", "--output", "peft"];
    fails(&place, &again, "--overwrite");
    fails(
        &place,
        &["score", "--model", "model.gguf", "--text", "The sea", "--adapter", "model.gguf"],
        "give it as the model",
    );

    let bottleneck =
        ["--epochs", "1", "--output", "bottleneck", "--name", "b", "--json", "--quiet", "--config", "seq_bn"];
    succeeds(&place, &[&train[..], &bottleneck].concat());
    for (format, part) in [
        ("gguf", "expected LoRA alone; merge it into its model"),
        ("peft", "PEFT has LoRA"),
        ("mlx", "expected LoRA alone"),
    ] {
        let export = ["export", "--model", "model.gguf", "--adapter", "bottleneck", "--to", format, "--output", "no"];
        fails(&place, &export, part);
    }
}
