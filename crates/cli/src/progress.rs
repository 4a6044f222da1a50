//! Progress on standard error: bars on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::draw;
use crate::output::shown;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Bars that are redrawn.
    Bars,
    /// A line at intervals.
    Lines,
    /// Nothing.
    Quiet,
}

/// Time between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(10);

impl Style {
    /// Bars for a terminal, lines for a file, nothing with --quiet.
    pub(crate) fn detect(quiet: bool) -> Self {
        match (quiet, std::io::stderr().is_terminal()) {
            (true, _) => Style::Quiet,
            (false, true) => Style::Bars,
            (false, false) => Style::Lines,
        }
    }

    /// Prints the current activity.
    pub(crate) fn say(self, text: impl std::fmt::Display) {
        if self != Style::Quiet {
            draw::say(&text.to_string());
        }
    }
}

/// What the positions of a [`Task`] count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Steps, sentences, …
    Count,
    /// Bytes.
    Bytes,
}

/// A task with a known length.
#[derive(Debug)]
pub(crate) struct Task {
    style: Style,
    name: String,
    unit: Unit,
    total: u64,
    bar: Option<ProgressBar>,
    last_line: Instant,
}

impl Task {
    /// Starts a task.
    pub(crate) fn new(style: Style, name: impl Into<String>, total: u64, unit: Unit) -> Self {
        let name = shown(name.into());
        let bar = (style == Style::Bars).then(|| {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
            let counter = match unit {
                Unit::Count => "{pos}/{len}",
                Unit::Bytes => "{decimal_bytes}/{decimal_total_bytes}",
            };
            let template = format!("{{prefix}} [{{bar:30}}] {counter} {{msg}} (eta {{eta}})");
            if let Ok(style) = ProgressStyle::with_template(&template) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_prefix(name.clone());
            bar
        });
        Self { style, name, unit, total, bar, last_line: Instant::now() }
    }

    /// Updates the position.
    pub(crate) fn set(&mut self, position: u64, message: impl std::fmt::Display) {
        match (&self.bar, self.style) {
            (Some(bar), _) => {
                bar.set_position(position);
                bar.set_message(shown(message));
            }
            (None, Style::Lines) if self.last_line.elapsed() >= LINE_EVERY => {
                self.last_line = Instant::now();
                let at = match self.unit {
                    Unit::Count => format!("{position}/{}", self.total),
                    Unit::Bytes => {
                        format!("{} of {}", crate::output::bytes(position), crate::output::bytes(self.total))
                    }
                };
                self.style.say(format!("{}: {at} {message}", self.name).trim_end());
            }
            _ => {}
        }
    }

    /// Shows a message beside the bar.
    pub(crate) fn say(&self, text: impl std::fmt::Display) {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.style.say(text)),
            None => self.style.say(text),
        }
    }

    /// Ends the task.
    pub(crate) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
