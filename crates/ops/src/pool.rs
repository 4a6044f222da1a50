//! The threads that share the work of the kernels.

/// Runs a program on one of the threads that share the work of the kernels on the CPU.
///
/// A pass is hundreds of short operations. Called from any other thread, each of them is handed over to these threads, and
/// the caller sleeps until it is woken; called from one of them, the caller does its part at once. Call it once, around what
/// a program does; it affects where the program runs, so that no library calls it for you. Without the feature `flex` it just
/// calls the program.
///
/// ```
/// let answer = burn_adapters_ops::on_working_thread(|| 6 * 7);
/// assert_eq!(answer, 42);
/// ```
pub fn on_working_thread<R: Send>(program: impl FnOnce() -> R + Send) -> R {
    #[cfg(feature = "flex")]
    {
        // As large as a main thread's stack. Where the threads are already there, they stay as they are.
        let _ = rayon::ThreadPoolBuilder::new().stack_size(8 << 20).build_global();
        rayon::scope(|_| program())
    }
    #[cfg(not(feature = "flex"))]
    program()
}
