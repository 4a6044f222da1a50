//! A whole setup in one folder: the composition in `adapter_setup.json`, and each adapter, fusion and head in a subfolder
//! of its name.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn_adapters_composition::{AdapterSetup, Composition, HeadSetup};
use burn_adapters_files::FolderSave;
use burn_adapters_model::{AdapterBank, BankError};

use crate::adapter::stage_adapter_in;
use crate::files::{ADAPTER, FUSION, HEAD, Kind, read_if_there};
use crate::fusion::stage_fusion_in;
use crate::head::stage_head_in;
use crate::write::{keep_only, save_alone};
use crate::{
    AdapterFolder, CheckpointError, FusionFolder, HeadFolder, LoadReport, SaveOptions, SaveReport, load_adapter,
    load_fusion, load_head,
};

/// Saves a composition of adapters with everything that it needs to a folder, which is created if necessary: each adapter
/// (with the head of its name, if there is one), the fusions, the requested heads, and `adapter_setup.json`. The reports
/// are in this order.
///
/// ```
/// use burn_adapters_checkpoint::{SaveOptions, load_setup, save_setup};
/// use burn_adapters_composition::Composition;
/// use burn_adapters_core::{ModelSpec, StackSpec};
/// use burn_adapters_model::AdapterBank;
///
/// let spec = ModelSpec::new("bert", 8).with_stack(StackSpec::encoder(2, 8, 2, 16));
/// let mut bank = AdapterBank::new(spec.clone(), &burn::tensor::Device::default());
/// bank.add("a", "seq_bn[reduction_factor=2]".parse()?)?;
/// bank.add("b", "lora[r=2]".parse()?)?;
///
/// let (folder, stack) = (tempfile::tempdir()?, Composition::stack(["a", "b"]));
/// save_setup(folder.path(), &bank, &stack, None, &SaveOptions::default())?;
/// let mut other = AdapterBank::new(spec, &burn::tensor::Device::default());
/// let (setup, reports) = load_setup(folder.path(), &mut other)?;
/// assert_eq!(setup.adapters, stack);
/// assert_eq!(reports.len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// If the composition or the heads are invalid, the bank lacks a part, a part's name cannot name a folder, or writing
/// fails. The folder is then unchanged.
pub fn save_setup(
    dir: impl AsRef<Path>,
    bank: &AdapterBank,
    adapters: &Composition,
    heads: Option<&HeadSetup>,
    options: &SaveOptions,
) -> Result<Vec<SaveReport>, CheckpointError> {
    Parts::new(dir.as_ref(), bank, adapters, heads)?;
    save_alone(dir.as_ref(), |save| stage_setup(save, bank, adapters, heads, options))
}

/// Adds a composition of adapters with everything that it needs to a save, as [`save_setup`] does. Leftovers of an older
/// save in the folders of the parts, such as a head that an adapter no longer has, are removed.
///
/// # Errors
/// As [`save_setup`].
pub fn stage_setup(
    save: &mut FolderSave,
    bank: &AdapterBank,
    adapters: &Composition,
    heads: Option<&HeadSetup>,
    options: &SaveOptions,
) -> Result<Vec<SaveReport>, CheckpointError> {
    let Parts { adapters: names, fusions, heads: head_names } = Parts::new(save.dir(), bank, adapters, heads)?;
    let mut reports = Vec::new();
    let mut kinds: BTreeMap<&str, Vec<Kind>> = BTreeMap::new();
    for name in &names {
        reports.push(stage_adapter_in(save, Path::new(name), bank, name, options)?);
        kinds.entry(name).or_default().push(ADAPTER);
        if bank.head(name).is_ok() {
            reports.push(stage_head_in(save, Path::new(name), bank, name, options)?);
            kinds.entry(name).or_default().push(HEAD);
        }
    }
    for name in &fusions {
        reports.push(stage_fusion_in(save, Path::new(name), bank, name, options)?);
        kinds.entry(name).or_default().push(FUSION);
    }
    for name in head_names {
        reports.push(stage_head_in(save, Path::new(name), bank, name, options)?);
        kinds.entry(name).or_default().push(HEAD);
    }
    kinds.iter().for_each(|(part, kinds)| keep_only(save, Path::new(part), kinds));
    let mut setup = AdapterSetup::new(adapters.clone());
    setup.heads = heads.cloned();
    let text = setup.to_json_string();
    save.write(AdapterSetup::FILE_NAME, text.as_bytes())?;
    let files = vec![save.dir().join(AdapterSetup::FILE_NAME)];
    reports.push(SaveReport {
        files,
        tensors: 0,
        parameters: 0,
        bytes: text.len() as u64,
        removed: vec![],
        notes: vec![],
    });
    Ok(reports)
}

/// The names of the parts of a setup, all of which the bank has.
struct Parts<'a> {
    adapters: Vec<&'a str>,
    fusions: Vec<String>,
    /// Heads that do not have the name of an adapter.
    heads: Vec<&'a str>,
}

