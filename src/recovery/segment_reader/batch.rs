//! Judged events, as they lie in their blocks: from there they go to whoever reads, in one copy.

use crate::format::{BLOCK_BYTES, BLOCK_HEADER_BYTES, EVENT_BYTES, EVENTS_PER_BLOCK, Event};
use crate::segment::Piece;

const SLOTS: usize = EVENTS_PER_BLOCK as usize;

/// Events of one block, or of several full ones.
#[derive(Default)]
pub(in crate::recovery) struct Batch {
    /// Blocks; behind those with events there may be others.
    bytes: Vec<u8>,
    /// Of the slots in these blocks: the next event's, and the end.
    next: usize,
    end: usize,
}

impl Batch {
    /// Holds nothing any more.
    pub(in crate::recovery) fn clear(&mut self) {
        (self.next, self.end) = (0, 0);
    }

    pub(in crate::recovery) fn is_empty(&self) -> bool {
        self.next == self.end
    }

    /// Events that are left.
    pub(in crate::recovery) fn len(&self) -> usize {
        self.end - self.next
    }

    /// Takes events of one block.
    pub(super) fn take_of_block(&mut self, block: &[u8; BLOCK_BYTES], slots: std::ops::Range<u32>) {
        self.bytes.clear();
        self.bytes.extend_from_slice(block);
        (self.next, self.end) = (slots.start as usize, slots.end as usize);
    }

    /// Takes the events of `count` full blocks of a piece, from the one at `place` on; with the piece's buffer, if they are its last.
    pub(super) fn take_blocks(&mut self, piece: &mut Piece, place: usize, count: usize) {
        let held = piece.blocks();
        if place + count == held.len() {
            piece.exchange(&mut self.bytes);
            (self.next, self.end) = (place * SLOTS, (place + count) * SLOTS);
        } else {
            self.bytes.clear();
            self.bytes.extend_from_slice(held[place..place + count].as_flattened());
            (self.next, self.end) = (0, count * SLOTS);
        }
    }

    /// The next event stays.
    pub(in crate::recovery) fn first(&self) -> Option<Event> {
        if self.is_empty() { None } else { self.events().first().map(Event::from_bytes) }
    }

    /// The next event.
    #[inline]
    pub(in crate::recovery) fn next(&mut self) -> Option<Event> {
        if self.next == self.end {
            return None;
        }
        let event = self.events().first().map(Event::from_bytes);
        self.next += 1;
        event
    }

    /// Fills a prefix of `out`; how many.
    pub(in crate::recovery) fn read(&mut self, out: &mut [Event]) -> usize {
        let mut done = 0;
        while done < out.len() && !self.is_empty() {
            let events = self.events();
            let step = events.len().min(self.len()).min(out.len() - done);
            Event::copy_from_bytes(&mut out[done..done + step], &events[..step]);
            done += step;
            self.next += step;
        }
        done
    }

    /// From the next event to the end of its block.
    #[inline]
    fn events(&self) -> &[[u8; EVENT_BYTES]] {
        let (block, slot) = (self.next / SLOTS, self.next % SLOTS);
        let begin = block * BLOCK_BYTES + BLOCK_HEADER_BYTES + slot * EVENT_BYTES;
        self.bytes.get(begin..(block + 1) * BLOCK_BYTES).unwrap_or_default().as_chunks().0
    }
}
