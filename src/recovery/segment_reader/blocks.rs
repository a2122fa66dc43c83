//! The way from files to blocks, and the quick way over those that are full and valid.
//!
//! Blocks come in pieces: several of a `.wal` at once, a frame of a frozen segment. Where a frame cannot be read by itself, the rest
//! of the segment is streamed instead, block by block; so what is wrong with it is said in one place. The quick way accepts only:
//! where it does not get on, the next block goes the careful way.

use std::sync::Arc;

use super::{Batch, Error, SegmentReader, Source};
use crate::format::{
    BLOCK_BYTES, BlockContext, EVENTS_PER_BLOCK, FLAG_LINK, FullBlocks, Reason, full_blocks, u16_at, u64_at,
};
use crate::recovery::segment_preloader::SegmentPreloader;
use crate::segment::{BLOCKS_PER_FRAME, Pieces};
use crate::storage::Place;
use crate::telemetry::{Moment, ReaderCount, ReaderTiming};

impl SegmentReader {
    /// Sees to it that the present block is in the window, as far as the file has it; `false` for a block that is to be streamed.
    pub(super) fn hold_piece(&mut self) -> Result<bool, Error> {
        if !self.window.piece.blocks_from(self.block).is_empty() {
            return Ok(true);
        }
        if self.streamed {
            return Ok(false);
        }
        self.know_pieces()?;
        let Some(pieces) = &self.pieces else { return Ok(false) };
        let read = match pieces.piece_with(self.block) {
            Some(blocks) => {
                if let Some(preloader) = &self.preloader
                    && preloader.take(blocks.start, &mut self.window)
                {
                    if !std::mem::replace(&mut self.preloaded, true) {
                        self.telemetry.count(ReaderCount::SegmentsPreloaded, 1);
                    }
                    self.count_passed();
                    return Ok(true);
                }
                self.window.full = 0;
                let read = pieces.read(&blocks, &mut self.window.piece);
                read.at("read", self.directory.path(), &self.name())?
            }
            None => false,
        };
        if !read {
            return self.stream().map(|()| false);
        }
        self.telemetry.count(ReaderCount::Bytes, (self.window.piece.blocks().len() * BLOCK_BYTES) as u64);
        self.count_passed();
        Ok(true)
    }

    /// Reads with the buffers of the segment before, which is left: new ones cost a page fault for each of their pages.
    pub(in crate::recovery) fn take_buffers(&mut self, before: &mut Self) {
        if self.window.piece.blocks().is_empty() {
            before.window.piece.clear();
            std::mem::swap(&mut self.window, &mut before.window);
        }
    }

    /// Has the frames that come next read ahead from now on. Not the pieces of a `.wal`: to fetch them from another processor's cache
    /// takes as long as to read and check them here.
    pub(in crate::recovery) fn read_ahead(&mut self, preloader: &Arc<SegmentPreloader>) -> Result<(), Error> {
        if self.preloader.is_some() || self.streamed || self.is_hot() {
            return Ok(());
        }
        self.know_pieces()?;
        let Some(pieces) = self.pieces.as_ref().filter(|_| !self.streamed) else { return Ok(()) };
        let held = !self.window.piece.blocks_from(self.block).is_empty();
        // The first piece of a segment that is just entered is wanted at once.
        let first = if self.block == 0 { pieces.piece_with(0) } else { None };
        let next = if held { self.window.piece.end() } else { first.map_or(self.block, |piece| piece.end) };
        if pieces.piece_with(next).is_some() {
            preloader.begin(pieces.clone(), self.guards, next);
            self.preloader = Some(Arc::clone(preloader));
        }
        Ok(())
    }

    /// What was read ahead is not wanted any more.
    pub(super) fn leave_preloader(&mut self) {
        if let Some(preloader) = self.preloader.take() {
            preloader.leave();
        }
    }

    fn know_pieces(&mut self) -> Result<(), Error> {
        if let (Source::Frozen(segment), None) = (&mut self.source, &self.pieces) {
            self.streamed = !segment.is_framed();
            if !self.streamed {
                self.pieces = Some(Pieces::of_frozen(segment.frames()?));
            }
        }
        Ok(())
    }

    /// From here on a frozen segment is streamed.
    fn stream(&mut self) -> Result<(), Error> {
        let Source::Frozen(segment) = &mut self.source else { return Ok(()) };
        self.streamed = true;
        self.window.piece.clear();
        if self.block >= segment.frames()?.blocks() {
            return Ok(segment.enter_rest()?);
        }
        let begin = segment.enter_frame(self.block / BLOCKS_PER_FRAME)?.unwrap_or(self.block);
        let mut passed = Box::new([0; BLOCK_BYTES]);
        for _ in begin..self.block {
            segment.next_block(&mut passed)?;
        }
        Ok(())
    }

    /// Whether nothing comes after the present block, which is the end of a frozen segment: no need to look for it.
    pub(super) fn ends_with_its_frames(&mut self) -> Result<bool, Error> {
        let Source::Frozen(segment) = &mut self.source else { return Ok(false) };
        if self.streamed || !segment.is_framed() {
            return Ok(false);
        }
        let frames = segment.frames()?;
        Ok(self.block == frames.blocks() && frames.end_the_file())
    }

