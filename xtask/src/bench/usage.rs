//! What a process has used, as Linux reports it.

use std::fs::read_to_string;

/// The clock ticks of a second in `/proc`: `USER_HZ`, which is 100 on every architecture that Rust supports well.
const TICKS: f64 = 100.0;

/// The peak memory of a process so far, in bytes; known on Linux only.
pub(crate) fn high_water_mark(process: u32) -> Option<u64> {
    let status = read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// The CPU seconds of all threads of a process so far, in user and system mode, to a hundredth; known on Linux only.
pub(crate) fn cpu_seconds(process: u32) -> Option<f64> {
    let stat = read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name of the program is in parentheses, and may contain spaces; utime and stime are the 14th and 15th fields.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11).map(|field| field.parse::<u64>().ok());
    Some((fields.next()?? + fields.next()??) as f64 / TICKS)
}

#[cfg(test)]
#[cfg(target_os = "linux")]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn the_memory_and_the_time_of_a_process_are_read() {
        let own = std::process::id();
        assert!(high_water_mark(own).unwrap() > 100_000);
        let (before, start) = (cpu_seconds(own).unwrap(), Instant::now());
        while start.elapsed() < Duration::from_millis(60) || cpu_seconds(own).unwrap() - before < 0.02 {}
        assert_eq!(high_water_mark(u32::MAX), None);
        assert_eq!(cpu_seconds(u32::MAX), None);
    }
}
