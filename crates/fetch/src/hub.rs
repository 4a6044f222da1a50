//! Files of a model repository on the Hugging Face hub, or on the mirror in `HF_ENDPOINT`.
//!
//! Each file is one request, written to a path of our choice. Nothing in the server's headers or redirects becomes part
//! of a path, and no more bytes are read than the file is known to have.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use ureq::Agent;

use crate::Progress;
use crate::checksum::Known;
use crate::error::chain;

/// How long the hub may stay silent. If it is unreachable, the next source should not wait for minutes.
const PATIENCE: Duration = Duration::from_secs(15);

const HUB: &str = "https://huggingface.co";

enum Event {
    Started(Known),
    Received(u64),
    Done(PathBuf),
    Failed(String),
}

/// Fetches files into a folder; returns their paths in order.
pub(crate) fn fetch(
    repository: &str,
    files: &[Known],
    into: &Path,
    progress: &mut dyn Progress,
) -> Result<Vec<PathBuf>, String> {
    let (sender, receiver) = channel();
    let (repository, known, into) = (repository.to_owned(), files.to_vec(), into.to_owned());
    // A separate thread, so that a server that stalls within a file is noticed. A stalled thread is abandoned.
    std::thread::spawn(move || work(&repository, &known, &into, &sender));

    let mut done = Vec::new();
    let result = loop {
        match receiver.recv_timeout(PATIENCE) {
            Ok(Event::Started(file)) => progress.started(file.name, file.bytes),
            Ok(Event::Received(bytes)) => progress.received(bytes),
            Ok(Event::Done(path)) => {
                done.push(path);
                if done.len() == files.len() {
                    break Ok(done);
                }
            }
            Ok(Event::Failed(reason)) => break Err(reason),
            Err(RecvTimeoutError::Timeout) => break Err(format!("no answer for {} seconds", PATIENCE.as_secs())),
            Err(RecvTimeoutError::Disconnected) => break Err("the client thread ended early".into()),
        }
    };
    progress.finished();
    result
}

fn work(repository: &str, files: &[Known], into: &Path, sender: &Sender<Event>) {
    // This thread does not depend on whether anybody still listens.
    let send = |event| drop(sender.send(event));
    let config = Agent::config_builder().timeout_connect(Some(PATIENCE)).timeout_recv_response(Some(PATIENCE));
    let agent = Agent::new_with_config(config.build());
    let endpoint = std::env::var("HF_ENDPOINT").ok().filter(|endpoint| !endpoint.is_empty());
    let endpoint = endpoint.as_deref().unwrap_or(HUB).trim_end_matches('/');
    for file in files {
        let url = format!("{endpoint}/{repository}/resolve/main/{}", file.name);
        let path = into.join(file.name);
        send(Event::Started(*file));
        match download(&agent, &url, &path, file.bytes, &mut |bytes| send(Event::Received(bytes))) {
            Ok(()) => send(Event::Done(path)),
            Err(reason) => return send(Event::Failed(format!("{}: {reason}", file.name))),
        }
    }
}

fn download(agent: &Agent, url: &str, path: &Path, most: u64, received: &mut dyn FnMut(u64)) -> Result<(), String> {
    let response = agent.get(url).call().map_err(|error| chain(&error))?;
    let mut body = response.into_body().into_reader();
    let cannot = |error| format!("cannot write to {}: {error}", path.display());
    let mut file = File::create_new(path).map_err(cannot)?;
    let mut buffer = vec![0; 1 << 16];
    let mut total = 0;
    loop {
        let read = body.read(&mut buffer).map_err(|error| chain(&error))?;
        if read == 0 {
            return Ok(());
        }
        total += read as u64;
        if total > most {
            return Err(format!("the server sends more than the {most} bytes of the file"));
        }
        file.write_all(&buffer[..read]).map_err(cannot)?;
        received(total);
    }
}
