//! Which adapters, fusions and heads a command uses, and how they work together.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use burn_adapters_checkpoint::{CheckpointError, HeadFolder, load_adapter, load_fusion, load_head, load_setup};
use burn_adapters_composition::{Composition, HeadSetup};
use burn_adapters_diagnostics::Snippet;
use burn_adapters_heads::HeadConfig;
use burn_adapters_model::{AdapterBank, BankError, BaseModel, Hooks, Setup, TokenBatch};
use clap::Args;

use super::model::{Model, bank_error, checkpoint_error, report_loaded, warn_notes};
use crate::error::{CliError, CliResult};
use crate::input;
use crate::progress::Style;

/// How adapters work together, for --help.
pub(super) const SETUP_HELP: &str = "\
Several adapters (an adapter's name is the one in its adapter_config.json, or NAME of NAME=DIR):
  Stack(a, b)                             a, then b; b's head predicts
  Fuse(a, b)                              an AdapterFusion, loaded by --fusion
  Average(a, b, weights=[0.3, 0.7])       averages the outputs; `merge` averages the parameters
  Parallel(a, b)                          each on all texts, each with its own head
  BatchSplit(a, b, batch_sizes=[1, 3])    a for the first text, b for the next three
  Split(a, b, splits=[10, 20])            a for the first 10 tokens of each text, b for the next 20
  Stack(a, Route())                       a, then each text's own adapter, named by --route COLUMN
Blocks can be nested: Stack(a, Fuse(b, c)). Quote names with special characters. Fuse, Average and Split have no head of \
their own; --head or --fusion provides one.
BatchSplit, Split and a Route with rows have sizes that must match the input. With them, all texts form one batch, padded \
to the longest text, and --batch-size is ignored.";

/// The adapters of a command.
#[derive(Debug, Clone, Args)]
pub(super) struct SetupArguments {
    /// Adapter folder, with its prediction head. Repeat the option for several adapters. The adapter's name is the one in
    /// its adapter_config.json, or NAME.
    #[arg(long, value_name = "[NAME=]DIR")]
    pub(super) adapter: Vec<String>,

    /// Composition of several adapters, such as `Stack(a, b)`; or a folder with a whole setup (adapter_setup.json, and a
    /// folder for each adapter). See below.
    #[arg(long, value_name = "TEXT|DIR")]
    pub(super) setup: Option<String>,

    /// AdapterFusion folder, for `Fuse(a, b)` in --setup. Repeat the option for several fusions. The fusion's name is its
    /// adapters' names joined by commas, or NAME, which `Fuse(a, b, name=NAME)` uses.
    #[arg(long, value_name = "[NAME=]DIR")]
    pub(super) fusion: Vec<String>,

    /// Folder with another prediction head. With several adapters, it replaces the head of the adapter with the name in its
    /// head_config.json, or NAME. A single --head predicts for the whole setup, unless each adapter has its own head there.
    #[arg(long, value_name = "[NAME=]DIR")]
    pub(super) head: Vec<String>,

    /// Layers to run without adapters (AdapterDrop), counted from 0: `0,1`.
    #[arg(long, value_name = "LAYERS", value_delimiter = ',')]
    pub(super) skip_layers: Vec<usize>,
}

/// Adapters with their heads, ready to be used.
pub(super) struct Loaded {
    pub(super) bank: AdapterBank,
    /// The requested composition; without rows in an open `Route`. `None` for the model alone.
    pub(super) composition: Option<Composition>,
    /// The requested heads, if they are not those of the adapters.
    pub(super) heads: Option<HeadSetup>,
    /// The layers without adapters.
    pub(super) skip_layers: Vec<usize>,
    /// Where the adapters came from, by their names.
    pub(super) folders: Vec<(String, PathBuf)>,
    /// The heads beside adapters that cannot be read, by the adapters' names. This is an error only if such a head is
    /// needed.
    pub(super) unread: BTreeMap<String, Unread>,
}

