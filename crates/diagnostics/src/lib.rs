//! Problems in small texts: their positions, suggestions, and drawing.
//!
//! The small languages of the workspace (configuration strings, compositions, JSON files) share this crate and nothing
//! else: each has its own grammar and its own kinds of problems.
//!
//! - [`Cursor`] reads a text from left to right and keeps the position.
//! - [`TextError`] holds a text and every [`Problem`] in it, each with a span and a kind that explains itself
//!   ([`Explain`]).
//! - [`nearest`] finds the known name closest to a misspelled one; [`shortened`], [`shorten`], [`alternatives`],
//!   [`counted`] and [`Listed`] format values for messages.
//! - [`parse_json`] reads JSON and rejects duplicate keys.
//! - [`Snippet`] draws the line of a span, with carets. [`printable`] makes untrusted text safe for a terminal.
//!
//! Libraries return errors as plain values; only programs draw them.
//!
//! ```
//! use std::fmt;
//! use burn_adapters_diagnostics::{Explain, Plain, Problem, Snippet, TextError, nearest};
//!
//! #[derive(Debug, PartialEq)]
//! struct UnknownColor(&'static str);
//!
//! impl fmt::Display for UnknownColor {
//!     fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
//!         write!(f, "unknown color `{}`", self.0)
//!     }
//! }
//!
//! impl Explain for UnknownColor {
//!     fn label(&self) -> String {
//!         nearest(self.0, ["red", "green"]).map_or(String::new(), |name| format!("did you mean `{name}`?"))
//!     }
//! }
//!
//! let error = TextError::new("color=gren", vec![Problem::new(6..10, UnknownColor("gren"))]);
//! assert_eq!(error.to_string(), "unknown color `gren` (did you mean `green`?)");
//!
//! let problem = &error.problems()[0];
//! let snippet = Snippet::new(error.text(), problem.span.clone(), problem.label());
//! assert_eq!(snippet.draw(&Plain), "  | color=gren\n  |       ^^^^ did you mean `green`?\n");
//! ```

mod cursor;
mod error;
mod json;
mod nearest;
mod printable;
mod snippet;
mod words;

pub use cursor::Cursor;
pub use error::{Explain, Problem, TextError};
pub use json::{JsonError, check_unique_keys, deserialize_unique, parse_json};
pub use nearest::nearest;
pub use printable::{printable, printable_json, printable_line};
pub use snippet::{Paint, Plain, Snippet};
pub use words::{Listed, MAX_LISTED, alternatives, closing, counted, shorten, shortened};
