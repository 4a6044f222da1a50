//! The tags `{% generation %}` and `{% endgeneration %}`, which mark what the assistant says.
//!
//! They are an extension of Transformers. The template engine does not know them, so they become a call block, whose function
//! puts a mark before and after its body. Whitespace around tags is removed for both alike.

use std::borrow::Cow;
use std::ops::Range;

/// The function of the call block.
pub(crate) const FUNCTION: &str = "_generation";

/// Noncharacters of Unicode, reserved for use within programs: they mark the start and the end of what the assistant says.
pub(crate) const MARKS: [char; 2] = ['\u{fdd0}', '\u{fdd1}'];

/// The source with call blocks, and whether there were any tags.
pub(crate) fn rewritten(source: &str) -> (Cow<'_, str>, bool) {
    let tags = tags(source);
    if tags.is_empty() {
        return (Cow::Borrowed(source), false);
    }
    let (mut text, mut end) = (String::with_capacity(source.len() + 32 * tags.len()), 0);
    for (range, name) in tags {
        text.push_str(&source[end..range.start]);
        text.push_str(&if name == "generation" { format!("call {FUNCTION}()") } else { "endcall".to_owned() });
        end = range.end;
    }
    text.push_str(&source[end..]);
    (Cow::Owned(text), true)
}

/// The names of the tags and where they are; comments and raw blocks are skipped.
fn tags(source: &str) -> Vec<(Range<usize>, &str)> {
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(start) = source[at..].find('{').map(|offset| at + offset) {
        let rest = &source[start..];
        at = match rest.as_bytes().get(1) {
            Some(b'#') => start + rest.find("#}").map_or(rest.len(), |end| end + 2),
            Some(b'{') => start + 2 + code(&rest[2..], "}}"),
            Some(b'%') => {
                let inner = &rest[2..];
                let body = inner.trim_start_matches(['-', '+']).trim_start();
                let name_start = start + rest.len() - body.len();
                let name = body.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
                let end = start + 2 + code(inner, "%}");
                if matches!(name, "generation" | "endgeneration") {
                    found.push((name_start..name_start + name.len(), name));
                }
                if name == "raw" { after_raw(source, end) } else { end }
            }
            _ => start + 1,
        };
    }
    found
}

/// The number of bytes up to and with the end of a tag; ends within string literals do not count.
fn code(text: &str, end: &str) -> usize {
    let mut quote = None;
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match quote {
            Some(_) if c == '\\' => {
                characters.next();
            }
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if text[at..].starts_with(end) => return at + end.len(),
            None if c == '"' || c == '\'' => quote = Some(c),
            None => {}
        }
    }
    text.len()
}

/// The position after a raw block.
fn after_raw(source: &str, start: usize) -> usize {
    let mut at = start;
    while let Some(offset) = source[at..].find("{%") {
        let tag = at + offset + 2;
        if source[tag..].trim_start_matches(['-', '+']).trim_start().starts_with("endraw") {
            return tag;
        }
        at = tag;
    }
    source.len()
}

/// The text without marks, and the ranges that they enclosed. Nested ranges are one.
///
/// # Errors
/// If marks do not come in pairs.
pub(crate) fn unmarked(marked: &str) -> Result<(String, Vec<Range<usize>>), &'static str> {
    let (mut text, mut spans, mut open) = (String::with_capacity(marked.len()), Vec::new(), Vec::new());
    for c in marked.chars() {
        if c == MARKS[0] {
            open.push(text.len());
        } else if c == MARKS[1] {
            let start = open.pop().ok_or("a part of the assistant's turn ends that did not begin")?;
            if open.is_empty() && start < text.len() {
                spans.push(start..text.len());
            }
        } else {
            text.push(c);
        }
    }
    if open.is_empty() { Ok((text, spans)) } else { Err("a part of the assistant's turn does not end") }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn tags_become_call_blocks_and_their_whitespace_control_stays() {
        let (text, any) = rewritten("a{%- generation -%}b{% endgeneration +%}\n{{ 'x' }}");
        assert!(any);
        assert_eq!(text, "a{%- call _generation() -%}b{% endcall +%}\n{{ 'x' }}");
    }

    #[test]
    fn what_is_no_tag_stays() {
        for same in [
            "{# {% generation %} #}",
            "{% raw %}{% generation %}{% endraw %}",
            "{{ '{% generation %}' }}",
            "{% if '%}{% generation %}' %}{% endif %}",
            "{% generations %} generation { % generation %}",
            "{{ unended {% generation %}",
            "{",
            "{%",
        ] {
            assert_eq!(rewritten(same), (Cow::Borrowed(same), false), "{same}");
        }
        assert!(rewritten("{% raw %}{% endraw %}{% generation %}").1);
    }

    #[test]
    fn marks_that_do_not_pair_are_errors() {
        let [open, close] = MARKS;
        assert_eq!(unmarked(&format!("a{open}bc{close}d")).unwrap(), ("abcd".into(), vec![1..3]));
        assert_eq!(
            unmarked(&format!("{open}a{open}b{close}c{close}{open}{close}")).unwrap(),
            ("abc".into(), vec![0..3])
        );
        assert!(unmarked(&format!("a{open}")).is_err() && unmarked(&format!("a{close}")).is_err());
    }
}
