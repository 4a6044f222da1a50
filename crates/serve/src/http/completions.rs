//! `/v1/completions`, `/v1/chat/completions`, and the form of all answers that are texts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use burn_adapters_chat::{Conversation, Json as ChatJson};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_stream::wrappers::ReceiverStream;

use super::generation::{Delta, Generation, Prompt, token_text};
use super::request::{Common, Json, Sampled};
use super::{App, Shared};
use crate::engine::{TokenEvent, chain};
use crate::error::{ApiError, json_response};

/// OpenAI's default.
const DEFAULT_NEW_TOKENS: usize = 16;
/// The most prompts of a request, and the most logprobs of a token.
const MAX_PROMPTS: usize = 64;
const MAX_TOP: usize = 20;

#[derive(Debug, Deserialize)]
pub(super) struct CompletionRequest {
    prompt: Prompts,
    logprobs: Option<usize>,
    #[serde(flatten)]
    common: Common,
}

/// A prompt, or several: as texts or as tokens.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Prompts {
    Text(String),
    Texts(Vec<String>),
    Tokens(Vec<u32>),
    TokenRows(Vec<Vec<u32>>),
}

pub(super) async fn completions(
    State(app): State<App>,
    Json(request): Json<CompletionRequest>,
) -> Result<Response, ApiError> {
    let arrived = Instant::now();
    let CompletionRequest { prompt, logprobs, common } = request;
    check_generates(&app)?;
    let top = check_top(logprobs, "logprobs")?;
    let name = common.model.clone();
    let sampled = Arc::new(common.sampled(&app, None)?);
    let adapter = app.registry.acquire(&name).await?;
    let prompts = {
        let sampled = Arc::clone(&sampled);
        app.work(move |app| rows(app, prompt)?.into_iter().map(|ids| with_options(app, ids, &sampled)).collect())
    };
    let prompts: Vec<Prompt> = prompts.await?;
    let answer = Answer::new("cmpl", false, &name, top);
    let generation = Generation::start(&app, &name, adapter, prompts, &sampled, top, arrived)?;
    answer.respond(app, generation, &sampled).await
}

fn with_options(app: &Shared, ids: Vec<u32>, sampled: &Sampled) -> Result<Prompt, ApiError> {
    let options = sampled.options_for(app, ids.len(), Some(DEFAULT_NEW_TOKENS))?;
    Ok(Prompt { ids, is_continued: true, options })
}

/// The tokens of each prompt.
fn rows(app: &Shared, prompts: Prompts) -> Result<Vec<Vec<u32>>, ApiError> {
    let check_count = |count: usize| match count {
        1..=MAX_PROMPTS => Ok(()),
        _ => Err(ApiError::invalid(format!("prompt has {count} texts, but must have 1 to {MAX_PROMPTS}")).of("prompt")),
    };
    let texts = match prompts {
        Prompts::Text(text) => vec![text],
        Prompts::Texts(texts) => texts,
        // An empty list could be one of anything.
        Prompts::Tokens(ids) => return check_tokens(app, vec![ids]),
        Prompts::TokenRows(rows) => {
            check_count(rows.len())?;
            return check_tokens(app, rows);
        }
    };
    check_count(texts.len())?;
    let encode = |text: String| {
        let encoded = app.tokenizer.encode(&[text], usize::MAX);
        let mut encoded = encoded.map_err(|error| ApiError::invalid(chain(&error)).of("prompt"))?;
        if encoded.truncated > 0 {
            let most = app.tokenizer.model_limit();
            return Err(ApiError::too_long(format!("a prompt has more than the {most} tokens that the model takes")));
        }
        Ok(encoded.rows.pop().map(|row| row.ids).unwrap_or_default())
    };
    check_tokens(app, texts.into_iter().map(encode).collect::<Result<_, _>>()?)
}

fn check_tokens(app: &Shared, rows: Vec<Vec<u32>>) -> Result<Vec<Vec<u32>>, ApiError> {
    let vocabulary = app.vocabulary;
    for row in &rows {
        if row.is_empty() {
            return Err(ApiError::invalid("a prompt has no tokens, so there is nothing to continue").of("prompt"));
        }
        if let Some(id) = row.iter().find(|id| **id as usize >= vocabulary) {
            let message = format!("token {id} is not in the vocabulary, which has {vocabulary} tokens");
            return Err(ApiError::invalid(message).of("prompt"));
        }
    }
    Ok(rows)
}

/// Refuses models that continue no texts.
pub(super) fn check_generates(app: &Shared) -> Result<(), ApiError> {
    match app.generates {
        true => Ok(()),
        false => Err(ApiError::invalid(format!(
            "{} continues no texts: it is not a decoder with an output layer; /v1/classify, /v1/tag, /v1/answer and \
             /v1/embeddings are for it",
            app.registry.base
        ))),
    }
}

