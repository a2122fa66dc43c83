//! The stage held against the files: how far it continues them.

use std::collections::BTreeSet;

use super::Surveyor;
use crate::format::{BLOCK_BYTES, BLOCK_HEADER_BYTES, EVENT_BYTES, EVENTS_PER_BLOCK, Geometry, u64_at};
use crate::recorder::error::Error;
use crate::recorder::opening::stage_evidence::SlotEvidence;
use crate::segment::{BlockReader, HotSegment, SegmentScan};
use crate::storage::Place;

impl Surveyor<'_> {
    /// The slots that file and stage hold together, and the last id; `None` when they contradict each other.
    pub(super) fn with_stage(
        &self,
        segment: &HotSegment,
        scan: &SegmentScan,
        previous_last_id: u64,
        taken: &mut BTreeSet<u32>,
    ) -> Result<Option<(u32, u64)>, Error> {
        let from_file = (scan.end_slot, scan.last_event_id);
        let index = segment.name.index;
        let Some(slot) = self.evidence.slots.get(&index).filter(|_| self.use_stage) else { return Ok(Some(from_file)) };
        let fits = slot.page.created_ts_ns == segment.header.created_ts_ns
            && slot.page.num_blocks == segment.geometry.num_blocks();
        let Some(count) = slot.count(segment.geometry)?.filter(|_| fits) else { return Ok(None) };
        let follows = slot.page.previous_last_event_id == previous_last_id
            || (slot.page.previous_last_event_id > previous_last_id && self.is_above_excluded(index));
        if count > 0 && !follows {
            // Something is missing between the files and this slot: it continues nothing.
            return Ok(Some(from_file));
        }
        if count > scan.end_slot && !scan.contiguous {
            return Ok(None);
        }
        let merged = self.compare(segment, scan, slot, count)?;
        if merged.is_some() {
            taken.insert(index);
        }
        Ok(merged)
    }

    /// What a slot for this segment continues is being set aside: it is known what is missing between.
    fn is_above_excluded(&self, index: u32) -> bool {
        index.checked_sub(1).is_some_and(|below| self.excluded.contains(&below))
    }

    /// Holds the stage's events to the file's, and the ones above to the order rule.
    fn compare(
        &self,
        segment: &HotSegment,
        scan: &SegmentScan,
        slot: &SlotEvidence,
        count: u32,
    ) -> Result<Option<(u32, u64)>, Error> {
        let name = segment.name.to_string();
        let mut blocks = BlockReader::new(&*segment.file, segment.geometry);
        let mut staged = vec![0; BLOCK_BYTES];
        let mut last_event_id = scan.last_event_id;
        for block in 0..count.div_ceil(EVENTS_PER_BLOCK) {
            slot.read(&mut staged, Geometry::block_offset(block))?;
            let filed = blocks.block(block).at("read", self.directory.path(), &name)?;
            let events = staged[BLOCK_HEADER_BYTES..].as_chunks::<EVENT_BYTES>().0;
            let filed = filed[BLOCK_HEADER_BYTES..].as_chunks::<EVENT_BYTES>().0;
            for (place, (event, filed)) in (block * EVENTS_PER_BLOCK..count).zip(events.iter().zip(filed)) {
                if place < scan.end_slot {
                    if event[..60] != filed[..60] {
                        return Ok(None);
                    }
                    continue;
                }
                let event_id = u64_at(event, 0);
                if event_id <= last_event_id {
                    return Ok(None);
                }
                last_event_id = event_id;
            }
        }
        if count > scan.end_slot && self.goes_on(segment, &mut blocks, count, last_event_id)? {
            return Ok(None);
        }
        Ok(Some((count.max(scan.end_slot), last_event_id)))
    }

    /// Whether the file holds a valid event right above the stage's: no stage has fewer than were written from it.
    fn goes_on(
        &self,
        segment: &HotSegment,
        blocks: &mut BlockReader<'_>,
        slot: u32,
        last_event_id: u64,
    ) -> Result<bool, Error> {
        if slot == segment.geometry.capacity() {
            return Ok(false);
        }
        let block = blocks.block(slot / EVENTS_PER_BLOCK);
        let block = block.at("read", self.directory.path(), &segment.name.to_string())?;
        let event = &block[BLOCK_HEADER_BYTES..].as_chunks::<EVENT_BYTES>().0[(slot % EVENTS_PER_BLOCK) as usize];
        Ok(u64_at(event, 0) > last_event_id && segment.header.guards().holds(slot, event))
    }

    pub(super) fn first_in_stage(&self, index: u32, slots: u32) -> Result<u64, Error> {
        let mut id = [0; 8];
        if let Some(slot) = self.evidence.slots.get(&index).filter(|_| slots > 0) {
            slot.read(&mut id, Geometry::event_offset(0))?;
        }
        Ok(u64::from_le_bytes(id))
    }
}
