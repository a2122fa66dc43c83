//! Writes segments by FORMAT.md, for the decoder's own controls: right ones, and ones that are wrong in one place with
//! every checksum repaired, so that only the rule under test can object.

#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "a broken fixture ends the test")]

use std::path::Path;

use super::decoder::EventBytes;
use super::decoder::fields::{block_header, event, segment_header};
use super::decoder::segment::{
    BLOCK_HEADER_BYTES, EVENT_BYTES, EVENTS_PER_BLOCK, FLAG_GUARDS, FLAG_LINK, block_header_checksum, block_offset,
    guard, segment_header_checksum, slot_offset, xxh64,
};
use super::decoder::support::{golden_event, write_file};

/// A segment to be written.
#[derive(Clone, Debug)]
pub struct Plan {
    pub index: u32,
    pub capacity: usize,
    pub created_ts_ns: u64,
    /// 0: unsealed.
    pub closed_ts_ns: u64,
    /// Events of each finalized block.
    pub blocks: Vec<usize>,
    /// Events with guards in the block after them, whose header is not written.
    pub open_events: usize,
    pub first_event_id: u64,
    pub guards: bool,
    /// The previous segment's chain value.
    pub link: Option<u64>,
}

impl Plan {
    /// The id after the last one of this segment.
    pub fn next_event_id(&self) -> u64 {
        self.first_event_id + (self.blocks.iter().sum::<usize>() + self.open_events) as u64
    }

    pub fn encode(&self) -> Vec<u8> {
        use segment_header as h;
        let mut bytes = vec![0; block_offset(self.capacity)];
        let mut id = self.first_event_id;
        let open = [self.open_events];
        for (block, count) in self.blocks.iter().chain(&open).enumerate() {
            for place in 0..*count {
                let slot = block * EVENTS_PER_BLOCK + place;
                put_event(&mut bytes, slot, &golden_event(id));
                if self.guards {
                    self.put_guard(&mut bytes, slot);
                }
                id += 1;
            }
        }
        for (block, count) in self.blocks.iter().enumerate() {
            let header = &mut bytes[block_offset(block)..][..BLOCK_HEADER_BYTES];
            let mut flags = if self.guards { FLAG_GUARDS } else { 0 };
            if let (0, Some(link)) = (block, self.link) {
                flags |= FLAG_LINK;
                block_header::LINK.put(header, link);
            }
            block_header::BLOCK_INDEX.put(header, block as u64);
            block_header::EVENT_COUNT.put(header, *count as u64);
            block_header::FLAGS.put(header, flags);
        }
        h::MAGIC.put(&mut bytes, 0x4653);
        h::VERSION.put(&mut bytes, 1);
        h::HEADER_SIZE.put(&mut bytes, 64);
        h::SEGMENT_INDEX.put(&mut bytes, u64::from(self.index));
        h::CREATED_TS_NS.put(&mut bytes, self.created_ts_ns);
        h::CLOSED_TS_NS.put(&mut bytes, self.closed_ts_ns);
        repair_blocks(&mut bytes, self.blocks.len());
        if self.closed_ts_ns != 0 {
            repair_counts(&mut bytes, self.blocks.len());
        }
        repair_segment_header(&mut bytes);
        bytes
    }

    /// The same with guarded events from the first open slot up to slot `events`, in as many open blocks as it takes.
    pub fn encode_with_open(&self, events: usize) -> Vec<u8> {
        let mut bytes = self.encode();
        let finalized: usize = self.blocks.iter().sum();
        for slot in finalized..events {
            put_event(&mut bytes, slot, &golden_event(self.first_event_id + slot as u64));
            self.put_guard(&mut bytes, slot);
        }
        bytes
    }

    pub fn put_guard(&self, bytes: &mut [u8], slot: usize) {
        let event = &bytes[slot_offset(slot)..][..EVENT_BYTES];
        let value = guard(self.index, self.created_ts_ns, slot, event);
        event::GUARD.put(&mut bytes[slot_offset(slot)..], u64::from(value));
    }

    /// The chain value after the last finalized block.
    pub fn chained_checksum(&self) -> u64 {
        chain_after(&self.encode(), self.blocks.len())
    }
}

pub fn put_event(bytes: &mut [u8], slot: usize, event: &EventBytes) {
    bytes[slot_offset(slot)..][..EVENT_BYTES].copy_from_slice(event);
}

pub fn chain_after(bytes: &[u8], blocks: usize) -> u64 {
    match blocks {
        0 => 0,
        _ => block_header::CHAINED_CHECKSUM.of(&bytes[block_offset(blocks - 1)..]),
    }
}

