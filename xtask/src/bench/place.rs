//! The location of everything: the programs, Python, the model, the data, and files made for the bench.

use std::cell::{OnceCell, RefCell};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::floor::Sizes;
use super::jobs::{Contestant, LLAMA_CPP, Model};
use super::side::Side;
use crate::process::root;

/// The programs, the files, and a server that creates missing files.
pub(crate) struct Place {
    /// Python with the reference; `None` for our side alone.
    pub(crate) python: Option<PathBuf>,
    /// The folder of another build of our programs.
    pub(crate) against: Option<PathBuf>,
    /// The model of the quickstart and the rated sentences.
    fetched: OnceCell<[PathBuf; 2]>,
    /// The language model.
    smollm2: OnceCell<PathBuf>,
    /// Why there is no llama.cpp.
    without_llama_cpp: OnceCell<Option<String>>,
    /// The folder of the bench's models and adapters.
    made: PathBuf,
    maker: RefCell<Side>,
}

/// The program of the command line.
pub(crate) const PROGRAM: &str = "burn-adapters";

/// A program of the release build.
pub(crate) fn program(name: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    program_in(&target.join("release"), name)
}

/// A program in a folder.
pub(crate) fn program_in(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

/// The user's cache folder for fetched files, determined as by the program.
pub(crate) fn cache() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let user = || {
        let xdg = variable("XDG_CACHE_HOME").filter(|dir| dir.is_absolute());
        let home = if cfg!(target_os = "macos") { "Library/Caches" } else { ".cache" };
        let own = || if cfg!(windows) { variable("LOCALAPPDATA") } else { Some(variable("HOME")?.join(home)) };
        Some(xdg.or_else(own)?.join("burn-adapters"))
    };
    variable("BURN_ADAPTERS_CACHE").or_else(user)
}

/// The program that answers requests.
const SERVER: &str = "burn-adapters-bench";

/// The server of llama.cpp's side.
const LLAMA_CPP_SERVER: &str = "bench_llama_cpp.py";

/// Sets the number of threads of a program that starts.
pub(crate) fn with_threads(command: &mut Command, threads: Option<usize>) -> &mut Command {
    match threads {
        Some(threads) => {
            let threads = threads.to_string();
            command.env("RAYON_NUM_THREADS", &threads).env("OMP_NUM_THREADS", &threads)
        }
        None => command,
    }
}

fn server(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg("serve");
    command
}

impl Place {
    pub(crate) fn new(python: Option<PathBuf>, against: Option<PathBuf>, cache: &Path) -> Result<Self, String> {
        let maker = RefCell::new(Side::start(SERVER, &mut server(&program(SERVER)))?);
        let (fetched, smollm2, without_llama_cpp) = Default::default();
        Ok(Self { python, against, fetched, smollm2, without_llama_cpp, made: cache.join("bench"), maker })
    }

    /// The model of the quickstart.
    pub(crate) fn minilm(&self) -> Result<&Path, String> {
        Ok(&self.fetched()?[0])
    }

    /// The rated sentences.
    pub(crate) fn data(&self) -> Result<&Path, String> {
        Ok(&self.fetched()?[1])
    }

    fn fetched(&self) -> Result<&[PathBuf; 2], String> {
        if let Some(fetched) = self.fetched.get() {
            return Ok(fetched);
        }
        eprintln!("xtask: the model and the sentences (fetched once) …");
        let found = self.ask(&json!({"op": "fetch"}))?;
        let path = |name: &str| found[name].as_str().map(PathBuf::from).ok_or(format!("no path of the {name}"));
        let fetched = [path("model")?, path("data")?];
        Ok(self.fetched.get_or_init(|| fetched))
    }

    /// The GGUF file of the language model.
    pub(crate) fn smollm2(&self) -> Result<&Path, String> {
        if let Some(path) = self.smollm2.get() {
            return Ok(path);
        }
        eprintln!("xtask: the language model (fetched once) …");
        let found = self.ask(&json!({"op": "fetch_language_model"}))?;
        let path = found["model"].as_str().map(PathBuf::from).ok_or("no path of the language model")?;
        Ok(self.smollm2.get_or_init(|| path))
    }

    /// The reason why llama.cpp cannot be compared with, if there is one: it is fetched through npm, once.
    pub(crate) fn without_llama_cpp(&self) -> Option<&str> {
        let found = || {
            let hello = |mut side: Side| side.ask(&json!({"op": "hello"}));
            self.start_script(LLAMA_CPP, LLAMA_CPP_SERVER, None).and_then(hello).err()
        };
        self.without_llama_cpp.get_or_init(found).as_deref()
    }

