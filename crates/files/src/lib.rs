//! Files that cannot be trusted: opened only if they are regular files, read within limits, and saved whole.
//!
//! Everything that the workspace reads from a path goes through [`open`], [`read`] or [`read_text`], so that a FIFO, a
//! device, a directory, a sparse file of a terabyte or a Git LFS pointer is an error wherever it turns up. What programs
//! print of it goes through [`printable`].

mod error;
mod json;
mod read;
mod shown;

pub use self::error::{FileError, FileErrorKind};
pub use self::json::{JsonError, parse_json};
pub use self::read::{MAX_TEXT, Opened, open, read, read_text};
pub use self::shown::{printable, printable_json, printable_line};
