//! Errors of the program.

use std::error::Error;
use std::io;
use std::path::Path;

use burn_adapters_diagnostics::{Explain, Snippet, TextError};
use burn_adapters_files::FileError;

/// Who has to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A user error: exit code 2.
    Mistake,
    /// A failure at run time: exit code 1.
    Failure,
    /// A signal ended a training: this exit code.
    Interrupted(u8),
    /// Another process of the training says what failed: this exit code.
    Elsewhere(u8),
    /// The reader of standard output closed it (`burn-adapters methods | head -1`): exit code 0.
    Closed,
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) message: String,
    pub(crate) snippet: Option<Snippet>,
}

/// An error of the program: one or several problems, and advice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CliError {
    pub(crate) kind: Kind,
    pub(crate) problems: Vec<Problem>,
    pub(crate) help: Option<String>,
}

/// The result of a command.
pub(crate) type CliResult<T = ()> = Result<T, CliError>;

impl CliError {
    fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, problems: vec![Problem { message: message.into(), snippet: None }], help: None }
    }

    /// A user error.
    pub(crate) fn mistake(message: impl Into<String>) -> Self {
        Self::new(Kind::Mistake, message)
    }

    /// A failure at run time.
    pub(crate) fn failure(message: impl Into<String>) -> Self {
        Self::new(Kind::Failure, message)
    }

    /// A signal ended the training.
    pub(crate) fn interrupted(code: u8, message: impl Into<String>) -> Self {
        Self::new(Kind::Interrupted(code), message)
    }

    /// Another process says what failed.
    pub(crate) fn elsewhere(code: u8, message: impl Into<String>) -> Self {
        Self::new(Kind::Elsewhere(code), message)
    }

    /// Whether another process prints the error.
    pub(crate) fn is_told_elsewhere(&self) -> bool {
        matches!(self.kind, Kind::Elsewhere(_))
    }

    /// Standard output cannot be written.
    pub(crate) fn output(error: &io::Error) -> Self {
        let kind = if error.kind() == io::ErrorKind::BrokenPipe { Kind::Closed } else { Kind::Failure };
        Self::new(kind, format!("cannot write to standard output: {error}"))
    }

    /// A file or folder that cannot be read or written. If it does not exist, this is a user error.
    pub(crate) fn io(action: &str, path: &Path, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => {
                Self::mistake(format!("cannot {action} {}: there is no such file or folder", path.display()))
            }
            io::ErrorKind::PermissionDenied
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::IsADirectory
            | io::ErrorKind::AlreadyExists
            | io::ErrorKind::ReadOnlyFilesystem
            // What `burn-adapters-files` says of a path that leads to no regular file, or to one that is too large.
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::InvalidData
            | io::ErrorKind::FileTooLarge
                // The system's own limit on what is written is not the user's mistake.
                if error.kind() != io::ErrorKind::FileTooLarge || error.raw_os_error().is_none() =>
            {
                Self::mistake(format!("cannot {action} {}: {error}", path.display()))
            }
            _ => Self::failure(format!("cannot {action} {}: {error}", path.display())),
        }
    }

    /// A file that cannot be read. A missing file, or one of the wrong kind, is a user error.
    pub(crate) fn file(error: FileError) -> Self {
        let path = error.path.clone();
        Self::io("read", &path, &error.into_io())
    }

    /// All problems of a text, with their positions. `origin` is the file of the text; `None` for an argument.
    pub(crate) fn text<K: Explain>(error: &TextError<K>, origin: Option<&str>) -> Self {
        let (mut problems, mut help): (_, Vec<String>) = (Vec::new(), Vec::new());
        for problem in error.problems() {
            let mut snippet = Snippet::new(error.text(), problem.span.clone(), problem.label());
            snippet.origin = origin.map(str::to_owned);
            problems.push(Problem { message: problem.message(), snippet: Some(snippet) });
            help.extend(problem.help().filter(|text| !help.contains(text)));
        }
        let help = (!help.is_empty()).then(|| help.join("\n"));
        Self { kind: Kind::Mistake, problems, help }
    }

    /// Adds advice.
    pub(crate) fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The exit code of the program.
    pub(crate) fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Mistake => 2,
            Kind::Failure => 1,
            Kind::Interrupted(code) | Kind::Elsewhere(code) => code,
            Kind::Closed => 0,
        }
    }
}

impl std::fmt::Display for CliError {
    /// All problems, in one line.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let messages: Vec<&str> = self.problems.iter().map(|problem| problem.message.as_str()).collect();
        f.write_str(&messages.join("; "))
    }
}

/// An error and its causes in one line; causes that the text already contains are left out.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
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
    fn a_missing_file_is_the_users_mistake_and_a_full_disk_is_not() {
        let missing = CliError::io("read", Path::new("x"), &io::Error::from(io::ErrorKind::NotFound));
        assert_eq!(missing.exit_code(), 2);
        let full = CliError::io("write", Path::new("x"), &io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(full.exit_code(), 1);
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        assert_eq!(CliError::output(&io::Error::from(io::ErrorKind::BrokenPipe)).exit_code(), 0);
    }
}
