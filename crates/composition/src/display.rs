//! Prints a composition as the shortest equivalent text.

use std::fmt;

use crate::spans::Spans;
use crate::{Block, Composition};

/// Words with a meaning, which must be quoted as adapter names. `MultiTask` is a block of the reference.
pub(crate) fn is_keyword(word: &str) -> bool {
    Block::of_name(word).is_some() || matches!(word, "none" | "None" | "True" | "False" | "MultiTask")
}

/// Whether a name may contain this character without quotes.
pub(crate) fn in_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '+' | '/' | '.' | '@')
}

/// Writes a name, either bare or in the quotes that need fewer escapes.
pub(crate) fn quoted(name: &str) -> String {
    let mut out = String::new();
    write_name(name, &mut out);
    out
}

pub(crate) fn write_name(name: &str, out: &mut String) {
    if !name.is_empty() && !is_keyword(name) && name.chars().all(in_name) {
        out.push_str(name);
        return;
    }
    let quote = if name.matches('\'').count() > name.matches('"').count() { '"' } else { '\'' };
    out.push(quote);
    for c in name.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => out.extend(['\\', c]),
            c if u32::from(c) < 0x100 && c.is_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if is_invisible(c) => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push(quote);
}

/// Characters that change the direction of text or break the line: a text must not look like another one.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// The shorter of Rust's two notations for a number; both are parsed as the same value.
fn number(value: f64) -> String {
    let (plain, exponent) = (format!("{value}"), format!("{value:?}"));
    if exponent.len() < plain.len() { exponent } else { plain }
}

fn list<T>(values: &[T], spans: &mut Spans, out: &mut String, mut write: impl FnMut(&T, &mut String)) {
    out.push('[');
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        let start = out.len();
        write(value, out);
        spans.items.push(start..out.len());
    }
    out.push(']');
}

fn sizes(values: &[usize], children: usize, spans: &mut Spans, out: &mut String) {
    match values {
        [first, rest @ ..] if values.len() == children && rest.iter().all(|size| size == first) => {
            out.push_str(&first.to_string());
        }
        _ => list(values, spans, out, |size, out| out.push_str(&size.to_string())),
    }
}

fn argument(name: &str, spans: &mut Spans, out: &mut String, write: impl FnOnce(&mut Spans, &mut String)) {
    if !out.ends_with('(') {
        out.push_str(", ");
    }
    out.push_str(name);
    out.push('=');
    let start = out.len();
    write(spans, out);
    spans.argument = Some(start..out.len());
}

/// Writes the text, and returns the span of each part.
pub(crate) fn write(composition: &Composition, out: &mut String) -> Spans {
    let mut spans = Spans::default();
    let start = out.len();
    let Some(block) = composition.block() else {
        if let Composition::Adapter(name) = composition {
            write_name(name, out);
        }
        return Spans { whole: start..out.len(), head: start..out.len(), ..spans };
    };
    out.push_str(block.name());
    spans.head = start..out.len();
    out.push('(');
    for (index, child) in composition.children().iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        let child = write(child, out);
        spans.children.push(child);
    }
    match composition {
        Composition::Fuse { name: Some(name), .. } => {
            argument("name", &mut spans, out, |_, out| write_name(name, out));
        }
        Composition::Split { children, splits } => {
            argument("splits", &mut spans, out, |spans, out| sizes(splits, children.len(), spans, out));
        }
        Composition::BatchSplit { children, batch_sizes } => {
            argument("batch_sizes", &mut spans, out, |spans, out| sizes(batch_sizes, children.len(), spans, out));
        }
        Composition::Average { weights, normalize_weights, .. } => {
            if let Some(weights) = weights {
                argument("weights", &mut spans, out, |spans, out| {
                    list(weights, spans, out, |weight, out| out.push_str(&number(*weight)));
                });
            }
            if !normalize_weights {
                // No span: broken rules point at the weights instead.
                let weights = spans.argument.take();
                argument("normalize_weights", &mut spans, out, |_, out| out.push_str("False"));
                spans.argument = weights;
            }
        }
        Composition::Route(route) if !route.is_open() => {
            let list_start = out.len();
            list(route.rows(), &mut spans, out, |row, out| match row {
                Some(name) => write_name(name, out),
                None => out.push_str("none"),
            });
            spans.argument = Some(list_start..out.len());
        }
        _ => {}
    }
    out.push(')');
    spans.whole = start..out.len();
    spans
}

impl fmt::Display for Composition {
    /// Writes the text with the fewest arguments that parses as an equal composition: names are quoted only where
    /// necessary, equal sizes are written as one number, and defaults are left out.
    ///
    /// Weights that are not finite are written as text that cannot be parsed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        write(self, &mut text);
        f.pad(&text)
    }
}
