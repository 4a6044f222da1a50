//! Several adapters trained at once, fusions, and the scores of several heads.

use crate::common::{Workplace, json_of};
use serde_json::Value;

/// A model without dropout, and data.
fn place() -> Workplace {
    let place = Workplace::new();
    place.model("model", 2);
    let config = std::fs::read_to_string(place.path("model/config.json")).unwrap();
    place.write("model/config.json", &config.replace("_prob\":0.1", "_prob\":0.0"));
    place.data("data.csv", 24);
    place
}

const COMMON: [&str; 9] =
    ["train", "--model", "model", "--device", "cpu", "--batch-size", "8", "--learning-rate", "0.05"];

/// Trains, which must succeed, and gives what is printed for machines.
fn train(place: &Workplace, extra: &[&str]) -> Value {
    let (code, out, err) = place.run([&COMMON, ["--epochs", "2", "--json"].as_slice(), extra].concat());
    assert_eq!(code, 0, "{err}");
    json_of(&out)
}

fn trained(place: &Workplace, name: &str, config: &str) {
    train(place, &["--data", "data.csv", "--name", name, "--config", config, "--output", name, "--seed", "5"]);
}

fn refused(place: &Workplace, command: &[&str]) -> String {
    let (code, out, err) = place.run(command);
    assert_eq!((code, out.as_str()), (2, ""), "{command:?}: {err}");
    assert!(!err.contains("panicked"), "{err}");
    err
}

fn run(place: &Workplace, command: &str, extra: &[&str]) -> String {
    let (code, out, err) = place.run([&[command, "--model", "model", "--device", "cpu"], extra].concat());
    assert_eq!(code, 0, "{err}");
    out
}

fn evaluate(place: &Workplace, extra: &[&str]) -> Value {
    json_of(&run(place, "evaluate", &[extra, &["--json"]].concat()))
}

fn close(a: &Value, b: &Value) -> bool {
    (a.as_f64().unwrap() - b.as_f64().unwrap()).abs() < 1e-5
}

fn last_evaluation(place: &Workplace, history: &str) -> Value {
    let history = json_of(&std::fs::read_to_string(place.path(history)).unwrap());
    history["evaluations"].as_array().unwrap().last().unwrap().clone()
}

#[test]
fn branches_in_parallel_are_trained_in_one_go_each_with_its_own_head() {
    let place = place();
    let data = ["--data", "data.csv", "--max-gradient-norm", "0"];
    let told = train(
        &place,
        &[
            data.as_slice(),
            &["--setup", "Parallel(a, b)", "--config", "seq_bn[reduction_factor=2]", "--config", "b=lora[r=2]"],
            &["--eval", "data.csv", "--output", "both", "--seed", "5"],
        ]
        .concat(),
    );
    assert_eq!(told["adapters"]["a"]["loaded"], false);
    assert_eq!(told["adapters"]["b"]["adapter_parameters"], 2 * 2 * 2 * (16 + 16));
    for file in ["a/adapter.safetensors", "b/model_head.safetensors", "adapter_setup.json", "history.json", "curve.svg"]
    {
        assert!(place.path("both").join(file).is_file(), "{file}");
    }
    assert!(!place.path("both/checkpoints").exists());

    // The first is what it would be alone, with the same seed.
    let alone = ["--name", "a", "--config", "seq_bn[reduction_factor=2]", "--output", "a", "--seed", "5"];
    train(&place, &[data.as_slice(), &alone].concat());
    let alone = evaluate(&place, &["--data", "data.csv", "--adapter", "a"]);
    let both = evaluate(&place, &["--data", "data.csv", "--setup", "both"]);
    assert!(close(&both["heads"]["a"]["loss"], &alone["loss"]), "{both} {alone}");
    let last = last_evaluation(&place, "both/history.json");
    for head in ["a", "b"] {
        assert!(close(&both["heads"][head]["loss"], &last["heads"][head]["loss"]), "{both} {last}");
        assert_eq!(both["heads"][head]["accuracy"], last["heads"][head]["accuracy"]);
    }
    assert!(both.get("overall").is_none(), "{both}");

    // One that is there goes on with its head, beside a new one and a frozen one.
    let folders = ["--adapter", "both/a", "--adapter", "language=both/b"];
    let on = ["--setup", "Parallel(a, Stack(language, c))", "--config", "seq_bn[reduction_factor=2]", "--output", "on"];
    let told = train(&place, &[data.as_slice(), &folders, &on].concat());
    assert_eq!((&told["adapters"]["a"]["loaded"], &told["adapters"]["a"]["head_loaded"]), (&true.into(), &true.into()));
    assert_eq!(told["adapters"]["c"]["loaded"], false);
    assert!(told["adapters"].get("language").is_none());
    let bytes = |file: &str| std::fs::read(place.path(file)).unwrap();
    assert_ne!(bytes("on/a/adapter.safetensors"), bytes("both/a/adapter.safetensors"));
    let gone_on = evaluate(&place, &["--data", "data.csv", "--setup", "on"]);
    assert!(gone_on["heads"]["a"]["loss"].as_f64() < both["heads"]["a"]["loss"].as_f64(), "{gone_on} {both}");
    assert!(gone_on["heads"]["c"]["accuracy"].is_number());
    let text = run(&place, "predict", &["--setup", "on", "--text", "a film", "--json"]);
    assert!(json_of(&text)["heads"]["c"]["label"].is_string(), "{text}");
}

