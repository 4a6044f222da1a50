//! The adapters that a server knows: their names, their folders, and those that are in memory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};

use burn::tensor::Device;
use burn_adapters_checkpoint::{AdapterFormat, HeadFolder, load_adapter, load_head};
use burn_adapters_core::{ModelSpec, StackKind};
use burn_adapters_diagnostics::nearest;
use burn_adapters_heads::{Head, HeadConfig};
use burn_adapters_model::{Adapter, AdapterBank};
use burn_adapters_train::TrainTask;
use burn_adapters_train::tasks::language::CAUSAL;
use tokio::sync::{Semaphore, oneshot};

use crate::engine::{Command, chain};
use crate::error::ApiError;
use crate::metrics::lock;

/// The longest name of an adapter, in bytes.
const MAX_NAME: usize = 128;

/// An adapter in memory. It leaves memory when nobody holds it any more.
pub(crate) struct Resident {
    name: String,
    heads: Vec<String>,
    pub(crate) bytes: u64,
    pub(crate) method: String,
    /// The head that classifies, tags or answers, if there is one.
    pub(crate) task_head: Option<HeadConfig>,
    /// Why the folder's head is not used.
    pub(crate) head_problem: Option<String>,
    used: AtomicU64,
    commands: Sender<Command>,
}

impl Resident {
    /// Its name in the engine, which no other generation of any adapter has.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The name of the head that classifies, tags or answers.
    pub(crate) fn task_head_name(&self) -> String {
        task_head_name(&self.name)
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        let (adapter, heads) = (std::mem::take(&mut self.name), std::mem::take(&mut self.heads));
        // Without an engine there is nothing to forget.
        let _ = self.commands.send(Command::Remove { adapter, heads });
    }
}

fn task_head_name(adapter: &str) -> String {
    format!("{adapter} task")
}

/// An adapter that may be asked for.
struct Entry {
    path: PathBuf,
    generation: u64,
    resident: Mutex<Option<Arc<Resident>>>,
    /// Held while it is read, so that it is read once.
    reading: tokio::sync::Mutex<()>,
}

/// An adapter, for lists.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) generation: u64,
    /// The bytes and the method, if it is in memory.
    pub(crate) resident: Option<(u64, String)>,
}

/// Limits of the adapters.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AdapterLimits {
    /// The most adapters that are known.
    pub(crate) known: usize,
    /// The most adapters in memory.
    pub(crate) resident: usize,
    /// Their most bytes.
    pub(crate) resident_bytes: u64,
}

/// See the module.
pub(crate) struct Registry {
    /// The name of the model alone.
    pub(crate) base: String,
    entries: Mutex<BTreeMap<String, Arc<Entry>>>,
    root: Option<PathBuf>,
    limits: AdapterLimits,
    /// The number and the bytes of adapters that are being read.
    reserved: Mutex<(usize, u64)>,
    reads: Semaphore,
    clock: AtomicU64,
    spec: ModelSpec,
    device: Device,
    vocabulary: usize,
    has_output: bool,
    commands: Sender<Command>,
}

/// The model's side of a registry.
pub(crate) struct ForModel {
    pub(crate) name: String,
    pub(crate) spec: ModelSpec,
    pub(crate) device: Device,
    pub(crate) vocabulary: usize,
    /// Whether the model has an output layer of its own.
    pub(crate) has_output: bool,
}

impl Registry {
    /// # Errors
    /// If the folder of adapters does not exist.
    pub(crate) fn new(
        model: ForModel,
        root: Option<&Path>,
        limits: AdapterLimits,
        commands: Sender<Command>,
    ) -> std::io::Result<Self> {
        let ForModel { name, spec, device, vocabulary, has_output } = model;
        Ok(Self {
            base: name,
            entries: Mutex::default(),
            root: root.map(Path::canonicalize).transpose()?,
            limits,
            reserved: Mutex::default(),
            reads: Semaphore::new(2),
            clock: AtomicU64::new(1),
            spec,
            device,
            vocabulary,
            has_output,
            commands,
        })
    }

    /// The adapters in the folder of adapters, by the names of their folders and files; no more than may be known, and one.
    pub(crate) fn add_root(&self) -> std::io::Result<()> {
        let Some(root) = &self.root else { return Ok(()) };
        for entry in std::fs::read_dir(root)? {
            let path = entry?.path();
            let is_file = AdapterFormat::of(&path) == AdapterFormat::Gguf;
            let has_config = path.join("adapter_config.json").is_file();
            let name = if is_file { path.file_stem() } else { path.file_name() };
            let Some(name) = name.and_then(|name| name.to_str()).filter(|_| is_file || has_config) else { continue };
            let path = self.inside(&path);
            let unusable =
                |error: ApiError| std::io::Error::other(format!("`{}`: {}", name.escape_debug(), error.message()));
            check_name(name).map_err(unusable)?;
            let path = path.map_err(unusable)?;
            if name == self.base {
                return Err(unusable(ApiError::conflict("this is the name of the model itself")));
            }
            let mut entries = lock(&self.entries);
            // One that is named on the command line comes first.
            entries.entry(name.to_owned()).or_insert_with(|| Entry::new(path, 1));
            if entries.len() > self.limits.known {
                break;
            }
        }
        Ok(())
    }

