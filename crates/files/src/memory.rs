//! How much memory there is, so that a file that does not fit is an error and not the end of the process.

use std::fs;

/// Files up to this size are read without asking.
const UNASKED: u64 = 64 << 20;

/// The bytes of memory that can still be taken, where the system tells.
pub fn available_memory() -> Option<u64> {
    let free = meminfo("MemAvailable:");
    let group = group_limit();
    free.into_iter().chain(group).min()
}

/// The memory that is missing for this many bytes: how much there is.
pub(crate) fn too_little_for(bytes: u64) -> Option<u64> {
    if bytes <= UNASKED {
        return None;
    }
    available_memory().filter(|available| bytes > *available)
}

fn meminfo(key: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// What a container may still take.
fn group_limit() -> Option<u64> {
    let number = |name: &str| fs::read_to_string(name).ok()?.trim().parse::<u64>().ok();
    let most = number("/sys/fs/cgroup/memory.max")?;
    let used = number("/sys/fs/cgroup/memory.current")?;
    // Cached files count as used, and are given back.
    let cached = fs::read_to_string("/sys/fs/cgroup/memory.stat").ok()?;
    let cached = cached.lines().find_map(|line| line.strip_prefix("inactive_file "))?.trim().parse::<u64>().ok()?;
    Some(most.saturating_sub(used.saturating_sub(cached)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_small_always_fits_and_what_is_absurd_never() {
        assert_eq!(too_little_for(UNASKED), None);
        if available_memory().is_some() {
            assert!(too_little_for(1 << 60).is_some());
        }
    }
}
