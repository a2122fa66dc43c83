//! One segment's bytes: FORMAT.md, "Segment = header + blocks", "Segment header", "Block header", "Event",
//! "Valid if and only if".

use std::ops::Range;

use twox_hash::XxHash64;

use super::crc32c::crc32c;
use super::fields::{block_header, event, segment_header};
use super::{EventBytes, Place};

pub const SEGMENT_HEADER_BYTES: usize = 64;
pub const BLOCK_HEADER_BYTES: usize = 64;
pub const EVENT_BYTES: usize = 64;
pub const EVENTS_PER_BLOCK: usize = 256;
pub const BLOCK_BYTES: usize = BLOCK_HEADER_BYTES + EVENTS_PER_BLOCK * EVENT_BYTES;
pub const MAX_BLOCKS_READ: usize = 524_288;
pub const MAGIC: u64 = 0x4653;
pub const VERSION: u64 = 1;
pub const FLAG_GUARDS: u64 = 1;
pub const FLAG_LINK: u64 = 2;
/// "No byte of an event of segment N+1 ...; one cycle covers at most 4 MiB": so far apart may valid and torn bytes lie.
const CYCLE_BYTES: usize = 4 << 20;

/// `XXH64(bytes, seed)`.
pub fn xxh64(bytes: &[u8], seed: u64) -> u64 {
    XxHash64::oneshot(seed, bytes)
}

/// "Block i starts at 64 + i * 16448".
pub const fn block_offset(block: usize) -> usize {
    SEGMENT_HEADER_BYTES + block * BLOCK_BYTES
}

/// The place of the first byte that is not zero.
pub fn first_not_zero(bytes: &[u8]) -> Option<usize> {
    // Whole pieces are compared at once; only one is looked at byte by byte.
    let zeros = bytes.chunks(256).take_while(|piece| **piece == [0; 256][..piece.len()]).count() * 256;
    bytes.get(zeros..)?.iter().position(|byte| *byte != 0).map(|place| zeros + place)
}

/// Byte offset of a slot of the segment.
pub const fn slot_offset(slot: usize) -> usize {
    block_offset(slot / EVENTS_PER_BLOCK) + BLOCK_HEADER_BYTES + slot % EVENTS_PER_BLOCK * EVENT_BYTES
}

/// "checksum = XXH64(bytes\[56..64\], seed = XXH64(bytes\[0..48\], 0))" of a segment header.
pub fn segment_header_checksum(header: &[u8]) -> u64 {
    let head = &header[..segment_header::CHECKSUM.off];
    xxh64(&header[segment_header::CHECKSUM.end()..SEGMENT_HEADER_BYTES], xxh64(head, 0))
}

/// "checksum = XXH64(bytes\[40..64\], seed = XXH64(bytes\[0..32\], 0))" of a block header.
pub fn block_header_checksum(header: &[u8]) -> u64 {
    let head = &header[..block_header::CHECKSUM.off];
    xxh64(&header[block_header::CHECKSUM.end()..BLOCK_HEADER_BYTES], xxh64(head, 0))
}

/// "CRC-32C over: segment_index, created_ts_ns, slot number in the segment (u32, u64, u32, LE), then event bytes
/// 0..60; a result of 0 is stored as 1".
pub fn guard(segment_index: u32, created_ts_ns: u64, slot: usize, event_bytes: &[u8]) -> u32 {
    let slot = u32::try_from(slot).expect("slot fits u32");
    let crc = crc32c(&[
        &segment_index.to_le_bytes(),
        &created_ts_ns.to_le_bytes(),
        &slot.to_le_bytes(),
        &event_bytes[..event::GUARD.off],
    ]);
    if crc == 0 { 1 } else { crc }
}

/// How the segment stands in the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// `.wal`
    Hot,
    /// `.wal.lz4`, one frame for all (what `lz4` or FlashStrike makes)
    FrozenInOneFrame,
    /// `.wal.lz4`, the header's frame, then frames of 64 blocks
    FrozenInManyFrames,
}

/// Which rule accepted the segment header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderTrust {
    /// Its checksum holds.
    Checksum,
    /// FlashStrike's unsealed header: checksum 0, first byte perhaps 0.
    FlashStrikeUnsealed,
}

#[derive(Clone, Debug)]
pub struct Block {
    pub index: usize,
    /// Its header is written and everything that it says holds.
    pub finalized: bool,
    pub first_event_id: u64,
    pub last_event_id: u64,
    /// As stored; of a block that is not finalized it says nothing.
    pub header: [u8; BLOCK_HEADER_BYTES],
    /// 0 for a block that is not finalized.
    pub flags: u64,
    /// The previous segment's chain value; block 0 with flag bit 1 only.
    pub link: Option<u64>,
    /// Chain value after this block; the seed for one that is not finalized.
    pub chained_checksum: u64,
    /// Its events in `Log::events`.
    pub events: Range<usize>,
}

