//! Several adapters at work together: stacked, routed, merged, and trained beside others.

use crate::common::{Workplace, json_of};
use burn_adapters_checkpoint::{SaveOptions, load_adapter, load_head, save_fusion, save_head, save_setup};
use burn_adapters_composition::{Composition, HeadSetup};
use burn_adapters_fusion::FusionConfig;
use burn_adapters_model::AdapterBank;
use burn_adapters_transformers::ModelConfig;
use serde_json::Value;

const TEXTS: [&str; 5] = ["the film is good", "story and dull", "a very poor plot .", "fine", "the plot was not great"];

/// A model, and adapters of four methods that were trained on it with steps large enough to tell them apart.
fn place(adapters: &[(&str, &str)]) -> Workplace {
    let place = Workplace::new();
    place.model("model", 2);
    place.data("data.csv", 24);
    for (seed, (name, config)) in adapters.iter().enumerate() {
        train(&place, name, config, seed, &[]);
    }
    place
}

fn train(place: &Workplace, name: &str, config: &str, seed: usize, extra: &[&str]) {
    let seed = seed.to_string();
    let mut arguments = vec!["train", "--model", "model", "--data", "data.csv", "--epochs", "2", "--batch-size", "8"];
    arguments.extend(["--learning-rate", "0.05", "--device", "cpu", "--quiet"]);
    arguments.extend(["--name", name, "--config", config, "--output", name, "--seed", &seed]);
    arguments.extend(extra);
    let (code, _, err) = place.run(arguments);
    assert_eq!(code, 0, "{err}");
}

/// The bytes of an adapter's or head's weights.
fn weights(place: &Workplace, file: &str) -> Vec<u8> {
    std::fs::read(place.path(file)).unwrap()
}

/// Runs a command on the model, which must succeed.
fn run(place: &Workplace, command: &str, extra: &[&str]) -> String {
    let (code, out, err) = place.run([&[command, "--model", "model", "--device", "cpu"], extra].concat());
    assert_eq!(code, 0, "{err}");
    out
}

/// Runs a prediction that must fail as the user's mistake.
fn refused(place: &Workplace, extra: &[&str]) -> String {
    let (code, out, err) =
        place.run([&["predict", "--model", "model", "--device", "cpu", "--text", "a film", "fine"], extra].concat());
    assert_eq!((code, out.as_str()), (2, ""), "{extra:?}: {err}");
    err
}

fn predict(place: &Workplace, extra: &[&str]) -> Vec<Value> {
    let out = run(place, "predict", &[&["--json", "--text"], TEXTS.as_slice(), extra].concat());
    out.lines().map(json_of).collect()
}

fn logits(value: &Value) -> Vec<f64> {
    value["logits"].as_array().unwrap().iter().map(|logit| logit.as_f64().unwrap()).collect()
}

fn assert_close(a: &Value, b: &Value) {
    let (a, b) = (logits(a), logits(b));
    assert!(!a.is_empty() && a.len() == b.len(), "{a:?} {b:?}");
    assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-5), "{a:?} {b:?}");
}

fn differ(a: &Value, b: &Value) -> bool {
    logits(a).iter().zip(logits(b)).any(|(a, b)| (a - b).abs() > 1e-3)
}

