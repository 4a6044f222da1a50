//! `score`: how probable texts are for a decoder.

use std::path::PathBuf;

use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor, TensorData};
use burn_adapters_core::{Reads, StackKind};
use burn_adapters_model::{BaseModel, Forward, TokenBatch};
use clap::Args;
use serde::Serialize;

use super::DeviceArguments;
use super::model::{Model, max_length};
use super::setup::{SETUP_HELP, SetupArguments, batch_hooks};
use crate::draw;
use crate::error::{CliError, CliResult, chain};
use crate::output;
use crate::progress::Style;

const EXAMPLES: &str = "\
Examples:
  burn-adapters score --model SmolLM2-135M --text 'The sea is blue.' 'The sea are blue.'
  burn-adapters score --model gpt2 --adapter poems --text 'The sea' --json";

/// Print the log-likelihood and the perplexity of texts for a decoder, with adapters or without.
///
/// Every token but the first is scored, given those before it.
#[derive(Debug, Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{SETUP_HELP}"))]
pub(super) struct Arguments {
    /// Model folder.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,

    #[command(flatten)]
    adapters: SetupArguments,

    /// Text to score. Repeat the option or list several texts.
    #[arg(long, value_name = "TEXT", num_args = 1.., required = true)]
    text: Vec<String>,

    #[command(flatten)]
    device: DeviceArguments,

    /// Print one JSON object per text: text, tokens (the number of tokens that are scored), log_likelihood (the sum of their
    /// natural logarithms), perplexity.
    #[arg(long)]
    json: bool,
}

/// A line of `--json`.
#[derive(Serialize)]
struct Line<'a> {
    text: &'a str,
    tokens: usize,
    log_likelihood: f64,
    perplexity: f64,
}

/// The most logits that are computed at once.
const MOST_LOGITS: usize = 1 << 24;

impl Arguments {
    pub(super) fn run(self, style: Style) -> CliResult {
        let source = self.adapters.composition_if_any()?;
        let device = self.device.open(style)?.device;
        let model = self.device.load(&self.model, &device, style)?;
        if !matches!(model.base.spec().stacks.as_slice(), [stack] if stack.kind == StackKind::Decoder) {
            let message = format!("score takes a decoder, but the model is of type {}", model.base.spec().model_type);
            return Err(CliError::mistake(message));
        }
        let loaded = source.map(|source| self.adapters.load(source, &model, &device, style)).transpose()?;
        let setup = loaded.as_ref().map(|loaded| loaded.setup(None));
        let encoded = model.tokenizer.encode(&self.text, max_length(&model, None)?);
        let encoded = encoded.map_err(|error| CliError::mistake(chain(&error)))?;
        if let Some(row) = encoded.rows.iter().position(|row| row.ids.len() < 2) {
            let message =
                format!("the text {:?} has fewer than two tokens, and the first is not scored", self.text[row]);
            return Err(CliError::mistake(message));
        }
        if encoded.truncated > 0 {
            draw::warning(&format!("{} of {} texts are too long and were cut", encoded.truncated, self.text.len()));
        }
        let batch = TokenBatch::from_rows(&encoded.rows);
        let hooks = batch_hooks(loaded.as_ref().zip(setup.as_ref()), &batch)?;
        let states = model.base.forward_reading(&batch, &hooks, Reads::Tokens);
        let states = states.map_err(|error| CliError::failure(chain(&error)))?;
        if states.tokens.len() != self.text.len() {
            return Err(CliError::mistake("score takes no Parallel in --setup: score with each branch alone"));
        }
        for (row, (text, tokens)) in self.text.iter().zip(&encoded.rows).enumerate() {
            let span = &states.tokens[row];
            let positions: Vec<i32> = span.positions().map(|position| position as i32).collect();
            let count = positions.len();
            let positions = Tensor::<1, Int>::from_data(TensorData::new(positions, [count]), &device);
            let hidden = states.hidden.clone().narrow(0, row, 1).squeeze_dim::<2>(0).select(0, positions);
            let log_likelihood = log_likelihood(&model, &hidden, &tokens.ids)?;
            if !log_likelihood.is_finite() {
                return Err(CliError::failure(format!("the log-likelihood of the text {text:?} is {log_likelihood}")));
            }
            let scored = tokens.ids.len() - 1;
            let perplexity = (-log_likelihood / scored as f64).exp();
            let line = Line { text, tokens: scored, log_likelihood, perplexity };
            if self.json {
                output::json_line(&line)?;
            } else {
                let shown = output::shown(text);
                output::line(format!("{log_likelihood:.4}  perplexity {perplexity:.4}  {shown}"))?;
            }
        }
        Ok(())
    }
}

/// The sum of the log-probabilities of all tokens but the first, from the states of all tokens.
fn log_likelihood(model: &Model, hidden: &Tensor<2>, ids: &[u32]) -> CliResult<f64> {
    let step = (MOST_LOGITS / model.base.limits().vocabulary.max(1)).max(1);
    let mut sum = 0.0;
    for first in (0..ids.len() - 1).step_by(step) {
        let count = step.min(ids.len() - 1 - first);
        let logits = model.base.token_logits(hidden.clone().narrow(0, first, count));
        let logits = logits.map_err(|error| CliError::mistake(chain(&error)))?;
        let next: Vec<i32> = ids[first + 1..=first + count].iter().map(|id| *id as i32).collect();
        let next = Tensor::<2, Int>::from_data(TensorData::new(next, [count, 1]), &hidden.device());
        let found = log_softmax(logits, 1).gather(1, next).sum().try_into_data_as::<f32>();
        let found = found.map_err(|error| CliError::failure(error.to_string()))?;
        sum += found.iter::<f64>().sum::<f64>();
    }
    Ok(sum)
}
