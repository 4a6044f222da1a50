//! From a row to turns.

use burn_adapters_chat::{Conversation, Json, Message, Role};

use super::{ChatRow, ChatShape, problem};
use crate::data::DataProblem;

/// A text, or messages.
#[derive(Debug, Clone, PartialEq)]
pub enum Turns {
    /// A text.
    Text(String),
    /// Messages.
    Messages(Vec<Message>),
}

impl Turns {
    /// The messages; a text is what the user says.
    pub(super) fn as_question(&self) -> Vec<Message> {
        match self {
            Turns::Text(text) => vec![Message::new(Role::User, text)],
            Turns::Messages(messages) => messages.clone(),
        }
    }

    /// The messages; a text is what the assistant says.
    pub(super) fn as_answer(&self) -> Vec<Message> {
        match self {
            Turns::Text(text) => vec![Message::new(Role::Assistant, text)],
            Turns::Messages(messages) => messages.clone(),
        }
    }

    pub(super) fn of(value: &Json, key: &str) -> Result<Self, DataProblem> {
        match value {
            Json::String(text) => Ok(Turns::Text(text.clone())),
            Json::Array(_) => {
                let read = Conversation::from_json(value.clone(), None);
                Ok(Turns::Messages(read.map_err(|error| problem(format!("`{key}`: {error}")))?.messages))
            }
            other => Err(problem(format!("`{key}` must be a text or a list of messages, found {}", other.kind()))),
        }
    }
}

/// The value of a key that must be there.
pub(super) fn needed<'r>(row: &'r Json, key: &str) -> Result<&'r Json, DataProblem> {
    row.get(key).ok_or_else(|| problem(format!("the value of `{key}` is missing")))
}

/// The text of a key, which may be absent.
fn text<'r>(row: &'r Json, key: &str) -> Result<Option<&'r str>, DataProblem> {
    match row.get(key) {
        None => Ok(None),
        Some(Json::String(text)) => Ok(Some(text)),
        Some(other) => Err(problem(format!("`{key}` must be a text, found {}", other.kind()))),
    }
}

/// The tools of a row.
pub(super) fn tools(row: &Json) -> Result<Option<Vec<Json>>, DataProblem> {
    // The messages do not matter.
    let messages = Json::Array(vec![Message::new(Role::User, "").json().clone()]);
    let read = Conversation::from_json(messages, row.get("tools").cloned());
    read.map(|conversation| conversation.tools).map_err(|error| problem(error.to_string()))
}

/// A row of a shape.
pub(super) fn row(shape: ChatShape, row: Json, line: usize) -> Result<ChatRow, DataProblem> {
    let new = |prompt, turns, tools| ChatRow { prompt, turns, tools, line };
    match shape {
        ChatShape::Messages => {
            let messages = needed(&row, "messages")?.clone();
            let read = Conversation::from_json(messages, row.get("tools").cloned());
            let read = read.map_err(|error| problem(error.to_string()))?;
            Ok(new(None, Turns::Messages(read.messages), read.tools))
        }
        ChatShape::Completion => {
            let (prompt, turns) = pair(&row, "completion")?;
            Ok(new(Some(prompt), turns, tools(&row)?))
        }
        ChatShape::Text => match text(&row, "text")? {
            Some(text) => Ok(new(None, Turns::Text(text.to_owned()), None)),
            None => Err(problem("the value of `text` is missing")),
        },
        ChatShape::Alpaca => Ok(new(None, Turns::Messages(alpaca(&row)?), None)),
        ChatShape::ShareGpt => Ok(new(None, Turns::Messages(sharegpt(&row)?), tools(&row)?)),
        ChatShape::Preference => Err(problem(
            "the row is a preference (`chosen` and `rejected`), which is not a text to learn: the task dpo learns it",
        )),
    }
}

