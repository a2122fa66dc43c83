//! From one segment to the next.
//!
//! A rotation stores to some fifteen lines that other threads had last, each of them a wait if it comes alone. So they are fetched, all
//! at once, a block earlier: when the append thread enters the last one.

use std::sync::atomic::Ordering;

use super::{PREFETCH_EVENTS, Place, SegmentWriter};
use crate::format::Geometry;
use crate::recorder::error::AppendError;
use crate::recorder::lifecycle::{ActiveSegment, Progress};
use crate::sync::{Current, fetch_for_write};
use crate::telemetry::{Count, Moment, Timing};

/// A rotation takes about so long.
const ROTATION_NS: u64 = 900;

impl SegmentWriter {
    /// Fetches what the rotation after `place` stores to, and the first lines of the segment that follows.
    #[cold]
    pub(super) fn fetch_for_rotation(&mut self, place: Place) {
        let (shared, telemetry) = (&self.shared, &self.shared.telemetry);
        shared.fetch_active();
        fetch_for_write(shared.slot(place.slot).written());
        self.activated.fetch_next();
        telemetry.fetch_count(Count::SegmentsActivated);
        telemetry.fetch_time(Timing::Rotation, ROTATION_NS);
        if let Some(next) = self.prepared.fetch_next() {
            telemetry.fetch_events_before(next.slot.0);
            shared.slot(next.slot).fetch_for_appends(Geometry::event_offset(PREFETCH_EVENTS));
        }
    }

    /// Takes a prepared segment and hands the written one on. On an error nothing has changed.
    pub(super) fn rotate_segment(&mut self) -> Result<(), AppendError> {
        let begin = Moment::now();
        let prepared = self.take_prepared()?;
        let slot = prepared.slot;
        Current::before_reuse();
        let last_event_id = self.shared.last_event_id();
        self.shared.slot(slot).previous_last_event_id().store(last_event_id, Ordering::Release);
        self.shared.telemetry.set_events_before(slot.0, || self.shared.events_appended());
        self.shared.set_active(prepared.header.segment_index, slot);
        if let Some(place) = self.place {
            // Release: partner of the flusher's acquire; the count is final. Only now, when it is no longer the active one, may the
            // slot be used again.
            self.shared.slot(place.slot).written().store(1, Ordering::Release);
        }
        self.shared.telemetry.count(Count::SegmentsActivated, 1);
        let progress = Progress { last_event_id, ..Progress::default() };
        self.activate(ActiveSegment { segment: prepared, progress })?;
        self.enter(slot, 0);
        self.shared.telemetry.record_since(Timing::Rotation, begin);
        Ok(())
    }

    /// Hands the segment to the flusher. The ring has room for every slot there is.
    pub(super) fn activate(&mut self, segment: ActiveSegment) -> Result<(), AppendError> {
        self.activated.push(segment).map_err(|segment| {
            // Cannot be; but nothing may be dropped on this thread, and a segment the flusher never sees is a lost log.
            std::mem::forget(segment);
            AppendError::Failed
        })
    }
}
