//! The two numbers that a broken rule compares: what must be there, and what is.

use super::{SegmentReader, Source};
use crate::format::{
    BLOCK_BYTES, BLOCK_HEADER_BYTES, BlockHeader, EVENT_BYTES, EVENTS_PER_BLOCK, Reason, array_at, u16_at, u32_at,
    u64_at, xxh64,
};
use crate::recovery::segment_reader::Before;

impl SegmentReader {
    /// What the next segment follows on, as far as this one tells it, read to its end or not.
    pub(in crate::recovery) fn after_all(&self) -> Before {
        let seal = self.seal();
        let last = seal.map_or(0, |seal| seal.last_event_id).max(self.last_given_id);
        Before { last_event_id: last.max(self.before.last_event_id), link: seal.map(|seal| seal.last_chained_checksum) }
    }

    /// Expected and actual, for a reason that this reader just gave; 0 for a reason that does not compare two numbers.
    pub(in crate::recovery) fn numbers(&mut self, reason: Reason) -> (u64, u64) {
        if let (Reason::SealedCounts, Some(seal)) = (reason, self.seal()) {
            return if seal.block_count == self.block && seal.event_count == self.events {
                (seal.last_chained_checksum, self.chain.unwrap_or(0))
            } else {
                (seal.event_count.into(), self.events.into())
            };
        }
        let block = match &self.source {
            Source::Frozen(_) => self.refused.clone(),
            Source::Hot(_) => self.hot_block(self.block).ok(),
        };
        block.map_or((0, 0), |block| self.block_numbers(&block, reason))
    }

    fn block_numbers(&self, block: &[u8; BLOCK_BYTES], reason: Reason) -> (u64, u64) {
        let (header, slots) = block.split_at(BLOCK_HEADER_BYTES);
        let count = u32::from(u16_at(header, 44)).clamp(1, EVENTS_PER_BLOCK) as usize;
        let events = &slots[..count * EVENT_BYTES];
        match reason {
            Reason::BlockHeaderChecksum => (u64_at(header, 32), BlockHeader::checksum_of(&array_at(header, 0))),
            Reason::BlockIndex => (self.block.into(), u32_at(header, 40).into()),
            Reason::EventCount => (EVENTS_PER_BLOCK.into(), u16_at(header, 44).into()),
            Reason::FirstLastId => {
                let (first, last) = (u64_at(events, 0), u64_at(events, events.len() - EVENT_BYTES));
                let told = (u64_at(header, 0), u64_at(header, 8));
                if told.0 == first { (told.1, last) } else { (told.0, first) }
            }
            Reason::IdOrder => {
                let mut previous = self.last_event_id;
                for event in events.as_chunks::<EVENT_BYTES>().0 {
                    let event_id = u64_at(event, 0);
                    if event_id <= previous {
                        return (previous.saturating_add(1), event_id);
                    }
                    previous = event_id;
                }
                (0, 0)
            }
            Reason::BlockChecksum => (u64_at(header, 16), xxh64(events, 0)),
            Reason::ChainedChecksum => (u64_at(header, 24), xxh64(events, self.chain.unwrap_or(0))),
            Reason::Link => (self.before.link.unwrap_or(0), u64_at(header, 48)),
            _ => (0, 0),
        }
    }
}
