//! The files that people write.

use std::path::{Path, PathBuf};

/// A file and its text.
#[derive(Debug)]
pub(super) struct Source {
    /// Relative to the root of the workspace.
    pub(super) path: PathBuf,
    pub(super) text: String,
}

impl Source {
    pub(super) fn is_rust(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == "rs")
    }

    /// Whether the file belongs to a crate that others use, or to the workspace's own commands.
    pub(super) fn is_library(&self) -> bool {
        self.path.iter().any(|part| part == "src")
    }
}

/// Folders that hold no text of people: what is built, what the reference made.
const PASSED_OVER: [&str; 3] = ["target", "goldens", "node_modules"];
const EXTENSIONS: [&str; 5] = ["rs", "md", "py", "toml", "txt"];

/// Every file of people below a folder; hidden folders are passed over.
pub(super) fn read(root: &Path) -> Result<Vec<Source>, String> {
    let mut sources = Vec::new();
    read_folder(root, root, &mut sources)?;
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}

fn read_folder(root: &Path, folder: &Path, sources: &mut Vec<Source>) -> Result<(), String> {
    let failed = |path: &Path, error| format!("cannot read {}: {error}", path.display());
    for entry in std::fs::read_dir(folder).map_err(|error| failed(folder, error))? {
        let path = entry.map_err(|error| failed(folder, error))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // A Python environment is full of text that is not ours.
        if name.starts_with('.') || PASSED_OVER.contains(&name.as_ref()) || path.join("pyvenv.cfg").exists() {
            continue;
        }
        if path.is_dir() {
            read_folder(root, &path, sources)?;
        } else if path.extension().is_some_and(|one| EXTENSIONS.iter().any(|wanted| one == *wanted)) {
            let text = std::fs::read_to_string(&path).map_err(|error| failed(&path, error))?;
            sources.push(Source { path: path.strip_prefix(root).unwrap_or(&path).to_owned(), text });
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn this_file_is_found_and_belongs_to_a_library() {
        let sources = read(&crate::process::root()).unwrap();
        let this = sources.iter().find(|source| source.path.ends_with("tidy/sources.rs")).unwrap();
        assert!(this.is_rust() && this.is_library());
        assert!(sources.iter().any(|source| source.path == Path::new("README.md")));
        assert!(sources.iter().all(|source| !source.path.starts_with("target")));
    }
}
