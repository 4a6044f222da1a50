//! Encoders: classes, tags, answers and embeddings.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use burn::module::Module;
use burn_adapters_checkpoint::{SaveOptions, save_head};
use burn_adapters_goldens::Noise;
use burn_adapters_heads::HeadConfig;
use burn_adapters_model::{Forward, Setup, TokenBatch};
use burn_adapters_train::{Dataset, TokenData, predict, train_task};
use serde_json::{Value, json};

use crate::common::{Answer, Filled, Place, VOCABULARY, at_once};

/// A small encoder with adapters of several tasks.
fn encoder() -> Place {
    let config = json!({
        "model_type": "bert", "vocab_size": VOCABULARY, "hidden_size": 16, "intermediate_size": 24,
        "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 40, "type_vocab_size": 2,
    });
    let mut place = Place::new(&config);
    for (seed, (name, method, head)) in [
        ("films", "lora[r=4]", HeadConfig::classification(3)),
        ("tweets", "prefix_tuning_flat[prefix_length=2]", HeadConfig::classification(2)),
        ("stars", "seq_bn[reduction_factor=2]", HeadConfig::regression()),
        ("names", "ia3", HeadConfig::tagging(3)),
        ("squad", "seq_bn[reduction_factor=4]", HeadConfig::question_answering()),
    ]
    .into_iter()
    .enumerate()
    {
        let dir = place.adapter(name, method, seed as u32);
        place.bank.add_head_seeded(name, &head, seed as u64).unwrap();
        let head = place.bank.remove_head(name).unwrap().map(&mut Noise::new(0.5, 40 + seed as u32));
        place.bank.insert_head(name, head).unwrap();
        save(&place, name, &dir);
    }
    place.adapter("headless", "ia3", 9);
    place
}

fn save(place: &Place, name: &str, dir: &Path) {
    save_head(dir, &place.bank, name, &SaveOptions::default()).unwrap();
}

/// The logits of an adapter's head for a text.
fn logits(place: &Place, name: &str, text: &str) -> Vec<f64> {
    let data = Dataset::from_texts("test", [text]);
    let form = train_task(place.bank.head(name).unwrap().config()).form();
    let tokens = TokenData::unlabeled(&data, form, &place.tokenizer, 40).unwrap();
    let found = predict(&place.model, &place.bank, &Setup::adapter(name), &tokens, 1).unwrap();
    found[0].logits.iter().map(|value| f64::from(*value)).collect()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap_or_else(|| panic!("{value}")).iter().map(|number| number.as_f64().unwrap()).collect()
}

fn close(one: &[f64], other: &[f64]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| (one - other).abs() < 1e-4)
}

#[test]
fn adapters_of_several_tasks_answer_in_one_batch() {
    let place = encoder();
    let server = place.serve(|_| {});
    let cases = [
        ("/v1/classify", "films", "w5 w6 w7"),
        ("/v1/classify", "tweets", "w8 w9"),
        ("/v1/classify", "stars", "w10 w11 w12 w13"),
        ("/v1/tag", "names", "w14 w15 w16"),
    ];
    let client = server.client.clone();
    let found = at_once(32, move |index| {
        let (path, model, text) = cases[index % 4];
        client.post(path, &json!({"model": model, "input": [text, "w20"]})).json()
    });
    for (index, answer) in found.iter().enumerate() {
        let (_, model, text) = cases[index % 4];
        for (index, text) in [text, "w20"].iter().enumerate() {
            let row = &answer["data"][index];
            assert_eq!(row["index"], index);
            let found = match model {
                "names" => {
                    row["tokens"].as_array().unwrap().iter().flat_map(|token| numbers(&token["logits"])).collect()
                }
                _ => numbers(&row["logits"]),
            };
            assert!(close(&found, &logits(&place, model, text)), "{model}: {answer}");
        }
    }
    assert_eq!(found[0]["data"][0]["probs"].as_array().unwrap().len(), 3);
    assert_eq!(found[0]["truncated"], 0);
}

