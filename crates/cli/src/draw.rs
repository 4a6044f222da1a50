//! Draws errors: the message, the text it is about with carets under the place, and what to do.

use std::io::{IsTerminal, Write};

use burn_adapters_files::{printable, printable_line};

use crate::error::{CliError, Snippet};

/// Columns of a text that are shown around the place; a configuration may be 64 KiB in one line.
const WINDOW: usize = 96;

/// Draws an error to standard error.
pub(crate) fn print(error: &CliError) {
    let stderr = std::io::stderr();
    let text = render(error, stderr.is_terminal() && colors_wanted());
    // Where standard error is closed, there is nobody left to tell.
    let _ = stderr.lock().write_all(text.as_bytes());
}

/// Prints a warning to standard error.
pub(crate) fn warning(message: &str) {
    let stderr = std::io::stderr();
    let paint = Paint(stderr.is_terminal() && colors_wanted());
    let _ = writeln!(stderr.lock(), "{} {}", paint.yellow("warning:"), indented(message));
}

/// Prints a line of what is being done to standard error.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", indented(text));
}

/// Text that may quote files: harmless for a terminal, and its further lines do not begin where ours do.
fn indented(text: &str) -> String {
    let text = printable(text);
    let mut lines = text.split('\n');
    let mut result = lines.next().unwrap_or_default().to_owned();
    for line in lines {
        let margin = if line.starts_with("  ") { "" } else { "  " };
        result.push_str(&format!("\n{margin}{line}"));
    }
    result
}

/// Whether the environment lets us use colours (<https://no-color.org>).
fn colors_wanted() -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

struct Paint(bool);

impl Paint {
    fn wrap(&self, code: &str, text: &str) -> String {
        if self.0 { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    fn red(&self, text: &str) -> String {
        self.wrap("1;31", text)
    }

    fn yellow(&self, text: &str) -> String {
        self.wrap("1;33", text)
    }

    fn blue(&self, text: &str) -> String {
        self.wrap("1;34", text)
    }
}

/// The text of an error.
pub(crate) fn render(error: &CliError, colors: bool) -> String {
    let paint = Paint(colors);
    let mut text = String::new();
    for problem in &error.problems {
        text.push_str(&format!("{} {}\n", paint.red("error:"), indented(&problem.message)));
        if let Some(snippet) = &problem.snippet {
            draw(snippet, &paint, &mut text);
        }
    }
    if let Some(help) = &error.help {
        let lines: Vec<String> = printable(help).lines().flat_map(wrap).collect();
        text.push_str(&format!("{} {}\n", paint.blue("help:"), lines.join("\n      ")));
    }
    text
}

/// Breaks a line at spaces; a word that is longer than a line stays whole.
fn wrap(line: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in line.split(' ') {
        let last = lines.last_mut();
        match last {
            Some(last) if last.is_empty() || last.chars().count() + 1 + word.chars().count() <= WINDOW => {
                if !last.is_empty() {
                    last.push(' ');
                }
                last.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn draw(snippet: &Snippet, paint: &Paint, text: &mut String) {
    let (number, line, start, end) = place(snippet);
    let (line, start, end) = crop(&line, start, end);
    let gutter = if number > 1 { number.to_string() } else { " ".into() };
    let blank = " ".repeat(gutter.len());
    if let Some(origin) = &snippet.origin {
        text.push_str(&format!("{blank}{} {}\n", paint.blue("-->"), printable_line(origin)));
    }
    let bar = paint.blue("|");
    text.push_str(&format!("{} {bar} {line}\n", paint.blue(&gutter)));
    let carets = format!("{} {}", "^".repeat((end - start).max(1)), printable_line(&snippet.label));
    text.push_str(&format!("{blank} {bar} {}{}\n", " ".repeat(start), paint.red(carets.trim_end())));
}

/// The line that a span starts in, its number, and the span's columns in it, counted in characters.
fn place(snippet: &Snippet) -> (usize, String, usize, usize) {
    let source = &snippet.source;
    let clamp = |at: usize| {
        let mut at = at.min(source.len());
        while !source.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let (start, end) = (clamp(snippet.span.start), clamp(snippet.span.end));
    let line_start = source[..start].rfind('\n').map_or(0, |at| at + 1);
    let line_end = source[start..].find('\n').map_or(source.len(), |at| start + at);
    let number = source[..line_start].matches('\n').count() + 1;
    // A tab would move the carets; other control characters would do worse to a terminal.
    let shown =
        |from: usize, to: usize| printable_line(&source[from..to.max(from)].replace(['\t', '\r'], " ")).into_owned();
    let columns = |from: usize, to: usize| shown(from, to).chars().count();
    let line = shown(line_start, line_end);
    let start_column = columns(line_start, start);
    (number, line, start_column, start_column + columns(start, end.min(line_end)))
}

/// Leaves of a long line what is around the span.
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
    use crate::error::{Kind, Problem};

    fn error(source: &str, span: std::ops::Range<usize>, label: &str) -> CliError {
        let snippet = Snippet { origin: None, source: source.into(), span, label: label.into() };
        CliError {
            kind: Kind::Mistake,
            problems: vec![Problem { message: "wrong".into(), snippet: Some(snippet) }],
            help: None,
        }
    }

    #[test]
    fn carets_stand_under_the_span() {
        let text = render(&error("seq_bn[reduction_facto=8]", 7..22, "did you mean `reduction_factor`?"), false);
        assert_eq!(
            text,
            "error: wrong\n  | seq_bn[reduction_facto=8]\n  |        ^^^^^^^^^^^^^^^ did you mean `reduction_factor`?\n"
        );
    }

    #[test]
    fn a_span_at_the_end_of_the_text_still_gets_a_caret() {
        let text = render(&error("lora[", 5..5, "expected `]`"), false);
        assert!(text.ends_with("  |      ^ expected `]`\n"), "{text}");
    }

    #[test]
    fn a_line_of_64_kib_is_cropped_around_the_span() {
        let source = format!("{}!{}", "é".repeat(30_000), "x".repeat(5_000));
        let text = render(&error(&source, 60_000..60_001, "here"), false);
        assert!(text.chars().count() < 400);
        let lines: Vec<&str> = text.lines().collect();
        let at = |line: &str, c: char| line.chars().position(|x| x == c);
        assert_eq!(at(lines[1], '!'), at(lines[2], '^'));
    }

    #[test]
    fn a_span_beyond_the_text_or_inside_a_character_is_clamped() {
        render(&error("é", 1..9, ""), false);
        render(&error("", 5..9, ""), false);
    }

    #[test]
    fn the_line_number_is_shown_for_a_file() {
        let text = render(&error("{\n  \"r\": 0\n}", 9..10, "must be 1 or more"), false);
        assert!(text.contains("2 |   \"r\": 0\n"), "{text}");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal_and_the_carets_stay_in_place() {
        let text = render(&error("a\u{1b}[31m=\t!", 8..9, "\u{202e}"), false);
        assert_eq!(text, "error: wrong\n  | a\\u{1b}[31m= !\n  |              ^ \\u{202e}\n");
    }

    #[test]
    fn a_value_cannot_forge_a_line_of_ours() {
        let text =
            render(&CliError::mistake("the label `x\nerror: forged\u{1b}[2J` is not known").with_help("a\rb"), false);
        assert_eq!(text, "error: the label `x\n  error: forged\\u{1b}[2J` is not known\nhelp: a\\rb\n");
    }
}
