//! Errors of conversations and templates.

use thiserror::Error;

/// A conversation or a template that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ChatError {
    /// A conversation without messages.
    #[error(
        "the conversation is empty: expected a list of messages such as {{\"role\": \"user\", \"content\": \"…\"}}"
    )]
    Empty,
    /// A message that is not one.
    #[error("{}{problem}", number.map(|number| format!("message {number}: ")).unwrap_or_default())]
    Message {
        /// The number of the message, from 1; `None` for the list itself.
        number: Option<usize>,
        /// What is wrong, and what was expected.
        problem: String,
    },
    /// Tools that are not definitions.
    #[error("{problem}")]
    Tools {
        /// What is wrong, and what was expected.
        problem: String,
    },
    /// A template that cannot be parsed.
    #[error("the chat template of {name} cannot be parsed, line {line}: {message}{}", quoted(excerpt))]
    Syntax {
        /// Where the template comes from.
        name: String,
        /// The line, from 1.
        line: usize,
        /// What the parser expected and found.
        message: String,
        /// The line itself, shortened.
        excerpt: String,
    },
    /// A template that is too large to be one.
    #[error("the chat template of {name} has {bytes} bytes, more than a template's limit of {limit}")]
    TooLarge {
        /// Where the template comes from.
        name: String,
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A template that fails for a conversation.
    #[error("the chat template of {name} fails on line {line}: {message}{}", quoted(excerpt))]
    Render {
        /// Where the template comes from.
        name: String,
        /// The line, from 1; 0 if it is unknown.
        line: usize,
        /// The problem.
        message: String,
        /// The line itself, shortened.
        excerpt: String,
    },
    /// A template that refuses a conversation with `raise_exception`.
    #[error("the chat template of {name} refuses the conversation: {message}")]
    Refused {
        /// Where the template comes from.
        name: String,
        /// The message of the template.
        message: String,
    },
    /// A template that does too much work, or writes too much text.
    #[error(
        "the chat template of {name} did not finish within the limits of work and memory of one conversation (line {line}): \
         it may be damaged or hostile"
    )]
    Limit {
        /// Where the template comes from.
        name: String,
        /// The line that was reached, from 1; 0 if it is unknown.
        line: usize,
    },
    /// A turn cannot be located in the text, because the template changes the text before it.
    #[error(
        "the chat template of {name} does not mark the assistant's turns with {{% generation %}}, and message {message} cannot \
         be found in the text: {reason}"
    )]
    NoPrefix {
        /// Where the template comes from.
        name: String,
        /// The number of the assistant's message, from 1.
        message: usize,
        /// How the texts differ.
        reason: String,
    },
}

fn quoted(excerpt: &str) -> String {
    if excerpt.is_empty() { String::new() } else { format!(": `{excerpt}`") }
}
