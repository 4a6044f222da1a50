//! `generate`: texts that continue others.

use std::path::{Path, PathBuf};
use std::time::Instant;

use burn::tensor::Tensor;
use burn_adapters_core::StackKind;
use burn_adapters_generate::{Flow, GenerateError, GenerationOptions, Sampling, Strategy, generate_with, head_logits};
use burn_adapters_model::{BaseModel, Forward, TokenBatch};
use burn_adapters_transformers::{DecodeStream, GenerationConfig};
use clap::Args;
use serde::Serialize;

use super::DeviceArguments;
use super::model::{Model, max_length};
use super::setup::{Loaded, SETUP_HELP, SetupArguments, batch_hooks};
use super::stops::Stops;
use crate::draw;
use crate::error::{CliError, CliResult, chain};
use crate::output;
use crate::progress::Style;

const EXAMPLES: &str = "\
Examples:
  burn-adapters generate --model SmolLM2-135M --text 'The lighthouse keeper' --max-new-tokens 60
  burn-adapters generate --model gpt2 --adapter poems --text 'The sea' --greedy --json
  burn-adapters generate --model t5-small --text 'translate English to German: The house is old.' \\
    --beams 4
  burn-adapters generate --model gpt2 --adapter a=poems --adapter b=news --setup 'Route([a, b])' \\
    --text 'The sea' 'The sea'";

/// Continue texts with a decoder, or answer them with an encoder-decoder, with adapters or without.
///
/// Tokens are drawn at random by their probabilities, unless --greedy or --beams is given or the model's
/// generation_config.json says otherwise. The defaults of most options are in that file.
#[derive(Debug, Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{SETUP_HELP}"))]
pub(super) struct Arguments {
    /// Model folder.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,

    #[command(flatten)]
    adapters: SetupArguments,

    /// Text to continue. Repeat the option or list several texts.
    #[arg(long, value_name = "TEXT", num_args = 1.., required = true)]
    text: Vec<String>,

    /// Largest number of new tokens of a text.
    #[arg(long, value_name = "N", default_value_t = 128)]
    max_new_tokens: usize,

    /// Choose the most probable token each time.
    #[arg(long, conflicts_with_all = ["beams", "temperature", "top_k", "top_p", "min_p", "seed"])]
    greedy: bool,

    /// Search with this many sequences for each text, and give the most probable one.
    #[arg(long, value_name = "N", conflicts_with_all = ["temperature", "top_k", "top_p", "min_p", "seed"])]
    beams: Option<usize>,

    /// Compare the sequences of --beams by their log-probability divided by their length to this power [default: the model's,
    /// or 1].
    #[arg(long, value_name = "POWER", requires = "beams", allow_negative_numbers = true)]
    length_penalty: Option<f64>,

    /// Divide the logits by this: below 1, probable tokens become more probable [default: the model's, or 1].
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    temperature: Option<f64>,

    /// Draw from the N most probable tokens only [default: the model's, or all].
    #[arg(long, value_name = "N")]
    top_k: Option<usize>,

    /// Draw from the most probable tokens whose probabilities add up to P [default: the model's, or all].
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    top_p: Option<f64>,

    /// Draw only from tokens with at least this fraction of the largest probability [default: the model's, or 0].
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    min_p: Option<f64>,

    /// Make tokens that the text already has less probable: above 1 [default: the model's, or 1].
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    repetition_penalty: Option<f64>,

    /// Seed of the random choices; the same seed gives the same text [default: a random one, which is printed].
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// End a text before this string. Repeat the option for several.
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,

    /// Do not end texts at the model's end token.
    #[arg(long)]
    ignore_eos: bool,

    #[command(flatten)]
    device: DeviceArguments,

    /// Print one JSON object per text: text, generated (the new text), ids (the new tokens). Without it, the new text of a
    /// single --text is printed while it is generated.
    #[arg(long)]
    json: bool,
}

/// A line of `--json`.
#[derive(Serialize)]
struct Line<'a> {
    text: &'a str,
    generated: &'a str,
    ids: &'a [u32],
}

impl Arguments {
    pub(super) fn run(self, style: Style) -> CliResult {
        if self.stop.iter().any(String::is_empty) {
            return Err(CliError::mistake("--stop is empty, and every text contains the empty string"));
        }
        let source = self.adapters.composition_if_any()?;
        let device = self.device.open(style)?.device;
        let model = self.device.load(&self.model, &device, style)?;
        let loaded =
            source.map(|source| self.adapters.load_to_predict(Some(source), &model, &device, style)).transpose()?;
        let options = self.options(&model, style)?;
        let prompts = self.prompts(&model)?;
        self.generate(&model, loaded.as_ref(), &prompts, &options, style)
    }

    /// The tokens of the texts.
    fn prompts(&self, model: &Model) -> CliResult<TokenBatch> {
        let encoded = model.tokenizer.encode(&self.text, max_length(model, None)?);
        let encoded = encoded.map_err(|error| CliError::mistake(chain(&error)))?;
        if let Some(row) = encoded.rows.iter().position(|row| row.ids.is_empty()) {
            let message = format!("the text {:?} has no tokens, and there is nothing to continue", self.text[row]);
            return Err(CliError::mistake(message));
        }
        match (encoded.truncated, model.base.spec().stack(StackKind::Encoder)) {
            (0, _) => {}
            (cut, Some(_)) => draw::warning(&format!("{cut} of {} texts are too long and were cut", self.text.len())),
            (cut, None) => {
                let (all, most) = (self.text.len(), max_length(model, None)?);
                let message = format!("{cut} of {all} texts have more than {most} tokens, which the model cannot read");
                return Err(CliError::mistake(message).with_help("shorten them"));
            }
        }
        Ok(TokenBatch::from_rows(&encoded.rows))
    }

