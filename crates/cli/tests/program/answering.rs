//! Question answering from outside: training on SQuAD's forms, scores, answers over windows.

use serde_json::{Value, json};

use crate::common::{Draw, Workplace, json_of};

/// Questions whose answer follows the word asked for: `good` asks for the word after `good`.
fn questions(count: usize) -> Vec<Value> {
    const WORDS: [&str; 6] = ["film", "plot", "the", "was", "a", "very"];
    let mut draw = Draw::new(5);
    let mut question = || {
        let before: Vec<&str> = (0..draw.below(4)).map(|_| WORDS[draw.below(6)]).collect();
        let after: Vec<&str> = (0..draw.below(4)).map(|_| WORDS[draw.below(6)]).collect();
        let start = before.iter().map(|word| word.len() + 1).sum::<usize>();
        let context = [before, vec!["great"], after].concat().join(" ");
        json!({"question": "good", "context": context, "answers": {"text": ["great"], "answer_start": [start]}})
    };
    (0..count).map(|_| question()).collect()
}

fn lines(questions: &[Value]) -> String {
    questions.iter().map(|question| question.to_string() + "\n").collect()
}

/// The same in SQuAD's own form.
fn squad(questions: &[Value]) -> String {
    let paragraph = |question: &Value| {
        let (answers, context) = (&question["answers"], &question["context"]);
        let pairs = answers["text"].as_array().unwrap().iter().zip(answers["answer_start"].as_array().unwrap());
        let answers: Vec<Value> = pairs.map(|(text, start)| json!({"text": text, "answer_start": start})).collect();
        json!({"context": context, "qas": [{"id": "q", "question": question["question"], "answers": answers}]})
    };
    let paragraphs: Vec<Value> = questions.iter().map(paragraph).collect();
    format!("{:#}", json!({"version": "1.1", "data": [{"title": "t", "paragraphs": paragraphs}]}))
}

#[test]
fn a_head_is_trained_scored_and_gives_answers() {
    let place = Workplace::new();
    place.model("model", 2);
    let all = questions(160);
    place.write("train.jsonl", &lines(&all[..120]));
    place.write("dev.json", &squad(&all[120..]));
    let extra = ["--eval", "dev.json", "--best", "f1", "--epochs", "12", "--output", "out"];
    let (code, out, err) = place.train_task("question-answering", "train.jsonl", &extra);
    assert_eq!(code, 0, "{err}");
    assert!(json_of(&out)["best"]["value"].as_f64().unwrap() > 0.9, "{out}");

    // Long contexts are divided: the scores are of questions, not of windows.
    let evaluate = ["evaluate", "--model", "model", "--adapter", "out", "--data", "dev.json", "--json"];
    let (code, out, err) = place.run([&evaluate[..], &["--max-length", "8", "--doc-stride", "2"]].concat());
    assert_eq!(code, 0, "{err}");
    let scores = json_of(&out);
    assert_eq!(scores["examples"], 40);
    assert!(scores["f1"].as_f64().unwrap() >= scores["exact_match"].as_f64().unwrap(), "{scores}");

    let predict = |extra: &[&str]| {
        let (code, out, err) = place.run([&["predict", "--model", "model", "--adapter", "out"], extra].concat());
        assert_eq!(code, 0, "{err}");
        out
    };
    let context = "ä film was great very";
    let said = json_of(&predict(&["--question", "good", "--context", context, "--json"]));
    assert_eq!(said["answer"], "great", "{said}");
    assert_eq!((&said["start"], &said["end"]), (&json!(11), &json!(16)), "in characters");
    assert!((0.0..=1.0).contains(&said["score"].as_f64().unwrap()));
    // [CLS] good [SEP] ä film was great very [SEP]
    let count = |key: &str| said[key].as_array().unwrap().len();
    assert_eq!((count("start_logits"), count("end_logits")), (9, 9));
    let long = format!("{} great {}", ["the plot"; 40].join(" "), ["a film"; 40].join(" "));
    let said = json_of(&predict(&["--question", "good", "--context", &long, "--max-length", "16", "--json"]));
    let (start, end) = (said["start"].as_u64().unwrap() as usize, said["end"].as_u64().unwrap() as usize);
    assert_eq!(long[start..end], *said["answer"].as_str().unwrap());
    let table = predict(&["--question", "good", "--context", context]);
    assert!(table.contains("answer") && table.contains("[great]"), "{table}");
    let from_file = predict(&["--input", "train.jsonl", "--json"]);
    assert_eq!(from_file.lines().count(), 120);
}

