//! A tiny random BERT on disk, and the program run from outside.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Words that the tiny tokenizer knows; a few of them carry the label in [`Workplace::data`].
const WORDS: [&str; 24] = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "the", "film", "plot", "good", "great", "fine", "bad", "dull",
    "poor", "is", "was", "and", "not", "very", "story", "##s", "##ly", ".",
];

/// A folder for one test.
pub(crate) struct Workplace {
    pub(crate) dir: TempDir,
}

impl Workplace {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    /// With a folder `model` and a file `data.csv` of some rows.
    pub(crate) fn with_data(rows: usize) -> Self {
        let place = Self::new();
        place.model("model", 2);
        place.data("data.csv", rows);
        place
    }

    /// Trains a head for a task on the folder `model`; prints JSON.
    pub(crate) fn train_task(&self, task: &str, data: &str, extra: &[&str]) -> (i32, String, String) {
        let fixed = ["train", "--model", "model", "--task", task, "--data", data, "--config", "lora[r=4]"];
        let options = ["--learning-rate", "0.01", "--batch-size", "8", "--json"];
        self.run([&fixed[..], &options, extra].concat())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// A model folder with random weights: two layers unless told otherwise, hidden states of 16, at most 20 tokens.
    pub(crate) fn model(&self, name: &str, layers: usize) -> PathBuf {
        let dir = self.path(name);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("config.json"), config(layers).to_string()).unwrap();
        fs::write(dir.join("tokenizer.json"), tokenizer().to_string()).unwrap();
        write_weights(&dir.join("model.safetensors"), layers);
        dir
    }

    /// Labeled sentences: `good` words are positive, `bad` ones negative.
    pub(crate) fn data(&self, name: &str, rows: usize) -> PathBuf {
        let mut text = String::from("text,label\n");
        for row in 0..rows {
            let (word, label) =
                [("good", "pos"), ("bad", "neg"), ("great", "pos"), ("dull", "neg"), ("fine", "pos"), ("poor", "neg")]
                    [row % 6];
            let filler = ["the film is", "a very", "the plot was", "story and"][row % 4];
            text.push_str(&format!("{filler} {word},{label}\n"));
        }
        self.write(name, &text)
    }

    /// Trains a small adapter and gives its folder.
    pub(crate) fn adapter(&self, model: &Path, config: &str) -> PathBuf {
        let data = self.data("train-data.csv", 24);
        let output = self.path("adapter");
        self.program()
            .args([
                "train",
                "--epochs",
                "1",
                "--batch-size",
                "8",
                "--seed",
                "1",
                "--name",
                "reviews",
                "--config",
                config,
                "--model",
            ])
            .arg(model)
            .arg("--data")
            .arg(data)
            .arg("--output")
            .arg(&output)
            .assert()
            .success();
        output
    }

    /// The program, in this folder.
    pub(crate) fn program(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_burn-adapters"));
        command.current_dir(self.dir.path()).env("NO_COLOR", "1");
        // Where GPU backends are compiled in, looking for devices makes system libraries complain without this.
        command.env("XDG_RUNTIME_DIR", self.dir.path());
        command
    }

    /// Runs the program: its exit code, standard output and standard error.
    pub(crate) fn run<S: AsRef<std::ffi::OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
    ) -> (i32, String, String) {
        let output = self.program().args(arguments).output().unwrap();
        (
            output.status.code().expect("the program was not killed"),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    }
}

/// The one JSON value that a command printed.
pub(crate) fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("not JSON ({error}): {text}"))
}

fn config(layers: usize) -> Value {
    json!({
        "model_type": "bert", "architectures": ["BertModel"], "vocab_size": WORDS.len(), "hidden_size": 16,
        "num_hidden_layers": layers, "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 20,
        "type_vocab_size": 2, "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1,
        "layer_norm_eps": 1e-12, "pad_token_id": 0, "initializer_range": 0.02
    })
}

