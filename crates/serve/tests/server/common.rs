//! Small models, their adapters, and a client.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Tensor};
use burn_adapters_chat::{ChatTemplate, SpecialTokens};
use burn_adapters_checkpoint::{SaveOptions, save_adapter};
use burn_adapters_generate::{GenerationOptions, generate, head_logits};
use burn_adapters_goldens::Noise;
use burn_adapters_heads::HeadConfig;
use burn_adapters_model::{AdapterBank, BaseModel, Forward, Setup, TokenBatch};
use burn_adapters_serve::{ServeOptions, ServedModel, Server, Stopper};
use burn_adapters_transformers::{AutoModel, ModelConfig, Tokenizer};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const VOCABULARY: usize = 61;
pub(crate) const SEQUENCE: usize = 512;
/// An adapter of each kind.
pub(crate) const METHODS: [(&str, &str); 6] = [
    ("bottleneck", "seq_bn[reduction_factor=2]"),
    ("ia3", "ia3"),
    ("lora", "lora[r=4]"),
    ("prefix", "prefix_tuning[prefix_length=3,bottleneck_size=4]"),
    ("prompt", "prompt_tuning[prompt_length=2]"),
    ("reft", "loreft[r=2]"),
];

/// Gives every parameter this value.
pub(crate) struct Filled(pub(crate) f32);

impl ModuleMapper for Filled {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| tensor.full_like(self.0))
    }
}

/// A folder with a tokenizer, a model that is not in it, and adapters below `adapters`.
pub(crate) struct Place {
    pub(crate) dir: TempDir,
    pub(crate) model: AutoModel,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) bank: AdapterBank,
}

impl Place {
    /// A small decoder, with an adapter of each method.
    pub(crate) fn decoder() -> Self {
        let config = json!({
            "model_type": "llama", "vocab_size": VOCABULARY, "hidden_size": 16, "intermediate_size": 24,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
            "max_position_embeddings": SEQUENCE, "rms_norm_eps": 1e-5, "tie_word_embeddings": true,
        });
        let mut place = Self::new(&config);
        for (seed, (name, config)) in METHODS.into_iter().enumerate() {
            place.adapter(name, config, seed as u32);
        }
        place
    }

    pub(crate) fn new(config: &Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("adapters")).unwrap();
        let words: serde_json::Map<String, Value> = (0..VOCABULARY).map(|id| (word(id as u32), id.into())).collect();
        let special = json!({"id": 0, "content": word(0), "single_word": false, "lstrip": false, "rstrip": false,
                             "normalized": false, "special": true});
        let tokenizer = json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [special], "normalizer": null,
            "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": null, "decoder": null,
            "model": {"type": "WordLevel", "vocab": words, "unk_token": "w1"},
        });
        let write = |name: &str, value: &Value| std::fs::write(dir.path().join(name), value.to_string()).unwrap();
        write("config.json", config);
        write("tokenizer.json", &tokenizer);
        let class = json!({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": word(0), "unk_token": "w1"});
        write("tokenizer_config.json", &class);
        let parsed = ModelConfig::from_json_str(&config.to_string()).unwrap();
        let model = AutoModel::new_seeded(parsed, 3, &Device::default()).map(&mut Noise::new(0.5, 1));
        let tokenizer = Tokenizer::from_dir(dir.path()).unwrap();
        let bank = AdapterBank::new(model.spec(), &Device::default());
        Self { dir, model, tokenizer, bank }
    }

    /// Makes an adapter, in the bank and in its folder.
    pub(crate) fn adapter(&mut self, name: &str, config: &str, seed: u32) -> PathBuf {
        self.adapter_of(name, config, &mut Noise::new(0.5, seed))
    }

    /// Makes an adapter with these parameters.
    pub(crate) fn adapter_of(&mut self, name: &str, config: &str, values: &mut impl ModuleMapper) -> PathBuf {
        let (adapter, _) = self.bank.plan(name, config.parse().unwrap()).unwrap();
        let _ = self.bank.remove(name);
        self.bank.insert(adapter.map(values)).unwrap();
        if self.model.has_token_logits() && self.bank.head(name).is_err() {
            self.bank.add_model_head(name, &HeadConfig::causal_lm(VOCABULARY)).unwrap();
        }
        let dir = self.path(name);
        save_adapter(&dir, &self.bank, name, &SaveOptions::default()).unwrap();
        dir
    }

    pub(crate) fn path(&self, adapter: &str) -> PathBuf {
        self.dir.path().join("adapters").join(adapter)
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("adapters")
    }

    /// The text that an adapter, or the model alone, continues a prompt with, the most probable token each time.
    pub(crate) fn alone(&self, adapter: &str, prompt: &str, count: usize) -> String {
        let ids = self.tokenizer.encode(&[prompt], SEQUENCE).unwrap().rows.remove(0).ids;
        let options = GenerationOptions::greedy().with_max_new_tokens(count);
        let prompts = TokenBatch::new([ids.as_slice()]);
        let (setup, with_head) = match adapter {
            "base" => (Setup::base(), false),
            adapter => (Setup::adapter(adapter), true),
        };
        let hooks = self.bank.hooks(&setup).unwrap();
        let logits = |states| match with_head {
            true => head_logits(&self.model, &self.bank, &setup, states),
            false => Ok(self.model.token_logits(states)?),
        };
        let texts = generate(&self.model, &hooks, &prompts, &logits, &options).unwrap();
        // With the space between the prompt and its continuation.
        let text = |ids: &[u32]| self.tokenizer.decode(ids, true).unwrap();
        text(&[&ids[..], &texts[0].ids].concat())[text(&ids).len()..].to_owned()
    }

    /// A server with the adapters in the folder.
    pub(crate) fn serve(&self, change: impl FnOnce(&mut ServeOptions)) -> Running {
        let mut served = ServedModel::new("base", self.model.clone(), self.tokenizer.clone());
        let source = "{% for message in messages %}{{ message.content }} {% endfor %}";
        served.template = Some(ChatTemplate::parse("test", source, SpecialTokens::default()).unwrap());
        let mut options = ServeOptions::default();
        options.address.set_port(0);
        options.adapters_root = Some(self.root());
        change(&mut options);
        let server = Server::bind(served, Vec::new(), options).unwrap();
        let (address, stopper) = (server.address(), server.stopper());
        let thread = std::thread::spawn(move || server.run().unwrap());
        Running { client: Client { address, key: None }, stopper, thread: Some(thread) }
    }
}

