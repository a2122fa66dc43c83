//! What can go wrong while reading.

use std::fmt;
use std::path::PathBuf;

use crate::segment::{self, Corruption};
use crate::storage;

/// Why reading stopped. The reader stays where it was.
#[derive(Debug)]
pub enum Error {
    /// The system failed.
    Io(storage::Error),
    /// Bytes that must be there do not verify.
    Corrupt(Box<Corruption>),
    /// Bytes of a newer format.
    Newer {
        /// The file.
        path: PathBuf,
        /// Byte offset.
        offset: u64,
    },
    /// The event, or a segment the reader had not come to, has been retired.
    NotFound(String),
    /// A file that the library will not trust.
    Refused(String),
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(out),
            Self::Corrupt(corruption) => corruption.fmt(out),
            Self::Newer { path, offset } => {
                write!(out, "{}: offset {offset}: {}", path.display(), crate::format::Reason::Version.text())
            }
            Self::NotFound(text) | Self::Refused(text) => out.write_str(text),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        if let Self::Io(error) = self { Some(error) } else { None }
    }
}

impl From<storage::Error> for Error {
    fn from(error: storage::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Corruption> for Error {
    fn from(corruption: Corruption) -> Self {
        Self::Corrupt(Box::new(corruption))
    }
}

impl From<segment::Error> for Error {
    fn from(error: segment::Error) -> Self {
        match error {
            segment::Error::Io(error) => Self::Io(error),
            segment::Error::Corrupt(corruption) => Self::Corrupt(corruption),
            segment::Error::Newer { path, offset } => Self::Newer { path, offset },
            refused @ segment::Error::Refused { .. } => Self::Refused(refused.to_string()),
        }
    }
}
