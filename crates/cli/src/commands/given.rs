//! The adapters that `train --adapter` loads: those whose training continues, and those beside which others are
//! trained.

use std::path::{Path, PathBuf};

use burn_adapters_checkpoint::{HeadFolder, adapter_name};
use burn_adapters_heads::HeadConfig;

use super::model::{checkpoint_error, read_spec};
use super::plan::{Configs, Shape};
use super::setup::{folder_error, named};
use crate::error::{CliError, CliResult};

/// An adapter that is loaded.
pub(super) struct Given {
    /// Its name here.
    pub(super) name: String,
    pub(super) dir: PathBuf,
    /// The head beside it, if its training continues.
    pub(super) head: Option<HeadConfig>,
}

impl Given {
    /// Reads the adapters of --adapter. Without --setup, it is a single adapter whose training continues, possibly
    /// under another `name`.
    pub(super) fn read(texts: &[String], setup: bool, name: Option<&str>) -> CliResult<Vec<Self>> {
        if !setup && texts.len() > 1 {
            let message = format!("{} adapters are given, but no composition", texts.len());
            return Err(CliError::mistake(message).with_help(
                "a single --adapter continues training; --setup 'Stack(a, b)' or 'Parallel(a, b)' composes several",
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
                None => adapter_name(dir).map_err(|error| folder_error(&error))?,
            };
            Ok(Self { name: found, dir: dir.to_owned(), head: None })
        };
        texts.iter().map(read).collect()
    }

    /// Reads the head of an adapter of a model whose training continues.
    pub(super) fn read_head(&mut self, model: &Path) -> CliResult {
        if HeadFolder::exists(&self.dir) {
            self.head = match HeadFolder::read_for(&self.dir, &read_spec(model)?) {
                Ok(head) => Some(head.config),
                // A head of another kind, such as a language model's: it gets a new one.
                Err(error) if error.is_unknown_head() => None,
                Err(error) => return Err(checkpoint_error(&error)),
            };
        }
        Ok(())
    }

    /// An adapter whose training continues already has a configuration.
    pub(super) fn check_config(&self, shape: Shape, configs: &Configs) -> CliResult {
        let name = &self.name;
        if configs.names(name) {
            let message = format!("--config {name}=…, but the adapter `{name}` is loaded, not new");
            return Err(CliError::mistake(message).with_help("leave out either --config or --adapter"));
        }
        if shape == Shape::One && !configs.is_empty() {
            let message = format!(
                "--config, but the adapter `{name}` is loaded: its training continues with its own \
                    configuration"
            );
            return Err(CliError::mistake(message).with_help("leave out either --config or --adapter"));
        }
        Ok(())
    }
}
