//! How many blocks from the front are full and valid: the quick way through a log that is sound.
//!
//! It only ever accepts. A block that it accepts is one that [`judge_block`](super::judge_block) finds finalized with all its events
//! (tested, on sound and on damaged blocks); where it stops, the caller judges the next block with that and so learns what there is
//! to say of it.

use super::block::{BLOCK_BYTES, BLOCK_HEADER_BYTES, BlockHeader, EVENTS_PER_BLOCK, FLAGS_KNOWN};
use super::block_sums::{SIDE_BY_SIDE, Slots, Sums, sums_of, sums_of_full};
use super::event::EVENT_BYTES;
use super::le;
use super::verdict::BlockContext;

/// Full, valid blocks at the front of some others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FullBlocks {
    /// How many.
    pub count: u32,
    /// Id of the last event; the context's for none.
    pub last_event_id: u64,
    /// Chained checksum after them; the context's for none.
    pub chain: u64,
}

/// Counts the full, valid blocks at the front of `blocks`, the first of which stands where `context` says.
#[must_use]
pub fn full_blocks(blocks: &[[u8; BLOCK_BYTES]], context: &BlockContext) -> FullBlocks {
    let mut found = FullBlocks { count: 0, last_event_id: context.previous_last_id, chain: context.previous_chain };
    // Most segments' last block is partial, and what is prepared is empty: that is cheap to see.
    let looks_full = |block: &&[u8; BLOCK_BYTES]| u32::from(le::u16_at(&block[..], 44)) == EVENTS_PER_BLOCK;
    let blocks = &blocks[..blocks.iter().take_while(looks_full).count()];
    let (groups, rest) = blocks.as_chunks::<SIDE_BY_SIDE>();
    for group in groups {
        // The chain before a block is what the header before it stores; that one is compared with its own sum here too.
        let mut chain = found.chain;
        let members = group.each_ref().map(|block| {
            let member = (slots_of(block), chain);
            chain = stored_chain(block);
            member
        });
        for (block, sums) in group.iter().zip(sums_of_full(&members)) {
            if !found.take(block, context.block_index, || sums) {
                return found;
            }
        }
    }
    for block in rest {
        let chain = found.chain;
        if !found.take(block, context.block_index, || sums_of(slots_of(block), chain)) {
            return found;
        }
    }
    found
}

fn slots_of(block: &[u8; BLOCK_BYTES]) -> &Slots {
    const { assert!(BLOCK_HEADER_BYTES + size_of::<Slots>() == BLOCK_BYTES) };
    match block.last_chunk() {
        Some(slots) => slots,
        None => &[0; size_of::<Slots>()],
    }
}

fn stored_chain(block: &[u8; BLOCK_BYTES]) -> u64 {
    le::u64_at(block, 24)
}

impl FullBlocks {
    /// Takes the next block if it is full and valid.
    fn take(&mut self, block: &[u8; BLOCK_BYTES], first_index: u32, sums: impl FnOnce() -> Sums) -> bool {
        let Some(header) = BlockHeader::from_bytes(&le::array_at(block, 0)) else { return false };
        let events = slots_of(block).as_chunks::<EVENT_BYTES>().0;
        let fits = header.flags & !FLAGS_KNOWN == 0
            && header.block_index == first_index + self.count
            && u32::from(header.event_count) == EVENTS_PER_BLOCK
            && header.first_event_id == le::u64_at(&events[0], 0)
            && header.last_event_id == le::u64_at(&events[events.len() - 1], 0);
        if !fits || !are_in_order(events, self.last_event_id) {
            return false;
        }
        if sums() != (Sums { block: header.block_checksum, chained: header.chained_checksum }) {
            return false;
        }
        self.count += 1;
        (self.last_event_id, self.chain) = (header.last_event_id, header.chained_checksum);
        true
    }
}