#[derive(Clone, Debug)]
pub struct Segment {
    pub index: u32,
    pub name: String,
    pub stored: Stored,
    pub header_trust: HeaderTrust,
    pub sealed: bool,
    /// The header's fields, as stored.
    pub header: [u8; SEGMENT_HEADER_BYTES],
    /// Blocks that the file has room for.
    pub capacity: usize,
    pub file_bytes: u64,
    /// Valid blocks in order; the last may be open (`finalized` false).
    pub blocks: Vec<Block>,
    /// All its events in `Log::events`.
    pub events: Range<usize>,
    /// Chain value after the last finalized block; 0 when there is none.
    pub chained_checksum: u64,
    /// Offset of the first byte above the accepted events that is not zero.
    pub first_dirty_byte: Option<usize>,
    /// Why walking an unsealed segment ended, when it did not end at an all-zero block header.
    pub torn: Option<String>,
}

impl Segment {
    pub const fn frozen(&self) -> bool {
        !matches!(self.stored, Stored::Hot)
    }

    pub fn created_ts_ns(&self) -> u64 {
        segment_header::CREATED_TS_NS.of(&self.header)
    }

    pub fn closed_ts_ns(&self) -> u64 {
        segment_header::CLOSED_TS_NS.of(&self.header)
    }

    /// The slot number in the segment of the event at `place` in `Log::events`.
    pub fn slot_of(block: &Block, place: usize) -> usize {
        block.index * EVENTS_PER_BLOCK + (place - block.events.start)
    }

    /// The byte after the last event's slot; 64 when there is none.
    pub fn end_of_events(&self) -> usize {
        self.blocks.last().map_or(SEGMENT_HEADER_BYTES, |block| {
            block_offset(block.index) + BLOCK_HEADER_BYTES + block.events.len() * EVENT_BYTES
        })
    }
}

/// What stands before a segment in the log.
#[derive(Clone, Copy, Debug)]
pub struct Before {
    /// The last event id before it; 0 for none.
    pub last_event_id: u64,
    /// The previous segment's chain value, when that segment is there.
    pub chained_checksum: Option<u64>,
}

/// "Any size from exact to padded is valid": blocks = (size - 64) / 16448.
pub fn capacity_of(file: &str, file_bytes: u64) -> Result<usize, String> {
    let bytes = usize::try_from(file_bytes).expect("64-bit");
    let blocks = bytes.saturating_sub(SEGMENT_HEADER_BYTES) / BLOCK_BYTES;
    let exact = block_offset(blocks);
    let padded = exact.next_multiple_of(4096);
    if blocks == 0 || blocks > MAX_BLOCKS_READ || !(exact..=padded).contains(&bytes) {
        return Err(format!(
            "{file}: file size: expected 64 + n * 16448 with n in 1..=524288, from exact to padded to 4096 \
             (nearest {exact} to {padded}), actual {bytes}"
        ));
    }
    Ok(blocks)
}

fn fault(at: Place, what: &str, expected: u64, actual: u64) -> String {
    at.fault(what, &format!("{expected} ({expected:#x})"), &format!("{actual} ({actual:#x})"))
}

/// FORMAT.md, "Segment header": which rule accepts it, or why none does.
fn judge_header(file: &str, index: u32, header: &[u8]) -> Result<HeaderTrust, String> {
    use segment_header as h;
    let at = |field: super::fields::Field| Place { file, block: None, offset: field.off };
    let stored = h::CHECKSUM.of(header);
    let computed = segment_header_checksum(header);
    let trust = if stored == computed {
        HeaderTrust::Checksum
    } else if stored == 0 && h::CLOSED_TS_NS.of(header) == 0 && (header[0] == 0x53 || header[0] == 0) {
        HeaderTrust::FlashStrikeUnsealed
    } else {
        return Err(fault(at(h::CHECKSUM), "segment header checksum", computed, stored));
    };
    let magic = match trust {
        HeaderTrust::Checksum => h::MAGIC.of(header),
        // The first byte was judged above.
        HeaderTrust::FlashStrikeUnsealed => h::MAGIC.of(header) & !0xff | (MAGIC & 0xff),
    };
    for (field, expected, actual) in [
        (h::MAGIC, MAGIC, magic),
        (h::VERSION, VERSION, h::VERSION.of(header)),
        (h::HEADER_SIZE, SEGMENT_HEADER_BYTES as u64, h::HEADER_SIZE.of(header)),
        (h::SEGMENT_INDEX, u64::from(index), h::SEGMENT_INDEX.of(header)),
    ] {
        if actual != expected {
            return Err(fault(at(field), field.name, expected, actual));
        }
    }
    Ok(trust)
}

