//! The allowed dependencies between crates: only on floors below.

use std::path::Path;

use serde_json::Value;

use super::Finding;
use crate::process::cargo;

/// The parts that adapters are combined from, and heads.
pub(crate) const PARTS: [&str; 10] = [
    "bottleneck",
    "compacter",
    "invertible",
    "prefix-tuning",
    "prompt-tuning",
    "lora",
    "ia3",
    "reft",
    "fusion",
    "heads",
];

/// The crates of each floor, by folder; docs/ARCHITECTURE.md describes their contents. Those of the last floor are not
/// libraries: nothing depends on them.
const FLOORS: [&[&str]; 11] = [
    &["diagnostics", "config", "composition", "files", "quantization", "goldens"],
    &["ops", "tensors", "core"],
    &PARTS,
    &["combination", "reparameterize"],
    &["model"],
    &["chat", "checkpoint", "transformers"],
    &["merging", "train", "fetch", "generate"],
    &["distributed", "serve"],
    &["cli"],
    &["burn-adapters"],
    &["bench", "tests", "xtask"],
];

/// Crates that sit just under another one of their floor. The list only shrinks.
const JUST_UNDER: [(&str, &str); 5] = [
    ("diagnostics", "composition"),
    ("diagnostics", "config"),
    ("diagnostics", "files"),
    ("ops", "core"),
    ("compacter", "bottleneck"),
];

const RULE: &str =
    "a crate depends on the floors below it only, so that each can be understood and used without those above";
const TABLE: &str = "xtask/src/tidy/floors.rs";
const DOCS: &str = "docs/ARCHITECTURE.md";

/// A crate's folder, its manifest, and the crates of the workspace that it depends on.
struct Member {
    folder: String,
    manifest: String,
    dependencies: Vec<String>,
}

pub(super) fn check(root: &Path) -> Result<Vec<Finding>, String> {
    let output = cargo().args(["metadata", "--format-version", "1", "--no-deps", "--offline"]).output();
    let output = output.map_err(|error| format!("cannot start cargo metadata: {error}"))?;
    let metadata: Value = serde_json::from_slice(&output.stdout).map_err(|error| {
        format!("cargo metadata printed no JSON ({error}): {}", String::from_utf8_lossy(&output.stderr))
    })?;
    let members = members(&metadata, root);
    let docs = std::fs::read_to_string(root.join(DOCS)).map_err(|error| format!("cannot read {DOCS}: {error}"))?;
    let mut findings = dependencies(&members);
    for member in &mut findings {
        member.line = line_of(root, &member.file, &member.message);
    }
    findings.extend(table(&members));
    findings.extend(documented(&docs));
    Ok(findings)
}

/// The members of the workspace, from cargo's metadata. Dependencies of tests do not count.
fn members(metadata: &Value, root: &Path) -> Vec<Member> {
    let list = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let folder = |path: &str| Path::new(path).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let member = |package: &Value| {
        let manifest = text(&package["manifest_path"]);
        let normal = |dependency: &&Value| dependency["kind"] != "dev" && dependency["path"].is_string();
        let dependencies = list(package, "dependencies");
        Member {
            folder: Path::new(&manifest).parent().map_or(String::new(), |dir| folder(&dir.to_string_lossy())),
            dependencies: dependencies.iter().filter(normal).map(|one| folder(&text(&one["path"]))).collect(),
            manifest: Path::new(&manifest)
                .strip_prefix(root)
                .map_or(manifest.clone(), |path| path.display().to_string()),
        }
    };
    list(metadata, "packages").iter().map(member).collect()
}

fn floor(folder: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&folder))
}

/// Dependencies that lead up or sideways.
fn dependencies(members: &[Member]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for member in members {
        for dependency in &member.dependencies {
            let (Some(own), Some(other)) = (floor(&member.folder), floor(dependency)) else { continue };
            let just_under = JUST_UNDER.contains(&(dependency.as_str(), member.folder.as_str()));
            if other >= own && !just_under {
                let (folder, manifest) = (&member.folder, Path::new(&member.manifest));
                let message = format!("`{folder}` (floor {own}) depends on `{dependency}` (floor {other}): {RULE}");
                findings.push(Finding::new(manifest, 0, message));
            }
        }
    }
    findings
}