    fn options(&self, model: &Model, style: Style) -> CliResult<GenerationOptions> {
        let own = read_settings(&self.model, style)?;
        let samples = [self.temperature, self.top_p, self.min_p].iter().any(Option::is_some)
            || self.top_k.is_some()
            || self.seed.is_some();
        let beams = self
            .beams
            .or(own.beams.filter(|count| *count > 1 && !samples && !self.greedy && own.is_sampled != Some(true)));
        let is_greedy = self.greedy || (own.is_sampled == Some(false) && !samples);
        let mut options = match (beams, is_greedy) {
            (Some(count), _) => {
                let length_penalty = self.length_penalty.or(own.length_penalty).unwrap_or(1.0);
                GenerationOptions::beams(count).with_strategy(Strategy::Beams { count, length_penalty })
            }
            (None, true) => GenerationOptions::greedy(),
            (None, false) => {
                let seed = self.seed.unwrap_or_else(|| {
                    let seed = Sampling::random_seed();
                    style.say(format_args!("--seed {seed}"));
                    seed
                });
                GenerationOptions::sample(Sampling {
                    temperature: self.temperature.or(own.temperature).unwrap_or(1.0),
                    top_k: self.top_k.or(own.top_k).unwrap_or(0),
                    top_p: self.top_p.or(own.top_p).unwrap_or(1.0),
                    min_p: self.min_p.or(own.min_p).unwrap_or(0.0),
                    seed,
                })
            }
        };
        // As in Transformers, only a decoder with an encoder has a forced first token.
        let first_id = own.first_id.filter(|_| model.base.spec().stack(StackKind::Encoder).is_some());
        options = options.with_max_new_tokens(self.max_new_tokens).with_first_id(first_id);
        options = options.with_repetition_penalty(self.repetition_penalty.or(own.repetition_penalty).unwrap_or(1.0));
        if self.ignore_eos {
            return Ok(options);
        }
        let end_ids = end_ids(model, &own);
        if end_ids.is_empty() {
            style.say(format_args!(
                "note: the model names no end token, so each text has {} new tokens",
                self.max_new_tokens
            ));
        }
        Ok(options.with_end_ids(end_ids))
    }

    fn generate(
        &self,
        model: &Model,
        loaded: Option<&Loaded>,
        prompts: &TokenBatch,
        options: &GenerationOptions,
        style: Style,
    ) -> CliResult {
        let setup = loaded.map(|loaded| loaded.setup(None));
        let used = loaded.zip(setup.as_ref());
        let hooks = batch_hooks(used, prompts)?;
        let logits = |states: Tensor<2>| match used {
            Some((loaded, setup)) => head_logits(&model.base, &loaded.bank, setup, states),
            None => Ok(model.base.token_logits(states)?),
        };
        let streams = !self.json && self.text.len() == 1;
        let mut rows: Vec<Growing<'_>> = self.text.iter().map(|_| Growing::new(model, &self.stop)).collect();
        let mut failed = None;
        let start = Instant::now();
        let mut on_token = |row: usize, token: u32| match rows[row].push(token) {
            Ok((piece, flow)) => {
                let written = if streams { output::piece(&piece) } else { Ok(()) };
                match written {
                    Ok(()) => flow,
                    Err(error) => {
                        failed.get_or_insert(error);
                        Flow::Stop
                    }
                }
            }
            Err(error) => {
                failed.get_or_insert(error);
                Flow::Stop
            }
        };
        let generated = generate_with(&model.base, &hooks, prompts, &logits, options, &mut on_token);
        let generated = generated.map_err(|error| generate_error(&error))?;
        if let Some(error) = failed {
            return Err(error);
        }
        let seconds = start.elapsed().as_secs_f64();
        for ((text, row), generated) in self.text.iter().zip(rows).zip(&generated) {
            let (whole, rest) = row.finish()?;
            match (self.json, streams) {
                (true, _) => output::json_line(&Line { text, generated: &whole, ids: &generated.ids })?,
                (false, true) => output::line(rest)?,
                (false, false) => output::line(whole)?,
            }
        }
        let tokens: usize = generated.iter().map(|one| one.ids.len()).sum();
        style.say(format_args!("{tokens} new tokens in {seconds:.1} s ({:.1} a second)", tokens as f64 / seconds));
        Ok(())
    }
}

/// The model's settings; tells which of them are not used.
pub(super) fn read_settings(model: &Path, style: Style) -> CliResult<GenerationConfig> {
    let own = GenerationConfig::from_dir(model).map_err(|error| CliError::mistake(chain(&error)))?;
    if !own.unsupported.is_empty() {
        let keys = own.unsupported.join(", ");
        style.say(format_args!("note: these settings of the model's generation_config.json are not used: {keys}"));
    }
    Ok(own)
}

/// The tokens that end a text.
pub(super) fn end_ids(model: &Model, own: &GenerationConfig) -> Vec<u32> {
    match own.end_ids.as_slice() {
        [] => Vec::from_iter(model.tokenizer.special_ids().eos),
        ids => ids.to_vec(),
    }
}

/// The new text of a row.
struct Growing<'m> {
    stream: Option<DecodeStream<'m>>,
    stops: Stops,
}

impl<'m> Growing<'m> {
    fn new(model: &'m Model, stops: &[String]) -> Self {
        Self { stream: Some(model.tokenizer.decode_stream(true)), stops: Stops::new(stops) }
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
