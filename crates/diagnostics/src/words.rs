//! Values and names in messages.

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