#[test]
fn squads_form_lists_and_csv_give_the_same_training() {
    let place = Workplace::new();
    place.model("model", 1);
    let data = questions(20);
    place.write("a.jsonl", &lines(&data));
    place.write("b.json", &squad(&data));
    let row = |q: &Value| format!("good,{},great\n", q["context"].as_str().unwrap());
    place.write("c.csv", &("question,context,answers\n".to_owned() + &data.iter().map(row).collect::<String>()));
    place.write("d.csv", &("q,c,a\n".to_owned() + &data.iter().map(row).collect::<String>()));
    let named = ["--text-column", "q", "--pair-column", "c", "--label-column", "a"];
    let runs: [(&str, &[&str]); 4] = [("a.jsonl", &[]), ("b.json", &[]), ("c.csv", &[]), ("d.csv", &named)];
    let losses = runs.iter().enumerate().map(|(index, (data, extra))| {
        let output = format!("out-{index}");
        let (code, out, err) =
            place.train_task("question-answering", data, &[*extra, &["--epochs", "1", "--output", &output]].concat());
        assert_eq!(code, 0, "{data}: {err}");
        json_of(&out)["final_loss"].as_f64().unwrap()
    });
    let losses: Vec<f64> = losses.collect();
    assert!(losses.windows(2).all(|pair| pair[0] == pair[1]), "{losses:?}");
}

#[test]
fn what_cannot_be_answered_is_told() {
    let place = Workplace::new();
    place.model("model", 1);
    place.write("a.jsonl", &lines(&questions(8)));
    let line = |answers: Value| json!({"question": "good", "context": "a film", "answers": answers}).to_string() + "\n";
    place.write("elsewhere.jsonl", &line(json!({"text": ["film"], "answer_start": [1]})));
    place.write("absent.jsonl", &line(json!(["plot"])));
    let cases: [(&str, &[&str], &str); 3] = [
        ("elsewhere.jsonl", &[], "not at character 1"),
        ("absent.jsonl", &[], "does not occur in the context"),
        ("a.jsonl", &["--max-length", "20", "--doc-stride", "11"], "more than half"),
    ];
    for (data, extra, expected) in cases {
        let (code, _, err) =
            place.train_task("question-answering", data, &[extra, &["--output", "bad", "--epochs", "1"]].concat());
        let flat = err.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(code == 2 && flat.contains(expected), "{data}: {err}");
    }
    // Questions without an answer are learned, and scored.
    place.write("none.jsonl", &(lines(&questions(8)) + &line(json!({"text": [], "answer_start": []}))));
    let (code, _, err) = place.train_task(
        "question-answering",
        "none.jsonl",
        &["--eval", "none.jsonl", "--best", "exact_match", "--epochs", "1", "--output", "o"],
    );
    assert_eq!(code, 0, "{err}");
    let (code, _, err) = place.run(["predict", "--model", "model", "--adapter", "o", "--question", "good"]);
    assert!(code == 2 && err.contains("--context"), "{err}");
    let no_answer = ["predict", "--model", "model", "--adapter", "o", "--question", "good", "--context", "", "--json"];
    let (code, out, err) = place.run(no_answer);
    assert_eq!(code, 0, "{err}");
    assert_eq!(json_of(&out)["answer"], "");
}
