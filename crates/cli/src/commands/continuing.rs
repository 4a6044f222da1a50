//! Continues prompts token by token, and gives the text as it grows.

use burn::tensor::Tensor;
use burn_adapters_generate::{Flow, GenerateError, Generated, GenerationOptions, Stops, generate_with, head_logits};
use burn_adapters_model::{Forward, Setup, TokenBatch};
use burn_adapters_transformers::DecodeStream;

use super::model::Model;
use super::setup::{Loaded, batch_hooks};
use crate::error::{CliError, CliResult, chain};

/// The new text of a prompt.
pub(super) struct Continued {
    /// The whole new text.
    pub(super) text: String,
    /// The end of it that was not given as a piece.
    pub(super) rest: String,
    pub(super) generated: Generated,
}

/// What the new tokens of a prompt are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NewText {
    /// They continue the text of the prompt.
    Continues,
    /// They are a text of their own.
    Own,
}

/// Continues prompts. `on_piece` receives the number of the prompt and each piece of its new text once it is certain.
pub(super) fn continue_prompts(
    model: &Model,
    used: Option<(&Loaded, &Setup)>,
    (prompts, new): (&TokenBatch, NewText),
    options: &GenerationOptions,
    stops: &[String],
    on_piece: &mut dyn FnMut(usize, &str) -> CliResult,
) -> CliResult<Vec<Continued>> {
    let hooks = batch_hooks(used, prompts)?;
    let logits = |states: Tensor<2>| match used {
        Some((loaded, setup)) => head_logits(&model.base, &loaded.bank, setup, states),
        None => Ok(model.base.token_logits(states)?),
    };
    let row = |row: usize| Growing::new(model, stops, (new == NewText::Continues).then(|| prompts.row(row)));
    let mut rows: Vec<Growing<'_>> = (0..prompts.len()).map(row).collect::<CliResult<_>>()?;
    let mut failed = None;
    let mut on_token = |row: usize, token: u32| {
        let pushed = rows[row].push(token).and_then(|(piece, flow)| on_piece(row, &piece).map(|()| flow));
        pushed.unwrap_or_else(|error| {
            failed.get_or_insert(error);
            Flow::Stop
        })
    };
    let generated = generate_with(&model.base, &hooks, prompts, &logits, options, &mut on_token);
    let generated = generated.map_err(|error| generate_error(&error))?;
    if let Some(error) = failed {
        return Err(error);
    }
    let finish = |(row, generated): (Growing<'_>, Generated)| {
        let (text, rest) = row.finish()?;
        Ok(Continued { text, rest, generated })
    };
    rows.into_iter().zip(generated).map(finish).collect()
}

/// The new text of a row.
struct Growing<'m> {
    stream: Option<DecodeStream<'m>>,
    stops: Stops,
}

impl<'m> Growing<'m> {
    fn new(model: &'m Model, stops: &[String], before: Option<&[u32]>) -> CliResult<Self> {
        let stream = model.tokenizer.decode_stream_after(before.unwrap_or_default(), true);
        let stream = stream.map_err(|error| CliError::failure(chain(&error)))?;
        Ok(Self { stream: Some(stream), stops: Stops::new(stops) })
    }

    /// The text that is certain with another token, and whether the row continues.
    fn push(&mut self, token: u32) -> CliResult<(String, Flow)> {
        let Some(stream) = &mut self.stream else { return Ok((String::new(), Flow::Stop)) };
        let piece = stream.push(token).map_err(|error| CliError::failure(chain(&error)))?;
        let shown = self.stops.push(&piece);
        Ok((shown, if self.stops.is_stopped() { Flow::Stop } else { Flow::Continue }))
    }

    /// The whole text, and what was held back of it.
    fn finish(mut self) -> CliResult<(String, String)> {
        let last = self.stream.take().map(DecodeStream::finish).transpose();
        let last = last.map_err(|error| CliError::failure(chain(&error)))?.unwrap_or_default();
        let mut rest = self.stops.push(&last);
        rest += &self.stops.rest();
        Ok((self.stops.into_text(), rest))
    }
}

pub(super) fn generate_error(error: &GenerateError) -> CliError {
    match error {
        GenerateError::BadOption { option, expected, found } => {
            CliError::mistake(format!("--{} is {found}, but must be {expected}", option.replace('_', "-")))
        }
        GenerateError::Branches { .. }
        | GenerateError::NoRoom { .. }
        | GenerateError::Logits(_)
        | GenerateError::NoStart
        | GenerateError::NoDecoder => CliError::mistake(chain(error)),
        error => CliError::failure(chain(error)),
    }
}
