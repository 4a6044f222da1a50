//! `generate` from outside: texts, JSON, streaming, stops, adapters.

use std::fs;

use serde_json::{Value, json};

use crate::common::{Workplace, json_of};
use crate::models::{WORDS, decoder};

const GREEDY: [&str; 8] =
    ["generate", "--model", "decoder", "--greedy", "--ignore-eos", "--max-new-tokens", "6", "--quiet"];

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(json_of).collect()
}

#[test]
fn json_has_the_new_text_and_its_tokens() {
    let place = Workplace::new();
    decoder(&place);
    let texts = ["--json", "--text", "the sea is", "a ship"];
    let (code, stdout, stderr) = place.run(GREEDY.iter().chain(&texts));
    assert_eq!((code, stderr.as_str()), (0, ""));
    let found = lines(&stdout);
    assert_eq!(found.len(), 2);
    for (line, text) in found.iter().zip(["the sea is", "a ship"]) {
        assert_eq!(line["text"], text);
        let ids: Vec<usize> = serde_json::from_value(line["ids"].clone()).unwrap();
        assert_eq!(ids.len(), 6);
        let words: Vec<&str> = ids.iter().filter(|id| **id != 0).map(|id| WORDS[*id]).collect();
        assert_eq!(line["generated"].as_str().unwrap().split_whitespace().collect::<Vec<_>>(), words);
    }
    // Alone, without --json, the text is streamed.
    let (code, stdout, _) = place.run(GREEDY.iter().chain(&["--text", "a ship"]));
    assert_eq!((code, stdout.trim_end()), (0, found[1]["generated"].as_str().unwrap().trim_end()));
}

#[test]
fn a_seed_gives_the_same_text_and_none_says_which_it_took() {
    let place = Workplace::new();
    decoder(&place);
    let run = |seed: &[&str]| {
        let arguments = ["generate", "--model", "decoder", "--text", "the sea", "--json", "--temperature", "2"];
        let (code, stdout, stderr) = place.run(arguments.iter().chain(seed));
        assert_eq!(code, 0, "{stderr}");
        (stdout, stderr)
    };
    assert_eq!(run(&["--seed", "7"]).0, run(&["--seed", "7"]).0);
    let (text, said) = run(&[]);
    let seed = said.lines().find_map(|line| line.trim().strip_prefix("--seed ")).unwrap_or_else(|| panic!("{said}"));
    assert_eq!(run(&["--seed", seed]).0, text);
}

#[test]
fn a_text_ends_before_a_stop_string() {
    let place = Workplace::new();
    decoder(&place);
    let (_, whole, _) = place.run(GREEDY.iter().chain(&["--text", "the sea is"]));
    let words: Vec<&str> = whole.split_whitespace().collect();
    let stop = words[2];
    let (code, found, _) = place.run(GREEDY.iter().chain(&["--text", "the sea is", "--stop", stop]));
    assert_eq!(code, 0);
    assert_eq!(found.trim(), whole[..whole.find(stop).unwrap()].trim());
    // The tokens of a beam search end there, too.
    let beams = ["generate", "--model", "decoder", "--beams", "2", "--ignore-eos", "--max-new-tokens", "6", "--json"];
    let beams = [beams.as_slice(), &["--quiet", "--text", "the sea is"]].concat();
    let (_, whole, _) = place.run(&beams);
    let whole: Vec<usize> = serde_json::from_value(lines(&whole)[0]["ids"].clone()).unwrap();
    let stop = whole.iter().position(|id| *id != 0).unwrap();
    let (code, found, _) = place.run([beams.as_slice(), &["--stop", WORDS[whole[stop]]]].concat());
    let found = &lines(&found)[0];
    assert_eq!((code, &found["ids"]), (0, &json!(whole[..=stop])));
    assert_eq!(found["generated"].as_str().unwrap().trim(), "");
}