/// Whether ids strictly increase, from above `previous` on.
fn are_in_order(events: &[[u8; EVENT_BYTES]], previous: u64) -> bool {
    // Without a way out of the loop: it is nearly always walked to its end.
    let (_, wrong) = events.iter().fold((previous, 0_u32), |(previous, wrong), event| {
        let event_id = le::u64_at(event, 0);
        (event_id, wrong + u32::from(event_id <= previous))
    });
    wrong == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{BlockState, Event, FLAG_GUARDS, GuardContext, judge_block};

    const GUARDS: GuardContext = GuardContext { segment_index: 3, created_ts_ns: 1_700 };

    /// Block after block from place 5 on; each with so many events.
    fn blocks(counts: &[u32]) -> (Vec<[u8; BLOCK_BYTES]>, BlockContext) {
        let context = BlockContext { block_index: 5, previous_last_id: 40, previous_chain: 77, guards: GUARDS };
        let (mut last, mut chain) = (context.previous_last_id, context.previous_chain);
        let made = (context.block_index..).zip(counts).map(|(index, &count)| {
            let mut block = [0; BLOCK_BYTES];
            for event in block[BLOCK_HEADER_BYTES..].as_chunks_mut::<EVENT_BYTES>().0.iter_mut().take(count as usize) {
                last += 1 + last % 3;
                *event = Event { event_id: last, price: -7, ..Event::default() }.to_bytes();
            }
            let events = &block[BLOCK_HEADER_BYTES..][..count as usize * EVENT_BYTES];
            let header = BlockHeader::finalize(index, events, chain, FLAG_GUARDS, None);
            chain = header.chained_checksum;
            block[..BLOCK_HEADER_BYTES].copy_from_slice(&header.to_bytes());
            block
        });
        (made.collect(), context)
    }

    /// The same by the careful way.
    fn carefully(blocks: &[[u8; BLOCK_BYTES]], context: &BlockContext) -> FullBlocks {
        let mut found = FullBlocks { count: 0, last_event_id: context.previous_last_id, chain: context.previous_chain };
        for block in blocks {
            let place = BlockContext {
                block_index: context.block_index + found.count,
                previous_last_id: found.last_event_id,
                previous_chain: found.chain,
                guards: context.guards,
            };
            let verdict = judge_block(block, &place);
            let BlockState::Finalized(header) = verdict.state else { break };
            if u32::from(header.event_count) < EVENTS_PER_BLOCK {
                break;
            }
            assert!(verdict.accepted == EVENTS_PER_BLOCK && verdict.rest_is_zero && !verdict.all_guarded);
            found = FullBlocks {
                count: found.count + 1,
                last_event_id: verdict.last_event_id,
                chain: header.chained_checksum,
            };
        }
        found
    }

    #[test]
    fn sound_blocks_are_taken_up_to_the_first_partial_one() {
        for full in [0, 1, 7, 8, 9, 19] {
            let (made, context) = blocks(&[&vec![256; full][..], &[255, 256]].concat());
            let found = full_blocks(&made, &context);
            assert_eq!(found.count as usize, full);
            assert_eq!(found, carefully(&made, &context));
        }
    }

    /// Every byte of a header, and bytes all over, in each place of a group: the checksums of header and block made anew or not.
    #[test]
    fn damage_ends_them_where_the_careful_way_ends() {
        let (made, context) = blocks(&[256; 11]);
        let mut stopped = 0;
        for place in 0..made.len() {
            let bytes = (0..BLOCK_HEADER_BYTES).chain((0..BLOCK_BYTES).step_by(1_021 + place));
            for byte in bytes {
                for again in [false, true] {
                    let mut damaged = made.clone();
                    damaged[place][byte] ^= 1 << (byte % 8);
                    if again {
                        let checksum = BlockHeader::checksum_of(&le::array_at(&damaged[place], 0));
                        le::put(&mut damaged[place], 32, checksum.to_le_bytes());
                    }
                    let found = full_blocks(&damaged, &context);
                    assert_eq!(found, carefully(&damaged, &context), "block {place}, byte {byte}, {again}");
                    stopped += u32::from(found.count as usize == place);
                }
            }
        }
        assert!(stopped > 1_000, "{stopped} damages were seen");
    }

    #[test]
    fn ids_out_of_order_are_not_taken_though_all_sums_hold() {
        for (place, event) in [(0, 0), (3, 255), (8, 100), (9, 1)] {
            let (mut made, context) = blocks(&[256; 10]);
            let at = BLOCK_HEADER_BYTES + event * EVENT_BYTES;
            let before = if event > 0 { le::u64_at(&made[place], at - EVENT_BYTES) } else { context.previous_last_id };
            le::put(&mut made[place], at, before.to_le_bytes());
            // From there on all is finalized anew.
            let mut chain = if place > 0 { stored_chain(&made[place - 1]) } else { context.previous_chain };
            for (index, block) in (context.block_index..).zip(&mut made).skip(place) {
                let header = BlockHeader::finalize(index, &block[BLOCK_HEADER_BYTES..], chain, FLAG_GUARDS, None);
                chain = header.chained_checksum;
                block[..BLOCK_HEADER_BYTES].copy_from_slice(&header.to_bytes());
            }
            let found = full_blocks(&made, &context);
            assert_eq!(found.count as usize, place);
            assert_eq!(found, carefully(&made, &context));
        }
    }
}