#[test]
fn each_head_may_have_labels_of_its_own() {
    let place = place();
    let mut csv = String::from("text,mood,kind\n");
    for row in 0..24 {
        let (word, mood) = [("good", "pos"), ("bad", "neg")][row % 2];
        let (start, kind) = [("the film is", "film"), ("the plot was", "plot"), ("a story", "story")][row % 3];
        csv.push_str(&format!("{start} {word},{mood},{kind}\n"));
    }
    place.write("moods.csv", &csv);
    let columns = ["--data", "moods.csv", "--label-column", "mood", "--label-column", "b=kind"];
    let setup = ["--setup", "Parallel(a, b)", "--output", "both", "--eval-fraction", "0.25", "--config", "lora[r=2]"];
    train(&place, &[columns.as_slice(), &setup].concat());
    let scores = evaluate(&place, &[columns.as_slice(), &["--setup", "both"]].concat());
    let labels = |head: &str| scores["heads"][head]["confusion"]["labels"].clone();
    assert_eq!(labels("a"), serde_json::json!(["neg", "pos"]));
    assert_eq!(labels("b"), serde_json::json!(["film", "plot", "story"]));
    let last = last_evaluation(&place, "both/history.json");
    assert!(last["heads"]["b"]["macro_f1"].is_number() && last["metrics"]["accuracy"].is_number(), "{last}");

    // Labels that the head of a loaded adapter does not know give it a new one, and this is said.
    let swapped = ["--data", "moods.csv", "--label-column", "kind", "--epochs", "1", "--output", "swapped"];
    let (code, _, err) = place.run(
        [&COMMON, swapped.as_slice(), &["--setup", "Parallel(a, b)", "--adapter", "both/a", "--adapter", "both/b"]]
            .concat(),
    );
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("both/a") && err.contains("new head") && !err.contains("both/b was"), "{err}");

    let wrong = ["--data", "moods.csv", "--label-column", "mood", "--label-column", "z=kind", "--setup", "both"];
    let err = refused(&place, &[["evaluate", "--model", "model"].as_slice(), &wrong].concat());
    assert!(err.contains("`z`") && err.contains("a, b"), "{err}");
}

