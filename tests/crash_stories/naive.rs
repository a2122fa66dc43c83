//! Judges that the stories' controls trust too much.

use walrec::format::{
    BLOCK_BYTES, BLOCK_HEADER_BYTES, BlockHeader, EVENT_BYTES, EVENTS_PER_BLOCK, Geometry, GuardContext, xxh64,
};

/// The block's bytes in a segment's file.
pub fn block(file: &[u8], index: u32) -> [u8; BLOCK_BYTES] {
    let begin = Geometry::block_offset(index);
    let mut block = [0; BLOCK_BYTES];
    // A file may end in the middle of its last block after a cut.
    let held = file.len().saturating_sub(begin).min(BLOCK_BYTES);
    block[..held].copy_from_slice(&file[begin..begin + held]);
    block
}

/// The event's bytes in a segment's file.
pub fn event_at(file: &[u8], slot: u32) -> [u8; EVENT_BYTES] {
    let begin = Geometry::event_offset(slot);
    file[begin..begin + EVENT_BYTES].try_into().unwrap()
}

/// The creation time that a segment's header gives.
pub fn guards_of(file: &[u8], segment_index: u32) -> GuardContext {
    GuardContext { segment_index, created_ts_ns: u64::from_le_bytes(file[32..40].try_into().unwrap()) }
}

/// Events of block `index` that a judge accepts which trusts a finalized block's checksum alone: all of them when it holds, none
/// when it does not. It looks at guards only while the block is open.
pub fn by_checksum_alone(file: &[u8], index: u32, guards: GuardContext) -> u32 {
    let bytes = block(file, index);
    let (header, slots) = bytes.split_at(BLOCK_HEADER_BYTES);
    if header.iter().all(|&byte| byte == 0) {
        let first = index * EVENTS_PER_BLOCK;
        let holds = |(slot, event): (u32, &[u8; EVENT_BYTES])| guards.holds(slot, event);
        let accepted = (first..).zip(slots.as_chunks::<EVENT_BYTES>().0).take_while(|&pair| holds(pair)).count();
        return u32::try_from(accepted).unwrap();
    }
    let Some(header) = BlockHeader::from_bytes(header.try_into().unwrap()) else { return 0 };
    let used = usize::from(header.event_count) * EVENT_BYTES;
    let holds = used <= slots.len() && xxh64(&slots[..used], 0) == header.block_checksum;
    if holds { header.event_count.into() } else { 0 }
}
