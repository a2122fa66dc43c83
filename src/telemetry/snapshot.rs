//! Everything at one moment.

use super::histogram::HistogramSnapshot;
use super::table::{Count, Gauges, Timing};

/// Counters, gauges and histograms of a recorder at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub(super) counts: Vec<u64>,
    /// What stands at the moment.
    pub gauges: Gauges,
    pub(super) timings: Vec<HistogramSnapshot>,
    /// Bytes that did not verify, by [`Reason`](crate::format::Reason).
    pub checksum_failures: Vec<u64>,
}

impl Snapshot {
    /// A counter.
    #[must_use]
    pub fn count(&self, count: Count) -> u64 {
        self.counts[count as usize]
    }

    /// A histogram.
    #[must_use]
    pub fn timing(&self, timing: Timing) -> &HistogramSnapshot {
        &self.timings[timing as usize]
    }

    /// A counter that the cells do not have.
    pub(crate) fn set_count(&mut self, count: Count, value: u64) {
        self.counts[count as usize] = value;
    }
}
