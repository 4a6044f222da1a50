//! Chat templates.

use std::sync::OnceLock;

use minijinja::{Environment, ErrorKind, Value, context};

use crate::environment::{Raised, environment};
use crate::nesting::held;
use crate::tags::{MARKS, rewritten, unmarked};
use crate::{ChatError, Conversation, Json, Message, Role};

/// The largest template: 1 MiB. Real ones have a few kilobytes.
const MAX_TEMPLATE: usize = 1 << 20;

/// The name of the template in the environment. An ending would switch on escapes.
const NAME: &str = "chat";

/// ChatML, for models that have learned no other form.
const CHATML: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + \
                      '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}\
                      {% endif %}";

/// A chat template: how a model reads a conversation as one text.
///
/// ```
/// use burn_adapters_chat::{ChatTemplate, Conversation, Message, Role, SpecialTokens};
///
/// let source = "{% for m in messages %}[{{ m.role }}] {{ m.content.strip() }}{{ eos_token }}{% endfor %}";
/// let tokens = SpecialTokens::new([("eos_token", "</s>")]);
/// let template = ChatTemplate::parse("example", source, tokens)?;
/// let conversation = Conversation::new([Message::new(Role::User, " Hello ")]);
/// assert_eq!(template.render(&conversation, false)?, "[user] Hello</s>");
/// assert!(ChatTemplate::parse("example", "{% for %}", SpecialTokens::default()).is_err());
/// # Ok::<(), burn_adapters_chat::ChatError>(())
/// ```
#[derive(Debug)]
pub struct ChatTemplate {
    name: String,
    source: String,
    tokens: SpecialTokens,
    variables: Vec<(String, Json)>,
    environment: Environment<'static>,
    /// Whether it marks the assistant's turns.
    has_tags: bool,
    /// Whether it reads contents that are lists of parts.
    reads_parts: OnceLock<bool>,
}

/// The special tokens that templates write, by the names of their variables: `bos_token`, `eos_token`, ….
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SpecialTokens(Vec<(String, String)>);

impl SpecialTokens {
    /// These tokens.
    pub fn new<N: Into<String>, T: Into<String>>(tokens: impl IntoIterator<Item = (N, T)>) -> Self {
        Self(tokens.into_iter().map(|(name, token)| (name.into(), token.into())).collect())
    }

    /// The token of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, token)| token.as_str())
    }
}

/// The time that templates get from `strftime_now`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Clock {
    /// The time of the system, in its zone.
    #[default]
    System,
    /// A fixed time, for texts that are the same every day.
    At {
        /// Seconds since 1970, UTC.
        seconds: i64,
    },
}

impl ChatTemplate {
    /// Parses a template; `name` is where it comes from, for messages.
    ///
    /// # Errors
    /// If it is too large, or not a valid template.
    pub fn parse(name: impl Into<String>, source: &str, tokens: SpecialTokens) -> Result<Self, ChatError> {
        let name = name.into();
        if source.len() > MAX_TEMPLATE {
            return Err(ChatError::TooLarge { name, bytes: source.len(), limit: MAX_TEMPLATE });
        }
        let (text, has_tags) = rewritten(source);
        let mut environment = environment(Clock::System);
        environment.add_template_owned(NAME, held(&text)).map_err(|error| ChatError::Syntax {
            name: name.clone(),
            line: error.line().unwrap_or(1),
            message: error.detail().map_or_else(|| error.kind().to_string(), str::to_owned),
            excerpt: excerpt(source, error.line()),
        })?;
        let (source, variables, reads_parts) = (source.to_owned(), Vec::new(), OnceLock::new());
        Ok(Self { name, source, tokens, variables, environment, has_tags, reads_parts })
    }

    /// ChatML: each message between `<|im_start|>` and `<|im_end|>`.
    pub fn chatml() -> Self {
        match Self::parse("chatml", CHATML, SpecialTokens::default()) {
            Ok(template) => template,
            Err(error) => unreachable!("the built-in template is valid: {error}"),
        }
    }

