//! Mends the blocks of one segment in memory: adds what only the stage has, guards it, finalizes what is full.

use super::plan::Surveyed;
use super::stage_evidence::StageEvidence;
use crate::format::{
    BLOCK_HEADER_BYTES, BlockContext, BlockHeader, BlockState, EVENT_BYTES, EVENTS_PER_BLOCK, FLAG_GUARDS, Geometry,
    GuardContext, judge_block,
};
use crate::recorder::error::Error;

/// What a rebuilt segment ends with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rebuilt {
    /// Chain value of the last whole block.
    pub(super) chain: u64,
    /// Chain value after the last event.
    pub(super) end_chain: u64,
}

/// Mends one block after another.
pub(super) struct Mender<'a> {
    pub(super) segment: &'a Surveyed,
    pub(super) seal: bool,
    pub(super) link: Option<u64>,
    pub(super) evidence: &'a StageEvidence,
    pub(super) meta_last: u64,
    pub(super) guards: GuardContext,
    pub(super) last_event_id: u64,
    pub(super) rebuilt: Rebuilt,
}

impl Mender<'_> {
    /// Mends a block in memory; whether it must be written.
    pub(super) fn mend(&mut self, block: u32, bytes: &mut [u8]) -> Result<bool, Error> {
        let context = BlockContext {
            block_index: block,
            previous_last_id: self.last_event_id,
            previous_chain: self.rebuilt.end_chain,
            guards: self.guards,
        };
        let first_slot = block * EVENTS_PER_BLOCK;
        let verdict = judge_block(&crate::format::array_at(bytes, 0), &context);
        // In a segment with partial blocks inside, each holds what its header says, and the stage has nothing to add.
        let count = if self.segment.scan.contiguous {
            (self.segment.slots - first_slot).min(EVENTS_PER_BLOCK)
        } else {
            verdict.accepted
        };
        let from_stage = self.segment.scan.end_slot.clamp(first_slot, first_slot + count);
        self.take_from_stage(from_stage, first_slot + count, bytes)?;
        let (header, slots) = bytes.split_at_mut(BLOCK_HEADER_BYTES);
        let events = &slots[..count as usize * EVENT_BYTES];
        self.last_event_id = crate::format::u64_at(events, events.len() - EVENT_BYTES);
        let finalized = match verdict.state {
            BlockState::Finalized(header) if u32::from(header.event_count) == count => Some(header),
            _ => None,
        };
        let whole = count == EVENTS_PER_BLOCK || first_slot + count < self.segment.slots;
        // Also the block that meta's position ends in: its header may have been made after meta was written.
        let mut changed = from_stage < first_slot + count || self.last_event_id >= self.meta_last;
        let end_chain = if let Some(header) = finalized {
            header.chained_checksum
        } else {
            let places = first_slot..;
            let all_guarded = places.zip(events.as_chunks().0).all(|(slot, event)| self.guards.holds(slot, event));
            let flags = if all_guarded { FLAG_GUARDS } else { 0 };
            let link = if block == 0 { self.link } else { None };
            let made = BlockHeader::finalize(block, events, context.previous_chain, flags, link);
            if whole || self.seal {
                header.copy_from_slice(&made.to_bytes());
                changed = true;
            }
            made.chained_checksum
        };
        if whole {
            self.rebuilt.chain = end_chain;
        }
        self.rebuilt.end_chain = end_chain;
        Ok(changed)
    }

    /// Copies the events of slots `begin..end` from the stage into the block, with new guards.
    fn take_from_stage(&self, begin: u32, end: u32, bytes: &mut [u8]) -> Result<(), Error> {
        if begin == end {
            return Ok(());
        }
        let missing = || Error::Failed("the stage no longer has what the survey found in it".into());
        let slot = self.evidence.slots.get(&self.segment.index).ok_or_else(missing)?;
        let place = |slot: u32| BLOCK_HEADER_BYTES + (slot % EVENTS_PER_BLOCK) as usize * EVENT_BYTES;
        let range = place(begin)..place(end - 1) + EVENT_BYTES;
        slot.read(&mut bytes[range.clone()], Geometry::event_offset(begin))?;
        self.guards.put_guards(begin, bytes[range].as_chunks_mut().0);
        Ok(())
    }
}
