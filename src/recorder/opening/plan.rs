//! What the survey decides and the repair does.

use std::collections::BTreeSet;

use crate::format::{Geometry, Reason, SegmentHeader};
use crate::segment::SegmentScan;

/// A segment with events that is to be sealed or written on.
#[derive(Debug)]
pub(super) struct Surveyed {
    pub(super) index: u32,
    pub(super) header: SegmentHeader,
    pub(super) geometry: Geometry,
    pub(super) scan: SegmentScan,
    /// Slots with accepted events, from the file and the stage.
    pub(super) slots: u32,
    /// Id of the last event before the segment.
    pub(super) previous_last_event_id: u64,
    pub(super) first_event_id: u64,
    pub(super) last_event_id: u64,
    /// Bytes above the accepted events are not zero.
    pub(super) cut: bool,
    /// It can be written on in place.
    pub(super) resumable: bool,
}

impl Surveyed {
    /// Events that only the stage has.
    pub(super) fn staged_events(&self) -> u32 {
        self.slots - self.scan.end_slot
    }

    /// Accepted events.
    pub(super) fn event_count(&self) -> u32 {
        self.scan.event_count + self.staged_events()
    }
}

/// What the repair is to do.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Unsealed segments with events, oldest first; a sealed one only if it is to be written on.
    pub(super) segments: Vec<Surveyed>,
    /// Chain value of the segment before the first of them, if there is one.
    pub(super) link: Option<u64>,
    /// The newest sealed segment, if it is hot: its header may have been seen before it was synced.
    pub(super) newest_sealed: Option<u32>,
    /// The last used segment, when it has no accepted event but is not zero.
    pub(super) torn: Option<Torn>,
    /// Unsealed segments that are zero.
    pub(super) empty: BTreeSet<u32>,
    /// A `.wal` to be moved away, the `.wal.lz4` beside it counts.
    pub(super) superseded: BTreeSet<u32>,
    /// Salvage: segments to be moved away.
    pub(super) excluded: BTreeSet<u32>,
    /// Salvage: missing indices to be marked, both ends inclusive.
    pub(super) lost: Vec<(u32, u32)>,
    /// Salvage: why they are.
    pub(super) failures: Vec<Reason>,
    /// A gap or a damage that was passed.
    pub(super) salvaged: bool,
    /// The stage, or part of it, does not continue the files.
    pub(super) set_aside: bool,
    pub(super) first_event_id: u64,
    pub(super) last_event_id: u64,
    pub(super) newest_created_ts_ns: u64,
    pub(super) next_index: u32,
    pub(super) segment_count: u32,
}

/// A segment without an accepted event that is not zero.
#[derive(Clone, Copy, Debug)]
pub(super) struct Torn {
    pub(super) index: u32,
    pub(super) reason: Reason,
    /// Bytes above the header up to the last one that is not zero.
    pub(super) bytes: usize,
}
