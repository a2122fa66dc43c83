//! Writing a log: one append thread, four workers, and the opening that they start from.
//!
//! [`SegmentWriter`] is the append thread's handle and the hot path; [`Manager`] is everyone else's. The flow:
//! preparer -> (prepared ring) -> writer -> (activated ring) -> flusher -> (written ring) -> maintainer, and from the flusher
//! (freed ring) back to the preparer. `ARCHITECTURE.md` has the picture.

mod config;
mod error;
#[cfg(feature = "telemetry")]
mod headroom;
mod lifecycle;
mod manager;
mod meta_store;
mod notices;
mod opening;
mod retention;
mod segment_writer;
mod shared;
mod worker;

pub use config::{Config, FullPolicy, LogLevel, LogSink, MAX_FLUSH_INTERVAL_US, MAX_STAGE_SLOTS};
pub use error::{AppendError, Error};
pub use manager::{Manager, SyncTimeout, WorkerKind};
pub use opening::{OpenFlags, OpenReport, open, open_stepped};
pub use segment_writer::SegmentWriter;
pub(crate) use shared::CURSOR_LAYOUT;
