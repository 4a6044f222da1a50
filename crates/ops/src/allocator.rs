//! The C library's allocator.

/// Tells the C library's allocator to keep freed memory for the next tensors instead of returning it to the system.
/// Returns true if it did; it has an effect with glibc (Linux) only.
///
/// A training step allocates and frees hundreds of tensors of several megabytes, and the next step allocates them
/// again. When freed memory is returned to the system, each page costs a page fault and is zeroed anew: about 7 % of a
/// step on a CPU. Call this once, at the start of a program whose memory serves nothing else. It affects the whole
/// process, so no library calls it for you.
///
/// ```
/// burn_adapters_ops::keep_freed_memory();
/// ```
pub fn keep_freed_memory() -> bool {
    keep()
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn keep() -> bool {
    /// The largest threshold that glibc accepts: larger tensors still come from the system one by one.
    const FROM_SYSTEM: i32 = 32 << 20;
    let settings =
        [(libc::M_MMAP_THRESHOLD, FROM_SYSTEM), (libc::M_TRIM_THRESHOLD, i32::MAX), (libc::M_TOP_PAD, 64 << 20)];
    settings.into_iter().all(|(option, value)| {
        // SAFETY: mallopt takes two integers, checks both, and locks the allocator while it changes its settings.
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