/// Why a block was not accepted.
enum BlockFault {
    /// The header is zero: not finalized.
    Unwritten,
    Invalid(String),
    /// All of it holds but the link: the segment before is not the one that was there.
    Link(String),
    /// "any other bit: a newer format".
    Newer(String),
}

struct Walk<'a> {
    file: &'a str,
    index: u32,
    created_ts_ns: u64,
    bytes: &'a [u8],
    before: Before,
}

impl Walk<'_> {
    /// FORMAT.md, "A block is valid iff", in its order; then the link of block 0, "checked when that segment is
    /// there". What else the table says of bytes 48..64 is true of what is written (`rules.rs`), no condition here.
    fn block(&self, block: usize, seed: u64, last_id: u64, events_at: usize) -> Result<Block, BlockFault> {
        use block_header as h;
        let start = block_offset(block);
        let header = &self.bytes[start..start + BLOCK_HEADER_BYTES];
        let at = |off: usize| Place { file: self.file, block: Some(block), offset: start + off };
        let check = |field: super::fields::Field, what: &str, expected: u64| {
            let actual = field.of(header);
            if actual == expected {
                Ok(())
            } else {
                Err(BlockFault::Invalid(fault(at(field.off), what, expected, actual)))
            }
        };
        if header.iter().all(|byte| *byte == 0) {
            return Err(BlockFault::Unwritten);
        }
        check(h::CHECKSUM, "block header checksum", block_header_checksum(header))?;
        let flags = h::FLAGS.of(header);
        if flags & !(FLAG_GUARDS | FLAG_LINK) != 0 {
            let newer = at(h::FLAGS.off).fault("flags of a newer format", "bits 0 and 1 only", &format!("{flags:#x}"));
            return Err(BlockFault::Newer(newer));
        }
        check(h::BLOCK_INDEX, "block_index", block as u64)?;
        let count = usize::try_from(h::EVENT_COUNT.of(header)).expect("64-bit");
        if !(1..=EVENTS_PER_BLOCK).contains(&count) {
            let text = at(h::EVENT_COUNT.off).fault("event_count", "1..=256", &count.to_string());
            return Err(BlockFault::Invalid(text));
        }
        let events = &self.bytes[start + BLOCK_HEADER_BYTES..][..count * EVENT_BYTES];
        let id_of = |slot: usize| event::EVENT_ID.of(&events[slot * EVENT_BYTES..]);
        check(h::FIRST_EVENT_ID, "first_event_id", id_of(0))?;
        check(h::LAST_EVENT_ID, "last_event_id", id_of(count - 1))?;
        let mut above = last_id;
        for slot in 0..count {
            let id = id_of(slot);
            if id <= above {
                let place = at(BLOCK_HEADER_BYTES + slot * EVENT_BYTES);
                let text = place.fault("event_id", &format!("above {above}"), &id.to_string());
                return Err(BlockFault::Invalid(text));
            }
            above = id;
        }
        check(h::BLOCK_CHECKSUM, "block_checksum", xxh64(events, 0))?;
        check(h::CHAINED_CHECKSUM, "chained_checksum", xxh64(events, seed))?;
        let link = (block == 0 && flags & FLAG_LINK != 0).then(|| h::LINK.of(header));
        if let (Some(_), Some(previous)) = (link, self.before.chained_checksum) {
            check(h::LINK, "link to the previous segment", previous).map_err(|fault| match fault {
                BlockFault::Invalid(text) => BlockFault::Link(text),
                other => other,
            })?;
        }
        Ok(Block {
            index: block,
            finalized: true,
            first_event_id: id_of(0),
            last_event_id: above,
            flags,
            link,
            header: header.try_into().expect("64 bytes"),
            chained_checksum: h::CHAINED_CHECKSUM.of(header),
            events: events_at..events_at + count,
        })
    }

    /// "An event of an open block is valid iff: its guard holds, its id exceeds the one before, and every event
    /// before it in the block is valid." Gives the last slot + 1 and the last id.
    fn open_events(&self, block: usize, first_slot: usize, last_id: u64) -> (usize, u64) {
        let mut last = last_id;
        for slot in first_slot..EVENTS_PER_BLOCK {
            let bytes = self.event(block, slot);
            let id = event::EVENT_ID.of(bytes);
            if id <= last || !self.guard_holds(block, slot) {
                return (slot, last);
            }
            last = id;
        }
        (EVENTS_PER_BLOCK, last)
    }

    fn event(&self, block: usize, slot: usize) -> &[u8] {
        &self.bytes[slot_offset(block * EVENTS_PER_BLOCK + slot)..][..EVENT_BYTES]
    }

    fn guard_holds(&self, block: usize, slot: usize) -> bool {
        let bytes = self.event(block, slot);
        let expected = guard(self.index, self.created_ts_ns, block * EVENTS_PER_BLOCK + slot, bytes);
        event::GUARD.of(bytes) == u64::from(expected)
    }

    /// Whether anything in the block is valid on its own: then it was synced, or is within a cycle of what was.
    fn holds_something_valid(&self, block: usize) -> bool {
        let header = &self.bytes[block_offset(block)..][..BLOCK_HEADER_BYTES];
        let written = header.iter().any(|byte| *byte != 0);
        (written && block_header::CHECKSUM.of(header) == block_header_checksum(header))
            || (0..EVENTS_PER_BLOCK)
                .any(|slot| event::EVENT_ID.of(self.event(block, slot)) != 0 && self.guard_holds(block, slot))
    }
}

