//! Progress on standard error: a bar on a terminal, a line at intervals elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use burn_adapters_train::{Observer, StepRecord, TrainingPlan};
use indicatif::{ProgressBar, ProgressStyle};

/// Time between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// The current step, and its progress.
pub(crate) struct Progress {
    bars: bool,
    bar: ProgressBar,
    name: String,
    total: u64,
    loss: f64,
    last_line: Instant,
    started: Instant,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self {
            bars: std::io::stderr().is_terminal(),
            bar: ProgressBar::hidden(),
            name: String::new(),
            total: 0,
            loss: 0.0,
            last_line: now,
            started: now,
        }
    }

    /// Prints a message.
    pub(crate) fn say(&self, text: &str) {
        self.bar.suspend(|| eprintln!("{text}"));
    }

    /// Starts the next step with this name.
    pub(crate) fn name(&mut self, name: &str) {
        self.name = name.to_owned();
    }

    /// Prints the result of the step and its time.
    pub(crate) fn done(&mut self, result: &str) {
        self.bar.finish_and_clear();
        self.say(&format!("{}: {result} ({:.1} s)", self.name, self.started.elapsed().as_secs_f64()));
    }

    fn start(&mut self, total: u64, counter: &str) {
        (self.total, self.last_line, self.started) = (total, Instant::now(), Instant::now());
        if self.bars {
            self.bar = ProgressBar::new(total);
            if let Ok(style) =
                ProgressStyle::with_template(&format!("{{prefix}} [{{bar:30}}] {counter} {{msg}} (eta {{eta}})"))
            {
                self.bar.set_style(style.progress_chars("=> "));
            }
            self.bar.set_prefix(self.name.clone());
        }
    }

    fn set(&mut self, position: u64, message: &str) {
        self.bar.set_position(position);
        self.bar.set_message(message.to_owned());
        if !self.bars && self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            self.say(format!("{}: {position}/{} {message}", self.name, self.total).trim_end());
        }
    }

    /// The mean of the losses of the last steps.
    pub(crate) fn loss(&self) -> f64 {
        self.loss
    }
}

impl Observer for Progress {
    fn started(&mut self, plan: &TrainingPlan) {
        self.start(plan.steps as u64, "{pos}/{len}");
    }

    fn step(&mut self, step: &StepRecord) {
        let weight = 1.0 / step.step.clamp(1, 20) as f64;
        self.loss += weight * (step.loss - self.loss);
        self.set(step.step as u64, &format!("loss {:.4}", self.loss));
    }
}

impl burn_adapters_fetch::Progress for Progress {
    fn say(&mut self, text: &str) {
        Progress::say(self, text);
    }

    fn started(&mut self, file: &str, bytes: u64) {
        self.bar.finish_and_clear();
        self.name = file.to_owned();
        self.start(bytes, "{decimal_bytes}/{decimal_total_bytes}");
    }

    fn received(&mut self, bytes: u64) {
        self.set(bytes, "");
    }

    fn finished(&mut self) {
        self.bar.finish_and_clear();
    }
}