/// A head that cannot be read.
pub(super) struct Unread {
    pub(super) error: CliError,
    /// Whether the file may be intact, but of a type that is not supported.
    pub(super) unknown: bool,
}

impl Unread {
    fn new(error: &CheckpointError) -> Self {
        Self { error: folder_error(error), unknown: error.is_unknown_head() }
    }
}

impl SetupArguments {
    /// Reads --setup, before anything is loaded; `routed` is whether rows name their adapters.
    pub(super) fn composition(&self, routed: bool) -> CliResult<SetupSource> {
        let source = match &self.setup {
            Some(text) if Path::new(text).is_dir() => return Ok(SetupSource::Folder(text.into())),
            Some(text) => SetupSource::Composition(input::composition(text)?),
            None if routed => SetupSource::Composition(Composition::open_route()),
            None => SetupSource::Single,
        };
        match self.adapter.len() {
            0 => Err(CliError::mistake("no adapter is given, and a model alone has no prediction head")
                .with_help("--adapter DIR names an adapter with its head; `burn-adapters train` makes one")),
            2.. if matches!(source, SetupSource::Single) => {
                let message = format!("{} adapters are given, but no composition", self.adapter.len());
                Err(CliError::mistake(message)
                    .with_help("--setup 'Stack(a, b)' composes them; --help lists the blocks"))
            }
            _ => Ok(source),
        }
    }

    /// [`composition`](Self::composition), or `None` if no option about adapters is given.
    pub(super) fn composition_if_any(&self) -> CliResult<Option<SetupSource>> {
        let Self { adapter, setup, fusion, head, skip_layers } = self;
        let none =
            adapter.is_empty() && setup.is_none() && fusion.is_empty() && head.is_empty() && skip_layers.is_empty();
        (!none).then(|| self.composition(false)).transpose()
    }

    /// Reads the folders.
    pub(super) fn load(&self, source: SetupSource, model: &Model, device: &Device, style: Style) -> CliResult<Loaded> {
        let mut bank = AdapterBank::new(model.base.spec(), device);
        let mut folders = Vec::new();
        let mut setup = None;
        if let SetupSource::Folder(dir) = &source {
            let (read, reports) = load_setup(dir, &mut bank).map_err(|error| folder_error(&error))?;
            reports.iter().for_each(|report| report_loaded(report, style));
            setup = Some((read.adapters, read.heads));
            folders.extend(bank.names().map(|name| (name.to_owned(), dir.clone())).collect::<Vec<_>>());
        }
        for text in &self.adapter {
            let (name, dir) = named(text);
            let report = load_adapter(dir, &mut bank, name).map_err(|error| folder_error(&error))?;
            report_loaded(&report, style);
            folders.push((report.name, dir.to_owned()));
        }
        let mut fused_head = None;
        for text in &self.fusion {
            let (name, dir) = named(text);
            let report = load_fusion(dir, &mut bank, name).map_err(|error| folder_error(&error))?;
            report_loaded(&report, style);
            if HeadFolder::exists(dir) {
                let report = load_head(dir, &mut bank, None);
                report.iter().for_each(|report| warn_notes(&report.name, &report.notes));
                fused_head = Some(report.map(|report| report.name).map_err(|error| folder_error(&error)));
            }
        }
        let mut given = Vec::new();
        for text in &self.head {
            let (name, dir) = named(text);
            let only = matches!(source, SetupSource::Single).then(|| folders.first()).flatten();
            let name = name.map(str::to_owned).or_else(|| only.map(|(name, _)| name.clone()));
            let found = HeadFolder::read_for(dir, bank.spec()).map_err(|error| head_folder_error(&error, dir))?;
            // A given head replaces one that came with a setup or a fusion.
            let _ = bank.remove_head(name.as_deref().unwrap_or(&found.meta.name));
            let report = load_head(dir, &mut bank, name.as_deref()).map_err(|error| folder_error(&error))?;
            warn_notes(&report.name, &report.notes);
            given.push(report.name);
        }
        let mut unread = BTreeMap::new();
        for (name, dir) in &folders {
            if bank.head(name).is_err()
                && HeadFolder::exists(dir)
                && !matches!(&source, SetupSource::Folder(whole) if whole == dir)
            {
                match load_head(dir, &mut bank, Some(name)) {
                    Ok(report) => warn_notes(&report.name, &report.notes),
                    Err(error) => {
                        unread.insert(name.clone(), Unread::new(&error));
                    }
                }
            }
        }
        bank.tie_heads(&model.base).map_err(|error| bank_error(&error))?;
        let (composition, heads): (Composition, _) = match (setup, source) {
            (Some((composition, heads)), _) => (composition, heads),
            (None, SetupSource::Composition(composition)) => (composition, None),
            (None, _) => match folders.first() {
                Some((name, _)) => (Composition::adapter(name.as_str()), None),
                None => return Err(CliError::mistake("no adapter is given")),
            },
        };
        check_names(&bank, &composition, self.setup.as_deref())?;
        let (composition, skip_layers) = (Some(composition), self.skip_layers.clone());
        let mut loaded = Loaded { bank, composition, heads, skip_layers, folders, unread };
        loaded.bank.hooks(&loaded.setup(None)).map_err(|error| bank_error(&error))?;
        loaded.choose_heads(&given, fused_head)?;
        loaded.note_unread(style);
        Ok(loaded)
    }
}

