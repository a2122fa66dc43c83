//! What can go wrong with a recorder.

use std::fmt;
use std::path::PathBuf;

use crate::segment::{self, Corruption};
use crate::storage;

/// Why a call other than an append failed.
#[derive(Debug)]
pub enum Error {
    /// An argument or a configuration field is out of range.
    Invalid(String),
    /// A file or directory that the library will not trust.
    Refused {
        /// Which.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// The system failed; [`storage::Error::is_no_space`] tells whether it had no space.
    Io(storage::Error),
    /// Another recorder has the log, or its stage, open.
    Locked(PathBuf),
    /// Bytes do not verify; nothing was changed.
    Corrupt(Box<Corruption>),
    /// A small file of the log is not what this library writes; nothing was changed.
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Something is of a newer format or layout; nothing was changed.
    Newer {
        /// The file.
        path: PathBuf,
        /// What is not known.
        what: String,
    },
    /// The system gave no memory or no thread.
    NoMemory(String),
    /// The recorder is shut down.
    Closed,
    /// The recorder is poisoned; the first error.
    Failed(String),
    /// The time was up first.
    TimedOut,
    /// This process was forked from the recorder's.
    Forked,
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(text) | Self::NoMemory(text) => out.write_str(text),
            Self::Failed(text) => write!(out, "the recorder has failed: {text}"),
            Self::Refused { path, why } => write!(out, "{}: refused: {why}", path.display()),
            Self::Io(error) => error.fmt(out),
            Self::Locked(path) => write!(out, "{}: locked by another recorder", path.display()),
            Self::Corrupt(corruption) => corruption.fmt(out),
            Self::Damaged { path, what } => write!(out, "{}: {what}", path.display()),
            Self::Newer { path, what } => write!(out, "{}: {what}", path.display()),
            Self::Closed => out.write_str("the recorder is shut down"),
            Self::TimedOut => out.write_str("the time was up before the event was durable"),
            Self::Forked => out.write_str("the recorder belongs to the process that this one was forked from"),
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

impl From<segment::Error> for Error {
    fn from(error: segment::Error) -> Self {
        match error {
            segment::Error::Io(error) => Self::Io(error),
            segment::Error::Corrupt(corruption) => Self::Corrupt(corruption),
            segment::Error::Newer { path, offset } => {
                Self::Newer { path, what: format!("offset {offset}: {}", crate::format::Reason::Version.text()) }
            }
            segment::Error::Refused { path, why } => Self::Refused { path, why: why.into() },
        }
    }
}

/// Why an append was not accepted; nothing was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendError {
    /// Id 0.
    Invalid,
    /// A commit or an abort without a reservation.
    NoReservation,
    /// The id is not above the last one.
    Order,
    /// No prepared segment, and the policy's time is up.
    Backpressure,
    /// Shut down.
    Closed,
    /// Poisoned.
    Failed,
    /// No prepared segment, because the disk is full.
    NoSpace,
    /// A forked child.
    Forked,
    /// Not the append thread.
    Thread,
}

impl AppendError {
    /// One sentence.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Invalid => "event_id is 0",
            Self::NoReservation => "there is no open reservation",
            Self::Order => "event_id is not above the last one",
            Self::Backpressure => "no prepared segment is left: the disk is slower than the engine",
            Self::Closed => "the recorder is shut down",
            Self::Failed => "the recorder is poisoned by an earlier write, sync or worker error",
            Self::NoSpace => "no prepared segment is left: the disk is full",
            Self::Forked => "the recorder belongs to the process that this one was forked from",
            Self::Thread => "not the append thread; walrec_attach_thread makes it one",
        }
    }
}

impl fmt::Display for AppendError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.text())
    }
}

impl std::error::Error for AppendError {}
