//! How much memory new parameters need, against how much there is.
//!
//! A configuration or a file can ask for any size: `lora[r=1000000000]` is a valid string. Parameters are lazy, so the
//! sizes are added up from their shapes, in 128 bits, and compared with the memory of the machine before anything is
//! allocated. An allocation that fails would end the process.

use thiserror::Error;

/// Smaller requests are granted without a look at the system: adding a usual adapter stays cheap.
const ALWAYS_GRANTED: u128 = 16 << 20;
/// The bytes of a parameter: they are drawn and kept in single precision.
const PARAMETER: u128 = 4;

/// The size of parameters that have not been allocated, in checked arithmetic.
///
/// ```
/// use burn_adapters_core::Demand;
///
/// let mut demand = Demand::default();
/// demand.add(&[768, 1 << 62]);
/// assert_eq!(demand.parameters(), 768 << 62); // more than 64 bits hold
/// let error = demand.check("lower `r`").unwrap_err();
/// assert!(error.to_string().ends_with("lower `r`"));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Demand {
    parameters: u128,
    largest: u128,
}

impl Demand {
    /// Adds a tensor of this shape.
    pub fn add(&mut self, shape: &[usize]) {
        self.add_times(shape, 1);
    }

    /// Adds so many tensors of this shape.
    pub fn add_times(&mut self, shape: &[usize], count: usize) {
        let elements = shape.iter().fold(1_u128, |product, size| product.saturating_mul(*size as u128));
        self.parameters = self.parameters.saturating_add(elements.saturating_mul(count as u128));
        self.largest = self.largest.max(elements);
    }

    /// The number of parameters; 2¹²⁸ − 1 stands for that many and more.
    pub fn parameters(&self) -> u128 {
        self.parameters
    }

    /// The bytes that it takes to draw the parameters and keep them: those of all, and once more those of the largest
    /// tensor, which is drawn on the host before it is put on its device.
    pub fn bytes(&self) -> u128 {
        self.parameters.saturating_add(self.largest).saturating_mul(PARAMETER)
    }

    /// Whether it is so little that [`check`](Self::check) grants it without a look at the system.
    pub fn is_small(&self) -> bool {
        self.bytes() <= ALWAYS_GRANTED
    }

    /// Whether so much memory is available.
    ///
    /// # Errors
    /// If it is not; `remedy` then tells what to do, such as "lower `r`".
    pub fn check(&self, remedy: &'static str) -> Result<(), TooLarge> {
        if self.is_small() { Ok(()) } else { self.check_against(available_memory(), remedy) }
    }

    /// Whether it fits into so many bytes.
    ///
    /// # Errors
    /// If it does not.
    pub fn check_against(&self, available: u64, remedy: &'static str) -> Result<(), TooLarge> {
        let (parameters, needed) = (self.parameters, self.bytes());
        if needed <= u128::from(available) {
            return Ok(());
        }
        Err(TooLarge { parameters, needed, available, remedy })
    }
}

/// More parameters than there is memory for.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "too large for this machine: {parameters} parameters need {needed} bytes of memory ({}), but {available} bytes ({}) \
     are available: {remedy}",
    rounded(*needed), rounded(u128::from(*available))
)]
pub struct TooLarge {
    /// The number of parameters.
    pub parameters: u128,
    /// The bytes that they need.
    pub needed: u128,
    /// The bytes that there are.
    pub available: u64,
    /// What to do.
    pub remedy: &'static str,
}

fn rounded(bytes: u128) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if value < 1e6 { format!("{value:.1} {}", UNITS[unit]) } else { format!("{value:.1e} {}", UNITS[unit]) }
}

/// The bytes of memory that this process can still get: on Linux the least of what the system, the control group and
/// the limit of the address space leave; elsewhere what a large workstation has.
pub fn available_memory() -> u64 {
    available().unwrap_or_else(fixed)
}

/// Where the system cannot be asked.
fn fixed() -> u64 {
    if usize::BITS < 64 { 1 << 31 } else { 1 << 36 }
}

#[cfg(not(target_os = "linux"))]
fn available() -> Option<u64> {
    None
}

