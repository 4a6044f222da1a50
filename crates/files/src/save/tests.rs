//! Saves that fail, are killed, or run at the same time.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::fault::inject::{Fault, with_fault};
use super::{FolderClaim, FolderSave, SaveError, in_place, remove_folder, save_file};

/// Everything below a folder: the bytes of files, a marker for folders.
fn tree(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fn collect(root: &Path, dir: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for entry in fs::read_dir(dir).into_iter().flatten() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_owned();
            let metadata = fs::symlink_metadata(&path).unwrap();
            if metadata.is_dir() {
                found.insert(name, b"<folder>".to_vec());
                collect(root, &path, found);
            } else if metadata.is_symlink() {
                found.insert(name, fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes());
            } else {
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    collect(dir, dir, &mut found);
    found
}

/// A folder with an old save and with other files.
fn old(dir: &Path) {
    fs::create_dir_all(dir.join("part")).unwrap();
    fs::create_dir_all(dir.join("mine/deep")).unwrap();
    for (name, text) in [
        ("adapter", "old adapter"),
        ("head", "old head"),
        ("stale", "stale"),
        ("part/adapter", "old part"),
        ("part/note", "a note"),
        ("notes.txt", "my notes"),
        ("mine/deep/data", "my data"),
    ] {
        fs::write(dir.join(name), text).unwrap();
    }
    #[cfg(unix)]
    std::os::unix::fs::symlink("notes.txt", dir.join("link")).unwrap();
}

fn fill(save: &mut FolderSave) -> Result<(), SaveError> {
    save.write("adapter", b"new adapter")?;
    save.write("head", b"new head")?;
    save.write("part/adapter", b"new part")?;
    save.write("fresh/file", b"fresh")?;
    save.remove("stale");
    Ok(())
}

fn save(dir: &Path) -> Result<(), SaveError> {
    let mut save = FolderSave::new(dir)?;
    fill(&mut save)?;
    save.commit()
}

/// The expected contents after the save.
fn new(old: &BTreeMap<PathBuf, Vec<u8>>) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut new = old.clone();
    new.remove(Path::new("stale"));
    for (name, text) in [
        ("adapter", "new adapter"),
        ("head", "new head"),
        ("part/adapter", "new part"),
        ("fresh", "<folder>"),
        ("fresh/file", "fresh"),
    ] {
        new.insert(name.into(), text.into());
    }
    new
}

/// The names in a folder.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names.into_iter().map(|name| name.into_string().unwrap()).collect()
}

#[test]
fn what_is_not_replaced_is_taken_over() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("out");
    old(&dir);
    let before = tree(&dir);
    save(&dir).unwrap();
    assert_eq!(tree(&dir), new(&before));
    assert_eq!(names(parent.path()), ["out"]);
}

#[test]
fn a_save_that_fails_or_is_killed_at_any_point_leaves_all_of_the_old_or_all_of_the_new() {
    for (fault, exists) in [(Fault::Once, true), (Fault::Once, false), (Fault::Killed, true), (Fault::Killed, false)] {
        let (mut failures, mut successes) = (0, 0);
        for at in 0.. {
            let parent = tempfile::tempdir().unwrap();
            let dir = parent.path().join("out");
            let mut before = BTreeMap::new();
            if exists {
                old(&dir);
                before = tree(&dir);
            }
            let (result, reached) = with_fault(at, fault, || save(&dir));
            let after = tree(&dir);
            let is_new = after == new(&before) || !exists && after.contains_key(Path::new("fresh/file"));
            if fault == Fault::Once {
                assert_eq!(result.is_ok(), is_new, "{fault:?} at {at}: {result:?}");
            }
            assert!(is_new || after == before, "{fault:?} at {at}: {after:?}");
            let count = if is_new { &mut successes } else { &mut failures };
            *count += 1;
            // The next save works and leaves nothing else.
            save(&dir).unwrap();
            assert!(tree(&dir).contains_key(Path::new("fresh/file")), "{fault:?} at {at}");
            assert_eq!(tree(&dir).contains_key(Path::new("mine/deep/data")), exists, "{fault:?} at {at}");
            assert_eq!(names(parent.path()), ["out"], "{fault:?} at {at}");
            if !reached {
                break;
            }
        }
        assert!(failures > 8 && successes > 0, "{fault:?}: {failures} {successes}");
    }
}

