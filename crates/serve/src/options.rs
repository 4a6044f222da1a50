//! Options of a server.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use crate::ServeError;

/// Options of a server. Everything is limited; [`ServeOptions::default`] has the limits of the program.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServeOptions {
    /// Address to listen on. Port 0 is any free port.
    pub address: SocketAddr,
    /// Key that requests must have (`Authorization: Bearer KEY`), except for the pages and `/health`.
    pub api_key: Option<String>,
    /// Whether there are routes to load and unload adapters.
    pub manage: bool,
    /// Folder of adapters: each folder and GGUF file in it is an adapter of its name, and only from it are adapters loaded
    /// while the server runs.
    pub adapters_root: Option<PathBuf>,
    /// The most texts in the batch.
    pub max_batch: usize,
    /// The most requests that wait. Others are refused with status 503.
    pub max_queue: usize,
    /// The most new tokens of a text.
    pub max_tokens: usize,
    /// The most tokens whose keys and values are in memory, of all texts in the batch.
    pub max_cache_tokens: usize,
    /// The most tokens of prompts that are read between two steps of the batch.
    pub prompt_tokens: usize,
    /// The most adapters that are known: named at the start, in the folder of adapters, or loaded by requests.
    pub max_adapters: usize,
    /// The most adapters in memory; the least recently used ones leave it first.
    pub max_resident: usize,
    /// The most bytes of the adapters in memory.
    pub max_resident_bytes: u64,
    /// The largest body of a request in bytes.
    pub max_body_bytes: usize,
    /// The most seconds for the body of a request to arrive.
    pub body_timeout: u64,
    /// The most seconds for the head of a request to arrive, and between two requests of a connection.
    pub head_timeout: u64,
    /// The most seconds of a request.
    pub timeout: u64,
    /// The most connections. Where there are so many, those that say nothing are closed for new ones.
    pub max_connections: usize,
    /// The most seconds that running requests have at the end.
    pub grace: u64,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            address: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8000),
            api_key: None,
            manage: false,
            adapters_root: None,
            max_batch: 32,
            max_queue: 256,
            max_tokens: 4096,
            max_cache_tokens: 32_768,
            prompt_tokens: 256,
            max_adapters: 10_000,
            max_resident: 256,
            max_resident_bytes: 4 << 30,
            max_body_bytes: 2 << 20,
            body_timeout: 15,
            head_timeout: 15,
            timeout: 600,
            max_connections: 512,
            grace: 30,
        }
    }
}

impl ServeOptions {
    /// Refuses limits that let nothing through.
    pub(crate) fn check(&self) -> Result<(), ServeError> {
        let sizes = [
            ("max_batch", self.max_batch),
            ("max_queue", self.max_queue),
            ("max_tokens", self.max_tokens),
            ("max_cache_tokens", self.max_cache_tokens),
            ("prompt_tokens", self.prompt_tokens),
            ("max_adapters", self.max_adapters),
            ("max_resident", self.max_resident),
            ("max_body_bytes", self.max_body_bytes),
            ("max_connections", self.max_connections),
        ];
        if let Some((name, _)) = sizes.iter().find(|(_, value)| *value == 0) {
            return Err(ServeError::Limit { name });
        }
        if self.manage && self.adapters_root.is_none() {
            let message = "adapters are loaded from a folder of adapters only, and none is named (adapters_root)";
            return Err(ServeError::Option(message.to_owned()));
        }
        match &self.api_key {
            Some(key) if key.trim().is_empty() => Err(ServeError::Option("the API key is empty".to_owned())),
            _ => Ok(()),
        }
    }
}
