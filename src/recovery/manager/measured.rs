//! What a reader measures about its seeks and its way to more events.

use super::{Error, Manager, Target};
use crate::recovery::NEXT_SAMPLE;
#[cfg(feature = "telemetry")]
use crate::recovery::segment_reader::SegmentReader;
#[cfg(feature = "telemetry")]
use crate::telemetry::ReaderCount;
use crate::telemetry::{Moment, ReaderTiming};

impl Manager {
    /// What this reader has measured since it was opened.
    #[cfg(feature = "telemetry")]
    #[must_use]
    pub fn telemetry(&self) -> crate::telemetry::ReaderSnapshot {
        let mut snapshot = self.telemetry.snapshot();
        snapshot.set_count(ReaderCount::Events, self.given);
        let passed = self.segment.as_ref().map_or(0, SegmentReader::passed);
        snapshot.set_count(ReaderCount::Blocks, snapshot.count(ReaderCount::Blocks) + passed);
        snapshot
    }

    /// A seek, timed.
    pub(super) fn seek_to(&mut self, target: Target) -> Result<(), Error> {
        let begin = Moment::now();
        let result = self.go_to(target);
        self.telemetry.record_since(ReaderTiming::Seek, begin);
        self.count_failure(result)
    }

    /// Counts what does not verify.
    fn count_failure<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(Error::Corrupt(corruption)) = &result {
            self.telemetry.count_checksum_failure(corruption.reason);
        }
        result
    }

    /// As [`Self::fill`], some of them timed. A call of its own, so that the way to an event that is there stays short: inlined here,
    /// it keeps `next` from being inlined where events are read, which costs a replay 5 %.
    #[inline(never)]
    pub(super) fn fill_timed(&mut self) -> Result<bool, Error> {
        let timed = self.fills.is_multiple_of(NEXT_SAMPLE).then(Moment::now);
        self.fills = self.fills.wrapping_add(1);
        let result = self.fill();
        if let Some(begin) = timed {
            self.telemetry.record_since(ReaderTiming::Next, begin);
        }
        self.count_failure(result)
    }
}
