//! What `train --setup` trains: one adapter among others, the adapters of a Parallel, or a fusion.

use std::path::Path;

use burn_adapters_composition::{Composition, HeadSetup};
use burn_adapters_config::{AdapterConfig, FusionConfig};
use burn_adapters_files::{MAX_CONFIG, read_text};

use crate::error::{CliError, CliResult};
use crate::input;

/// The default name of a new adapter.
const DEFAULT_NAME: &str = "adapter";
/// The default configuration of a new adapter.
const DEFAULT_CONFIG: &str = "seq_bn";

/// The parts to train.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    pub(super) shape: Shape,
    /// The composition; `None` for a single adapter.
    pub(super) composition: Option<Composition>,
    /// The heads; all of them are trained.
    pub(super) heads: HeadSetup,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// One new adapter; all others are frozen.
    One,
    /// The last adapter of each branch of a Parallel, with its own head.
    Branches,
    /// The fusions, over frozen adapters.
    Fusion,
}

impl Plan {
    /// Determines the plan from --setup and --name, before the adapters are loaded.
    pub(super) fn new(setup: Option<&str>, name: Option<&str>) -> CliResult<Self> {
        let one = name.unwrap_or(DEFAULT_NAME);
        let Some(text) = setup else {
            return Ok(Self { shape: Shape::One, composition: None, heads: one.into() });
        };
        let composition = input::composition(text)?;
        let (mut by_rows, mut fuses) = (false, false);
        composition.visit(&mut |part| match part {
            Composition::BatchSplit { .. } | Composition::Route(_) => by_rows = true,
            Composition::Fuse { .. } => fuses = true,
            _ => {}
        });
        let branches = composition.parallel_channels();
        let own = HeadSetup::of_adapters(&composition);
        if fuses {
            if by_rows || branches > 1 {
                let message = format!("{composition} holds a fusion beside Parallel, BatchSplit or Route");
                let error = CliError::mistake(message);
                return Err(error.with_help(
                    "a fusion is trained over adapters that act on all texts: `Fuse(a, b)` or `Stack(a, Fuse(b, c))`",
                ));
            }
            let head = name.map(str::to_owned).unwrap_or_else(|| composition.fusions().join(","));
            return Ok(Self { shape: Shape::Fusion, composition: Some(composition), heads: head.into() });
        }
        if let (Some(HeadSetup::Several(heads)), false) = (&own, by_rows) {
            if let Some(name) = name {
                let message = format!("{composition} has no use for --name {name}: it trains `{}`", heads.join("`, `"));
                return Err(CliError::mistake(message).with_help(format!(
                    "each branch of a Parallel trains its last adapter, under its own name, with its own head; \
                     to train `{name}` among frozen adapters, put it last, as in `Stack(language, {name})`"
                )));
            }
            if let Some(bad) = composition.names().iter().find(|name| name.contains(['/', '\\']) || **name == "..") {
                return Err(CliError::mistake(format!(
                    "the adapter `{bad}` cannot have a folder of its name in --output"
                ))
                .with_help("--adapter NAME=DIR gives it another name"));
            }
            let heads = HeadSetup::Several(heads.clone());
            return Ok(Self { shape: Shape::Branches, composition: Some(composition), heads });
        }
        let last = match &composition {
            Composition::Stack(children) => children.last(),
            other => Some(other),
        };
        if by_rows || branches > 1 || !last.is_some_and(|last| last.contains(one)) {
            let error = CliError::mistake(format!("{composition} does not end in `{one}`, the adapter to be trained"));
            return Err(error.with_help(format!(
                "--name is the adapter's name; it is the last adapter of the setup, as in `Stack(language, {one})`. \
                 The adapters of a \
                 BatchSplit or Route are trained one by one, each with its own texts, or on the same texts as \
                 `Parallel(a, b)`"
            )));
        }
        Ok(Self { shape: Shape::One, composition: Some(composition), heads: one.into() })
    }

    /// The names of the heads that are trained, each once; and those of the adapters, unless a fusion is trained.
    pub(super) fn names(&self) -> Vec<&str> {
        self.heads.names()
    }
}

/// The configurations of new adapters.
#[derive(Debug, Clone)]
pub(super) struct Configs {
    common: Option<AdapterConfig>,
    named: Vec<(String, AdapterConfig)>,
}

