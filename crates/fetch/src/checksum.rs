//! Files identified by their SHA-256 checksum.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use burn_adapters_files::open;
use sha2::{Digest, Sha256};

/// A file and its expected contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    /// The file's name.
    pub(crate) name: &'static str,
    /// The SHA-256 checksum of its contents, in hexadecimal.
    pub(crate) sha256: &'static str,
    /// Its size in bytes.
    pub(crate) bytes: u64,
}

impl Known {
    /// Checks the contents of a file; the error describes the difference.
    pub(crate) fn check(&self, path: &Path) -> Result<(), String> {
        let opened = open(path).map_err(|error| error.to_string())?;
        if opened.size != self.bytes {
            return Err(format!(
                "{} has {} bytes, expected {} with the SHA-256 checksum {}",
                self.name, opened.size, self.bytes, self.sha256
            ));
        }
        let found = sha256(opened.file).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        if found == self.sha256 {
            Ok(())
        } else {
            Err(format!("{} has the SHA-256 checksum {found}, expected {}", self.name, self.sha256))
        }
    }
}

fn sha256(mut file: File) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_abc_is_the_standards() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("abc");
        std::fs::write(&path, "abc").unwrap();
        let known =
            Known { name: "abc", sha256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", bytes: 3 };
        known.check(&path).unwrap();
        std::fs::write(&path, "abd").unwrap();
        assert!(known.check(&path).unwrap_err().contains("expected ba78"));
    }
}
