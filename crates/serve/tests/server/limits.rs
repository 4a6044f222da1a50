//! Limits, errors, and the end of a server.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use burn_adapters_serve::{ServeOptions, ServedModel, Server};
use serde_json::json;

use crate::common::{METHODS, Place, at_once, eventually, read_answer};

#[test]
fn bodies_and_routes_are_checked() {
    let place = Place::decoder();
    let server = place.serve(|options| options.max_body_bytes = 4096);
    let client = &server.client;
    let large = format!(r#"{{"model": "base", "prompt": "{}"}}"#, "w5 ".repeat(3000));
    assert!(client.raw("POST", "/v1/completions", large.as_bytes()).error(413).contains("4096 bytes"));
    for body in [b"{".as_slice(), b"", b"\xff\xfe", b"[]", b"null", b"{\"model\": 5}", &[b'['; 4000]] {
        let answer = client.raw("POST", "/v1/completions", body);
        assert_eq!(answer.status, 400, "{answer:?}");
        assert_eq!(answer.json()["error"]["type"], "invalid_request_error");
    }
    client.raw("DELETE", "/v1/completions", b"").error(405);
    client.get("/v1/nothing").error(404);
    client.get("/../etc/passwd").error(404);
    // Managing is off unless it is asked for.
    client.get("/v1/lora_adapters").error(404);
    client.post("/v1/load_lora_adapter", &json!({"lora_name": "x", "lora_path": "lora"})).error(404);
    assert_eq!(client.get("/health").json(), json!({"status": "ok"}));
    let page = client.get("/");
    assert!(page.status == 200 && page.head.contains("content-security-policy") && page.body.contains("</html>"));
    assert!(client.get("/docs").body.contains("openapi.json"));
    assert_eq!(client.get("/openapi.json").json()["openapi"], "3.1.0");
}

#[test]
fn an_api_key_is_needed_where_there_is_one() {
    let place = Place::decoder();
    let server = place.serve(|options| options.api_key = Some("a secret\n".to_owned()));
    let mut client = server.client.clone();
    assert_eq!(client.get("/health").status, 200);
    for (key, status) in [(None, 401), (Some("another"), 401), (Some("a secre"), 401), (Some("a secret"), 200)] {
        client.key = key.map(str::to_owned);
        for path in ["/v1/models", "/metrics"] {
            let answer = client.get(path);
            assert_eq!(answer.status, status, "{key:?}: {answer:?}");
        }
    }
    client.key = None;
    let answer = client.post("/v1/completions", &json!({"model": "base", "prompt": "w5"}));
    assert!(answer.head.contains("www-authenticate: bearer"), "{answer:?}");
}

#[test]
fn a_full_queue_says_when_to_come_back() {
    let place = Place::decoder();
    let server = place.serve(|options| {
        options.max_batch = 1;
        options.max_queue = 1;
    });
    let client = server.client.clone();
    let body = json!({"model": "lora", "prompt": "w5", "max_tokens": 400, "temperature": 0, "ignore_eos": true});
    let answers = at_once(8, move |_| client.post("/v1/completions", &body));
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status == 503).collect();
    assert!(!refused.is_empty() && answers.iter().any(|answer| answer.status == 200), "{answers:?}");
    assert!(refused.iter().all(|answer| answer.head.contains("retry-after: 1")), "{refused:?}");
    assert!(answers.iter().all(|answer| matches!(answer.status, 200 | 503)), "{answers:?}");
    assert_eq!(server.client.complete("ia3", "w5", 3), place.alone("ia3", "w5", 3));
}

