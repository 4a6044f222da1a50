//! The same tests on every backend, from one build that `BURN_DEVICE` switches.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use crate::process::{Done, cargo, root, run};
use crate::tidy::PARTS;

/// A backend that the tests run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Backend {
    /// Burn's CPU backend, the program's default.
    Flex,
    /// The older CPU backend.
    Ndarray,
    /// GPUs, or Mesa's software Vulkan driver.
    Wgpu,
}

impl Backend {
    const ALL: [Backend; 3] = [Backend::Flex, Backend::Ndarray, Backend::Wgpu];

    fn name(self) -> &'static str {
        match self {
            Backend::Flex => "flex",
            Backend::Ndarray => "ndarray",
            Backend::Wgpu => "wgpu",
        }
    }
}

/// The packages whose tests use tensors, besides [`PARTS`].
const PACKAGES: [&str; 8] =
    ["core", "combination", "model", "reparameterize", "checkpoint", "transformers", "train", "generate"];

/// Every package whose tests use tensors.
fn packages() -> impl Iterator<Item = &'static str> {
    PARTS.into_iter().chain(PACKAGES)
}

/// The cargo arguments that enable every backend that this machine can run, MPI if it is there, and burn-train for its example.
/// They are the same for all tests and examples, so that there is one build of Burn.
pub(crate) fn feature_arguments() -> Vec<String> {
    let backends = available().map(|backend| format!("burn-adapters-cli/{}", backend.name()));
    let mpi = has_mpi().then(|| MPI.to_owned());
    let features = backends.chain([LEARNER.to_owned()]).chain(mpi);
    vec!["--features".into(), features.collect::<Vec<_>>().join(",")]
}

/// The feature of the example that trains with burn-train.
pub(crate) const LEARNER: &str = "burn-adapters/learner";

/// The feature for training in several processes.
const MPI: &str = "burn-adapters-cli/mpi";

/// The tests of training in several processes.
pub(crate) fn test_distributed() -> Done {
    if !has_mpi() {
        eprintln!(
            "xtask: training in several processes skipped: it needs an MPI library and libclang \
             (apt-get install openmpi-bin libopenmpi-dev libclang-dev)"
        );
        return Ok(());
    }
    let mut command = cargo();
    command.args(["test", "--workspace"]).args(feature_arguments()).env("BURN_DEVICE", "flex");
    command.args(["--test", "program", "--test", "all", "--", "distributed::", "processes::"]);
    run("training in several processes", &mut command)
}

/// Whether there are an MPI library, its launcher, and the libclang that the crate `mpi` is compiled with.
pub(crate) fn has_mpi() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = |program| std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    is_there("mpicc") && is_there("mpirun") && has_libclang()
}

fn has_libclang() -> bool {
    if std::env::var_os("LIBCLANG_PATH").is_some() {
        return true;
    }
    let llvm = Path::new("/usr/lib").read_dir().into_iter().flatten().flatten().map(|entry| entry.path());
    let llvm = llvm.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("llvm")));
    let folders = llvm.map(|path| path.join("lib")).chain(["/usr/lib64".into(), "/usr/lib".into()]);
    let mut files = folders.filter_map(|folder| folder.read_dir().ok()).flatten().flatten();
    files.any(|file| file.file_name().to_string_lossy().starts_with("libclang"))
}

fn available() -> impl Iterator<Item = Backend> {
    let vulkan = has_vulkan();
    Backend::ALL.into_iter().filter(move |backend| *backend != Backend::Wgpu || vulkan)
}

pub(crate) fn test_backends(backend: Option<Backend>) -> Done {
    for backend in Backend::ALL.into_iter().filter(|one| backend.is_none_or(|wanted| wanted == *one)) {
        if !available().any(|one| one == backend) {
            eprintln!(
                "xtask: wgpu skipped: no GPU driver found; Mesa's software driver would do \
                 (apt-get install mesa-vulkan-drivers libvulkan1)"
            );
            continue;
        }
        // The whole workspace, as in the tests on flex: with a selection of packages, features of dependencies would differ, and
        // Burn would be built once more. The program's own tests run it on the CPU on every lane; they are left out by naming the
        // others.
        let mut command = cargo();
        command.args(["test", "--workspace", "--lib"]).args(feature_arguments()).env("BURN_DEVICE", backend.name());
        for target in test_targets()? {
            command.args(["--test", &target]);
        }
        command.arg("--");
        if backend == Backend::Wgpu {
            // A kernel is compiled for each new shape; several threads would only compile the same kernels at the same
            // time.
            command.arg("--test-threads=1");
        }
        run(&format!("tests on {}", backend.name()), &mut command)?;
    }
    Ok(())
}

/// The names of the test targets of the packages, and of the tests across crates: files, or folders with a `main.rs`.
fn test_targets() -> Result<BTreeSet<String>, String> {
    let own = packages().map(|package| root().join("crates").join(package).join("tests"));
    let mut targets = BTreeSet::new();
    for dir in own.chain([root().join("tests/tests")]).filter(|dir| dir.is_dir()) {
        let entries = std::fs::read_dir(&dir).map_err(|error| format!("cannot read {}: {error}", dir.display()))?;
        let is_target = |path: &PathBuf| path.extension().is_some_and(|e| e == "rs") || path.join("main.rs").is_file();
        let paths = entries.flatten().map(|entry| entry.path()).filter(is_target);
        targets.extend(paths.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())));
    }
    Ok(targets)
}

/// Whether there is a Vulkan, Metal or DirectX driver, or a software driver.
fn has_vulkan() -> bool {
    if cfg!(any(target_os = "macos", target_os = "windows")) {
        return true;
    }
    ["/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d", "/usr/local/share/vulkan/icd.d"]
        .iter()
        .any(|folder| Path::new(folder).read_dir().is_ok_and(|mut entries| entries.next().is_some()))
}
