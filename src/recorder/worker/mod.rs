//! The four workers: each a duty cycle without a thread, run by `sync::WorkerThread` or by a test's hand.

mod flusher;
mod freezer;
mod maintainer;
mod meta_coordinator;
mod preparer;
mod retirer;
mod upkeep;

pub(crate) use flusher::{FlusherRings, FreedSlot, SegmentFlusher};
pub(crate) use maintainer::SegmentMaintainer;
pub(crate) use meta_coordinator::MetaCoordinator;
pub(crate) use preparer::{PreparerStart, SegmentPreparer};

use std::fmt;
use std::time::Duration;

use crate::storage;

/// How often a write that was put off is tried again at the close, which must not wait for a disk for ever.
const CLOSE_TRIES: u32 = 10;
/// Between two such tries.
const CLOSE_PAUSE: Duration = Duration::from_millis(2);

/// Why a worker gave up; its recorder is poisoned with this text.
#[derive(Debug)]
pub(crate) enum WorkerError {
    /// The system failed.
    Io(storage::Error),
    /// A rule of this library does not hold.
    Broken(&'static str),
    /// At the close, a write that was put off could still not be done.
    NoSpace(String),
}

impl fmt::Display for WorkerError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(out),
            Self::Broken(text) => out.write_str(text),
            Self::NoSpace(text) => out.write_str(text),
        }
    }
}

impl From<storage::Error> for WorkerError {
    fn from(error: storage::Error) -> Self {
        Self::Io(error)
    }
}

impl From<WorkerError> for crate::recorder::Error {
    fn from(error: WorkerError) -> Self {
        match error {
            WorkerError::Io(error) => Self::Io(error),
            WorkerError::Broken(text) => Self::Failed(text.into()),
            WorkerError::NoSpace(text) => Self::Failed(text),
        }
    }
}

/// Whether a failed write may simply be tried again: nothing was promised, and the stage still has it all. A failed sync never may. Nor
/// does it harm that a file could not be opened for want of a descriptor.
pub(crate) fn may_retry_write(error: &storage::Error) -> bool {
    use std::io::ErrorKind::{Interrupted, WouldBlock, WriteZero};
    error.is_no_space()
        || error.is_out_of_descriptors()
        || matches!(error.source.kind(), Interrupted | WouldBlock | WriteZero)
}
