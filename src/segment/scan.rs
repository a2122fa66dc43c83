//! The walk over the blocks of one `.wal`: how far its events may be accepted, and what lies above them.
//!
//! Blocks are judged by `format::judge_block`, one after another. A block whose header does not hold, but whose 256 events all
//! carry good guards, is accepted whole: its header was on its way to the disk when the machine stopped. The walk ends at the
//! first block that gives less than 256 events, unless a finalized block follows (FlashStrike flushes partial blocks).

use crate::format::{
    BLOCK_BYTES, BLOCK_HEADER_BYTES, BlockContext, BlockHeader, BlockState, BlockVerdict, EVENT_BYTES,
    EVENTS_PER_BLOCK, FLAG_LINK, Geometry, GuardContext, Reason, full_blocks, is_zero, judge_block, u16_at, u64_at,
    xxh64,
};
use crate::storage::{self, Directory, Place};

use super::block_reader::BlockReader;
use super::error::Error;
use super::hot_segment::HotSegment;

/// Most bytes that one cycle of the flusher writes before it syncs: no torn write is longer.
pub const MOST_UNSYNCED_BYTES: usize = 4 << 20;

/// What the header of the block that holds the last accepted event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndBlock {
    /// No event, or the block is whole.
    Boundary,
    /// A zero header, or a valid one from before its last events: the block is open.
    Open,
    /// A valid header that tells of all its events.
    Finalized,
    /// A header that does not hold.
    Torn,
}

/// What a walk found.
#[derive(Clone, Copy, Debug)]
pub struct SegmentScan {
    /// Slots up to and including the last accepted event's.
    pub end_slot: u32,
    /// Accepted events; fewer than `end_slot` in a segment with partial blocks.
    pub event_count: u32,
    /// 0 when there are none.
    pub first_event_id: u64,
    /// The last accepted event's, or the last one's before the segment.
    pub last_event_id: u64,
    /// Chained checksum of the last block before the end block.
    pub chain: u64,
    /// Chained checksum after the last accepted event.
    pub end_chain: u64,
    /// The header of the block that holds the last accepted event.
    pub end_block: EndBlock,
    /// The end block's accepted events all carry good guards.
    pub end_block_guarded: bool,
    /// The chain value of the segment before, as block 0 tells it.
    pub link: Option<u64>,
    /// Every whole block has its header, which tells of all its events; else only guards prove some.
    pub finalized: bool,
    /// Every slot below `end_slot` holds an event.
    pub contiguous: bool,
    /// Byte offset after the last byte that is not zero.
    pub nonzero_end: usize,
    /// Why the walk ended where it did, when what follows is not zero.
    pub reason: Reason,
    /// Offset of valid data too far above the end to be a torn write.
    pub valid_above: Option<usize>,
}

impl SegmentScan {
    /// Of a segment that holds nothing but zeros, after an event with this id.
    #[must_use]
    pub fn empty(previous_last_id: u64) -> Self {
        Self {
            end_slot: 0,
            event_count: 0,
            first_event_id: 0,
            last_event_id: previous_last_id,
            chain: 0,
            end_chain: 0,
            end_block: EndBlock::Boundary,
            end_block_guarded: true,
            link: None,
            finalized: true,
            contiguous: true,
            nonzero_end: Geometry::end_offset(0),
            reason: Reason::None,
            valid_above: None,
        }
    }

    /// Byte offset after the last accepted event.
    #[must_use]
    pub fn end_offset(&self) -> usize {
        Geometry::end_offset(self.end_slot)
    }

    /// Whether the segment is complete as it stands, as one below a segment in use must be: it holds events, every block of them is
    /// finalized, and above are zeros.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let ends = self.finalized && !matches!(self.end_block, EndBlock::Open | EndBlock::Torn);
        self.end_slot > 0 && ends && self.nonzero_end <= self.end_offset() && self.valid_above.is_none()
    }
}

/// Walks `segment`, whose events must exceed `previous_last_id`.
///
/// # Errors
/// [`Error::Io`]; [`Error::Newer`] for a block of a newer format.
pub fn scan_segment(
    directory: &dyn Directory,
    segment: &HotSegment,
    previous_last_id: u64,
) -> Result<SegmentScan, Error> {
    let mut walk = Walk {
        directory,
        segment,
        blocks: BlockReader::new(&*segment.file, segment.geometry),
        guards: segment.header.guards(),
        scan: SegmentScan::empty(previous_last_id),
    };
    let first_above = walk.accept()?;
    walk.look_above(first_above)?;
    Ok(walk.scan)
}

