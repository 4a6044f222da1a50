//! `generate`: texts that continue others.

use std::path::PathBuf;
use std::time::Instant;

use burn_adapters_chat::{ChatTemplate, Conversation, Message, Role};
use burn_adapters_core::StackKind;
use burn_adapters_generate::GenerationOptions;
use burn_adapters_model::{BaseModel, TokenBatch};
use clap::Args;
use serde::Serialize;

use super::DeviceArguments;
use super::continuing::{Continued, NewText, continue_prompts};
use super::model::{Model, max_length};
use super::sampling::SamplingArguments;
use super::setup::{Loaded, SETUP_HELP, SetupArguments};
use super::template::{TemplateArguments, prompt, turn_ends};
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
    --text 'The sea' 'The sea'
  burn-adapters generate --model SmolLM2-135M-Instruct.gguf --chat --text 'What is the capital of France?'";

/// Continue texts with a decoder, or answer them with an encoder-decoder, with adapters or without.
///
/// Tokens are drawn at random by their probabilities, unless --greedy or --beams is given or the model's
/// generation_config.json says otherwise. The defaults of most options are in that file.
#[derive(Debug, Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{SETUP_HELP}"))]
pub(super) struct Arguments {
    /// Model: a folder, or a GGUF file.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,

    #[command(flatten)]
    adapters: SetupArguments,

    /// Text to continue. Repeat the option or list several texts.
    #[arg(long, value_name = "TEXT", num_args = 1.., required = true)]
    text: Vec<String>,

    #[command(flatten)]
    sampling: SamplingArguments,

    /// Apply the model's chat template: each text is what a user says, and the new text is the answer.
    #[arg(long)]
    chat: bool,

    /// With --chat, the system message that stands before the text.
    #[arg(long, value_name = "TEXT", requires = "chat")]
    system: Option<String>,

    #[command(flatten)]
    template: TemplateArguments,

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
        self.sampling.check()?;
        let source = self.adapters.composition_if_any()?;
        let template = self.chat.then(|| self.template.needed(&self.model, false)).transpose()?;
        if template.is_none() && self.template.is_given() {
            return Err(
                CliError::mistake("--chat-template is for conversations").with_help("--chat makes each text one")
            );
        }
        let device = self.device.open(style)?.device;
        let model = self.device.load(&self.model, &device, style)?;
        let loaded =
            source.map(|source| self.adapters.load_to_predict(Some(source), &model, &device, style)).transpose()?;
        let ends = template.as_ref().map(|template| turn_ends(&model.tokenizer, template)).unwrap_or_default();
        let options = self.sampling.options(&model, &self.model, &ends, style)?;
        let prompts = match &template {
            Some(template) => self.questions(&model, template)?,
            None => self.prompts(&model)?,
        };
        self.generate(&model, loaded.as_ref(), &prompts, &options, style)
    }

    /// The tokens of the texts as turns of a user.
    fn questions(&self, model: &Model, template: &ChatTemplate) -> CliResult<TokenBatch> {
        let system = self.system.iter().map(|system| Message::new(Role::System, system));
        let prompt = |text: &String| {
            let question = Message::new(Role::User, text);
            prompt(model, template, &Conversation::new(system.clone().chain([question])))
        };
        Ok(TokenBatch::from_rows(&self.text.iter().map(prompt).collect::<CliResult<Vec<_>>>()?))
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

    fn generate(
        &self,
        model: &Model,
        loaded: Option<&Loaded>,
        prompts: &TokenBatch,
        options: &GenerationOptions,
        style: Style,
    ) -> CliResult {
        let setup = loaded.map(|loaded| loaded.setup(None));
        let streams = !self.json && self.text.len() == 1;
        let mut on_piece = |_: usize, piece: &str| if streams { output::piece(piece) } else { Ok(()) };
        let (start, stops) = (Instant::now(), &self.sampling.stop);
        let used = loaded.zip(setup.as_ref());
        let is_own = self.chat || model.base.spec().stack(StackKind::Encoder).is_some();
        let new = if is_own { NewText::Own } else { NewText::Continues };
        let continued = continue_prompts(model, used, (prompts, new), options, stops, &mut on_piece)?;
        let seconds = start.elapsed().as_secs_f64();
        let tokens: usize = continued.iter().map(|one| one.generated.ids.len()).sum();
        for (text, Continued { text: whole, rest, generated }) in self.text.iter().zip(&continued) {
            match (self.json, streams) {
                (true, _) => output::json_line(&Line { text, generated: whole, ids: &generated.ids })?,
                (false, true) => output::line(rest)?,
                (false, false) => output::line(whole)?,
            }
        }
        style.say(format_args!("{tokens} new tokens in {seconds:.1} s ({:.1} a second)", tokens as f64 / seconds));
        Ok(())
    }
}
