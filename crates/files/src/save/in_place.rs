//! Moving files into a folder one by one, if it cannot be replaced as a whole.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::fault::point;
use super::place::{Created, Place, Staging};
use super::swap::sync_folder;

/// Moves staged files into the target; an error restores the old ones.
pub(super) fn replace(staging: &Staging, place: &Place, files: &[PathBuf], removed: &[PathBuf]) -> io::Result<()> {
    let (new, old) = (place.staging(true)?, place.staging(true)?);
    for file in files {
        // Outside the mount point, files can only be copied.
        let (from, to) = (staging.path.join(file), new.path.join(file));
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        point()?;
        fs::rename(&from, &to).or_else(|_| {
            fs::copy(&from, &to)?;
            fs::File::open(&to)?.sync_all()
        })?;
    }
    let mut change = Change { target: &place.target, old: &old.path, done: Vec::new(), created: Created::default() };
    let changed = files
        .iter()
        .try_for_each(|file| change.put(&new.path, file))
        .and_then(|()| removed.iter().try_for_each(|path| change.take(path, files)));
    if let Err(error) = changed {
        change.undo();
        return Err(error);
    }
    for folder in files.iter().filter_map(|file| file.parent()) {
        sync_folder(&place.target.join(folder));
    }
    Ok(())
}

/// The changes so far.
struct Change<'a> {
    target: &'a Path,
    /// The folder that keeps the old files until the end.
    old: &'a Path,
    done: Vec<(PathBuf, Done)>,
    created: Created,
}

enum Done {
    New,
    Replaced,
    Taken,
}

impl Change<'_> {
    fn put(&mut self, new: &Path, file: &Path) -> io::Result<()> {
        let (target, kept) = (self.target.join(file), self.old.join(file));
        let mut done = Done::New;
        if fs::symlink_metadata(&target).is_ok() {
            make_parent(&kept)?;
            point()?;
            fs::hard_link(&target, &kept).or_else(|_| fs::copy(&target, &kept).map(drop))?;
            done = Done::Replaced;
        } else if let Some(parent) = target.parent() {
            self.created.make(parent).map_err(io::Error::other)?;
        }
        point()?;
        fs::rename(new.join(file), &target)?;
        self.done.push((file.to_owned(), done));
        Ok(())
    }

    /// Removes an old file without a replacement.
    fn take(&mut self, path: &Path, files: &[PathBuf]) -> io::Result<()> {
        let (target, kept) = (self.target.join(path), self.old.join(path));
        if fs::symlink_metadata(&target).is_err() || files.iter().any(|file| file == path) {
            return Ok(());
        }
        if files.iter().any(|file| file.starts_with(path)) {
            for entry in fs::read_dir(&target)? {
                self.take(&path.join(entry?.file_name()), files)?;
            }
            return Ok(());
        }
        make_parent(&kept)?;
        point()?;
        fs::rename(&target, &kept)?;
        self.done.push((path.to_owned(), Done::Taken));
        Ok(())
    }

    fn undo(&mut self) {
        for (path, done) in self.done.drain(..).rev() {
            if point().is_err() {
                continue;
            }
            let (target, kept) = (self.target.join(&path), self.old.join(&path));
            let _ = match done {
                Done::New => fs::remove_file(target),
                Done::Replaced | Done::Taken => fs::rename(kept, target),
            };
        }
    }
}

fn make_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}