/// Decodes one segment from its bytes (`file_bytes` long on disk), appending its events to `events`.
pub fn decode_segment(
    name: &str,
    index: u32,
    stored: Stored,
    bytes: &[u8],
    file_bytes: u64,
    before: Before,
    events: &mut Vec<EventBytes>,
) -> Result<Segment, String> {
    if bytes.len() < SEGMENT_HEADER_BYTES {
        return Err(format!("{name}: size: expected at least 64, actual {}", bytes.len()));
    }
    let header: [u8; SEGMENT_HEADER_BYTES] = bytes[..SEGMENT_HEADER_BYTES].try_into().expect("64 bytes");
    let header_trust = judge_header(name, index, &header)?;
    let mut segment = Segment {
        index,
        name: name.to_owned(),
        stored,
        header_trust,
        sealed: segment_header::CLOSED_TS_NS.of(&header) != 0,
        header,
        capacity: (bytes.len() - SEGMENT_HEADER_BYTES) / BLOCK_BYTES,
        file_bytes,
        blocks: Vec::new(),
        events: events.len()..events.len(),
        chained_checksum: 0,
        first_dirty_byte: None,
        torn: None,
    };
    let walk = Walk { file: name, index, created_ts_ns: segment.created_ts_ns(), bytes, before };
    if segment.sealed {
        walk_sealed(&walk, &mut segment)?;
    } else if segment.frozen() {
        let at = Place { file: name, block: None, offset: segment_header::CLOSED_TS_NS.off };
        return Err(at.fault("closed_ts_ns of a frozen segment", "not 0", "0"));
    } else {
        walk_unsealed(&walk, &mut segment)?;
    }
    for block in &segment.blocks {
        for slot in 0..block.events.len() {
            events.push(walk.event(block.index, slot).try_into().expect("64 bytes"));
        }
    }
    segment.events.end = events.len();
    let end = segment.end_of_events();
    segment.first_dirty_byte = first_not_zero(&bytes[end..]).map(|place| end + place);
    Ok(segment)
}

/// A sealed segment: its counts are trusted, so every one of its blocks must be valid, and the counts must be right.
fn walk_sealed(walk: &Walk, segment: &mut Segment) -> Result<(), String> {
    use segment_header as h;
    let at = |field: super::fields::Field| Place { file: walk.file, block: None, offset: field.off };
    let block_count = usize::try_from(h::BLOCK_COUNT.of(&segment.header)).expect("64-bit");
    if block_count > segment.capacity {
        return Err(fault(
            at(h::BLOCK_COUNT),
            "block_count beyond the file",
            segment.capacity as u64,
            block_count as u64,
        ));
    }
    let (mut seed, mut last_id, mut end) = (0, walk.before.last_event_id, segment.events.start);
    for block in 0..block_count {
        let block =
            walk.block(block, seed, last_id, end).map_err(|why| match why {
                BlockFault::Invalid(text) | BlockFault::Link(text) | BlockFault::Newer(text) => text,
                BlockFault::Unwritten => Place { file: walk.file, block: Some(block), offset: block_offset(block) }
                    .fault("block header of a sealed segment", "a finalized block", "all zero"),
            })?;
        let told = block.events.len();
        let (proven, _) = walk.open_events(block.index, told, block.last_event_id);
        if proven > told {
            let place = Place {
                file: walk.file,
                block: Some(block.index),
                offset: block_offset(block.index) + block_header::EVENT_COUNT.off,
            };
            return Err(fault(place, "event_count of a sealed block, by the guards", proven as u64, told as u64));
        }
        (seed, last_id, end) = (block.chained_checksum, block.last_event_id, block.events.end);
        segment.blocks.push(block);
    }
    segment.chained_checksum = seed;
    let first_id = segment.blocks.first().map_or(0, |block| block.first_event_id);
    let last_id = segment.blocks.last().map_or(0, |block| block.last_event_id);
    for (field, expected) in [
        (h::EVENT_COUNT, (end - segment.events.start) as u64),
        (h::FIRST_EVENT_ID, first_id),
        (h::LAST_EVENT_ID, last_id),
        (h::LAST_CHAINED_CHECKSUM, seed),
    ] {
        let actual = field.of(&segment.header);
        if actual != expected {
            return Err(fault(at(field), field.name, expected, actual));
        }
    }
    Ok(())
}

