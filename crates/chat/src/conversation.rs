//! Conversations.

use crate::message::list;
use crate::{ChatError, Json, Message, Role};

/// The messages of a conversation, and the tools that the model may call.
///
/// ```
/// use burn_adapters_chat::{Conversation, Json, Role};
///
/// let messages = Json::parse(r#"[{"role": "user", "content": "Hello"}]"#)?;
/// let conversation = Conversation::from_json(messages, None)?;
/// assert_eq!(conversation.messages[0].role(), Role::User);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Conversation {
    /// The messages, in order.
    pub messages: Vec<Message>,
    /// The definitions of the tools, as JSON schemas; `None` if the model has none.
    pub tools: Option<Vec<Json>>,
}

impl Conversation {
    /// A conversation without tools.
    pub fn new(messages: impl IntoIterator<Item = Message>) -> Self {
        Self { messages: messages.into_iter().collect(), tools: None }
    }

    /// Reads a list of messages and a list of tools. Tools may be a list, or JSON in a string.
    ///
    /// # Errors
    /// If a message has an unknown role or no content, tools are not objects, or there is no message.
    pub fn from_json(messages: Json, tools: Option<Json>) -> Result<Self, ChatError> {
        let conversation = Self { messages: list(messages)?, tools: tools.map(self::tools).transpose()?.flatten() };
        if conversation.messages.is_empty() {
            return Err(ChatError::Empty);
        }
        Ok(conversation)
    }

    /// The conversation with a message after it.
    #[must_use]
    pub fn with(mut self, message: Message) -> Self {
        self.messages.push(message);
        self
    }

    /// The numbers of the assistant's messages, from 0.
    pub fn assistant_turns(&self) -> impl Iterator<Item = usize> + '_ {
        self.messages
            .iter()
            .enumerate()
            .filter(|(_, message)| message.role() == Role::Assistant)
            .map(|(index, _)| index)
    }

    /// The first messages.
    pub(crate) fn first(&self, count: usize) -> Self {
        Self { messages: self.messages.iter().take(count).cloned().collect(), tools: self.tools.clone() }
    }
}

/// The definitions of tools. An empty list means that there are no tools.
fn tools(value: Json) -> Result<Option<Vec<Json>>, ChatError> {
    let wrong = |found: String| ChatError::Tools {
        problem: format!("`tools` must be a list of objects (JSON schemas of functions), found {found}"),
    };
    match value {
        Json::Null => Ok(None),
        Json::String(text) if text.trim().is_empty() => Ok(None),
        Json::String(text) => match Json::parse(&text) {
            Ok(value @ (Json::Array(_) | Json::Null)) => tools(value),
            Ok(other) => Err(wrong(format!("a string with {}", other.kind()))),
            Err(error) => Err(wrong(format!("a string that is not JSON ({error})"))),
        },
        Json::Array(items) if items.is_empty() => Ok(None),
        Json::Array(items) => match items.iter().find(|item| !matches!(item, Json::Object(_))) {
            Some(other) => Err(wrong(format!("a list with {}", other.kind()))),
            None => Ok(Some(items)),
        },
        other => Err(wrong(other.kind().to_owned())),
    }
}
