//! Texts that are continued: their way from the queue through the batch.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use burn_adapters_generate::{GenerationOptions, GrowingText, StopReason, TokenChooser, log_softmax};
use burn_adapters_model::BaseModel;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::UnboundedSender;

use super::{Engine, chain, guarded};
use crate::metrics::{Activity, State};
use crate::registry::Resident;

/// A request to continue a prompt, several times if `count` is above 1.
pub(crate) struct TextJob {
    /// The adapter; `None` for the model alone.
    pub(crate) adapter: Option<Arc<Resident>>,
    pub(crate) prompt: Vec<u32>,
    pub(crate) count: usize,
    /// The number of its first continuation in the request, by which continuations draw different tokens.
    pub(crate) first: usize,
    pub(crate) options: GenerationOptions,
    /// The number of most probable tokens that are reported with each token.
    pub(crate) top: Option<usize>,
    pub(crate) events: UnboundedSender<Event>,
    /// Which continuations of the request nobody reads any more.
    pub(crate) stopped: Arc<[AtomicBool]>,
    /// Its place in the queue, which is free once it is admitted.
    pub(crate) place: Option<OwnedSemaphorePermit>,
    pub(crate) arrived: Instant,
    pub(crate) activity: Activity,
}

/// What happens to a continuation, by its number in the request.
#[derive(Debug)]
pub(crate) enum Event {
    /// A new token.
    Token(usize, TokenEvent),
    /// Its end.
    Done(usize, StopReason),
    /// The request failed.
    Failed(String),
}

/// A new token, and the natural logarithms of probabilities, if they are requested.
#[derive(Debug, Clone)]
pub(crate) struct TokenEvent {
    pub(crate) token: u32,
    pub(crate) log_probability: f64,
    /// The most probable tokens, the most probable one first.
    pub(crate) top: Vec<(u32, f64)>,
}

impl TextJob {
    /// The most tokens that it keeps in memory.
    pub(super) fn cache_tokens(&self) -> usize {
        self.count.saturating_mul(self.prompt.len().saturating_add(self.options.max_new_tokens))
    }
}

/// A prompt that is being read.
pub(super) struct Reading {
    job: TextJob,
    text: GrowingText,
    cache_tokens: usize,
}

/// A text of the batch.
pub(super) struct Running {
    text: GrowingText,
    chooser: TokenChooser,
    options: Arc<GenerationOptions>,
    top: Option<usize>,
    number: usize,
    new_tokens: usize,
    cache_tokens: usize,
    events: UnboundedSender<Event>,
    stopped: Arc<[AtomicBool]>,
    arrived: Instant,
    last: Instant,
    /// Hold the adapter in memory, and count the text.
    _adapter: Option<Arc<Resident>>,
    _activity: Activity,
}