/// An unsealed segment: "the tail is found by walking blocks". Blocks by their headers and the chain; where a header is
/// not there or does not hold, the block's events by their guards. The flusher finalizes behind the appender, so that a
/// full block whose 256 guards hold may have others above it. A block with fewer than 256 events may have been taken up
/// again: then its header proves its first slots, and guards decide from there. Above one that was not, only finalized
/// blocks are accepted (FlashStrike flushes partial blocks).
fn walk_unsealed(walk: &Walk, segment: &mut Segment) -> Result<(), String> {
    let (mut seed, mut last_id, mut end) = (0, walk.before.last_event_id, segment.events.start);
    let mut above_partial = false;
    let mut stop = None;
    for index in 0..segment.capacity {
        let finalized = match walk.block(index, seed, last_id, end) {
            Ok(block) => Some(block),
            Err(BlockFault::Newer(text) | BlockFault::Link(text)) => return Err(text),
            Err(BlockFault::Unwritten) => None,
            Err(BlockFault::Invalid(text)) => {
                segment.torn.get_or_insert(text);
                None
            }
        };
        let proven = finalized.as_ref().map_or(0, |block| block.events.len());
        let proven_last = finalized.as_ref().map_or(last_id, |block| block.last_event_id);
        let (slots, guarded_last) =
            if above_partial && proven == 0 { (0, last_id) } else { walk.open_events(index, proven, proven_last) };
        let block = match finalized {
            Some(block) if slots == proven => block,
            _ if slots == 0 => {
                stop = Some((index, 0));
                break;
            }
            _ => {
                let start = block_offset(index);
                let header = &walk.bytes[start..start + BLOCK_HEADER_BYTES];
                let events = &walk.bytes[start + BLOCK_HEADER_BYTES..][..slots * EVENT_BYTES];
                Block {
                    index,
                    finalized: false,
                    first_event_id: event::EVENT_ID.of(events),
                    last_event_id: guarded_last,
                    header: header.try_into().expect("64 bytes"),
                    flags: 0,
                    link: None,
                    chained_checksum: xxh64(events, seed),
                    events: end..end + slots,
                }
            }
        };
        (seed, last_id, end) = (block.chained_checksum, block.last_event_id, block.events.end);
        above_partial = slots < EVENTS_PER_BLOCK;
        let is_open = !block.finalized;
        segment.blocks.push(block);
        if is_open && above_partial {
            stop = Some((index, slots));
            break;
        }
    }
    segment.chained_checksum = seed;
    stop.map_or(Ok(()), |(block, slot)| look_above(walk, segment, block, slot))
}

/// "A valid event ... more than 4 MiB above an invalid one makes the invalid bytes corruption and not a torn tail."
fn look_above(walk: &Walk, segment: &Segment, block: usize, slot: usize) -> Result<(), String> {
    let place = block_offset(block) + BLOCK_HEADER_BYTES + slot * EVENT_BYTES;
    for later in block + 1..segment.capacity {
        if block_offset(later) > place + CYCLE_BYTES && walk.holds_something_valid(later) {
            let why = segment.torn.as_deref().unwrap_or("an all-zero block header");
            return Err(format!(
                "{}: block {block}, offset {place}: invalid bytes: expected none below valid ones more than 4 MiB \
                 above, actual valid bytes in block {later}, offset {}; walking ended at: {why}",
                walk.file,
                block_offset(later)
            ));
        }
    }
    Ok(())
}
