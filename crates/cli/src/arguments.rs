//! Values that begin with a hyphen, such as `--text '-5 stars'` or `--learning-rate -1`.
//!
//! Clap reads `-5 stars` as an unknown option or, where values may begin with a hyphen, `--json` as a text. So such
//! values are joined to their option (`--text=-5 stars`) beforehand, unless they look like one of our options.

use std::ffi::OsString;

/// Options whose values are text of any kind.
const TEXTS: [&str; 8] =
    ["--text", "--question", "--context", "--pair", "--system", "--text-column", "--label-column", "--route"];

/// The arguments as clap reads them.
pub(crate) fn joined(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut result: Vec<OsString> = Vec::new();
    let mut arguments = arguments.into_iter().peekable();
    while let Some(argument) = arguments.next() {
        let option = argument.to_str().filter(|text| is_long_option(text) && !text.contains('=')).map(str::to_owned);
        if argument == "--" {
            result.push(argument);
            result.extend(arguments);
            return result;
        }
        let Some(option) = option else {
            result.push(argument);
            continue;
        };
        let (is_text, several) =
            (TEXTS.contains(&option.as_str()), matches!(&*option, "--text" | "--question" | "--context" | "--pair"));
        let belongs = |value: &OsString| {
            let value = value.to_string_lossy();
            if !value.starts_with('-') || value == "-" {
                // `--text a b` gives two texts, as `--text a --text b` does.
                return several;
            }
            is_negative_number(&value) || is_text && !is_option(&value)
        };
        let mut any = false;
        while let Some(value) = arguments.next_if(|value| (several || !any) && belongs(value)) {
            any = true;
            let mut whole = OsString::from(format!("{option}="));
            whole.push(value);
            result.push(whole);
        }
        if !any {
            result.push(argument);
        }
    }
    result
}

/// Whether clap should decide: `--name`, `--name=value`, `-q`.
fn is_option(text: &str) -> bool {
    is_long_option(text)
        || text == "--"
        || text.len() == 2 && text.starts_with('-') && text.as_bytes()[1].is_ascii_alphabetic()
}

fn is_long_option(text: &str) -> bool {
    let Some(name) = text.strip_prefix("--") else { return false };
    let name = name.split('=').next().unwrap_or_default();
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

fn is_negative_number(text: &str) -> bool {
    text.starts_with('-') && text.parse::<f64>().is_ok_and(|number| !number.is_nan())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(arguments: &[&str]) -> Vec<String> {
        joined(arguments.iter().map(OsString::from)).iter().map(|text| text.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn texts_may_begin_with_a_hyphen() {
        assert_eq!(of(&["p", "--text", "-5 stars"]), ["p", "--text=-5 stars"]);
        assert_eq!(
            of(&["--text", "a", "- item", "--- x", "-", "", "--json", "-q"]),
            ["--text=a", "--text=- item", "--text=--- x", "--text=-", "--text=", "--json", "-q"]
        );
        assert_eq!(of(&["--text-column", "-x y", "--text", "-great"]), ["--text-column=-x y", "--text=-great"]);
    }

    #[test]
    fn options_stay_options() {
        for same in [
            &["--text", "--json"][..],
            &["--text", "--model=x"],
            &["--input", "-", "--json"],
            &["--weights=1,-0.5", "a", "b"],
            &["--model", "-x"],
            &["--", "--text", "-5"],
        ] {
            assert_eq!(of(same), same);
        }
    }

    #[test]
    fn negative_numbers_are_values() {
        assert_eq!(of(&["--learning-rate", "-1e-3", "--seed", "-1"]), ["--learning-rate=-1e-3", "--seed=-1"]);
        assert_eq!(of(&["--learning-rate", "-inf"]), ["--learning-rate=-inf"]);
    }
}
