//! Untrusted text, made safe for a terminal.
//!
//! A label, a file name or a server's answer may contain escape sequences that rewrite the screen, marks that reverse
//! the reading direction, or invisible characters. Programs print such text through these functions; libraries return
//! it unchanged.

use std::borrow::Cow;

/// Text of several lines: control characters except line breaks and tabs, bidirectional controls and invisible
/// characters become visible escapes such as `\u{1b}`.
///
/// ```
/// # use burn_adapters_diagnostics::printable;
/// assert_eq!(printable("a\u{1b}[2J\nb"), "a\\u{1b}[2J\nb");
/// ```
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, |c| is_deceptive(c) && !matches!(c, '\n' | '\t'))
}

/// Text within a line, such as a name: like [`printable`], but line breaks and tabs are escaped too.
///
/// ```
/// # use burn_adapters_diagnostics::printable_line;
/// assert_eq!(printable_line("good\nerror: forged"), "good\\nerror: forged");
/// ```
pub fn printable_line(text: &str) -> Cow<'_, str> {
    escaped(text, is_deceptive)
}

/// JSON in which the same characters are escaped as in JSON strings. The value is unchanged.
///
/// ```
/// # use burn_adapters_diagnostics::printable_json;
/// assert_eq!(printable_json("{\"a\": \"\u{202e}b\"}"), r#"{"a": "\u202eb"}"#);
/// ```
pub fn printable_json(json: &str) -> Cow<'_, str> {
    // Line breaks are only between values: within strings they are already escaped.
    let is_bad = |c: char| (is_deceptive(c) || is_joiner(c)) && !matches!(c, '\n' | '\t' | '\r');
    if !json.chars().any(is_bad) {
        return Cow::Borrowed(json);
    }
    let mut text = String::with_capacity(json.len() + 32);
    for c in json.chars() {
        if is_bad(c) {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| text.push_str(&format!("\\u{unit:04x}")));
        } else {
            text.push(c);
        }
    }
    Cow::Owned(text)
}

fn escaped(text: &str, is_bad: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(|c| is_bad(c) || is_joiner(c)) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 32);
    let mut chars = text.chars().peekable();
    let mut before = None;
    while let Some(c) = chars.next() {
        // Joiners shape emoji and many scripts; next to ASCII they are only invisible.
        let after = chars.peek().copied();
        let joins = before.zip(after).is_some_and(|(a, b): (char, char)| !a.is_ascii() && !b.is_ascii());
        if is_bad(c) || is_joiner(c) && !joins {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
        before = Some(c);
    }
    Cow::Owned(safe)
}

/// Zero-width joiner and non-joiner.
fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200c}' | '\u{200d}')
}

/// Whether a terminal may interpret the character as a command, or a reader may not see it.
fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' // soft hyphen, marks, zero-width space
            | '\u{2028}'..='\u{202e}' // line and paragraph separators, embeddings and overrides
            | '\u{2060}'..='\u{206f}' // word joiner, invisible operators, isolates
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' // byte order mark, interlinear annotations
            | '\u{e0000}'..='\u{e007f}' // tags
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_commands_a_terminal_or_hides_is_escaped() {
        for (raw, safe) in [
            ("\u{1b}]0;title\u{7}", "\\u{1b}]0;title\\u{7}"),
            ("\u{9b}31m\u{7f}", "\\u{9b}31m\\u{7f}"),
            ("a\rb", "a\\rb"),
            ("\u{202e}evil\u{2066}", "\\u{202e}evil\\u{2066}"),
            ("go\u{200b}od", "go\\u{200b}od"),
            ("go\u{200d}od", "go\\u{200d}od"),
            ("a\u{2028}b\u{feff}", "a\\u{2028}b\\u{feff}"),
        ] {
            assert_eq!(printable(raw), safe);
            assert_eq!(printable_line(raw), safe);
        }
    }

    #[test]
    fn text_of_any_language_stays_as_it_is() {
        for text in
            ["plain, \\u{1b} too", "naïve Übung", "日本語\u{3000}です", "می\u{200c}خواهم", "👩\u{200d}👩\u{200d}👧 ok"]
        {
            assert_eq!(printable_line(text), text);
            assert!(matches!(printable(text), Cow::Borrowed(_)) || text.contains(is_joiner));
        }
        assert_eq!(printable("a\n\tb"), "a\n\tb");
    }

    #[test]
    fn json_keeps_its_value() {
        let value = serde_json::json!({"k\u{202e}": "a\u{1b}\u{9b}\u{200d}\u{e0041}\n\u{7f}\u{2028}é"});
        for json in [value.to_string(), format!("{value:#}")] {
            let safe = printable_json(&json);
            assert!(!safe.chars().any(|c| is_deceptive(c) && c != '\n'), "{safe}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&safe).ok(), Some(value.clone()));
        }
    }
}
