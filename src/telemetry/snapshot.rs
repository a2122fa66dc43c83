//! Everything at one moment.

use super::histogram::HistogramSnapshot;
use super::table::{Line, Reader, Recorder, Table};

/// Counters, gauges and histograms at one moment: a recorder's, if nothing else is said.
#[derive(Clone, Debug)]
pub struct Snapshot<T: Table = Recorder> {
    pub(super) counts: Vec<u64>,
    /// What stands at the moment.
    pub gauges: T::Gauges,
    pub(super) timings: Vec<HistogramSnapshot>,
    /// Bytes that did not verify, by [`Reason`](crate::format::Reason).
    pub checksum_failures: Vec<u64>,
}

/// A reader's.
pub type ReaderSnapshot = Snapshot<Reader>;

impl<T: Table> Snapshot<T> {
    /// A counter.
    #[must_use]
    pub fn count(&self, count: T::Count) -> u64 {
        self.counts[count.place()]
    }

    /// A histogram.
    #[must_use]
    pub fn timing(&self, timing: T::Timing) -> &HistogramSnapshot {
        &self.timings[timing.place()]
    }

    /// A counter that the cells do not have.
    pub(crate) fn set_count(&mut self, count: T::Count, value: u64) {
        self.counts[count.place()] = value;
    }
}
