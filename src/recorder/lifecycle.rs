//! A segment's life as types: Prepared -> Active -> Written -> Closed. Each step consumes the one before.
//!
//! The file's one descriptor travels with the segment from its creation to its close, so that a direct write never meets
//! another way into the same file.

use std::path::Path;

use crate::format::{Geometry, PAGE_BYTES, Seal, SegmentHeader, SegmentName, SegmentNameKind};
use crate::storage::{self, File, Place};

/// Cuts a sealed segment's file to its size. Both sizes are valid: where giving space back takes some, and there is none, the padding stays.
pub(crate) fn cut_padding(file: &dyn File, geometry: Geometry, path: &Path, name: &str) -> Result<(), storage::Error> {
    match file.set_len(geometry.segment_bytes() as u64).at("cut", path, name) {
        Err(error) if error.is_no_space() => Ok(()),
        other => other,
    }
}

/// Where a slot is in the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotNumber(pub(crate) u32);

/// What a segment has on disk when its flushing begins or goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Slots whose events are durable.
    pub(crate) durable_slots: u32,
    /// Whole blocks finalized.
    pub(crate) finalized_blocks: u32,
    /// Chained checksum of the last of them.
    pub(crate) chain: u64,
    /// 0 when there is no event.
    pub(crate) first_event_id: u64,
    /// The last durable event's id, or the last one's before the segment.
    pub(crate) last_event_id: u64,
}

/// A segment whose file is on disk, header synced, and whose slot is Live and touched.
#[derive(Debug)]
pub(crate) struct PreparedSegment {
    pub(crate) file: Box<dyn File>,
    pub(crate) header: SegmentHeader,
    pub(crate) geometry: Geometry,
    pub(crate) slot: SlotNumber,
}

/// A segment that the append thread writes to, or has written, as the flusher sees it.
#[derive(Debug)]
pub(crate) struct ActiveSegment {
    pub(crate) segment: PreparedSegment,
    pub(crate) progress: Progress,
}

impl ActiveSegment {
    /// The name of its file.
    pub(crate) fn segment_name(&self) -> String {
        SegmentName::new(self.segment.header.segment_index, SegmentNameKind::Hot).to_string()
    }
}

/// A segment whose events are all durable and finalized, still without its seal.
#[derive(Debug)]
pub(crate) struct WrittenSegment {
    pub(crate) file: Box<dyn File>,
    pub(crate) header: SegmentHeader,
    pub(crate) geometry: Geometry,
    /// Everything of the seal but the time.
    pub(crate) seal: Seal,
    /// The first page as it stands in the file: the header shares it with events. Held in place: aligned pages that one thread allocates
    /// and another frees, one for each segment, let the heap grow without end.
    pub(crate) first_page: [u8; PAGE_BYTES],
}