#[test]
fn a_routed_prediction_equals_each_row_predicted_alone() {
    let place = place(&[
        ("a", "seq_bn[reduction_factor=2]"),
        ("b", "lora[r=2]"),
        ("c", "prefix_tuning[prefix_length=3,flat=True]"),
        ("d", "ia3"),
    ]);
    let adapters = ["--adapter", "a", "--adapter", "b", "--adapter", "c", "--adapter", "other=d"];
    let names = ["c", "a", "none", "other", "b"];
    let mut csv = String::from("kind,text\n");
    for (text, name) in TEXTS.iter().zip(names) {
        csv.push_str(&format!("{name},{text}\n"));
    }
    csv.push_str(",the film\n");
    place.write("mixed.csv", &csv);
    let routed = ["--route", "kind", "--input", "mixed.csv"];
    let out = run(&place, "predict", &[adapters.as_slice(), &routed, &["--json"]].concat());
    let lines: Vec<Value> = out.lines().map(json_of).collect();
    assert_eq!(lines.len(), 6);
    for (index, name) in names.iter().enumerate() {
        assert_eq!(lines[index]["text"], TEXTS[index]);
        if *name == "none" {
            continue;
        }
        assert_eq!(lines[index]["adapter"], *name);
        let folder = if *name == "other" { "d" } else { name };
        let alone = run(&place, "predict", &["--adapter", folder, "--text", TEXTS[index], "--json"]);
        let alone = json_of(&alone);
        assert_close(&lines[index], &alone);
        assert_eq!(lines[index]["label"], alone["label"]);
    }
    for index in [2, 5] {
        assert!(lines[index]["adapter"].is_null() && lines[index]["label"].is_null(), "{}", lines[index]);
        assert_eq!(lines[index]["logits"].as_array().unwrap().len(), 0);
    }

    // Small batches, and rows in the setup's text, give the same.
    let small = run(&place, "predict", &[adapters.as_slice(), &routed, &["--json", "--batch-size", "2"]].concat());
    for (a, b) in small.lines().map(json_of).zip(&lines).filter(|(_, b)| !b["adapter"].is_null()) {
        assert_close(&a, b);
    }
    let written = predict(&place, &[adapters.as_slice(), &["--setup", "Route([c, a, none, other, b])"]].concat());
    for (a, b) in written.iter().zip(&lines).filter(|(_, b)| !b["adapter"].is_null()) {
        assert_close(a, b);
        assert_eq!(a["adapter"], b["adapter"]);
    }
    let table = run(&place, "predict", &[adapters.as_slice(), &routed].concat());
    assert!(table.starts_with("adapter") && table.contains("none") && table.contains(TEXTS[0]), "{table}");

    // One head for all rows asks about those without an adapter too.
    let all = run(&place, "predict", &[adapters.as_slice(), &routed, &["--json", "--head", "a"]].concat());
    let all: Vec<Value> = all.lines().map(json_of).collect();
    assert_close(&all[1], &lines[1]);
    assert!(all[2]["label"].is_string() && all[2]["adapter"].is_null(), "{}", all[2]);

    place
        .write("unknown.jsonl", "{\"text\": \"a film\", \"kind\": \"a\"}\n{\"text\": \"fine\", \"kind\": \"zebra\"}\n");
    let (code, out, err) = place.run(
        [&["predict", "--model", "model"], adapters.as_slice(), &["--route", "kind", "--input", "unknown.jsonl"]]
            .concat(),
    );
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("unknown.jsonl, line 2") && err.contains("`zebra`") && err.contains("--adapter"), "{err}");
}

#[test]
fn parallel_and_parts_of_a_batch_equal_each_adapter_alone() {
    let place = place(&[("a", "seq_bn[reduction_factor=2]"), ("b", "lora[r=2]")]);
    let alone = [predict(&place, &["--adapter", "a"]), predict(&place, &["--adapter", "b"])];
    let both = ["--adapter", "a", "--adapter", "b", "--setup"];
    let parallel = predict(&place, &[both.as_slice(), &["Parallel(a, b)"]].concat());
    for (row, line) in parallel.iter().enumerate() {
        assert_close(&line["heads"]["a"], &alone[0][row]);
        assert_close(&line["heads"]["b"], &alone[1][row]);
        assert!(line["heads"]["a"]["label"].is_string() && line["text"] == TEXTS[row]);
        assert_eq!(line.as_object().unwrap().len(), 2);
    }
    // Two branches with one head are told apart.
    let twice = predict(&place, &[both.as_slice(), &["Parallel(Stack(b, a), a)"]].concat());
    assert_close(&twice[0]["heads"]["a:2"], &alone[0][0]);
    assert!(differ(&twice[0]["heads"]["a"], &alone[0][0]));
    // The batch is the whole input, in its order, whatever the lengths and the batch size.
    let split = ["BatchSplit(b, a, batch_sizes=[2, 3])", "--batch-size", "1"];
    let split = predict(&place, &[both.as_slice(), &split].concat());
    for (row, line) in split.iter().enumerate() {
        let (name, index) = if row < 2 { ("b", 1) } else { ("a", 0) };
        assert_close(&line["heads"][name], &alone[index][row]);
        assert_eq!(line["heads"].as_object().unwrap().len(), 1);
    }
    let table = run(&place, "predict", &[both.as_slice(), &["Parallel(a, b)", "--text", "a film"]].concat());
    assert!(table.starts_with("head") && table.lines().count() == 3, "{table}");

    // A stack has the head of its last; the one that is given takes its place.
    let stack = predict(&place, &[both.as_slice(), &["Stack(a, b)"]].concat());
    assert!(differ(&stack[0], &alone[1][0]));
    let headed = predict(&place, &[both.as_slice(), &["Stack(a, b)", "--head", "a"]].concat());
    assert!(differ(&stack[0], &headed[0]));
    let one = predict(&place, &["--adapter", "x=a", "--setup", "Stack(x)"]);
    assert_close(&one[0], &alone[0][0]);

    let evaluated =
        run(&place, "evaluate", &[both.as_slice(), &["Stack(a, b)", "--data", "data.csv", "--json"]].concat());
    assert_eq!(json_of(&evaluated)["examples"], 24);
}

