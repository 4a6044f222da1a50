//! The C library's allocator.

/// Tells the C library's allocator to keep freed memory for the next tensors instead of returning it to the system, and to
/// keep it in one place for all threads. Returns true if it did; it has an effect with glibc (Linux) only.
///
/// A training step allocates and frees hundreds of tensors of several megabytes, and the next step allocates them
/// again. When freed memory is returned to the system, each page costs a page fault and is zeroed anew: about 7 % of a
/// step on a CPU. And glibc gives every thread memory of its own, in blocks of 64 MB: what one thread freed, another cannot
/// use, and a large tensor does not fit into the rest of a block. With one place for all, a pass over 256 sentences on
/// MiniLM takes a tenth less memory. Threads then wait for each other where they allocate at the same time, which kernels do
/// rarely.
///
/// Call this once, at the start of a program whose memory serves nothing else, before it starts a thread. It affects the
/// whole process, so no library calls it for you.
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
    let settings = [
        (libc::M_MMAP_THRESHOLD, FROM_SYSTEM),
        (libc::M_TRIM_THRESHOLD, i32::MAX),
        (libc::M_TOP_PAD, 64 << 20),
        (libc::M_ARENA_MAX, 1),
    ];
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
