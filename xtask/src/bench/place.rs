//! The location of everything: the programs, Python, the model, the data, and files made for the bench.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::floor::Sizes;
use super::jobs::{Contestant, Model};
use super::side::Side;
use crate::process::root;

/// The programs, the files, and a server that creates missing files.
pub(crate) struct Place {
    /// Python with the reference; `None` for our side alone.
    pub(crate) python: Option<PathBuf>,
    /// The folder of another build of our programs.
    pub(crate) against: Option<PathBuf>,
    /// The model of the quickstart.
    pub(crate) minilm: PathBuf,
    /// The rated sentences.
    pub(crate) data: PathBuf,
    /// The folder of the bench's models and adapters.
    made: PathBuf,
    maker: RefCell<Side>,
}

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

fn server(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg("serve");
    command
}

impl Place {
    pub(crate) fn new(python: Option<PathBuf>, against: Option<PathBuf>, cache: &Path) -> Result<Self, String> {
        let mut maker = Side::start(SERVER, &mut server(&program(SERVER)))?;
        eprintln!("xtask: the model and the sentences (fetched once) …");
        let found = maker.ask(&json!({"op": "fetch"}))?;
        let path = |name: &str| found[name].as_str().map(PathBuf::from).ok_or(format!("no path of the {name}"));
        let (minilm, data) = (path("model")?, path("data")?);
        Ok(Self { python, against, minilm, data, made: cache.join("bench"), maker: RefCell::new(maker) })
    }

    /// Starts the server of a contestant.
    pub(crate) fn start(&self, contestant: &Contestant) -> Result<Side, String> {
        let label = &contestant.label;
        match &self.against {
            Some(folder) if contestant.against => Side::start(label, &mut server(&program_in(folder, SERVER))),
            _ if contestant.python => self.start_python(label),
            _ => self.start_ours(label),
        }
    }

    /// Starts a server of our side.
    pub(crate) fn start_ours(&self, label: &str) -> Result<Side, String> {
        Side::start(label, &mut server(&program(SERVER)))
    }

    /// Starts a server of the reference.
    pub(crate) fn start_python(&self, label: &str) -> Result<Side, String> {
        let path = self.python.as_ref().ok_or_else(|| format!("{label}: no Python"))?;
        Side::start(label, Command::new(path).arg(root().join("tests/python/bench_reference.py")))
    }

    /// Sends a request to the server that creates files.
    pub(crate) fn ask(&self, request: &Value) -> Result<Value, String> {
        self.maker.borrow_mut().ask(request)
    }

    /// The folder of a model, which is created if it does not exist.
    pub(crate) fn model(&self, model: Model) -> Result<PathBuf, String> {
        let (hidden, layers, heads) = match model {
            Model::MiniLm => return Ok(self.minilm.clone()),
            Model::Base => (768, 12, 12),
            Model::Layers(layers) => (384, layers, 12),
        };
        let dir = self.made.join(format!("random-bert-{layers}x{hidden}"));
        if !dir.join("config.json").is_file() {
            eprintln!("xtask: making {} (once) …", dir.display());
            self.ask(&json!({
                "op": "make_model", "dir": dir, "tokenizer": self.minilm, "vocabulary": 30_522, "hidden": hidden,
                "layers": layers, "heads": heads, "intermediate": 4 * hidden,
            }))?;
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
        self.ask(&json!({"op": "make_adapter", "dir": dir, "model": model_dir, "config": config, "noise": noise}))?;
        Ok(dir)
    }
}