#[test]
fn setups_that_cannot_be_are_mistakes_that_say_where() {
    let place = place(&[("a", "seq_bn[reduction_factor=2]"), ("b", "lora[r=2]")]);
    let both = ["--adapter", "a", "--adapter", "b"];
    for (setup, told) in [
        ("Stack(a, Fuze(b))", "did you mean `Fuse`?"),
        ("Stack(a, b", "^"),
        ("Fuse(a, Parallel(a, b))", "`Parallel` is not allowed in `Fuse`"),
        ("Stack(a, zebra)", "no adapter named `zebra`"),
        ("Split(a, b, splits=[2, 3])", "Split cannot contain the adapter `b`"),
        ("BatchSplit(a, b, batch_sizes=[2, 3])", "`batch_sizes` sums to 5, but the number of rows is 2"),
        ("Route([a, b, none])", "3 rows"),
        ("Stack(a, Route())", "--route"),
        ("Average(a, a, weights=[1])", "`weights` has 1 item"),
        ("Fuse(a, a)", "--fusion"),
    ] {
        let err = refused(&place, &[both.as_slice(), &["--setup", setup]].concat());
        assert!(err.contains(told), "{setup}: {err}");
        assert!(!err.contains("panicked"), "{err}");
    }
    let err = refused(&place, &[both.as_slice(), &["--setup", "Stack(a, zebra)"]].concat());
    assert!(err.contains("^^^^^") && err.contains("NAME=DIR"), "{err}");
    let split = ["--setup", "Split(a, a, splits=[2, 30])", "--head", "a"];
    let err = refused(&place, &[both.as_slice(), &split].concat());
    assert!(err.contains("`splits` sums to 32") && err.contains("^"), "{err}");
    let err = refused(&place, &both);
    assert!(err.contains("2 adapters") && err.contains("--setup"), "{err}");
    let err = refused(&place, &["--adapter", "a", "--adapter", "a", "--setup", "Stack(a)"]);
    assert!(err.contains("`a`") && err.contains("NAME=DIR"), "{err}");
    let err = refused(&place, &["--adapter", "a", "--adapter", "x=a", "--setup", "Average(a, x)"]);
    assert!(err.contains("--head"), "{err}");
    let err = refused(&place, &["--adapter", "a", "--route", "kind", "--setup", "Stack(a)"]);
    assert!(err.contains("--input"), "{err}");
}

