//! walrec: a write-ahead-log recorder for matching engines.
//!
//! The engine's thread stores each request into the stage, memory that outlives the process; background threads make it
//! durable, bounded and recoverable. The C face is `include/walrec.h`; `ARCHITECTURE.md` has the flows. Layers, each
//! importing only those above it in this list:
//!
//! | layer | what it knows |
//! |---|---|
//! | [`format`](mod@format) | bytes: events, blocks, headers, checksums, names, verdicts |
//! | [`sync`] | threads: ring, bell, worker runner |
//! | [`telemetry`] | counters and histograms, and their texts |
//! | [`storage`] | the operating system: files, memory, locks, the stage |
//! | [`segment`] | one log on disk: catalog, segments, the walk over their blocks |
//! | [`recorder`] and [`recovery`] | writing and reading a log; neither knows the other |
//! | [`ffi`] | the C face |

#[cfg(not(all(target_os = "linux", target_pointer_width = "64", target_endian = "little")))]
compile_error!("walrec is for 64-bit little-endian Linux");

pub mod ffi;
pub mod format;
pub mod recorder;
pub mod recovery;
pub mod segment;
pub mod storage;
pub mod sync;
pub mod telemetry;