impl<'a> Parts<'a> {
    fn new(
        dir: &Path,
        bank: &AdapterBank,
        adapters: &'a Composition,
        heads: Option<&'a HeadSetup>,
    ) -> Result<Self, CheckpointError> {
        adapters.validate().map_err(BankError::from)?;
        heads.map_or(Ok(()), HeadSetup::validate).map_err(BankError::from)?;
        let mut head_names = heads.map(HeadSetup::names).unwrap_or_default();
        if matches!(heads, Some(HeadSetup::Unnamed)) {
            let reason = "its head has no name, but a bank's heads have; give the head's name".to_owned();
            return Err(CheckpointError::Encode { path: dir.join(AdapterSetup::FILE_NAME), reason });
        }
        let (names, fusions) = (adapters.names(), adapters.fusions());
        for name in &names {
            bank.adapter(name)?;
            subfolder(dir, ADAPTER.what, name)?;
        }
        for name in &fusions {
            let fused = bank.fusion(name)?.adapters();
            let missing: Vec<_> = fused.iter().filter(|fused| !names.contains(&fused.as_str())).cloned().collect();
            if !missing.is_empty() {
                let (fusion, adapters) = (name.clone(), fused.to_vec());
                return Err(CheckpointError::FusedAdapters { fusion, adapters, missing, place: "the setup" });
            }
            subfolder(dir, FUSION.what, name)?;
        }
        for name in &head_names {
            bank.head(name)?;
            subfolder(dir, HEAD.what, name)?;
        }
        head_names.retain(|name| !names.contains(name));
        Ok(Self { adapters: names, fusions, heads: head_names })
    }
}

/// Loads the folder of a whole setup into a bank: its adapters (each with the head in its folder, if there is one), its
/// fusions and its heads, under the names in the setup. The reports are in this order. A head that cannot be read and
/// that the setup does not need, such as one for language modeling, is skipped with a note.
///
/// ```
/// use burn_adapters_checkpoint::load_setup;
/// # use burn_adapters_checkpoint::{SaveOptions, save_setup};
/// # use burn_adapters_core::{ModelSpec, StackSpec};
/// # use burn_adapters_heads::HeadConfig;
/// # use burn_adapters_model::AdapterBank;
/// # let spec = ModelSpec::new("bert", 8).with_stack(StackSpec::encoder(2, 8, 2, 16));
/// # let mut trained = AdapterBank::new(spec.clone(), &burn::tensor::Device::default());
/// # for name in ["a", "b"] {
/// #     trained.add(name, "lora[r=2]".parse()?)?;
/// #     trained.add_head(name, &HeadConfig::classification(2))?;
/// # }
/// # let heads = "[a, b]".parse()?;
/// # let folder = tempfile::tempdir()?;
/// # save_setup(folder.path(), &trained, &"Parallel(a, b)".parse()?, Some(&heads), &SaveOptions::default())?;
/// let mut bank = AdapterBank::new(spec, &burn::tensor::Device::default());
/// let (setup, reports) = load_setup(folder.path(), &mut bank)?;
/// assert_eq!(setup.adapters.to_string(), "Parallel(a, b)");
/// assert_eq!(setup.heads, Some("[a, b]".parse()?));
/// // Two adapters, and the heads in their folders.
/// assert_eq!(reports.len(), 4);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The Python library loses the name of a named `Fuse`. If there is no fusion under its default name, the only fusion of
/// the same adapters is loaded, and its name is added to the setup.
///
/// # Errors
/// If `adapter_setup.json` is missing or invalid, the folder lacks parts that it names (all are listed), a part cannot be
/// loaded, or the bank already has a part of that name. The bank is then unchanged.
pub fn load_setup(
    dir: impl AsRef<Path>,
    bank: &mut AdapterBank,
) -> Result<(AdapterSetup, Vec<LoadReport>), CheckpointError> {
    let dir = dir.as_ref();
    let mut setup = read_setup(dir)?;
    setup.adapters = with_fusion_names(setup.adapters, dir)?;
    setup.adapters.validate().map_err(BankError::from)?;
    setup.heads.as_ref().map_or(Ok(()), HeadSetup::validate).map_err(BankError::from)?;
    check_complete(dir, &setup)?;

    // Cloning shares the tensors. The bank is only replaced once everything is loaded.
    let mut filled = bank.clone();
    let mut reports = Vec::new();
    let names = setup.adapters.names();
    let asked = setup.heads.clone().or_else(|| HeadSetup::of_adapters(&setup.adapters));
    let asked = asked.as_ref().map(HeadSetup::names).unwrap_or_default();
    for name in &names {
        let folder = subfolder(dir, ADAPTER.what, name)?;
        let mut report = load_adapter(&folder, &mut filled, Some(name))?;
        let head = HeadFolder::exists(&folder).then(|| load_head(&folder, &mut filled, Some(name)));
        let head = match head {
            Some(Err(error)) if !asked.contains(name) => {
                report.notes.push(format!("its head was skipped because the setup does not need it: {error}"));
                None
            }
            head => head.transpose()?,
        };
        reports.push(report);
        reports.extend(head);
    }
    for name in setup.adapters.fusions() {
        reports.push(load_fusion(subfolder(dir, FUSION.what, &name)?, &mut filled, Some(&name))?);
    }
    for name in setup.heads.as_ref().map(HeadSetup::names).unwrap_or_default() {
        if !names.contains(&name) {
            reports.push(load_head(subfolder(dir, HEAD.what, name)?, &mut filled, Some(name))?);
        }
    }
    if matches!(setup.heads, Some(HeadSetup::Unnamed)) {
        let report = load_head(dir, &mut filled, None)?;
        setup.heads = Some(HeadSetup::One(report.name.clone()));
        reports.push(report);
    }
    *bank = filled;
    Ok((setup, reports))
}

