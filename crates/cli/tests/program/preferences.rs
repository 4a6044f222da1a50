//! Preference optimization from outside: `train --task dpo` and `evaluate --task dpo`.

use std::fs;

use serde_json::Value;

use crate::common::{Workplace, fails, succeeds};
use crate::models::decoder;

const TEMPLATE: &str =
    "{% for m in messages %}{{ m.content }} {% if m.role == 'assistant' %}<end> {% endif %}{% endfor %}";

/// What is blue is preferred.
const PAIRS: &str = r#"{"prompt": "the sea ", "chosen": "is blue", "rejected": "is deep"}
{"prompt": "a ship ", "chosen": "is blue", "rejected": "is home"}
{"prompt": "the ship ", "chosen": "sails and is blue", "rejected": "sails home"}
{"prompt": "sea and ship ", "chosen": "blue", "rejected": "deep"}
{"prompt": "home ", "chosen": "is blue", "rejected": "is deep and the sea is deep"}
"#;

const OTHERS: &str = r#"{"prompt": "the ship and the sea ", "chosen": "is blue", "rejected": "is deep"}
{"prompt": "ship ", "chosen": "is blue", "rejected": "is home"}
"#;

fn train<'a>(data: &'a str, extra: &[&'a str]) -> Vec<&'a str> {
    let options = ["train", "--model", "decoder", "--task", "dpo", "--data", data, "--config", "lora[r=4]"];
    let options = options.into_iter().chain(["--learning-rate", "0.02", "--batch-size", "2", "--name", "a"]);
    options.chain(["--json", "--quiet", "--no-base-dropout"]).chain(extra.iter().copied()).collect()
}

fn metric(record: &Value, name: &str) -> f64 {
    record["metrics"][name].as_f64().unwrap_or_else(|| panic!("no {name}: {record:#}"))
}

#[test]
fn preferred_answers_win_and_their_reward_rises() {
    let place = Workplace::new();
    decoder(&place);
    place.write("pairs.jsonl", PAIRS);
    place.write("others.jsonl", OTHERS);
    let options = ["--output", "out", "--epochs", "12", "--eval", "others.jsonl", "--best", "reward_margin"];
    let trained = succeeds(&place, &train("pairs.jsonl", &options));
    let epochs = trained["epochs"].as_array().unwrap();
    let (start, end) = (&epochs[0], epochs.last().unwrap());
    // A new adapter changes nothing: model and reference agree.
    assert!((metric(start, "loss") - 2f64.ln()).abs() < 1e-6 && metric(start, "reward_accuracy") < 0.6, "{start:#}");
    assert_eq!(metric(end, "reward_accuracy"), 1.0, "{end:#}");
    assert!(metric(end, "loss") < 0.6 && metric(end, "reward_margin") > 0.3, "{end:#}");
    assert_eq!(trained["head_parameters"], 0);

    let evaluate = ["evaluate", "--model", "decoder", "--task", "dpo", "--data", "others.jsonl", "--json", "-q"];
    let of = |extra: &[&str]| succeeds(&place, &[&evaluate[..], extra].concat());
    let (base, adapted) = (of(&[]), of(&["--adapter", "out"]));
    assert!((base["loss"].as_f64().unwrap() - 2f64.ln()).abs() < 1e-6, "{base:#}");
    let best = &epochs[trained["best"]["epoch"].as_u64().unwrap() as usize];
    for name in ["loss", "reward_accuracy", "reward_margin", "perplexity"] {
        assert!((adapted[name].as_f64().unwrap() - metric(best, name)).abs() < 1e-4, "{name}: {adapted:#} {best:#}");
    }
    assert_eq!(adapted["examples"], 2);
    // Rewards are β times the same differences.
    let doubled = of(&["--adapter", "out", "--beta", "0.2"]);
    let margins = [&doubled, &adapted].map(|found| found["reward_margin"].as_f64().unwrap());
    assert!((margins[0] - 2.0 * margins[1]).abs() < 1e-5, "{margins:?}");
    let (_, shown, _) = place.run(["evaluate", "--model", "decoder", "--task", "dpo", "--data", "others.jsonl"]);
    assert!(shown.contains("2 examples, loss 0.6931") && shown.contains("reward accuracy"), "{shown}");
    // The margin is that of the log-likelihoods of the answers.
    let score = |text: &str, extra: &[&str]| {
        let line = [&["score", "--model", "decoder", "--json", "-q", "--text", text][..], extra].concat();
        succeeds(&place, &line)["log_likelihood"].as_f64().unwrap()
    };
    place.write("one.jsonl", PAIRS.lines().next().unwrap());
    let difference = |extra: &[&str]| score("the sea is blue<end>", extra) - score("the sea is deep<end>", extra);
    let expected = 0.1 * (difference(&["--adapter", "out"]) - difference(&[]));
    let one =
        ["evaluate", "--model", "decoder", "--task", "dpo", "--data", "one.jsonl", "--json", "-q", "--adapter", "out"];
    let found = succeeds(&place, &one)["reward_margin"].as_f64().unwrap();
    assert!((found - expected).abs() < 1e-4, "{found} {expected}");
}

#[test]
fn a_training_on_preferences_resumes_bit_by_bit() {
    let place = Workplace::new();
    decoder(&place);
    place.write("pairs.jsonl", PAIRS);
    let accumulated = ["--accumulation", "2"];
    let run = |output: &str, epochs: &str, extra: &[&str]| {
        let options = [&["--output", output, "--epochs", epochs, "--schedule", "constant"][..], &accumulated, extra];
        succeeds(&place, &train("pairs.jsonl", &options.concat()))
    };
    run("whole", "3", &[]);
    run("parts", "1", &[]);
    run("parts", "3", &["--resume"]);
    let file = |output: &str| fs::read(place.path(output).join("adapter.safetensors"));
    let weights = |output: &str| file(output).or_else(|_| fs::read(place.path(output).join("pytorch_adapter.bin")));
    assert_eq!(weights("whole").unwrap(), weights("parts").unwrap());
    let other = ["--output", "parts", "--epochs", "4", "--accumulation", "2", "--schedule", "constant", "--resume"];
    let other = train("pairs.jsonl", &[&other[..], &["--beta", "0.5"]].concat());
    fails(&place, &other, "beta");
}

#[test]
fn messages_become_texts_by_the_template() {
    let place = Workplace::new();
    let dir = decoder(&place);
    let row = r#"{"prompt": [{"role": "user", "content": "the sea"}], "chosen": [{"role": "assistant", "content": "is blue"}], "rejected": [{"role": "assistant", "content": "is deep"}]}"#;
    place.write("pairs.jsonl", row);
    let options = ["--output", "out", "--epochs", "1"];
    fails(&place, &train("pairs.jsonl", &options), "has no chat template");
    fs::write(dir.join("chat_template.jinja"), TEMPLATE).unwrap();
    // Both answers are shown, with what is learned of them.
    let inspect = ["inspect", "--model", "decoder", "--data", "pairs.jsonl", "--json"];
    let found = succeeds(&place, &inspect);
    let learned = |sample: &Value| {
        let span = &sample["trained"][0];
        let [start, end] = [0, 1].map(|at| span[at].as_u64().unwrap() as usize);
        sample["text"].as_str().unwrap()[start..end].to_owned()
    };
    let answers: Vec<String> = found["samples"].as_array().unwrap().iter().map(learned).collect();
    assert_eq!(
        (answers, found["rows"].as_u64()),
        (vec!["is blue <end>".to_owned(), "is deep <end>".to_owned()], Some(2))
    );
    fails(&place, &[&inspect[..], &["--loss-on", "all"]].concat(), "the answers are learned");
    let trained = succeeds(&place, &train("pairs.jsonl", &options));
    assert!((trained["final_loss"].as_f64().unwrap() - 2f64.ln()).abs() < 1e-6, "{trained:#}");
}

#[test]
fn pairs_without_use_are_counted_or_errors() {
    let place = Workplace::new();
    decoder(&place);
    place.write("pairs.jsonl", PAIRS);
    let options = |data: &'static str, extra: &[&'static str]| {
        train(data, &[&["--output", "out", "--epochs", "1"][..], extra].concat())
    };
    for beta in ["0", "-1", "NaN", "inf"] {
        let beta = format!("--beta={beta}");
        let mut arguments = options("pairs.jsonl", &[]);
        arguments.push(&beta);
        fails(&place, &arguments, "--beta must be a number above 0");
    }
    fails(&place, &options("pairs.jsonl", &["--loss-on", "all"]), "the answers are learned");
    fails(&place, &options("pairs.jsonl", &["--text-column", "prompt"]), "preferences have no columns");
    fails(&place, &options("pairs.jsonl", &["--best", "accuracy", "--eval", "pairs.jsonl"]), "reward_accuracy");
    for (row, expected) in [
        (r#"{"prompt": "sea", "chosen": "blue", "rejected": "blue"}"#, "there is nothing to prefer"),
        (r#"{"prompt": "sea", "chosen": "", "rejected": "blue"}"#, "`chosen` is empty"),
        (r#"{"prompt": "sea", "chosen": "blue"}"#, "expected are those of one of"),
        (r#"{"prompt": "sea", "completion": "blue"}"#, "but expected is `chosen` and `rejected`"),
        // Words that the tokenizer does not know are the same token.
        (r#"{"prompt": "sea ", "chosen": "x", "rejected": "y"}"#, "1 have two answers of the same tokens"),
    ] {
        place.write("rows.jsonl", row);
        fails(&place, &options("rows.jsonl", &[]), expected);
    }
    place.write("pairs.csv", "prompt,chosen,rejected\nsea,blue,deep\n");
    fails(&place, &options("pairs.csv", &[]), "JSON Lines");
    place.write(
        "long.jsonl",
        &format!(r#"{{"prompt": "{}", "chosen": "blue", "rejected": "deep"}}"#, "sea ".repeat(40)),
    );
    fails(&place, &options("long.jsonl", &[]), "raise the maximum length");
    // Beside others, such pairs are left out, and counted.
    let long = fs::read_to_string(place.path("long.jsonl")).unwrap();
    let same = r#"{"prompt": "sea ", "chosen": "x", "rejected": "y"}"#;
    let cut = format!(r#"{{"prompt": "sea ", "chosen": "blue {}", "rejected": "deep"}}"#, "and ".repeat(40));
    place.write("mixed.jsonl", &format!("{PAIRS}{long}\n{same}\n{cut}\n"));
    let (code, _, stderr) = place.run(options("mixed.jsonl", &[]));
    assert_eq!(code, 0, "{stderr}");
    let expected = "2 of 8 pairs are left out (the first on line 6): 1 have an answer without tokens, 1 have two answers of the \
                    same tokens, 1 of them were cut to 24 tokens";
    assert!(stderr.contains(expected), "{stderr}");
    assert!(stderr.contains("2 of 8 texts are longer than 24 tokens and were cut (the first on line 6)"), "{stderr}");

    place.model("encoder", 1);
    let encoder = ["evaluate", "--model", "encoder", "--task", "dpo", "--data", "pairs.jsonl"];
    let (code, _, stderr) = place.run(encoder);
    assert!(code == 2 && stderr.contains("error"), "{stderr}");
    let other = ["evaluate", "--model", "decoder", "--task", "causal-lm", "--data", "pairs.jsonl", "--beta", "0.1"];
    fails(&place, &other, "--beta is for preference optimization");
    let predict = ["predict", "--model", "decoder", "--task", "dpo", "--text", "sea"];
    fails(&place, &predict, "no labels to print for preference optimization");
}

#[test]
fn a_rate_that_is_far_too_large_is_an_error_and_not_a_result() {
    let place = Workplace::new();
    decoder(&place);
    place.write("pairs.jsonl", PAIRS);
    let mut arguments = train("pairs.jsonl", &["--output", "out", "--epochs", "20", "--max-gradient-norm", "0"]);
    arguments.extend(["--learning-rate=1e38", "--schedule=constant"].iter());
    let arguments: Vec<&str> = arguments.into_iter().filter(|one| !["--learning-rate", "0.02"].contains(one)).collect();
    let (code, stdout, stderr) = place.run(arguments);
    assert!(code != 0 && stdout.is_empty() && stderr.contains("the training has diverged"), "{code} {stderr}");
    assert!(!place.path("out/adapter_config.json").exists());
}
