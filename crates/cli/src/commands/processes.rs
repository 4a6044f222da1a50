//! Training in several processes that a launcher has started.

use std::path::Path;

use burn_adapters_train::{GroupError, ProcessGroup, Traffic};
use serde_json::{Value, json};

use crate::draw;
use crate::error::{CliError, CliResult};
use crate::output::{bytes, duration};

/// Joins the processes that train with this one. All but the first are silent.
pub(super) fn join() -> CliResult<ProcessGroup> {
    let group = burn_adapters_distributed::process_group().map_err(|error| CliError::mistake(error.to_string()))?;
    if !group.is_first() {
        draw::mute();
    }
    Ok(group)
}

/// Ends the work of all processes together: if one has failed, all have. Of several that failed, the first one says why.
pub(super) fn leave(group: ProcessGroup, done: CliResult) -> CliResult {
    let message = done.as_ref().err().map(ToString::to_string);
    let left = group.leave(message.as_deref().map_or(Ok(()), Err));
    match (done, left) {
        (Err(error), Err(other)) => Err(CliError::elsewhere(error.exit_code(), other.to_string())),
        (Ok(()), Err(error @ GroupError::Failed { .. })) => Err(CliError::elsewhere(1, error.to_string())),
        (Ok(()), Err(error)) => Err(CliError::failure(error.to_string())),
        (done, Ok(())) => done,
    }
}

/// Standard input reaches the first process only.
pub(super) fn check_input<'a>(
    group: &ProcessGroup,
    inputs: impl IntoIterator<Item = (&'static str, Option<&'a Path>)>,
) -> CliResult {
    let mut inputs = inputs.into_iter().filter(|(_, path)| *path == Some(Path::new("-")));
    match inputs.next() {
        Some((option, _)) if !group.is_alone() => {
            let message =
                format!("{option} - reads standard input, which only one of the {} processes has", group.size());
            Err(CliError::mistake(message).with_help("write the data to a file that all processes can read"))
        }
        _ => Ok(()),
    }
}

/// A summary of the processes, behind the time of a training; empty for one.
pub(super) fn summary(group: &ProcessGroup) -> String {
    if group.is_alone() {
        return String::new();
    }
    let Traffic { sent_bytes, seconds, .. } = group.traffic();
    format!(" by {} processes (each sent {} in {})", group.size(), bytes(sent_bytes), duration(seconds))
}

/// The processes, and what the first one has exchanged with the others.
pub(super) fn json(group: &ProcessGroup) -> Value {
    let Traffic { exchanges, sent_bytes, seconds } = group.traffic();
    json!({"count": group.size(), "exchanges": exchanges, "sent_bytes": sent_bytes, "exchange_seconds": seconds})
}
