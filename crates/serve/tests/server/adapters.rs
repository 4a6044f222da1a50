//! Adapters that come and go while the server runs.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::common::{Place, at_once, copy, eventually, read_answer_after};

fn load(client: &crate::common::Client, name: &str, path: &str, change: Value) -> crate::common::Answer {
    let mut body = json!({"lora_name": name, "lora_path": path});
    let Value::Object(change) = change else { panic!("an object") };
    change.into_iter().for_each(|(key, value)| body[key] = value);
    client.post("/v1/load_lora_adapter", &body)
}

#[test]
fn adapters_are_loaded_replaced_and_unloaded() {
    let mut place = Place::decoder();
    let server = place.serve(|options| options.manage = true);
    let client = &server.client;
    let (lora, ia3) = (place.alone("lora", "w5 w6", 8), place.alone("ia3", "w5 w6", 8));
    assert_eq!(load(client, "new", "lora", json!({})).json()["generation"], 1);
    assert_eq!(client.complete("new", "w5 w6", 8), lora);
    // The same name again needs to be meant.
    assert!(load(client, "new", "ia3", json!({})).error(409).contains("generation 1"));
    assert!(
        load(client, "new", "ia3", json!({"load_inplace": true, "expected_generation": 2}))
            .error(409)
            .contains("found 1")
    );
    assert_eq!(client.complete("new", "w5 w6", 8), lora);
    let replaced = load(client, "new", "ia3", json!({"load_inplace": true, "expected_generation": 1}));
    assert_eq!(replaced.json()["generation"], 2);
    assert_eq!(client.complete("new", "w5 w6", 8), ia3);
    let list = client.get("/v1/lora_adapters").json();
    let new = list["data"].as_array().unwrap().iter().find(|one| one["name"] == "new").unwrap().clone();
    assert_eq!((&new["generation"], &new["in_memory"]), (&json!(2), &json!(true)));
    assert!(new["method"].as_str().unwrap().contains("ia3"), "{new}");
    let unload = |generation: Value| {
        client.post("/v1/unload_lora_adapter", &json!({"lora_name": "new", "expected_generation": generation}))
    };
    unload(json!(1)).error(409);
    assert_eq!(unload(json!(2)).status, 200);
    unload(Value::Null).error(404);
    let body = json!({"model": "new", "prompt": "w5"});
    client.post("/v1/completions", &body).error(404);
    // The model itself cannot be replaced.
    load(client, "base", "ia3", json!({"load_inplace": true})).error(409);
    // A damaged adapter leaves the former one as it was.
    let damaged = place.adapter("damaged", "lora[r=2]", 9);
    std::fs::write(damaged.join("adapter.safetensors"), b"nothing").unwrap();
    assert!(load(client, "lora", "damaged", json!({"load_inplace": true})).error(422).contains("cannot be used"));
    assert_eq!(client.complete("lora", "w5 w6", 8), lora);
}

#[test]
fn there_is_no_way_out_of_the_folder_of_adapters() {
    let place = Place::decoder();
    copy(&place.path("lora"), &place.dir.path().join("outside"));
    let server = place.serve(|options| options.manage = true);
    std::os::unix::fs::symlink(place.dir.path().join("outside"), place.path("link")).unwrap();
    let outside = place.dir.path().join("outside").display().to_string();
    for path in ["../outside", "lora/../../outside", &outside, "link", "/etc", ".", "", "no/such", "lora/\0"] {
        load(&server.client, "new", path, json!({})).error(403);
    }
    for name in ["", ".hidden", "../x", "a/b", "a\\b", "a\nb", "a\"b", &"x".repeat(129)] {
        load(&server.client, name, "lora", json!({})).error(400);
    }
    load(&server.client, "fine", "lora", json!({"force": true})).error(400);
    assert_eq!(load(&server.client, "fine", &place.path("lora").display().to_string(), json!({})).status, 200);
}

