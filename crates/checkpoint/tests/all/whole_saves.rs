//! A folder is saved as one.

use std::fs;
use std::path::Path;

use crate::common::{bank, contents, spec};
use burn_adapters_checkpoint::{
    CheckpointError, FolderClaim, FolderSave, HeadFolder, SaveOptions, load_setup, save_adapter, save_fusion,
    save_head, save_setup, stage_adapter, stage_head,
};
use burn_adapters_composition::Composition;
use burn_adapters_fusion::FusionConfig;
use burn_adapters_heads::HeadConfig;
use burn_adapters_model::AdapterBank;

/// A bank with an adapter and a head `a`.
fn with_head(seed: u64) -> AdapterBank {
    let mut bank = AdapterBank::new(spec(2), &burn::tensor::Device::default());
    bank.add_seeded("a", "seq_bn[reduction_factor=2]".parse().unwrap(), seed).unwrap();
    bank.add_head_seeded("a", &HeadConfig::classification(2), seed).unwrap();
    bank
}

fn save_both(dir: &Path, bank: &AdapterBank) -> Result<(), CheckpointError> {
    let (mut save, options) = (FolderSave::new(dir)?, SaveOptions::default());
    stage_adapter(&mut save, bank, "a", &options)?;
    stage_head(&mut save, bank, "a", &options)?;
    Ok(save.commit()?)
}

#[test]
fn an_adapter_is_not_saved_without_the_head_that_belongs_to_it() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("out");
    save_both(&dir, &with_head(1)).unwrap();
    fs::write(dir.join("notes.txt"), "mine").unwrap();
    let weights = dir.join("model_head.safetensors");
    fs::remove_file(&weights).unwrap();
    fs::create_dir(&weights).unwrap();
    let adapter = || fs::read(dir.join("adapter.safetensors")).unwrap();
    let before = adapter();
    let error = save_both(&dir, &with_head(2)).unwrap_err();
    assert!(matches!(error, CheckpointError::Io { .. }), "{error}");
    assert_eq!(adapter(), before);

    fs::remove_dir(&weights).unwrap();
    save_both(&dir, &with_head(2)).unwrap();
    assert_ne!(adapter(), before);
    assert_eq!(fs::read(dir.join("notes.txt")).unwrap(), b"mine");
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
}

#[test]
fn a_pytorch_file_goes_with_the_save_that_replaces_it_and_no_sooner() {
    let dir = tempfile::tempdir().unwrap();
    let old = dir.path().join("pytorch_model_head.bin");
    fs::write(&old, "old").unwrap();
    let mut save = FolderSave::new(dir.path()).unwrap();
    let report = stage_head(&mut save, &with_head(1), "a", &SaveOptions::default()).unwrap();
    assert_eq!(report.removed, std::slice::from_ref(&old));
    assert!(old.exists());
    save.commit().unwrap();
    assert!(!old.exists() && HeadFolder::exists(dir.path()));
}

#[test]
fn a_setup_does_not_take_over_heads_that_its_adapters_no_longer_have() {
    let dir = tempfile::tempdir().unwrap();
    let options = SaveOptions::default();
    save_setup(dir.path(), &with_head(1), &"a".into(), None, &options).unwrap();
    fs::write(dir.path().join("a/pytorch_model_head.bin"), "old").unwrap();
    fs::write(dir.path().join("a/notes.txt"), "mine").unwrap();
    save_setup(dir.path(), &bank("lora[r=2]"), &"a".into(), None, &options).unwrap();
    let names: Vec<String> = contents(&dir.path().join("a")).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["adapter.safetensors", "adapter_config.json", "notes.txt"]);
    let mut other = AdapterBank::new(spec(2), &burn::tensor::Device::default());
    assert_eq!(load_setup(dir.path(), &mut other).unwrap().1.len(), 1);
}

#[test]
fn a_setup_that_fails_half_way_leaves_the_old_one() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("out");
    let (options, stack) = (SaveOptions::default(), Composition::stack(["a", "b"]));
    let both = |seed| {
        let mut bank = with_head(seed);
        bank.add_seeded("b", "lora[r=2]".parse().unwrap(), seed).unwrap();
        bank
    };
    save_setup(&dir, &both(1), &stack, None, &options).unwrap();
    let before = contents(&dir.join("a"));
    fs::remove_dir_all(dir.join("b")).unwrap();
    fs::write(dir.join("b"), "a file in the way").unwrap();
    assert!(save_setup(&dir, &both(2), &stack, None, &options).is_err());
    assert_eq!(contents(&dir.join("a")), before);
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
}

#[test]
fn every_save_waits_for_its_turn_and_keeps_what_others_saved() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("out");
    let mut bank = with_head(1);
    bank.add_seeded("b", "seq_bn[reduction_factor=2]".parse().unwrap(), 2).unwrap();
    bank.add_fusion("a,b", &["a", "b"], &FusionConfig::dynamic(), 3).unwrap();
    let options = SaveOptions::default();
    std::thread::scope(|scope| {
        scope.spawn(|| save_adapter(&dir, &bank, "a", &options).unwrap());
        scope.spawn(|| save_head(&dir, &bank, "a", &options).unwrap());
        scope.spawn(|| save_fusion(&dir, &bank, "a,b", &options).unwrap());
    });
    assert_eq!(contents(&dir).len(), 6);
}

#[test]
fn a_claimed_folder_is_saved_to_through_its_claim() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("out");
    let claim = FolderClaim::new(&dir).unwrap();
    let mut save = claim.save().unwrap();
    stage_adapter(&mut save, &with_head(1), "a", &SaveOptions::default()).unwrap();
    save.commit().unwrap();
    drop(claim);
    save_adapter(&dir, &with_head(2), "a", &SaveOptions::default()).unwrap();
}
