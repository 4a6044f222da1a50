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

/// The tags of marked turns, by name.
fn tags(source: &str) -> Vec<(Range<usize>, &str)> {
    let named = code_parts(source).into_iter().filter_map(|part| Some((part.name?, part.start)));
    let marks = named.filter(|(name, _)| matches!(&source[name.clone()], "generation" | "endgeneration"));
    marks.map(|(name, _)| (name.clone(), &source[name])).collect()
}

/// What stands between the delimiters of a tag or an expression.
pub(crate) struct CodePart {
    /// Where it begins, after the opening delimiter.
    pub(crate) start: usize,
    /// Where it ends, before the closing delimiter.
    pub(crate) end: usize,
    /// Where the name of a tag is; `None` in expressions.
    pub(crate) name: Option<Range<usize>>,
}

/// The tags and expressions of a template; comments and raw blocks are skipped.
pub(crate) fn code_parts(source: &str) -> Vec<CodePart> {
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(start) = source[at..].find('{').map(|offset| at + offset) {
        let rest = &source[start..];
        let mut part = |end: &str, name: Option<Range<usize>>| {
            let length = code(&rest[2..], end);
            let after = start + 2 + length;
            let is_closed = source[..after].ends_with(end) && length >= end.len();
            found.push(CodePart { start: start + 2, end: if is_closed { after - end.len() } else { after }, name });
            after
        };
        at = match rest.as_bytes().get(1) {
            Some(b'#') => start + rest.find("#}").map_or(rest.len(), |end| end + 2),
            Some(b'{') => part("}}", None),
            Some(b'%') => {
                let body = rest[2..].trim_start_matches(['-', '+']).trim_start();
                let name_start = start + rest.len() - body.len();
                let name = body.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
                let end = part("%}", Some(name_start..name_start + name.len()));
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
#[allow(clippy::unwrap_used, clippy::single_range_in_vec_init)]
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