#[test]
fn merging_equals_the_average_at_work_and_needs_no_model() {
    let place = place(&[("a", "lora[r=2]"), ("b", "lora[r=2]"), ("c", "seq_bn[reduction_factor=2]")]);
    let merge = |extra: &[&str]| place.run([&["merge", "a", "b", "--output", "merged", "--overwrite"], extra].concat());
    let (code, out, err) = merge(&["--weights", "0.3,0.7", "--name", "both", "--json"]);
    assert_eq!(code, 0, "{err}");
    let told = json_of(&out);
    assert_eq!((told["name"].as_str(), told["strategy"].as_str()), (Some("both"), Some("linear")));
    assert_eq!((told["inputs"][1]["name"].as_str(), told["inputs"][1]["weight"].as_f64()), (Some("b"), Some(0.7)));
    assert!(told["head"]["parameters"].as_u64().unwrap() > 0 && place.path("merged/model_head.safetensors").exists());
    let alone = predict(&place, &["--adapter", "a"]);
    // A sum of products is what several adapters at work give, and what the decomposition keeps if its rank is high
    // enough.
    let (code, _, err) = merge(&["--weights", "0.3,0.7", "--strategy", "lora_delta_w_svd", "--rank", "4"]);
    assert_eq!(code, 0, "{err}");
    let merged = predict(&place, &["--adapter", "merged"]);
    let average =
        ["--adapter", "a", "--adapter", "b", "--setup", "Average(a, b, weights=[0.3, 0.7])", "--head", "merged"];
    for ((merged, average), alone) in merged.iter().zip(predict(&place, &average)).zip(&alone) {
        assert_close(merged, &average);
        assert!(differ(merged, alone));
    }

    assert_eq!(merge(&["--weights", "1,0"]).0, 0);
    for (merged, alone) in predict(&place, &["--adapter", "merged"]).iter().zip(&alone) {
        assert_close(merged, alone);
    }
    for strategy in ["lora_linear_only_negate_b", "lora_delta_w_svd", "ties", "dare_linear", "dare_ties"] {
        let (code, out, err) = merge(&["--weights", "1,-0.5", "--no-normalize", "--strategy", strategy]);
        assert_eq!(code, 0, "{err}");
        assert!(out.contains(strategy) && out.contains("with the average of their heads"), "{out}");
        assert_eq!(predict(&place, &["--adapter", "merged"]).len(), TEXTS.len());
    }
    // With all singular values the sum of the updates is what it was.
    assert_eq!(merge(&["--weights", "1,0", "--strategy", "lora_delta_w_svd", "--rank", "2"]).0, 0);
    for (merged, alone) in predict(&place, &["--adapter", "merged"]).iter().zip(&alone) {
        let (merged, alone) = (logits(merged), logits(alone));
        assert!(merged.iter().zip(&alone).all(|(a, b)| (a - b).abs() < 1e-4), "{merged:?} {alone:?}");
    }

    for (extra, told) in [
        (vec!["--weights", "1"], "--weights 0.3,0.7"),
        (vec!["--weights", "1,-1"], "--no-normalize"),
        (vec!["--strategy", "ties", "--density", "0"], "density"),
        (vec!["--strategy", "lora_delta_w_svd", "--rank", "900"], "--rank"),
        (vec!["c"], "configured differently"),
        (vec!["nowhere"], "adapter_config.json"),
    ] {
        let (code, out, err) = merge(&extra);
        assert_eq!((code, out.as_str()), (2, ""), "{extra:?}: {err}");
        assert!(err.contains(told), "{extra:?}: {err}");
    }
}

#[test]
fn an_adapter_is_trained_beside_frozen_ones() {
    let place = place(&[("language", "lora[r=2]")]);
    let beside = ["--setup", "Stack(language, task)", "--adapter", "language"];
    train(&place, "task", "seq_bn[reduction_factor=2]", 5, &[beside.as_slice(), &["--eval", "data.csv"]].concat());
    train(&place, "again", "seq_bn[reduction_factor=2]", 5, &["--setup", "Stack(x, again)", "--adapter", "x=language"]);
    train(&place, "alone", "seq_bn[reduction_factor=2]", 5, &[]);
    let file = "adapter.safetensors";
    assert!(!place.path("task/language").exists());
    // Names matter neither to the training nor to the values; what stands before the adapter does.
    let values = |name: &str| {
        let bytes = weights(&place, &format!("{name}/{file}"));
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let mut tensors: Vec<(String, Vec<u8>)> =
            tensors.iter().map(|(key, view)| (key.replace(name, "*"), view.data().to_vec())).collect();
        tensors.sort();
        tensors
    };
    assert_eq!(values("task"), values("again"));
    assert_ne!(values("task"), values("alone"));

    let evaluate = ["--data", "data.csv", "--json", "--adapter", "language", "--adapter", "task"];
    let out = run(&place, "evaluate", &[evaluate.as_slice(), &["--setup", "Stack(language, task)"]].concat());
    let history = json_of(&std::fs::read_to_string(place.path("task/history.json")).unwrap());
    let trained = history["evaluations"].as_array().unwrap().last().unwrap()["metrics"]["loss"].as_f64().unwrap();
    assert!((json_of(&out)["loss"].as_f64().unwrap() - trained).abs() < 1e-5, "{out} {history}");

    for (setup, told) in [
        ("Stack(zebra, task)", "no adapter named `zebra`"),
        ("Stack(language, other)", "`task`"),
        ("Stack(language)", "`task`"),
        ("Stack(task, language)", "`task`"),
        ("Parallel(language, task)", "`task`"),
        ("BatchSplit(language, task, batch_sizes=[1, 2])", "`task`"),
        ("Stack(language, task", "^"),
    ] {
        let arguments = ["train", "--model", "model", "--data", "data.csv", "--name", "task", "--output", "out"];
        let (code, out, err) = place.run([arguments.as_slice(), &["--setup", setup, "--adapter", "language"]].concat());
        assert_eq!((code, out.as_str()), (2, ""), "{setup}: {err}");
        assert!(err.contains(told) && !err.contains("training"), "{setup}: {err}");
        assert!(!place.path("out").exists());
    }
}