#[cfg(target_os = "linux")]
fn available() -> Option<u64> {
    let system = kilobytes(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")?;
    Some(system.min(control_group().unwrap_or(u64::MAX)).min(address_space().unwrap_or(u64::MAX)))
}

/// The value of a line `Key:   123 kB`, in bytes.
#[cfg(any(target_os = "linux", test))]
fn kilobytes(text: &str, key: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(key))?;
    value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// What `ulimit -v` leaves.
#[cfg(target_os = "linux")]
fn address_space() -> Option<u64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let limit = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    let limit: u64 = limit.split_whitespace().next()?.parse().ok()?;
    let used = kilobytes(&std::fs::read_to_string("/proc/self/status").ok()?, "VmSize:")?;
    Some(limit.saturating_sub(used))
}

/// What the control groups of the process leave, the narrowest of them: their limit less what is used, files that the
/// system can drop aside.
#[cfg(target_os = "linux")]
fn control_group() -> Option<u64> {
    use std::path::{Path, PathBuf};
    use std::sync::OnceLock;

    /// The folder of the group, its root, and the names of limit and use.
    type Group = (PathBuf, PathBuf, [&'static str; 2]);
    static GROUP: OnceLock<Option<Group>> = OnceLock::new();
    let find = || {
        let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        let under = |root: &str, path: &str| (Path::new(root).join(path.trim_start_matches('/')), PathBuf::from(root));
        groups.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
            if controllers.split(',').any(|controller| controller == "memory") {
                let (dir, root) = under("/sys/fs/cgroup/memory", path);
                Some((dir, root, ["memory.limit_in_bytes", "memory.usage_in_bytes"]))
            } else if number == "0" && Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
                let (dir, root) = under("/sys/fs/cgroup", path);
                Some((dir, root, ["memory.max", "memory.current"]))
            } else {
                None
            }
        })
    };
    let (dir, root, [limit, used]) = GROUP.get_or_init(find).as_ref()?;
    let number = |path: PathBuf| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let left = |dir: &Path| {
        let (limit, used) = (number(dir.join(limit))?, number(dir.join(used))?);
        let statistics = std::fs::read_to_string(dir.join("memory.stat")).unwrap_or_default();
        let files = statistics.lines().find_map(|line| line.strip_prefix("inactive_file ")?.trim().parse().ok());
        Some(limit.saturating_sub(used.saturating_sub(files.unwrap_or(0))))
    };
    // Inside a container the path may be that of the host: its root then stands for the group.
    dir.ancestors().take_while(|dir| dir.starts_with(root)).filter_map(left).min()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_added_without_wrapping() {
        let mut demand = Demand::default();
        demand.add(&[usize::MAX, usize::MAX]);
        assert_eq!(demand.parameters(), (usize::MAX as u128).pow(2));
        demand.add(&[usize::MAX, usize::MAX, usize::MAX]);
        assert_eq!(demand.parameters(), u128::MAX);
        assert_eq!(demand.bytes(), u128::MAX);
        assert!(demand.check("x").is_err());
    }

    #[test]
    fn an_error_tells_parameters_bytes_and_what_to_do() {
        let mut demand = Demand::default();
        demand.add_times(&[10, 100], 3);
        assert_eq!(demand.bytes(), 16_000);
        assert!(demand.check_against(16_000, "lower `r`").is_ok());
        let error = demand.check_against(15_999, "lower `r`").unwrap_err().to_string();
        assert_eq!(
            error,
            "too large for this machine: 3000 parameters need 16000 bytes of memory (16.0 kB), but 15999 bytes (16.0 kB) \
             are available: lower `r`"
        );
    }

    #[test]
    fn there_is_memory_and_it_is_bounded() {
        let available = available_memory();
        assert!(available > 1 << 20 && available < 1 << 50, "{available}");
        assert_eq!(kilobytes("MemTotal: 9 kB\nMemAvailable:   12 kB\n", "MemAvailable:"), Some(12 * 1024));
        assert_eq!(kilobytes("MemAvailable: 18446744073709551615 kB", "MemAvailable:"), None);
    }
}
