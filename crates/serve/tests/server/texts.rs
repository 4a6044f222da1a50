//! Texts: completions and chats, whole and streamed.

use std::io::{Read, Write};

use serde_json::{Value, json};

use crate::common::{Filled, METHODS, Place, at_once, eventually};

const PROMPTS: [&str; 4] = ["w5 w6 w7", "w9", "w11 w3 w8 w2 w20 w31 w44", "w50 w51 w52 w53 w54"];

#[test]
fn requests_of_all_adapters_at_once_get_the_same_as_alone() {
    let place = Place::decoder();
    let server = place.serve(|_| {});
    let models: Vec<&str> = METHODS.iter().map(|(name, _)| *name).chain(["base"]).collect();
    let plans: Vec<(String, &str, usize)> = (0..28)
        .map(|index| (models[index % models.len()].to_owned(), PROMPTS[index % PROMPTS.len()], 3 + index * 5 % 23))
        .collect();
    let (client, of_threads) = (server.client.clone(), plans.clone());
    let found = at_once(plans.len(), move |index| {
        let (model, prompt, count) = &of_threads[index];
        client.complete(model, prompt, *count)
    });
    for ((model, prompt, count), found) in plans.iter().zip(found) {
        assert_eq!(found, place.alone(model, prompt, *count), "{model}: {prompt}");
    }
    assert_eq!(server.client.metric("vllm:num_requests_running"), 0.0);
    assert!(server.client.metric("vllm:generation_tokens_total") > 100.0);
}

#[test]
fn a_stream_has_the_text_in_pieces() {
    let place = Place::decoder();
    let server = place.serve(|_| {});
    let body = json!({
        "model": "prefix", "prompt": PROMPTS[0], "max_tokens": 9, "temperature": 0, "ignore_eos": true, "stream": true,
        "stream_options": {"include_usage": true},
    });
    let mut events = server.client.post("/v1/completions", &body).events();
    let usage = events.pop().unwrap();
    assert_eq!(usage["usage"], json!({"prompt_tokens": 3, "completion_tokens": 9, "total_tokens": 12}));
    let text: String = events.iter().map(|event| event["choices"][0]["text"].as_str().unwrap()).collect();
    assert_eq!(text, place.alone("prefix", PROMPTS[0], 9));
    assert!(events.len() > 5, "{events:?}");
    assert_eq!(events.last().unwrap()["choices"][0]["finish_reason"], "length");

    let messages =
        json!([{"role": "user", "content": "w5 w6"}, {"role": "user", "content": [{"type": "text", "text": "w7"}]}]);
    let body = json!({"model": "lora", "messages": messages, "max_completion_tokens": 5, "temperature": 0,
                      "ignore_eos": true, "stream": true});
    let events = server.client.post("/v1/chat/completions", &body).events();
    assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
    let text = |event: &Value| event["choices"][0]["delta"]["content"].as_str().unwrap_or_default().to_owned();
    let streamed: String = events.iter().map(text).collect();
    // An answer is a text of its own.
    assert_eq!(streamed, place.alone("lora", PROMPTS[0], 5).trim_start());
    let mut whole = body.clone();
    whole["stream"] = json!(false);
    let answer = server.client.post("/v1/chat/completions", &whole).json();
    assert_eq!(answer["choices"][0]["message"]["content"], streamed);
    assert_eq!(answer["object"], "chat.completion");
}

#[test]
fn texts_end_at_stops_and_end_tokens() {
    let place = Place::decoder();
    let server = place.serve(|_| {});
    let whole = place.alone("base", PROMPTS[0], 12);
    let words: Vec<&str> = whole.split(' ').collect();
    let stop = words[5];
    let body = json!({"model": "base", "prompt": PROMPTS[0], "max_tokens": 12, "temperature": 0, "ignore_eos": true,
                      "stop": [stop, "nothing like it"]});
    let answer = server.client.post("/v1/completions", &body).json();
    assert_eq!(answer["choices"][0]["text"], whole[..whole.find(stop).unwrap()]);
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    // A stop that begins in one token and ends in another, of which nothing is sent.
    let stop = format!("{} {}", &words[4][1..], &words[5][..2]);
    let body = json!({"model": "base", "prompt": PROMPTS[0], "max_tokens": 400, "temperature": 0, "ignore_eos": true,
                      "stop": stop, "stream": true});
    let expected = &whole[..whole.find(&stop).unwrap()];
    let events = server.client.post("/v1/completions", &body).events();
    let text: String = events.iter().map(|event| event["choices"][0]["text"].as_str().unwrap()).collect();
    assert_eq!(text, expected);
    // The batch does not continue what has ended.
    eventually("an empty batch", || server.client.metric("vllm:num_requests_running") == 0.0);
    let tokens = server.client.metric("vllm:generation_tokens_total");
    assert!(tokens < 200.0, "{tokens} tokens");
}

