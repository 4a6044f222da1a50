//! `serve` from outside: the same texts as `generate`, and an end by a signal.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::common::{Workplace, fails, json_of};
use crate::models::decoder;

/// A running server.
struct Serving {
    process: Child,
    address: String,
}

impl Serving {
    fn new(place: &Workplace, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_burn-adapters"));
        command.current_dir(place.dir.path()).env("NO_COLOR", "1").env("XDG_RUNTIME_DIR", place.dir.path());
        command.args(["serve", "--port", "0", "--device", "cpu", "--quiet"]).args(arguments).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http://").unwrap_or_else(|| panic!("{line}")).to_owned();
        Self { process, address }
    }

    fn post(&self, path: &str, body: &Value, key: &str) -> (u16, Value) {
        let body = body.to_string();
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {key}\r\nContent-Length: {}",
            body.len()
        );
        stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), json_of(body))
    }

    /// Ends it as Ctrl-C does; its exit code.
    fn interrupt(mut self) -> Option<i32> {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
        self.process.wait().unwrap().code()
    }
}

#[test]
fn a_server_continues_texts_as_generate_does() {
    let place = Workplace::new();
    decoder(&place);
    place.write("key.txt", "a key\n");
    let arguments = ["generate", "--model", "decoder", "--greedy", "--ignore-eos", "--max-new-tokens", "6", "--json"];
    let (_, expected, _) = place.run(arguments.iter().chain(&["--quiet", "--text", "the sea is"]));
    let serving = Serving::new(&place, &["--model", "decoder", "--api-key-file", "key.txt"]);
    let body =
        json!({"model": "decoder", "prompt": "the sea is", "max_tokens": 6, "temperature": 0, "ignore_eos": true});
    let (status, answer) = serving.post("/v1/completions", &body, "a key");
    assert_eq!((status, &answer["choices"][0]["text"]), (200, &json_of(&expected)["generated"]));
    assert_eq!(serving.post("/v1/completions", &body, "another").0, 401);
    let chat = json!({"model": "decoder", "messages": [{"role": "user", "content": "the sea"}]});
    let (status, answer) = serving.post("/v1/chat/completions", &chat, "a key");
    assert!(status == 400 && answer["error"]["message"].as_str().unwrap().contains("no chat template"), "{answer}");
    assert_eq!(serving.interrupt(), Some(0));
}

#[test]
fn mistakes_are_told_before_anything_is_served() {
    let place = Workplace::new();
    decoder(&place);
    let model = ["serve", "--port", "0", "--model", "decoder", "--quiet"];
    let with = |arguments: &[&'static str]| [model.as_slice(), arguments].concat();
    fails(&place, &with(&["--manage"]), "--adapters-root");
    fails(&place, &with(&["--adapter", "a=nowhere"]), "nowhere");
    fails(&place, &with(&["--adapters-root", "nowhere"]), "nowhere");
    fails(&place, &with(&["--max-batch", "0"]), "--max-batch must be at least 1");
    place.write("empty.txt", "\n");
    fails(&place, &with(&["--api-key-file", "empty.txt"]), "API key is empty");
    for name in ["a", "b"] {
        std::fs::create_dir_all(place.path(&format!("many/{name}"))).unwrap();
        place.write(&format!("many/{name}/adapter_config.json"), "{}");
    }
    let many = with(&["--adapters-root", "many", "--max-adapters", "1"]);
    fails(&place, &many, "2 adapters are to be served, but --max-adapters is 1");
    std::fs::create_dir(place.path("empty")).unwrap();
    fails(&place, &with(&["--adapter", "a=empty"]), "empty");
}