#[test]
fn a_fusion_is_trained_over_adapters_that_stay_as_they_are() {
    let place = place();
    trained(&place, "a", "seq_bn[reduction_factor=2]");
    trained(&place, "b", "seq_bn[reduction_factor=4]");
    let parts = ["--adapter", "a", "--adapter", "b", "--setup", "Fuse(a, b)"];
    for (config, tensors) in [("static", 2), ("dynamic[temperature=True]", 3)] {
        let fuse =
            ["--data", "data.csv", "--eval", "data.csv", "--fusion-config", config, "--output", "fused", "--overwrite"];
        let told = train(&place, &[parts.as_slice(), &fuse].concat());
        // Of each layer's output: weights without a bias of the value, with one of query and key.
        let expected = 2 * (tensors * 16 * 16 + 2 * 16);
        assert_eq!(told["fusions"]["a,b"], expected, "{told}");
        assert_eq!(told["head"], "a,b");
        for file in ["adapter_fusion_config.json", "model_head.safetensors", "head_config.json", "curve.png"] {
            assert!(place.path("fused").join(file).is_file(), "{file}");
        }
        assert!(!place.path("fused/adapter_config.json").exists());
        let use_it = [parts.as_slice(), &["--fusion", "fused"]].concat();
        let scores = evaluate(&place, &[use_it.as_slice(), &["--data", "data.csv"]].concat());
        let last = last_evaluation(&place, "fused/history.json");
        assert!(close(&scores["loss"], &last["metrics"]["loss"]), "{scores} {last}");
        let said = json_of(&run(&place, "predict", &[use_it.as_slice(), &["--text", "a film", "--json"]].concat()));
        assert!(said["label"].is_string(), "{said}");
    }
    // After an adapter, and with a head that is given a name.
    let (code, out, err) = place.run(
        [
            &COMMON,
            ["--data", "data.csv", "--epochs", "1", "--adapter", "a", "--adapter", "b", "--adapter", "x=a"].as_slice(),
            &["--setup", "Stack(x, Fuse(a, b))", "--name", "joint", "--output", "stacked"],
        ]
        .concat(),
    );
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("(fusion)") && out.contains("`joint`"), "{out}");
    // Two fusions are a whole setup.
    let two = ["--adapter", "a", "--adapter", "b", "--setup", "Stack(Fuse(a, b), Fuse(b, a))", "--name", "joint"];
    train(&place, &[two.as_slice(), &["--data", "data.csv", "--output", "two"]].concat());
    assert_eq!(evaluate(&place, &["--setup", "two", "--data", "data.csv"])["examples"], 24);

    trained(&place, "l", "lora[r=2]");
    let arguments = [&COMMON, ["--data", "data.csv", "--output", "out"].as_slice()].concat();
    for (extra, told) in [
        (vec!["--setup", "Fuse(a, b)", "--adapter", "a"], "a fusion is trained over loaded adapters"),
        (vec!["--setup", "Fuse(a, b)"], "no adapter named `a`"),
        (vec!["--setup", "Fuse(a, b)", "--config", "lora", "--adapter", "a", "--adapter", "b"], "--fusion-config"),
        (vec!["--setup", "Fuse(a, b)", "--fusion-config", "dynamc", "--adapter", "a", "--adapter", "b"], "`dynamic`"),
        (vec!["--setup", "Stack(a, adapter)", "--fusion-config", "static", "--adapter", "a"], "holds no Fuse"),
        (vec!["--setup", "Fuse(a, l)", "--adapter", "a", "--adapter", "l"], "Fuse cannot contain the adapter `l`"),
        (vec!["--setup", "Stack(Fuse(a, b), Parallel(a, b))", "--adapter", "a", "--adapter", "b"], "a fusion beside"),
        (vec!["--setup", "Parallel(a, c)", "--config", "z=lora"], "the trained adapters are a, c"),
        (vec!["--setup", "Parallel(a, c)", "--config", "a=lora", "--adapter", "a"], "is loaded"),
        (vec!["--setup", "Parallel(a, c)", "--skip-layers", "7"], "7"),
    ] {
        let err = refused(&place, &[arguments.as_slice(), &extra].concat());
        assert!(err.contains(told), "{extra:?}: {err}");
        assert!(!place.path("out").exists(), "{extra:?}");
    }
}

