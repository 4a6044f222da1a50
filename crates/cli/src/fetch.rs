//! Fetching, with the program's progress bars and errors.

use std::path::PathBuf;

pub(crate) use burn_adapters_fetch::{CHAT_MODEL_NAME, MODEL_NAME};
use burn_adapters_fetch::{Cache, FetchError, Kind, Progress};

use crate::error::{CliError, CliResult};
use crate::progress::{Style, Task, Unit};

/// The folder of the model, fetched if the cache does not hold it.
pub(crate) fn model(style: Style) -> CliResult<PathBuf> {
    let cache = Cache::from_env().map_err(|error| fetch_error(&error, ""))?;
    burn_adapters_fetch::model(&cache, &mut Shown::new(style))
        .map_err(|error| fetch_error(&error, "\nor name a folder that holds them with --model DIR"))
}

/// The file of rated movie-review sentences, fetched if the cache does not hold it.
pub(crate) fn reviews(style: Style) -> CliResult<PathBuf> {
    let cache = Cache::from_env().map_err(|error| fetch_error(&error, ""))?;
    let [path] = burn_adapters_fetch::sentences(&cache, [Kind::MovieReviews], &mut Shown::new(style))
        .map_err(|error| fetch_error(&error, "\nor name the file with --data FILE"))?;
    Ok(path)
}

/// The GGUF file of the chat model, fetched if the cache does not hold it.
pub(crate) fn chat_model(style: Style) -> CliResult<PathBuf> {
    let cache = Cache::from_env().map_err(|error| fetch_error(&error, ""))?;
    burn_adapters_fetch::chat_model(&cache, &mut Shown::new(style))
        .map_err(|error| fetch_error(&error, "\nor name a model with --model"))
}

/// The files of questions with answers, fetched if the cache does not hold them.
pub(crate) fn questions(style: Style) -> CliResult<[PathBuf; 2]> {
    let cache = Cache::from_env().map_err(|error| fetch_error(&error, ""))?;
    burn_adapters_fetch::questions(&cache, &mut Shown::new(style))
        .map_err(|error| fetch_error(&error, "\nor name a file of conversations with --data FILE"))
}

/// `instead` is the command's alternative to fetching.
fn fetch_error(error: &FetchError, instead: &str) -> CliError {
    if error.is_mistake() {
        CliError::mistake(error.problem()).with_help(error.help())
    } else {
        CliError::failure(error.problem()).with_help(format!("{}{instead}", error.help()))
    }
}

/// Progress on standard error.
struct Shown {
    style: Style,
    task: Option<Task>,
}

impl Shown {
    fn new(style: Style) -> Self {
        Self { style, task: None }
    }
}

impl Progress for Shown {
    fn say(&mut self, text: &str) {
        self.style.say(text);
    }

    fn started(&mut self, file: &str, bytes: u64) {
        if let Some(task) = self.task.replace(Task::new(self.style, file, bytes, Unit::Bytes)) {
            task.finish();
        }
    }

    fn received(&mut self, bytes: u64) {
        if let Some(task) = &mut self.task {
            task.set(bytes, "");
        }
    }

    fn finished(&mut self) {
        if let Some(task) = self.task.take() {
            task.finish();
        }
    }
}
