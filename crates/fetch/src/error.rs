//! Errors of fetching.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::cache::VARIABLE;
use crate::model::{MODEL_FILES, MODEL_NAME, MODEL_REPOSITORY};
use crate::sentences::{ARCHIVE, SENTENCES_PACKAGE};

/// Files that cannot be fetched. The text describes the problem and the remedy; [`problem`](Self::problem) and
/// [`help`](Self::help) return them separately.
#[derive(Debug, Error)]
#[error("{}\n{}", self.problem(), self.help())]
pub enum FetchError {
    /// There is no cache folder.
    NoCacheFolder,
    /// The cache folder is not writable.
    CacheNotWritable {
        /// The folder.
        path: PathBuf,
        /// The system error.
        source: io::Error,
    },
    /// No source has the model.
    Model {
        /// The sources that were tried, and their errors.
        tried: Vec<String>,
        /// The folder where the model belongs.
        folder: PathBuf,
    },
    /// A package cannot be fetched.
    Package {
        /// The package.
        package: String,
        /// The error.
        tried: String,
        /// The path where each of its files belongs.
        files: Vec<PathBuf>,
    },
    /// No source has the sentences.
    Sentences {
        /// The sources that were tried, and their errors.
        tried: String,
        /// The path where each missing file belongs.
        files: Vec<PathBuf>,
    },
}

impl FetchError {
    /// The problem.
    pub fn problem(&self) -> String {
        match self {
            Self::NoCacheFolder => {
                "there is no cache folder for the model and data: the user has no home folder".to_owned()
            }
            Self::CacheNotWritable { path, source } => {
                format!("cannot write to the cache folder {}: {source}", path.display())
            }
            Self::Model { tried, .. } => format!("cannot get the model {MODEL_NAME}:\n  {}", tried.join("\n  ")),
            Self::Package { package, tried, .. } => format!("cannot get files of {package}:\n  through pip: {tried}"),
            Self::Sentences { tried, .. } => format!("cannot get the sentences to train on:\n  {tried}"),
        }
    }

    /// The remedy.
    pub fn help(&self) -> String {
        match self {
            Self::NoCacheFolder => format!("set {VARIABLE} to a folder"),
            Self::CacheNotWritable { .. } => format!("set {VARIABLE} to a writable folder"),
            Self::Model { folder, .. } => {
                let names = MODEL_FILES.map(|file| file.name).join(", ");
                format!("put {names} of https://huggingface.co/{MODEL_REPOSITORY}\ninto {}", folder.display())
            }
            Self::Package { package, files, .. } => {
                let paths = files.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join("\n  ");
                format!("put the files of {package} on the Python Package Index at\n  {paths}")
            }
            Self::Sentences { files, .. } => {
                let name = |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let folder = |path: &PathBuf| path.parent().unwrap_or(path).display().to_string();
                let list = |part: &dyn Fn(&PathBuf) -> String| files.iter().map(part).collect::<Vec<_>>().join(", ");
                let each = if files.len() == 1 { "" } else { ", one each" };
                format!(
                    "put {} (in the archive {ARCHIVE} of the source distribution of {SENTENCES_PACKAGE} on the Python \
                     Package Index)\ninto {}{each}",
                    list(&name),
                    list(&folder)
                )
            }
        }
    }

    /// Whether the user's environment is at fault, rather than the network or the fetched files.
    pub fn is_mistake(&self) -> bool {
        matches!(self, Self::NoCacheFolder | Self::CacheNotWritable { .. })
    }
}

/// An error and its causes in one line; causes that the text already contains are left out.
#[cfg(feature = "hub")]
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_tells_what_is_wrong_and_then_what_to_do() {
        let files = vec![PathBuf::from("cache/tweets/tweets.txt"), PathBuf::from("cache/editorials/nyt.txt")];
        let error = FetchError::Sentences { tried: "through pip: no network".into(), files };
        let text = error.to_string();
        assert!(text.starts_with("cannot get the sentences to train on:\n  through pip: no network\n"), "{text}");
        assert!(text.contains("put tweets.txt, nyt.txt (in the archive"), "{text}");
        assert!(text.ends_with("into cache/tweets, cache/editorials, one each"), "{text}");
        assert!(!error.is_mistake() && FetchError::NoCacheFolder.is_mistake());
    }
}
