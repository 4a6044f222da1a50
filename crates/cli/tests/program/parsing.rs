//! Dependency parsing from outside: CoNLL-U and JSON Lines, scores of arcs, predictions with heads and relations.

use serde_json::{Value, json};

use crate::common::{Workplace, json_of};

/// Sentences with an arc for each word.
const SENTENCES: [&[(&str, &str)]; 4] = [
    &[("the", "2:det"), ("film", "3:nsubj"), ("is", "0:root"), ("good", "3:xcomp:x")],
    &[("a", "2:det"), ("plot", "3:nsubj"), ("was", "0:root"), ("bad", "3:xcomp:x")],
    &[("the", "2:det"), ("plot", "3:nsubj"), ("is", "0:root"), ("very", "5:advmod"), ("good", "3:xcomp:x")],
    &[("a", "2:det"), ("film", "0:root")],
];

fn conllu() -> String {
    let mut text = String::from("# newdoc\n");
    for (number, sentence) in SENTENCES.iter().enumerate() {
        text += &format!("# sent_id = {number}\n# text = x\n");
        for (index, (word, arc)) in sentence.iter().enumerate() {
            let (head, relation) = arc.split_once(':').unwrap();
            let id = index + 1;
            if index == 1 {
                text += "2-3\tfilmis\t_\t_\t_\t_\t_\t_\t_\t_\n";
            }
            text += &format!("{id}\t{word}\t{word}\tX\t_\t_\t{head}\t{relation}\t_\t_\n");
        }
        text += "8.1\tnothing\t_\t_\t_\t_\t_\t_\t_\t_\n\n";
    }
    text
}

fn json_lines() -> String {
    let line = |sentence: &&[(&str, &str)]| {
        let (tokens, arcs): (Vec<&str>, Vec<&str>) = sentence.iter().copied().unzip();
        json!({"tokens": tokens, "arcs": arcs}).to_string() + "\n"
    };
    SENTENCES.iter().map(line).collect()
}

#[test]
fn a_parser_is_trained_evaluated_and_predicts() {
    let place = Workplace::new();
    place.model("model", 2);
    place.write("train.conllu", &conllu().repeat(4));
    place.write("test.jsonl", &json_lines());
    let options = ["--eval", "test.jsonl", "--output", "parser", "--name", "parser", "--best", "las", "--epochs", "40"];
    let (code, stdout, stderr) = place.train_task("dependency-parsing", "train.conllu", &options);
    assert_eq!(code, 0, "{stderr}");
    let trained = json_of(&stdout);
    let metrics = &trained["epochs"].as_array().unwrap().last().unwrap()["metrics"];
    assert!(metrics["uas"].as_f64() > Some(0.8), "{metrics}");

    let evaluate = ["evaluate", "--model", "model", "--adapter", "parser", "--json", "-q", "--data"];
    let scores = |data: &str| {
        let (code, stdout, stderr) = place.run([&evaluate[..], &[data]].concat());
        assert_eq!(code, 0, "{stderr}");
        json_of(&stdout)
    };
    // The same sentences in both formats.
    let (conllu, json) = (scores("train.conllu"), scores("test.jsonl"));
    assert_eq!((&conllu["las"], &conllu["uas"]), (&json["las"], &json["uas"]));
    assert!(json["las"].as_f64() <= json["uas"].as_f64());

    let predict = ["predict", "--model", "model", "--adapter", "parser", "-q", "--text", "the film is good"];
    let (_, stdout, stderr) = place.run([&predict[..], &["--json"]].concat());
    let found = json_of(&stdout);
    let words = found["words"].as_array().unwrap_or_else(|| panic!("{stderr}"));
    let texts: Vec<&Value> = words.iter().map(|word| &word["word"]).collect();
    assert_eq!(texts, ["the", "film", "is", "good"]);
    assert!(words.iter().all(|word| word["head"].as_u64().is_some_and(|head| head <= 4)));
    assert_eq!((words[1]["start"].as_u64(), words[1]["end"].as_u64()), (Some(4), Some(8)));
    let (code, stdout, _) = place.run(predict);
    assert_eq!(code, 0);
    assert!(stdout.contains("film →"), "{stdout}");
}

#[test]
fn arcs_that_cannot_be_are_errors_with_their_lines() {
    let place = Workplace::new();
    place.model("model", 2);
    for (arcs, expected) in [
        (json!(["2:det"]), "2"),
        (json!(["2:det", "7:nsubj"]), "7:nsubj"),
        (json!(["2:det", "nsubj"]), "HEAD:RELATION"),
        (json!(["2:det", "0:"]), "HEAD:RELATION"),
        (json!("2:det 0:root"), "line 2"),
    ] {
        let lines = json!({"tokens": ["the"], "arcs": [[0, "root"]]}).to_string()
            + "\n"
            + &json!({"tokens": ["a", "film"], "arcs": arcs}).to_string();
        place.write("bad.jsonl", &lines);
        let (code, stdout, stderr) = place.train_task("dependency-parsing", "bad.jsonl", &["--output", "out"]);
        assert_eq!((code, stdout.as_str()), (2, ""), "{arcs}: {stderr}");
        assert!(stderr.contains(expected) && stderr.contains('2'), "{arcs}: {stderr}");
    }
}
