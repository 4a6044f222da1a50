//! Progress of fetching.

/// Receives progress: messages, and bytes for progress bars. By default every method does nothing; `()` ignores
/// everything.
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
    /// A message for the user: the source of a file, or why a source failed.
    fn say(&mut self, text: &str) {}

    /// A file starts to arrive; the previous one, if any, is complete.
    fn started(&mut self, file: &str, bytes: u64) {}

    /// The number of bytes of the file received so far.
    fn received(&mut self, bytes: u64) {}

    /// No more files come from this source.
    fn finished(&mut self) {}
}

impl Progress for () {}
