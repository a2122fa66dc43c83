//! What a segment's blocks must hold to: its header's totals, the link to the segment before, and a clean end.

use super::{Error, SegmentReader, Source};
use crate::format::{BlockHeader, BlockState, BlockVerdict, FLAG_LINK, Reason};

impl SegmentReader {
    /// A block of a sealed segment holds exactly what its header says.
    pub(super) fn hold_finalized(&self, verdict: &BlockVerdict) -> Result<(), Error> {
        match verdict.state {
            BlockState::Finalized(header) if u32::from(header.event_count) == verdict.accepted => {
                self.hold_ids(&header)?;
                self.hold_link(verdict)
            }
            BlockState::Finalized(_) => {
                Err(self.corrupt(Reason::EventCount, "guards prove more events than the sealed block's header".into()))
            }
            BlockState::Torn(reason) => Err(self.corrupt(reason, String::new())),
            BlockState::Empty | BlockState::Open => {
                Err(self.corrupt(Reason::Hole, "the sealed block has no header".into()))
            }
            BlockState::Newer => Err(self.corrupt(Reason::Version, String::new())),
        }
    }

    /// A sound block of another segment in this one's place: block 0 has no chain before it that would tell.
    fn hold_ids(&self, header: &BlockHeader) -> Result<(), Error> {
        let Some(seal) = self.seal() else { return Ok(()) };
        let begins = self.block > 0 || header.first_event_id == seal.first_event_id;
        if begins && header.last_event_id <= seal.last_event_id {
            return Ok(());
        }
        let detail = format!(
            "the header says events {} to {}, the block holds {} to {}",
            seal.first_event_id, seal.last_event_id, header.first_event_id, header.last_event_id
        );
        Err(self.corrupt(Reason::SealedCounts, detail))
    }

    pub(super) fn hold_link(&self, verdict: &BlockVerdict) -> Result<(), Error> {
        let (0, BlockState::Finalized(header), Some(expected)) = (self.block, verdict.state, self.before.link) else {
            return Ok(());
        };
        if header.flags & FLAG_LINK == 0 || header.link == expected {
            return Ok(());
        }
        Err(self.corrupt(Reason::Link, format!("expected {expected:016x}, found {:016x}", header.link)))
    }

    pub(super) fn hold_totals(&self) -> Result<(), Error> {
        let Some(seal) = self.seal() else { return Ok(()) };
        let found = (self.block, self.events, self.chain.unwrap_or(0));
        let told = (seal.block_count, seal.event_count, seal.last_chained_checksum);
        let first = seal.first_event_id == self.first_event_id;
        let last = seal.last_event_id == self.last_event_id || seal.event_count == 0;
        // Of a segment that was entered in its middle only the end is known.
        let counts = !self.from_start || (found.1 == told.1 && (first || seal.event_count == 0));
        if (found.0, found.2) == (told.0, told.2) && last && counts {
            return Ok(());
        }
        let detail = format!("the header says {} blocks, {} events; found {}, {}", told.0, told.1, found.0, found.1);
        Err(self.corrupt(Reason::SealedCounts, detail))
    }

    /// The chain value after the end of this segment; an error where the walk over an unsealed one does not end cleanly: valid data
    /// stands above, or, when a later segment is in use, a block is not finalized.
    pub(in crate::recovery) fn hold_end(&self, later_in_use: bool) -> Result<Option<u64>, Error> {
        let Source::Hot(segment) = &self.source else { return Ok(None) };
        if let Some(seal) = segment.header.seal {
            return Ok(Some(seal.last_chained_checksum));
        }
        let scan = crate::segment::scan_segment(&*self.directory, segment, self.before.last_event_id)?;
        if scan.valid_above.is_some() || (later_in_use && !scan.is_complete()) {
            let reason = if scan.valid_above.is_some() { Reason::ValidAbove } else { Reason::Hole };
            return Err(self.corrupt(reason, scan.reason.text().into()));
        }
        Ok(Some(scan.end_chain))
    }
}
