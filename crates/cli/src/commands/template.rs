//! The chat template of a model, on the command line.

use std::path::Path;

use burn_adapters_chat::{ChatError, ChatTemplate, Conversation, Message, Role, SpecialTokens};
use burn_adapters_files::{MAX_TEXT, read_text};
use burn_adapters_model::Row;
use burn_adapters_transformers::{ModelChatTemplate, Tokenizer, TokenizerError};
use clap::Args;

use super::model::{Model, tokenizer_error};
use crate::error::{CliError, CliResult, chain};
use crate::output::shown;

/// What to do without a template, or with a broken one.
const HELP: &str = "--chat-template FILE reads a template (Jinja) from a file, and --chat-template chatml uses ChatML";

/// Which chat template is used.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct TemplateArguments {
    /// Chat template, which turns a conversation into a text: a file with a Jinja template, the name of one of the model's
    /// templates, or `chatml` [default: the model's].
    #[arg(long, value_name = "FILE|NAME|chatml")]
    chat_template: Option<String>,
}

impl TemplateArguments {
    /// Whether a template is requested.
    pub(super) fn is_given(&self) -> bool {
        self.chat_template.is_some()
    }

    /// The template, which there must be.
    pub(super) fn needed(&self, model: &Path, has_tools: bool) -> CliResult<ChatTemplate> {
        let tokenizer = Tokenizer::from_dir(model).map_err(|error| tokenizer_error(model, &error))?;
        self.read(model, &tokenizer, has_tools)?.ok_or_else(|| no_template(model))
    }

    /// The template, if the model has one or one is requested. With tools, it is that for tools if the model has one.
    pub(super) fn read(&self, model: &Path, tokenizer: &Tokenizer, has_tools: bool) -> CliResult<Option<ChatTemplate>> {
        let tokens = SpecialTokens::new(tokenizer.named_special_tokens());
        let parse = |name: String, source: &str| {
            ChatTemplate::parse(name, source, tokens.clone()).map(Some).map_err(|error| template_error(&error))
        };
        let own = |error: &TokenizerError| CliError::mistake(chain(error)).with_help(HELP);
        let Some(given) = &self.chat_template else {
            let templates = ModelChatTemplate::all(model).map_err(|error| own(&error))?;
            let Some(chosen) = ModelChatTemplate::choose(&templates, has_tools) else {
                if templates.is_empty() {
                    return Ok(None);
                }
                let message = format!("{} has several chat templates, but none is the default one", model.display());
                return Err(CliError::mistake(message).with_help(format!(
                    "--chat-template names one of {}",
                    templates.iter().map(|one| shown(&one.name)).collect::<Vec<_>>().join(", ")
                )));
            };
            return parse(chosen.file.display().to_string(), &chosen.source);
        };
        if given == "chatml" {
            return Ok(Some(ChatTemplate::chatml()));
        }
        let file = Path::new(given);
        if !file.exists() {
            let templates = ModelChatTemplate::all(model).map_err(|error| own(&error))?;
            if let Some(named) = templates.iter().find(|template| template.name == *given) {
                return parse(format!("{} ({given})", named.file.display()), &named.source);
            }
            let names: Vec<String> = templates.iter().map(|template| format!("`{}`", shown(&template.name))).collect();
            let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            let message =
                format!("--chat-template {given} is neither a file nor a template of the model, which has {names}");
            return Err(CliError::mistake(message).with_help(HELP));
        }
        let source = read_text(file, MAX_TEXT).map_err(CliError::file)?;
        parse(file.display().to_string(), &source)
    }
}

/// The error for a model without a template.
pub(super) fn no_template(model: &Path) -> CliError {
    let message = format!("{} has no chat template, so it is not known how it reads a conversation", model.display());
    CliError::mistake(message).with_help(HELP)
}

/// A template or a conversation that cannot be used.
pub(super) fn template_error(error: &ChatError) -> CliError {
    let mistake = CliError::mistake(chain(error));
    match error {
        ChatError::Syntax { .. } | ChatError::TooLarge { .. } | ChatError::Limit { .. } | ChatError::Render { .. } => {
            mistake.with_help(HELP)
        }
        _ => mistake,
    }
}

/// The tokens of a conversation, up to an answer of the assistant.
pub(super) fn prompt(model: &Model, template: &ChatTemplate, conversation: &Conversation) -> CliResult<Row> {
    let text = template.render(conversation, true).map_err(|error| template_error(&error))?;
    let most = model.tokenizer.model_limit();
    let encoded = model.tokenizer.encode_bare(&text, usize::MAX).map_err(|error| CliError::mistake(chain(&error)))?;
    if encoded.truncated {
        let message = format!("the conversation has more than {most} tokens, which the model cannot read");
        return Err(CliError::mistake(message).with_help("shorten it"));
    }
    if encoded.row.ids.is_empty() {
        return Err(CliError::mistake("the chat template gives an empty text, so there is nothing to continue"));
    }
    Ok(encoded.row)
}

/// The special token that the template puts after an answer: it ends a turn, though not always a text.
pub(super) fn turn_ends(tokenizer: &Tokenizer, template: &ChatTemplate) -> Vec<u32> {
    const ANSWER: &str = "An answer";
    let example = [Message::new(Role::User, "A question"), Message::new(Role::Assistant, ANSWER)];
    let Ok(text) = template.render(&Conversation::new(example), false) else { return Vec::new() };
    let Some((_, rest)) = text.rsplit_once(ANSWER) else { return Vec::new() };
    let encoded = tokenizer.encode_bare(rest.trim_start(), 8);
    let first = encoded.ok().and_then(|encoded| encoded.row.ids.first().copied());
    first.filter(|id| tokenizer.is_special(*id)).into_iter().collect()
}
