//! The cache folder for fetched files.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::checksum::Known;
use crate::{FetchError, Progress};

/// The environment variable that names the folder.
pub(crate) const VARIABLE: &str = "BURN_ADAPTERS_CACHE";

/// The cache folder for fetched files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// `$BURN_ADAPTERS_CACHE`, or by default `burn-adapters` in the user's cache folder.
    ///
    /// # Errors
    /// If neither exists.
    pub fn from_env() -> Result<Self, FetchError> {
        let variable = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let root = variable(VARIABLE).or_else(|| user_cache(variable).map(|dir| dir.join("burn-adapters")));
        root.map(|root| Self { root }).ok_or(FetchError::NoCacheFolder)
    }

    /// A cache in a folder of your choice; it need not exist yet.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// A folder of the cache.
    pub fn dir(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Whether the files are in the cache and intact.
    pub(crate) fn holds(&self, dir: &Path, files: &[Known], progress: &mut dyn Progress) -> bool {
        if !files.iter().all(|file| dir.join(file.name).exists()) {
            return false;
        }
        for file in files {
            if let Err(reason) = file.check(&dir.join(file.name)) {
                progress.say(&format!("the cached copy is damaged ({reason}): fetching it again"));
                return false;
            }
        }
        progress.say(&format!("using {} (cached)", dir.display()));
        true
    }

    /// A new folder beside the cached ones, which is removed when the value is dropped.
    pub(crate) fn scratch(&self) -> Result<TempDir, FetchError> {
        let made = fs::create_dir_all(&self.root)
            .and_then(|()| tempfile::Builder::new().prefix(".fetch-").tempdir_in(&self.root));
        made.map_err(|source| FetchError::CacheNotWritable { path: self.root.clone(), source })
    }

    /// Checks fetched files (in the order of `files`) and moves them into place, so that other processes never see
    /// partial files.
    pub(crate) fn accept(&self, fetched: &[PathBuf], files: &[Known], dir: &Path) -> Result<(), String> {
        for (path, file) in fetched.iter().zip(files) {
            file.check(path)?;
        }
        let cannot = |error| format!("cannot write to {}: {error}", dir.display());
        fs::create_dir_all(dir).map_err(cannot)?;
        for (path, file) in fetched.iter().zip(files) {
            set_mode(path).map_err(cannot)?;
            fs::rename(path, dir.join(file.name)).map_err(cannot)?;
        }
        Ok(())
    }
}

/// Archives come with their own permissions, such as world-writable files.
#[cfg(unix)]
fn set_mode(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn set_mode(_: &Path) -> std::io::Result<()> {
    Ok(())
}

/// The platform's folder for a user's caches.
fn user_cache(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    if let Some(dir) = variable("XDG_CACHE_HOME").filter(|dir| dir.is_absolute()) {
        return Some(dir);
    }
    if cfg!(windows) {
        return variable("LOCALAPPDATA");
    }
    let home = variable("HOME")?;
    Some(if cfg!(target_os = "macos") { home.join("Library/Caches") } else { home.join(".cache") })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const ABC: Known =
        Known { name: "abc", sha256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", bytes: 3 };

    #[test]
    fn a_file_with_the_wrong_contents_is_not_accepted_and_a_damaged_one_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path().join("cache"));
        let target = cache.dir("letters");
        let fetched = dir.path().join("fetched");
        fs::write(&fetched, "abd").unwrap();
        assert!(cache.accept(std::slice::from_ref(&fetched), &[ABC], &target).is_err());
        assert!(!target.join("abc").exists());

        fs::write(&fetched, "abc").unwrap();
        cache.accept(&[fetched], &[ABC], &target).unwrap();
        assert!(cache.holds(&target, &[ABC], &mut ()));

        fs::write(target.join("abc"), "ab").unwrap();
        assert!(!cache.holds(&target, &[ABC], &mut ()));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_relative_xdg_folder_is_ignored_as_its_specification_says() {
        let variable = |name: &str| match name {
            "XDG_CACHE_HOME" => Some(PathBuf::from("relative")),
            "HOME" => Some(PathBuf::from("/home/someone")),
            _ => None,
        };
        assert_eq!(user_cache(variable), Some(PathBuf::from("/home/someone/.cache")));
    }
}
