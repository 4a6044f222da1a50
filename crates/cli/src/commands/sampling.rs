//! How tokens are chosen, and where a text ends: the options of `generate` and `chat`.

use std::path::Path;

use burn_adapters_core::StackKind;
use burn_adapters_generate::{GenerationOptions, Sampling, Strategy};
use burn_adapters_model::BaseModel;
use burn_adapters_transformers::GenerationConfig;
use clap::Args;

use super::model::Model;
use crate::error::{CliError, CliResult, chain};
use crate::progress::Style;

/// How tokens are chosen, and where a text ends.
#[derive(Debug, Clone, Args)]
pub(super) struct SamplingArguments {
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
    pub(super) stop: Vec<String>,

    /// Do not end texts at the model's end token.
    #[arg(long)]
    ignore_eos: bool,
}

impl SamplingArguments {
    /// The most probable token each time.
    pub(super) fn greedy(max_new_tokens: usize) -> Self {
        Self {
            max_new_tokens,
            greedy: true,
            beams: None,
            length_penalty: None,
            temperature: None,
            top_k: None,
            top_p: None,
            min_p: None,
            repetition_penalty: None,
            seed: None,
            stop: Vec::new(),
            ignore_eos: false,
        }
    }

    /// Refuses what cannot be meant, before a model is loaded.
    pub(super) fn check(&self) -> CliResult {
        if self.stop.iter().any(String::is_empty) {
            return Err(CliError::mistake("--stop is empty, and every text contains the empty string"));
        }
        Ok(())
    }

    /// The options for a model, whose files are in `dir`. Texts also end with the tokens of `turn_ends`.
    ///
    /// # Errors
    /// If the model's settings cannot be read, or --stop is empty.
    pub(super) fn options(
        &self,
        model: &Model,
        dir: &Path,
        turn_ends: &[u32],
        style: Style,
    ) -> CliResult<GenerationOptions> {
        self.check()?;
        let own = read_settings(dir, style)?;
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
        let mut end_ids = end_ids(model, &own);
        end_ids.extend(turn_ends.iter().filter(|id| !own.end_ids.contains(id)));
        end_ids.sort_unstable();
        end_ids.dedup();
        if end_ids.is_empty() {
            style.say(format_args!(
                "note: the model names no end token, so each text has {} new tokens",
                self.max_new_tokens
            ));
        }
        Ok(options.with_end_ids(end_ids))
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