#[test]
fn the_least_recently_used_adapter_leaves_memory() {
    let place = Place::decoder();
    let server = place.serve(|options| {
        options.manage = true;
        options.max_resident = 2;
        options.max_adapters = 7;
    });
    let client = &server.client;
    let in_memory = || {
        let list = client.get("/v1/lora_adapters").json();
        let names = list["data"].as_array().unwrap().iter().filter(|one| one["in_memory"] == true);
        names.map(|one| one["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert!(in_memory().is_empty(), "adapters are read when they are asked for");
    for (model, expected) in [
        ("lora", vec!["lora"]),
        ("ia3", vec!["ia3", "lora"]),
        ("lora", vec!["ia3", "lora"]),
        ("prefix", vec!["lora", "prefix"]),
        ("ia3", vec!["ia3", "prefix"]),
    ] {
        assert_eq!(client.complete(model, "w9", 6), place.alone(model, "w9", 6));
        assert_eq!(in_memory(), expected);
    }
    assert_eq!(load(client, "seventh", "lora", json!({})).status, 200);
    assert!(load(client, "eighth", "lora", json!({})).error(429).contains("7 adapters"));
    // Adapters in use stay, and a request for another one does not wait for them: these have much to do.
    let of_threads = client.clone();
    let running = std::thread::spawn(move || {
        at_once(2, move |index| {
            let model = ["lora", "ia3"][index];
            let body = json!({"model": model, "prompt": "w5", "max_tokens": 400, "n": 8,
                              "ignore_eos": true});
            of_threads.post("/v1/completions", &body).status
        })
    });
    eventually("two running requests", || client.metric("vllm:num_requests_running") == 2.0);
    let third = client.post("/v1/completions", &json!({"model": "prompt", "prompt": "w5", "max_tokens": 1}));
    assert!(third.error(429).contains("in use") && third.head.contains("retry-after: 1"), "{third:?}");
    assert_eq!(running.join().unwrap(), [200, 200]);
    assert_eq!(client.complete("prompt", "w9", 6), place.alone("prompt", "w9", 6));
}

#[test]
fn adapters_in_memory_are_limited_in_bytes_and_forgotten_with_their_last_request() {
    let place = Place::decoder();
    let bytes = |name: &str| std::fs::metadata(place.path(name).join("adapter.safetensors")).unwrap().len();
    let server = place.serve(|options| {
        options.manage = true;
        // Each of them fits, but not both.
        options.max_resident_bytes = bytes("lora").max(bytes("bottleneck"));
    });
    let client = &server.client;
    let in_engine = |count: f64| {
        eventually("the engine to hold them", || client.metric("burn_adapters_adapters_in_memory") == count);
    };
    for model in ["lora", "bottleneck", "lora"] {
        assert_eq!(client.complete(model, "w9", 3), place.alone(model, "w9", 3));
        in_engine(1.0);
    }
    // A load that fails leaves nothing.
    std::fs::write(place.path("prefix").join("adapter.safetensors"), b"nothing").unwrap();
    load(client, "new", "prefix", json!({})).error(422);
    in_engine(1.0);
    client.post("/v1/unload_lora_adapter", &json!({"lora_name": "lora"}));
    in_engine(0.0);
}

#[test]
fn of_changes_at_once_that_expect_the_same_generation_one_is_made() {
    let place = Place::decoder();
    let server = place.serve(|options| options.manage = true);
    for generation in 0..5 {
        let client = server.client.clone();
        let statuses = at_once(6, move |index| {
            let change = json!({"load_inplace": true, "expected_generation": generation});
            load(&client, "contested", ["lora", "ia3", "reft"][index % 3], change).status
        });
        assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
        assert!(statuses.iter().all(|status| matches!(status, 200 | 409)), "{statuses:?}");
    }
    let client = server.client.clone();
    let statuses = at_once(6, move |_| {
        client.post("/v1/unload_lora_adapter", &json!({"lora_name": "contested", "expected_generation": 5})).status
    });
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
}

#[test]
fn a_request_ends_with_the_generation_that_it_began_with() {
    let place = Place::decoder();
    let server = place.serve(|options| options.manage = true);
    let client = &server.client;
    assert_eq!(load(client, "moving", "lora", json!({})).status, 200);
    let body = json!({"model": "moving", "prompt": "w5 w6", "max_tokens": 400, "temperature": 0, "ignore_eos": true,
                      "stream": true});
    let mut stream = client.connect();
    stream.write_all(&client.bytes("POST", "/v1/completions", body.to_string().as_bytes())).unwrap();
    let mut begun = [0; 256];
    stream.read_exact(&mut begun).unwrap();
    assert_eq!(load(client, "moving", "ia3", json!({"load_inplace": true})).status, 200);
    assert_eq!(client.complete("moving", "w5 w6", 3), place.alone("ia3", "w5 w6", 3));
    let answer = read_answer_after(&begun, &mut stream);
    let text: String =
        answer.events().iter().map(|event| event["choices"][0]["text"].as_str().unwrap().to_owned()).collect();
    assert_eq!(text, place.alone("lora", "w5 w6", 400));
}

#[test]
fn answers_are_right_while_adapters_come_and_go() {
    let place = Place::decoder();
    let server = place.serve(|options| {
        options.manage = true;
        options.max_resident = 4;
    });
    let done = Arc::new(AtomicBool::new(false));
    let (client, stop) = (server.client.clone(), Arc::clone(&done));
    let changing = std::thread::spawn(move || {
        let mut changes = 0;
        while !stop.load(Ordering::Relaxed) {
            let path = ["lora", "ia3", "reft"][changes % 3];
            let status = load(&client, "moving", path, json!({"load_inplace": true})).status;
            assert!(matches!(status, 200 | 429), "{status}");
            if changes % 4 == 3 {
                client.post("/v1/unload_lora_adapter", &json!({"lora_name": "moving"}));
            }
            changes += 1;
        }
        changes
    });
    let models = ["lora", "ia3", "prefix", "bottleneck"];
    let expected: Vec<String> = models.iter().map(|model| place.alone(model, "w3 w4", 20)).collect();
    let any_of: Vec<String> = ["lora", "ia3", "reft"].iter().map(|model| place.alone(model, "w3 w4", 20)).collect();
    let client = server.client.clone();
    let body = |model: &str| json!({"model": model, "prompt": "w3 w4", "max_tokens": 20, "temperature": 0, "ignore_eos": true});
    let found = at_once(6, move |thread| {
        let mut found = Vec::new();
        for round in 0..8 {
            let model = if thread == 0 { "moving" } else { models[(thread + round) % 4] };
            let answer = client.post("/v1/completions", &body(model));
            let text = || answer.json()["choices"][0]["text"].as_str().unwrap().to_owned();
            match answer.status {
                200 => found.push((model, text())),
                status => assert!(status == 429 || (model == "moving" && status == 404), "{answer:?}"),
            }
        }
        found
    });
    done.store(true, Ordering::Relaxed);
    assert!(changing.join().unwrap() > 2);
    let found: Vec<_> = found.into_iter().flatten().collect();
    assert!(found.len() > 20, "{found:?}");
    for (model, text) in found {
        match models.iter().position(|known| *known == model) {
            Some(index) => assert_eq!(text, expected[index], "{model}"),
            None => assert!(any_of.contains(&text), "{text}"),
        }
    }
}
