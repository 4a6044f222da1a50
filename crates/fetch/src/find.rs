//! Searching for files in a folder.

use std::path::{Path, PathBuf};

use crate::checksum::Known;

/// The depth to which the folders of a package are searched.
const DEPTH: usize = 8;

/// The paths of files with these names anywhere below a folder, in their order.
pub(crate) fn find_all(root: &Path, files: &[Known]) -> Result<Vec<PathBuf>, String> {
    files
        .iter()
        .map(|file| find(root, file, 0).ok_or_else(|| format!("it does not contain the expected {}", file.name)))
        .collect()
}

/// If several files have the name, the one with the right contents is used, otherwise any.
fn find(dir: &Path, file: &Known, depth: usize) -> Option<PathBuf> {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(dir).ok()?.flatten().map(|entry| entry.path()).collect();
    entries.sort();
    let direct = entries.iter().find(|path| path.is_file() && path.file_name().is_some_and(|name| name == file.name));
    let mut fallback = None;
    if let Some(path) = direct {
        if file.check(path).is_ok() {
            return Some(path.clone());
        }
        fallback = Some(path.clone());
    }
    if depth < DEPTH {
        for path in entries.iter().filter(|path| path.is_dir() && !path.is_symlink()) {
            match find(path, file, depth + 1) {
                Some(path) if file.check(&path).is_ok() => return Some(path),
                Some(path) => fallback = fallback.or(Some(path)),
                None => {}
            }
        }
    }
    fallback
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn of_files_with_the_same_name_the_one_with_the_right_contents_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let abc =
            Known { name: "abc", sha256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", bytes: 3 };
        assert!(find_all(dir.path(), &[abc]).unwrap_err().contains("abc"));
        for (folder, contents) in [("a", "wrong"), ("b/c", "abc"), ("d", "wrong too")] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
            std::fs::write(dir.path().join(folder).join("abc"), contents).unwrap();
        }
        assert_eq!(find_all(dir.path(), &[abc]).unwrap(), [dir.path().join("b/c/abc")]);
    }
}
