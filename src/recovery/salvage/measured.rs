//! What a salvaging reader measures about itself.

use super::block::{Salvaged, Surroundings, salvage_block};
use super::{Error, Item, Salvager, Target};
use crate::format::BLOCK_BYTES;
use crate::recovery::NEXT_SAMPLE;
use crate::recovery::segment_reader::VERIFY_SAMPLE;
use crate::telemetry::{Moment, ReaderCount, ReaderTiming};

impl Salvager {
    /// What this reader has measured since it was opened.
    #[cfg(feature = "telemetry")]
    #[must_use]
    pub fn telemetry(&self) -> crate::telemetry::ReaderSnapshot {
        let mut snapshot = self.telemetry.snapshot();
        snapshot.set_count(ReaderCount::Events, self.events);
        snapshot
    }

    /// A seek, timed.
    pub(super) fn seek_to(&mut self, target: Target) -> Result<(), Error> {
        let begin = Moment::now();
        let result = self.go_to(target);
        self.telemetry.record_since(ReaderTiming::Seek, begin);
        result
    }

    /// As [`Self::advance_to_next`], some of them timed.
    pub(super) fn advance_timed(&mut self) -> Result<Item, Error> {
        let timed = self.advances.is_multiple_of(NEXT_SAMPLE).then(Moment::now);
        self.advances = self.advances.wrapping_add(1);
        let result = self.advance_to_next();
        if let Some(begin) = timed {
            self.telemetry.record_since(ReaderTiming::Next, begin);
        }
        result
    }

    /// What a block that was read holds; some of them timed.
    pub(super) fn judge_timed(&self, bytes: &[u8; BLOCK_BYTES], around: &Surroundings) -> Salvaged {
        self.telemetry.count(ReaderCount::Bytes, BLOCK_BYTES as u64);
        let timed = around.block_index.is_multiple_of(VERIFY_SAMPLE).then(Moment::now);
        let salvaged = salvage_block(bytes, around);
        if let Some(begin) = timed {
            self.telemetry.record_since(ReaderTiming::Verify, begin);
        }
        salvaged
    }

    /// Counts that reading came to a segment.
    pub(super) fn count_entered(&self, is_hot: bool) {
        let form = if is_hot { ReaderCount::SegmentsHot } else { ReaderCount::SegmentsFrozen };
        self.telemetry.count(form, 1);
    }

    /// Counts what is given.
    pub(super) fn count_item(&mut self, item: &Item) {
        match &item {
            Item::Event(_) => self.events += 1,
            Item::Gap(gap) => {
                self.telemetry.count(ReaderCount::Gaps, 1);
                self.telemetry.count_checksum_failure(gap.reason);
            }
            Item::End => {}
        }
    }
}
