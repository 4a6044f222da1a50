//! Files that cannot be trusted: opened only if they are regular, read within limits, and saved whole.
//!
//! Everything that the workspace reads from a path goes through [`open`], [`read`] or [`read_text`], so that a FIFO, a
//! device, a directory, a sparse file of a terabyte or a Git LFS pointer is an error wherever it turns up. What programs
//! print of it goes through [`printable`].
//!
//! Everything that it writes goes through [`FolderSave`] or [`save_file`]: a save that fails or is killed leaves what
//! was there, byte for byte. [`FolderClaim`] keeps a folder for one process while it works on what it will save there.

mod error;
mod folder;
mod memory;
mod read;
mod save;

// What everyone who reads files needs beside them.
pub use burn_adapters_diagnostics::{
    JsonError, Listed, MAX_LISTED, check_unique_keys, deserialize_unique, parse_json, printable, printable_json,
    printable_line, shorten,
};

pub use self::error::{FileError, FileErrorKind};
pub use self::folder::FolderKind;
pub use self::memory::{available_memory, check_memory};
pub use self::read::{MAX_CONFIG, MAX_DATA, MAX_TEXT, MAX_WEIGHTS, Opened, is_there, open, read, read_text};
pub use self::save::{FolderClaim, FolderSave, SaveError, remove_folder, save_file, save_file_with};
