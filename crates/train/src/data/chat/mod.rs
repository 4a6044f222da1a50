//! Conversations and completions for language modeling, and pairs of preferred and rejected answers.
//!
//! A file of JSON Lines has rows of one shape, which their keys tell ([`ChatShape`]). A row becomes a text by a chat
//! template, with the parts that are learned ([`TrainOn`]); only rows of `prompt` and `completion` that are texts are used as
//! they are.

mod preference;
mod shape;
mod turns;

use burn_adapters_chat::{ChatTemplate, Conversation, Json, Message, Rendered, TrainOn};

pub use self::preference::{PreferenceData, PreferencePair};
pub use self::shape::ChatShape;
pub use self::turns::Turns;
use super::{DataError, DataProblem, Dataset, Example, Format, Problems, Source, TrainedSpans};

/// A row of a file of conversations.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatRow {
    /// What stands before the completion; `None` for a conversation as a whole.
    pub prompt: Option<Turns>,
    /// The conversation, or the completion of the prompt.
    pub turns: Turns,
    /// The tools that the model may call.
    pub tools: Option<Vec<Json>>,
    /// The line in the file, from 1.
    pub line: usize,
}

/// The conversations or completions of a file.
///
/// ```
/// use burn_adapters_chat::{ChatTemplate, TrainOn};
/// use burn_adapters_train::{ChatData, Format, Source};
///
/// let row = r#"{"instruction": "Name a color.", "output": "Blue."}"#;
/// let source = Source::from_reader("rows", row.as_bytes(), Format::JsonLines)?;
/// let data = ChatData::from_source(&source)?.render(Some(&ChatTemplate::chatml()), TrainOn::Assistant, None)?;
/// let example = &data.examples()[0];
/// let learned = &example.trained.as_ref().unwrap().spans[0];
/// assert_eq!(&example.text[learned.clone()], "Blue.<|im_end|>\n");
/// # Ok::<(), burn_adapters_train::DataError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ChatData {
    /// The name of the file, for messages.
    pub source: String,
    /// The shape of the rows.
    pub shape: ChatShape,
    /// The rows.
    pub rows: Vec<ChatRow>,
}

impl ChatData {
    /// The shape of the rows of a file, from the keys of the first; `None` for other formats, and for rows that are no
    /// objects.
    ///
    /// # Errors
    /// If the first row has keys of no shape.
    pub fn shape_of(source: &Source) -> Result<Option<ChatShape>, DataError> {
        if source.format != Format::JsonLines {
            return Ok(None);
        }
        let Some((line, first)) = lines(&source.bytes).next() else { return Ok(None) };
        // Other errors are told when the rows are read.
        let Ok(row) = object(first) else { return Ok(None) };
        match ChatShape::of(&row) {
            Ok(shape) => Ok(Some(shape)),
            Err(problem) => {
                let mut problems = Problems::default();
                problems.push(line, problem);
                problems.into_result(&source.name).map(|()| None)
            }
        }
    }

    /// Reads a file of conversations or completions.
    ///
    /// # Errors
    /// If there are no rows, a row is not one, or the shape of the rows changes. The error lists the rows.
    pub fn from_source(source: &Source) -> Result<Self, DataError> {
        let (mut shape, mut rows) = (None, Vec::new());
        each_row(source, |line, row| {
            let found = ChatShape::of(&row)?;
            let (first, first_line) = *shape.get_or_insert((found, line));
            first.check_same(found, first_line)?;
            rows.push(turns::row(found, row, line)?);
            Ok(())
        })?;
        match shape {
            Some((shape, _)) => Ok(Self { source: source.name.clone(), shape, rows }),
            None => Err(DataError::Empty { source_name: source.name.clone() }),
        }
    }

    /// The texts of the rows, with the parts that are learned. `end` is the token that ends a text: it is put after
    /// completions that are texts and lack it.
    ///
    /// # Errors
    /// If rows need a template and there is none, or it fails for a row. The error lists the rows.
    pub fn render(
        &self,
        template: Option<&ChatTemplate>,
        on: TrainOn,
        end: Option<&str>,
    ) -> Result<Dataset, DataError> {
        let (mut examples, mut problems) = (Vec::with_capacity(self.rows.len()), Problems::default());
        for row in &self.rows {
            match row.render(template, on, end) {
                Ok(example) => examples.push(example),
                Err(problem) => problems.push(row.line, problem),
            }
        }
        problems.into_result(&self.source)?;
        Dataset::from_examples(&self.source, examples)
    }
}