struct Walk<'a> {
    directory: &'a dyn Directory,
    segment: &'a HotSegment,
    blocks: BlockReader<'a>,
    guards: GuardContext,
    scan: SegmentScan,
}

impl Walk<'_> {
    /// Accepts blocks from the front; gives the first one above the end block.
    fn accept(&mut self) -> Result<u32, Error> {
        let mut index = 0;
        while index < self.segment.geometry.num_blocks() {
            let full = self.take_full(index)?;
            if full > 0 {
                index += full;
                continue;
            }
            let (verdict, chain_after, first_id) = self.judge(index)?;
            let BlockVerdict { state, accepted, .. } = verdict;
            if accepted == 0 {
                self.scan.reason = reason_of(state);
                return Ok(index);
            }
            self.take(index, &verdict, first_id);
            self.scan.end_chain = chain_after;
            let told = matches!(state, BlockState::Finalized(header) if u32::from(header.event_count) == accepted);
            if accepted == EVENTS_PER_BLOCK {
                self.scan.finalized &= told;
                self.scan.chain = chain_after;
                index += 1;
                continue;
            }
            self.scan.reason = reason_of(state);
            self.scan.end_block_guarded = verdict.all_guarded;
            self.scan.end_block = match state {
                BlockState::Finalized(_) if told => EndBlock::Finalized,
                BlockState::Torn(_) => EndBlock::Torn,
                _ => EndBlock::Open,
            };
            // What stands above its events does not matter then: the next block's chain proves this one as it is.
            if !self.is_finalized_next(index, &verdict, chain_after)? {
                return Ok(index + 1);
            }
            self.scan.chain = chain_after;
            self.scan.contiguous = false;
            self.scan.end_block = EndBlock::Boundary;
            index += 1;
        }
        Ok(index)
    }

    /// Accepts the full, valid blocks from `index` on that are at hand; how many. It is what judging each of them would do.
    fn take_full(&mut self, index: u32) -> Result<u32, Error> {
        let context = self.context(index);
        let name = self.segment.name.to_string();
        let blocks = self.blocks.blocks_from(index).at("read", self.directory.path(), &name)?;
        let found = full_blocks(blocks, &context);
        let Some(first) = blocks.first().filter(|_| found.count > 0) else { return Ok(0) };
        let scan = &mut self.scan;
        if scan.event_count == 0 {
            scan.first_event_id = u64_at(first, 0);
        }
        if index == 0 {
            scan.link = (u16_at(first, 46) & FLAG_LINK != 0).then(|| u64_at(first, 48));
        }
        scan.event_count += found.count * EVENTS_PER_BLOCK;
        scan.end_slot = (index + found.count) * EVENTS_PER_BLOCK;
        scan.last_event_id = found.last_event_id;
        (scan.end_block, scan.end_block_guarded) = (EndBlock::Boundary, true);
        (scan.chain, scan.end_chain) = (found.chain, found.chain);
        Ok(found.count)
    }

    fn context(&self, block_index: u32) -> BlockContext {
        BlockContext {
            block_index,
            previous_last_id: self.scan.last_event_id,
            previous_chain: self.scan.chain,
            guards: self.guards,
        }
    }

    /// The verdict on a block, the chain value after its accepted events, and the first one's id.
    fn judge(&mut self, index: u32) -> Result<(BlockVerdict, u64, u64), Error> {
        let context = self.context(index);
        let block = self.block(index)?;
        let verdict = judge_block(block, &context);
        if verdict.state == BlockState::Newer {
            return Err(self.newer(index));
        }
        let events = &block[BLOCK_HEADER_BYTES..BLOCK_HEADER_BYTES + verdict.accepted as usize * EVENT_BYTES];
        let first_id = if events.is_empty() { 0 } else { u64_at(events, 0) };
        let chain = match verdict.state {
            BlockState::Finalized(header) if verdict.accepted == u32::from(header.event_count) => {
                header.chained_checksum
            }
            _ => xxh64(events, context.previous_chain),
        };
        Ok((verdict, chain, first_id))
    }

    fn newer(&self, index: u32) -> Error {
        let path = self.directory.path().join(self.segment.name.to_string());
        Error::Newer { path, offset: Geometry::block_offset(index) as u64 }
    }

    fn take(&mut self, index: u32, verdict: &BlockVerdict, first_id: u64) {
        let scan = &mut self.scan;
        if scan.event_count == 0 {
            scan.first_event_id = first_id;
        }
        if let (0, BlockState::Finalized(header)) = (index, verdict.state) {
            scan.link = (header.flags & FLAG_LINK != 0).then_some(header.link);
        }
        scan.event_count += verdict.accepted;
        scan.end_slot = index * EVENTS_PER_BLOCK + verdict.accepted;
        scan.last_event_id = verdict.last_event_id;
        scan.end_block = EndBlock::Boundary;
        scan.end_block_guarded = true;
    }

    fn is_finalized_next(&mut self, index: u32, verdict: &BlockVerdict, chain: u64) -> Result<bool, Error> {
        let BlockState::Finalized(header) = verdict.state else { return Ok(false) };
        if index + 1 >= self.segment.geometry.num_blocks() || verdict.accepted != u32::from(header.event_count) {
            return Ok(false);
        }
        let context = BlockContext {
            block_index: index + 1,
            previous_last_id: verdict.last_event_id,
            previous_chain: chain,
            guards: self.guards,
        };
        let next = judge_block(self.block(index + 1)?, &context).state;
        if next == BlockState::Newer {
            return Err(self.newer(index + 1));
        }
        Ok(matches!(next, BlockState::Finalized(_)))
    }

    /// What lies above the end: how far it is not zero, and whether any of it is valid and too far away.
    fn look_above(&mut self, first_above: u32) -> Result<(), Error> {
        let end = self.scan.end_offset();
        self.scan.nonzero_end = end;
        let far = end + MOST_UNSYNCED_BYTES;
        let end_block = first_above.saturating_sub(1);
        for index in end_block..self.segment.geometry.num_blocks() {
            let (begin, guards) = (Geometry::block_offset(index), self.guards);
            let block = self.block(index)?;
            if is_zero(block) {
                continue;
            }
            let last = block.iter().rposition(|&byte| byte != 0).unwrap_or(0);
            let valid = if begin + BLOCK_BYTES > far { first_valid(block, index, guards, far) } else { None };
            self.scan.nonzero_end = self.scan.nonzero_end.max(begin + last + 1);
            if self.scan.valid_above.is_none() {
                self.scan.valid_above = valid;
            }
        }
        if self.scan.nonzero_end == end && !matches!(self.scan.end_block, EndBlock::Torn) {
            self.scan.reason = Reason::None;
        } else if self.scan.reason == Reason::None {
            self.scan.reason = Reason::TailNotZero;
        }
        Ok(())
    }

    fn block(&mut self, index: u32) -> Result<&[u8; BLOCK_BYTES], Error> {
        let name = self.segment.name.to_string();
        self.blocks.block(index).at("read", self.directory.path(), &name).map_err(storage_error)
    }
}

