//! Watching what is fetched.

/// Watches what is fetched: for messages and progress bars. Every method does nothing by default; `()` watches nothing.
///
/// ```
/// use burn_adapters_fetch::Progress;
///
/// struct Lines;
///
/// impl Progress for Lines {
///     fn say(&mut self, text: &str) {
///         eprintln!("{text}");
///     }
/// }
/// ```
#[allow(unused_variables)]
pub trait Progress {
    /// Something to tell the user: what is fetched from where, what did not work.
    fn say(&mut self, text: &str) {}

    /// A file begins to arrive; the one before it, if any, has arrived.
    fn started(&mut self, file: &str, bytes: u64) {}

    /// So many bytes of the file are here.
    fn received(&mut self, bytes: u64) {}

    /// No more files arrive from there.
    fn finished(&mut self) {}
}

impl Progress for () {}
