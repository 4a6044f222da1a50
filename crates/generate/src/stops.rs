//! Strings that end a text which grows.

/// A text that ends before the first of some strings.
///
/// ```
/// use burn_adapters_generate::Stops;
///
/// let mut text = Stops::new(&["END".to_owned()]);
/// assert_eq!(text.push("one E"), "one ");
/// assert_eq!(text.push("ND two"), "");
/// assert!(text.is_stopped());
/// assert_eq!(text.into_text(), "one ");
/// ```
#[derive(Debug, Clone)]
pub struct Stops {
    stops: Vec<String>,
    text: String,
    /// The bytes of the text that were given.
    given: usize,
    is_stopped: bool,
}

impl Stops {
    /// A text that has not begun. Empty strings are not looked for.
    pub fn new(stops: &[String]) -> Self {
        let stops = stops.iter().filter(|stop| !stop.is_empty()).cloned().collect();
        Self { stops, text: String::new(), given: 0, is_stopped: false }
    }

    /// Whether a string was found.
    pub fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// Appends to the text; gives what is certain not to begin one of the strings.
    pub fn push(&mut self, piece: &str) -> String {
        if self.is_stopped {
            return String::new();
        }
        self.text.push_str(piece);
        // What was given cannot begin a string.
        let found = self.stops.iter().filter_map(|stop| self.text[self.given..].find(stop.as_str())).min();
        let end = match found {
            Some(at) => {
                self.is_stopped = true;
                self.text.truncate(self.given + at);
                self.text.len()
            }
            None => self.text.len() - self.held_back(),
        };
        self.take(end)
    }

    /// What was held back, at the end of the text.
    pub fn rest(&mut self) -> String {
        self.take(self.text.len())
    }

    /// The whole text.
    pub fn into_text(self) -> String {
        self.text
    }

    fn take(&mut self, end: usize) -> String {
        let piece = self.text[self.given..end].to_owned();
        self.given = end;
        piece
    }

    /// The bytes at the end of the text that may begin a string.
    fn held_back(&self) -> usize {
        let rest = &self.text[self.given..];
        let begins = |stop: &String| {
            let ends = stop.char_indices().map(|(end, _)| end).filter(|end| *end > 0 && *end <= rest.len());
            ends.filter(|end| rest.ends_with(&stop[..*end])).max().unwrap_or(0)
        };
        self.stops.iter().map(begins).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grow(stops: &[&str], pieces: &[&str]) -> (Vec<String>, String, String) {
        let mut grown = Stops::new(&stops.iter().map(|stop| (*stop).to_owned()).collect::<Vec<_>>());
        let given = pieces.iter().map(|piece| grown.push(piece)).collect();
        let rest = grown.rest();
        (given, rest, grown.into_text())
    }

    #[test]
    fn a_text_ends_before_a_string_that_is_in_several_pieces() {
        let (given, rest, text) = grow(&["END"], &["one E", "N", "D two"]);
        assert_eq!((given.concat().as_str(), rest.as_str(), text.as_str()), ("one ", "", "one "));
        assert_eq!(given, ["one ", "", ""]);
    }

    #[test]
    fn what_only_begins_a_string_is_given_later() {
        let (given, rest, text) = grow(&["END", "NO"], &["E", "NE", "N"]);
        assert_eq!(given, ["", "EN", ""]);
        assert_eq!((given.concat() + &rest, text.as_str()), ("ENEN".to_owned(), "ENEN"));
    }

    #[test]
    fn the_first_string_ends_the_text() {
        assert_eq!(grow(&["b", "a"], &["xxab"]).2, "xx");
        assert_eq!(grow(&["é"], &["caf", "é!"]).2, "caf");
        assert_eq!(grow(&[], &["a", "b"]).2, "ab");
    }
}