fn storage_error(error: storage::Error) -> Error {
    Error::Io(error)
}

fn reason_of(state: BlockState) -> Reason {
    match state {
        BlockState::Torn(reason) => reason,
        BlockState::Open => Reason::Guard,
        BlockState::Empty => Reason::Hole,
        BlockState::Finalized(_) => Reason::TailNotZero,
        BlockState::Newer => Reason::Version,
    }
}

/// The offset of the first thing at or above `far` that is valid in its own place: a finalized block, or a guarded event.
fn first_valid(block: &[u8; BLOCK_BYTES], index: u32, guards: GuardContext, far: usize) -> Option<usize> {
    let begin = Geometry::block_offset(index);
    let (header, slots) = block.split_at(BLOCK_HEADER_BYTES);
    let finalized = BlockHeader::from_bytes(&crate::format::array_at(header, 0)).is_some_and(|header| {
        let bytes = usize::from(header.event_count) * EVENT_BYTES;
        header.block_index == index && bytes <= slots.len() && xxh64(&slots[..bytes], 0) == header.block_checksum
    });
    if finalized && begin >= far {
        return Some(begin);
    }
    let events = slots.as_chunks::<EVENT_BYTES>().0;
    (index * EVENTS_PER_BLOCK..).zip(events).find_map(|(slot, event)| {
        let offset = Geometry::event_offset(slot);
        (offset >= far && u64_at(event, 0) != 0 && guards.holds(slot, event)).then_some(offset)
    })
}