#[test]
fn where_a_folder_cannot_be_swapped_an_error_brings_the_old_files_back() {
    for at in 0.. {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("out");
        old(&dir);
        let before = tree(&dir);
        let run = || {
            let mut save = FolderSave::new(&dir)?;
            fill(&mut save)?;
            in_place::replace(&save.staging, &save.place, &save.files, &save.removed)
                .map_err(SaveError::io("save to", &dir))
        };
        let (result, reached) = with_fault(at, Fault::Once, run);
        let expected = if result.is_ok() { new(&before) } else { before };
        // If cleanup failed, the next save does it.
        let mut after = tree(&dir);
        after.retain(|path, _| !path.to_string_lossy().starts_with(".saving-"));
        assert_eq!(after, expected, "at {at}");
        assert!(names(parent.path()).iter().all(|name| name == "out" || name.starts_with(".saving-out-")), "at {at}");
        if !reached {
            result.unwrap();
            break;
        }
    }
}

#[test]
fn remnants_of_killed_saves_are_cleared_and_those_of_others_are_not() {
    let parent = tempfile::tempdir().unwrap();
    let path = |name: &str| parent.path().join(name);
    old(&path("out"));
    for name in
        [".saving-out-abc123", ".old-out-XYZ9", ".saving-out-2-abc123", ".saving-other-abc123", "out/.saving-abc"]
    {
        fs::create_dir_all(path(name)).unwrap();
        fs::write(path(name).join("x"), "x").unwrap();
    }
    fs::write(path("out/.old-abc123"), "x").unwrap();
    fs::write(path("out/part/.saving-abc123"), "x").unwrap();
    // Another save of the same folder, under way.
    let mut under_way = FolderSave::new(path("out")).unwrap();
    fill(&mut under_way).unwrap();
    save(&path("out")).unwrap();
    let left = names(parent.path());
    let mine: Vec<_> = left.iter().filter(|name| name.starts_with(".saving-out-") && !name.contains("-2-")).collect();
    assert_eq!(mine.len(), 1, "{left:?}");
    assert!(left.contains(&".saving-other-abc123".to_owned()) && left.contains(&".saving-out-2-abc123".to_owned()));
    assert!(!names(&path("out")).iter().chain(&names(&path("out/part"))).any(|name| name.starts_with('.')));
    under_way.commit().unwrap();
    assert_eq!(names(parent.path()).len(), 3);
}

#[test]
fn a_folder_that_was_left_under_its_old_name_comes_back() {
    let parent = tempfile::tempdir().unwrap();
    old(&parent.path().join(".old-out-abc123"));
    save(&parent.path().join("out")).unwrap();
    assert_eq!(names(parent.path()), ["out"]);
    assert_eq!(fs::read(parent.path().join("out/notes.txt")).unwrap(), b"my notes");
}

#[test]
fn saves_of_one_folder_at_the_same_time_lose_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("out");
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let dir = &dir;
            scope.spawn(move || {
                for round in 0..5 {
                    let mut save = FolderSave::new(dir).unwrap();
                    save.write(format!("{thread}-{round}"), b"x").unwrap();
                    save.commit().unwrap();
                }
            });
        }
    });
    assert_eq!(names(&dir).len(), 20);
    assert_eq!(names(parent.path()), ["out"]);
}

#[test]
fn a_claimed_folder_is_written_to_by_its_owner_alone() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("above/out");
    let claim = FolderClaim::new(&dir).unwrap();
    let error = FolderClaim::new(&dir).unwrap_err();
    assert!(matches!(error, SaveError::Busy { .. }), "{error}");
    if cfg!(target_os = "linux") {
        assert!(error.to_string().contains(&format!("(PID {})", std::process::id())), "{error}");
    }
    drop(claim);
    assert!(!parent.path().join("above").exists(), "an unused claim leaves nothing");
    let claim = FolderClaim::new(&dir).unwrap();
    let mut save = claim.save().unwrap();
    save.write("a", b"a").unwrap();
    save.commit().unwrap();
    drop(claim);
    assert_eq!(names(&dir), ["a"]);
    FolderClaim::new(&dir).unwrap();
}

