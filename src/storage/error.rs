//! A failed call of the operating system, with its place.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The operation of getting memory for a large buffer.
pub const MEMORY: &str = "get memory for";

/// What was tried, on which file, and what the system said.
#[derive(Debug)]
pub struct Error {
    /// The operation, as one would say it: "write", "rename".
    pub operation: &'static str,
    /// The file or directory.
    pub path: PathBuf,
    /// The system's error.
    pub source: io::Error,
}

impl Error {
    /// Whether the system had no space, or no more of it for this user.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        is_no_space(&self.source)
    }

    /// Whether a file could not be opened or made, or a directory not be listed, because there was no descriptor for it, or no memory, just
    /// then, or a buffer not be had. Nothing has happened, and nothing was promised. It says nothing of a read, a write or a sync.
    #[must_use]
    pub fn is_out_of_descriptors(&self) -> bool {
        matches!(self.operation, "open" | "create" | "list" | MEMORY)
            && matches!(self.source.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM))
    }
}

/// ENOSPC or EDQUOT.
pub(super) fn is_no_space(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT))
        || matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}: {}", self.operation, self.path.display(), self.source)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Names the place of a failed call.
pub trait Place<T> {
    /// `operation` on `name` in `directory`.
    ///
    /// # Errors
    /// The same error, with its place.
    fn at(self, operation: &'static str, directory: &Path, name: &str) -> Result<T, Error>;
}

impl<T> Place<T> for io::Result<T> {
    fn at(self, operation: &'static str, directory: &Path, name: &str) -> Result<T, Error> {
        self.map_err(|source| placed(source, operation, directory, name))
    }
}

/// Out of line: what a failure needs would stand at each call otherwise.
#[cold]
#[inline(never)]
fn placed(source: io::Error, operation: &'static str, directory: &Path, name: &str) -> Error {
    let path = if name.is_empty() { directory.to_path_buf() } else { directory.join(name) };
    Error { operation, path, source }
}