/// How the command line combines the adapters.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum SetupSource {
    /// The only adapter.
    Single,
    /// This composition.
    Composition(Composition),
    /// The setup in this folder.
    Folder(PathBuf),
}

impl Loaded {
    /// Whether any part of the composition is such a one.
    fn any(&self, test: impl Fn(&Composition) -> bool) -> bool {
        let mut any = false;
        self.composition.iter().for_each(|composition| composition.visit(&mut |part| any |= test(part)));
        any
    }

    pub(super) fn branches(&self) -> usize {
        self.composition.as_ref().map_or(1, Composition::parallel_channels)
    }

    /// The adapters, for messages.
    pub(super) fn shown(&self) -> String {
        self.composition.as_ref().map_or_else(|| "the model alone".to_owned(), Composition::to_string)
    }

    /// Given heads replace the adapters' own heads.
    fn choose_heads(&mut self, given: &[String], fused: Option<CliResult<String>>) -> CliResult {
        let own = self.setup(None).heads();
        let routed = self.any(|part| matches!(part, Composition::Route(_)));
        let one = self.branches() == 1 && !matches!(own, Some(HeadSetup::Several(_) | HeadSetup::BatchSplit { .. }));
        if !one {
            return Ok(());
        }
        if let [name] = given {
            self.heads = Some(HeadSetup::One(name.clone()));
        } else if matches!(own, None | Some(HeadSetup::Unnamed)) && !routed {
            let fused = fused.transpose()?;
            if let (None, Some(unread)) = (&fused, self.unread.values().find(|unread| !unread.unknown)) {
                // A damaged head is not passed over in favor of another.
                return Err(unread.error.clone());
            }
            let mut names = self.bank.head_names();
            let only = names.next().filter(|_| names.next().is_none()).map(str::to_owned);
            self.heads = fused.or(only).map(HeadSetup::One);
        }
        Ok(())
    }

    /// Warns about unused heads, if they are known before the rows.
    fn note_unread(&self, style: Style) {
        let Some(heads) = self.setup(None).heads() else { return };
        for (name, unread) in self.unread.iter().filter(|(name, _)| !heads.names().contains(&name.as_str())) {
            let reason = unread.error.problems.first().map(|problem| problem.message.as_str()).unwrap_or_default();
            style.say(format_args!("note: the head of `{name}` is not read because nothing needs it ({reason})"));
        }
    }

