//! `chat`: a conversation in the terminal.

use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;

use burn::tensor::Device;
use burn_adapters_chat::{ChatTemplate, Conversation, Message, Role};
use burn_adapters_core::StackKind;
use burn_adapters_generate::{GenerationOptions, Sampling, StopReason, Strategy};
use burn_adapters_model::{BaseModel, Forward, TokenBatch};
use clap::Args;

use super::DeviceArguments;
use super::continuing::{NewText, continue_prompts};
use super::model::Model;
use super::sampling::SamplingArguments;
use super::setup::{Loaded, SetupArguments, SetupSource};
use super::template::{TemplateArguments, prompt, turn_ends};
use crate::draw;
use crate::error::{CliError, CliResult, Kind};
use crate::output::{self, shown};
use crate::progress::Style;

/// The longest line of input: 16 MiB.
const MAX_LINE: u64 = 16 << 20;

const COMMANDS: &str = "\
/adapter NAME   answer with this adapter from now on
/none           answer with the model alone
/reset          forget the conversation
/help           show this
/quit           end (or end the input)
//text          say a text that begins with a slash";

const EXAMPLES: &str = "\
Examples:
  burn-adapters chat --model SmolLM2-135M-Instruct.gguf
  burn-adapters chat --model SmolLM2-135M-Instruct --adapter poems=out --adapter news=other --system 'Be brief.'
  echo 'What is the capital of France?' | burn-adapters chat --model SmolLM2-135M-Instruct --greedy -q";

/// Talk with a chat model, with adapters or without. Each line of the input is a turn of the user; a line that begins with a
/// slash is a command.
///
/// The first --adapter answers until another is chosen. If the input is not a terminal, answers alone are printed, and the
/// first error ends the program.
#[derive(Debug, Args)]
#[command(after_help = format!("Commands in the conversation:\n{COMMANDS}\n\n{EXAMPLES}"))]
pub(super) struct Arguments {
    /// Model: a folder, or a GGUF file.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,

    /// Adapter folder. Repeat the option for several adapters, among which `/adapter NAME` chooses. The adapter's name is the
    /// one in its adapter_config.json, or NAME.
    #[arg(long, value_name = "[NAME=]DIR")]
    adapter: Vec<String>,

    /// System message that stands before the conversation.
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,

    #[command(flatten)]
    template: TemplateArguments,

    #[command(flatten)]
    sampling: SamplingArguments,

    #[command(flatten)]
    device: DeviceArguments,
}

impl Arguments {
    pub(super) fn run(self, style: Style) -> CliResult {
        self.sampling.check()?;
        let template = self.template.needed(&self.model, false)?;
        let device = self.device.open(style)?.device;
        let model = self.device.load(&self.model, &device, style)?;
        let spec = model.base.spec();
        if spec.stack(StackKind::Decoder).is_none() || spec.stack(StackKind::Encoder).is_some() {
            let message = format!("a conversation needs a decoder, but the model is of type {}", spec.model_type);
            return Err(CliError::mistake(message));
        }
        let adapters = self.adapters(&model, &device, style)?;
        let ends = turn_ends(&model.tokenizer, &template);
        let options = self.sampling.options(&model, &self.model, &ends, style)?;
        let mut chat = Chat {
            model: &model,
            template: &template,
            current: (!adapters.is_empty()).then_some(0),
            adapters,
            system: self.system.as_deref(),
            options,
            stops: &self.sampling.stop,
            conversation: Conversation::default(),
            turns: 0,
        };
        chat.reset();
        chat.talk(style)
    }

    /// The adapters, each ready to answer alone.
    fn adapters(&self, model: &Model, device: &Device, style: Style) -> CliResult<Vec<(String, Loaded)>> {
        let mut adapters: Vec<(String, Loaded)> = Vec::new();
        for text in &self.adapter {
            let one = SetupArguments {
                adapter: vec![text.clone()],
                setup: None,
                fusion: Vec::new(),
                head: Vec::new(),
                skip_layers: Vec::new(),
            };
            let loaded = one.load_to_predict(Some(SetupSource::Single), model, device, style)?;
            let name = loaded.folders.first().map(|(name, _)| name.clone()).unwrap_or_default();
            if adapters.iter().any(|(other, _)| *other == name) {
                return Err(CliError::mistake(format!("two adapters are called `{name}`"))
                    .with_help("NAME=DIR instead of DIR renames one of them"));
            }
            adapters.push((name, loaded));
        }
        if model.base.has_token_logits() || !adapters.is_empty() {
            return Ok(adapters);
        }
        Err(CliError::mistake(format!("{} has no output layer of its own, so it predicts no tokens", model.name))
            .with_help("the files of a base model lack that layer: use those of the language model"))
    }
}

/// A conversation.
struct Chat<'c> {
    model: &'c Model,
    template: &'c ChatTemplate,
    adapters: Vec<(String, Loaded)>,
    /// The adapter that answers; `None` for the model alone.
    current: Option<usize>,
    system: Option<&'c str>,
    options: GenerationOptions,
    stops: &'c [String],
    conversation: Conversation,
    /// The number of answers, so that each is drawn anew.
    turns: u64,
}

