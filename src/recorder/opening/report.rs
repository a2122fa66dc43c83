//! What opening found, and what it did about it.

use std::time::Duration;

use crate::format::Reason;
use crate::segment::Catalog;

/// Bits of [`OpenReport::flags`]; the numbers are the C contract's.
pub struct OpenFlags;

impl OpenFlags {
    /// The log was open in this boot, and its stage is gone: what was not durable is lost.
    pub const STAGE_MISSING: u32 = 1;
    /// The stage does not lie in memory.
    pub const STAGE_ON_DISK: u32 = 2;
    /// A stage was found that does not continue the files; it was not used.
    pub const STAGE_SET_ASIDE: u32 = 4;
    /// A torn tail was cut.
    pub const CUT: u32 = 8;
    /// Something was moved to the quarantine as damaged, now or by an earlier salvage.
    pub const SALVAGED: u32 = 16;
    /// The stage is not locked in memory.
    pub const NOT_LOCKED_IN_MEMORY: u32 = 32;
}

/// The report of one opening.
#[derive(Clone, Debug)]
pub struct OpenReport {
    /// [`OpenFlags`].
    pub flags: u32,
    /// Of the whole log; 0 when it is empty.
    pub first_event_id: u64,
    /// Of the whole log; 0 when it is empty.
    pub last_event_id: u64,
    /// Events that only the stage had.
    pub events_from_stage: u64,
    /// Bytes that a cut left out.
    pub bytes_cut: u64,
    /// Where the cut is, in its segment.
    pub cut_offset: u64,
    /// The segment that was cut.
    pub cut_segment: u32,
    /// Why.
    pub cut_reason: Reason,
    /// What did not verify and was cut or set aside, each once.
    pub failures: Vec<Reason>,
    /// Segments in the log, frozen ones included.
    pub segments: u32,
    /// Frozen segments.
    pub segments_compressed: u32,
    /// Files in the quarantine.
    pub quarantined: u32,
    /// Names in the directory that are not ours.
    pub foreign_files: u32,
    /// How long opening took.
    pub recovery: Duration,
}

impl OpenReport {
    pub(super) fn new(catalog: &Catalog) -> Self {
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        Self {
            flags: 0,
            first_event_id: 0,
            last_event_id: 0,
            events_from_stage: 0,
            bytes_cut: 0,
            cut_offset: 0,
            cut_segment: 0,
            cut_reason: Reason::None,
            failures: Vec::new(),
            segments: 0,
            segments_compressed: count(catalog.frozen.difference(&catalog.hot).count()),
            quarantined: catalog.quarantined,
            foreign_files: count(catalog.foreign.len()),
            recovery: Duration::ZERO,
        }
    }

    pub(super) fn finish(&mut self, last_event_id: u64, took: Duration) {
        self.last_event_id = last_event_id;
        self.recovery = took;
    }
}
