//! `score`: how probable texts are for a language model.

use std::path::PathBuf;

use burn_adapters_core::StackKind;
use burn_adapters_model::{BaseModel, Row};
use burn_adapters_train::TokenData;
use clap::Args;
use serde::Serialize;

use super::DeviceArguments;
use super::answers::values;
use super::model::{Model, max_length, train_error};
use super::setup::{SETUP_HELP, SetupArguments};
use crate::draw;
use crate::error::{CliError, CliResult, chain};
use crate::output;
use crate::progress::Style;

const EXAMPLES: &str = "\
Examples:
  burn-adapters score --model SmolLM2-135M --text 'The sea is blue.' 'The sea are blue.'
  burn-adapters score --model gpt2 --adapter poems --text 'The sea' --json
  burn-adapters score --model t5-small --text 'translate English to German: Yes.' --target 'Ja.'";

/// Print the log-likelihood and the perplexity of texts for a language model, with adapters or without.
///
/// A decoder scores every token of --text but the first, given those before it. An encoder-decoder scores every token of
/// --target, given --text.
#[derive(Debug, Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{SETUP_HELP}"))]
pub(super) struct Arguments {
    /// Model folder.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,

    #[command(flatten)]
    adapters: SetupArguments,

    /// Text to score, or with an encoder-decoder the text that --target is scored for. Repeat the option or list several
    /// texts.
    #[arg(long, value_name = "TEXT", num_args = 1.., required = true)]
    text: Vec<String>,

    /// Text to score with an encoder-decoder. Give one for each --text, in the same order.
    #[arg(long, value_name = "TEXT", num_args = 1..)]
    target: Vec<String>,

    #[command(flatten)]
    device: DeviceArguments,

    /// Print one JSON object per text: text, target (with an encoder-decoder), tokens (the number of tokens that are scored),
    /// log_likelihood (the sum of their natural logarithms), perplexity.
    #[arg(long)]
    json: bool,
}

/// A line of `--json`.
#[derive(Serialize)]
struct Line<'a> {
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a str>,
    tokens: usize,
    log_likelihood: f64,
    perplexity: f64,
}

/// The number of texts that are scored together.
const BATCH_SIZE: usize = 16;

impl Arguments {
    pub(super) fn run(self, style: Style) -> CliResult {
        let source = self.adapters.composition_if_any()?;
        let device = self.device.open(style)?.device;
        let model = self.device.load(&self.model, &device, style)?;
        let tokens = self.tokens(&model)?;
        let loaded = self.adapters.load_to_predict(source, &model, &device, style)?;
        if loaded.branches() > 1 {
            return Err(CliError::mistake("score takes no Parallel in --setup: score with each branch alone"));
        }
        let batches = loaded.batches(&tokens, None, BATCH_SIZE)?;
        let scored = values(&model, &loaded.bank, (&tokens, 0), &batches, &mut |_| {})?;
        for (row, heads) in scored.into_iter().enumerate() {
            let text = &self.text[row];
            let Some(values) = heads.first().map(|head| head.values.as_slice()) else {
                return Err(CliError::mistake(format!("no adapter is for the text {text:?}")));
            };
            let log_likelihood: f64 = values.iter().step_by(2).map(|value| f64::from(*value)).sum();
            let tokens = values.len() / 2;
            let perplexity = (-log_likelihood / tokens as f64).exp();
            let target = self.target.get(row).map(String::as_str);
            if self.json {
                output::json_line(&Line { text, target, tokens, log_likelihood, perplexity })?;
            } else {
                let shown = output::shown(target.unwrap_or(text));
                output::line(format!("{log_likelihood:.4}  perplexity {perplexity:.4}  {shown}"))?;
            }
        }
        Ok(())
    }

    /// The rows, with the tokens that are scored.
    fn tokens(&self, model: &Model) -> CliResult<TokenData> {
        let spec = model.base.spec();
        let rows = encode(model, &self.text)?;
        let data = TokenData::new("--text", rows, None).map_err(|error| train_error(&error))?;
        match (spec.stack(StackKind::Encoder).is_some(), spec.stack(StackKind::Decoder).is_some()) {
            (true, true) if self.target.len() != self.text.len() => {
                let message = format!("{} texts in --text, but {} in --target", self.text.len(), self.target.len());
                Err(CliError::mistake(message)
                    .with_help("an encoder-decoder scores a target for each text: give as many of both"))
            }
            (true, true) => data.predicting(encode(model, &self.target)?).map_err(|error| train_error(&error)),
            (false, true) if !self.target.is_empty() => {
                let message = format!("--target is for encoder-decoders, but the model is of type {}", spec.model_type);
                Err(CliError::mistake(message).with_help("a decoder scores --text alone"))
            }
            (false, true) => {
                if let Some(row) = data.rows().iter().position(|row| row.ids.len() < 2) {
                    return Err(CliError::mistake(format!(
                        "the text {:?} has fewer than two tokens, and the first is not scored",
                        self.text[row]
                    )));
                }
                data.predicting_next().map_err(|error| train_error(&error))
            }
            _ => Err(CliError::mistake(format!(
                "score takes a decoder or an encoder-decoder, but the model is of type {}",
                spec.model_type
            ))),
        }
    }
}

/// The tokens of texts; those that are too long are cut.
fn encode(model: &Model, texts: &[String]) -> CliResult<Vec<Row>> {
    let encoded = model.tokenizer.encode(texts, max_length(model, None)?);
    let encoded = encoded.map_err(|error| CliError::mistake(chain(&error)))?;
    if let Some(row) = encoded.rows.iter().position(|row| row.ids.is_empty()) {
        return Err(CliError::mistake(format!("the text {:?} has no tokens", texts[row])));
    }
    if encoded.truncated > 0 {
        draw::warning(&format!("{} of {} texts are too long and were cut", encoded.truncated, texts.len()));
    }
    Ok(encoded.rows)
}
