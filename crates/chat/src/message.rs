//! Messages of a conversation.

use std::fmt;
use std::str::FromStr;

use burn_adapters_diagnostics::nearest;

use crate::{ChatError, Json};

/// Who a message is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Instructions that hold for the whole conversation.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// The result of a tool that the model called.
    Tool,
}

impl Role {
    /// All roles.
    pub const ALL: [Role; 4] = [Role::System, Role::User, Role::Assistant, Role::Tool];

    /// The name of the role.
    pub fn name(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = Role::ALL.map(Role::name);
        Role::ALL.into_iter().find(|role| role.name() == text).ok_or_else(|| {
            let hint = nearest(text, names).map_or(String::new(), |name| format!(" (did you mean `{name}`?)"));
            format!("unknown role `{}`{hint}: expected system, user, assistant or tool", text.escape_debug())
        })
    }
}

/// A message: its role, its content, and everything else that the template may read (`tool_calls`, `name`, …).
///
/// The content is a text or a list of parts `{"type": "text", "text": …}`. An assistant's message that calls tools may have
/// none.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    role: Role,
    object: Json,
}

impl Message {
    /// A message with a text.
    pub fn new(role: Role, text: impl Into<String>) -> Self {
        let object = vec![("role".to_owned(), role.name().into()), ("content".to_owned(), Json::String(text.into()))];
        Self { role, object: Json::Object(object) }
    }

    /// A message of the assistant that calls tools; each call is an object such as
    /// `{"type": "function", "function": {"name": …, "arguments": {…}}}`.
    ///
    /// # Errors
    /// If a call is not such an object.
    pub fn calling(calls: Vec<Json>) -> Result<Self, String> {
        let role = ("role".to_owned(), Role::Assistant.name().into());
        let object = vec![role, ("content".to_owned(), "".into()), ("tool_calls".to_owned(), Json::Array(calls))];
        Self::from_json(Json::Object(object))
    }

    /// A message as an object with `role` and `content`.
    ///
    /// # Errors
    /// A text that says what is wrong with it.
    pub fn from_json(object: Json) -> Result<Self, String> {
        if !matches!(object, Json::Object(_)) {
            return Err(format!("expected an object with `role` and `content`, found {}", object.kind()));
        }
        let role = match object.get("role") {
            Some(Json::String(name)) => name.parse::<Role>()?,
            Some(other) => return Err(format!("`role` must be a string, found {}", other.kind())),
            None => return Err("the key `role` is missing: it is system, user, assistant or tool".into()),
        };
        let calls = check_calls(&object)?;
        match object.get("content") {
            Some(Json::String(_)) => {}
            Some(Json::Array(parts)) => parts.iter().try_for_each(|part| text_of(part).map(drop))?,
            Some(other) => return Err(format!("`content` must be a text or a list of parts, found {}", other.kind())),
            None if calls && role == Role::Assistant => {}
            None => return Err(format!("the {role}'s `content` is missing")),
        }
        Ok(Self { role, object })
    }

    /// Who it is from.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The message as an object.
    pub fn json(&self) -> &Json {
        &self.object
    }

    /// The text of the content; its parts are joined with line breaks.
    pub fn text(&self) -> String {
        match self.object.get("content") {
            Some(Json::String(text)) => text.clone(),
            Some(Json::Array(parts)) => {
                parts.iter().filter_map(|part| text_of(part).ok()).collect::<Vec<_>>().join("\n")
            }
            _ => String::new(),
        }
    }

    /// Whether the content is a list of parts.
    pub(crate) fn has_parts(&self) -> bool {
        matches!(self.object.get("content"), Some(Json::Array(_)))
    }

    /// The message with its parts joined to one text.
    pub(crate) fn joined(&self) -> Json {
        let text = self.text();
        match &self.object {
            Json::Object(entries) => Json::Object(
                entries
                    .iter()
                    .map(|(key, value)| match key.as_str() {
                        "content" => (key.clone(), Json::String(text.clone())),
                        _ => (key.clone(), value.clone()),
                    })
                    .collect(),
            ),
            other => other.clone(),
        }
    }
}

/// The text of a part of a content.
fn text_of(part: &Json) -> Result<&str, String> {
    match (part.get("type").and_then(Json::as_str), part.get("text")) {
        (Some("text"), Some(Json::String(text))) => Ok(text),
        (Some("text"), _) => Err("a part of type `text` has no `text`".into()),
        (Some(kind), _) => Err(format!(
            "a part of the content is of type `{}`, but language models read texts only: {{\"type\": \"text\", \"text\": …}}",
            kind.escape_debug()
        )),
        (None, _) => Err(format!(
            "a part of the content is {}, expected {{\"type\": \"text\", \"text\": …}}",
            if part.keys().next().is_some() { "an object without `type`" } else { part.kind() }
        )),
    }
}

/// Whether a message calls tools; checks that the calls have a name.
fn check_calls(message: &Json) -> Result<bool, String> {
    let Some(calls) = message.get("tool_calls") else { return Ok(false) };
    let Json::Array(calls) = calls else {
        return Err(format!("`tool_calls` must be a list, found {}", calls.kind()));
    };
    for (number, call) in calls.iter().enumerate() {
        // Some write the function without the object around it.
        let function = call.get("function").unwrap_or(call);
        if !matches!(function.get("name"), Some(Json::String(_))) {
            return Err(format!(
                "tool call {} has no name: expected {{\"type\": \"function\", \"function\": {{\"name\": …, \"arguments\": {{…}}}}}}",
                number + 1
            ));
        }
    }
    Ok(!calls.is_empty())
}

impl From<&Message> for Json {
    fn from(message: &Message) -> Self {
        message.object.clone()
    }
}

/// The messages of a list.
///
/// # Errors
/// [`ChatError::Empty`] or [`ChatError::Message`] with the number of the message.
pub(crate) fn list(value: Json) -> Result<Vec<Message>, ChatError> {
    let Json::Array(items) = value else {
        let problem = format!("expected a list of messages, found {}", value.kind());
        return Err(ChatError::Message { number: None, problem });
    };
    let read = |(index, item)| {
        Message::from_json(item).map_err(|problem| ChatError::Message { number: Some(index + 1), problem })
    };
    items.into_iter().enumerate().map(read).collect()
}
