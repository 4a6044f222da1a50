//! Conversations from outside: as data of `train` and `evaluate`, `inspect --data`, `generate --chat`, `chat`.

use std::fs;

use serde_json::{Value, json};

use crate::common::{Workplace, fails, succeeds};
use crate::models::decoder;

/// A template of words that the small models know: an answer ends with `<end>`.
const TEMPLATE: &str =
    "{% for m in messages %}{{ m.content }} {% if m.role == 'assistant' %}<end> {% endif %}{% endfor %}";

const CHATS: &str = r#"{"messages": [{"role": "user", "content": "the sea"}, {"role": "assistant", "content": "is deep"}]}
{"messages": [{"role": "user", "content": "a ship"}, {"role": "assistant", "content": "sails home"}]}
{"messages": [{"role": "user", "content": "the ship"}, {"role": "assistant", "content": "is blue"}]}
{"messages": [{"role": "system", "content": "home"}, {"role": "user", "content": "the sea"}, {"role": "assistant", "content": "is blue and deep"}]}
"#;

/// A decoder with a chat template.
fn chat_model(place: &Workplace) {
    let dir = decoder(place);
    fs::write(dir.join("chat_template.jinja"), TEMPLATE).unwrap();
}

fn train<'a>(data: &'a str, extra: &[&'a str]) -> Vec<&'a str> {
    let options = ["train", "--model", "decoder", "--task", "causal-lm", "--data", data, "--config", "lora[r=4]"];
    let options = options.into_iter().chain(["--epochs", "8", "--learning-rate", "0.05", "--batch-size", "2"]);
    options.chain(["--output", "out", "--name", "a", "--json", "--quiet"]).chain(extra.iter().copied()).collect()
}

/// Runs `chat` with some lines of input.
fn chat(place: &Workplace, arguments: &[&str], input: &str) -> (i32, String, String) {
    let fixed = ["chat", "--quiet", "--greedy", "--max-new-tokens", "4"];
    let output = place.program().args(fixed).args(arguments).write_stdin(input).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn conversations_are_trained_and_evaluated_on_the_answers_alone() {
    let place = Workplace::new();
    chat_model(&place);
    place.write("chats.jsonl", CHATS);
    let trained = succeeds(&place, &train("chats.jsonl", &["--eval", "chats.jsonl"]));
    let epochs = trained["epochs"].as_array().unwrap();
    let perplexity = |record: &Value| record["metrics"]["perplexity"].as_f64().unwrap();
    assert!(perplexity(epochs.last().unwrap()) < 0.7 * perplexity(&epochs[0]), "{trained:#}");

    let evaluate = ["evaluate", "--model", "decoder", "--task", "causal-lm", "--data", "chats.jsonl", "--json", "-q"];
    let of = |extra: &[&str]| succeeds(&place, &[&evaluate[..], extra].concat());
    let (answers, all) = (of(&[]), of(&["--loss-on", "all"]));
    let adapted = of(&["--adapter", "out"]);
    let number = |value: &Value| value["perplexity"].as_f64().unwrap();
    assert!((number(&answers) - number(&all)).abs() > 1e-3, "{answers} {all}");
    assert!(number(&adapted) < 0.7 * number(&answers), "{adapted}");
    assert_eq!(number(&of(&["--loss-on", "completion"])), number(&answers), "one answer each");
}

#[test]
fn only_answers_count_for_perplexity() {
    // A prompt with its completion as texts has the log-likelihood of the completion's tokens.
    let place = Workplace::new();
    decoder(&place);
    place.write("rows.jsonl", r#"{"prompt": "the sea is ", "completion": "deep"}"#);
    let evaluate = ["evaluate", "--model", "decoder", "--task", "causal-lm", "--data", "rows.jsonl", "--json", "-q"];
    let found = succeeds(&place, &evaluate);
    let score = |text: &str| {
        let line = succeeds(&place, &["score", "--model", "decoder", "--json", "-q", "--text", text]);
        line["log_likelihood"].as_f64().unwrap()
    };
    // `deep` and the end token that is put after it.
    let expected = ((score("the sea is") - score("the sea is deep<end>")) / 2.0).exp();
    let perplexity = found["perplexity"].as_f64().unwrap();
    assert!((perplexity - expected).abs() < 1e-4 * expected, "{perplexity} {expected}");
}

#[test]
fn inspect_marks_what_is_learned_and_counts_it() {
    let place = Workplace::new();
    chat_model(&place);
    let unanswered = r#"{"messages": [{"role": "user", "content": "a ship"}]}"#;
    let long = format!(
        r#"{{"messages": [{{"role": "user", "content": "{}"}}, {{"role": "assistant", "content": "sea"}}]}}"#,
        "sea ".repeat(30)
    );
    place.write("chats.jsonl", &format!("{CHATS}{unanswered}\n{long}\n"));
    let (code, stdout, stderr) = place.run(["inspect", "--model", "decoder", "--data", "chats.jsonl"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.contains("the sea ⟦is deep <end>⟧"), "{stdout}");
    assert!(
        stdout.contains("6 rows") && stdout.contains("2 rows without tokens that are learned, 1 rows cut"),
        "{stdout}"
    );
    let arguments = ["inspect", "--model", "decoder", "--data", "chats.jsonl", "--samples", "1", "--json"];
    let found = succeeds(&place, &arguments);
    let sample = json!([{"line": 1, "text": "the sea is deep <end> ", "tokens": 5, "trained_tokens": 3, "truncated": false,
                         "trained": [[8, 21]]}]);
    assert_eq!(found["samples"], sample);
    let counts = ["rows", "tokens", "trained_tokens", "untrained_rows", "truncated_rows"]
        .map(|key| found[key].as_u64().unwrap());
    assert_eq!(counts, [6, 49, 14, 2, 1]);
    // The rows are left out of training, which says so.
    let (code, _, stderr) = place.run(train("chats.jsonl", &[]));
    assert_eq!(code, 0, "{stderr}");
    assert!(
        stderr.contains("2 of 6 rows have no token that is learned") && stderr.contains("(the first on line 5)"),
        "{stderr}"
    );
    assert!(stderr.contains("1 of 6 texts are longer than 24 tokens"), "{stderr}");
}

#[test]
fn data_without_use_are_errors_that_say_what_to_do() {
    let place = Workplace::new();
    decoder(&place);
    place.write("chats.jsonl", CHATS);
    fails(&place, &train("chats.jsonl", &[]), "--chat-template FILE reads a template");
    place.write("template.jinja", TEMPLATE);
    place.write("broken.jinja", "a\n{% for m in messages %}");
    fails(&place, &train("chats.jsonl", &["--chat-template", "broken.jinja"]), "broken.jinja cannot be parsed, line 2");
    place.write("refuses.jinja", "{{ raise_exception('no system role') }}");
    fails(&place, &train("chats.jsonl", &["--chat-template", "refuses.jinja"]), "line 1: the chat template");
    fails(&place, &train("chats.jsonl", &["--chat-template", "none-there"]), "neither a file nor a template");
    let rows = [
        (r#"{"messages": [{"role": "user", "content": "the sea"}]}"#, "no token of any of the 1 rows is learned"),
        (r#"{"messages": [{"role": "pirate", "content": "the sea"}]}"#, "unknown role `pirate`"),
        (r#"{"messages": []}"#, "the conversation is empty"),
        (r#"{"question": "the sea"}"#, "`question`"),
        (r#"{"prompt": "a", "chosen": "b", "rejected": "c"}"#, "preference"),
    ];
    for (row, expected) in rows {
        place.write("rows.jsonl", row);
        fails(&place, &train("rows.jsonl", &["--chat-template", "template.jinja"]), expected);
    }
    place.write("texts.jsonl", r#"{"text": "the sea is deep"}"#);
    fails(&place, &train("texts.jsonl", &["--loss-on", "completion"]), "of texts, all is learned");
    place.model("model", 1);
    place.data("data.csv", 12);
    let classes = ["train", "--model", "model", "--data", "data.csv", "--output", "o", "--loss-on", "assistant"];
    fails(&place, &classes, "--loss-on assistant is for causal language modeling");
    fails(&place, &["inspect", "--model", "model", "--data", "data.csv"], "is not a .jsonl file");
}

#[test]
fn a_conversation_has_a_history_commands_and_adapters() {
    let place = Workplace::new();
    chat_model(&place);
    let two: Vec<&str> = CHATS.lines().skip(1).take(2).collect();
    place.write("two.jsonl", &two.join("\n"));
    let longer = train("two.jsonl", &["--no-base-dropout"]);
    let longer: Vec<&str> = longer.into_iter().map(|one| if one == "8" { "150" } else { one }).collect();
    succeeds(&place, &longer);
    let first = |stdout: &str| stdout.lines().next().unwrap().trim().to_owned();

    let model = ["--model", "decoder"];
    let (code, plain, stderr) = chat(&place, &model, "the sea\n");
    assert_eq!(code, 0, "{stderr}");
    let adapted = [&model[..], &["--adapter", "out", "--adapter", "b=out"]].concat();
    let (code, answer, stderr) = chat(&place, &adapted, "a ship\n/reset\nthe ship\n");
    assert_eq!((code, stderr.as_str()), (0, ""));
    // The adapter has learned its answers, and where they end.
    assert_eq!(answer.lines().map(str::trim).collect::<Vec<_>>(), ["sails home", "is blue"]);
    // What `generate --chat` says, too.
    let generate = ["generate", "--model", "decoder", "--chat", "--greedy", "--json", "-q", "--text", "a ship"];
    let found = succeeds(&place, &[&generate[..], &["--adapter", "out"]].concat());
    assert_eq!(found["generated"].as_str().unwrap().trim(), "sails home");
    assert_eq!(found["ids"].as_array().unwrap().last(), Some(&json!(0)));

    // Adapters are switched in the conversation.
    let (_, switched, _) = chat(&place, &adapted, "/none\nthe sea\n/reset\n/adapter b\na ship\n/quit\nthe sea\n");
    let answers: Vec<&str> = switched.lines().map(str::trim).collect();
    assert_eq!(answers, [first(&plain).as_str(), "sails home"]);
    // The second answer has read the first: after a reset, it differs.
    let options = [&model[..], &["--system", "deep"]].concat();
    let (_, system, _) = chat(&place, &options, "the sea\n");
    let (_, alone, _) = chat(&place, &model, "deep the sea\n");
    assert_eq!(system, alone, "the template writes one after the other");
    let words = format!("{} {}", "the sea", first(&plain));
    let ended = !words.contains("cut");
    let (_, twice, _) = chat(&place, &model, "the sea\na ship\n");
    let continued = format!("{words} <end> a ship");
    let (_, joined, _) = chat(&place, &model, &format!("{continued}\n"));
    assert!(ended && twice.lines().nth(1).unwrap().trim() == first(&joined), "{twice} {joined}");

    let (code, help, _) = chat(&place, &model, "/help\n");
    assert!(code == 0 && help.contains("/adapter NAME"), "{help}");
    for (input, expected) in [
        ("/adapter c\n", "there is no adapter `c`: loaded are `a`, `b`"),
        ("/adapter\n", "/adapter needs the name"),
        ("/what\n", "unknown command `/what`"),
        (&"the sea is deep ".repeat(9), "more than 24 tokens"),
    ] {
        let (code, _, stderr) = chat(&place, &adapted, input);
        assert!(code == 2 && stderr.contains(expected), "{input}: {stderr}");
    }
    let (code, _, stderr) = chat(&place, &[&model[..], &["--adapter", "out", "--adapter", "out"]].concat(), "");
    assert!(code == 2 && stderr.contains("two adapters are called `a`"), "{stderr}");
}

#[test]
fn a_model_without_a_template_says_how_to_give_one() {
    let place = Workplace::new();
    decoder(&place);
    place.model("encoder", 1);
    let (code, _, stderr) = chat(&place, &["--model", "decoder"], "the sea\n");
    assert!(code == 2 && stderr.contains("has no chat template") && stderr.contains("chatml"), "{stderr}");
    let generate = ["generate", "--model", "decoder", "--text", "the sea"];
    fails(&place, &[&generate[..], &["--chat"]].concat(), "has no chat template");
    fails(&place, &[&generate[..], &["--chat-template", "chatml"]].concat(), "--chat makes each text one");
    let (code, _, stderr) = chat(&place, &["--model", "encoder", "--chat-template", "chatml"], "good\n");
    assert!(code == 2 && stderr.contains("a conversation needs a decoder"), "{stderr}");
    // Of several templates, the default one is used, or the one that is named.
    let named = json!({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<end>", "unk_token": "<unk>",
                       "chat_template": [{"name": "default", "template": TEMPLATE}, {"name": "shout", "template": "sea {{ messages[-1].content }}"}]});
    fs::write(place.path("decoder").join("tokenizer_config.json"), named.to_string()).unwrap();
    let ids = |extra: &[&str]| {
        succeeds(&place, &[&generate[..], &["--chat", "--greedy", "--json", "-q"], extra].concat())["ids"].clone()
    };
    assert_ne!(ids(&[]), ids(&["--chat-template", "shout"]));
}

/// A GGUF file with a chat template and a token that ends turns among its metadata.
fn with_template(gguf: &[u8], template: &str, end: u32) -> Vec<u8> {
    let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let entry = |key: &str, kind: u32, value: &[u8]| [&text(key)[..], &kind.to_le_bytes(), value].concat();
    let number = entry("tokenizer.ggml.eot_token_id", 4, &end.to_le_bytes());
    // The tensors stay aligned: a comment fills the template up.
    let length = number.len() + entry("tokenizer.chat_template", 8, &text(template)).len() + 4;
    let template = format!("{template}{{#{}#}}", " ".repeat(length.next_multiple_of(32) - length));
    let entries = [number, entry("tokenizer.chat_template", 8, &text(&template))].concat();
    let count = u64::from_le_bytes(gguf[16..24].try_into().unwrap()) + 2;
    [&gguf[..16], &count.to_le_bytes(), &entries, &gguf[24..]].concat()
}

#[test]
fn a_gguf_file_brings_its_template_and_the_tokens_that_end_a_turn() {
    let place = Workplace::new();
    let gguf = fs::read(burn_adapters_goldens::folder().join("gguf/llama.gguf")).unwrap();
    fs::write(place.path("plain.gguf"), &gguf).unwrap();
    let generate = |model: &str, extra: &[&str]| {
        let fixed = [
            "generate",
            "--model",
            model,
            "--chat",
            "--greedy",
            "--max-new-tokens",
            "8",
            "--json",
            "-q",
            "--text",
            "sea",
        ];
        succeeds(&place, &[&fixed[..], extra].concat())["ids"].clone()
    };
    let chatml = generate("plain.gguf", &["--chat-template", "chatml", "--ignore-eos"]);
    let ids: Vec<u32> = serde_json::from_value(chatml.clone()).unwrap();
    fails(&place, &["generate", "--model", "plain.gguf", "--chat", "--text", "sea"], "has no chat template");

    let template = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
    fs::write(place.path("chat.gguf"), with_template(&gguf, template, 0)).unwrap();
    assert_eq!(generate("chat.gguf", &["--ignore-eos"]), chatml);
    // A token that the greedy text has ends it.
    fs::write(place.path("ends.gguf"), with_template(&gguf, template, ids[2])).unwrap();
    let end = ids.iter().position(|id| *id == ids[2]).unwrap();
    assert_eq!(generate("ends.gguf", &[]), json!(ids[..=end]));
    let (code, stdout, stderr) = chat(&place, &["--model", "chat.gguf"], "sea\n");
    assert_eq!(code, 0, "{stderr}");
    assert!(!stdout.contains("<|im_"), "{stdout}");

    place.write(
        "chats.jsonl",
        r#"{"messages": [{"role": "user", "content": "sea"}, {"role": "assistant", "content": "blue"}]}"#,
    );
    let arguments = ["inspect", "--model", "chat.gguf", "--data", "chats.jsonl", "--json"];
    let found = succeeds(&place, &arguments);
    let span: Vec<usize> = serde_json::from_value(found["samples"][0]["trained"][0].clone()).unwrap();
    assert_eq!(&found["samples"][0]["text"].as_str().unwrap()[span[0]..span[1]], "blue<|im_end|>\n");
}

#[test]
fn the_quickstart_answers_before_and_after() {
    let place = Workplace::new();
    chat_model(&place);
    place.write("chats.jsonl", &CHATS.repeat(5));
    let quickstart =
        ["quickstart", "--chat", "--model", "decoder", "--data", "chats.jsonl", "--epochs", "4", "--quiet"];
    let options = ["--config", "lora[r=4]", "--learning-rate", "0.05", "--text", "the sea", "a ship", "--dir", "out"];
    let result = succeeds(&place, &[&quickstart[..], &options, &["--json"]].concat());
    assert_eq!(result["examples"], json!({"train": 18, "held_out": 2}));
    let number = |key: &str| result[key].as_f64().unwrap();
    assert!(number("perplexity") < 0.7 * number("perplexity_before"), "{result:#}");
    let answers = result["answers"].as_array().unwrap();
    assert_eq!((answers.len(), &answers[0]["text"]), (2, &json!("the sea")));
    assert_ne!(answers[0]["before"], answers[0]["after"]);
    assert_eq!(result["epochs"].as_array().unwrap().len(), 5);
    for file in ["adapter_config.json", "adapter.safetensors", "curve.svg", "result.json"] {
        assert!(place.path("out").join(file).is_file(), "{file}");
    }
    // It may be run again over its own results, and prints a table.
    let (code, out, err) = place.run([&quickstart[..], &options].concat());
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("held-out perplexity") && out.contains("> the sea\n  before: "), "{out}");
    let score = ["score", "--model", "decoder", "--adapter", "out", "--text", "the sea is", "--json", "-q"];
    assert!(succeeds(&place, &score)["log_likelihood"].is_number());
}
