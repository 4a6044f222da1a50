//! Messages of bounded length, for any input.

use std::borrow::Cow;
use std::fmt;

/// The most items that a message lists; the others are counted.
pub const MAX_LISTED: usize = 8;

/// The longest untrusted text that a message quotes in full, in characters.
const MAX_QUOTED: usize = 120;

/// A list that shows its first items and counts the others: `a, b and 7 more`.
///
/// ```
/// # use burn_adapters_diagnostics::Listed;
/// assert_eq!(Listed(&["a", "b"]).to_string(), "a, b");
/// assert_eq!(Listed(&[0; 100]).to_string(), "0, 0, 0, 0, 0, 0, 0, 0 and 92 more");
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Listed<'a, T>(pub &'a [T]);

impl<T: fmt::Display> fmt::Display for Listed<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, item) in self.0.iter().take(MAX_LISTED).enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{}", shorten(&item.to_string()))?;
        }
        match self.0.len().saturating_sub(MAX_LISTED) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// The beginning of a text that is too long to be quoted in full.
///
/// ```
/// # use burn_adapters_diagnostics::shorten;
/// assert_eq!(shorten("a name"), "a name");
/// assert!(shorten(&"a".repeat(1_000_000)).len() < 200);
/// ```
pub fn shorten(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(MAX_QUOTED) {
        None => Cow::Borrowed(text),
        Some((end, _)) => Cow::Owned(format!("{}… ({} bytes)", &text[..end], text.len())),
    }
}
