//! What neither the compiler nor clippy checks: the floors of the crates, the shape of files, the spelling.

mod floors;
mod model_types;
mod sources;
mod spelling;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::process::{Done, root};
pub(crate) use floors::PARTS;
use sources::Source;

/// A line that breaks a rule.
#[derive(Debug, PartialEq)]
struct Finding {
    /// Relative to the root of the workspace.
    file: PathBuf,
    /// Counted from 1; 0 for the whole file.
    line: usize,
    /// What was found, the rule, and its reason.
    message: String,
}

impl Finding {
    fn new(file: &Path, line: usize, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file.display(), self.message),
            line => write!(f, "{}:{line}: {}", self.file.display(), self.message),
        }
    }
}

/// The longest file of a library, in lines.
const LONGEST: usize = 500;

pub(crate) fn tidy() -> Done {
    eprintln!("xtask: tidy");
    let sources = sources::read(&root())?;
    let mut findings = floors::check(&root())?;
    findings.extend(sources.iter().flat_map(shape));
    findings.extend(model_types::check(&sources));
    findings.extend(sources.iter().flat_map(spelling::check));
    if findings.is_empty() {
        return Ok(());
    }
    findings.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
    findings.iter().for_each(|finding| eprintln!("{finding}"));
    Err(format!("tidy found {} lines to mend", findings.len()))
}

/// The README quotes this program whole.
const QUOTED: &str = "crates/cli/tests/readme/program.rs";

/// How a Rust file begins, and how long it is.
fn shape(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !source.is_rust() {
        return findings;
    }
    let attributes = |line: &&str| line.trim().is_empty() || line.starts_with("#![");
    let first = source.text.lines().find(|line| !attributes(line));
    if !first.is_some_and(|line| line.starts_with("//!")) && !source.path.ends_with(QUOTED) {
        let rule = "a Rust file begins with a `//!` line, so that a reader knows what it is for before reading it";
        findings.push(Finding::new(&source.path, 1, rule));
    }
    let lines = source.text.lines().count();
    if source.is_library() && lines > LONGEST {
        let message = format!("{lines} lines: a library file has at most {LONGEST}; a longer one holds two concepts");
        findings.push(Finding::new(&source.path, lines, message));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape_of(path: &str, text: &str) -> Vec<usize> {
        let source = Source { path: path.into(), text: text.into() };
        shape(&source).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn a_rust_file_begins_with_what_it_is_for() {
        assert_eq!(shape_of("tests/a.rs", "#![no_main]\n\n//! What it is for.\n"), [0; 0]);
        assert_eq!(shape_of("tests/a.rs", "use std::fmt;\n"), [1]);
        assert_eq!(shape_of("tests/a.rs", ""), [1]);
        assert_eq!(shape_of("docs/a.md", ""), [0; 0]);
    }

    #[test]
    fn a_library_file_is_short_and_a_test_may_be_long() {
        let text = format!("//! Long.\n{}", "\n".repeat(500));
        assert_eq!(shape_of("crates/core/src/a.rs", &text), [501]);
        assert_eq!(shape_of("crates/core/tests/a.rs", &text), [0; 0]);
    }

    #[test]
    fn a_finding_names_file_and_line() {
        assert_eq!(Finding::new(Path::new("a.rs"), 3, "rule").to_string(), "a.rs:3: rule");
        assert_eq!(Finding::new(Path::new("a.rs"), 0, "rule").to_string(), "a.rs: rule");
    }
}