    /// The setup of a pass; `rows` fill an open `Route`.
    pub(super) fn setup(&self, rows: Option<&[Option<String>]>) -> Setup {
        let setup = match (&self.composition, rows) {
            (None, _) => Setup::base(),
            (Some(composition), None) => Setup::compose(composition.clone()),
            (Some(composition), Some(rows)) => Setup::compose(composition.with_rows(rows)),
        };
        let setup = setup.skip_layers(self.skip_layers.iter().copied());
        match &self.heads {
            Some(heads) => setup.with_head(heads.clone()),
            None => setup,
        }
    }

    /// The heads of a setup, all of which are there.
    pub(super) fn heads(&self, setup: &Setup) -> CliResult<HeadSetup> {
        let Some(heads) = setup.heads().filter(|heads| *heads != HeadSetup::Unnamed) else {
            let known: Vec<String> = self.bank.head_names().map(str::to_owned).collect();
            let [one] = known.as_slice() else {
                let error = CliError::mistake(format!(
                    "no single adapter determines the output of {}, so it has no prediction head of its own",
                    self.shown()
                ));
                return Err(
                    error.with_help("--head DIR names the head to use, such as the folder of one of the adapters")
                );
            };
            return Ok(HeadSetup::One(one.clone()));
        };
        heads.names().into_iter().try_for_each(|name| self.head(name).map(drop))?;
        let branches = self.branches();
        if branches > 1 && !matches!(&heads, HeadSetup::Several(names) if names.len() == branches) {
            let message = format!("{} has {branches} branches, but not a head for each", self.shown());
            return Err(CliError::mistake(message)
                .with_help("each branch of a Parallel, which must be the last block, predicts with its own head"));
        }
        Ok(heads)
    }

    /// The configurations of all heads, by name.
    pub(super) fn head_configs(&self) -> impl Iterator<Item = (&str, &HeadConfig)> {
        self.bank.head_names().filter_map(|name| Some((name, self.bank.head(name).ok()?.config())))
    }

    /// A head by its name.
    pub(super) fn head(&self, name: &str) -> CliResult<&HeadConfig> {
        if let Ok(head) = self.bank.head(name) {
            return Ok(head.config());
        }
        if let Some(unread) = self.unread.get(name) {
            return Err(unread.error.clone());
        }
        let folder = self.folders.iter().find(|(adapter, _)| adapter == name);
        let message = match folder {
            Some((_, dir)) => {
                format!("{} holds no prediction head, and an adapter alone predicts no labels", dir.display())
            }
            None => format!("there is no prediction head `{name}`"),
        };
        Err(CliError::mistake(message).with_help(
            "a head is head_config.json and model_head.safetensors; `burn-adapters train` writes them beside the adapter; \
             --head names another folder",
        ))
    }

    /// Whether the setup has sizes that fit one batch only, so that all texts must be one batch.
    pub(super) fn is_sized(&self) -> bool {
        matches!(self.heads, Some(HeadSetup::BatchSplit { .. } | HeadSetup::Route(_)))
            || self.any(|part| match part {
                Composition::BatchSplit { .. } | Composition::Split { .. } => true,
                Composition::Route(route) => !route.is_open(),
                _ => false,
            })
    }

    /// Whether the setup has an open `Route`, which rows fill.
    pub(super) fn is_open(&self) -> bool {
        self.any(|part| matches!(part, Composition::Route(route) if route.is_open()))
    }

    /// Whether the sizes of a setup fit the texts.
    pub(super) fn check_batch(&self, setup: &Setup, rows: usize, tokens: usize) -> CliResult {
        if let Some(composition) = setup.composition() {
            composition.validate_for_batch(rows, Some(tokens)).map_err(|error| CliError::text(&error, None))?;
        }
        if let Some(heads) = setup.heads() {
            heads.validate_for_batch(rows).map_err(|error| CliError::text(&error, None))?;
        }
        Ok(())
    }
}

