//! Untrusted files: only regular files are opened, they are read within limits, and saved atomically.
//!
//! The workspace opens every file with [`open`], [`read`] or [`read_text`], so that a FIFO, a device, a directory, a
//! sparse file of a terabyte or a Git LFS pointer is always an error. Programs print text from files with
//! [`printable`].
//!
//! The workspace writes every file with [`FolderSave`] or [`save_file`]: if a save fails or is killed, the old contents
//! are unchanged, byte for byte. [`FolderClaim`] reserves a folder for one process while it works on something to save
//! there.

mod error;
mod folder;
mod memory;
mod read;
mod save;

// Useful for everyone who reads files.
pub use burn_adapters_diagnostics::{
    JsonError, Listed, MAX_LISTED, check_unique_keys, deserialize_unique, parse_json, printable, printable_json,
    printable_line, shorten,
};

pub use self::error::{FileError, FileErrorKind};
pub use self::folder::FolderKind;
pub use self::memory::{available_memory, check_memory};
pub use self::read::{MAX_CONFIG, MAX_DATA, MAX_TEXT, MAX_WEIGHTS, Opened, is_there, open, read, read_text};
pub use self::save::{FolderClaim, FolderSave, SaveError, remove_folder, save_file, save_file_with};
