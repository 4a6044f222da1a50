//! Metrics, under the names that vLLM has for them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

/// The metrics of a server.
pub(crate) struct Metrics {
    recorder: PrometheusRecorder,
    pub(crate) prompt_tokens: Counter,
    generated_tokens: Counter,
    first_token: Histogram,
    next_token: Histogram,
    latency: Histogram,
    running: Gauge,
    waiting: Gauge,
    pub(crate) connections: Gauge,
    pub(crate) adapters: Gauge,
    max_adapters: usize,
    requests: Arc<Mutex<Requests>>,
}

/// The numbers of requests, by adapter; the model alone is the empty name.
#[derive(Debug, Default)]
struct Requests {
    running: BTreeMap<Arc<str>, usize>,
    waiting: BTreeMap<Arc<str>, usize>,
}

/// Where a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// In the queue.
    Waiting,
    /// In the batch.
    Running,
}

const SECONDS: [f64; 16] =
    [0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 120.0, 600.0];

impl Metrics {
    pub(crate) fn new(max_adapters: usize) -> Result<Self, BuildError> {
        let seconds = Matcher::Suffix("_seconds".to_owned());
        let recorder = PrometheusBuilder::new().set_buckets_for_metric(seconds, &SECONDS)?.build_recorder();
        let counter = |name: &'static str| recorder.register_counter(&Key::from_static_name(name), &METADATA);
        let gauge = |name: &'static str| recorder.register_gauge(&Key::from_static_name(name), &METADATA);
        let histogram = |name: &'static str| recorder.register_histogram(&Key::from_static_name(name), &METADATA);
        Ok(Self {
            prompt_tokens: counter("vllm:prompt_tokens_total"),
            generated_tokens: counter("vllm:generation_tokens_total"),
            first_token: histogram("vllm:time_to_first_token_seconds"),
            next_token: histogram("vllm:time_per_output_token_seconds"),
            latency: histogram("vllm:e2e_request_latency_seconds"),
            running: gauge("vllm:num_requests_running"),
            waiting: gauge("vllm:num_requests_waiting"),
            connections: gauge("burn_adapters_connections"),
            adapters: gauge("burn_adapters_adapters_in_memory"),
            max_adapters,
            requests: Arc::default(),
            recorder,
        })
    }

    /// Counts a new token of a text, its `number`-th.
    pub(crate) fn token(&self, number: usize, arrived: Instant, last: &mut Instant) {
        self.generated_tokens.increment(1);
        match number {
            1 => self.first_token.record(arrived.elapsed().as_secs_f64()),
            _ => self.next_token.record(last.elapsed().as_secs_f64()),
        }
        *last = Instant::now();
    }

    /// Counts a request that ended.
    pub(crate) fn finished(&self, reason: &'static str, arrived: Instant) {
        self.latency.record(arrived.elapsed().as_secs_f64());
        let key =
            Key::from_parts("vllm:request_success_total", vec![Label::from_static_parts("finished_reason", reason)]);
        self.recorder.register_counter(&key, &METADATA).increment(1);
    }

    /// Counts an answer by its status.
    pub(crate) fn answered(&self, status: u16) {
        let label = Label::new("status", status.to_string());
        let key = Key::from_parts("burn_adapters_http_responses_total", vec![label]);
        self.recorder.register_counter(&key, &METADATA).increment(1);
    }

    /// A request of an adapter, or of the model alone, in the queue.
    pub(crate) fn activity(&self, adapter: Option<&str>) -> Activity {
        let request = Counted {
            adapter: adapter.unwrap_or_default().into(),
            state: Mutex::new(State::Waiting),
            requests: Arc::clone(&self.requests),
        };
        lock(&self.requests).count(State::Waiting, &request.adapter, 1);
        Activity(Arc::new(request))
    }

    /// The handle that old samples are folded through.
    pub(crate) fn handle(&self) -> PrometheusHandle {
        self.recorder.handle()
    }

    /// All metrics in the format of Prometheus.
    pub(crate) fn render(&self) -> String {
        let names = |counts: &BTreeMap<Arc<str>, usize>| {
            let named = counts.keys().filter(|name| !name.is_empty());
            named.map(|name| escaped(name)).collect::<Vec<_>>().join(",")
        };
        let (info, running, waiting) = {
            let requests = lock(&self.requests);
            let total = |counts: &BTreeMap<Arc<str>, usize>| counts.values().sum::<usize>();
            let (running, waiting) = (names(&requests.running), names(&requests.waiting));
            (
                format!(
                    "max_lora=\"{}\",running_lora_adapters=\"{running}\",waiting_lora_adapters=\"{waiting}\"",
                    self.max_adapters
                ),
                total(&requests.running),
                total(&requests.waiting),
            )
        };
        self.running.set(running as f64);
        self.waiting.set(waiting as f64);
        let mut text = self.recorder.handle().render();
        // Each state would be another series that is kept, so the gauge is written here.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        let _ = write!(text, "# TYPE vllm:lora_requests_info gauge\nvllm:lora_requests_info{{{info}}} {now:.3}\n");
        text
    }
}

static METADATA: Metadata<'static> = Metadata::new("burn_adapters", Level::INFO, None);

impl Requests {
    fn count(&mut self, state: State, adapter: &Arc<str>, change: isize) {
        let counts = match state {
            State::Waiting => &mut self.waiting,
            State::Running => &mut self.running,
        };
        let count = counts.entry(Arc::clone(adapter)).or_insert(0);
        *count = count.saturating_add_signed(change);
        if *count == 0 {
            counts.remove(adapter);
        }
    }
}

/// A request that is counted until the last clone is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Activity(Arc<Counted>);

#[derive(Debug)]
struct Counted {
    adapter: Arc<str>,
    state: Mutex<State>,
    requests: Arc<Mutex<Requests>>,
}

impl Activity {
    pub(crate) fn set(&self, state: State) {
        let before = std::mem::replace(&mut *lock(&self.0.state), state);
        let mut requests = lock(&self.0.requests);
        requests.count(before, &self.0.adapter, -1);
        requests.count(state, &self.0.adapter, 1);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let state = *lock(&self.state);
        lock(&self.requests).count(state, &self.adapter, -1);
    }
}

/// What is behind a lock is consistent, also after a panic.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// A label's value.
fn escaped(name: &str) -> String {
    name.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_where_they_are() {
        let metrics = Metrics::new(7).unwrap();
        let (one, other) = (metrics.activity(Some("a\"b")), metrics.activity(None));
        one.set(State::Running);
        let text = metrics.render();
        assert!(text.contains("vllm:num_requests_running 1\n"), "{text}");
        assert!(text.contains("vllm:num_requests_waiting 1\n"), "{text}");
        let info = "{max_lora=\"7\",running_lora_adapters=\"a\\\"b\",waiting_lora_adapters=\"\"}";
        assert!(text.contains(&format!("vllm:lora_requests_info{info}")), "{text}");
        drop((one, other));
        assert!(metrics.render().contains("vllm:num_requests_running 0\n"));
    }

    #[test]
    fn the_time_to_the_first_token_is_apart_from_that_of_others() {
        let metrics = Metrics::new(1).unwrap();
        let (arrived, mut last) = (Instant::now(), Instant::now());
        (1..=3).for_each(|number| metrics.token(number, arrived, &mut last));
        let text = metrics.render();
        assert!(text.contains("vllm:time_to_first_token_seconds_count 1\n"), "{text}");
        assert!(text.contains("vllm:time_per_output_token_seconds_count 2\n"), "{text}");
        assert!(text.contains("vllm:generation_tokens_total 3\n"), "{text}");
    }
}