    /// Sets the time that the template gets.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        let mut environment = environment(clock);
        // It was parsed before.
        let _ = environment.add_template_owned(NAME, held(&rewritten(&self.source).0));
        self.environment = environment;
        self
    }

    /// Sets a variable that the template reads beside the conversation, such as `enable_thinking`.
    #[must_use]
    pub fn with_variable(mut self, name: impl Into<String>, value: Json) -> Self {
        self.variables.push((name.into(), value));
        self
    }

    /// Where it comes from.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text of the template.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it marks the assistant's turns with `{% generation %}`.
    pub fn marks_turns(&self) -> bool {
        self.has_tags
    }

    /// The text of a conversation. With `generation_prompt`, it ends with what stands before an answer of the assistant.
    ///
    /// Contents that are lists of parts become texts, unless the template reads such lists.
    ///
    /// # Errors
    /// If there is no message, the template refuses the conversation or fails, or a limit is reached.
    pub fn render(&self, conversation: &Conversation, generation_prompt: bool) -> Result<String, ChatError> {
        Ok(self.render_marked(conversation, generation_prompt)?.0)
    }

    /// The text, and the byte ranges that the template marks.
    pub(crate) fn render_marked(
        &self,
        conversation: &Conversation,
        generation_prompt: bool,
    ) -> Result<(String, Vec<std::ops::Range<usize>>), ChatError> {
        if conversation.messages.is_empty() {
            return Err(ChatError::Empty);
        }
        let text = self.render_raw(conversation, generation_prompt)?;
        if !self.has_tags {
            return Ok((text, Vec::new()));
        }
        for (index, message) in conversation.messages.iter().enumerate() {
            if MARKS.iter().any(|mark| message.json().contains(*mark)) {
                let problem =
                    "the text has a noncharacter (U+FDD0 or U+FDD1), which no text should have: remove it".into();
                return Err(ChatError::Message { number: Some(index + 1), problem });
            }
        }
        unmarked(&text).map_err(|message| ChatError::Render {
            name: self.name.clone(),
            line: 0,
            message: message.to_owned(),
            excerpt: String::new(),
        })
    }

    fn render_raw(&self, conversation: &Conversation, generation_prompt: bool) -> Result<String, ChatError> {
        let joins = conversation.messages.iter().any(Message::has_parts) && !self.reads_parts();
        let messages: Vec<Value> = (conversation.messages.iter())
            .map(|message| if joins { message.joined().to_template() } else { message.json().to_template() })
            .collect();
        self.render_values(messages, conversation.tools.as_deref(), generation_prompt)
    }

    fn render_values(
        &self,
        messages: Vec<Value>,
        tools: Option<&[Json]>,
        generation_prompt: bool,
    ) -> Result<String, ChatError> {
        let tools = tools.map(|tools| tools.iter().map(Json::to_template).collect::<Vec<_>>());
        let own = context! { messages, tools, documents => (), add_generation_prompt => generation_prompt };
        let tokens = self.tokens.0.iter().map(|(name, token)| (name.as_str(), Value::from(token.as_str())));
        let variables = self.variables.iter().map(|(name, value)| (name.as_str(), value.to_template()));
        let others = Value::from_pairs(tokens.chain(variables));
        let template = self.environment.get_template(NAME).map_err(|error| self.error(&error))?;
        template.render(context! { ..own, ..others }).map_err(|error| self.error(&error))
    }

    /// Whether a content that is a list of parts comes out as its text.
    fn reads_parts(&self) -> bool {
        *self.reads_parts.get_or_init(|| {
            const PROBE: &str = "a text of a part";
            let part = Json::Object(vec![("type".to_owned(), "text".into()), ("text".to_owned(), PROBE.into())]);
            let message = Json::Object(vec![
                ("role".to_owned(), Role::User.name().into()),
                ("content".to_owned(), Json::Array(vec![part])),
            ]);
            let text = self.render_values(vec![message.to_template()], None, false);
            text.is_ok_and(|text| text.contains(PROBE) && !text.contains("'type'") && !text.contains("\"type\""))
        })
    }

    fn error(&self, error: &minijinja::Error) -> ChatError {
        let name = self.name.clone();
        let mut cause = Some(error as &(dyn std::error::Error + 'static));
        let (mut message, mut line) = (String::new(), error.line());
        while let Some(one) = cause {
            if let Some(Raised(message)) = one.downcast_ref::<Raised>() {
                return ChatError::Refused { name, message: message.clone() };
            }
            if let Some(own) = one.downcast_ref::<minijinja::Error>() {
                if own.kind() == ErrorKind::OutOfFuel {
                    return ChatError::Limit { name, line: own.line().or(line).unwrap_or(0) };
                }
                message = match own.detail() {
                    Some(detail) => format!("{}: {detail}", own.kind()),
                    None => own.kind().to_string(),
                };
                line = own.line().or(line);
            }
            cause = one.source();
        }
        ChatError::Render { name, line: line.unwrap_or(0), message, excerpt: excerpt(&self.source, line) }
    }
}

/// A line of the source, shortened.
fn excerpt(source: &str, line: Option<usize>) -> String {
    const MOST: usize = 120;
    let Some(text) = line.and_then(|line| source.lines().nth(line.checked_sub(1)?)) else { return String::new() };
    let text = text.trim();
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

impl Clone for ChatTemplate {
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            source: self.source.clone(),
            tokens: self.tokens.clone(),
            variables: self.variables.clone(),
            environment: self.environment.clone(),
            has_tags: self.has_tags,
            reads_parts: self.reads_parts.clone(),
        }
    }
}
