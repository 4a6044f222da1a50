//! Files of a model repository on the Hugging Face hub.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use hf_hub::Cache;
use hf_hub::api::Progress;
use hf_hub::api::sync::ApiBuilder;

use crate::Progress as Watch;
use crate::error::chain;

/// How long the hub may stay silent: where it is out of reach, the next source should not wait for minutes.
const PATIENCE: Duration = Duration::from_secs(15);

enum Event {
    Started { file: String, bytes: u64 },
    Received(u64),
    Done(PathBuf),
    Failed(String),
}

/// Fetches files into a folder; gives their paths in order.
pub(crate) fn fetch(
    repository: &str,
    files: &[&'static str],
    into: &Path,
    progress: &mut dyn Watch,
) -> Result<Vec<PathBuf>, String> {
    let (sender, receiver) = channel();
    let (repository, names, into) = (repository.to_owned(), files.to_vec(), into.to_owned());
    // A thread of its own, for the client has no limit on how long it waits. It is left behind where it hangs.
    std::thread::spawn(move || work(&repository, &names, into, &sender));

    let mut done = Vec::new();
    let mut received = 0;
    let result = loop {
        match receiver.recv_timeout(PATIENCE) {
            Ok(Event::Started { file, bytes }) => {
                received = 0;
                progress.started(&file, bytes);
            }
            Ok(Event::Received(bytes)) => {
                received += bytes;
                progress.received(received);
            }
            Ok(Event::Done(path)) => {
                done.push(path);
                if done.len() == files.len() {
                    break Ok(done);
                }
            }
            Ok(Event::Failed(reason)) => break Err(reason),
            Err(RecvTimeoutError::Timeout) => break Err(format!("no answer for {} seconds", PATIENCE.as_secs())),
            Err(RecvTimeoutError::Disconnected) => break Err("the client broke off".into()),
        }
    };
    progress.finished();
    result
}

fn work(repository: &str, files: &[&'static str], into: PathBuf, sender: &Sender<Event>) {
    // Whether anybody still listens does not matter to this thread.
    let send = |event| drop(sender.send(event));
    let mut builder = ApiBuilder::from_cache(Cache::new(into)).with_progress(false);
    if let Ok(endpoint) = std::env::var("HF_ENDPOINT") {
        builder = builder.with_endpoint(endpoint);
    }
    let repository = match builder.build() {
        Ok(api) => api.model(repository.to_owned()),
        Err(error) => return send(Event::Failed(chain(&error))),
    };
    for file in files {
        match repository.download_with_progress(file, Reporter { sender: sender.clone() }) {
            Ok(path) => send(Event::Done(path)),
            Err(error) => return send(Event::Failed(format!("{file}: {}", chain(&error)))),
        }
    }
}

struct Reporter {
    sender: Sender<Event>,
}

impl Progress for Reporter {
    fn init(&mut self, size: usize, filename: &str) {
        let _ = self.sender.send(Event::Started { file: filename.to_owned(), bytes: size as u64 });
    }

    fn update(&mut self, size: usize) {
        let _ = self.sender.send(Event::Received(size as u64));
    }

    fn finish(&mut self) {}
}