fn read_setup(dir: &Path) -> Result<AdapterSetup, CheckpointError> {
    let path = dir.join(AdapterSetup::FILE_NAME);
    let text = read_if_there(&path)?.ok_or_else(|| CheckpointError::NotFound {
        dir: dir.to_owned(),
        what: "setup",
        expected: vec![AdapterSetup::FILE_NAME],
    })?;
    AdapterSetup::from_json_str(&text).map_err(|source| CheckpointError::Setup { path, source: Box::new(source) })
}

/// Checks that every part is present before any is loaded.
fn check_complete(dir: &Path, setup: &AdapterSetup) -> Result<(), CheckpointError> {
    let mut missing = Vec::new();
    let mut check = |what: &'static str, name: &str, file: &str, exists: fn(&Path) -> bool| {
        let folder = subfolder(dir, what, name)?;
        if !folder.is_dir() {
            missing.push(format!("the {what} `{name}` (there is no folder `{name}`)"));
        } else if !exists(&folder) {
            missing.push(format!("the {what} `{name}` (the folder `{name}` has no {file})"));
        }
        Ok::<_, CheckpointError>(())
    };
    for name in setup.adapters.names() {
        check(ADAPTER.what, name, ADAPTER.config, |dir| AdapterFolder::exists(dir))?;
    }
    for name in setup.adapters.fusions() {
        check(FUSION.what, &name, FUSION.config, |dir| FusionFolder::exists(dir))?;
    }
    for name in setup.heads.as_ref().map(HeadSetup::names).unwrap_or_default() {
        check(HEAD.what, name, HEAD.config, |dir| HeadFolder::exists(dir))?;
    }
    if missing.is_empty() { Ok(()) } else { Err(CheckpointError::Incomplete { dir: dir.to_owned(), missing }) }
}

/// The composition, with the name of each fusion that is not found under its default name.
fn with_fusion_names(composition: Composition, dir: &Path) -> Result<Composition, CheckpointError> {
    let default = composition.fusion_name();
    let all = |children: Vec<Composition>| -> Result<Vec<_>, _> {
        children.into_iter().map(|child| with_fusion_names(child, dir)).collect()
    };
    Ok(match composition {
        Composition::Fuse { children, name: None } => {
            let default = default.unwrap_or_default();
            let found = FusionFolder::exists(subfolder(dir, FUSION.what, &default)?);
            let fused: Vec<&str> = children.iter().filter_map(Composition::last).collect();
            let name = if found { None } else { only_fusion_of(dir, &fused) };
            Composition::Fuse { children: all(children)?, name }
        }
        Composition::Fuse { children, name } => Composition::Fuse { children: all(children)?, name },
        Composition::Stack(children) => Composition::Stack(all(children)?),
        Composition::Parallel(children) => Composition::Parallel(all(children)?),
        Composition::Split { children, splits } => Composition::Split { children: all(children)?, splits },
        Composition::BatchSplit { children, batch_sizes } => {
            Composition::BatchSplit { children: all(children)?, batch_sizes }
        }
        Composition::Average { children, weights, normalize_weights } => {
            Composition::Average { children: all(children)?, weights, normalize_weights }
        }
        leaf @ (Composition::Adapter(_) | Composition::Route(_)) => leaf,
    })
}

/// The name of the only fusion of these adapters in a folder. Folders that cannot be read are skipped: the error to report
/// is that no fusion was found.
fn only_fusion_of(dir: &Path, adapters: &[&str]) -> Option<String> {
    let folders = fs::read_dir(dir).ok()?.flatten();
    let mut names = folders.filter_map(|folder| {
        let fused = FusionFolder::read_names(&folder.path()).ok()?;
        if fused == adapters { folder.file_name().into_string().ok() } else { None }
    });
    names.next().filter(|_| names.next().is_none())
}

/// The folder of a part. Names come from outside, and must not lead out of the setup's folder.
fn subfolder(dir: &Path, what: &'static str, name: &str) -> Result<PathBuf, CheckpointError> {
    let path = name.contains(['/', '\\', '\0']) || (cfg!(windows) && name.contains(':'));
    let outside = path || ["", ".", ".."].contains(&name);
    if outside {
        return Err(CheckpointError::FolderName { what, name: name.to_owned() });
    }
    Ok(dir.join(name))
}