#[test]
fn every_head_of_a_setup_is_scored() {
    let place = place();
    trained(&place, "a", "seq_bn[reduction_factor=2]");
    trained(&place, "b", "lora[r=2]");
    let adapters = ["--adapter", "a", "--adapter", "b"];
    let data = ["--data", "data.csv"];
    let alone = ["a", "b"].map(|name| evaluate(&place, &["--adapter", name, "--data", "data.csv"]));
    let parallel = evaluate(&place, &[adapters.as_slice(), &data, &["--setup", "Parallel(a, b)"]].concat());
    for (name, alone) in ["a", "b"].iter().zip(&alone) {
        let scores = &parallel["heads"][name];
        assert!(
            close(&scores["loss"], &alone["loss"]) && scores["confusion"] == alone["confusion"],
            "{scores} {alone}"
        );
    }
    assert_eq!(parallel.as_object().unwrap().len(), 1);
    let table = run(&place, "evaluate", &[adapters.as_slice(), &data, &["--setup", "Parallel(a, b)"]].concat());
    assert!(table.contains("head a: 24 examples") && table.contains("head b: 24 examples"), "{table}");
    assert_eq!(table.matches("truth \\ predicted").count(), 2, "{table}");

    // By the rows: the first ten through one adapter, the others through the other.
    let lines: Vec<String> =
        std::fs::read_to_string(place.path("data.csv")).unwrap().lines().map(str::to_owned).collect();
    let part = |rows: &[String]| format!("text,label\n{}\n", rows.join("\n"));
    place.write("first.csv", &part(&lines[1..11]));
    place.write("rest.csv", &part(&lines[11..]));
    let first = evaluate(&place, &["--adapter", "a", "--data", "first.csv"]);
    let rest = evaluate(&place, &["--adapter", "b", "--data", "rest.csv"]);
    let right = (first["accuracy"].as_f64().unwrap() * 10.0 + rest["accuracy"].as_f64().unwrap() * 14.0) / 24.0;
    let check = |scores: &Value| {
        assert!(close(&scores["heads"]["a"]["loss"], &first["loss"]), "{scores} {first}");
        assert!(close(&scores["heads"]["b"]["loss"], &rest["loss"]), "{scores} {rest}");
        assert_eq!(scores["heads"]["b"]["confusion"], rest["confusion"]);
        assert!((scores["overall"]["accuracy"].as_f64().unwrap() - right).abs() < 1e-9, "{scores} {right}");
        assert_eq!(scores["overall"]["examples"], 24);
    };
    let split = ["--setup", "BatchSplit(a, b, batch_sizes=[10, 14])"];
    check(&evaluate(&place, &[adapters.as_slice(), &data, &split].concat()));

    let mut routed = String::from("kind,text,label\n");
    for (row, line) in lines[1..].iter().enumerate() {
        routed.push_str(&format!("{},{line}\n", if row < 10 { "a" } else { "b" }));
    }
    routed.push_str("none,a film,pos\n,fine,pos\n");
    place.write("routed.csv", &routed);
    let route = ["--data", "routed.csv", "--route", "kind", "--batch-size", "5"];
    let scores = evaluate(&place, &[adapters.as_slice(), &route].concat());
    check(&scores);
    assert_eq!(scores["overall"]["unscored"], 2);
    let table = run(&place, "evaluate", &[adapters.as_slice(), &route].concat());
    assert!(table.contains("adapter a: 10 examples") && table.contains("overall: 24 examples"), "{table}");
    assert!(table.contains("2 without an adapter not scored"), "{table}");
    // One head for all scores those without an adapter, too.
    let one = evaluate(&place, &[adapters.as_slice(), &route, &["--head", "a"]].concat());
    assert_eq!((&one["heads"]["none"]["examples"], &one["overall"]["examples"]), (&2.into(), &26.into()));

    let command = |extra: &[&'static str]| {
        let all = [["evaluate", "--model", "model"].as_slice(), &adapters, extra].concat();
        refused(&place, &all)
    };
    let err = command(&["--data", "data.csv", "--setup", "Stack(a, Route())"]);
    assert!(err.contains("--route"), "{err}");
    let err = command(&["--data", "data.csv", "--setup", "Stack(a, b)", "--route", "label"]);
    assert!(err.contains("no `Route()`"), "{err}");
    let err = command(&["--data", "data.csv", "--route", "nowhere"]);
    assert!(err.contains("`nowhere`") && err.contains("--route"), "{err}");
    let err = command(&["--data", "data.csv", "--route", "label"]);
    assert!(err.contains("line 2") && err.contains("`pos`"), "{err}");
    place.write("nobody.csv", "kind,text,label\n,a film,pos\n,fine,neg\n");
    let err = command(&["--data", "nobody.csv", "--route", "kind"]);
    assert!(err.contains("nothing to score") && err.contains("--head"), "{err}");
}

#[test]
fn layers_can_be_run_without_adapters() {
    let place = place();
    let skip = ["--data", "data.csv", "--skip-layers", "0"];
    let name = ["--name", "a", "--config", "seq_bn[reduction_factor=2]", "--output", "a", "--eval", "data.csv"];
    train(&place, &[skip.as_slice(), &name].concat());
    let last = last_evaluation(&place, "a/history.json");
    let same = evaluate(&place, &[skip.as_slice(), &["--adapter", "a"]].concat());
    assert!(close(&same["loss"], &last["metrics"]["loss"]), "{same} {last}");
    let both = evaluate(&place, &["--data", "data.csv", "--adapter", "a", "--skip-layers", "0,1"]);
    assert!(!close(&both["loss"], &same["loss"]));
    let err = refused(&place, &["predict", "--model", "model", "--adapter", "a", "--text", "x", "--skip-layers", "5"]);
    assert!(err.contains("layer 5") && err.contains("2 layers"), "{err}");
}