#[test]
fn the_models_generation_settings_are_the_defaults() {
    let place = Workplace::new();
    let dir = decoder(&place);
    let run = |config: Value, arguments: &[&str]| {
        fs::write(dir.join("generation_config.json"), config.to_string()).unwrap();
        let fixed = ["generate", "--model", "decoder", "--max-new-tokens", "6", "--json", "--text", "the sea is"];
        let (code, stdout, stderr) = place.run(fixed.iter().chain(arguments));
        assert_eq!(code, 0, "{stderr}");
        let ids: Vec<usize> = serde_json::from_value(lines(&stdout)[0]["ids"].clone()).unwrap();
        (ids, stderr)
    };
    let plain = json!({"do_sample": false, "eos_token_id": 1});
    let (greedy, stderr) = run(plain.clone(), &["--greedy"]);
    assert!(!stderr.contains("note:") && greedy.len() == 6, "{stderr}");
    assert_eq!(run(plain.clone(), &[]).0, greedy, "do_sample");
    let end = greedy[2];
    let ended = run(json!({"do_sample": false, "eos_token_id": [end, 1]}), &[]).0;
    assert_eq!(ended, greedy[..=greedy.iter().position(|id| *id == end).unwrap()], "eos_token_id");
    assert_ne!(run(json!({"do_sample": false, "eos_token_id": 1, "repetition_penalty": 9.0}), &[]).0, greedy);
    let beams = json!({"num_beams": 3, "length_penalty": 0.5, "eos_token_id": 1});
    let (found, _) = run(beams.clone(), &[]);
    assert_eq!(found, run(plain.clone(), &["--beams", "3", "--length-penalty", "0.5"]).0, "num_beams");
    // What is asked for goes before the model's settings.
    assert_eq!(run(beams, &["--greedy"]).0, greedy);
    let (_, stderr) = run(plain, &["--temperature", "2"]);
    assert!(stderr.contains("--seed"), "{stderr}");
    let sampled = json!({"do_sample": true, "temperature": 3.0, "top_k": 5, "eos_token_id": 1});
    let options = ["--temperature", "3", "--top-k", "5", "--seed", "4"];
    assert_eq!(run(sampled, &["--seed", "4"]).0, run(json!({"eos_token_id": 1}), &options).0);
    let (_, stderr) = run(json!({"min_length": 4, "forced_bos_token_id": 3}), &["--greedy"]);
    assert!(stderr.contains("not used: min_length"), "{stderr}");
}

#[test]
fn adapters_and_routes_change_the_text() {
    let place = Workplace::new();
    let model = decoder(&place);
    // An adapter of a classifier serves here: what counts is that it acts.
    for (name, seed) in [("one", "1"), ("two", "2")] {
        let data =
            place.write("data.csv", "text,label\nthe sea is deep,x\na ship sails,y\nthe sea is blue,x\na ship,y\n");
        let arguments = ["train", "--epochs", "20", "--learning-rate", "0.1", "--config", "lora[r=2]", "--quiet"];
        let mut command = place.program();
        command.args(arguments).args(["--name", name, "--seed", seed, "--output", name]);
        command.arg("--model").arg(&model).arg("--data").arg(data).assert().success();
    }
    let run = |arguments: &[&str]| {
        let (code, stdout, stderr) = place.run(GREEDY.iter().chain(&["--json"]).chain(arguments));
        assert_eq!(code, 0, "{stderr}");
        lines(&stdout).into_iter().map(|line| line["ids"].clone()).collect::<Vec<_>>()
    };
    let plain = run(&["--text", "the sea is"]);
    let one = run(&["--adapter", "one", "--text", "the sea is"]);
    let two = run(&["--adapter", "two", "--text", "the sea is"]);
    assert!(plain != one && plain != two, "{plain:?} {one:?} {two:?}");
    let both = ["--adapter", "one", "--adapter", "two", "--setup", "Route([one, two, none])"];
    let routed = run(&[both.as_slice(), &["--text", "the sea is", "the sea is", "the sea is"]].concat());
    assert_eq!(routed, [one, two, plain].concat());
}

