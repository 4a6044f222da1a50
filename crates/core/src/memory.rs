//! The memory that new parameters need, compared with the memory that is available.
//!
//! A configuration or a file can request any size: `lora[r=1000000000]` is a valid string. Because parameters are lazy,
//! their sizes are added up from their shapes, in 128 bits, and compared with the memory of the machine before anything
//! is allocated. A failed allocation would end the process.

use burn_adapters_files::available_memory;
use thiserror::Error;

/// Smaller requests are granted without querying the system, so that adding a typical adapter stays cheap.
const ALWAYS_GRANTED: u128 = 16 << 20;
/// Bytes per parameter: parameters are drawn and kept in single precision.
const PARAMETER: u128 = 4;

/// The size of parameters that have not been allocated, in checked arithmetic.
///
/// ```
/// use burn_adapters_core::Demand;
///
/// let mut demand = Demand::default();
/// demand.add(&[768, 1 << 62]);
/// assert_eq!(demand.parameters(), 768 << 62); // does not fit into 64 bits
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

    /// Adds `count` tensors of this shape.
    pub fn add_times(&mut self, shape: &[usize], count: usize) {
        let elements = shape.iter().fold(1_u128, |product, size| product.saturating_mul(*size as u128));
        self.parameters = self.parameters.saturating_add(elements.saturating_mul(count as u128));
        self.largest = self.largest.max(elements);
    }

    /// The number of parameters, capped at 2¹²⁸ − 1.
    pub fn parameters(&self) -> u128 {
        self.parameters
    }

    /// The bytes needed to draw the parameters and keep them: those of all parameters, plus once more those of the
    /// largest tensor, which is drawn on the host before it is moved to its device.
    pub fn bytes(&self) -> u128 {
        self.parameters.saturating_add(self.largest).saturating_mul(PARAMETER)
    }

    /// Whether the size is so small that [`check`](Self::check) grants it without querying the system.
    pub fn is_small(&self) -> bool {
        self.bytes() <= ALWAYS_GRANTED
    }

    /// Checks that the memory is available.
    ///
    /// # Errors
    /// If it is not; `remedy` says what to do, such as "lower `r`".
    pub fn check(&self, remedy: &'static str) -> Result<(), TooLarge> {
        if self.is_small() { Ok(()) } else { self.check_against(available(), remedy) }
    }

    /// Checks that the size fits into `available` bytes.
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

/// More parameters than fit into memory.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "too large for this machine: {parameters} parameters need {needed} bytes of memory ({}), but {available} bytes ({}) \
     are available: {remedy}",
    rounded(*needed), rounded(u128::from(*available))
)]
pub struct TooLarge {
    /// The number of parameters.
    pub parameters: u128,
    /// The bytes needed.
    pub needed: u128,
    /// The bytes available.
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

/// The bytes of memory available; if the system does not report them, those of a large workstation.
fn available() -> u64 {
    let assumed = if usize::BITS < 64 { 1 << 31 } else { 1 << 36 };
    available_memory().unwrap_or(assumed)
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
}