impl Engine {
    /// Admits the texts that wait to the batch, in their order; one that needs much memory does not hold up others, until it
    /// has been passed over for some seconds.
    pub(super) fn admit(&mut self) {
        const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);
        self.waiting.retain(|job| !job.events.is_closed());
        let mut texts = self.running.len() + self.reading.iter().map(|one| one.job.count).sum::<usize>();
        let reading: usize = self.reading.iter().map(|one| one.cache_tokens).sum();
        let mut tokens = reading + self.running.iter().map(|one| one.cache_tokens).sum::<usize>();
        let mut index = 0;
        while let Some(job) = self.waiting.get(index) {
            let fits = texts + job.count <= self.sizes.texts && tokens + job.cache_tokens() <= self.sizes.cache_tokens;
            if !fits {
                if job.arrived.elapsed() > PATIENCE {
                    return;
                }
                index += 1;
                continue;
            }
            let Some(mut job) = self.waiting.remove(index) else { return };
            let cache_tokens = job.cache_tokens();
            texts += job.count;
            tokens += cache_tokens;
            job.place = None;
            job.activity.set(State::Running);
            let adapter = job.adapter.as_ref().map(|adapter| adapter.name().to_owned());
            let text = GrowingText::new(adapter.as_deref(), std::mem::take(&mut job.prompt));
            self.reading.push_back(Reading { job, text, cache_tokens });
        }
    }

    /// Reads a part of the prompts. A long one takes turns with others.
    pub(super) fn read_prompts(&mut self) {
        let mut left = self.sizes.prompt_tokens;
        while left > 0 {
            let Some(mut reading) = self.reading.pop_front() else { return };
            if reading.job.events.is_closed() {
                continue;
            }
            // While nothing runs, nothing is held up.
            let most = if self.running.is_empty() { self.sizes.prompt_tokens } else { left };
            let before = reading.text.unread();
            let (model, bank) = (&*self.model, &self.bank);
            match guarded(|| reading.text.read(model, bank, most).map_err(|error| chain(&error))) {
                Ok(None) => {
                    left = left.saturating_sub(before - reading.text.unread());
                    self.reading.push_back(reading);
                }
                Ok(Some(logits)) => {
                    left = left.saturating_sub(before);
                    self.metrics.prompt_tokens.increment(before as u64);
                    self.start(reading, &logits);
                }
                Err(error) => {
                    left = left.saturating_sub(before);
                    let _ = reading.job.events.send(Event::Failed(error));
                }
            }
        }
    }

    /// Lets a text whose prompt is read join the batch.
    fn start(&mut self, Reading { job, text, .. }: Reading, logits: &[f32]) {
        let options = Arc::new(job.options);
        let cache_tokens = text.tokens().len() + options.max_new_tokens;
        for number in job.first..job.first + job.count {
            let chooser = match TokenChooser::new(&options, number as u64) {
                Ok(chooser) => chooser,
                Err(error) => {
                    let _ = job.events.send(Event::Failed(chain(&error)));
                    return;
                }
            };
            let mut running = Running {
                text: text.clone(),
                chooser,
                options: Arc::clone(&options),
                top: job.top,
                number,
                new_tokens: 0,
                cache_tokens,
                events: job.events.clone(),
                stopped: Arc::clone(&job.stopped),
                arrived: job.arrived,
                last: Instant::now(),
                _adapter: job.adapter.clone(),
                _activity: job.activity.clone(),
            };
            if self.advance(&mut running, logits.to_vec()) {
                self.running.push(running);
            }
        }
    }

    /// A step of the whole batch.
    pub(super) fn step(&mut self) {
        self.running.retain(Running::is_wanted);
        if self.running.is_empty() {
            return;
        }
        let mut running = std::mem::take(&mut self.running);
        let (model, bank) = (&*self.model, &self.bank);
        let mut texts: Vec<&mut GrowingText> = running.iter_mut().map(|one| &mut one.text).collect();
        let logits = guarded(|| GrowingText::step(model, bank, &mut texts).map_err(|error| chain(&error)));
        match logits {
            Ok(logits) => {
                for (mut one, logits) in running.into_iter().zip(logits) {
                    if self.advance(&mut one, logits) {
                        self.running.push(one);
                    }
                }
            }
            Err(error) => running.iter().for_each(|one| {
                let _ = one.events.send(Event::Failed(error.clone()));
            }),
        }
    }

    /// Chooses the next token of a text; whether it continues.
    fn advance(&self, one: &mut Running, mut logits: Vec<f32>) -> bool {
        if logits.iter().any(|logit| !logit.is_finite()) {
            let message = "a logit is NaN or infinite: the weights or the adapter are broken";
            let _ = one.events.send(Event::Failed(message.to_owned()));
            return false;
        }
        let probabilities = one.top.map(|top| (top, log_softmax(&logits)));
        let token = one.chooser.choose(&mut logits, one.text.tokens());
        let event = match probabilities {
            None => TokenEvent { token, log_probability: 0.0, top: Vec::new() },
            Some((top, all)) => {
                let log_probability = all.get(token as usize).copied().unwrap_or(f64::NEG_INFINITY);
                TokenEvent { token, log_probability, top: most_probable(&all, top) }
            }
        };
        one.text.push(token);
        one.new_tokens += 1;
        self.metrics.token(one.new_tokens, one.arrived, &mut one.last);
        let stopped = match () {
            () if one.options.end_ids.contains(&token) => Some(StopReason::End),
            () if one.new_tokens >= one.options.max_new_tokens => Some(StopReason::MaxNewTokens),
            () if one.text.tokens().len() >= self.model.decoder_limits().sequence => Some(StopReason::MaxLength),
            () => None,
        };
        let sent = one.events.send(Event::Token(one.number, event)).is_ok();
        if let Some(stopped) = stopped {
            let _ = one.events.send(Event::Done(one.number, stopped));
        }
        sent && stopped.is_none()
    }
}

impl Running {
    /// Whether anybody reads it.
    fn is_wanted(&self) -> bool {
        let is_stopped = self.stopped.get(self.number).is_some_and(|stopped| stopped.load(Ordering::Relaxed));
        !is_stopped && !self.events.is_closed()
    }
}

/// The first tokens by probability, with the natural logarithms of their probabilities.
fn most_probable(all: &[f64], count: usize) -> Vec<(u32, f64)> {
    let mut tokens: Vec<(u32, f64)> = all.iter().enumerate().map(|(id, value)| (id as u32, *value)).collect();
    let order = |one: &(u32, f64), other: &(u32, f64)| other.1.total_cmp(&one.1).then(one.0.cmp(&other.0));
    if count < tokens.len() {
        tokens.select_nth_unstable_by(count, order);
        tokens.truncate(count);
    }
    tokens.sort_unstable_by(order);
    tokens
}