pub(crate) fn word(id: u32) -> String {
    if id == 0 { "<end>".to_owned() } else { format!("w{id}") }
}

/// A server that ends with the test.
pub(crate) struct Running {
    pub(crate) client: Client,
    pub(crate) stopper: Stopper,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// Waits until it has ended.
    pub(crate) fn join(&mut self) {
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stopper.stop();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(std::thread::panicking() || ended.is_ok());
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    pub(crate) key: Option<String>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("not JSON ({error}): {self:?}"))
    }

    /// The message of an error with this status.
    pub(crate) fn error(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{self:?}");
        self.json()["error"]["message"].as_str().unwrap_or_else(|| panic!("{self:?}")).to_owned()
    }

    /// The values of its events.
    pub(crate) fn events(&self) -> Vec<Value> {
        let mut parts: Vec<&str> = self.body.split("\n\n").filter(|part| !part.is_empty()).collect();
        assert_eq!(parts.pop(), Some("data: [DONE]"), "{self:?}");
        parts.into_iter().map(|part| serde_json::from_str(part.strip_prefix("data: ").unwrap()).unwrap()).collect()
    }
}

impl Client {
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    /// The bytes of a request.
    pub(crate) fn bytes(&self, method: &str, path: &str, body: &[u8]) -> Vec<u8> {
        let key = self.key.as_ref().map_or(String::new(), |key| format!("Authorization: Bearer {key}\r\n"));
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{key}Content-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), body].concat()
    }

    pub(crate) fn raw(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        let mut stream = self.connect();
        // A server that refuses a body need not read it.
        let _ = stream.write_all(&self.bytes(method, path, body));
        read_answer(&mut stream)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.raw("GET", path, b"")
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.raw("POST", path, body.to_string().as_bytes())
    }

    /// The text that a model continues a prompt with.
    pub(crate) fn complete(&self, model: &str, prompt: &str, count: usize) -> String {
        let body = json!({"model": model, "prompt": prompt, "max_tokens": count, "temperature": 0, "ignore_eos": true});
        let answer = self.post("/v1/completions", &body);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["choices"][0]["text"].as_str().unwrap().to_owned()
    }

    /// The value of a metric.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").body;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    }
}

/// Reads the whole answer of a connection that closes after it.
pub(crate) fn read_answer(stream: &mut TcpStream) -> Answer {
    read_answer_after(&[], stream)
}

/// As [`read_answer`], after some bytes were read.
pub(crate) fn read_answer_after(begun: &[u8], stream: &mut TcpStream) -> Answer {
    let mut bytes = begun.to_vec();
    let _ = stream.read_to_end(&mut bytes);
    parse(&bytes)
}

fn parse(bytes: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let head = head.to_ascii_lowercase();
    let body = if head.contains("transfer-encoding: chunked") { dechunked(body) } else { body.to_owned() };
    Answer { status, head, body }
}

fn dechunked(mut body: &str) -> String {
    let mut text = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        let Some(chunk) = rest.get(..size).filter(|_| size > 0) else { break };
        text.push_str(chunk);
        body = &rest[size + 2..];
    }
    text
}

/// Waits until something is so.
pub(crate) fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what} did not come about");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs something for each of several numbers at once.
pub(crate) fn at_once<T: Send + 'static>(count: usize, run: impl Fn(usize) -> T + Send + Sync + 'static) -> Vec<T> {
    let run = Arc::new(run);
    let threads: Vec<_> = (0..count)
        .map(|index| {
            let run = Arc::clone(&run);
            std::thread::spawn(move || run(index))
        })
        .collect();
    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
}

/// Copies a folder.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}
