//! Drawing of errors: the message, the text with the place marked, and the advice.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use burn_adapters_diagnostics::{Paint, printable};

use crate::error::CliError;

/// Where help is wrapped.
const WIDTH: usize = 96;

/// Draws an error to standard error.
pub(crate) fn print(error: &CliError) {
    let stderr = std::io::stderr();
    let text = render(error, stderr.is_terminal() && colors_wanted());
    // Where standard error is closed, there is nobody left to tell.
    let _ = stderr.lock().write_all(text.as_bytes());
}

/// Whether warnings and progress are left to another process.
static IS_MUTE: AtomicBool = AtomicBool::new(false);

/// Leaves warnings and progress to another process, which has the same to say.
pub(crate) fn mute() {
    IS_MUTE.store(true, Ordering::Relaxed);
}

/// Prints a warning to standard error.
pub(crate) fn warning(message: &str) {
    if IS_MUTE.load(Ordering::Relaxed) {
        return;
    }
    let stderr = std::io::stderr();
    let colors = Colors(stderr.is_terminal() && colors_wanted());
    let _ = writeln!(stderr.lock(), "{} {}", colors.yellow("warning:"), indented(message));
}

/// Prints a progress line to standard error.
pub(crate) fn say(text: &str) {
    if IS_MUTE.load(Ordering::Relaxed) {
        return;
    }
    let _ = writeln!(std::io::stderr().lock(), "{}", indented(text));
}

/// Makes text that may quote files harmless for a terminal, and indents its further lines.
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

/// Whether the environment allows colors (<https://no-color.org>).
pub(crate) fn colors_wanted() -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

struct Colors(bool);

impl Colors {
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

impl Paint for Colors {
    fn frame(&self, text: &str) -> String {
        self.blue(text)
    }

    fn pointer(&self, text: &str) -> String {
        self.red(text)
    }
}

/// The text of an error.
pub(crate) fn render(error: &CliError, colors: bool) -> String {
    let colors = Colors(colors);
    let mut text = String::new();
    for problem in &error.problems {
        text.push_str(&format!("{} {}\n", colors.red("error:"), indented(&problem.message)));
        if let Some(snippet) = &problem.snippet {
            text.push_str(&snippet.draw(&colors));
        }
    }
    if let Some(help) = &error.help {
        let lines: Vec<String> = printable(help).lines().flat_map(wrap).collect();
        text.push_str(&format!("{} {}\n", colors.blue("help:"), lines.join("\n      ")));
    }
    text
}

/// Breaks a line at spaces; a word that is longer than a line stays whole.
fn wrap(line: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in line.split(' ') {
        let last = lines.last_mut();
        match last {
            Some(last) if last.is_empty() || last.chars().count() + 1 + word.chars().count() <= WIDTH => {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_forge_a_line_of_ours() {
        let text =
            render(&CliError::mistake("the label `x\nerror: forged\u{1b}[2J` is not known").with_help("a\rb"), false);
        assert_eq!(text, "error: the label `x\n  error: forged\\u{1b}[2J` is not known\nhelp: a\\rb\n");
    }
}