fn tokenizer() -> Value {
    let vocabulary: BTreeMap<&str, usize> = WORDS.iter().enumerate().map(|(id, word)| (*word, id)).collect();
    let special = |id: usize| {
        json!({"id": id, "content": WORDS[id], "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
               "special": true})
    };
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": (0..5).map(special).collect::<Vec<_>>(),
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null,
                       "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                       {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
            "pair": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                     {"SpecialToken": {"id": "[SEP]", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}},
                     {"SpecialToken": {"id": "[SEP]", "type_id": 1}}],
            "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
                               "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]}}
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": vocabulary}
    })
}

fn write_weights(path: &Path, layers: usize) {
    let (hidden, inner) = (16, 32);
    let mut shapes: Vec<(String, Vec<usize>)> = vec![
        ("embeddings.word_embeddings.weight".into(), vec![WORDS.len(), hidden]),
        ("embeddings.position_embeddings.weight".into(), vec![20, hidden]),
        ("embeddings.token_type_embeddings.weight".into(), vec![2, hidden]),
        ("embeddings.LayerNorm.weight".into(), vec![hidden]),
        ("embeddings.LayerNorm.bias".into(), vec![hidden]),
        ("pooler.dense.weight".into(), vec![hidden, hidden]),
        ("pooler.dense.bias".into(), vec![hidden]),
    ];
    for layer in 0..layers {
        let mut linear = |name: &str, [input, output]: [usize; 2]| {
            shapes.push((format!("encoder.layer.{layer}.{name}.weight"), vec![output, input]));
            shapes.push((format!("encoder.layer.{layer}.{name}.bias"), vec![output]));
        };
        for name in ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"] {
            linear(name, [hidden, hidden]);
        }
        linear("intermediate.dense", [hidden, inner]);
        linear("output.dense", [inner, hidden]);
        for name in ["attention.output.LayerNorm", "output.LayerNorm"] {
            shapes.push((format!("encoder.layer.{layer}.{name}.weight"), vec![hidden]));
            shapes.push((format!("encoder.layer.{layer}.{name}.bias"), vec![hidden]));
        }
    }
    let mut draw = Draw::new(7);
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = shapes
        .into_iter()
        .map(|(name, shape)| {
            let offset = if name.ends_with("LayerNorm.weight") { 1.0 } else { 0.0 };
            let count: usize = shape.iter().product();
            let bytes = (0..count).flat_map(|_| (draw.weight(0.4) + offset).to_le_bytes()).collect();
            (name, shape, bytes)
        })
        .collect();
    let views =
        tensors.iter().map(|(name, shape, bytes)| (name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

/// Numbers that look random, the same every time.
pub(crate) struct Draw(u64);

impl Draw {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0
    }

    /// A number below another.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() >> 33) as usize % end
    }

    /// A number in `[-size, size)`.
    pub(crate) fn weight(&mut self, size: f32) -> f32 {
        ((self.next() >> 40) as f32 / (1_u64 << 24) as f32 - 0.5) * 2.0 * size
    }
}

/// Every file below a folder.
pub(crate) fn tree(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(tree(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

/// The names in a folder, in order.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names.into_iter().map(|name| name.into_string().unwrap()).collect()
}

/// The arguments of a short training on the CPU, with the folder `model` and the file `data.csv`.
pub(crate) fn short_training<'a>(output: &'a str, extra: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["train", "--model", "model", "--data", "data.csv", "--output", output];
    arguments.extend(["--config", "lora[r=2]", "--device", "cpu", "--batch-size", "8", "--learning-rate", "0.01"]);
    arguments.extend(extra);
    arguments
}

/// The JSON value that a program prints, which succeeds.
pub(crate) fn succeeds(place: &Workplace, arguments: &[&str]) -> Value {
    let (code, stdout, stderr) = place.run(arguments);
    assert_eq!(code, 0, "{arguments:?}: {stderr}");
    json_of(&stdout)
}

/// A program that is used wrongly says so, and prints nothing else.
pub(crate) fn fails(place: &Workplace, arguments: &[&str], expected: &str) {
    let (code, stdout, stderr) = place.run(arguments);
    assert_eq!((code, stdout.as_str()), (2, ""), "{arguments:?}: {stderr}");
    assert!(stderr.contains(expected), "{arguments:?}: {stderr}");
}