    /// Adds an adapter that is named on the command line.
    pub(crate) fn add(&self, name: &str, path: &Path) -> Result<(), ApiError> {
        check_name(name)?;
        if name == self.base {
            return Err(ApiError::conflict(format!("`{name}` is the name of the model itself")));
        }
        let mut entries = lock(&self.entries);
        if entries.contains_key(name) {
            return Err(ApiError::conflict(format!("two adapters are called `{name}`")));
        }
        entries.insert(name.to_owned(), Entry::new(path.to_owned(), 1));
        Ok(())
    }

    /// All adapters, by name.
    pub(crate) fn list(&self) -> Vec<Listed> {
        let listed = |(name, entry): (&String, &Arc<Entry>)| Listed {
            name: name.clone(),
            path: entry.path.clone(),
            generation: entry.generation,
            resident: lock(&entry.resident).as_ref().map(|one| (one.bytes, one.method.clone())),
        };
        lock(&self.entries).iter().map(listed).collect()
    }

    /// The adapter of this name, in memory; `None` for the model alone.
    ///
    /// # Errors
    /// If no adapter has this name, the adapter cannot be read, or it does not fit into memory beside those in use.
    pub(crate) async fn acquire(&self, name: &str) -> Result<Option<Arc<Resident>>, ApiError> {
        if name == self.base {
            return Ok(None);
        }
        let entry = self.entry(name)?;
        self.resident(name, &entry).await.map(Some)
    }

    fn entry(&self, name: &str) -> Result<Arc<Entry>, ApiError> {
        let entries = lock(&self.entries);
        if let Some(entry) = entries.get(name) {
            return Ok(Arc::clone(entry));
        }
        // Of each name at most this much is compared.
        let short: String = name.chars().take(MAX_NAME).collect();
        let known = entries.keys().map(String::as_str).chain([self.base.as_str()]);
        Err(ApiError::unknown_model(&short, nearest(&short, known)))
    }

    async fn resident(&self, name: &str, entry: &Entry) -> Result<Arc<Resident>, ApiError> {
        if let Some(resident) = self.touched(entry) {
            return Ok(resident);
        }
        let _reading = entry.reading.lock().await;
        if let Some(resident) = self.touched(entry) {
            return Ok(resident);
        }
        let resident = self.read(name, &entry.path).await?;
        *lock(&entry.resident) = Some(Arc::clone(&resident));
        Ok(resident)
    }