#[cfg(unix)]
#[test]
fn links_are_followed_to_what_is_replaced() {
    let parent = tempfile::tempdir().unwrap();
    let path = |name: &str| parent.path().join(name);
    old(&path("real"));
    std::os::unix::fs::symlink("real", path("out")).unwrap();
    save(&path("out")).unwrap();
    assert!(fs::symlink_metadata(path("out")).unwrap().is_symlink());
    assert_eq!(fs::read(path("real/head")).unwrap(), b"new head");
    assert_eq!(names(parent.path()), ["out", "real"]);
}

#[cfg(unix)]
#[test]
fn permissions_stay() {
    use std::os::unix::fs::PermissionsExt;
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("out");
    old(&dir);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for (name, bits) in [("", 0o750), ("mine", 0o500), ("notes.txt", 0o640)] {
        fs::set_permissions(dir.join(name), PermissionsExt::from_mode(bits)).unwrap();
    }
    save(&dir).unwrap();
    assert_eq!([mode(&dir), mode(&dir.join("mine")), mode(&dir.join("notes.txt"))], [0o750, 0o500, 0o640]);
    save(&parent.path().join("fresh")).unwrap();
    fs::create_dir(parent.path().join("usual")).unwrap();
    assert_eq!(mode(&parent.path().join("fresh")), mode(&parent.path().join("usual")));
}

#[test]
fn what_is_in_the_way_is_an_error_and_nothing_changes() {
    let parent = tempfile::tempdir().unwrap();
    let path = |name: &str| parent.path().join(name);
    fs::write(path("file"), "x").unwrap();
    for bad in ["file", "file/out"] {
        assert!(FolderSave::new(path(bad)).is_err() && FolderClaim::new(path(bad)).is_err(), "{bad}");
    }
    old(&path("out"));
    let before = tree(parent.path());
    let mut save = FolderSave::new(path("out")).unwrap();
    assert!(save.write("mine", b"x").is_err());
    assert!(save.write("notes.txt/x", b"x").is_err());
    for outside in ["../x", "/x", "", ".", "a/../../x"] {
        assert!(save.write(outside, b"x").is_err(), "{outside}");
    }
    drop(save);
    assert_eq!(tree(parent.path()), before);
}

#[test]
fn a_file_and_a_folder_are_whole_or_gone() {
    for fault in [Fault::Once, Fault::Killed] {
        for at in 0.. {
            let parent = tempfile::tempdir().unwrap();
            let file = parent.path().join("a/file");
            save_file(&file, b"old").unwrap();
            let (result, reached) = with_fault(at, fault, || save_file(&file, b"new"));
            let expected: &[u8] = if result.is_ok() { b"new" } else { b"old" };
            assert_eq!(fs::read(&file).unwrap(), expected, "{fault:?} at {at}");
            save_file(&file, b"newer").unwrap();
            assert_eq!(names(&parent.path().join("a")), ["file"]);

            let dir = parent.path().join("out");
            old(&dir);
            let before = tree(&dir);
            let (_, also) = with_fault(at, fault, || remove_folder(&dir));
            assert!(!dir.exists() || tree(&dir) == before, "{fault:?} at {at}");
            if !reached && !also {
                break;
            }
        }
    }
}

#[test]
fn a_folder_that_is_removed_makes_way_for_new_files_in_it() {
    for in_place in [false, true] {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("out");
        old(&dir);
        let mut save = FolderSave::new(&dir).unwrap();
        save.write("part/new", b"new").unwrap();
        assert!(save.remove("part") && !save.remove("nothing"));
        if in_place {
            in_place::replace(&save.staging, &save.place, &save.files, &save.removed).unwrap();
            drop(save);
        } else {
            save.commit().unwrap();
        }
        assert_eq!(names(&dir.join("part")), ["new"]);
        assert_eq!(names(parent.path()), ["out"]);
    }
}
