//! Multiple choice from outside: training on every form of choices, accuracy, predictions.

use serde_json::{Value, json};

use crate::common::{Draw, Workplace, json_of};

/// Questions whose right choice has the word `great`.
fn questions(count: usize) -> Vec<(Vec<String>, usize)> {
    const WORDS: [&str; 5] = ["film", "plot", "was", "a", "very"];
    let mut draw = Draw::new(5);
    let mut question = || {
        let right = draw.below(3);
        let text = |choice| format!("{} {}", WORDS[draw.below(5)], if choice == right { "great" } else { "plot" });
        ((0..3).map(text).collect(), right)
    };
    (0..count).map(|_| question()).collect()
}

fn lines(questions: &[(Vec<String>, usize)]) -> String {
    let line = |(choices, right): &(Vec<String>, usize)| json!({"text": "good", "choices": choices, "label": right});
    questions.iter().map(|question| line(question).to_string() + "\n").collect()
}

#[test]
fn a_head_is_trained_scored_and_chooses() {
    let place = Workplace::new();
    place.model("model", 2);
    let all = questions(160);
    place.write("train.jsonl", &lines(&all[..120]));
    place.write("dev.jsonl", &lines(&all[120..]));
    let extra = ["--eval", "dev.jsonl", "--best", "accuracy", "--epochs", "8", "--output", "out"];
    let (code, out, err) = place.train_task("multiple-choice", "train.jsonl", &extra);
    assert_eq!(code, 0, "{err}");
    assert!(json_of(&out)["best"]["value"].as_f64().unwrap() > 0.9, "{out}");

    let (code, out, err) =
        place.run(["evaluate", "--model", "model", "--adapter", "out", "--data", "dev.jsonl", "--json"]);
    assert_eq!(code, 0, "{err}");
    let scores = json_of(&out);
    assert_eq!(scores["examples"], 40);
    assert!(scores["accuracy"].as_f64().unwrap() > 0.9, "{scores}");

    let predict = |extra: &[&str]| place.run([&["predict", "--model", "model", "--adapter", "out"], extra].concat());
    let given = ["--text", "good", "--choice", "a plot", "--choice", "very great"];
    let (code, out, err) = predict(&[&given[..], &["--json"]].concat());
    assert_eq!(code, 0, "{err}");
    let said = json_of(&out);
    assert_eq!((&said["choice"], &said["index"]), (&json!("very great"), &json!(1)), "{said}");
    assert_eq!(said["logits"].as_array().unwrap().len(), 2);
    let (_, table, _) = predict(&given);
    assert!(table.contains("choice") && table.contains("very great"), "{table}");
    let (code, out, err) = predict(&["--input", "dev.jsonl", "--json"]);
    assert_eq!(code, 0, "{err}");
    let right = out.lines().zip(&all[120..]).filter(|(line, (_, right))| {
        serde_json::from_str::<Value>(line).unwrap()["index"].as_u64() == Some(*right as u64)
    });
    assert_eq!((out.lines().count(), right.count() as f64 / 40.0), (40, scores["accuracy"].as_f64().unwrap()));

    for (extra, part) in [
        (&["--text", "good"][..], "at least 2 choices"),
        (&["--text", "good", "--choice", "a"], "at least 2 choices"),
        (&["--input", "dev.jsonl", "--pair-column", "text"], "second texts are the choices"),
        (&["--text", "good", "--pair", "c"], "reads the choices as second texts"),
    ] {
        let (code, _, err) = predict(extra);
        assert!(code != 0 && err.contains(part), "{err}");
    }
}

#[test]
fn lists_columns_numbers_and_texts_give_the_same_training() {
    let place = Workplace::new();
    place.model("model", 1);
    let data = questions(16);
    place.write("a.jsonl", &lines(&data));
    let rows = |row: &dyn Fn(&[String], usize) -> String| -> String { data.iter().map(|(c, r)| row(c, *r)).collect() };
    let list = rows(&|choices, right| format!("good,{},{right}\n", choices.join("|")));
    place.write("b.csv", &("text,choices,label\n".to_owned() + &list));
    let columns = rows(&|choices, right| format!("good,{},{right}\n", choices.join(",")));
    place.write("c.csv", &("text,ending0,ending1,ending2,label\n".to_owned() + &columns));
    place.write("d.csv", &("text,x,y,z,label\n".to_owned() + &columns));
    let runs: [(&str, &[&str]); 4] =
        [("a.jsonl", &[]), ("b.csv", &[]), ("c.csv", &[]), ("d.csv", &["--choice-columns", "x,y,z"])];
    let losses = runs.iter().enumerate().map(|(index, (data, extra))| {
        let output = format!("out-{index}");
        let (code, out, err) =
            place.train_task("multiple-choice", data, &[*extra, &["--epochs", "1", "--output", &output]].concat());
        assert_eq!(code, 0, "{data}: {err}");
        json_of(&out)["final_loss"].as_f64().unwrap()
    });
    let losses: Vec<f64> = losses.collect();
    assert!(losses.windows(2).all(|pair| pair[0] == pair[1]), "{losses:?}");
}

#[test]
fn bad_choices_and_labels_are_errors_with_their_line() {
    let place = Workplace::new();
    place.model("model", 1);
    let line = |value: Value| value.to_string() + "\n";
    place.write("one.jsonl", &line(json!({"text": "good", "choices": ["a"], "label": 0})));
    place.write("none.jsonl", &line(json!({"text": "good", "label": 0})));
    place.write("beyond.jsonl", &line(json!({"text": "good", "choices": ["a", "film"], "label": 2})));
    place.write("other.jsonl", &line(json!({"text": "good", "choices": ["a", "film"], "label": "plot"})));
    for (file, part) in [
        ("one.jsonl", "expected at least 2, found 1"),
        ("none.jsonl", "no key `choices`"),
        ("beyond.jsonl", "there is no choice 2"),
        ("other.jsonl", "`plot` is not a choice"),
    ] {
        let (code, _, err) = place.train_task("multiple-choice", file, &["--output", "out"]);
        assert!(code != 0 && err.contains(part) && err.contains("line 1"), "{file}: {err}");
    }
    let (code, _, err) =
        place.train_task("multiple-choice", "other.jsonl", &["--pair-column", "text", "--output", "out"]);
    assert!(code != 0 && err.contains("second texts are the choices"), "{err}");
}