    fn touched(&self, entry: &Entry) -> Option<Arc<Resident>> {
        let resident = lock(&entry.resident).clone()?;
        resident.used.store(self.clock.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        Some(resident)
    }

    /// Reads an adapter into memory; others that are not used make room for it.
    async fn read(&self, name: &str, path: &Path) -> Result<Arc<Resident>, ApiError> {
        let _reserved = self.reserve(file_bytes(path))?;
        let _read = self.reads.acquire().await.map_err(|_| ApiError::closing())?;
        let unique = self.clock.fetch_add(1, Ordering::Relaxed);
        let job = Loading {
            name: format!("{unique}"),
            path: path.to_owned(),
            spec: self.spec.clone(),
            device: self.device.clone(),
            vocabulary: self.vocabulary,
            generates: self.has_output && self.spec.stack(StackKind::Decoder).is_some(),
        };
        let loaded = tokio::task::spawn_blocking(move || job.load()).await;
        let loaded = loaded.unwrap_or_else(|_| Err("reading it panicked".to_owned()));
        let failed = |message: String| ApiError::unusable(format!("the adapter `{name}` cannot be used: {message}"));
        let Loaded { adapter, heads, task_head, head_problem } = loaded.map_err(failed)?;
        let heads_parameters: usize = heads.iter().map(|(_, head)| head.parameters()).sum();
        let resident = Arc::new(Resident {
            name: adapter.name().to_owned(),
            heads: heads.iter().map(|(name, _)| name.clone()).collect(),
            bytes: 4 * (adapter.parameters() + heads_parameters) as u64,
            method: adapter.config().to_string(),
            task_head,
            head_problem,
            used: AtomicU64::new(unique),
            commands: self.commands.clone(),
        });
        let (reply, inserted) = oneshot::channel();
        let insert = Command::Insert { adapter: Box::new(adapter), heads, reply };
        self.commands.send(insert).map_err(|_| ApiError::closing())?;
        inserted.await.map_err(|_| ApiError::closing())?.map_err(failed)?;
        Ok(resident)
    }

    /// Room for an adapter: the least recently used ones that nobody uses leave memory.
    fn reserve(&self, bytes: u64) -> Result<Reserved<'_>, ApiError> {
        if bytes > self.limits.resident_bytes {
            return Err(ApiError::unusable(format!(
                "the adapter has {bytes} bytes, more than the {} for all adapters in memory",
                self.limits.resident_bytes
            )));
        }
        let entries: Vec<Arc<Entry>> = lock(&self.entries).values().cloned().collect();
        let mut reserved = lock(&self.reserved);
        loop {
            let resident = entries.iter().filter_map(|entry| {
                let resident = lock(&entry.resident);
                let resident = resident.as_ref()?;
                // Beside the registry, nobody holds it.
                let is_idle = Arc::strong_count(resident) == 1;
                Some((entry, resident.bytes, resident.used.load(Ordering::Relaxed), is_idle))
            });
            let resident: Vec<_> = resident.collect();
            let count = resident.len() + reserved.0 + 1;
            let sum = resident.iter().map(|(_, bytes, ..)| bytes).sum::<u64>() + reserved.1 + bytes;
            if count <= self.limits.resident && sum <= self.limits.resident_bytes {
                reserved.0 += 1;
                reserved.1 += bytes;
                return Ok(Reserved { registry: self, bytes });
            }
            let oldest = resident.iter().filter(|(.., is_idle)| *is_idle).min_by_key(|(_, _, used, _)| *used);
            let Some((oldest, ..)) = oldest else {
                return Err(ApiError::busy(format!(
                    "{} adapters with {sum} bytes are in use, and at most {} with {} bytes fit into memory",
                    count - 1,
                    self.limits.resident,
                    self.limits.resident_bytes
                )));
            };
            let mut slot = lock(&oldest.resident);
            if slot.as_ref().is_some_and(|resident| Arc::strong_count(resident) == 1) {
                *slot = None;
            }
        }
    }

    /// Adds an adapter of the folder of adapters, or replaces one by another generation.
    pub(crate) async fn load(&self, name: &str, path: &str, change: Change) -> Result<u64, ApiError> {
        check_name(name)?;
        if name == self.base {
            return Err(ApiError::conflict(format!("`{name}` is the name of the model itself")));
        }
        let Some(root) = &self.root else {
            return Err(ApiError::forbidden(
                "adapters are loaded only from the folder of --adapters-root, and the server was started without it",
            ));
        };
        let path = self.inside(&root.join(path))?;
        let check = |entries: &BTreeMap<String, Arc<Entry>>| {
            let current = entries.get(name).map(|entry| entry.generation);
            change.check(name, current)?;
            if current.is_none() && entries.len() >= self.limits.known {
                return Err(ApiError::busy(format!(
                    "{} adapters are known, and there may be no more: unload one first",
                    entries.len()
                )));
            }
            Ok(current)
        };
        check(&lock(&self.entries))?;
        // Requests go on with the former generation, until the new one is known to be good.
        let entry = Entry::new(path, 0);
        let resident = self.resident(name, &entry).await?;
        let mut entries = lock(&self.entries);
        let generation = check(&entries)?.map_or(1, |current| current + 1);
        let path = entry.path.clone();
        let new = Entry::new(path, generation);
        *lock(&new.resident) = Some(resident);
        entries.insert(name.to_owned(), new);
        Ok(generation)
    }

    /// Forgets an adapter. Requests that use it go on.
    pub(crate) fn unload(&self, name: &str, expected: Option<u64>) -> Result<u64, ApiError> {
        let found = self.entry(name)?.generation;
        let mut entries = lock(&self.entries);
        Change { replace: true, expected }.check(name, Some(found))?;
        match entries.get(name).filter(|entry| entry.generation == found) {
            Some(_) => entries.remove(name),
            None => return Err(ApiError::conflict(format!("`{name}` was changed meanwhile"))),
        };
        Ok(found)
    }

    /// A path in the folder of adapters, with no way out of it.
    fn inside(&self, path: &Path) -> Result<PathBuf, ApiError> {
        let root = self.root.as_deref().unwrap_or(Path::new("/"));
        // What is outside is not even said to exist.
        let outside = || ApiError::forbidden("there is no such adapter in the folder of --adapters-root");
        let path = path.canonicalize().map_err(|_| outside())?;
        if path == root || !path.starts_with(root) {
            return Err(outside());
        }
        Ok(path)
    }
}