/// A prompt and an answer to it: both texts, or both messages.
pub(super) fn pair(row: &Json, key: &str) -> Result<(Turns, Turns), DataProblem> {
    let (prompt, answer) = (Turns::of(needed(row, "prompt")?, "prompt")?, Turns::of(needed(row, key)?, key)?);
    match (&prompt, &answer) {
        (Turns::Text(_), Turns::Text(text)) | (Turns::Messages(_), Turns::Text(text)) if text.is_empty() => {
            Err(problem(format!("`{key}` is empty")))
        }
        (Turns::Text(question), Turns::Messages(messages)) => {
            // Some data repeat the prompt in the conversation.
            let repeats = messages.first().is_some_and(|first| first.role() == Role::User && first.text() == *question);
            let rest = messages.iter().skip(usize::from(repeats)).cloned().collect::<Vec<_>>();
            if rest.is_empty() {
                return Err(problem(format!("`{key}` has no message after the prompt")));
            }
            Ok((Turns::Messages(prompt.as_question()), Turns::Messages(rest)))
        }
        _ => Ok((prompt, answer)),
    }
}

/// An instruction with its answer, and what was said before.
fn alpaca(row: &Json) -> Result<Vec<Message>, DataProblem> {
    let mut messages = Vec::new();
    if let Some(system) = text(row, "system")?.filter(|text| !text.is_empty()) {
        messages.push(Message::new(Role::System, system));
    }
    match row.get("history") {
        None => {}
        Some(Json::Array(turns)) => {
            for (number, turn) in turns.iter().enumerate() {
                match turn.as_array() {
                    Some([Json::String(question), Json::String(answer)]) => {
                        messages.push(Message::new(Role::User, question));
                        messages.push(Message::new(Role::Assistant, answer));
                    }
                    _ => {
                        let number = number + 1;
                        return Err(problem(format!(
                            "`history`, {number}: expected a list of a question and its answer"
                        )));
                    }
                }
            }
        }
        Some(other) => return Err(problem(format!("`history` must be a list, found {}", other.kind()))),
    }
    let parts = [text(row, "instruction")?, text(row, "input")?];
    let parts: Vec<&str> = parts.into_iter().flatten().filter(|part| !part.is_empty()).collect();
    if parts.is_empty() {
        return Err(problem("`instruction` and `input` are both empty"));
    }
    messages.push(Message::new(Role::User, parts.join("\n")));
    match text(row, "output")? {
        Some(output) => messages.push(Message::new(Role::Assistant, output)),
        None => return Err(problem("the value of `output` is missing")),
    }
    Ok(messages)
}

/// A list of objects with `from` and `value`, or with `role` and `content`.
fn sharegpt(row: &Json) -> Result<Vec<Message>, DataProblem> {
    let mut messages = Vec::new();
    if let Some(system) = text(row, "system")?.filter(|text| !text.is_empty()) {
        messages.push(Message::new(Role::System, system));
    }
    let turns = needed(row, "conversations")?;
    let Json::Array(turns) = turns else {
        return Err(problem(format!("`conversations` must be a list, found {}", turns.kind())));
    };
    for (number, turn) in turns.iter().enumerate() {
        let message = if turn.get("role").is_some() { Message::from_json(turn.clone()) } else { spoken(turn) };
        messages.push(message.map_err(|message| problem(format!("`conversations`, {}: {message}", number + 1)))?);
    }
    if turns.is_empty() {
        return Err(problem("`conversations` is empty"));
    }
    Ok(messages)
}

/// An object with `from` and `value`.
fn spoken(turn: &Json) -> Result<Message, String> {
    let (Some(Json::String(from)), Some(Json::String(value))) = (turn.get("from"), turn.get("value")) else {
        return Err("expected an object with the texts `from` and `value`".into());
    };
    let role = match from.as_str() {
        "human" | "user" => Role::User,
        "gpt" | "assistant" | "model" => Role::Assistant,
        "system" => Role::System,
        "tool" | "observation" | "function_response" => Role::Tool,
        "function_call" => {
            let call = Json::parse(value).map_err(|error| format!("the function call is not JSON: {error}"))?;
            return Message::calling(match call {
                Json::Array(calls) => calls.into_iter().map(called).collect(),
                call => vec![called(call)],
            });
        }
        other => {
            return Err(format!(
                "unknown speaker `{}`: expected system, human (or user), gpt (or assistant), function_call or observation (or \
                 tool)",
                other.escape_debug()
            ));
        }
    };
    Ok(Message::new(role, value))
}

/// A function with its arguments as a call.
fn called(function: Json) -> Json {
    Json::Object(vec![("type".to_owned(), "function".into()), ("function".to_owned(), function)])
}
