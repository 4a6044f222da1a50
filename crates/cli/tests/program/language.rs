//! Language modeling from outside: `train`, `evaluate`, `predict`, `score`.

use serde_json::Value;

use crate::common::{Workplace, fails, json_of, names, succeeds};
use crate::models::{decoder, encoder_decoder};

/// Lines of words that the models know, some of which are blank.
fn lines(place: &Workplace, name: &str) {
    let text = "the sea is deep\n\na ship sails home and the sea is blue\r\nthe ship is blue and deep\nsea\n";
    place.write(name, &text.repeat(4));
}

fn train<'a>(model: &'a str, data: &'a str, task: &'a str, extra: &[&'a str]) -> Vec<&'a str> {
    let options =
        ["train", "--model", model, "--data", data, "--task", task, "--output", "out", "--epochs", "12", "--name", "a"];
    let options = options.into_iter().chain(["--learning-rate", "0.01", "--batch-size", "4", "--json", "--quiet"]);
    options.chain(extra.iter().copied()).collect()
}

#[test]
fn a_decoder_learns_lines_without_a_head_of_its_own() {
    let place = Workplace::new();
    decoder(&place);
    lines(&place, "data.txt");
    let trained = succeeds(&place, &train("decoder", "data.txt", "causal-lm", &["--eval", "data.txt"]));
    let epochs = trained["epochs"].as_array().unwrap();
    let perplexity = |record: &Value| record["metrics"]["perplexity"].as_f64().unwrap();
    assert!(perplexity(epochs.last().unwrap()) < 0.9 * perplexity(&epochs[0]), "{trained:#}");
    assert_eq!(trained["head_parameters"], 0);
    assert!(!names(&place.path("out")).iter().any(|name| name.contains("head")));

    // The same without the adapter, and with it: there is no head in its folder.
    let evaluate = ["evaluate", "--model", "decoder", "--task", "causal-lm", "--data", "data.txt", "--json", "-q"];
    let base = succeeds(&place, &evaluate);
    let adapted = succeeds(&place, &[&evaluate[..], &["--adapter", "out"]].concat());
    let close = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-4 * expected, "{found}, {expected}");
    // A new adapter changes little.
    let untrained = perplexity(&epochs[0]);
    assert!((base["perplexity"].as_f64().unwrap() - untrained).abs() < 0.01 * untrained, "{base:#}, {untrained}");
    close(adapted["perplexity"].as_f64().unwrap(), perplexity(epochs.last().unwrap()));
    // A single token predicts nothing; every other token does.
    let texts = ["the sea is deep", "a ship sails home and the sea is blue", "the ship is blue and deep"];
    let score = [&["score", "--model", "decoder", "--adapter", "out", "--json", "-q", "--text"], &texts[..]].concat();
    let (_, stdout, _) = place.run(score);
    let scored: Vec<Value> = stdout.lines().map(json_of).collect();
    let sum = |key: &str| scored.iter().map(|line| line[key].as_f64().unwrap()).sum::<f64>();
    close(adapted["loss"].as_f64().unwrap(), -sum("log_likelihood") / sum("tokens"));
    assert_eq!(sum("tokens"), 3.0 + 8.0 + 5.0);

    // Training continues, and resumes bit by bit.
    let more = ["train", "--model", "decoder", "--data", "data.txt", "--task", "causal-lm", "--adapter", "out"];
    let more = [&more[..], &["--output", "more", "--epochs", "1", "--json", "-q"]].concat();
    assert_eq!(succeeds(&place, &more)["loaded"], true);
}

#[test]
fn the_order_of_the_rows_is_kept_in_every_epoch() {
    let place = Workplace::new();
    decoder(&place);
    let texts = ["the sea is", "the sea is blue and deep", "a ship", "a ship sails home", "the ship is blue and"];
    place.write("data.txt", &(texts.join("\n") + "\n"));
    // Rows of a step have different lengths: their sum tells which they are.
    let counts = |extra: &[&str], output: &str| -> Vec<u64> {
        let fixed = ["train", "--model", "decoder", "--data", "data.txt", "--task", "causal-lm", "--epochs", "3"];
        let all = [&fixed[..], &["--batch-size", "2", "--output", output, "--json", "-q"], extra].concat();
        succeeds(&place, &all);
        let history = json_of(&std::fs::read_to_string(place.path(output).join("history.json")).unwrap());
        history["steps"].as_array().unwrap().iter().map(|step| step["tokens"].as_u64().unwrap()).collect()
    };
    let kept = counts(&["--keep-order"], "kept");
    assert_eq!(kept, [3 + 6, 2 + 4, 5].repeat(3));
    assert_eq!(counts(&["--keep-order", "--seed", "7"], "seed"), kept);
    assert_ne!(counts(&[], "shuffled"), kept);

    // It belongs to what a training is: one that is resumed must have it, too.
    let resume = ["train", "--model", "decoder", "--data", "data.txt", "--task", "causal-lm", "--epochs", "4"];
    let resume = [&resume[..], &["--batch-size", "2", "--output", "kept", "-q", "--resume"]].concat();
    fails(&place, &resume, "keep_order");
    succeeds(&place, &[&resume[..], &["--keep-order", "--json"]].concat());
}