impl Entry {
    fn new(path: PathBuf, generation: u64) -> Arc<Self> {
        Arc::new(Self { path, generation, resident: Mutex::default(), reading: tokio::sync::Mutex::default() })
    }
}

/// How an adapter may be changed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Change {
    /// Whether it may replace one.
    pub(crate) replace: bool,
    /// The generation that must be there; 0 for none.
    pub(crate) expected: Option<u64>,
}

impl Change {
    fn check(self, name: &str, current: Option<u64>) -> Result<(), ApiError> {
        let current_generation = current.unwrap_or(0);
        if let Some(expected) = self.expected.filter(|expected| *expected != current_generation) {
            return Err(ApiError::conflict(format!(
                "expected generation {expected} of `{name}`, found {current_generation}"
            )));
        }
        match current {
            Some(generation) if !self.replace => Err(ApiError::conflict(format!(
                "`{name}` is there already, as generation {generation}: \"load_inplace\": true replaces it"
            ))),
            _ => Ok(()),
        }
    }
}

/// Room for an adapter that is being read.
struct Reserved<'r> {
    registry: &'r Registry,
    bytes: u64,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        let mut reserved = lock(&self.registry.reserved);
        *reserved = (reserved.0.saturating_sub(1), reserved.1.saturating_sub(self.bytes));
    }
}

/// An adapter to read, on a thread that may wait.
struct Loading {
    name: String,
    path: PathBuf,
    spec: ModelSpec,
    device: Device,
    vocabulary: usize,
    /// Whether adapters without a language-model head use the model's output layer.
    generates: bool,
}

struct Loaded {
    adapter: Adapter,
    heads: Vec<(String, Head)>,
    task_head: Option<HeadConfig>,
    head_problem: Option<String>,
}

impl Loading {
    fn load(self) -> Result<Loaded, String> {
        let Self { name, path, spec, device, vocabulary, generates } = self;
        let is_decoder = spec.stack(StackKind::Decoder).is_some();
        let mut bank = AdapterBank::new(spec, &device);
        load_adapter(&path, &mut bank, Some(&name)).map_err(|error| chain(&error))?;
        let (mut heads, mut task_head, mut head_problem) = (Vec::new(), None, None);
        if HeadFolder::exists(&path) {
            match load_head(&path, &mut bank, Some(&name)) {
                Ok(_) => {
                    let head = bank.remove_head(&name).map_err(|error| chain(&error))?;
                    if head.config().head_type.is_language_model() && is_decoder {
                        heads.push((name.clone(), head));
                    } else {
                        task_head = Some(head.config().clone());
                        heads.push((task_head_name(&name), head));
                    }
                }
                Err(error) if error.is_unknown_head() => head_problem = Some(chain(&error)),
                // A damaged head is not passed over.
                Err(error) => return Err(chain(&error)),
            }
        }
        let has_output = heads.iter().any(|(head, _)| *head == name);
        if let Some(config) = CAUSAL.task().language_head(vocabulary).filter(|_| generates && !has_output) {
            bank.add_model_head(&name, &config).map_err(|error| chain(&error))?;
            heads.push((name.clone(), bank.remove_head(&name).map_err(|error| chain(&error))?));
        }
        // What prefixes are computed from is not needed any more.
        let adapter = bank.remove(&name).map_err(|error| chain(&error))?.eject_prefixes();
        Ok(Loaded { adapter, heads, task_head, head_problem })
    }
}

/// The bytes of the files of an adapter.
fn file_bytes(path: &Path) -> u64 {
    let size = |path: &Path| path.metadata().map_or(0, |metadata| metadata.len());
    if path.is_file() {
        return size(path);
    }
    let Ok(files) = std::fs::read_dir(path) else { return 0 };
    let is_weights = |path: &PathBuf| {
        path.extension().and_then(|end| end.to_str()).is_some_and(|end| matches!(end, "safetensors" | "bin"))
    };
    files.filter_map(|file| Some(file.ok()?.path())).filter(is_weights).map(|path| size(&path)).sum()
}

/// Refuses names that could be mistaken for something else.
fn check_name(name: &str) -> Result<(), ApiError> {
    let is_bad = |c: char| c.is_control() || matches!(c, '/' | '\\' | '"');
    if name.is_empty() || name.len() > MAX_NAME || name.chars().any(is_bad) || name.starts_with('.') {
        return Err(ApiError::invalid(
            "the name of an adapter has 1 to 128 bytes, does not begin with a dot, and has no slash, quote or control character",
        ));
    }
    Ok(())
}