impl Chat<'_> {
    /// Reads lines until the input or the user ends the conversation.
    fn talk(&mut self, style: Style) -> CliResult {
        let stdin = std::io::stdin();
        let is_terminal = stdin.is_terminal();
        if let Some((name, _)) = self.current.and_then(|current| self.adapters.get(current)) {
            style.say(format_args!("the adapter `{}` answers", shown(name)));
        }
        if is_terminal {
            style.say("/help lists the commands, /quit ends the conversation");
        }
        let mut input = stdin.lock();
        loop {
            if is_terminal {
                output::piece("> ")?;
            }
            let Some(line) = read_line(&mut input)? else { return Ok(()) };
            let done = self.line(line.trim(), style);
            match done {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                // A mistake in a line does not end what is said in a terminal.
                Err(error) if is_terminal && error.kind == Kind::Mistake => draw::print(&error),
                Err(error) => return Err(error),
            }
        }
    }

    /// A line of the input: whether it ends the conversation.
    fn line(&mut self, line: &str, style: Style) -> CliResult<bool> {
        let text = match line.strip_prefix('/') {
            _ if line.is_empty() => return Ok(false),
            None => line,
            Some(rest) if rest.starts_with('/') => rest,
            Some(command) => return self.command(command, style),
        };
        self.answer(text)?;
        Ok(false)
    }

    fn command(&mut self, command: &str, style: Style) -> CliResult<bool> {
        let (name, argument) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        match (name, argument.trim()) {
            ("quit" | "exit", "") => return Ok(true),
            ("reset", "") => {
                self.reset();
                style.say("the conversation begins anew");
            }
            ("help", "") => output::line(COMMANDS)?,
            ("none", "") => {
                if !self.model.base.has_token_logits() {
                    let message = format!("{} alone has no output layer, so it predicts no tokens", self.model.name);
                    return Err(CliError::mistake(message));
                }
                self.current = None;
                style.say("the model alone answers");
            }
            ("adapter", name) if !name.is_empty() => {
                let Some(found) = self.adapters.iter().position(|(known, _)| known == name) else {
                    return Err(self.unknown_adapter(name));
                };
                self.current = Some(found);
                style.say(format_args!("the adapter `{}` answers", shown(name)));
            }
            ("adapter", _) => return Err(self.unknown_adapter("")),
            _ => {
                let message = format!("unknown command `/{}`", shown(command));
                return Err(CliError::mistake(message)
                    .with_help("/help lists the commands; `//` begins a text that begins with a slash"));
            }
        }
        Ok(false)
    }

    fn unknown_adapter(&self, name: &str) -> CliError {
        let known: Vec<String> = self.adapters.iter().map(|(known, _)| format!("`{}`", shown(known))).collect();
        let loaded =
            if known.is_empty() { "none is loaded".to_owned() } else { format!("loaded are {}", known.join(", ")) };
        let message = match name {
            "" => format!("/adapter needs the name of an adapter: {loaded}"),
            name => format!("there is no adapter `{}`: {loaded}", shown(name)),
        };
        CliError::mistake(message).with_help("--adapter NAME=DIR loads one when the program starts")
    }

    fn reset(&mut self) {
        self.conversation = Conversation::new(self.system.iter().map(|system| Message::new(Role::System, *system)));
    }

    /// Says something, and prints the answer while it grows. If that fails, the conversation is as before.
    fn answer(&mut self, text: &str) -> CliResult {
        let asked = self.conversation.clone().with(Message::new(Role::User, text));
        let row = prompt(self.model, self.template, &asked).map_err(|error| match error.kind {
            Kind::Mistake if self.conversation.messages.len() > 1 => error.with_help("/reset forgets the conversation"),
            _ => error,
        })?;
        let mut options = self.options.clone();
        if let Strategy::Sample(sampling) = options.strategy {
            let seed = sampling.seed.wrapping_add(self.turns);
            options = options.with_strategy(Strategy::Sample(Sampling { seed, ..sampling }));
        }
        self.turns += 1;
        let setup = self.current.map(|current| self.adapters[current].1.setup(None));
        let used = self.current.map(|current| &self.adapters[current].1).zip(setup.as_ref());
        let prompts = (&TokenBatch::from_rows([&row]), NewText::Own);
        let mut on_piece = |_: usize, piece: &str| output::piece(piece);
        let mut continued = continue_prompts(self.model, used, prompts, &options, self.stops, &mut on_piece)?;
        let Some(answer) = continued.pop() else { return Ok(()) };
        output::line(&answer.rest)?;
        match answer.generated.stopped {
            StopReason::MaxNewTokens => {
                draw::warning("the answer was cut at --max-new-tokens");
            }
            StopReason::MaxLength => {
                draw::warning(
                    "the answer was cut: the conversation is as long as the model can read; /reset forgets it",
                );
            }
            StopReason::End | StopReason::Caller => {}
        }
        self.conversation = asked.with(Message::new(Role::Assistant, answer.text));
        Ok(())
    }
}

/// The next line of the input; `None` at its end.
fn read_line(input: &mut impl BufRead) -> CliResult<Option<String>> {
    let mut bytes = Vec::new();
    let failed = |error: std::io::Error| CliError::failure(format!("cannot read standard input: {error}"));
    std::io::Read::take(&mut *input, MAX_LINE + 1).read_until(b'\n', &mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_LINE {
        return Err(CliError::mistake(format!("a line of the input is longer than {} MiB", MAX_LINE >> 20)));
    }
    if bytes.is_empty() {
        return Ok(None);
    }
    String::from_utf8(bytes).map(Some).map_err(|_| CliError::mistake("a line of the input is not valid UTF-8"))
}
