//! What bytes of a log are worth: pure functions from bytes to a verdict.
//!
//! Used by recovery, by the reader and by verification alike, so that all of them agree. Every branch of the "valid
//! if and only if" lists of `docs/FORMAT.md` is here and nowhere else, and is tested below case by case.

use super::block::{BLOCK_BYTES, BLOCK_HEADER_BYTES, BlockHeader, EVENTS_PER_BLOCK, FLAGS_KNOWN};
use super::block_sums::sums_of;
use super::event::EVENT_BYTES;
use super::guard::GuardContext;
use super::le;
use super::reason::Reason;
use super::segment_header::{SEGMENT_HEADER_BYTES, SEGMENT_MAGIC, SEGMENT_VERSION, SegmentHeader, checksum_of};

/// What a segment's first 64 bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderVerdict {
    /// Valid and sealed: its counts, ids and chain value may be trusted.
    Sealed(SegmentHeader),
    /// Valid and not sealed: the blocks must be walked.
    Unsealed(SegmentHeader),
    /// Not a segment.
    Foreign,
    /// A segment of a format this library does not know.
    Newer,
    /// A segment's header that does not verify.
    Corrupt(Reason),
}

/// Judges the header of the segment whose file name says `segment_index`.
#[must_use]
pub fn judge_header(bytes: &[u8; SEGMENT_HEADER_BYTES], segment_index: u32) -> HeaderVerdict {
    let header = SegmentHeader::read_fields(bytes);
    let checksum = le::u64_at(bytes, 48);
    let holds = checksum == checksum_of(bytes);
    // FlashStrike leaves an open segment's checksum at 0, and its prefault may wipe the first byte.
    let open_in_flashstrike = checksum == 0 && header.seal.is_none() && bytes[0] == 0 && bytes[1] == 0x46;
    if le::u16_at(bytes, 0) != SEGMENT_MAGIC && !open_in_flashstrike {
        return HeaderVerdict::Foreign;
    }
    if holds && bytes[2] != SEGMENT_VERSION {
        return HeaderVerdict::Newer;
    }
    let without_checksum = checksum == 0 && header.seal.is_none();
    if !holds && !without_checksum {
        return HeaderVerdict::Corrupt(Reason::HeaderChecksum);
    }
    if bytes[2] != SEGMENT_VERSION || bytes[3] != 64 {
        return HeaderVerdict::Corrupt(Reason::HeaderConstants);
    }
    if header.segment_index != segment_index {
        return HeaderVerdict::Corrupt(Reason::SegmentIndex);
    }
    match header.seal {
        None => HeaderVerdict::Unsealed(header),
        Some(seal) => {
            let blocks = u64::from(seal.block_count);
            let events = u64::from(seal.event_count);
            let empty = seal.block_count == 0;
            let sound = (blocks..=blocks * u64::from(EVENTS_PER_BLOCK)).contains(&events)
                && if empty {
                    seal.first_event_id == 0 && seal.last_event_id == 0 && seal.last_chained_checksum == 0
                } else {
                    // Ids are distinct, so a range holds at least as many ids as there are events.
                    seal.first_event_id > 0
                        && seal.last_event_id.checked_sub(seal.first_event_id).is_some_and(|span| span >= events - 1)
                };
            if sound { HeaderVerdict::Sealed(header) } else { HeaderVerdict::Corrupt(Reason::SealedCounts) }
        }
    }
}

/// What surrounds a block.
#[derive(Clone, Copy, Debug)]
pub struct BlockContext {
    /// The block's place.
    pub block_index: u32,
    /// Id of the last event before the block, in this segment or an earlier one; 0 for none.
    pub previous_last_id: u64,
    /// Chained checksum of the block before it; 0 for block 0.
    pub previous_chain: u64,
    /// The segment's guards.
    pub guards: GuardContext,
}

/// What a block's header is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockState {
    /// The header is zero and so is the rest.
    Empty,
    /// The header is zero: the block is open, its events are judged by their guards.
    Open,
    /// Valid: the header proves `header.event_count` events.
    Finalized(BlockHeader),
    /// The header is there and the block is not valid: events are judged by their guards.
    Torn(Reason),
    /// A valid header with flags of a newer format.
    Newer,
}

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockVerdict {
    /// What its header is.
    pub state: BlockState,
    /// Events accepted, from slot 0: those the header proves, then those with good guards.
    pub accepted: u32,
    /// Id of the last accepted event; the context's for none.
    pub last_event_id: u64,
    /// Whether every accepted event carries a good guard (then the block can be written on in place).
    pub all_guarded: bool,
    /// Whether every byte above the accepted events is zero.
    pub rest_is_zero: bool,
}

