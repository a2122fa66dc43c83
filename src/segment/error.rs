//! What can be wrong with a segment, and where.

use std::fmt;
use std::path::PathBuf;

use crate::format::Reason;
use crate::storage;

/// Bytes that do not verify, with their place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corruption {
    /// The file.
    pub path: PathBuf,
    /// The segment.
    pub segment_index: u32,
    /// The block, if the place lies in one.
    pub block: Option<u32>,
    /// Byte offset in the segment.
    pub offset: u64,
    /// The rule that is broken.
    pub reason: Reason,
    /// What was expected and what is there, if that can be said.
    pub detail: String,
}

impl Corruption {
    /// Of a segment that is there in both forms, in neither of which it verifies: the place is this one's.
    #[must_use]
    pub fn in_both_forms(self, other: &Self) -> Self {
        let detail = format!("{self}; {other}");
        Self { reason: Reason::BothForms, detail, ..self }
    }
}

impl fmt::Display for Corruption {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: segment {}", self.path.display(), self.segment_index)?;
        if let Some(block) = self.block {
            write!(out, ", block {block}")?;
        }
        write!(out, ", offset {}: {}", self.offset, self.reason.text())?;
        if self.detail.is_empty() { Ok(()) } else { write!(out, " ({})", self.detail) }
    }
}

/// Why a segment could not be read.
#[derive(Debug)]
pub enum Error {
    /// The system failed.
    Io(storage::Error),
    /// The bytes do not verify.
    Corrupt(Box<Corruption>),
    /// The bytes are of a newer format.
    Newer {
        /// The file.
        path: PathBuf,
        /// Byte offset in the segment.
        offset: u64,
    },
    /// The file is not one the library will trust.
    Refused {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: &'static str,
    },
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

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(out),
            Self::Corrupt(corruption) => corruption.fmt(out),
            Self::Newer { path, offset } => {
                write!(out, "{}: offset {offset}: {}", path.display(), Reason::Version.text())
            }
            Self::Refused { path, why } => write!(out, "{}: refused: {why}", path.display()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        if let Self::Io(error) = self { Some(error) } else { None }
    }
}