/// The number of most probable tokens that is asked for.
pub(super) fn check_top(asked: Option<usize>, param: &str) -> Result<Option<usize>, ApiError> {
    match asked {
        Some(found) if found > MAX_TOP => {
            Err(ApiError::invalid(format!("{param} is {found}, but may be at most {MAX_TOP}")).of(param))
        }
        asked => Ok(asked),
    }
}

/// The form of an answer.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    id: String,
    created: u64,
    model: String,
    is_chat: bool,
    top: Option<usize>,
}

/// A text of an answer that is given at once.
#[derive(Default)]
struct Text {
    text: String,
    finish: Option<&'static str>,
    tokens: Vec<TokenEvent>,
    /// Where each token begins in the text.
    offsets: Vec<usize>,
}

impl Answer {
    pub(super) fn new(prefix: &str, is_chat: bool, model: &str, top: Option<usize>) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let id = format!("{prefix}-{created:x}{:06x}", NUMBER.fetch_add(1, Ordering::Relaxed));
        Self { id, created, model: model.to_owned(), is_chat, top }
    }

    /// The answer: at once, or as events.
    pub(super) async fn respond(
        self,
        app: App,
        mut generation: Generation,
        sampled: &Sampled,
    ) -> Result<Response, ApiError> {
        if sampled.streams {
            return Ok(self.stream(app, generation, sampled.reports_usage));
        }
        let mut growing = generation.growing(&app.tokenizer)?;
        let mut texts: Vec<Text> = Vec::new();
        while let Some(delta) = generation.next(&app, &mut growing).await? {
            if texts.len() <= delta.number {
                texts.resize_with(delta.number + 1, Text::default);
            }
            let text = &mut texts[delta.number];
            if let Some(token) = delta.token.filter(|_| self.top.is_some()) {
                text.offsets.push(text.text.len());
                text.tokens.push(token);
            }
            text.text.push_str(&delta.text);
            text.finish = delta.finish.or(text.finish);
        }
        let choices: Vec<Value> =
            texts.iter().enumerate().map(|(index, text)| self.choice(&app, index, text)).collect();
        let mut answer = self.object(&choices, if self.is_chat { "chat.completion" } else { "text_completion" });
        answer["usage"] = generation.usage();
        Ok(json_response(StatusCode::OK, &answer))
    }

    fn object(&self, choices: &[Value], object: &str) -> Value {
        json!({"id": self.id, "object": object, "created": self.created, "model": self.model, "choices": choices})
    }

    /// A whole text.
    fn choice(&self, app: &Shared, index: usize, text: &Text) -> Value {
        let logprobs = self.logprobs(app, &text.tokens, &text.offsets);
        match self.is_chat {
            true => json!({"index": index, "message": {"role": "assistant", "content": text.text, "refusal": null},
                           "logprobs": logprobs, "finish_reason": text.finish}),
            false => json!({"index": index, "text": text.text, "logprobs": logprobs, "finish_reason": text.finish}),
        }
    }

    /// The events of a stream. The task ends when the client is gone, and the text with it.
    fn stream(self, app: App, mut generation: Generation, reports_usage: bool) -> Response {
        let (sender, receiver) = tokio::sync::mpsc::channel::<Result<String, std::convert::Infallible>>(8);
        let object = if self.is_chat { "chat.completion.chunk" } else { "text_completion" };
        tokio::spawn(async move {
            let failed = |error: ApiError| Ok(format!("data: {}\n\n", error.json()));
            let mut growing = match generation.growing(&app.tokenizer) {
                Ok(growing) => growing,
                Err(error) => return drop(sender.send(failed(error)).await),
            };
            let mut begun: Vec<bool> = Vec::new();
            loop {
                let next = tokio::select! {
                    next = generation.next(&app, &mut growing) => next,
                    () = sender.closed() => return,
                };
                let event = match next {
                    Ok(Some(delta)) => {
                        let is_silent = delta.text.is_empty() && delta.finish.is_none() && self.top.is_none();
                        if is_silent {
                            continue;
                        }
                        if begun.len() <= delta.number {
                            begun.resize(delta.number + 1, false);
                        }
                        let is_first = !std::mem::replace(&mut begun[delta.number], true);
                        self.object(&self.chunks(&app, &delta, is_first), object)
                    }
                    Ok(None) => break,
                    Err(error) => return drop(sender.send(failed(error)).await),
                };
                if sender.send(Ok(format!("data: {event}\n\n"))).await.is_err() {
                    return;
                }
            }
            if reports_usage {
                let mut last = self.object(&[], object);
                last["usage"] = generation.usage();
                if sender.send(Ok(format!("data: {last}\n\n"))).await.is_err() {
                    return;
                }
            }
            let _ = sender.send(Ok("data: [DONE]\n\n".to_owned())).await;
        });
        let mut response = Response::new(Body::from_stream(ReceiverStream::new(receiver)));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        response
    }

    /// What is new of a text.
    fn chunks(&self, app: &Shared, delta: &Delta, is_first: bool) -> Vec<Value> {
        let tokens: Vec<TokenEvent> = delta.token.iter().filter(|_| self.top.is_some()).cloned().collect();
        let logprobs = self.logprobs(app, &tokens, &vec![0; tokens.len()]);
        if !self.is_chat {
            return vec![json!({"index": delta.number, "text": delta.text, "logprobs": logprobs,
                               "finish_reason": delta.finish})];
        }
        let mut content = json!({});
        if is_first {
            content["role"] = json!("assistant");
        }
        if is_first || !delta.text.is_empty() {
            content["content"] = json!(delta.text);
        }
        vec![json!({"index": delta.number, "delta": content, "logprobs": logprobs, "finish_reason": delta.finish})]
    }

    /// The probabilities of tokens, in the form of chats or of completions.
    fn logprobs(&self, app: &Shared, tokens: &[TokenEvent], offsets: &[usize]) -> Value {
        if self.top.is_none() {
            return Value::Null;
        }
        let text = |id: u32| token_text(&app.tokenizer, id);
        if self.is_chat {
            let one = |id: u32, logprob: f64| {
                let token = text(id);
                json!({"token": token, "logprob": finite(logprob), "bytes": token.as_bytes()})
            };
            let content = tokens.iter().map(|event| {
                let mut token = one(event.token, event.log_probability);
                token["top_logprobs"] = event.top.iter().map(|(id, logprob)| one(*id, *logprob)).collect();
                token
            });
            return json!({"content": content.collect::<Vec<_>>(), "refusal": null});
        }
        let top = tokens.iter().map(|event| {
            let pairs = event.top.iter().map(|(id, logprob)| (text(*id), json!(finite(*logprob))));
            Value::Object(pairs.collect())
        });
        json!({
            "tokens": tokens.iter().map(|event| text(event.token)).collect::<Vec<_>>(),
            "token_logprobs": tokens.iter().map(|event| finite(event.log_probability)).collect::<Vec<_>>(),
            "top_logprobs": top.collect::<Vec<_>>(),
            "text_offset": offsets,
        })
    }
}

