//! `serve`: a model with many adapters over HTTP.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use burn_adapters_checkpoint::adapter_name;
use burn_adapters_files::{MAX_CONFIG, read_text};
use burn_adapters_serve::{ServeError, ServeOptions, ServedModel, Server};
use clap::Args;

use super::DeviceArguments;
use super::model::{checkpoint_error, folder_name};
use super::sampling::{end_ids, read_settings};
use super::template::{TemplateArguments, turn_ends};
use crate::error::{CliError, CliResult};
use crate::interrupt::Interrupt;
use crate::output;
use crate::progress::Style;

const EXAMPLES: &str = "\
Examples:
  burn-adapters serve --model SmolLM2-135M-Instruct.gguf --adapter poems=out --adapter news=other
  burn-adapters serve --model all-MiniLM-L6-v2 --adapters-root adapters --manage --api-key-file key.txt
  curl http://127.0.0.1:8000/v1/chat/completions -H 'Content-Type: application/json' \\
    -d '{\"model\": \"poems\", \"messages\": [{\"role\": \"user\", \"content\": \"The sea\"}]}'

http://127.0.0.1:8000/ is a page to try adapters, and /docs describes the routes.";

/// Serve one model with many adapters over HTTP, with the routes of OpenAI's API: `model` names an adapter, or the model
/// itself. Adapters of any methods share a batch.
///
/// A signal (Ctrl-C) lets the server finish what it has begun; another one ends it at once.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Model: a folder, or a GGUF file.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,

    /// Adapter folder. Repeat the option for several adapters. The adapter's name is the one in its adapter_config.json, or
    /// NAME. It is read when it is first asked for.
    #[arg(long, value_name = "[NAME=]DIR")]
    adapter: Vec<String>,

    /// Folder of adapters: each folder and GGUF file in it is an adapter of that name.
    #[arg(long, value_name = "DIR")]
    adapters_root: Option<PathBuf>,

    /// Name of the model itself in requests [default: that of its folder or file].
    #[arg(long, value_name = "NAME")]
    model_name: Option<String>,

    /// Allow requests that load and unload adapters, from --adapters-root only.
    #[arg(long, requires = "adapters_root")]
    manage: bool,

    /// File with the key that requests must have: `Authorization: Bearer KEY`.
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,

    /// Address to listen on. Every other address than the default lets other machines in: use --api-key-file, and a proxy with
    /// TLS.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    host: IpAddr,

    /// Port to listen on; 0 for any free one, which is printed.
    #[arg(long, value_name = "PORT", default_value_t = 8000)]
    port: u16,

    #[command(flatten)]
    template: TemplateArguments,

    #[command(flatten)]
    limits: LimitArguments,

    #[command(flatten)]
    device: DeviceArguments,
}

/// Limits of a server.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Limits")]
struct LimitArguments {
    /// Most texts in the batch.
    #[arg(long, value_name = "N", default_value_t = ServeOptions::default().max_batch)]
    max_batch: usize,

    /// Most requests that wait; others get status 503.
    #[arg(long, value_name = "N", default_value_t = ServeOptions::default().max_queue)]
    max_queue: usize,

    /// Most new tokens of a text.
    #[arg(long, value_name = "N", default_value_t = ServeOptions::default().max_tokens)]
    max_tokens: usize,

    /// Most tokens in memory, of all texts in the batch.
    #[arg(long, value_name = "N", default_value_t = ServeOptions::default().max_cache_tokens)]
    max_cache_tokens: usize,

    /// Most adapters in memory; the least recently used ones leave it first.
    #[arg(long, value_name = "N", default_value_t = ServeOptions::default().max_resident)]
    max_resident: usize,

    /// Most mebibytes of the adapters in memory.
    #[arg(long, value_name = "MIB", default_value_t = ServeOptions::default().max_resident_bytes >> 20)]
    max_resident_mib: u64,

    /// Most adapters that are known: named here, in --adapters-root, or loaded by requests.
    #[arg(long, value_name = "N", default_value_t = ServeOptions::default().max_adapters)]
    max_adapters: usize,

