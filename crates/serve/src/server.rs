//! A server, from its start to its end.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use burn_adapters_chat::ChatTemplate;
use burn_adapters_core::StackKind;
use burn_adapters_model::{BaseModel, Forward};
use burn_adapters_transformers::{AutoModel, GenerationConfig, Tokenizer};
use socket2::{Domain, Socket, Type};
use tokio::sync::{Semaphore, watch};

use crate::engine::{Command, Engine, Sizes};
use crate::http::{ApiKey, Listening, Shared, router, serve};
use crate::metrics::Metrics;
use crate::registry::{AdapterLimits, ForModel, Registry};
use crate::{ServeError, ServeOptions};

/// A model, and what is needed to serve it.
#[derive(Debug)]
#[non_exhaustive]
pub struct ServedModel {
    /// The name by which requests ask for the model alone.
    pub name: String,
    /// The model.
    pub model: AutoModel,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// Its chat template; without one there are no chats.
    pub template: Option<ChatTemplate>,
    /// The defaults of sampling.
    pub generation: GenerationConfig,
    /// The tokens that end a text.
    pub end_ids: Vec<u32>,
}

impl ServedModel {
    /// A model without a chat template, whose texts end with the tokenizer's end token.
    pub fn new(name: impl Into<String>, model: AutoModel, tokenizer: Tokenizer) -> Self {
        let end_ids = Vec::from_iter(tokenizer.special_ids().eos);
        let generation = GenerationConfig::default();
        Self { name: name.into(), model, tokenizer, template: None, generation, end_ids }
    }
}

/// A server that listens, and answers once it [runs](Server::run).
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    app: Arc<Shared>,
    engine: Engine,
    commands: Sender<Command>,
    stop: watch::Sender<bool>,
}

/// Ends a server.
#[derive(Debug, Clone)]
pub struct Stopper(watch::Sender<bool>);

impl Stopper {
    /// Lets the server refuse new connections, answer the requests that it has, and end.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl Server {
    /// A server of a model with adapters: their names, and the folders or files to read them from. They are read when they
    /// are first asked for.
    ///
    /// # Errors
    /// If an option cannot be meant, two adapters have one name or are too many, the model has an encoder and a decoder, the folder of
    /// adapters cannot be read, or the address cannot be listened on.
    pub fn bind(
        served: ServedModel,
        adapters: Vec<(String, PathBuf)>,
        options: ServeOptions,
    ) -> Result<Self, ServeError> {
        options.check()?;
        let ServedModel { name, model, tokenizer, template, generation, end_ids } = served;
        let spec = model.spec().clone();
        let is_decoder = spec.stack(StackKind::Decoder).is_some();
        if is_decoder && spec.stack(StackKind::Encoder).is_some() {
            return Err(ServeError::Model(format!(
                "{name} has an encoder and a decoder ({}): only models with one of the two are served",
                spec.model_type
            )));
        }
        let has_output = is_decoder && model.has_token_logits();
        let vocabulary = model.decoder_limits().vocabulary;
        let metrics = Metrics::new(options.max_resident)
            .map_err(|error| ServeError::Option(format!("the metrics cannot be set up: {error}")))?;
        let metrics = Arc::new(metrics);
        let (commands, received): (Sender<Command>, Receiver<Command>) = channel();
        let model = Arc::new(model);
        let for_model = ForModel { name, spec, device: model.device(), vocabulary, has_output };
        let limits = AdapterLimits {
            known: options.max_adapters,
            resident: options.max_resident,
            resident_bytes: options.max_resident_bytes,
        };
        let root = options.adapters_root.as_deref();
        let unreadable = |error| ServeError::Root { path: options.adapters_root.clone().unwrap_or_default(), error };
        let registry = Registry::new(for_model, root, limits, commands.clone()).map_err(unreadable)?;
        for (name, path) in &adapters {
            let failed = |error: crate::error::ApiError| ServeError::Adapter {
                name: name.clone(),
                problem: error.message().to_owned(),
            };
            registry.add(name, path).map_err(failed)?;
        }
        registry.add_root().map_err(unreadable)?;
        let (found, limit) = (registry.list().len(), options.max_adapters);
        if found > limit {
            return Err(ServeError::TooManyAdapters { found, limit });
        }
        let system = |doing: String| move |error| ServeError::System { doing, error };
        let listener = listen(options.address).map_err(system(format!("listen on {}", options.address)))?;
        let address = listener.local_addr().map_err(system("read the address".to_owned()))?;
        listener.set_nonblocking(true).map_err(system("set up the address".to_owned()))?;
        let sizes = Sizes {
            texts: options.max_batch,
            prompt_tokens: options.prompt_tokens,
            cache_tokens: options.max_cache_tokens,
        };
        let engine = Engine::new(model, received, sizes, Arc::clone(&metrics));
        let app = Arc::new(Shared {
            registry,
            commands: commands.clone(),
            metrics,
            tokenizer,
            template,
            generation,
            end_ids,
            vocabulary,
            generates: has_output,
            queue: Arc::new(Semaphore::new(options.max_queue)),
            workers: Arc::new(Semaphore::new(2)),
            key: options.api_key.as_deref().map(ApiKey::new),
            created: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            options,
        });
        let (stop, _) = watch::channel(false);
        Ok(Self { listener, address, app, engine, commands, stop })
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends the server from another thread.
    pub fn stopper(&self) -> Stopper {
        Stopper(self.stop.clone())
    }

    /// Answers requests until it is [stopped](Stopper::stop). The model runs on the calling thread, which should not be one of
    /// the threads of the kernels.
    ///
    /// # Errors
    /// If the threads for requests cannot be started.
    pub fn run(self) -> Result<(), ServeError> {
        let Self { listener, app, engine, commands, stop, .. } = self;
        let system = |doing: &str| {
            let doing = doing.to_owned();
            move |error| ServeError::System { doing, error }
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(8)
            .enable_all()
            .build()
            .map_err(system("start threads for requests"))?;
        let answering = std::thread::Builder::new().name("requests".to_owned()).spawn(move || {
            runtime.block_on(async {
                // Without an address nothing can be answered, and the engine is closed.
                if let Ok(listener) = tokio::net::TcpListener::from_std(listener) {
                    let (metrics, closing) = (app.metrics.handle(), stop.subscribe());
                    // Samples that nobody reads would be kept.
                    let upkeep = tokio::spawn(async move {
                        loop {
                            tokio::time::sleep(Duration::from_secs(5)).await;
                            metrics.run_upkeep();
                        }
                    });
                    let options = &app.options;
                    let listening = Listening {
                        connections: options.max_connections,
                        head_timeout: options.head_timeout,
                        answer_timeout: options.timeout + 60,
                        grace: options.grace,
                    };
                    serve(listener, router(&app), Arc::clone(&app), listening, closing).await;
                    upkeep.abort();
                }
            });
            // What still runs then has had its time.
            runtime.shutdown_timeout(Duration::from_secs(1));
            let _ = commands.send(Command::Close);
        });
        let answering = answering.map_err(system("start a thread for requests"))?;
        engine.run();
        let _ = answering.join();
        Ok(())
    }
}

/// Listens on an address. The standard library would let 128 connections wait to be accepted; of more, the system drops some, and
/// resets others when their request arrives.
fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // A server may start again while connections of the last one are still known.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    Ok(socket.into())
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}
