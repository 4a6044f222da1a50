//! The adapters that `train --adapter` loads: those that are trained further, and those that others are trained among.

use std::path::PathBuf;

use burn_adapters_checkpoint::{AdapterFolder, HeadFolder};
use burn_adapters_heads::HeadConfig;

use super::model::checkpoint_error;
use super::plan::{Configs, Shape};
use super::setup::{folder_error, named};
use crate::error::{CliError, CliResult};

/// An adapter that is loaded.
pub(super) struct Given {
    /// What it is called here.
    pub(super) name: String,
    pub(super) dir: PathBuf,
    /// The head beside it, where it is trained further.
    pub(super) head: Option<HeadConfig>,
}

impl Given {
    /// Reads what --adapter names. Without --setup it is one adapter, which is trained further, maybe under another
    /// `name`.
    pub(super) fn read(texts: &[String], setup: bool, name: Option<&str>) -> CliResult<Vec<Self>> {
        if !setup && texts.len() > 1 {
            let message = format!("{} adapters are given, but no composition", texts.len());
            return Err(CliError::mistake(message).with_help(
                "one --adapter alone is trained further; --setup 'Stack(a, b)' or 'Parallel(a, b)' names several",
            ));
        }
        let read = |text: &String| {
            let (own, dir) = named(text);
            if let (Some(own), Some(name)) = (own.filter(|own| !setup && Some(*own) != name), name) {
                return Err(CliError::mistake(format!("--adapter names the adapter `{own}`, but --name is `{name}`"))
                    .with_help("leave out one of the names"));
            }
            let found = match own.or(name.filter(|_| !setup)) {
                Some(name) => name.to_owned(),
                None => AdapterFolder::read(dir).map_err(|error| folder_error(&error))?.meta.name,
            };
            Ok(Self { name: found, dir: dir.to_owned(), head: None })
        };
        texts.iter().map(read).collect()
    }

    /// Reads the head of an adapter that is trained further.
    pub(super) fn read_head(&mut self) -> CliResult {
        if HeadFolder::exists(&self.dir) {
            self.head = match HeadFolder::read(&self.dir) {
                Ok(head) => Some(head.config),
                // A head of another kind, such as a language model's: it gets a new one.
                Err(error) if error.is_unknown_head() => None,
                Err(error) => return Err(checkpoint_error(&error)),
            };
        }
        Ok(())
    }

    /// An adapter that is trained further has a configuration already.
    pub(super) fn check_config(&self, shape: Shape, configs: &Configs) -> CliResult {
        let name = &self.name;
        if configs.names(name) {
            let message = format!("--config {name}=…, but the adapter `{name}` is loaded, not new");
            return Err(CliError::mistake(message).with_help("leave out either --config or --adapter"));
        }
        if shape == Shape::One && !configs.is_empty() {
            let message =
                format!("--config, but the adapter `{name}` is loaded and trained further, as it is configured");
            return Err(CliError::mistake(message).with_help("leave out either --config or --adapter"));
        }
        Ok(())
    }
}
