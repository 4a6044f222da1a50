//! The parts of a conversation's text that a model learns.
//!
//! A template that marks the assistant's turns with `{% generation %}` says itself what they are. Otherwise they are found by
//! rendering the conversation up to each turn, once with the prompt for an answer and once with the answer. Both must be the
//! beginning of the whole text: then what lies between them is the turn, with the tokens that end it. Some templates change
//! what was said before when more follows (they drop earlier thoughts, for example); with these, the turns of the text are
//! not those that the model would say, and that is an error instead of a wrong mask.

use std::ops::Range;
use std::str::FromStr;

use crate::{ChatError, ChatTemplate, Conversation};

/// Which parts of a text are learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TrainOn {
    /// All turns of the assistant.
    #[default]
    Assistant,
    /// The last turn of the assistant, or the completion of a prompt.
    Completion,
    /// Everything.
    All,
}

impl TrainOn {
    /// The name of the choice.
    pub fn name(self) -> &'static str {
        match self {
            TrainOn::Assistant => "assistant",
            TrainOn::Completion => "completion",
            TrainOn::All => "all",
        }
    }
}

impl FromStr for TrainOn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [TrainOn::Assistant, TrainOn::Completion, TrainOn::All];
        let found = all.into_iter().find(|one| one.name() == text);
        found.ok_or_else(|| format!("unknown choice `{text}`: expected assistant, completion or all"))
    }
}

/// A text, and what is learned of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The text.
    pub text: String,
    /// The byte ranges that are learned, in order and without overlap; none is empty.
    pub trained: Vec<Range<usize>>,
}

impl ChatTemplate {
    /// The text of a conversation, with what is learned of it.
    ///
    /// # Errors
    /// As [`render`](Self::render), and [`ChatError::NoPrefix`] if the assistant's turns cannot be located in the text.
    pub fn render_trained(&self, conversation: &Conversation, on: TrainOn) -> Result<Rendered, ChatError> {
        let (text, marked) = self.render_marked(conversation, false)?;
        let last = conversation.assistant_turns().last();
        let trained = match (on, last) {
            (TrainOn::All, _) => std::iter::once(0..text.len()).collect(),
            (_, None) => Vec::new(),
            (TrainOn::Assistant, _) if self.marks_turns() => marked,
            (TrainOn::Completion, Some(last)) if self.marks_turns() => {
                // The turns before it have marks, too.
                let before = match last {
                    0 => Vec::new(),
                    last => self.render_marked(&conversation.first(last), false)?.1,
                };
                marked.into_iter().skip(before.len()).collect()
            }
            (TrainOn::Assistant, _) => (conversation.assistant_turns())
                .map(|turn| self.turn(conversation, turn, &text))
                .collect::<Result<_, _>>()?,
            (TrainOn::Completion, Some(last)) => vec![self.turn(conversation, last, &text)?],
        };
        Ok(Rendered { text, trained: joined(trained) })
    }

    /// The text of a prompt and of its completion, which is learned.
    ///
    /// # Errors
    /// As [`render_trained`](Self::render_trained).
    pub fn render_completion(
        &self,
        prompt: &Conversation,
        completion: &[crate::Message],
    ) -> Result<Rendered, ChatError> {
        let start = self.render(prompt, true)?;
        let whole = Conversation {
            messages: prompt.messages.iter().chain(completion).cloned().collect(),
            tools: prompt.tools.clone(),
        };
        let text = self.render(&whole, false)?;
        let turn = prompt.messages.len();
        if !text.starts_with(&start) {
            return Err(self.no_prefix(turn, "its prompt", &start, &text));
        }
        Ok(Rendered { trained: joined(std::iter::once(start.len()..text.len())), text })
    }

    /// The range of an assistant's message in the whole text.
    fn turn(&self, conversation: &Conversation, turn: usize, whole: &str) -> Result<Range<usize>, ChatError> {
        if turn == 0 {
            return Err(ChatError::NoPrefix {
                name: self.name().to_owned(),
                message: 1,
                reason:
                    "the conversation begins with it, so no prompt stands before it; begin with a message of the user"
                        .into(),
            });
        }
        let prompt = self.render(&conversation.first(turn), true)?;
        let is_last = turn + 1 == conversation.messages.len();
        let with_answer = if is_last { whole.to_owned() } else { self.render(&conversation.first(turn + 1), false)? };
        if !whole.starts_with(&with_answer) {
            return Err(self.no_prefix(turn, "the conversation up to it", &with_answer, whole));
        }
        if !with_answer.starts_with(&prompt) {
            return Err(self.no_prefix(turn, "its prompt", &prompt, &with_answer));
        }
        Ok(prompt.len()..with_answer.len())
    }

    /// The error for a text that is not the beginning of another.
    fn no_prefix(&self, turn: usize, what: &str, start: &str, whole: &str) -> ChatError {
        let same = start.char_indices().zip(whole.chars()).find(|((_, a), b)| a != b).map(|((at, _), _)| at);
        let same = same.unwrap_or(start.len().min(whole.len()));
        let after = |text: &str| -> String {
            let rest: String = text[same..].chars().take(40).collect();
            if rest.is_empty() { "the end".into() } else { format!("{rest:?}") }
        };
        let (alone, within) = (after(start), after(whole));
        ChatError::NoPrefix {
            name: self.name().to_owned(),
            message: turn + 1,
            reason: format!(
                "{what} alone is not the beginning of the whole text; after {same} bytes, alone it continues with {alone}, in \
                 the whole with {within}. Use a template that marks the turns, or learn other parts (completion or all)"
            ),
        }
    }
}

/// Ranges without empty ones, neighbors made one.
fn joined(spans: impl IntoIterator<Item = Range<usize>>) -> Vec<Range<usize>> {
    let mut joined: Vec<Range<usize>> = Vec::new();
    for span in spans.into_iter().filter(|span| !span.is_empty()) {
        match joined.last_mut() {
            Some(last) if last.end >= span.start => last.end = last.end.max(span.end),
            _ => joined.push(span),
        }
    }
    joined
}
