//! Pairs of texts from outside: a task that needs both texts, and predictions for pairs.

use crate::common::{Workplace, json_of};

const WORDS: [&str; 4] = ["good", "bad", "film", "plot"];

/// Two texts that begin with a word each, and whether it is the same: either text alone tells nothing.
fn rows() -> Vec<(String, String, &'static str)> {
    let mut rows = Vec::new();
    for round in 0..8 {
        for (first, one) in WORDS.iter().enumerate() {
            // Each first text stands once with the same word and once with another.
            let other = if round % 2 == 0 { first } else { (first + 1 + round / 2 % 3) % 4 };
            let filler = ["is", "was the", "and", "very"][round / 2];
            let label = if other == first { "same" } else { "different" };
            rows.push((format!("{one} {filler}"), format!("{} a", WORDS[other]), label));
        }
    }
    rows
}

fn place() -> Workplace {
    let place = Workplace::new();
    place.model("model", 2);
    let csv = |rows: &[(String, String, &str)]| {
        let rows: String = rows.iter().map(|(a, b, label)| format!("{a},{b},{label}\n")).collect();
        format!("premise,hypothesis,relation\n{rows}")
    };
    place.write("pairs.csv", &csv(&rows()));
    place
}

const TRAIN: [&str; 20] = [
    "train",
    "--model",
    "model",
    "--data",
    "pairs.csv",
    "--eval",
    "pairs.csv",
    "--text-column",
    "premise",
    "--label-column",
    "relation",
    "--config",
    "double_seq_bn[reduction_factor=1]|lora[r=8,attn_matrices=['q','k','v']]",
    "--learning-rate",
    "0.01",
    "--epochs",
    "60",
    "--json",
    "--seed",
    "2",
];

fn accuracy(place: &Workplace, output: &str, extra: &[&str]) -> f64 {
    let best = ["--output", output, "--best", "accuracy", "--batch-size", "16", "--no-base-dropout"];
    let (code, out, err) = place.run([&TRAIN[..], extra, &best].concat());
    assert_eq!(code, 0, "{err}");
    json_of(&out)["best"]["value"].as_f64().unwrap()
}

#[test]
fn a_task_that_needs_both_texts_is_learned_from_pairs_alone() {
    let place = place();
    let alone = accuracy(&place, "alone", &[]);
    let together = accuracy(&place, "together", &["--pair-column", "hypothesis"]);
    assert!(alone < 0.75 && together > 0.9, "one text {alone}, both {together}");

    let columns = ["--text-column", "premise", "--pair-column", "hypothesis"];
    let (code, out, err) = place.run(
        [
            &["evaluate", "--model", "model", "--adapter", "together", "--data", "pairs.csv", "--json"][..],
            &["--label-column", "relation"],
            &columns,
        ]
        .concat(),
    );
    assert_eq!(code, 0, "{err}");
    assert!((json_of(&out)["accuracy"].as_f64().unwrap() - together).abs() < 1e-6, "{out}");

    let predict = ["predict", "--model", "model", "--adapter", "together", "--json"];
    let (code, given, err) = place.run([&predict[..], &["--text", "good is", "--pair", "good a"]].concat());
    assert_eq!(code, 0, "{err}");
    let said = json_of(&given);
    assert_eq!((&said["text"], &said["pair"], &said["label"]), (&"good is".into(), &"good a".into(), &"same".into()));
    let (code, read, err) = place.run([&predict[..], &["--input", "pairs.csv"], &columns].concat());
    assert_eq!(code, 0, "{err}");
    let first = json_of(read.lines().next().unwrap());
    let logits = |value: &serde_json::Value| value["logits"][0].as_f64().unwrap();
    assert!((logits(&first) - logits(&said)).abs() < 1e-4, "{first} {said}");
    let (code, table, err) =
        place.run(["predict", "--model", "model", "--adapter", "together", "--text", "good is", "--pair", "good a"]);
    assert!(code == 0 && table.contains("good is | good a"), "{table}{err}");
}

#[test]
fn pairs_that_cannot_be_are_told() {
    let place = place();
    place.write("lines.txt", "a film\n");
    place.write("rows.jsonl", "{\"text\": \"a\", \"pair\": 1, \"label\": \"x\"}\n");
    place.adapter(&place.path("model"), "seq_bn");
    let predict = ["predict", "--model", "model", "--adapter", "adapter"];
    for (arguments, expected) in [
        (&["--text", "a", "b", "--pair", "c"][..], "2 texts in --text, but 1 in --pair"),
        (&["--input", "lines.txt", "--pair-column", "pair"], "so it has no column for --pair-column"),
        (&["--input", "pairs.csv", "--text-column", "premise", "--pair-column", "premise"], "the two texts of a pair"),
        (&["--input", "pairs.csv", "--text-column", "premise", "--pair-column", "nothing"], "no column `nothing`"),
    ] {
        let (code, _, err) = place.run([&predict[..], arguments].concat());
        let flat = err.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(code == 2 && flat.contains(expected), "{arguments:?}: {err}");
    }
    let train = ["train", "--model", "model", "--output", "out", "--epochs", "1", "--pair-column", "pair", "--data"];
    let (code, _, err) = place.run([&train[..], &["rows.jsonl"]].concat());
    assert!(code == 2 && err.contains("line 1") && err.contains("expected a string"), "{err}");
}
