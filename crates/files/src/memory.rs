//! The available memory, so that a file that does not fit is an error instead of the end of the process.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::{FileError, FileErrorKind};

/// Files up to this size are read without checking the memory.
const UNASKED: u64 = 64 << 20;

/// The bytes of memory that this process can still get, if the system reports them: the least that the machine, the
/// control groups and the limit of the address space allow.
pub fn available_memory() -> Option<u64> {
    let machine = kilobytes(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:");
    machine.into_iter().chain(control_group()).chain(address_space()).min()
}

/// Checks that the contents of a file fit into memory. Small amounts always do.
///
/// # Errors
/// If less memory is available than `size` bytes.
pub fn check_memory(path: &Path, size: u64) -> Result<(), FileError> {
    match too_little_for(size) {
        Some(available) => Err(FileError::new(path, FileErrorKind::NoMemory { size, available })),
        None => Ok(()),
    }
}

/// The memory that is available, if it is less than this many bytes.
fn too_little_for(bytes: u64) -> Option<u64> {
    if bytes <= UNASKED {
        return None;
    }
    available_memory().filter(|available| bytes > *available)
}

/// The value of a line `Key:   123 kB`, in bytes.
fn kilobytes(text: &str, key: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(key))?;
    value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The rest of the limit of `ulimit -v`.
fn address_space() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let limit = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    let limit: u64 = limit.split_whitespace().next()?.parse().ok()?;
    let used = kilobytes(&fs::read_to_string("/proc/self/status").ok()?, "VmSize:")?;
    Some(limit.saturating_sub(used))
}

/// The folder of a control group, its root, and the names of the files with its limit and usage.
type Group = (PathBuf, PathBuf, [&'static str; 2]);

/// The least memory that the control groups of the process (of a container, for example) leave.
fn control_group() -> Option<u64> {
    static GROUP: OnceLock<Option<Group>> = OnceLock::new();
    let (dir, root, [limit, used]) = GROUP.get_or_init(find_group).as_ref()?;
    let number = |path: PathBuf| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let left = |dir: &Path| {
        let (limit, used) = (number(dir.join(limit))?, number(dir.join(used))?);
        // Cached files count as used, but can be reclaimed.
        let statistics = fs::read_to_string(dir.join("memory.stat")).unwrap_or_default();
        let cached = statistics.lines().find_map(|line| line.strip_prefix("inactive_file ")?.trim().parse().ok());
        Some(limit.saturating_sub(used.saturating_sub(cached.unwrap_or(0))))
    };
    // Inside a container, the path may be the host's: then only the root exists.
    dir.ancestors().take_while(|dir| dir.starts_with(root)).filter_map(left).min()
}

fn find_group() -> Option<Group> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let group =
            |root: &str, names| Some((Path::new(root).join(path.trim_start_matches('/')), PathBuf::from(root), names));
        if controllers.split(',').any(|controller| controller == "memory") {
            group("/sys/fs/cgroup/memory", ["memory.limit_in_bytes", "memory.usage_in_bytes"])
        } else if number == "0" {
            group("/sys/fs/cgroup", ["memory.max", "memory.current"])
        } else {
            None
        }
    })
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

    #[test]
    fn sizes_are_read_with_their_unit() {
        let text = "MemTotal: 9 kB\nMemAvailable:   12 kB\n";
        assert_eq!(kilobytes(text, "MemAvailable:"), Some(12 * 1024));
        assert_eq!(kilobytes("MemAvailable: 18446744073709551615 kB", "MemAvailable:"), None);
    }
}