#[test]
fn an_encoder_learns_masked_tokens_with_a_new_head_and_predicts_them() {
    let place = Workplace::new();
    place.model("model", 2);
    place.write("data.txt", &"the film is good\na plot was very bad .\n".repeat(6));
    let trained = succeeds(&place, &train("model", "data.txt", "masked-lm", &["--eval", "data.txt"]));
    let epochs = trained["epochs"].as_array().unwrap();
    let loss = |record: &Value| record["metrics"]["loss"].as_f64().unwrap();
    assert!(loss(epochs.last().unwrap()) < loss(&epochs[0]), "{trained:#}");
    assert!(trained["head_parameters"].as_u64().unwrap() > 0);

    let evaluate = ["evaluate", "--model", "model", "--adapter", "out", "--data", "data.txt", "--json", "-q"];
    let evaluated = succeeds(&place, &evaluate);
    assert!((evaluated["loss"].as_f64().unwrap() - loss(epochs.last().unwrap())).abs() < 1e-4);
    let predict = ["predict", "--model", "model", "--adapter", "out", "-q"];
    let text = ["--text", "the [MASK] is [MASK]"];
    let found = succeeds(&place, &[&predict[..], &text, &["--top", "3", "--json"]].concat());
    let masks = found["masks"].as_array().unwrap();
    assert_eq!(masks.iter().map(|mask| mask["position"].as_u64().unwrap()).collect::<Vec<_>>(), [2, 4]);
    for mask in masks {
        let top = mask["top"].as_array().unwrap();
        let number = |token: &Value, key: &str| token[key].as_f64().unwrap();
        assert_eq!(top.len(), 3);
        assert!(top.is_sorted_by(|a, b| number(a, "logit") >= number(b, "logit")), "{found:#}");
        assert!(top.iter().map(|token| number(token, "probability")).sum::<f64>() <= 1.0 + 1e-6);
        assert!(top.iter().all(|token| token["token"].is_string()));
    }
    let (code, stdout, _) = place.run([&predict[..], &text].concat());
    assert_eq!((code, stdout.lines().count()), (0, 1 + 2 * 5), "{stdout}");

    fails(&place, &[&predict[..], &["--text", "the film"]].concat(), "[MASK] stands for");
    fails(&place, &[&predict[..], &["--text", "[MASK]", "--top", "0"]].concat(), "--top must be at least 1");
    fails(&place, &train("model", "data.txt", "causal-lm", &["--overwrite"]), "a decoder");
    // A base model alone has no output layer.
    fails(&place, &["predict", "--model", "model", "--task", "masked-lm", "--text", "[MASK]"], "no output layer");
}

#[test]
fn an_encoder_decoder_learns_target_texts() {
    let place = Workplace::new();
    encoder_decoder(&place);
    let rows = "text,target\nthe sea is deep,a ship sails\nthe sea is blue,the ship sails home\n";
    place.write("data.csv", rows);
    let options = ["--config", "lora[r=4]", "--eval", "data.csv"];
    let trained = succeeds(&place, &train("encoder-decoder", "data.csv", "seq2seq-lm", &options));
    let epochs = trained["epochs"].as_array().unwrap();
    let loss = |record: &Value| record["metrics"]["loss"].as_f64().unwrap();
    assert!(loss(epochs.last().unwrap()) < loss(&epochs[0]), "{trained:#}");
    let evaluate = ["evaluate", "--model", "encoder-decoder", "--adapter", "out", "--task", "seq2seq-lm"];
    let evaluate = [&evaluate[..], &["--data", "data.csv", "--max-new-tokens", "6", "--json", "-q"]].concat();
    let evaluated = succeeds(&place, &evaluate);
    assert!((evaluated["loss"].as_f64().unwrap() - loss(epochs.last().unwrap())).abs() < 1e-4);
    for metric in ["rouge1", "rouge2", "rougeL", "bleu"] {
        assert!(evaluated[metric].as_f64().unwrap() >= 0.0, "{evaluated:#}");
    }

    let score = ["score", "--model", "encoder-decoder", "--adapter", "out", "--json", "-q"];
    let texts = ["--text", "the sea is deep", "the sea is blue", "--target", "a ship sails", "the ship sails home"];
    let (_, stdout, stderr) = place.run([&score[..], &texts].concat());
    let scored: Vec<Value> = stdout.lines().map(json_of).collect();
    assert_eq!(scored.iter().map(|line| line["tokens"].as_u64().unwrap()).collect::<Vec<_>>(), [4, 5], "{stderr}");
    let sum: f64 = scored.iter().map(|line| line["log_likelihood"].as_f64().unwrap()).sum();
    assert!((evaluated["loss"].as_f64().unwrap() + sum / 9.0).abs() < 1e-4);
    fails(&place, &[&score[..], &texts[..5]].concat(), "a target for each text");
    decoder(&place);
    fails(&place, &["score", "--model", "decoder", "--text", "the", "--target", "sea"], "a decoder scores --text");

    // What a text needs, and what the task has no use for.
    place.write("missing.csv", "text,target\nthe sea,\n");
    fails(&place, &train("encoder-decoder", "missing.csv", "seq2seq-lm", &["--overwrite"]), "line 2");
    place.write("lines.txt", "the sea\n");
    fails(&place, &train("encoder-decoder", "lines.txt", "seq2seq-lm", &["--overwrite"]), "--format");
    let predict = ["predict", "--model", "encoder-decoder", "--adapter", "out", "--task", "seq2seq-lm", "--text", "a"];
    fails(&place, &predict, "burn-adapters generate");
}

#[test]
fn files_of_lines_have_no_labels() {
    let place = Workplace::with_data(8);
    lines(&place, "data.txt");
    decoder(&place);
    let labeled = ["--label-column", "label", "--overwrite"];
    fails(&place, &train("decoder", "data.txt", "causal-lm", &labeled), "needs no labels");
    place.write("short.txt", "sea\n\nthe\n");
    fails(&place, &train("decoder", "short.txt", "causal-lm", &["--overwrite"]), "no text has a token to predict");
    let classify = ["train", "--model", "model", "--data", "data.txt", "--output", "out", "-q"];
    fails(&place, &classify, "--format");
}