impl Configs {
    /// Reads `CONFIG` and `NAME=CONFIG`.
    pub(super) fn read(texts: &[String]) -> CliResult<Self> {
        let mut configs = Self { common: None, named: Vec::new() };
        for text in texts {
            let (name, config) = named_config(text);
            let config = input::adapter_config(config)?;
            let twice = match name {
                Some(name) => configs.named.iter().any(|(other, _)| other == name),
                None => configs.common.is_some(),
            };
            if twice {
                return Err(CliError::mistake(format!(
                    "--config {text} configures adapters that an earlier --config already configures"
                ))
                .with_help("--config NAME=CONFIG configures one adapter, --config CONFIG all others"));
            }
            match name {
                Some(name) => configs.named.push((name.to_owned(), config)),
                None => configs.common = Some(config),
            }
        }
        Ok(configs)
    }

    /// Whether no configuration was given.
    pub(super) fn is_empty(&self) -> bool {
        self.common.is_none() && self.named.is_empty()
    }

    /// Checks that every named adapter is trained.
    pub(super) fn check_names(&self, trained: &[&str]) -> CliResult {
        let Some((name, _)) = self.named.iter().find(|(name, _)| !trained.contains(&name.as_str())) else {
            return Ok(());
        };
        Err(CliError::mistake(format!("--config {name}=… is for an adapter that is not trained"))
            .with_help(format!("the trained adapters are {}", trained.join(", "))))
    }

    /// The configuration of a new adapter.
    pub(super) fn of(&self, name: &str) -> CliResult<AdapterConfig> {
        let named = self.named.iter().find(|(other, _)| other == name).map(|(_, config)| config);
        match named.or(self.common.as_ref()) {
            Some(config) => Ok(config.clone()),
            None => input::adapter_config(DEFAULT_CONFIG),
        }
    }

    /// Whether an adapter has a configuration of its own.
    pub(super) fn names(&self, name: &str) -> bool {
        self.named.iter().any(|(other, _)| other == name)
    }
}

/// A configuration, and the adapter that it is for: `a=seq_bn`, but `seq_bn[reduction_factor=2]` is for all.
fn named_config(text: &str) -> (Option<&str>, &str) {
    match text.split_once('=') {
        Some((name, config))
            if !name.is_empty() && !name.contains(['[', '|', '/', '\\', '"', '\'']) && !Path::new(text).exists() =>
        {
            (Some(name), config)
        }
        _ => (None, text),
    }
}

/// The configuration of a fusion from a string, or from a JSON file.
pub(super) fn fusion_config(text: &str) -> CliResult<FusionConfig> {
    if !text.ends_with(".json") {
        return text.parse().map_err(|error| CliError::text(&error, None));
    }
    let path = Path::new(text);
    let json = read_text(path, MAX_CONFIG).map_err(CliError::file)?;
    FusionConfig::from_json_str(&json).map_err(|error| CliError::text(&error, Some(text)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_setup_tells_what_is_trained() {
        let plan = |text: &str| Plan::new(Some(text), None);
        assert_eq!(Plan::new(None, Some("x")).unwrap().names(), ["x"]);
        let branches = plan("Parallel(Stack(language, a), b)").unwrap();
        assert_eq!((branches.shape, branches.names()), (Shape::Branches, vec!["a", "b"]));
        let fusion = plan("Stack(a, Fuse(b, c))").unwrap();
        assert_eq!((fusion.shape, fusion.names()), (Shape::Fusion, vec!["b,c"]));
        assert_eq!(plan("Stack(language, adapter)").unwrap().shape, Shape::One);
        for bad in
            ["Stack(Fuse(a, b), Parallel(a, b))", "BatchSplit(adapter, b, batch_sizes=[1, 1])", "Stack(adapter, b)"]
        {
            assert!(plan(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_configuration_may_be_for_one_adapter() {
        assert_eq!(named_config("a=seq_bn[reduction_factor=2]"), (Some("a"), "seq_bn[reduction_factor=2]"));
        assert_eq!(named_config("seq_bn[reduction_factor=2]"), (None, "seq_bn[reduction_factor=2]"));
        assert_eq!(named_config("lora|seq_bn[reduction_factor=2]").0, None);
        let configs = Configs::read(&["a=lora[r=2]".into(), "ia3".into()]).unwrap();
        assert_ne!(configs.of("a").unwrap(), configs.of("b").unwrap());
        assert!(Configs::read(&["ia3".into(), "lora".into()]).is_err());
        assert!(configs.check_names(&["b"]).is_err() && configs.names("a") && !configs.names("b"));
    }
}