#[test]
fn a_seed_gives_the_same_texts_and_n_gives_several() {
    let place = Place::decoder();
    let server = place.serve(|_| {});
    let body = json!({"model": "ia3", "prompt": [PROMPTS[0], PROMPTS[1]], "max_tokens": 8, "temperature": 2.5, "seed": 7,
                      "n": 3, "ignore_eos": true, "top_p": 0.99});
    let texts = || {
        let answer = server.client.post("/v1/completions", &body).json();
        let choices = answer["choices"].as_array().unwrap().clone();
        assert!(choices.iter().enumerate().all(|(index, choice)| choice["index"] == index));
        choices.iter().map(|choice| choice["text"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let found = texts();
    assert_eq!(found.len(), 6);
    assert_eq!(found, texts());
    let distinct: std::collections::BTreeSet<_> = found.iter().collect();
    assert!(distinct.len() > 4, "{found:?}");
    // As tokens, the prompts are the same.
    let mut tokens = body.clone();
    tokens["prompt"] = json!([[5, 6, 7], [9]]);
    assert_eq!(server.client.post("/v1/completions", &tokens).json()["choices"][3]["text"], found[3]);
}

#[test]
fn probabilities_are_those_of_the_tokens() {
    let place = Place::decoder();
    let server = place.serve(|_| {});
    let body = json!({"model": "reft", "prompt": PROMPTS[2], "max_tokens": 4, "temperature": 0, "ignore_eos": true,
                      "logprobs": 3});
    let answer = server.client.post("/v1/completions", &body).json();
    let choice = &answer["choices"][0];
    let logprobs = &choice["logprobs"];
    let tokens: Vec<&str> =
        logprobs["tokens"].as_array().unwrap().iter().map(|token| token.as_str().unwrap()).collect();
    assert_eq!(tokens.join(" "), choice["text"].as_str().unwrap().trim());
    for index in 0..4 {
        let own = logprobs["token_logprobs"][index].as_f64().unwrap();
        let top = logprobs["top_logprobs"][index].as_object().unwrap();
        let values: Vec<f64> = top.values().map(|value| value.as_f64().unwrap()).collect();
        assert_eq!(values.len(), 3);
        assert!(values.iter().all(|value| *value <= own) && values.iter().map(|value| value.exp()).sum::<f64>() <= 1.0);
        assert_eq!(top[tokens[index]].as_f64(), Some(own));
    }
    let body = json!({"model": "reft", "messages": [{"role": "user", "content": PROMPTS[2]}], "max_tokens": 4,
                      "temperature": 0, "ignore_eos": true, "logprobs": true, "top_logprobs": 2});
    let answer = server.client.post("/v1/chat/completions", &body).json();
    let content = answer["choices"][0]["logprobs"]["content"].as_array().unwrap().clone();
    assert_eq!(content.len(), 4);
    assert_eq!(content[0]["token"], tokens[0]);
    assert_eq!(content[0]["top_logprobs"].as_array().unwrap().len(), 2);
    assert_eq!(content[0]["bytes"], json!(tokens[0].as_bytes()));
}

#[test]
fn an_unknown_model_is_never_the_base() {
    let place = Place::decoder();
    let server = place.serve(|_| {});
    for (path, body) in [
        ("/v1/completions", json!({"model": "lorra", "prompt": "w5"})),
        ("/v1/chat/completions", json!({"model": "lorra", "messages": [{"role": "user", "content": "w5"}]})),
        ("/v1/embeddings", json!({"model": "lorra", "input": "w5"})),
        ("/v1/classify", json!({"model": "lorra", "input": "w5"})),
    ] {
        let answer = server.client.post(path, &body);
        assert!(answer.error(404).contains("did you mean `lora`"), "{answer:?}");
        assert_eq!(answer.json()["error"]["nearest"], json!(["lora"]));
        assert_eq!(answer.json()["error"]["code"], "model_not_found");
    }
    let models = server.client.get("/v1/models").json();
    let ids: Vec<&str> = models["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["base", "bottleneck", "ia3", "lora", "prefix", "prompt", "reft"]);
}

#[test]
fn requests_that_cannot_be_meant_are_refused() {
    let place = Place::decoder();
    let server = place.serve(|options| options.max_tokens = 100);
    let long = "w5 ".repeat(600);
    let request = |change: Value| {
        let mut body = json!({"model": "base", "prompt": "w5", "max_tokens": 2});
        let Value::Object(change) = change else { panic!("an object") };
        change.into_iter().for_each(|(key, value)| body[key] = value);
        body
    };
    for (change, expected) in [
        (json!({"prompt": 7}), "not as expected"),
        (json!({"prompt": []}), "0 texts"),
        (json!({"prompt": ""}), "no tokens"),
        (json!({"prompt": [5, 61]}), "token 61 is not in the vocabulary"),
        (json!({"prompt": long}), "512 tokens"),
        (json!({"prompt": "w5 ".repeat(510), "max_tokens": 9}), "at most 512"),
        (json!({"max_tokens": 0}), "at least 1"),
        (json!({"max_tokens": 101}), "at most 100"),
        (json!({"max_tokens": -1}), "not as expected"),
        (json!({"temperature": -0.5}), "temperature is -0.5"),
        (json!({"temperature": "hot"}), "not as expected"),
        (json!({"top_p": 0}), "top_p is 0"),
        (json!({"n": 0}), "n is 0"),
        (json!({"n": 1000}), "n is 1000"),
        (json!({"stop": [""]}), "stop takes"),
        (json!({"logprobs": 21}), "at most 20"),
        (json!({"top_k": -3}), "top_k is -3"),
        (json!({"tempertaure": 1}), "did you mean `temperature`?"),
        (json!({"presence_penalty": 0.5}), "`presence_penalty` is not supported"),
        (json!({"echo": true}), "`echo` is not supported"),
    ] {
        let answer = server.client.post("/v1/completions", &request(change.clone()));
        assert!(answer.error(400).contains(expected), "{change}: {answer:?}");
    }
    // What changes nothing is taken.
    let neutral = json!({"presence_penalty": 0, "logit_bias": {}, "user": "someone", "best_of": 1, "echo": false});
    assert_eq!(server.client.post("/v1/completions", &request(neutral)).status, 200);
    for (messages, expected) in [
        (json!([]), "conversation is empty"),
        (json!([{"role": "wizard", "content": "w5"}]), "unknown role `wizard`"),
        (json!([{"role": "user", "content": [{"type": "image_url"}]}]), "image_url"),
    ] {
        let body = json!({"model": "base", "messages": messages});
        let answer = server.client.post("/v1/chat/completions", &body);
        assert!(answer.error(400).contains(expected), "{answer:?}");
    }
}

#[test]
fn a_client_that_goes_away_holds_up_nobody() {
    let place = Place::decoder();
    let server = place.serve(|options| options.max_batch = 2);
    let body = json!({"model": "lora", "prompt": "w5", "max_tokens": 500, "temperature": 0, "ignore_eos": true,
                      "stream": true});
    let bytes = server.client.bytes("POST", "/v1/completions", body.to_string().as_bytes());
    for _ in 0..6 {
        let mut stream = server.client.connect();
        stream.write_all(&bytes).unwrap();
        let mut some = [0; 64];
        stream.read_exact(&mut some).unwrap();
        // The stream is closed here, in the middle of the text.
    }
    assert_eq!(server.client.complete("ia3", PROMPTS[0], 5), place.alone("ia3", PROMPTS[0], 5));
    eventually("an empty batch", || server.client.metric("vllm:num_requests_running") == 0.0);
    // Nobody is waited for, and nothing is computed for nobody.
    let tokens = server.client.metric("vllm:generation_tokens_total");
    assert!(tokens < 1500.0, "{tokens} of 3000 tokens");
}

#[test]
fn a_long_prompt_takes_turns_with_short_ones() {
    let place = Place::decoder();
    let server = place.serve(|options| options.prompt_tokens = 4);
    let prompt = "w5 w9 w13 w17 ".repeat(60);
    let (client, long) = (server.client.clone(), prompt.clone());
    let thread = std::thread::spawn(move || client.complete("bottleneck", &long, 8));
    let short = server.client.complete("lora", PROMPTS[3], 6);
    assert_eq!(short, place.alone("lora", PROMPTS[3], 6));
    assert_eq!(thread.join().unwrap(), place.alone("bottleneck", &prompt, 8));
}

#[test]
fn an_adapter_whose_numbers_overflow_fails_its_own_requests_only() {
    let mut place = Place::decoder();
    place.adapter_of("broken", "lora[r=4]", &mut Filled(1e30));
    let server = place.serve(|_| {});
    let client = server.client.clone();
    let found = at_once(12, move |index| {
        let model = ["broken", "lora", "prefix"][index % 3];
        let body =
            json!({"model": model, "prompt": PROMPTS[1], "max_tokens": 20, "temperature": 0, "ignore_eos": true});
        client.post("/v1/completions", &body)
    });
    for (index, answer) in found.iter().enumerate() {
        match index % 3 {
            0 => assert!(answer.error(500).contains("NaN or infinite"), "{answer:?}"),
            other => {
                let expected = place.alone(["", "lora", "prefix"][other], PROMPTS[1], 20);
                assert_eq!(answer.json()["choices"][0]["text"], expected);
            }
        }
    }
}
