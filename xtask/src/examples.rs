//! Runs every example with short settings.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::backends::feature_arguments;
use crate::process::{Done, cargo, root, run};

/// The examples and the arguments with which they take seconds. Those of the README are called there with other
/// arguments; `fusion` and `madx` fetch their model and data once, into the user's cache.
const EXAMPLES: [(&str, &[&str]); 12] = [
    ("own_loop", &[]),
    ("own_decoder", &[]),
    ("learner", &["--quick"]),
    ("serving", &["--quick"]),
    ("routed", &["--quick", "--runs", "1"]),
    ("fusion", &["--rows", "10", "--epochs", "1", "--output", "target/fusion-out"]),
    ("madx", &["--rows", "10", "--language-epochs", "1", "--output", "target/madx-out"]),
    ("kronecker", &["--quick"]),
    ("ops_times", &["--quick"]),
    ("quantized_times", &["--quick"]),
    ("cost", &["--quick"]),
    ("random_adapters", &["--quick"]),
];

/// Runs the examples, which `cargo test` has built with the same features.
pub(crate) fn examples() -> Done {
    let built = built()?;
    for (name, arguments) in EXAMPLES {
        let path = built.get(name).ok_or_else(|| format!("there is no example {name}"))?;
        run(&format!("example {name}"), quiet(Command::new(path).args(arguments).current_dir(root())))?;
    }
    let missing = built.keys().find(|name| EXAMPLES.iter().all(|(known, _)| known != name));
    if let Some(name) = missing {
        return Err(format!("the example {name} is missing from the list in xtask/src/examples.rs"));
    }
    Ok(())
}

/// Only errors are of interest here.
fn quiet(command: &mut Command) -> &mut Command {
    command.stdout(Stdio::null()).env("BURN_DEVICE", "flex")
}

/// The programs, by the names of their examples.
fn built() -> Result<BTreeMap<String, PathBuf>, String> {
    let mut command = cargo();
    command.args(["build", "--workspace", "--examples", "--quiet", "--message-format", "json-render-diagnostics"]);
    let output = command.args(feature_arguments()).stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| format!("cannot start {command:?}: {error}"))?;
    if !output.status.success() {
        return Err(format!("the examples cannot be built ({})", output.status));
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().filter_map(example).collect())
}

/// The name and the program of an example, from one of cargo's messages.
fn example(line: &str) -> Option<(String, PathBuf)> {
    let message: Value = serde_json::from_str(line).ok()?;
    let target = message.get("target")?;
    let is_example = target.get("kind")?.as_array()?.iter().any(|kind| kind == "example");
    let program = message.get("executable")?.as_str()?;
    is_example.then_some((target.get("name")?.as_str()?.to_owned(), program.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_is_found_in_the_messages_of_cargo() {
        let line =
            r#"{"reason": "compiler-artifact", "target": {"kind": ["example"], "name": "a"}, "executable": "/t/a"}"#;
        assert_eq!(example(line), Some(("a".to_owned(), PathBuf::from("/t/a"))));
        for line in [line.replace("[\"example\"]", "[\"bin\"]"), line.replace("\"/t/a\"", "null"), "rubbish".into()] {
            assert_eq!(example(&line), None);
        }
    }
}