/// JSON has no infinity; this is OpenAI's number for a probability of 0.
fn finite(logprob: f64) -> f64 {
    logprob.max(-9999.0)
}

#[derive(Deserialize)]
pub(super) struct ChatRequest {
    messages: ChatJson,
    max_completion_tokens: Option<usize>,
    logprobs: Option<bool>,
    top_logprobs: Option<usize>,
    #[serde(flatten)]
    common: Common,
}

pub(super) async fn chat(State(app): State<App>, Json(request): Json<ChatRequest>) -> Result<Response, ApiError> {
    let arrived = Instant::now();
    let ChatRequest { messages, max_completion_tokens, logprobs, top_logprobs, common } = request;
    check_generates(&app)?;
    let top = match (logprobs, check_top(top_logprobs, "top_logprobs")?) {
        (Some(true), top) => Some(top.unwrap_or(0)),
        (_, Some(1..)) => {
            return Err(ApiError::invalid("top_logprobs needs \"logprobs\": true").of("top_logprobs"));
        }
        _ => None,
    };
    let name = common.model.clone();
    let sampled = Arc::new(common.sampled(&app, max_completion_tokens)?);
    let adapter = app.registry.acquire(&name).await?;
    let prompt = {
        let sampled = Arc::clone(&sampled);
        app.work(move |app| {
            let template = app.template.as_ref().ok_or_else(|| {
                let base = &app.registry.base;
                ApiError::invalid(format!("{base} has no chat template: /v1/completions continues plain texts"))
            })?;
            let failed = |message: String| ApiError::invalid(message).of("messages");
            let conversation = Conversation::from_json(messages, None).map_err(|error| failed(chain(&error)))?;
            let text = template.render(&conversation, true).map_err(|error| failed(chain(&error)))?;
            let encoded = app.tokenizer.encode_bare(&text, usize::MAX).map_err(|error| failed(chain(&error)))?;
            if encoded.truncated {
                let most = app.tokenizer.model_limit();
                let message = format!("the conversation has more than the {most} tokens that the model takes");
                return Err(ApiError::too_long(message).of("messages"));
            }
            if encoded.row.ids.is_empty() {
                return Err(failed("the chat template gives an empty text, so there is nothing to continue".into()));
            }
            let options = sampled.options_for(app, encoded.row.ids.len(), None)?;
            Ok(Prompt { ids: encoded.row.ids, is_continued: false, options })
        })
    };
    let prompt = prompt.await?;
    let answer = Answer::new("chatcmpl", true, &name, top);
    let generation = Generation::start(&app, &name, adapter, vec![prompt], &sampled, top, arrived)?;
    answer.respond(app, generation, &sampled).await
}
