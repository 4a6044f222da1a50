//! The C library's allocator.

/// Tells the C library's allocator to keep the memory that is freed, for the next tensors, instead of handing it back to
/// the system. True if it did; it does nothing but with glibc (Linux).
///
/// A training step allocates and frees hundreds of tensors of megabytes, the same ones each time. Handed back and asked
/// for again, each of their pages costs a page fault and is zeroed by the system: some 7 % of a step on a CPU. Call it once
/// at the start of a program that has nothing else to do with its memory. It affects the whole process, so that no library
/// calls it for you.
///
/// ```
/// burn_adapters_ops::keep_freed_memory();
/// ```
pub fn keep_freed_memory() -> bool {
    keep()
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn keep() -> bool {
    /// The largest that glibc takes: larger tensors still come from the system, one by one.
    const FROM_SYSTEM: i32 = 32 << 20;
    let settings =
        [(libc::M_MMAP_THRESHOLD, FROM_SYSTEM), (libc::M_TRIM_THRESHOLD, i32::MAX), (libc::M_TOP_PAD, 64 << 20)];
    settings.into_iter().all(|(option, value)| {
        // SAFETY: mallopt takes two numbers, checks both, and locks the allocator while it changes its settings.
        let done = unsafe { libc::mallopt(option, value) };
        done == 1
    })
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn keep() -> bool {
    false
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    fn glibc_takes_the_settings() {
        assert!(super::keep_freed_memory());
    }
}