#[test]
fn connections_that_say_nothing_hold_up_nobody() {
    let place = Place::decoder();
    let server = place.serve(|options| {
        options.max_connections = 8;
        options.head_timeout = 2;
        options.body_timeout = 1;
    });
    let expected = place.alone("ia3", "w5 w6", 4);
    // A long answer is under way all the while, and keeps its connection.
    let (client, long) = (server.client.clone(), place.alone("prompt", "w7 w8", 400));
    let running = std::thread::spawn(move || client.complete("prompt", "w7 w8", 400));
    eventually("a running request", || server.client.metric("vllm:num_requests_running") > 0.0);
    let mut silent: Vec<_> = (0..40).map(|_| server.client.connect()).collect();
    // Some begin a request and stop.
    for stream in silent.iter_mut().step_by(3) {
        let _ = stream.write_all(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Le");
    }
    let client = server.client.clone();
    let found = at_once(6, move |_| client.complete("ia3", "w5 w6", 4));
    assert!(found.iter().all(|text| *text == expected), "{found:?}");
    drop(silent);
    // Others never send the body that they announce.
    let mut slow: Vec<_> = (0..20).map(|_| server.client.connect()).collect();
    for stream in &mut slow {
        let _ = stream.write_all(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{");
    }
    assert_eq!(server.client.complete("ia3", "w5 w6", 4), expected);
    let answer = read_answer(slow.first_mut().unwrap());
    assert!(matches!(answer.status, 408 | 0), "{answer:?}");
    drop(slow);
    assert_eq!(running.join().unwrap(), long);
    eventually("few connections", || server.client.metric("burn_adapters_connections") <= 2.0);
}

#[test]
fn a_connection_takes_several_requests() {
    let place = Place::decoder();
    let server = place.serve(|_| {});
    let mut stream = server.client.connect();
    for _ in 0..3 {
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"{\"status\":\"ok\"}") {
            let mut some = [0; 256];
            let count = stream.read(&mut some).unwrap();
            assert!(count > 0);
            bytes.extend_from_slice(&some[..count]);
        }
    }
}

#[test]
fn what_was_begun_is_finished_when_the_server_ends() {
    let place = Place::decoder();
    let mut server = place.serve(|_| {});
    let (client, expected) = (server.client.clone(), place.alone("prompt", "w7 w8", 300));
    let running = std::thread::spawn(move || client.complete("prompt", "w7 w8", 300));
    eventually("a running request", || server.client.metric("vllm:num_requests_running") > 0.0);
    let idle = server.client.connect();
    server.stopper.stop();
    assert_eq!(running.join().unwrap(), expected);
    let start = Instant::now();
    server.join();
    assert!(start.elapsed() < Duration::from_secs(20), "an idle connection does not hold up the end");
    drop(idle);
    assert!(std::net::TcpStream::connect(server.client.address).is_err());
}

#[test]
fn too_many_tokens_in_memory_are_refused() {
    let place = Place::decoder();
    let server = place.serve(|options| options.max_cache_tokens = 50);
    let request = |count: usize, n: usize| {
        let body = json!({"model": "base", "prompt": "w5 w6", "max_tokens": count, "n": n, "ignore_eos": true});
        server.client.post("/v1/completions", &body)
    };
    assert_eq!(request(20, 2).status, 200);
    assert!(request(60, 1).error(400).contains("at most 50"));
    assert!(request(24, 2).error(400).contains("52 tokens"));
    // They fit one after the other.
    let client = server.client.clone();
    let found = at_once(6, move |_| client.complete("base", "w5 w6", 30));
    assert!(found.iter().all(|text| *text == place.alone("base", "w5 w6", 30)));
}

#[test]
fn names_and_limits_are_checked_before_anything_is_served() {
    let place = Place::decoder();
    let adapter = |name: &str| (name.to_owned(), place.path("lora"));
    let bound = |adapters: Vec<(String, std::path::PathBuf)>, change: &dyn Fn(&mut ServeOptions)| {
        let served = ServedModel::new("base", place.model.clone(), place.tokenizer.clone());
        let mut options = ServeOptions::default();
        options.address.set_port(0);
        change(&mut options);
        Server::bind(served, adapters, options).map(drop).map_err(|error| error.to_string())
    };
    let bind = |adapters, change: &dyn Fn(&mut ServeOptions)| bound(adapters, change).unwrap_err();
    assert!(bind(vec![adapter("a"), adapter("a")], &|_| {}).contains("two adapters are called `a`"));
    assert!(bind(vec![adapter("base")], &|_| {}).contains("name of the model itself"));
    assert!(bind(vec![adapter("a/b")], &|_| {}).contains("no slash"));
    // Every adapter counts, wherever it comes from, and once.
    let two = |options: &mut ServeOptions| options.max_adapters = 2;
    let named = bind(vec![adapter("a"), adapter("b"), adapter("c")], &two);
    assert_eq!(named, "3 adapters are to be served, but max_adapters is 2: serve fewer, or raise it");
    let in_root = |options: &mut ServeOptions| {
        options.max_adapters = METHODS.len();
        options.adapters_root = Some(place.root());
    };
    assert!(bind(vec![adapter("another")], &in_root).starts_with("7 adapters are to be served, but max_adapters is 6"));
    assert_eq!(bound(vec![adapter("lora")], &in_root), Ok(()));
    assert_eq!(bind(vec![], &|options| options.max_queue = 0), "max_queue must be at least 1, found 0");
    assert!(bind(vec![], &|options| options.manage = true).contains("adapters_root"));
    assert!(bind(vec![], &|options| options.adapters_root = Some("no/where".into())).contains("no/where"));
    assert!(bind(vec![], &|options| options.api_key = Some(" ".into())).contains("empty"));
}
