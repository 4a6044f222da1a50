//! Values and names in messages.

use std::borrow::Cow;
use std::fmt;

/// The longest text that a message about a small text quotes in full, in characters.
const MOST: usize = 40;

/// At most the first 40 characters of a text, on one line.
///
/// ```
/// # use burn_adapters_diagnostics::shortened;
/// assert_eq!(shortened("a\nb"), "a b");
/// assert_eq!(shortened(&"r".repeat(41)), format!("{}…", "r".repeat(40)));
/// ```
pub fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(MOST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(MOST).is_some() {
        short.push('…');
    }
    short
}

/// A choice between names: `` `a`, `b` or `c` ``; `nothing` if there are none.
///
/// ```
/// # use burn_adapters_diagnostics::alternatives;
/// assert_eq!(alternatives(["static", "dynamic"]), "`static` or `dynamic`");
/// ```
pub fn alternatives<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names: Vec<_> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match (names.pop(), names.as_slice()) {
        (None, _) => "nothing".into(),
        (Some(only), []) => only,
        (Some(last), names) => format!("{} or {last}", names.join(", ")),
    }
}

/// A number and its noun: `1 row`, `2 rows`.
///
/// ```
/// # use burn_adapters_diagnostics::counted;
/// assert_eq!(counted(2, "branch", "branches"), "2 branches");
/// ```
pub fn counted(number: usize, singular: &str, plural: &str) -> String {
    format!("{number} {}", if number == 1 { singular } else { plural })
}

/// The counterpart of a bracket or quote: the closing bracket, or the same quote.
///
/// ```
/// # use burn_adapters_diagnostics::closing;
/// assert_eq!((closing("["), closing("'''")), ("]", "'''"));
/// ```
pub fn closing(opener: &str) -> &str {
    match opener {
        "[" => "]",
        "{" => "}",
        "(" => ")",
        quote => quote,
    }
}

// Messages of bounded length, for any input.

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
