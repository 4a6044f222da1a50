//! Checks that the machine is idle: with other work running, measurements are meaningless.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// A load average above this, over the last minute, is other work.
const MOST_LOAD: f64 = 0.5;

/// The allowed slowdown of threads that spin together; a busy core doubles the time.
const MOST_SLOWDOWN: f64 = 1.25;

/// The load of the machine at one moment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Load {
    /// Runnable processes, averaged over the last minute; `None` if the system does not report it.
    pub(crate) minute: Option<f64>,
    /// The slowdown of a thread on every core compared with a single thread.
    pub(crate) slowdown: f64,
}

impl Load {
    pub(crate) fn now() -> Self {
        let minute = std::fs::read_to_string("/proc/loadavg").ok();
        let minute = minute.and_then(|text| text.split_whitespace().next()?.parse().ok());
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        // The better of several: short activity of the system is not load.
        let best = |threads: usize| (0..3).map(|_| together(threads)).min().unwrap_or_default();
        let slowdown = best(cores).as_secs_f64() / best(1).as_secs_f64().max(1e-9);
        Self { minute, slowdown }
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.minute.is_none_or(|load| load <= MOST_LOAD) && self.slowdown <= MOST_SLOWDOWN
    }

    pub(crate) fn json(&self) -> Value {
        json!({"quiet": self.is_quiet(), "load_of_last_minute": self.minute, "slowdown_of_all_cores": self.slowdown})
    }

    /// The load in words.
    pub(crate) fn text(&self) -> String {
        let minute = self.minute.map_or("unknown".to_owned(), |load| format!("{load:.2}"));
        let what = if self.is_quiet() { "the machine is quiet" } else { "THE MACHINE IS NOT QUIET" };
        format!(
            "{what}: load {minute} over the last minute (at most {MOST_LOAD}), all cores together {:.2} times slower \
             than one (at most {MOST_SLOWDOWN})",
            self.slowdown
        )
    }
}

/// How long these threads take for the same work each.
fn together(threads: usize) -> Duration {
    let start = Instant::now();
    std::thread::scope(|scope| {
        for seed in 0..threads {
            scope.spawn(move || std::hint::black_box(spin(seed as u64)));
        }
    });
    start.elapsed()
}

fn spin(mut state: u64) -> u64 {
    for _ in 0..20_000_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state ^= state >> 29;
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_sign_of_other_work_is_enough() {
        let load = |minute, slowdown| Load { minute, slowdown };
        assert!(load(Some(0.1), 1.05).is_quiet() && load(None, 1.0).is_quiet());
        assert!(!load(Some(2.0), 1.0).is_quiet() && !load(Some(0.1), 1.9).is_quiet());
        assert!(load(Some(2.0), 1.0).text().contains("NOT QUIET"));
        assert_eq!(load(Some(2.0), 1.0).json()["quiet"], false);
    }
}
