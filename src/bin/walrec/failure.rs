//! How a command ends when it does not end well: what is said, and the exit code.

use std::fmt;
use std::io;
use std::path::Path;

use walrec::{recorder, recovery, segment, storage};

/// Exit code of a wrong use.
pub(crate) const USAGE: u8 = 2;

/// Why a command ended.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something in the log does not verify: 1.
    Fault(String),
    /// The same, when the command's own output has told it.
    FaultTold(String),
    /// The command cannot be used so: 2.
    Usage(String),
    /// There is no such log, event or recorder: 3.
    NotFound(String),
    /// The system failed, or a file is not to be judged by this version: 4.
    System(String),
    /// Nobody reads the output any more: 0.
    OutputClosed,
}

impl Failure {
    /// A failed call of the system on `path`.
    pub(crate) fn io(operation: &str, path: &Path, error: &io::Error) -> Self {
        let text = format!("{}: {operation}: {error}", path.display());
        if error.kind() == io::ErrorKind::NotFound { Self::NotFound(text) } else { Self::System(text) }
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::OutputClosed => 0,
            Self::Fault(_) | Self::FaultTold(_) => 1,
            Self::Usage(_) => USAGE,
            Self::NotFound(_) => 3,
            Self::System(_) => 4,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(text)
            | Self::FaultTold(text)
            | Self::Usage(text)
            | Self::NotFound(text)
            | Self::System(text) => out.write_str(text),
            Self::OutputClosed => out.write_str("standard output was closed"),
        }
    }
}

impl From<storage::Error> for Failure {
    fn from(error: storage::Error) -> Self {
        Self::io(error.operation, &error.path, &error.source)
    }
}

impl From<segment::Error> for Failure {
    fn from(error: segment::Error) -> Self {
        recovery::Error::from(error).into()
    }
}

impl From<recovery::Error> for Failure {
    fn from(error: recovery::Error) -> Self {
        match error {
            recovery::Error::Io(error) => error.into(),
            recovery::Error::Corrupt(corruption) => Self::Fault(corruption.to_string()),
            recovery::Error::NotFound(text) => Self::NotFound(text),
            other @ (recovery::Error::Newer { .. } | recovery::Error::Refused(_)) => Self::System(other.to_string()),
        }
    }
}

impl From<recorder::Error> for Failure {
    fn from(error: recorder::Error) -> Self {
        match error {
            recorder::Error::Io(error) => error.into(),
            recorder::Error::Corrupt(corruption) => Self::Fault(corruption.to_string()),
            other => Self::System(other.to_string()),
        }
    }
}