/// First and last ids, both checksums and the header's checksum of the first `blocks` blocks.
pub fn repair_blocks(bytes: &mut [u8], blocks: usize) {
    for block in 0..blocks {
        let start = block_offset(block);
        let count = usize::try_from(block_header::EVENT_COUNT.of(&bytes[start..])).unwrap();
        let seed = chain_after(bytes, block);
        // A count out of range is under test itself: it covers what there is room for.
        let covered = count.clamp(1, EVENTS_PER_BLOCK);
        let (header, events) = bytes[start..].split_at_mut(BLOCK_HEADER_BYTES);
        block_header::FIRST_EVENT_ID.put(header, event::EVENT_ID.of(events));
        block_header::LAST_EVENT_ID.put(header, event::EVENT_ID.of(&events[(covered - 1) * EVENT_BYTES..]));
        block_header::BLOCK_CHECKSUM.put(header, xxh64(&events[..covered * EVENT_BYTES], 0));
        block_header::CHAINED_CHECKSUM.put(header, xxh64(&events[..covered * EVENT_BYTES], seed));
        repair_block_header(bytes, block);
    }
}

pub fn repair_block_header(bytes: &mut [u8], block: usize) {
    let header = &mut bytes[block_offset(block)..][..BLOCK_HEADER_BYTES];
    let checksum = block_header_checksum(header);
    block_header::CHECKSUM.put(header, checksum);
}

/// What a sealed header says of its blocks.
pub fn repair_counts(bytes: &mut [u8], blocks: usize) {
    use segment_header as h;
    let header = |block: usize| &bytes[block_offset(block)..][..BLOCK_HEADER_BYTES];
    let events: u64 = (0..blocks).map(|block| block_header::EVENT_COUNT.of(header(block))).sum();
    let first = if blocks == 0 { 0 } else { block_header::FIRST_EVENT_ID.of(header(0)) };
    let last = if blocks == 0 { 0 } else { block_header::LAST_EVENT_ID.of(header(blocks - 1)) };
    let chain = chain_after(bytes, blocks);
    h::BLOCK_COUNT.put(bytes, blocks as u64);
    h::EVENT_COUNT.put(bytes, events);
    h::FIRST_EVENT_ID.put(bytes, first);
    h::LAST_EVENT_ID.put(bytes, last);
    h::LAST_CHAINED_CHECKSUM.put(bytes, chain);
}

pub fn repair_segment_header(bytes: &mut [u8]) {
    let checksum = segment_header_checksum(&bytes[..64]);
    segment_header::CHECKSUM.put(bytes, checksum);
}

/// Two full sealed segments of 16 blocks and one whose last block is partial, linked and guarded: what walrec leaves
/// after a clean close of 10,300 events and rotations.
pub fn three_segments() -> Vec<Plan> {
    let mut plans: Vec<Plan> = Vec::new();
    for (index, blocks) in [vec![256; 16], vec![256; 16], vec![256, 256, 44]].into_iter().enumerate() {
        let previous = plans.last();
        let index = u32::try_from(index).unwrap();
        plans.push(Plan {
            index,
            capacity: 16,
            created_ts_ns: 1_000 + 10 * u64::from(index),
            closed_ts_ns: 1_005 + 10 * u64::from(index),
            blocks,
            open_events: 0,
            first_event_id: previous.map_or(1, Plan::next_event_id),
            guards: true,
            link: previous.map(Plan::chained_checksum),
        });
    }
    plans
}

/// The files beside the segments, as a clean close leaves them: names and bytes. `gone` is where the stage was.
pub fn sidecars(gone: &Path, segment_index: u32, offset: usize, last_event_id: u64) -> [(&'static str, Vec<u8>); 3] {
    let mut meta = u32::try_from(offset).unwrap().to_le_bytes().to_vec();
    meta.extend_from_slice(&segment_index.to_le_bytes());
    meta.extend_from_slice(&last_event_id.to_le_bytes());
    let line =
        format!("closed ffeeddccbbaa99887766554433221100 01234567-89ab-cdef-0123-456789abcdef {}\n", gone.display());
    [
        ("wal_meta.dat", meta),
        ("walrec.id", b"00112233445566778899aabbccddeeff\n".to_vec()),
        ("walrec.stage", line.into_bytes()),
    ]
}

/// Writes them.
pub fn write_sidecars(dir: &Path, segment_index: u32, offset: usize, last_event_id: u64) {
    for (name, bytes) in sidecars(&dir.join("no such stage"), segment_index, offset, last_event_id) {
        write_file(&dir.join(name), &bytes);
    }
}

/// Writes the plans' segments and their sidecars.
pub fn write_log(dir: &Path, plans: &[Plan]) {
    for plan in plans {
        write_file(&dir.join(format!("FS.{:08}.wal", plan.index)), &plan.encode());
    }
    let last = plans.last().unwrap();
    let events = last.blocks.len() * EVENTS_PER_BLOCK - EVENTS_PER_BLOCK + last.blocks.last().unwrap();
    write_sidecars(dir, last.index, slot_offset(events - 1) + EVENT_BYTES, last.next_event_id() - 1);
}
