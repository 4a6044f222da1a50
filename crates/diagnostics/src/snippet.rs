//! Drawing the position of a problem: its line, and carets under the span.

use std::ops::Range;

use crate::printable_line;

/// The columns of a line that are shown around the span; a configuration may be 64 KiB in one line.
const WINDOW: usize = 96;

/// The styles of the parts of a drawing; by default, none.
pub trait Paint {
    /// The frame of the text: line numbers, bars, arrows.
    fn frame(&self, text: &str) -> String {
        text.to_owned()
    }

    /// The carets and the label.
    fn pointer(&self, text: &str) -> String {
        text.to_owned()
    }
}

/// Without colors.
#[derive(Debug, Clone, Copy)]
pub struct Plain;

impl Paint for Plain {}

/// A span of a text to be drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snippet {
    /// The source of the text, such as a file; `None` for a command line argument.
    pub origin: Option<String>,
    /// The whole text.
    pub source: String,
    /// The span in bytes of the text. A span outside the text, or within a character, is moved into it.
    pub span: Range<usize>,
    /// The label for the carets.
    pub label: String,
}

impl Snippet {
    /// A span of a text that is not from a file.
    pub fn new(source: impl Into<String>, span: Range<usize>, label: impl Into<String>) -> Self {
        Self { origin: None, source: source.into(), span, label: label.into() }
    }

    /// The line in which the span starts and, below it, carets and the label. Long lines are cropped around the span,
    /// and control characters are escaped.
    pub fn draw(&self, paint: &impl Paint) -> String {
        let (number, line, start, end) = self.place();
        let (line, start, end) = crop(&line, start, end);
        let gutter = if number > 1 { number.to_string() } else { " ".into() };
        let blank = " ".repeat(gutter.len());
        let mut text = String::new();
        if let Some(origin) = &self.origin {
            text.push_str(&format!("{blank}{} {}\n", paint.frame("-->"), printable_line(origin)));
        }
        let bar = paint.frame("|");
        text.push_str(&format!("{} {bar} {line}\n", paint.frame(&gutter)));
        let carets = format!("{} {}", "^".repeat((end - start).max(1)), printable_line(&self.label));
        text.push_str(&format!("{blank} {bar} {}{}\n", " ".repeat(start), paint.pointer(carets.trim_end())));
        text
    }

    /// The number of the line in which the span starts, the line, and the span's columns in it, in characters.
    fn place(&self) -> (usize, String, usize, usize) {
        let source = &self.source;
        let start = source.floor_char_boundary(self.span.start);
        let end = source.floor_char_boundary(self.span.end);
        let line_start = source[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = source[start..].find('\n').map_or(source.len(), |at| start + at);
        let number = source[..line_start].matches('\n').count() + 1;
        // A tab would shift the carets; other control characters could affect the terminal.
        let shown = |from: usize, to: usize| {
            printable_line(&source[from..to.max(from)].replace(['\t', '\r'], " ")).into_owned()
        };
        let columns = |from: usize, to: usize| shown(from, to).chars().count();
        let line = shown(line_start, line_end);
        let start_column = columns(line_start, start);
        (number, line, start_column, start_column + columns(start, end.min(line_end)))
    }
}

/// Crops a long line to the part around the span.
fn crop(line: &str, start: usize, end: usize) -> (String, usize, usize) {
    let length = line.chars().count();
    if length <= WINDOW {
        return (line.to_owned(), start, end);
    }
    let from = start.saturating_sub(WINDOW / 3);
    let to = (from + WINDOW).min(length);
    let middle: String = line.chars().skip(from).take(to - from).collect();
    let before = if from > 0 { "…" } else { "" };
    let after = if to < length { "…" } else { "" };
    let shift = before.chars().count();
    (format!("{before}{middle}{after}"), start - from + shift, end.min(to).max(start) - from + shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(source: &str, span: Range<usize>, label: &str) -> String {
        Snippet::new(source, span, label).draw(&Plain)
    }

    #[test]
    fn carets_stand_under_the_span() {
        assert_eq!(
            draw("seq_bn[reduction_facto=8]", 7..22, "did you mean `reduction_factor`?"),
            "  | seq_bn[reduction_facto=8]\n  |        ^^^^^^^^^^^^^^^ did you mean `reduction_factor`?\n"
        );
    }

    #[test]
    fn a_span_at_the_end_of_the_text_still_gets_a_caret() {
        let text = draw("lora[", 5..5, "expected `]`");
        assert!(text.ends_with("  |      ^ expected `]`\n"), "{text}");
    }

    #[test]
    fn a_line_of_64_kib_is_cropped_around_the_span() {
        let source = format!("{}!{}", "é".repeat(30_000), "x".repeat(5_000));
        let text = draw(&source, 60_000..60_001, "here");
        assert!(text.chars().count() < 400);
        let lines: Vec<&str> = text.lines().collect();
        let at = |line: &str, c: char| line.chars().position(|x| x == c);
        assert_eq!(at(lines[0], '!'), at(lines[1], '^'));
    }

    #[test]
    fn a_span_beyond_the_text_or_inside_a_character_is_moved() {
        assert!(draw("é", 1..9, "").contains('^'));
        assert!(draw("", 5..9, "").contains('^'));
    }

    #[test]
    fn the_line_number_and_the_file_are_shown() {
        let mut snippet = Snippet::new("{\n  \"r\": 0\n}", 9..10, "must be 1 or more");
        snippet.origin = Some("a.json".into());
        let drawn = snippet.draw(&Plain);
        assert_eq!(drawn, " --> a.json\n2 |   \"r\": 0\n  |        ^ must be 1 or more\n");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal_and_the_carets_stay_in_place() {
        let text = draw("a\u{1b}[31m=\t!", 8..9, "\u{202e}");
        assert_eq!(text, "  | a\\u{1b}[31m= !\n  |              ^ \\u{202e}\n");
    }
}