/// Judges one whole block.
#[must_use]
pub fn judge_block(bytes: &[u8; BLOCK_BYTES], context: &BlockContext) -> BlockVerdict {
    judge(bytes, context, true)
}

/// Judges one whole block where the chain value before it is not known: everything but the chained checksum.
#[must_use]
pub fn judge_unchained_block(bytes: &[u8; BLOCK_BYTES], context: &BlockContext) -> BlockVerdict {
    judge(bytes, context, false)
}

fn judge(bytes: &[u8; BLOCK_BYTES], context: &BlockContext, chained: bool) -> BlockVerdict {
    let (header_bytes, slots) = bytes.split_at(BLOCK_HEADER_BYTES);
    let state = judge_block_header(bytes, context, chained);
    let proven = match state {
        BlockState::Finalized(header) => u32::from(header.event_count),
        BlockState::Newer => {
            return BlockVerdict {
                state,
                accepted: 0,
                last_event_id: context.previous_last_id,
                all_guarded: false,
                rest_is_zero: false,
            };
        }
        BlockState::Empty | BlockState::Open | BlockState::Torn(_) => 0,
    };
    let mut accepted = proven;
    let mut last_event_id = match state {
        BlockState::Finalized(header) => header.last_event_id,
        _ => context.previous_last_id,
    };
    let (events, _) = slots.as_chunks::<EVENT_BYTES>();
    let place = |slot: u32| context.block_index * EVENTS_PER_BLOCK + slot;
    for (slot, event) in (proven..).zip(&events[proven as usize..]) {
        let event_id = le::u64_at(event, 0);
        if event_id <= last_event_id || !context.guards.holds(place(slot), event) {
            break;
        }
        last_event_id = event_id;
        accepted += 1;
    }
    let all_guarded = accepted < EVENTS_PER_BLOCK
        && (0..).zip(&events[..proven as usize]).all(|(slot, event)| context.guards.holds(place(slot), event));
    let rest_is_zero = is_zero(&slots[accepted as usize * EVENT_BYTES..])
        && (matches!(state, BlockState::Finalized(_)) || is_zero(header_bytes));
    BlockVerdict { state, accepted, last_event_id, all_guarded, rest_is_zero }
}

fn judge_block_header(bytes: &[u8; BLOCK_BYTES], context: &BlockContext, chained: bool) -> BlockState {
    let (header_bytes, slots) = bytes.split_at(BLOCK_HEADER_BYTES);
    if is_zero(header_bytes) {
        return if is_zero(slots) { BlockState::Empty } else { BlockState::Open };
    }
    let Some(header) = BlockHeader::from_bytes(&le::array_at(header_bytes, 0)) else {
        return BlockState::Torn(Reason::BlockHeaderChecksum);
    };
    if header.flags & !FLAGS_KNOWN != 0 {
        return BlockState::Newer;
    }
    match judge_finalized(&header, slots, context) {
        Reason::None => BlockState::Finalized(header),
        // It is the last rule: all others hold.
        Reason::ChainedChecksum if !chained => BlockState::Finalized(header),
        reason => BlockState::Torn(reason),
    }
}

/// The conditions after the header's own checksum, in the order of `docs/FORMAT.md`.
fn judge_finalized(header: &BlockHeader, slots: &[u8], context: &BlockContext) -> Reason {
    let count = usize::from(header.event_count);
    if header.block_index != context.block_index {
        return Reason::BlockIndex;
    }
    if count == 0 || u32::from(header.event_count) > EVENTS_PER_BLOCK {
        return Reason::EventCount;
    }
    let used = &slots[..count * EVENT_BYTES];
    if header.first_event_id != le::u64_at(used, 0)
        || header.last_event_id != le::u64_at(used, used.len() - EVENT_BYTES)
    {
        return Reason::FirstLastId;
    }
    let mut previous = context.previous_last_id;
    for event in used.as_chunks::<EVENT_BYTES>().0 {
        let event_id = le::u64_at(event, 0);
        if event_id <= previous {
            return Reason::IdOrder;
        }
        previous = event_id;
    }
    let sums = sums_of(used, context.previous_chain);
    if sums.block != header.block_checksum {
        return Reason::BlockChecksum;
    }
    if sums.chained != header.chained_checksum {
        return Reason::ChainedChecksum;
    }
    Reason::None
}

/// Whether all bytes are zero.
#[must_use]
pub fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<64>();
    words.iter().all(|word| word.iter().fold(0, |all, byte| all | byte) == 0) && rest.iter().all(|&byte| byte == 0)
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
