//! Conversations as data, on the command line: how they become texts, and what is learned of them.

use std::path::Path;

use burn_adapters_chat::{ChatTemplate, TrainOn};
use burn_adapters_train::tasks::language::CAUSAL;
use burn_adapters_train::{ChatData, ChatShape, Dataset, PreferenceData, Source, TextForm, TrainTask};
use burn_adapters_transformers::Tokenizer;
use clap::Args;

use super::data::data_error;
use super::model::tokenizer_error;
use super::template::{TemplateArguments, no_template};
use crate::error::{CliError, CliResult};

/// How conversations become texts, and what is learned of them.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct ChatDataArguments {
    #[command(flatten)]
    template: TemplateArguments,

    /// Causal language modeling on conversations or completions: what is learned and scored. `assistant`: the assistant's
    /// turns, or the completion of a prompt. `completion`: the last turn of the assistant only. `all`: every token
    /// [default: assistant].
    #[arg(long, value_name = "assistant|completion|all")]
    loss_on: Option<TrainOn>,
}

impl ChatDataArguments {
    /// The conversations of a file for causal language modeling; `None` if it holds something else. `has_column` is whether
    /// a column of texts is named.
    pub(super) fn read(
        &self,
        source: &Source,
        task: &dyn TrainTask,
        has_column: bool,
        model: &Path,
    ) -> CliResult<Option<Dataset>> {
        if task.form() == TextForm::Preferences {
            return self.preferences(source, model).map(Some);
        }
        let shape = match task == &CAUSAL as &dyn TrainTask && !has_column {
            true => ChatData::shape_of(source).map_err(|error| data_error(&error))?,
            false => None,
        };
        match shape {
            None | Some(ChatShape::Text) => {
                self.check_unused()?;
                Ok(None)
            }
            Some(_) => {
                let tokenizer = Tokenizer::from_dir(model).map_err(|error| tokenizer_error(model, &error))?;
                self.render(&read(source)?, model, &tokenizer).map(Some)
            }
        }
    }

    /// Pairs of answers, of which the answers are learned.
    pub(super) fn preferences(&self, source: &Source, model: &Path) -> CliResult<Dataset> {
        if let Some(on) = self.loss_on {
            let message = format!("--loss-on {}, but of preferences the answers are learned", on.name());
            return Err(CliError::mistake(message).with_help("leave out --loss-on"));
        }
        let data = PreferenceData::from_source(source).map_err(|error| {
            data_error(&error).with_help(
                "--task dpo reads .jsonl files with `prompt`, `chosen` and `rejected`, each a text or a list of messages",
            )
        })?;
        let tokenizer = Tokenizer::from_dir(model).map_err(|error| tokenizer_error(model, &error))?;
        let has_tools = data.pairs.iter().any(|pair| pair.tools.is_some());
        let needs_template = data.pairs.iter().any(|pair| pair.needs_template());
        let template = self.template(needs_template, has_tools, model, &tokenizer)?;
        data.render(template.as_ref(), end_token(&tokenizer).as_deref())
            .map_err(|error| data_error(&error).with_help("--chat-template FILE reads another template"))
    }

    /// The template, if rows need one.
    fn template(
        &self,
        is_needed: bool,
        has_tools: bool,
        model: &Path,
        tokenizer: &Tokenizer,
    ) -> CliResult<Option<ChatTemplate>> {
        if !is_needed {
            return Ok(None);
        }
        self.template.read(model, tokenizer, has_tools)?.ok_or_else(|| no_template(model)).map(Some)
    }

    /// Refuses options that have no effect on texts.
    fn check_unused(&self) -> CliResult {
        let given = match self.loss_on {
            Some(on) if on != TrainOn::All => format!("--loss-on {}", on.name()),
            _ if self.template.is_given() => "--chat-template".to_owned(),
            _ => return Ok(()),
        };
        let message = format!("{given} is for causal language modeling on conversations or completions");
        Err(CliError::mistake(message).with_help(
            "such data are .jsonl files with the keys `messages`, `conversations`, `prompt` and `completion`, or `instruction` \
             and `output`; of texts, all is learned",
        ))
    }

    /// The texts of conversations, with what is learned of each.
    pub(super) fn render(&self, data: &ChatData, model: &Path, tokenizer: &Tokenizer) -> CliResult<Dataset> {
        let has_tools = data.rows.iter().any(|row| row.tools.is_some());
        let needs_template = data.rows.iter().any(|row| row.needs_template());
        let template = self.template(needs_template, has_tools, model, tokenizer)?;
        let on = self.loss_on.unwrap_or(if data.shape == ChatShape::Text { TrainOn::All } else { TrainOn::Assistant });
        let data = data.render(template.as_ref(), on, end_token(tokenizer).as_deref());
        data.map_err(|error| {
            data_error(&error).with_help(
                "--loss-on completion or all learns other parts, and --chat-template FILE reads another template",
            )
        })
    }
}

/// The token that ends a text.
fn end_token(tokenizer: &Tokenizer) -> Option<String> {
    let named = tokenizer.named_special_tokens().into_iter().find(|(name, _)| *name == "eos_token");
    named.map(|(_, token)| token)
}

/// Reads conversations or completions.
pub(super) fn read(source: &Source) -> CliResult<ChatData> {
    ChatData::from_source(source).map_err(|error| data_error(&error))
}
