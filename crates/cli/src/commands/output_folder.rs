//! The folder that a command writes to: claimed before any work, saved atomically, and never overwritten by accident.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use burn_adapters_checkpoint::{FolderClaim, FolderSave, SaveError};

use crate::error::{CliError, CliResult};

/// The folder of the checkpoints of a training that is not finished.
pub(super) const CHECKPOINTS: &str = "checkpoints";
/// The same for a quickstart.
pub(super) const QUICKSTART_CHECKPOINTS: &str = "quickstart-checkpoints";
/// The last checkpoint of a training that is finished.
pub(super) const FINAL_CHECKPOINT: &str = "final-checkpoint";

/// The files of a finished run. A new run replaces all of them, so that no old file is taken for a new one.
const RUN_FILES: [&str; 19] = [
    "adapter_config.json",
    "adapter.safetensors",
    "pytorch_adapter.bin",
    "adapter_model.safetensors",
    "adapter_model.bin",
    "adapters.safetensors",
    "adapter.gguf",
    "Modelfile",
    "head_config.json",
    "model_head.safetensors",
    "pytorch_model_head.bin",
    "adapter_fusion_config.json",
    "model_adapter_fusion.safetensors",
    "pytorch_model_adapter_fusion.bin",
    "adapter_setup.json",
    "history.json",
    "result.json",
    CURVE_SVG,
    CURVE_PNG,
];
/// Its folders.
const RUN_FOLDERS: [&str; 3] = [CHECKPOINTS, QUICKSTART_CHECKPOINTS, FINAL_CHECKPOINT];

pub(super) const CURVE_SVG: &str = "curve.svg";
pub(super) const CURVE_PNG: &str = "curve.png";

/// What the folder may already contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Existing {
    /// Nothing.
    Refuse,
    /// Anything: --overwrite.
    Replace,
    /// A training of the same command, finished or not: --resume.
    Resume,
    /// A quickstart, finished or not.
    OwnQuickstart,
}

/// The user's input files, which must not be overwritten.
pub(super) struct Input<'a> {
    pub(super) option: &'a str,
    pub(super) path: &'a Path,
}

/// The folder, which no other process may write to meanwhile.
pub(super) struct OutputFolder {
    claim: FolderClaim,
    dir: PathBuf,
}

