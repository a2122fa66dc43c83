//! What recorders and readers measure about themselves: histograms of times, counters, and the two texts they are told in.
//!
//! Owns the tables of what there is, the cells, the clock, the sampling on the append thread, and the wrappers that time rings and
//! workers. Imports only `format` and `sync`; whoever does the work calls [`Telemetry`] with a single line. Invariants:
//! 1. No lock and no allocation after the open; every update is a few relaxed atomics. Nothing that the log promises depends
//!    on a value here.
//! 2. On the append thread an ordinary append does nothing for it: one in `append_sample` on average is led to the rare branch
//!    that blocks and rotations take anyway, and is timed there ([`Sampler`]). Events are counted by the count that publishes them.
//! 3. Each histogram, and the counters of the append thread, stand on cache lines of their own: no worker slows the append thread by
//!    counting.
//! 4. Without the feature `telemetry` everything here is an empty type whose calls do nothing (`absent`): no trace in the code.
//!
//! Crash story: it lives in ordinary memory and dies with the process.
//!
//! | file | what |
//! |---|---|
//! | `table` | what is measured, one line each |
//! | `histogram` | log-linear buckets |
//! | `clock` | the time stamp counter |
//! | `cells` | [`Board`]: the cells of a table; [`Telemetry`]: all of one recorder; [`ReaderTelemetry`]: of one reader |
//! | `mailbox` | the event whose way to the disk is timed |
//! | `sampler` | which append is timed |
//! | `ring`, `worker` | a ring and a worker that are timed |
//! | `snapshot`, `text` | reading it |

mod table;
pub use table::{Count, Gauges, Line, Reader, ReaderCount, ReaderTiming, Recorder, Standing, Table, Texts, Timing};
#[cfg(feature = "telemetry")]
pub(crate) use table::{each_count, each_gauge, each_reader_count, each_reader_timing, each_timing};

#[cfg(feature = "telemetry")]
mod cells;
#[cfg(feature = "telemetry")]
mod clock;
#[cfg(feature = "telemetry")]
pub mod histogram;
#[cfg(feature = "telemetry")]
mod mailbox;
#[cfg(feature = "telemetry")]
mod ring;
#[cfg(feature = "telemetry")]
mod sampler;
#[cfg(feature = "telemetry")]
mod snapshot;
#[cfg(feature = "telemetry")]
pub mod text;
#[cfg(feature = "telemetry")]
mod worker;

#[cfg(feature = "telemetry")]
pub use {
    cells::{Board, ReaderTelemetry, Telemetry},
    clock::Moment,
    ring::{Consumer, Producer, timed_ring},
    sampler::Sampler,
    snapshot::{ReaderSnapshot, Snapshot},
    worker::Timed,
};

#[cfg(not(feature = "telemetry"))]
mod absent;
#[cfg(not(feature = "telemetry"))]
pub use absent::{Board, Consumer, Moment, Producer, ReaderTelemetry, Sampler, Telemetry, Timed, timed_ring};