    /// Starts the server of a contestant, with this number of threads if it is given.
    pub(crate) fn start(&self, contestant: &Contestant, threads: Option<usize>) -> Result<Side, String> {
        let label = &contestant.label;
        match &self.against {
            Some(folder) if contestant.against => {
                Side::start(label, with_threads(&mut server(&program_in(folder, SERVER)), threads))
            }
            _ if contestant.is_llama_cpp() => self.start_script(label, LLAMA_CPP_SERVER, threads),
            _ if contestant.python => self.start_python(label, threads),
            _ => self.start_ours(label, threads),
        }
    }

    /// Starts a server of our side.
    pub(crate) fn start_ours(&self, label: &str, threads: Option<usize>) -> Result<Side, String> {
        Side::start(label, with_threads(&mut server(&program(SERVER)), threads))
    }

    /// Starts a server of the reference.
    pub(crate) fn start_python(&self, label: &str, threads: Option<usize>) -> Result<Side, String> {
        self.start_script(label, "bench_reference.py", threads)
    }

    fn start_script(&self, label: &str, script: &str, threads: Option<usize>) -> Result<Side, String> {
        let path = self.python.as_ref().ok_or_else(|| format!("{label}: no Python"))?;
        let script = root().join("tests/python").join(script);
        Side::start(label, with_threads(Command::new(path).arg(script), threads))
    }

    /// Sends a request to the server that creates files.
    pub(crate) fn ask(&self, request: &Value) -> Result<Value, String> {
        self.maker.borrow_mut().ask(request)
    }

    /// The folder of a model, which is created if it does not exist.
    pub(crate) fn model(&self, model: Model) -> Result<PathBuf, String> {
        let (hidden, layers, heads) = match model {
            Model::MiniLm => return Ok(self.minilm()?.to_owned()),
            Model::SmolLm2 => return Ok(self.smollm2()?.to_owned()),
            Model::Decoder(layers) => return self.language_model(false, Some(layers)),
            Model::Base => (768, 12, 12),
            Model::Layers(layers) => (384, layers, 12),
        };
        let dir = self.made.join(format!("random-bert-{layers}x{hidden}"));
        if !dir.join("config.json").is_file() {
            eprintln!("xtask: making {} (once) …", dir.display());
            self.ask(&json!({
                "op": "make_model", "dir": dir, "tokenizer": self.minilm()?, "vocabulary": 30_522, "hidden": hidden,
                "layers": layers, "heads": heads, "intermediate": 4 * hidden,
            }))?;
        }
        Ok(dir)
    }

    /// The model as a contestant reads it: for PyTorch, a GGUF file becomes a folder with its dequantized weights, in bf16
    /// for inference in bf16.
    pub(crate) fn model_of(&self, model: Model, contestant: &Contestant) -> Result<PathBuf, String> {
        let path = self.model(model)?;
        if model != Model::SmolLm2 || !contestant.python || contestant.is_llama_cpp() {
            return Ok(path);
        }
        self.language_model(contestant.bf16 && contestant.kind != "lm_step", None)
    }

    /// The folder of the language model's dequantized weights, with another number of layers if it is given.
    fn language_model(&self, in_bf16: bool, layers: Option<usize>) -> Result<PathBuf, String> {
        let path = self.smollm2()?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let layered = layers.map(|layers| format!("-{layers}-layers")).unwrap_or_default();
        let dir = self.made.join(format!("{stem}-{}{layered}", if in_bf16 { "bf16" } else { "f32" }));
        if !dir.join("config.json").is_file() {
            eprintln!("xtask: making {} (once) …", dir.display());
            let request =
                json!({"op": "make_language_model", "model": path, "dir": dir, "bf16": in_bf16, "layers": layers});
            self.start_python("PyTorch", None)?.ask(&request)?;
        }
        Ok(dir)
    }

    /// The sizes of a model.
    pub(crate) fn sizes(&self, model: Model) -> Result<Sizes, String> {
        let path = self.model(model)?.join("config.json");
        let text =
            std::fs::read_to_string(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let config: Value = serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        Sizes::of_config(&config).ok_or_else(|| format!("{}: it lacks the sizes of an encoder", path.display()))
    }

    /// The folder of a newly created adapter and its head.
    pub(crate) fn adapter(&self, model: Model, config: &str, noise: f64) -> Result<PathBuf, String> {
        let plain: String = config.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let model_dir = self.model(model)?;
        let of = model_dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        // Keeps `compacter` and `compacter++` apart.
        let name = format!("{of}-{plain}-{}-{noise}", config.len());
        let dir = self.made.join("adapters").join(name);
        let op = if model.is_decoder() { "make_peft_adapter" } else { "make_adapter" };
        self.ask(&json!({"op": op, "dir": dir, "model": model_dir, "config": config, "noise": noise}))?;
        Ok(dir)
    }
}
