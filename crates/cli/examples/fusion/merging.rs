//! Averages of parameters, from files alone.

use std::error::Error;

use burn_adapters_checkpoint::{
    AdapterFolder, HeadFolder, SaveOptions, load_adapter, load_head, save_adapter, save_head,
};
use burn_adapters_merging::{Strategy, merge_folders, merge_heads};
use burn_adapters_model::AdapterBank;

use super::data::Sentences;

/// The adapter whose parameters are the average of the others', each weighted by its number of training sentences; its
/// head likewise.
pub(crate) const MERGED: &str = "merged";

/// The head that is the plain average of the adapters' heads.
pub(crate) const MEAN: &str = "mean";

/// Saves the adapters of all kinds with their heads, merges the files, and adds the result to the bank.
pub(crate) fn average_on_files(bank: &mut AdapterBank, sentences: &Sentences) -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let (mut adapters, mut heads) = (Vec::new(), Vec::new());
    for kind in &sentences.kinds {
        let (name, weight) = (kind.kind.id(), kind.train.len() as f64);
        let dir = folder.path().join(name);
        save_adapter(&dir, bank, name, &SaveOptions::default())?;
        save_head(&dir, bank, name, &SaveOptions::default())?;
        adapters.push((AdapterFolder::read(&dir)?, weight));
        heads.push((HeadFolder::read(&dir)?, weight));
    }
    let merged = folder.path().join(MERGED);
    merge_folders(&adapters, &Strategy::Linear { normalize: true }, MERGED)?.write(&merged)?;
    merge_heads(&heads, true, MERGED)?.write(&merged)?;
    load_adapter(&merged, bank, None)?;
    load_head(&merged, bank, None)?;

    let mean = folder.path().join(MEAN);
    heads.iter_mut().for_each(|(_, weight)| *weight = 1.0);
    merge_heads(&heads, true, MEAN)?.write(&mean)?;
    load_head(&mean, bank, None)?;
    Ok(())
}