#[test]
fn mistakes_are_told() {
    let place = Workplace::new();
    decoder(&place);
    place.model("encoder", 1);
    let long = "sea ".repeat(25);
    let headless = place.path("headless");
    fs::create_dir_all(&headless).unwrap();
    for file in ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"] {
        fs::copy(place.path("decoder").join(file), headless.join(file)).unwrap();
    }
    let mut config = json_of(&fs::read_to_string(headless.join("config.json")).unwrap());
    config["tie_word_embeddings"] = json!(false);
    fs::write(headless.join("config.json"), config.to_string()).unwrap();
    let cases: [(&[&str], &str); 11] = [
        (&["--model", "decoder", "--temperature", "0"], "--temperature is 0"),
        (&["--model", "decoder", "--greedy", "--seed", "3"], "cannot be used with"),
        (&["--model", "decoder", "--stop", ""], "--stop is empty"),
        (&["--model", "decoder", "--beams", "0"], "--beams is 0"),
        (&["--model", "encoder", "--greedy"], "no decoder"),
        (&["--model", "decoder", "--adapter", "none-there"], "none-there"),
        (&["--model", "decoder", "--head", "none-there"], "no adapter is given"),
        (&["--model", "decoder", "--fusion", "none-there"], "no adapter is given"),
        (&["--model", "decoder", "--skip-layers", "0"], "no adapter is given"),
        (&["--model", "headless", "--greedy"], "no language-model head"),
        (&["--model", "decoder", "--text", &long], "more than 24 tokens"),
    ];
    for (arguments, expected) in cases {
        let (code, stdout, stderr) = place.run(["generate", "--text", "the sea"].iter().chain(arguments));
        assert!(code == 2 && stdout.is_empty(), "{arguments:?}: {code} {stdout}");
        assert!(stderr.contains(expected), "{arguments:?}: {stderr}");
    }
    let (code, _, stderr) = place.run(["generate", "--model", "decoder", "--greedy", "--text", ""]);
    assert!(code == 2 && stderr.contains("no tokens"), "{stderr}");
}

#[test]
fn texts_are_scored_by_every_token_but_the_first() {
    let place = Workplace::new();
    decoder(&place);
    let score = ["score", "--model", "decoder", "--quiet", "--json", "--text"];
    let (code, stdout, stderr) = place.run(score.iter().chain(&["the sea is deep", "a ship", "a ship sails"]));
    assert_eq!((code, stderr.as_str()), (0, ""));
    let found = lines(&stdout);
    let number = |line: &Value, key: &str| line[key].as_f64().unwrap();
    for (line, tokens) in found.iter().zip([3_u32, 1, 2]) {
        assert_eq!(line["tokens"], tokens);
        let perplexity = (-number(line, "log_likelihood") / f64::from(tokens)).exp();
        assert!((perplexity - number(line, "perplexity")).abs() < 1e-9 * perplexity, "{line}");
    }
    // The two texts with a common beginning differ by the probability of the last token.
    assert!(number(&found[2], "log_likelihood") < number(&found[1], "log_likelihood"));
    // Over all continuations the probabilities add up to 1.
    let texts: Vec<String> = WORDS[1..].iter().map(|word| format!("the {word}")).collect();
    let texts: Vec<&str> = texts.iter().map(|text| if text == "the <unk>" { "the zebra" } else { text }).collect();
    let (_, stdout, _) = place.run(score.iter().chain(&texts).chain(&["the <end>"]));
    let sum: f64 = lines(&stdout).iter().map(|line| number(line, "log_likelihood").exp()).sum();
    assert!((sum - 1.0).abs() < 1e-5, "{sum}");

    let (code, stdout, _) = place.run(["score", "--model", "decoder", "--quiet", "--text", "a ship"]);
    assert!(code == 0 && stdout.contains("perplexity") && stdout.contains("a ship"), "{stdout}");
    let (code, _, stderr) = place.run(["score", "--model", "decoder", "--text", "ship"]);
    assert!(code == 2 && stderr.contains("fewer than two tokens"), "{stderr}");
}