#[test]
fn a_whole_setup_is_read_from_one_folder() {
    let place = place(&[("a", "seq_bn[reduction_factor=2]"), ("b", "lora[r=2]")]);
    std::fs::create_dir(place.path("whole")).unwrap();
    for name in ["a", "b"] {
        std::fs::rename(place.path(name), place.path("whole").join(name)).unwrap();
    }
    let single = |name: &str| serde_json::json!({"type": "single", "children": [name]});
    let write = |kind: &str, heads: Value| {
        let setup = serde_json::json!({"adapter_setup": {"type": kind, "children": [single("a"), single("b")]},
            "head_setup": heads, "version": "adapters.1.3.0"});
        place.write("whole/adapter_setup.json", &setup.to_string());
    };
    let parts = ["--adapter", "whole/a", "--adapter", "whole/b", "--setup"];
    write("Stack", "a".into());
    let whole = predict(&place, &["--setup", "whole"]);
    for (whole, parts) in
        whole.iter().zip(predict(&place, &[parts.as_slice(), &["Stack(a, b)", "--head", "whole/a"]].concat()))
    {
        assert_close(whole, &parts);
    }
    write("Parallel", serde_json::json!(["a", "b"]));
    let whole = predict(&place, &["--setup", "whole"]);
    for (whole, parts) in whole.iter().zip(predict(&place, &[parts.as_slice(), &["Parallel(a, b)"]].concat())) {
        assert_close(&whole["heads"]["b"], &parts["heads"]["b"]);
    }
    write("Parallel", Value::Null);
    assert!(predict(&place, &["--setup", "whole"])[0]["heads"]["a"].is_object());

    write("Pile", Value::Null);
    let err = refused(&place, &["--setup", "whole"]);
    assert!(err.contains("adapter_setup.json") && err.contains("Pile"), "{err}");
    let err = refused(&place, &["--setup", "model"]);
    assert!(err.contains("adapter_setup.json"), "{err}");
}

#[test]
fn a_fusion_is_read_beside_its_adapters_or_with_a_whole_setup() {
    let place = place(&[("a", "seq_bn[reduction_factor=2]"), ("b", "seq_bn[reduction_factor=4]")]);
    // No head is beside the adapters: the fusion's folder brings one.
    let config = ModelConfig::from_dir(&place.path("model")).unwrap();
    let mut bank = AdapterBank::new(config.spec(), &burn::tensor::Device::default());
    for name in ["a", "b"] {
        load_adapter(place.path(name), &mut bank, None).unwrap();
    }
    load_head(place.path("a"), &mut bank, Some("joint")).unwrap();
    bank.add_fusion("a,b", &["a", "b"], &FusionConfig::dynamic(), 3).unwrap();
    let (options, dir) = (SaveOptions::default(), place.path("fused"));
    save_fusion(&dir, &bank, "a,b", &options).unwrap();
    save_head(&dir, &bank, "joint", &options).unwrap();
    let (fuse, heads) = (Composition::fuse(["a", "b"]), HeadSetup::from("joint"));
    save_setup(place.path("whole"), &bank, &fuse, Some(&heads), &options).unwrap();

    let parts = ["--adapter", "a", "--adapter", "b", "--setup", "Fuse(a, b)"];
    let fused = predict(&place, &[parts.as_slice(), &["--fusion", "fused"]].concat());
    let alone = predict(&place, &["--adapter", "a"]);
    assert!(differ(&fused[0], &alone[0]));
    let named = ["--adapter", "a", "--adapter", "b", "--setup", "Fuse(a, b, name=x)", "--fusion", "x=fused"];
    let (whole, named) = (predict(&place, &["--setup", "whole"]), predict(&place, &named));
    for (row, fused) in fused.iter().enumerate() {
        assert_close(fused, &whole[row]);
        assert_close(fused, &named[row]);
    }
    // Another head that is given decides.
    let other = predict(&place, &[parts.as_slice(), &["--fusion", "fused", "--head", "b"]].concat());
    assert!(differ(&fused[0], &other[0]));
    let evaluated = run(&place, "evaluate", &["--setup", "whole", "--data", "data.csv", "--json"]);
    assert_eq!(json_of(&evaluated)["examples"], 24);

    let err = refused(&place, &["--adapter", "a", "--setup", "Stack(a)", "--fusion", "fused"]);
    assert!(err.contains("`b`"), "{err}");
    let err = refused(&place, &[parts.as_slice(), &["--fusion", "a"]].concat());
    assert!(err.contains("adapter_fusion_config.json"), "{err}");
}