    /// Largest body of a request in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = ServeOptions::default().max_body_bytes)]
    max_body_bytes: usize,

    /// Most connections.
    #[arg(long, value_name = "N", default_value_t = ServeOptions::default().max_connections)]
    max_connections: usize,

    /// Most seconds of a request.
    #[arg(long, value_name = "SECONDS", default_value_t = ServeOptions::default().timeout)]
    timeout: u64,
}

impl Arguments {
    pub(super) fn run(self, style: Style) -> CliResult {
        let options = self.options()?;
        let template = self.template.clone();
        let device = self.device.open(style)?.device;
        let model = self.device.load(&self.model, &device, style)?;
        let generation = read_settings(&self.model, style)?;
        let template = template.read(&self.model, &model.tokenizer, false)?;
        let mut ends = end_ids(&model, &generation);
        if let Some(template) = &template {
            ends.extend(turn_ends(&model.tokenizer, template));
        }
        ends.sort_unstable();
        ends.dedup();
        let name = self.model_name.clone().unwrap_or_else(|| folder_name(&self.model));
        let mut served = ServedModel::new(name, model.base, model.tokenizer);
        served.template = template;
        served.generation = generation;
        served.end_ids = ends;
        let server = Server::bind(served, self.adapters()?, options).map_err(|error| serve_error(&error))?;
        output::line(format!("listening on http://{}", server.address()))?;
        let stopper = server.stopper();
        let (interrupt, ended) = (Interrupt::install(), AtomicBool::new(false));
        let done = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    if interrupt.code().is_some() {
                        style.say(
                            "ending: requests that were begun are answered; another signal ends the program at once",
                        );
                        stopper.stop();
                        return;
                    }
                    std::thread::sleep(Duration::from_millis(100));
                }
            });
            let done = server.run();
            ended.store(true, Ordering::Relaxed);
            done
        });
        done.map_err(|error| serve_error(&error))
    }

    /// The adapters with their names.
    fn adapters(&self) -> CliResult<Vec<(String, PathBuf)>> {
        let read = |text: &String| {
            let (name, dir) = super::setup::named(text);
            // A folder without an adapter is an error now, not at the first request for it.
            let own = adapter_name(dir).map_err(|error| checkpoint_error(&error))?;
            if !dir.exists() {
                return Err(CliError::mistake(format!("{} does not exist", dir.display())));
            }
            let name = name.map_or(own, str::to_owned);
            Ok((name, dir.to_owned()))
        };
        self.adapter.iter().map(read).collect()
    }

    fn options(&self) -> CliResult<ServeOptions> {
        let api_key = match &self.api_key_file {
            Some(file) => Some(read_text(file, MAX_CONFIG).map_err(CliError::file)?.trim().to_owned()),
            None => None,
        };
        let limits = &self.limits;
        let mut options = ServeOptions::default();
        options.address = SocketAddr::new(self.host, self.port);
        options.api_key = api_key;
        options.manage = self.manage;
        options.adapters_root = self.adapters_root.clone();
        options.max_batch = limits.max_batch;
        options.max_queue = limits.max_queue;
        options.max_tokens = limits.max_tokens;
        options.max_cache_tokens = limits.max_cache_tokens;
        options.max_resident = limits.max_resident;
        options.max_resident_bytes = limits.max_resident_mib.saturating_mul(1 << 20);
        options.max_adapters = limits.max_adapters;
        options.max_body_bytes = limits.max_body_bytes;
        options.max_connections = limits.max_connections;
        options.timeout = limits.timeout;
        Ok(options)
    }
}

fn serve_error(error: &ServeError) -> CliError {
    match error {
        ServeError::Limit { .. } => CliError::mistake(format!("--{}", error.to_string().replace('_', "-"))),
        ServeError::TooManyAdapters { .. } => {
            CliError::mistake(error.to_string().replace("max_adapters", "--max-adapters"))
        }
        ServeError::System { .. } => CliError::failure(error.to_string()),
        error => CliError::mistake(error.to_string()),
    }
}
