//! Problems in a small text: where they are, what was probably meant, and how they are drawn.
//!
//! The small languages of the workspace (configuration strings, compositions, JSON files) share what is here, and only
//! that: each has its own grammar and its own kinds of problems.
//!
//! - [`Cursor`] reads a text from left to right and knows where it is.
//! - [`TextError`] holds a text and every [`Problem`] in it, each with a span and a kind that explains itself
//!   ([`Explain`]).
//! - [`nearest`] finds the known name that a misspelled one is closest to; [`shortened`], [`shorten`], [`alternatives`],
//!   [`counted`] and [`Listed`] put values into messages.
//! - [`parse_json`] reads JSON and refuses an object that holds a key twice.
//! - [`Snippet`] draws the line that a span is in, with carets. [`printable`] makes text from outside harmless for a
//!   terminal.
//!
//! Libraries return errors as plain values. Only programs draw them.
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
mod list;
mod nearest;
mod printable;
mod snippet;
mod words;

pub use cursor::Cursor;
pub use error::{Explain, Problem, TextError};
pub use json::{JsonError, check_unique_keys, deserialize_unique, parse_json};
pub use list::{Listed, MAX_LISTED, shorten};
pub use nearest::nearest;
pub use printable::{printable, printable_json, printable_line};
pub use snippet::{Paint, Plain, Snippet};
pub use words::{alternatives, closing, counted, shortened};