impl OutputFolder {
    /// Claims the folder; `option` is how the user named it.
    pub(super) fn open(option: &str, dir: &Path, existing: Existing, inputs: &[Input<'_>]) -> CliResult<Self> {
        inputs.iter().try_for_each(|input| check_input(option, dir, input))?;
        // First: that another process writes to the folder explains more than what it holds.
        let claim = FolderClaim::new(dir).map_err(|error| save_error(&error))?;
        check_existing(option, dir, existing)?;
        for name in RUN_FILES.iter().filter(|name| ![CURVE_SVG, CURVE_PNG].contains(name)) {
            let path = dir.join(name);
            if path.is_dir() {
                let message = format!("{} is a folder, but a file is to be written there", path.display());
                return Err(CliError::mistake(message).with_help(format!("delete it, or choose another {option}")));
            }
        }
        if let Some(path) = RUN_FOLDERS.iter().map(|name| dir.join(name)).find(|path| path.is_file()) {
            let message = format!("{} is a file, but a folder is to be written there", path.display());
            return Err(CliError::mistake(message).with_help(format!("delete it, or choose another {option}")));
        }
        Ok(Self { claim, dir: dir.to_owned() })
    }

    /// Deletes the checkpoints of a training that will not be resumed.
    pub(super) fn drop_checkpoints(&self) -> CliResult {
        for name in [CHECKPOINTS, QUICKSTART_CHECKPOINTS] {
            let checkpoints = self.dir.join(name);
            if checkpoints.is_dir() {
                burn_adapters_files::remove_folder(&checkpoints).map_err(|error| save_error(&error))?;
            }
        }
        Ok(())
    }

    /// Begins a save of a run's results, which replace those of an earlier run.
    pub(super) fn save(&self) -> CliResult<FolderSave> {
        let mut save = self.claim.save().map_err(|error| save_error(&error))?;
        for name in RUN_FILES.iter().filter(|name| !self.dir.join(name).is_dir()) {
            save.remove(name);
        }
        for name in RUN_FOLDERS {
            save.remove(name);
        }
        Ok(save)
    }
}

/// A file that a command writes: put in place when it is whole.
pub(super) struct OutputFile {
    /// Beside the file, so that the move into place is a rename.
    beside: tempfile::TempDir,
    staged: PathBuf,
    path: PathBuf,
}

impl OutputFile {
    /// Prepares the file; `option` is how the user named it.
    pub(super) fn open(option: &str, path: &Path, existing: Existing, inputs: &[Input<'_>]) -> CliResult<Self> {
        inputs.iter().try_for_each(|input| check_input(option, path, input))?;
        let is_output =
            |input: &&Input<'_>| input.path.canonicalize().ok().is_some_and(|found| resolved(path) == Some(found));
        if let Some(input) = inputs.iter().find(is_output) {
            let message = format!("{option} {} is the file of {}", path.display(), input.option);
            let help = format!("choose another {option}; inputs are never overwritten");
            return Err(CliError::mistake(message).with_help(help));
        }
        if path.is_dir() {
            let message = format!("{option} {} is a folder, but a file is to be written", path.display());
            return Err(CliError::mistake(message).with_help(format!("choose another {option}")));
        }
        if path.exists() && existing == Existing::Refuse {
            let message = format!("{option} {} already exists", path.display());
            return Err(CliError::mistake(message).with_help("--overwrite replaces it"));
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let cannot = |error: io::Error| CliError::io("write to", folder, &error);
        fs::create_dir_all(folder).map_err(cannot)?;
        let beside = tempfile::Builder::new().prefix(".saving-").tempdir_in(folder).map_err(cannot)?;
        let name = path.file_name().unwrap_or_default();
        Ok(Self { staged: beside.path().join(name), beside, path: path.to_owned() })
    }

    /// Where the file is until [`commit`](Self::commit).
    pub(super) fn staged(&self) -> &Path {
        &self.staged
    }

    /// Puts the file in place.
    pub(super) fn commit(self) -> CliResult {
        fs::rename(&self.staged, &self.path).map_err(|error| CliError::io("write", &self.path, &error))?;
        self.beside.close().map_err(|error| CliError::io("write", &self.path, &error))
    }
}

/// Keeps the last checkpoint, so that a finished training can be continued.
pub(super) fn keep_state(save: &mut FolderSave, checkpoint: Option<&Path>) -> CliResult {
    let Some(checkpoint) = checkpoint else { return Ok(()) };
    let cannot = |error: io::Error| CliError::io("read", checkpoint, &error);
    for entry in fs::read_dir(checkpoint).map_err(cannot)? {
        let entry = entry.map_err(cannot)?;
        let name = Path::new(FINAL_CHECKPOINT).join(entry.file_name());
        save.link(name, &entry.path()).map_err(|error| save_error(&error))?;
    }
    Ok(())
}

/// A part of a setup gets a folder with its name, which must not be a name that the run itself uses.
pub(super) fn check_part_names<'a>(option: &str, dir: &Path, names: impl IntoIterator<Item = &'a str>) -> CliResult {
    for name in names {
        let taken = RUN_FILES.contains(&name) || RUN_FOLDERS.contains(&name);
        if taken || name.starts_with(".saving-") || name.starts_with(".old-") {
            let message = format!("`{name}` cannot have a folder of its name in {option}: the name is used by the run");
            return Err(CliError::mistake(message).with_help("--adapter NAME=DIR gives it another name"));
        }
        let path = dir.join(name);
        if path.exists() && !path.is_dir() {
            let message = format!("{} is a file, but the folder for `{name}` is to be written there", path.display());
            return Err(CliError::mistake(message).with_help(format!("delete it, or choose another {option}")));
        }
    }
    Ok(())
}

/// The output must not be an input, contain one, or be inside the folder of an adapter.
fn check_input(option: &str, dir: &Path, input: &Input<'_>) -> CliResult {
    let (Some(output), Ok(found)) = (resolved(dir), input.path.canonicalize()) else { return Ok(()) };
    let refuse = |what: String| {
        let help = format!("choose another folder for {option}; inputs are never overwritten");
        Err(CliError::mistake(what).with_help(help))
    };
    let (shown, source) = (dir.display(), format!("{} {}", input.option, input.path.display()));
    if found.is_dir() {
        if found == output {
            return refuse(format!("{option} {shown} is the folder of {source}"));
        }
        if found.starts_with(&output) {
            return refuse(format!("{option} {shown} holds the folder of {source}"));
        }
        if output.starts_with(&found) && input.option != "--model" {
            return refuse(format!("{option} {shown} is inside the folder of {source}"));
        }
        return Ok(());
    }
    // A file beside is left alone.
    let Ok(inside) = found.strip_prefix(&output) else { return Ok(()) };
    let first = inside.components().next().map(|part| part.as_os_str().to_string_lossy().into_owned());
    let replaced =
        first.is_some_and(|first| RUN_FILES.contains(&first.as_str()) || RUN_FOLDERS.contains(&first.as_str()));
    if replaced { refuse(format!("{option} {shown} would replace {source}")) } else { Ok(()) }
}

/// Where a folder is or would be, without symbolic links.
fn resolved(dir: &Path) -> Option<PathBuf> {
    let absolute = std::path::absolute(dir).ok()?;
    let there = absolute.ancestors().find(|path| path.exists())?;
    let rest = absolute.strip_prefix(there).ok()?;
    Some(there.canonicalize().ok()?.join(rest))
}

/// Checks that the command may replace everything in the folder.
fn check_existing(option: &str, dir: &Path, existing: Existing) -> CliResult {
    let names = contents(dir)?;
    let has_state = has_checkpoints(dir) || dir.join(FINAL_CHECKPOINT).is_dir();
    let finished = names.iter().any(|name| RUN_FILES.contains(&name.as_str()) || name == FINAL_CHECKPOINT);
    let allowed = match existing {
        Existing::Replace => true,
        Existing::Resume => has_state || !(finished || names == [QUICKSTART_CHECKPOINTS]),
        Existing::OwnQuickstart => is_quickstart(dir) || names == [QUICKSTART_CHECKPOINTS],
        Existing::Refuse => false,
    };
    if names.is_empty() || allowed {
        return Ok(());
    }
    let shown = dir.display();
    if existing == Existing::Resume {
        let message = format!("{shown} holds a finished run without {FINAL_CHECKPOINT}: there is nothing to resume");
        return Err(CliError::mistake(message)
            .with_help(format!("choose another {option}, or start over with --overwrite instead of --resume")));
    }
    let resumable = existing == Existing::Refuse && has_state;
    if has_checkpoints(dir) {
        let resume = if resumable { "--resume continues it; " } else { "" };
        return Err(CliError::mistake(format!("{shown} holds checkpoints of a training that is not finished"))
            .with_help(format!("{resume}--overwrite starts over")));
    }
    let listed = list(&names);
    if finished {
        let resume = if resumable { "; --resume with more --epochs continues a training" } else { "" };
        return Err(CliError::mistake(format!("{shown} holds the results of an earlier run: {listed}"))
            .with_help(format!("choose another {option}; --overwrite replaces the results{resume}")));
    }
    Err(CliError::mistake(format!("{shown} is not empty: it holds {listed}"))
        .with_help(format!("choose another {option}; --overwrite writes to it anyway")))
}

/// The contents of a folder, without hidden files and without an empty folder of checkpoints.
fn contents(dir: &Path) -> CliResult<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(CliError::io("write to the folder", dir, &error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| CliError::io("read", dir, &error))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && (name != CHECKPOINTS || has_checkpoints(dir)) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn has_checkpoints(dir: &Path) -> bool {
    let mut entries = fs::read_dir(dir.join(CHECKPOINTS)).into_iter().flatten().flatten();
    entries.any(|entry| !entry.file_name().to_string_lossy().starts_with('.'))
}

/// Whether a folder holds only what `quickstart` writes, so that a quickstart may replace it.
pub(super) fn is_quickstart(dir: &Path) -> bool {
    let text = burn_adapters_files::read_text(&dir.join("result.json"), burn_adapters_files::MAX_TEXT);
    let result = text.ok().and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
    let keys = [["accuracy_before", "predictions"], ["perplexity_before", "answers"]];
    result.is_some_and(|result| keys.iter().any(|keys| keys.iter().all(|key| result.get(key).is_some())))
}

fn list(names: &[String]) -> String {
    const SHOWN: usize = 4;
    let shown = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// A folder that cannot be saved to.
pub(super) fn save_error(error: &SaveError) -> CliError {
    match error {
        SaveError::Io { doing, path, source } => CliError::io(doing, path, source),
        busy => CliError::mistake(busy.to_string()),
    }
}