    /// A copy of the present block, which was held.
    pub(super) fn block_in_window(&self) -> Result<Box<[u8; BLOCK_BYTES]>, Error> {
        self.block_at(self.block)
    }

    fn block_at(&self, index: u32) -> Result<Box<[u8; BLOCK_BYTES]>, Error> {
        match self.window.piece.blocks_from(index).first() {
            Some(block) => Ok(Box::new(*block)),
            None => Err(self.corrupt(Reason::FileSize, "the file ends inside the block".into())),
        }
    }

    /// A copy of a block of a `.wal`.
    pub(super) fn hot_block(&mut self, index: u32) -> Result<Box<[u8; BLOCK_BYTES]>, Error> {
        let present = std::mem::replace(&mut self.block, index);
        let held = self.hold_piece();
        self.block = present;
        held?;
        self.block_at(index)
    }

    fn name(&self) -> String {
        use crate::format::{SegmentName, SegmentNameKind};
        let kind = if self.is_hot() { SegmentNameKind::Hot } else { SegmentNameKind::Frozen };
        SegmentName::new(self.index, kind).to_string()
    }

    /// Gives the events of the full blocks from the present one on, as far as they hold, are in the window and within the limit;
    /// `false` when there are none.
    pub(super) fn give_full_blocks(&mut self, limit: Option<u64>, out: &mut Batch) -> bool {
        if self.given > 0 || self.chain.is_none() {
            return false;
        }
        let blocks = self.window.piece.blocks_from(self.block);
        let most = self.seal().map_or(usize::MAX, |seal| (seal.block_count - self.block) as usize);
        let blocks = &blocks[..blocks.len().min(most)];
        let begin = Moment::now();
        // What was judged ahead holds if the piece's first block does.
        let ahead = if self.block == self.window.piece.first() { self.window.full } else { 0 };
        let mut found = full_blocks(if ahead > 0 { &blocks[..1] } else { blocks }, &self.context());
        self.record_verified(begin, found.count);
        if found.count == 1 && ahead > 0 {
            found.count = u32::try_from(blocks.len().min(1 + ahead)).unwrap_or(1);
        }
        let Some(found) = within(found, blocks, limit, &self.context()).filter(|found| self.holds_full(found, blocks))
        else {
            return false;
        };
        self.pass_full(&found);
        let place = (self.block - found.count - self.window.piece.first()) as usize;
        out.take_blocks(&mut self.window.piece, place, found.count as usize);
        true
    }

    /// What the careful way asks of a sealed segment's blocks and of block 0 beside their own verdict.
    fn holds_full(&self, found: &FullBlocks, blocks: &[[u8; BLOCK_BYTES]]) -> bool {
        let Some(first) = blocks.first().filter(|_| self.block == 0) else {
            return self.seal().is_none_or(|seal| found.last_event_id <= seal.last_event_id);
        };
        let ids = self
            .seal()
            .is_none_or(|seal| seal.first_event_id == u64_at(first, 0) && found.last_event_id <= seal.last_event_id);
        let linked = u16_at(first, 46) & FLAG_LINK != 0;
        ids && self.before.link.is_none_or(|link| !linked || link == u64_at(first, 48))
    }

    fn record_verified(&self, begin: Moment, blocks: u32) {
        #[cfg(feature = "telemetry")]
        if let Some(mean) = begin.elapsed_ns().checked_div(blocks.into()) {
            self.telemetry.record_ns(ReaderTiming::Verify, mean);
        }
        #[cfg(not(feature = "telemetry"))]
        let _ = (begin, blocks, ReaderTiming::Verify, &self.telemetry);
    }

    fn pass_full(&mut self, found: &FullBlocks) {
        if self.events == 0 {
            self.first_event_id = self.window.piece.blocks_from(self.block).first().map_or(0, |first| u64_at(first, 0));
        }
        self.chain = Some(found.chain);
        (self.last_event_id, self.last_given_id) = (found.last_event_id, found.last_event_id);
        self.events += found.count * EVENTS_PER_BLOCK;
        self.passed += u64::from(found.count);
        self.block += found.count;
    }
}

/// Those of the blocks whose events are all within the limit; `None` for none.
fn within(
    found: FullBlocks,
    blocks: &[[u8; BLOCK_BYTES]],
    limit: Option<u64>,
    context: &BlockContext,
) -> Option<FullBlocks> {
    let taken = &blocks[..found.count as usize];
    let count = limit.map_or(taken.len(), |limit| taken.partition_point(|block| u64_at(block, 8) <= limit));
    let last = taken[..count].last()?;
    debug_assert!(u64_at(last, 8) > context.previous_last_id);
    let count = u32::try_from(count).unwrap_or(0);
    Some(FullBlocks { count, last_event_id: u64_at(last, 8), chain: u64_at(last, 24) })
}
