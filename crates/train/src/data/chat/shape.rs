//! The shapes of rows, told apart by their keys.

use std::fmt;

use burn_adapters_chat::Json;

use super::problem;
use crate::data::DataProblem;

/// The shape of the rows of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChatShape {
    /// `messages`, a list of objects with `role` and `content`; `tools` beside it.
    Messages,
    /// `prompt` and `completion`, each a text or a list of messages.
    Completion,
    /// `text`.
    Text,
    /// `instruction`, `input` and `output`; `system` and `history` beside them.
    Alpaca,
    /// `conversations`, a list of objects with `from` and `value`; `system` and `tools` beside it.
    ShareGpt,
    /// `prompt`, `chosen` and `rejected`, each a text or a list of messages.
    Preference,
}

impl ChatShape {
    /// The keys that a row of each shape has. Of several that fit, the first counts.
    const KEYS: [(ChatShape, &'static [&'static str]); 6] = [
        (ChatShape::Messages, &["messages"]),
        (ChatShape::ShareGpt, &["conversations"]),
        (ChatShape::Preference, &["chosen", "rejected"]),
        (ChatShape::Completion, &["prompt", "completion"]),
        (ChatShape::Alpaca, &["instruction", "output"]),
        (ChatShape::Text, &["text"]),
    ];

    /// The shape of a row.
    ///
    /// # Errors
    /// If it has the keys of no shape.
    pub(super) fn of(row: &Json) -> Result<Self, DataProblem> {
        let has = |key: &&str| row.keys().any(|known| known == *key);
        let found = Self::KEYS.iter().find(|(_, keys)| keys.iter().all(has));
        found.map(|(shape, _)| *shape).ok_or_else(|| {
            let keys: Vec<String> = row.keys().take(20).map(|key| format!("`{}`", key.escape_debug())).collect();
            let keys = if keys.is_empty() { "none".to_owned() } else { keys.join(", ") };
            let shapes: Vec<String> = Self::KEYS.iter().map(|(shape, _)| shape.to_string()).collect();
            problem(format!("the row has the keys {keys}, but expected are those of one of {}", shapes.join("; ")))
        })
    }

    /// Checks that a row is of the shape of the first one.
    pub(super) fn check_same(self, found: Self, first_line: usize) -> Result<(), DataProblem> {
        if found == self {
            return Ok(());
        }
        Err(problem(format!(
            "the row is of the shape {found}, but that on line {first_line} of the shape {self}: a file has rows of one shape"
        )))
    }
}

impl fmt::Display for ChatShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = Self::KEYS.iter().find(|(shape, _)| shape == self).map_or(&[][..], |(_, keys)| keys);
        let keys = keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>();
        f.write_str(&keys.join(" and "))
    }
}
