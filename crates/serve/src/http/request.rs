//! Requests: their bodies, limited in size and time and strict about what they hold, and the members that requests for texts
//! have in common.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, Request};
use burn_adapters_diagnostics::nearest;
use burn_adapters_generate::{GenerationOptions, Sampling};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{App, Shared};
use crate::error::ApiError;

/// The most continuations of a prompt, and the most prompts of a request.
const MAX_TEXTS: usize = 128;
const MAX_STOPS: usize = 16;
const MAX_STOP_BYTES: usize = 1024;

/// Sampling, and where a text ends.
#[derive(Debug, Deserialize)]
pub(super) struct Common {
    pub(super) model: String,
    max_tokens: Option<usize>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    top_k: Option<i64>,
    min_p: Option<f64>,
    repetition_penalty: Option<f64>,
    seed: Option<i64>,
    stop: Option<OneOrMany>,
    n: Option<usize>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    ignore_eos: Option<bool>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    pub(super) fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(text) => vec![text],
            Self::Many(texts) => texts,
        }
    }
}

/// Members that change nothing here.
const IGNORED: [&str; 7] =
    ["user", "store", "metadata", "service_tier", "parallel_tool_calls", "safety_identifier", "prompt_cache_key"];

/// Members that would change the answer: only the value that does not is taken.
const NOT_SUPPORTED: [&str; 14] = [
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "best_of",
    "echo",
    "suffix",
    "tools",
    "tool_choice",
    "functions",
    "function_call",
    "response_format",
    "modalities",
    "audio",
    "reasoning_effort",
];

const KNOWN: [&str; 17] = [
    "model",
    "prompt",
    "messages",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "seed",
    "stop",
    "n",
    "stream",
    "stream_options",
    "logprobs",
    "top_logprobs",
];

/// Whether a member that is not supported has the value that changes nothing.
fn is_neutral(name: &str, value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_f64() == Some(if name == "best_of" { 1.0 } else { 0.0 }),
        Value::String(text) => text.is_empty() || (name == "tool_choice" && matches!(text.as_str(), "none" | "auto")),
        Value::Array(items) => items.is_empty() || (name == "modalities" && *items == ["text"]),
        Value::Object(object) => {
            object.is_empty() || (name == "response_format" && object.get("type").is_some_and(|kind| kind == "text"))
        }
        Value::Bool(true) => false,
    }
}

/// How texts of a request are generated.
pub(super) struct Sampled {
    pub(super) options: GenerationOptions,
    pub(super) count: usize,
    pub(super) stops: Vec<String>,
    pub(super) streams: bool,
    pub(super) reports_usage: bool,
    /// The number of new tokens that was asked for.
    pub(super) max_tokens: Option<usize>,
}

impl Common {
    /// The options, checked. `max_tokens` is another name's value for the number of new tokens.
    pub(super) fn sampled(self, app: &Shared, max_tokens: Option<usize>) -> Result<Sampled, ApiError> {
        self.check_rest()?;
        let max_tokens = max_tokens.or(self.max_tokens);
        match max_tokens {
            Some(0) => return Err(ApiError::invalid("max_tokens must be at least 1, found 0").of("max_tokens")),
            Some(found) if found > app.options.max_tokens => {
                let most = app.options.max_tokens;
                let message = format!("max_tokens is {found}, and this server allows at most {most}");
                return Err(ApiError::invalid(message).of("max_tokens"));
            }
            _ => {}
        }
        let count = self.n.unwrap_or(1);
        let most = MAX_TEXTS.min(app.options.max_batch);
        if !(1..=most).contains(&count) {
            return Err(ApiError::invalid(format!("n is {count}, but must be from 1 to {most}")).of("n"));
        }
        let stops = self.stop.map(OneOrMany::into_vec).unwrap_or_default();
        if stops.len() > MAX_STOPS || stops.iter().any(|stop| stop.is_empty() || stop.len() > MAX_STOP_BYTES) {
            let message = format!("stop takes at most {MAX_STOPS} texts of 1 to {MAX_STOP_BYTES} bytes");
            return Err(ApiError::invalid(message).of("stop"));
        }
        let range = |name: &str, value: Option<f64>, least: f64, most: f64| match value {
            Some(value) if !(least..=most).contains(&value) => {
                Err(ApiError::invalid(format!("{name} is {value}, but must be from {least} to {most}")).of(name))
            }
            _ => Ok(()),
        };
        range("temperature", self.temperature, 0.0, 100.0)?;
        range("top_p", self.top_p, 1e-9, 1.0)?;
        range("min_p", self.min_p, 0.0, 1.0)?;
        range("repetition_penalty", self.repetition_penalty, 1e-3, 100.0)?;
        let top_k = match self.top_k {
            // As vLLM: all.
            None | Some(-1 | 0) => None,
            Some(found) => Some(usize::try_from(found).map_err(|_| {
                ApiError::invalid(format!("top_k is {found}, but must be at least 1, or 0 or -1 for all")).of("top_k")
            })?),
        };
        let own = &app.generation;
        let asked = self.temperature.is_some() || self.top_p.is_some() || top_k.is_some() || self.min_p.is_some();
        let is_greedy =
            self.temperature == Some(0.0) || (own.is_sampled == Some(false) && !asked && self.seed.is_none());
        let options = match is_greedy {
            true => GenerationOptions::greedy(),
            false => GenerationOptions::sample(Sampling {
                temperature: self.temperature.or(own.temperature).unwrap_or(1.0),
                top_k: top_k.or(own.top_k.filter(|_| self.top_k.is_none())).unwrap_or(0),
                top_p: self.top_p.or(own.top_p).unwrap_or(1.0),
                min_p: self.min_p.or(own.min_p).unwrap_or(0.0),
                seed: self.seed.map_or_else(Sampling::random_seed, |seed| seed as u64),
            }),
        };
        let penalty = self.repetition_penalty.or(own.repetition_penalty).unwrap_or(1.0);
        let end_ids = if self.ignore_eos == Some(true) { Vec::new() } else { app.end_ids.clone() };
        Ok(Sampled {
            options: options.with_repetition_penalty(penalty).with_end_ids(end_ids),
            count,
            stops,
            streams: self.stream == Some(true),
            reports_usage: self.stream_options.is_some_and(|options| options.include_usage),
            max_tokens,
        })
    }

