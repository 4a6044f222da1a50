//! Pairs of answers to a prompt, of which one is preferred.

use burn_adapters_chat::{ChatTemplate, Json, TrainOn};

use super::turns::{pair, tools};
use super::{ChatRow, ChatShape, Turns, each_row, problem};
use crate::data::{DataError, DataProblem, Dataset, Example, Problems, Source};

/// A prompt with a preferred and a rejected answer.
#[derive(Debug, Clone, PartialEq)]
pub struct PreferencePair {
    /// What stands before both answers.
    pub prompt: Turns,
    /// The preferred answer.
    pub chosen: Turns,
    /// The rejected answer.
    pub rejected: Turns,
    /// The tools that the model may call.
    pub tools: Option<Vec<Json>>,
    /// The line in the file, from 1.
    pub line: usize,
}

/// The preferences of a file.
///
/// ```
/// use burn_adapters_chat::ChatTemplate;
/// use burn_adapters_train::{Format, PreferenceData, Source};
///
/// let row = r#"{"prompt": [{"role": "user", "content": "2 + 2?"}], "chosen": "4.", "rejected": "5."}"#;
/// let source = Source::from_reader("rows", row.as_bytes(), Format::JsonLines)?;
/// let data = PreferenceData::from_source(&source)?;
/// let [chosen, rejected] = data.pairs[0].render(Some(&ChatTemplate::chatml()), None).unwrap();
/// assert!(chosen.text.contains("4.") && rejected.text.contains("5."));
/// # Ok::<(), burn_adapters_train::DataError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct PreferenceData {
    /// The name of the file, for messages.
    pub source: String,
    /// The pairs, in order.
    pub pairs: Vec<PreferencePair>,
}

impl PreferenceData {
    /// Reads a file of rows with `prompt`, `chosen` and `rejected`.
    ///
    /// # Errors
    /// If there are no rows, a row is not one, or both of its answers are the same. The error lists the rows.
    pub fn from_source(source: &Source) -> Result<Self, DataError> {
        let mut pairs = Vec::new();
        each_row(source, |line, row| {
            let shape = ChatShape::of(&row)?;
            if shape != ChatShape::Preference {
                return Err(problem(format!(
                    "the row is of the shape {shape}, but expected is {}",
                    ChatShape::Preference
                )));
            }
            pairs.push(read(&row, line)?);
            Ok(())
        })?;
        if pairs.is_empty() {
            return Err(DataError::Empty { source_name: source.name.clone() });
        }
        Ok(Self { source: source.name.clone(), pairs })
    }

    /// The texts with the preferred answers, with those of the rejected ones beside them ([`Example::rejected`]). `end` is as
    /// in [`ChatData::render`](super::ChatData::render).
    ///
    /// # Errors
    /// If rows need a template and there is none, or it fails for a row. The error lists the rows.
    pub fn render(&self, template: Option<&ChatTemplate>, end: Option<&str>) -> Result<Dataset, DataError> {
        let (mut examples, mut problems) = (Vec::with_capacity(self.pairs.len()), Problems::default());
        for pair in &self.pairs {
            match pair.render(template, end) {
                Ok([chosen, rejected]) => {
                    examples.push(Example { rejected: Some(Box::new(rejected)), ..chosen });
                }
                Err(problem) => problems.push(pair.line, problem),
            }
        }
        problems.into_result(&self.source)?;
        Dataset::from_examples(&self.source, examples)
    }
}

fn read(row: &Json, line: usize) -> Result<PreferencePair, DataProblem> {
    let ((prompt, chosen), (other, rejected)) = (pair(row, "chosen")?, pair(row, "rejected")?);
    if prompt != other {
        return Err(problem("one of `chosen` and `rejected` is a text and the other messages: both must be alike"));
    }
    if chosen == rejected {
        return Err(problem("`chosen` and `rejected` are the same, so there is nothing to prefer"));
    }
    Ok(PreferencePair { prompt, chosen, rejected, tools: tools(row)?, line })
}

impl PreferencePair {
    /// Whether a chat template is needed, because the prompt or the answers are messages.
    pub fn needs_template(&self) -> bool {
        [&self.prompt, &self.chosen].into_iter().any(|turns| matches!(turns, Turns::Messages(_)))
    }

    /// The texts with the chosen and with the rejected answer; what is learned of each is the answer. `end` is as in
    /// [`ChatData::render`](super::ChatData::render).
    ///
    /// # Errors
    /// If messages need a template and there is none, or it fails.
    pub fn render(&self, template: Option<&ChatTemplate>, end: Option<&str>) -> Result<[Example; 2], DataProblem> {
        let render = |answer: &Turns| {
            let (prompt, turns) = (Some(self.prompt.clone()), answer.clone());
            let row = ChatRow { prompt, turns, tools: self.tools.clone(), line: self.line };
            row.render(template, TrainOn::Completion, end)
        };
        Ok([render(&self.chosen)?, render(&self.rejected)?])
    }
}
