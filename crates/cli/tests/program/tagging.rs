//! Tagging from outside: training on words with tags, scores of spans, predictions with entities.

use crate::common::{Draw, Workplace, json_of};
use serde_json::{Value, json};

/// Sentences whose tags follow from their words: `film plot` and `film` are works, `good` and `great` are praise.
fn sentences(count: usize) -> Vec<(Vec<&'static str>, Vec<&'static str>)> {
    const PARTS: [&[(&str, &str)]; 9] = [
        &[("the", "O"), ("film", "B-WORK"), ("plot", "I-WORK")],
        &[("a", "O"), ("film", "B-WORK"), ("is", "O")],
        &[("good", "B-PRAISE")],
        &[("was", "O"), ("not", "O")],
        &[("great", "B-PRAISE"), ("and", "O")],
        &[("very", "O")],
        &[("the", "O")],
        &[("films", "B-WORK"), ("plot", "I-WORK")],
        &[("is", "O"), ("a", "O")],
    ];
    let mut draw = Draw::new(11);
    let mut sentence = || {
        let parts = 2 + draw.below(3);
        let words: Vec<_> = (0..parts).flat_map(|_| PARTS[draw.below(PARTS.len())].to_vec()).collect();
        words.into_iter().unzip()
    };
    (0..count).map(|_| sentence()).collect()
}

fn json_lines(sentences: &[(Vec<&str>, Vec<&str>)]) -> String {
    sentences.iter().map(|(tokens, tags)| json!({"tokens": tokens, "tags": tags}).to_string() + "\n").collect()
}

fn conll(sentences: &[(Vec<&str>, Vec<&str>)]) -> String {
    let lines = |(tokens, tags): &(Vec<&str>, Vec<&str>)| {
        tokens.iter().zip(tags).map(|(token, tag)| format!("{token} NN {tag}\n")).collect::<String>() + "\n"
    };
    "-DOCSTART- -X- O\n\n".to_owned() + &sentences.iter().map(lines).collect::<String>()
}

const TRAIN: [&str; 19] = [
    "train",
    "--model",
    "model",
    "--task",
    "tagging",
    "--output",
    "tagger",
    "--epochs",
    "12",
    "--batch-size",
    "8",
    "--learning-rate",
    "0.01",
    "--config",
    "lora[r=4]",
    "--name",
    "tagger",
    "--best",
    "micro_f1",
];

/// A model and a tagger, trained on JSON Lines.
fn tagger() -> Workplace {
    let place = Workplace::new();
    place.model("model", 2);
    place.write("train.jsonl", &json_lines(&sentences(120)));
    place.write("dev.txt", &conll(&sentences(160)[120..]));
    let (code, out, err) = place.run([&TRAIN[..], &["--data", "train.jsonl", "--eval", "dev.txt", "--json"]].concat());
    assert_eq!(code, 0, "{err}");
    let best = json_of(&out)["best"].clone();
    assert_eq!(best["metric"], "micro_f1");
    assert!(best["value"].as_f64().unwrap() > 0.9, "{best}");
    place
}

fn predict(place: &Workplace, arguments: &[&str]) -> (i32, String, String) {
    place.run([&["predict", "--model", "model", "--adapter", "tagger"], arguments].concat())
}