/// The hooks of a batch, if there are adapters.
pub(super) fn batch_hooks<'l>(used: Option<(&'l Loaded, &'l Setup)>, batch: &TokenBatch) -> CliResult<Hooks<'l>> {
    let Some((loaded, setup)) = used else { return Ok(Hooks::none()) };
    loaded.check_batch(setup, batch.len(), batch.sequence())?;
    loaded.bank.hooks(setup).map_err(|error| bank_error(&error))
}

/// Checks that all adapters of a composition are loaded and that their blocks support their methods; `text` is the
/// source of the composition.
pub(super) fn check_names(bank: &AdapterBank, composition: &Composition, text: Option<&str>) -> CliResult {
    check_adapters(bank, composition, text)?;
    bank.hooks(&Setup::compose(composition.clone())).map(drop).map_err(|error| bank_error(&error))
}

/// Checks that all adapters of a composition are loaded.
pub(super) fn check_adapters(bank: &AdapterBank, composition: &Composition, text: Option<&str>) -> CliResult {
    for name in composition.names() {
        let Err(error) = bank.adapter(name) else { continue };
        let mut error = bank_error(&error);
        if let Some((text, span)) = text.and_then(|text| Some((text, find_name(text, name)?))) {
            error.problems[0].snippet = Some(Snippet::new(text, span, "not among the adapters that were given"));
        }
        return Err(error.with_help(UNKNOWN_ADAPTER));
    }
    Ok(())
}

/// Advice on an adapter that is not loaded.
pub(super) const UNKNOWN_ADAPTER: &str =
    "--adapter DIR loads an adapter under the name in its adapter_config.json, and --adapter NAME=DIR under another";

/// A folder, and a name for its contents.
pub(super) fn named(text: &str) -> (Option<&str>, &Path) {
    match text.split_once('=') {
        Some((name, dir)) if !name.is_empty() && !Path::new(text).exists() => (Some(name), Path::new(dir)),
        _ => (None, Path::new(text)),
    }
}

/// The position of a name, quoted or not, in the text of a composition.
fn find_name(text: &str, name: &str) -> Option<std::ops::Range<usize>> {
    let part = |c: char| c.is_alphanumeric() || "_-+/.@".contains(c);
    let whole = |start: &usize| {
        let (before, after) = (&text[..*start], &text[start + name.len()..]);
        !before.ends_with(part) && !after.starts_with(part) && !after.trim_start().starts_with(['(', '='])
    };
    let start = text.match_indices(name).map(|(start, _)| start).find(whole)?;
    Some(start..start + name.len())
}

/// A folder that cannot be loaded; if its name is taken, another name can be given.
pub(super) fn folder_error(error: &CheckpointError) -> CliError {
    match error {
        CheckpointError::Bank(BankError::Duplicate { name }) => {
            CliError::mistake(format!("two adapters, fusions or heads are called `{name}`"))
                .with_help("NAME=DIR instead of DIR renames one of them")
        }
        error => checkpoint_error(error),
    }
}

fn head_folder_error(error: &CheckpointError, dir: &Path) -> CliError {
    if HeadFolder::exists(dir) || matches!(error, CheckpointError::OtherKind { .. }) {
        return checkpoint_error(error);
    }
    CliError::mistake(format!("{} holds no prediction head: expected head_config.json in it", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_may_be_given_a_name() {
        assert_eq!(named("a=b/c=d"), (Some("a"), Path::new("b/c=d")));
        assert_eq!(named("b/c"), (None, Path::new("b/c")));
        assert_eq!(named("=b"), (None, Path::new("=b")));
    }

    #[test]
    fn a_name_is_found_as_a_whole_and_not_within_another_or_as_a_block() {
        assert_eq!(find_name("Stack(ab, b)", "b"), Some(10..11));
        assert_eq!(find_name("Stack(a, 'Stack')", "Stack"), Some(10..15));
        assert_eq!(find_name("Fuse(a, name=b)", "name"), None);
    }
}
