//! The worker threads of the kernels.

/// Runs a program on one of the worker threads of the kernels.
///
/// A pass consists of hundreds of short operations. Called from any other thread, each of them is handed to the worker
/// threads while the caller sleeps; called from a worker thread, the caller starts its part at once. Call this once,
/// around the whole program. It decides where the program runs, so no library calls it for you. Without the feature
/// `flex`, it just calls the program.
///
/// ```
/// let answer = burn_adapters_ops::on_working_thread(|| 6 * 7);
/// assert_eq!(answer, 42);
/// ```
pub fn on_working_thread<R: Send>(program: impl FnOnce() -> R + Send) -> R {
    on_working_thread_of(None, program)
}

/// As [`on_working_thread`], with this number of worker threads; by default as many as the process has cores, or as
/// `RAYON_NUM_THREADS` says, which counts more than the argument.
pub fn on_working_thread_of<R: Send>(threads: Option<usize>, program: impl FnOnce() -> R + Send) -> R {
    #[cfg(feature = "flex")]
    {
        let threads = threads.filter(|_| std::env::var_os("RAYON_NUM_THREADS").is_none()).unwrap_or(0);
        // As large as a main thread's stack. Worker threads that exist already are kept.
        let _ = rayon::ThreadPoolBuilder::new().num_threads(threads).stack_size(8 << 20).build_global();
        rayon::scope(|_| program())
    }
    #[cfg(not(feature = "flex"))]
    {
        let _ = threads;
        program()
    }
}
