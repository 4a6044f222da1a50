//! Texts that grow: tokens from the engine, as pieces of text.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use burn_adapters_generate::{GenerationOptions, StopReason, Stops};
use burn_adapters_transformers::{DecodeStream, Tokenizer};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::Shared;
use super::request::Sampled;
use crate::engine::{Command, Event, TextJob, TokenEvent, chain};
use crate::error::ApiError;
use crate::registry::Resident;

/// A prompt in tokens, with the options for it.
pub(super) struct Prompt {
    pub(super) ids: Vec<u32>,
    /// Whether the new tokens continue the prompt's text; otherwise they are a text of their own, an answer.
    pub(super) is_continued: bool,
    pub(super) options: GenerationOptions,
}

/// The texts of a request that are being generated.
pub(super) struct Generation {
    events: UnboundedReceiver<Event>,
    stopped: Arc<[AtomicBool]>,
    stops: Vec<String>,
    /// The tokens that each text continues.
    before: Vec<Vec<u32>>,
    deadline: Instant,
    arrived: Instant,
    pub(super) prompt_tokens: usize,
    pub(super) new_tokens: usize,
    unfinished: usize,
}

/// What is new of a text.
#[derive(Debug, Default)]
pub(super) struct Delta {
    /// The number of the text in the request.
    pub(super) number: usize,
    pub(super) text: String,
    pub(super) token: Option<TokenEvent>,
    /// Why the text ended, if it did.
    pub(super) finish: Option<&'static str>,
}

/// The texts of a request, token by token.
pub(super) struct Growing<'t> {
    texts: Vec<(Option<DecodeStream<'t>>, Stops, bool)>,
}

impl Generation {
    /// Hands prompts to the engine.
    pub(super) fn start(
        app: &Shared,
        name: &str,
        adapter: Option<Arc<Resident>>,
        prompts: Vec<Prompt>,
        sampled: &Sampled,
        top: Option<usize>,
        arrived: Instant,
    ) -> Result<Self, ApiError> {
        let places = prompts.iter().map(|_| app.place()).collect::<Result<Vec<_>, _>>()?;
        let count = prompts.len() * sampled.count;
        let stopped: Arc<[AtomicBool]> = (0..count).map(|_| AtomicBool::new(false)).collect();
        let (sender, events) = unbounded_channel();
        let prompt_tokens = prompts.iter().map(|prompt| prompt.ids.len()).sum();
        let continued = |prompt: &Prompt| if prompt.is_continued { prompt.ids.clone() } else { Vec::new() };
        let before = prompts.iter().flat_map(|prompt| vec![continued(prompt); sampled.count]).collect();
        for (index, (prompt, place)) in prompts.into_iter().zip(places).enumerate() {
            let job = TextJob {
                adapter: adapter.clone(),
                prompt: prompt.ids,
                count: sampled.count,
                first: index * sampled.count,
                options: prompt.options,
                top,
                events: sender.clone(),
                stopped: Arc::clone(&stopped),
                place: Some(place),
                arrived,
                activity: app.metrics.activity(adapter.is_some().then_some(name)),
            };
            app.commands.send(Command::Text(Box::new(job))).map_err(|_| ApiError::closing())?;
        }
        let deadline = arrived + Duration::from_secs(app.options.timeout);
        let stops = sampled.stops.clone();
        let (new_tokens, unfinished) = (0, count);
        Ok(Self { events, stopped, stops, before, deadline, arrived, prompt_tokens, new_tokens, unfinished })
    }

    /// The texts, before their first token.
    pub(super) fn growing<'t>(&self, tokenizer: &'t Tokenizer) -> Result<Growing<'t>, ApiError> {
        let new = |before: &Vec<u32>| {
            let stream = tokenizer.decode_stream_after(before, true);
            let stream = stream.map_err(|error| ApiError::internal(chain(&error)))?;
            Ok((Some(stream), Stops::new(&self.stops), false))
        };
        Ok(Growing { texts: self.before.iter().map(new).collect::<Result<_, _>>()? })
    }

    /// What is new next; `None` once all texts have ended.
    pub(super) async fn next(&mut self, app: &Shared, growing: &mut Growing<'_>) -> Result<Option<Delta>, ApiError> {
        while self.unfinished > 0 {
            let event = tokio::time::timeout_at(self.deadline.into(), self.events.recv()).await;
            let event = event.map_err(|_| ApiError::timeout(app.options.timeout))?;
            let delta = match event.ok_or_else(ApiError::closing)? {
                Event::Failed(message) => return Err(ApiError::internal(message)),
                Event::Token(number, token) => {
                    if growing.is_done(number) {
                        continue;
                    }
                    self.new_tokens += 1;
                    growing.push(number, token)?
                }
                Event::Done(number, reason) => {
                    if growing.is_done(number) {
                        continue;
                    }
                    growing.finish(number, reason)?
                }
            };
            if let Some(reason) = delta.finish {
                self.unfinished -= 1;
                if let Some(stopped) = self.stopped.get(delta.number) {
                    stopped.store(true, Ordering::Relaxed);
                }
                app.metrics.finished(reason, self.arrived);
            }
            return Ok(Some(delta));
        }
        Ok(None)
    }

    /// The numbers of tokens, as OpenAI reports them.
    pub(super) fn usage(&self) -> Value {
        let total = self.prompt_tokens + self.new_tokens;
        json!({"prompt_tokens": self.prompt_tokens, "completion_tokens": self.new_tokens, "total_tokens": total})
    }
}

impl Growing<'_> {
    fn is_done(&self, number: usize) -> bool {
        self.texts.get(number).is_none_or(|(.., is_done)| *is_done)
    }

    fn push(&mut self, number: usize, token: TokenEvent) -> Result<Delta, ApiError> {
        let Some((Some(stream), stops, is_done)) = self.texts.get_mut(number) else { return Ok(Delta::default()) };
        let piece = stream.push(token.token).map_err(|error| ApiError::internal(chain(&error)))?;
        let text = stops.push(&piece);
        *is_done = stops.is_stopped();
        let finish = is_done.then_some("stop");
        Ok(Delta { number, text, token: Some(token), finish })
    }

    fn finish(&mut self, number: usize, reason: StopReason) -> Result<Delta, ApiError> {
        let Some((stream, stops, is_done)) = self.texts.get_mut(number) else { return Ok(Delta::default()) };
        let last = stream.take().map(DecodeStream::finish).transpose();
        let last = last.map_err(|error| ApiError::internal(chain(&error)))?.unwrap_or_default();
        let mut text = stops.push(&last);
        text += &stops.rest();
        *is_done = true;
        let finish = match reason {
            StopReason::End | StopReason::Caller => "stop",
            StopReason::MaxNewTokens | StopReason::MaxLength => "length",
        };
        Ok(Delta { number, text, token: None, finish: Some(finish) })
    }
}

/// The text of one token.
pub(super) fn token_text(tokenizer: &Tokenizer, id: u32) -> String {
    tokenizer.decode(&[id], false).unwrap_or_default()
}