/// Crates without a floor, and entries of the table without a crate or a use.
fn table(members: &[Member]) -> Vec<Finding> {
    let exists = |folder: &str| members.iter().any(|member| member.folder == folder);
    let lost = members.iter().filter(|member| floor(&member.folder).is_none()).map(|member| {
        Finding::new(
            Path::new(&member.manifest),
            0,
            format!("`{}` has no floor: add it to {TABLE} and {DOCS}", member.folder),
        )
    });
    let stale = FLOORS.iter().flat_map(|floor| floor.iter()).filter(|folder| !exists(folder));
    let stale = stale.map(|folder| Finding::new(Path::new(TABLE), 0, format!("there is no crate `{folder}`")));
    let unused = JUST_UNDER.iter().filter(|(under, above)| {
        let uses = |member: &&Member| member.folder == *above && member.dependencies.iter().any(|one| one == under);
        !members.iter().any(|member| uses(&member))
    });
    let unused = unused.map(|(under, above)| {
        Finding::new(
            Path::new(TABLE),
            0,
            format!("`{above}` no longer depends on `{under}`: take the pair off the list"),
        )
    });
    lost.chain(stale).chain(unused).collect()
}

/// Libraries that the table in the documentation does not have on their floor.
fn documented(docs: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (floor, folders) in FLOORS[..FLOORS.len() - 1].iter().enumerate() {
        for folder in folders.iter().filter(|folder| **folder != "goldens") {
            let has = |line: &str| line.starts_with(&format!("| {floor} |")) && line.contains(&format!("`{folder}`"));
            if !docs.lines().any(has) {
                let message =
                    format!("the table of floors lacks `{folder}` on floor {floor}: it says what {TABLE} says");
                findings.push(Finding::new(Path::new(DOCS), 0, message));
            }
        }
    }
    findings
}

/// The line of a manifest that names the dependency which a message is about.
fn line_of(root: &Path, manifest: &Path, message: &str) -> usize {
    let dependency = message.split('`').nth(3).unwrap_or_default();
    let text = std::fs::read_to_string(root.join(manifest)).unwrap_or_default();
    text.lines().position(|line| line.starts_with(&format!("burn-adapters-{dependency}"))).map_or(0, |at| at + 1)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn member(folder: &str, dependencies: &[&str]) -> Member {
        let dependencies = dependencies.iter().map(|one| (*one).to_owned()).collect();
        Member { folder: folder.to_owned(), manifest: format!("crates/{folder}/Cargo.toml"), dependencies }
    }

    #[test]
    fn a_dependency_leads_down() {
        let told = |folder: &str, on: &str| dependencies(&[member(folder, &[on])]).len();
        assert_eq!((told("core", "config"), told("cli", "model")), (0, 0));
        assert_eq!((told("config", "core"), told("lora", "ia3")), (1, 1));
        assert_eq!((told("core", "ops"), told("ops", "core")), (0, 1));
    }

    #[test]
    fn a_crate_without_a_floor_is_found() {
        let findings = table(&[member("unheard-of", &[])]);
        assert!(findings[0].message.starts_with("`unheard-of` has no floor"), "{}", findings[0]);
        assert!(findings.iter().any(|finding| finding.message == "there is no crate `core`"));
    }

    #[test]
    fn the_documentation_has_every_library_on_its_floor() {
        let missing = documented("| 1 | `ops` | … |\n| 2 | `core` | … |");
        let about = |name: &str| missing.iter().any(|finding| finding.message.contains(&format!("`{name}`")));
        assert!(!about("ops") && about("core"));
    }

    #[test]
    fn cargos_metadata_is_understood() {
        let metadata = json!({"packages": [{
            "name": "burn-adapters-core", "manifest_path": "/w/crates/core/Cargo.toml",
            "dependencies": [
                {"name": "burn-adapters-ops", "kind": null, "path": "/w/crates/ops"},
                {"name": "burn-adapters-heads", "kind": "dev", "path": "/w/crates/heads"},
                {"name": "serde", "kind": null},
            ],
        }]});
        let members = members(&metadata, Path::new("/w"));
        assert_eq!((members[0].folder.as_str(), members[0].manifest.as_str()), ("core", "crates/core/Cargo.toml"));
        assert_eq!(members[0].dependencies, ["ops"]);
    }
}