#[test]
fn questions_are_answered_from_their_context() {
    let place = encoder();
    let server = place.serve(|_| {});
    let context = "w20 w21 w22 ".repeat(30);
    let body = json!({"model": "squad", "question": "w5 w6", "context": context});
    let answer = server.client.post("/v1/answer", &body).json();
    let found = &answer["data"][0];
    let text = found["answer"].as_str().unwrap_or_else(|| panic!("{answer}"));
    assert!(context.contains(text), "{answer}");
}

#[test]
fn what_a_head_does_not_do_is_told() {
    let place = encoder();
    let server = place.serve(|_| {});
    let classify =
        |model: &str, input: Value| server.client.post("/v1/classify", &json!({"model": model, "input": input}));
    assert!(classify("names", json!("w5")).error(400).contains("/v1/tag"));
    assert!(classify("base", json!("w5")).error(400).contains("no head"));
    assert!(classify("headless", json!("w5")).error(400).contains("no prediction head"));
    assert!(classify("films", json!([])).error(400).contains("0 texts"));
    assert!(classify("films", json!(vec!["w5"; 200])).error(400).contains("200 texts"));
    assert_eq!(classify("films", json!("w5 ".repeat(100))).json()["truncated"], 1);
    let body = json!({"model": "films", "prompt": "w5"});
    assert!(server.client.post("/v1/completions", &body).error(400).contains("continues no texts"));
}

#[test]
fn embeddings_are_means_of_states() {
    let place = encoder();
    let server = place.serve(|_| {});
    let hooks = place.bank.hooks(&Setup::adapter("films")).unwrap();
    let output = place.model.forward(&TokenBatch::new([[5, 6, 7].as_slice()]), &hooks).unwrap();
    let mean: Vec<f32> = output.hidden.mean_dim(1).into_data().try_into_vec().unwrap();
    let norm = mean.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    let expected: Vec<f64> = mean.iter().map(|value| f64::from(*value) / norm).collect();
    let embed = |input: Value, format: &str| {
        let body = json!({"model": "films", "input": input, "encoding_format": format});
        server.client.post("/v1/embeddings", &body).json()
    };
    let found = embed(json!(["w5 w6 w7", "w8"]), "float");
    assert!(close(&numbers(&found["data"][0]["embedding"]), &expected), "{found}");
    assert_eq!(found["usage"]["prompt_tokens"], 4);
    assert!(close(&numbers(&embed(json!([5, 6, 7]), "float")["data"][0]["embedding"]), &expected));
    let bytes = STANDARD.decode(embed(json!("w5 w6 w7"), "base64")["data"][0]["embedding"].as_str().unwrap()).unwrap();
    let values: Vec<f64> =
        bytes.chunks(4).map(|bytes| f64::from(f32::from_le_bytes(bytes.try_into().unwrap()))).collect();
    assert!(close(&values, &expected));
    let body = json!({"model": "films", "input": "w5", "dimensions": 4});
    assert!(server.client.post("/v1/embeddings", &body).error(400).contains("dimensions"));
}

#[test]
fn a_request_that_fails_in_a_batch_fails_alone() {
    let mut place = encoder();
    let dir = place.adapter_of("broken", "lora[r=4]", &mut Filled(1e30));
    place.bank.add_head_seeded("broken", &HeadConfig::classification(3), 7).unwrap();
    save(&place, "broken", &dir);
    let server = place.serve(|_| {});
    for path in ["/v1/classify", "/v1/embeddings"] {
        let client = server.client.clone();
        let alone = client.post(path, &json!({"model": "films", "input": "w5 w6"}));
        assert_eq!(alone.status, 200, "{alone:?}");
        let found = at_once(24, move |index| {
            let model = ["films", "broken", "films"][index % 3];
            client.post(path, &json!({"model": model, "input": "w5 w6"}))
        });
        for (index, answer) in found.iter().enumerate() {
            match index % 3 {
                1 => drop(answer.error(500)),
                _ => assert!(close(&values(answer), &values(&alone)), "{path}: {answer:?}"),
            }
        }
    }
}

/// The numbers of the only text in an answer.
fn values(answer: &Answer) -> Vec<f64> {
    let row = &answer.json()["data"][0];
    numbers(row.get("logits").unwrap_or(&row["embedding"]))
}
