//! The engine: one thread that owns the model and the adapters in memory, and runs one batch.
//!
//! Between two steps it takes commands, reads a part of the prompts that wait, and lets texts join and leave the batch. No
//! client is waited for: tokens go into a channel that holds at most those that a request may have, and a request whose
//! receiver is gone leaves the batch.

mod encode;
mod text;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::Duration;

use burn_adapters_heads::Head;
use burn_adapters_model::{Adapter, AdapterBank, BaseModel};
use burn_adapters_transformers::AutoModel;
use tokio::sync::oneshot;

pub(crate) use self::encode::{EncodeJob, Wanted};
pub(crate) use self::text::{Event, TextJob, TokenEvent};
use self::text::{Reading, Running};
use crate::metrics::Metrics;

/// A command to the engine.
pub(crate) enum Command {
    /// Holds an adapter, with its heads by name.
    Insert { adapter: Box<Adapter>, heads: Vec<(String, Head)>, reply: oneshot::Sender<Result<(), String>> },
    /// Forgets an adapter and its heads.
    Remove { adapter: String, heads: Vec<String> },
    /// Continues a text.
    Text(Box<TextJob>),
    /// Runs texts through the model once.
    Encode(EncodeJob),
    /// Ends the engine.
    Close,
}

/// The size of a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    /// The most texts in the batch.
    pub(crate) texts: usize,
    /// The most tokens of prompts that are read between two steps.
    pub(crate) prompt_tokens: usize,
    /// The most tokens whose keys and values are in memory.
    pub(crate) cache_tokens: usize,
}

/// See the module.
pub(crate) struct Engine {
    model: Arc<AutoModel>,
    bank: AdapterBank,
    commands: Receiver<Command>,
    sizes: Sizes,
    metrics: Arc<Metrics>,
    waiting: VecDeque<TextJob>,
    reading: VecDeque<Reading>,
    running: Vec<Running>,
    encodes: VecDeque<EncodeJob>,
    is_closed: bool,
}

impl Engine {
    pub(crate) fn new(model: Arc<AutoModel>, commands: Receiver<Command>, sizes: Sizes, metrics: Arc<Metrics>) -> Self {
        let bank = AdapterBank::new(model.spec(), &model.device());
        Self {
            model,
            bank,
            commands,
            sizes,
            metrics,
            waiting: VecDeque::new(),
            reading: VecDeque::new(),
            running: Vec::new(),
            encodes: VecDeque::new(),
            is_closed: false,
        }
    }

    /// Runs until it is closed.
    pub(crate) fn run(mut self) {
        while !self.is_closed {
            self.take_commands();
            if self.is_closed {
                break;
            }
            // The threads of the kernels are not held while there is nothing to do.
            burn_adapters_ops::on_working_thread(|| {
                self.encode();
                self.admit();
                self.read_prompts();
                self.step();
            });
        }
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.reading.is_empty() && self.running.is_empty() && self.encodes.is_empty()
    }

    /// Takes the commands that are there; waits for one if there is nothing else to do.
    fn take_commands(&mut self) {
        while self.is_idle() && !self.is_closed {
            match self.commands.recv_timeout(Duration::from_secs(60)) {
                Ok(command) => self.obey(command),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => self.is_closed = true,
            }
        }
        loop {
            match self.commands.try_recv() {
                Ok(command) => self.obey(command),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    self.is_closed = true;
                    return;
                }
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Insert { adapter, heads, reply } => {
                let names: Vec<String> = heads.iter().map(|(name, _)| name.clone()).collect();
                let name = adapter.name().to_owned();
                let inserted = self.insert(*adapter, heads);
                if inserted.is_err() {
                    self.remove(&name, &names);
                }
                self.count_adapters();
                let _ = reply.send(inserted);
            }
            Command::Remove { adapter, heads } => {
                self.remove(&adapter, &heads);
                self.count_adapters();
            }
            Command::Text(job) => self.waiting.push_back(*job),
            Command::Encode(job) => self.encodes.push_back(job),
            Command::Close => self.is_closed = true,
        }
    }

    fn insert(&mut self, adapter: Adapter, heads: Vec<(String, Head)>) -> Result<(), String> {
        self.bank.insert(adapter).map_err(|error| error.to_string())?;
        for (name, head) in heads {
            self.bank.insert_head(&name, head).map_err(|error| error.to_string())?;
        }
        self.bank.tie_heads(&*self.model).map_err(|error| error.to_string())
    }

    fn count_adapters(&self) {
        self.metrics.adapters.set(self.bank.names().count() as f64);
    }

    fn remove(&mut self, adapter: &str, heads: &[String]) {
        // What is not there need not be removed.
        let _ = self.bank.remove(adapter);
        for head in heads {
            let _ = self.bank.remove_head(head);
        }
    }
}

/// Runs a pass; a panic in it is an error.
fn guarded<T>(pass: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(pass)).unwrap_or_else(|_| Err("the pass of the model panicked".to_owned()))
}

/// The error and its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