impl ChatRow {
    /// Whether the row is a conversation, which becomes a text by a template.
    pub fn needs_template(&self) -> bool {
        let is_text = |turns: &Turns| matches!(turns, Turns::Text(_));
        !(is_text(&self.turns) && self.prompt.as_ref().is_none_or(is_text))
    }

    /// The text of the row, with the parts that are learned.
    ///
    /// # Errors
    /// As [`ChatData::render`].
    pub fn render(
        &self,
        template: Option<&ChatTemplate>,
        on: TrainOn,
        end: Option<&str>,
    ) -> Result<Example, DataProblem> {
        let (rendered, is_bare) = match (&self.prompt, &self.turns) {
            (Some(Turns::Text(prompt)), Turns::Text(completion)) => (completed(prompt, completion, on, end), false),
            (None, Turns::Text(text)) => (text_alone(text, on)?, false),
            (prompt, turns) => (self.conversation(prompt.as_ref(), turns, template, on)?, true),
        };
        let trained = TrainedSpans { spans: rendered.trained, is_bare };
        Ok(Example { trained: Some(trained), ..Example::new(rendered.text, self.line) })
    }

    fn conversation(
        &self,
        prompt: Option<&Turns>,
        turns: &Turns,
        template: Option<&ChatTemplate>,
        on: TrainOn,
    ) -> Result<Rendered, DataProblem> {
        let template = template.ok_or_else(no_template)?;
        let turns: Vec<Message> = turns.as_answer();
        let start =
            Conversation { messages: prompt.map(Turns::as_question).unwrap_or_default(), tools: self.tools.clone() };
        let rendered = match on {
            TrainOn::Completion if prompt.is_some() => template.render_completion(&start, &turns),
            _ => {
                let messages = start.messages.into_iter().chain(turns).collect();
                template.render_trained(&Conversation { messages, tools: start.tools }, on)
            }
        };
        rendered.map_err(|error| problem(error.to_string()))
    }
}

/// A prompt with its completion, as texts.
fn completed(prompt: &str, completion: &str, on: TrainOn, end: Option<&str>) -> Rendered {
    let mut text = format!("{prompt}{completion}");
    if let Some(end) = end.filter(|end| !text.ends_with(end)) {
        text.push_str(end);
    }
    let start = if on == TrainOn::All { 0 } else { prompt.len() };
    Rendered { trained: std::iter::once(start..text.len()).collect(), text }
}

/// A text as a whole, which has no turns.
fn text_alone(text: &str, on: TrainOn) -> Result<Rendered, DataProblem> {
    if on != TrainOn::All {
        return Err(problem(format!("a text has no part that is the {}: all of it is learned", on.name())));
    }
    Ok(Rendered { text: text.to_owned(), trained: std::iter::once(0..text.len()).collect() })
}

pub(super) fn problem(message: impl Into<String>) -> DataProblem {
    DataProblem::Chat { message: message.into() }
}

fn no_template() -> DataProblem {
    problem("a conversation becomes a text by the model's chat template, but the model has none")
}

/// The lines that are not blank, with their numbers.
fn lines(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let numbered = bytes.split(|byte| *byte == b'\n').enumerate().map(|(index, line)| (index + 1, line));
    numbered.filter(|(_, line)| !line.trim_ascii().is_empty())
}

/// The object of a line.
fn object(line: &[u8]) -> Result<Json, DataProblem> {
    let text = std::str::from_utf8(line).map_err(|_| DataProblem::InvalidUtf8)?;
    match Json::parse(text) {
        Ok(row @ Json::Object(_)) => Ok(row),
        Ok(other) => Err(problem(format!("expected an object, found {}", other.kind()))),
        Err(error) => {
            Err(DataProblem::BrokenJson { message: error.message.replace(" at line 1 column ", " at column ") })
        }
    }
}

/// Reads every row of JSON Lines; problems are collected.
fn each_row(source: &Source, mut read: impl FnMut(usize, Json) -> Result<(), DataProblem>) -> Result<(), DataError> {
    let malformed =
        |message: &str| Err(DataError::Malformed { source_name: source.name.clone(), message: message.to_owned() });
    if source.format != Format::JsonLines {
        return malformed("conversations are read from JSON Lines (.jsonl), one object a line");
    }
    if source.bytes.trim_ascii_start().starts_with(b"[") {
        return malformed("a JSON array: expected JSON Lines, one object a line and no brackets around them");
    }
    let mut problems = Problems::default();
    for (line, bytes) in lines(&source.bytes) {
        if let Err(problem) = object(bytes).and_then(|row| read(line, row)) {
            problems.push(line, problem);
        }
    }
    problems.into_result(&source.name)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