    /// Refuses members that would change the answer, and unknown ones.
    fn check_rest(&self) -> Result<(), ApiError> {
        for (name, value) in &self.rest {
            if IGNORED.contains(&name.as_str()) {
                continue;
            }
            let shown: String = name.chars().take(64).collect();
            if NOT_SUPPORTED.contains(&name.as_str()) {
                if is_neutral(name, value) || (name == "best_of" && value.as_u64() == self.n.map(|n| n as u64)) {
                    continue;
                }
                return Err(ApiError::invalid(format!("`{shown}` is not supported")).of(shown));
            }
            let known = KNOWN.iter().chain(&IGNORED).chain(&NOT_SUPPORTED).copied();
            let hint = nearest(&shown, known).map_or(String::new(), |name| format!(" (did you mean `{name}`?)"));
            return Err(ApiError::invalid(format!("unknown member `{}`{hint}", shown.escape_debug())).of(shown));
        }
        Ok(())
    }
}

impl Sampled {
    /// The options for a prompt of so many tokens.
    pub(super) fn options_for(
        &self,
        app: &Shared,
        prompt: usize,
        default: Option<usize>,
    ) -> Result<GenerationOptions, ApiError> {
        let most = app.tokenizer.model_limit();
        let room = most.saturating_sub(prompt);
        if room == 0 {
            let message =
                format!("the prompt has {prompt} tokens, and the model takes at most {most} with the new ones");
            return Err(ApiError::too_long(message));
        }
        if let Some(asked) = self.max_tokens.filter(|asked| *asked > room) {
            return Err(ApiError::too_long(format!(
                "the prompt has {prompt} tokens, and {asked} new ones were asked for, but the model takes at most {most}"
            )));
        }
        let new = self.max_tokens.or(default).unwrap_or(app.options.max_tokens).min(room);
        let cached = self.count.saturating_mul(prompt.saturating_add(new));
        if cached > app.options.max_cache_tokens {
            return Err(ApiError::too_long(format!(
                "the texts may have {cached} tokens in memory (n times prompt and new tokens), and this server keeps at most \
                 {}: ask for fewer with max_tokens or n",
                app.options.max_cache_tokens
            )));
        }
        Ok(self.options.clone().with_max_new_tokens(new))
    }
}

/// A body that was read whole.
pub(super) struct Read(pub(super) Vec<u8>);

/// A body in JSON.
pub(super) struct Json<T>(pub(super) T);

impl FromRequest<App> for Read {
    type Rejection = ApiError;

    async fn from_request(request: Request<Body>, app: &App) -> Result<Self, ApiError> {
        let (limit, time) = (app.options.max_body_bytes, Duration::from_secs(app.options.body_timeout));
        let body = to_bytes(request.into_body(), limit);
        let bytes = tokio::time::timeout(time, body).await;
        let bytes =
            bytes.map_err(|_| ApiError::too_slow(format!("the body did not arrive within {} s", time.as_secs())))?;
        let too_large = |error: &axum::Error| {
            let mut source: Option<&dyn std::error::Error> = Some(error);
            while let Some(error) = source {
                if error.is::<http_body_util::LengthLimitError>() {
                    return true;
                }
                source = error.source();
            }
            false
        };
        let bytes = bytes.map_err(|error| match too_large(&error) {
            true => ApiError::too_large(format!("the body has more than {limit} bytes")),
            false => ApiError::invalid(format!("the body could not be read: {error}")),
        })?;
        Ok(Self(bytes.to_vec()))
    }
}

impl<T: DeserializeOwned> FromRequest<App> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request<Body>, app: &App) -> Result<Self, ApiError> {
        let Read(bytes) = Read::from_request(request, app).await?;
        parse(&bytes).map(Self)
    }
}

/// A value from JSON.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(bytes).map_err(|error| {
        let what = if error.is_data() { "the request is not as expected" } else { "the body is not valid JSON" };
        let text: String = error.to_string().chars().take(400).collect();
        ApiError::invalid(format!("{what}: {text}"))
    })
}