#[test]
fn a_tagger_is_trained_scored_and_gives_tokens_and_entities() {
    let place = tagger();
    let (code, out, err) =
        place.run(["evaluate", "--model", "model", "--adapter", "tagger", "--data", "dev.txt", "--json"]);
    assert_eq!(code, 0, "{err}");
    let scores = json_of(&out);
    for metric in ["micro_precision", "micro_recall", "micro_f1", "macro_f1", "weighted_f1", "token_accuracy"] {
        assert!(scores[metric].as_f64().unwrap() > 0.85, "{metric}: {scores}");
    }
    let labels: Vec<&str> =
        scores["classes"].as_array().unwrap().iter().map(|c| c["label"].as_str().unwrap()).collect();
    assert_eq!((labels, &scores["examples"]), (vec!["PRAISE", "WORK"], &json!(40)));

    let text = "ä good  films plot is";
    let (code, out, err) = predict(&place, &["--json", "--text", text]);
    assert_eq!(code, 0, "{err}");
    let said = json_of(&out);
    assert_eq!(said["text"], text);
    let characters: Vec<char> = text.chars().collect();
    let slice = |item: &Value| -> String {
        let at = |key: &str| item[key].as_u64().unwrap() as usize;
        characters[at("start")..at("end")].iter().collect()
    };
    let tokens = said["tokens"].as_array().unwrap();
    let pieces: Vec<String> = tokens.iter().map(slice).collect();
    assert_eq!(pieces, ["ä", "good", "film", "s", "plot", "is"], "no special tokens");
    for token in tokens {
        assert_eq!(token["token"], slice(token).as_str());
        let logits: Vec<f64> = token["logits"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
        let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap();
        assert_eq!(token["label"], ["B-PRAISE", "B-WORK", "I-WORK", "O"][best]);
    }
    let entities = said["entities"].as_array().unwrap();
    let found: Vec<(String, &str)> = entities.iter().map(|e| (slice(e), e["label"].as_str().unwrap())).collect();
    assert!(found.contains(&("films plot".into(), "WORK")) && found.contains(&("good".into(), "PRAISE")), "{said}");
    for entity in entities {
        assert_eq!(entity["text"], slice(entity).as_str());
        assert!((0.0..=1.0).contains(&entity["score"].as_f64().unwrap()));
    }

    let (code, out, err) = predict(&place, &["--text", "the film plot is good"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("the [film plot WORK] is [good PRAISE]"), "{out}");
    // Several texts, one of them empty, in one batch.
    let (code, out, err) = predict(&place, &["--json", "--text", "", "good", "the film plot is"]);
    assert_eq!((code, out.lines().count()), (0, 3), "{err}");
    let counts: Vec<usize> = out.lines().map(|line| json_of(line)["tokens"].as_array().unwrap().len()).collect();
    assert_eq!(counts, [0, 1, 4]);
}

#[test]
fn conll_columns_and_lists_give_the_same_training() {
    let place = Workplace::new();
    place.model("model", 1);
    let data = sentences(30);
    place.write("a.jsonl", &json_lines(&data));
    place.write("a.conll", &conll(&data));
    place.write("a.tsv", &conll(&data).replace(' ', "\t"));
    place.write("b.jsonl", &json_lines(&data).replace("\"tokens\"", "\"words\"").replace("\"tags\"", "\"ner\""));
    let runs: [&[&str]; 4] = [
        &["--data", "a.jsonl"],
        &["--data", "a.conll", "--text-column", "0", "--label-column", "2"],
        &["--data", "a.tsv"],
        &["--data", "b.jsonl", "--text-column", "words", "--label-column", "ner"],
    ];
    let loss = |(index, extra): (usize, &&[&str])| {
        let output = format!("out-{index}");
        let fixed = ["train", "--model", "model", "--task", "tagging", "--epochs", "1", "--json", "--output", &output];
        let (code, out, err) = place.run([&fixed[..], extra, &["--eval-fraction", "0.2"]].concat());
        assert_eq!(code, 0, "{err}");
        json_of(&out)["final_loss"].as_f64().unwrap()
    };
    let losses: Vec<f64> = runs.iter().enumerate().map(loss).collect();
    assert!(losses.windows(2).all(|pair| pair[0] == pair[1]), "{losses:?}");
}

#[test]
fn what_cannot_be_tagged_is_told() {
    let place = tagger();
    place.write("reviews.csv", "text,label\nx,pos\ny,neg\n");
    place.write("odd.jsonl", "{\"tokens\": [\"a\", \"film\"], \"tags\": [\"O\"]}\n");
    place.write("scheme.jsonl", "{\"tokens\": [\"a\", \"film\"], \"tags\": [\"O\", \"U-X\"]}\n");
    let train = ["train", "--model", "model", "--output", "other", "--epochs", "1", "--data"];
    let cases: [(&[&str], &str); 8] = [
        (&["reviews.csv", "--task", "tagging"], "CoNLL columns"),
        (&["odd.jsonl", "--task", "tagging"], "2 tokens, but 1 tags"),
        (&["scheme.jsonl", "--task", "tagging"], "`U-X`"),
        (&["train.jsonl", "--task", "tagging", "--pair-column", "tags"], "without a second text"),
        (&["dev.txt"], "unknown extension"),
        (&["dev.txt", "--format", "conll"], "tagging"),
        (
            &["train.jsonl", "--adapter", "tagger", "--task", "classification"],
            "the head of the adapter `tagger` is for tagging",
        ),
        (&["train.jsonl", "--task", "taggin"], "expected one of classification, multilabel, regression, tagging"),
    ];
    for (arguments, expected) in cases {
        let (code, _, err) = place.run([&train[..], arguments].concat());
        let flat = err.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(code == 2 && flat.contains(expected), "{arguments:?}: {err}");
    }
    for (arguments, expected) in [
        (&["--text", "a", "--pair", "b"][..], "--pair gives a second text, but the head `tagger` is for tagging"),
        (&["--text", "a", "--task", "classification"], "--task classification, but the head `tagger` is for tagging"),
        (&["--input", "x.conll"], "not texts"),
    ] {
        let (code, _, err) = predict(&place, arguments);
        let flat = err.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(code == 2 && flat.contains(expected), "{arguments:?}: {err}");
    }
    // A long sentence loses words, and a word of no token is not learned.
    let (tokens, tags) = (vec!["film"; 30], vec!["B-WORK"; 30]);
    let lost = json!({"tokens": ["a", "\u{200b}"], "tags": ["O", "O"]}).to_string();
    place.write("long.jsonl", &format!("{}\n{lost}\n", json!({"tokens": tokens, "tags": tags})));
    let (code, _, err) =
        place.run(["evaluate", "--model", "model", "--adapter", "tagger", "--data", "long.jsonl", "--json"]);
    let flat = err.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(code, 0, "{err}");
    assert!(flat.contains("12 words with their labels were cut off"), "{err}");
    assert!(flat.contains("makes no token of 1 words") && flat.contains("line 2"), "{err}");
}

#[test]
fn class_weights_and_training_further_work_for_tags() {
    let place = tagger();
    let (code, _, err) = place.run([
        "train",
        "--model",
        "model",
        "--adapter",
        "tagger",
        "--data",
        "train.jsonl",
        "--output",
        "more",
        "--epochs",
        "1",
        "--class-weights",
        "balanced",
        "--eval-fraction",
        "0.1",
    ]);
    assert_eq!(code, 0, "{err}");
    assert!(!err.contains("new head"), "the head is trained further: {err}");
    let config = std::fs::read_to_string(place.path("more/head_config.json")).unwrap();
    assert_eq!(json_of(&config)["config"]["head_type"], "tagging");
    let (code, _, err) = place.run([
        "train",
        "--model",
        "model",
        "--task",
        "tagging",
        "--data",
        "train.jsonl",
        "--output",
        "w",
        "--epochs",
        "1",
        "--class-weights",
        "B-PRAISE=2,O=0.5",
        "--best",
        "accuracy",
        "--eval-fraction",
        "0.1",
    ]);
    assert!(code == 2 && err.contains("micro_f1") && err.contains("token_accuracy"), "{err}");
}
