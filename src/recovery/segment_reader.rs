//! SegmentReader: the events of one segment, block by block, each block judged before an event of it is given out.
//!
//! A sealed or frozen segment must hold exactly what its header says. An unsealed one gives what its blocks and guards prove, up to
//! the durable limit, and can be asked again: it may be growing, and it may be sealed meanwhile. A sealed last segment may be written on
//! after a clean close: then it is another one, and entered anew.

mod batch;
mod blocks;
mod numbers;
mod rules;
mod search;

use std::io;
use std::sync::Arc;

use super::error::Error;
use super::segment_preloader::{Ahead, SegmentPreloader};
use crate::format::{
    BLOCK_BYTES, BLOCK_HEADER_BYTES, BlockContext, BlockState, BlockVerdict, EVENT_BYTES, EVENTS_PER_BLOCK, Geometry,
    GuardContext, Reason, SEGMENT_HEADER_BYTES, Seal, judge_block, judge_unchained_block, u64_at, xxh64,
};
use crate::segment::{Corruption, Error as SegmentError, FrozenSegment, HotSegment, Pieces, scan_segment};
use crate::storage::Directory;
use crate::telemetry::{Moment, ReaderCount, ReaderTelemetry, ReaderTiming};

pub(super) use batch::Batch;
pub(super) use search::Target;

/// One block in so many is timed: a block takes about a microsecond, and taking the time of it a tenth.
pub(super) const VERIFY_SAMPLE: u32 = 16;

enum Source {
    Hot(Box<HotSegment>),
    Frozen(Box<FrozenSegment>),
}

/// Where a segment's events follow on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Before {
    /// Id of the last event before the segment, if it is known; else 0.
    pub(super) last_event_id: u64,
    /// Chain value of the segment before, if it is known.
    pub(super) link: Option<u64>,
}

/// What a round of reading gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Round {
    /// Events were added, or a block was passed.
    Went,
    /// Nothing more, now.
    Nothing,
    /// Nothing more, ever: the segment is full, or sealed and read to its end.
    Done,
}

pub(super) struct SegmentReader {
    directory: Arc<dyn Directory>,
    telemetry: ReaderTelemetry,
    pub(super) index: u32,
    source: Source,
    before: Before,
    guards: GuardContext,
    /// The block that is being read.
    block: u32,
    /// Events of it that were given out.
    given: u32,
    /// Id of the last event given out, or before the segment.
    last_given_id: u64,
    /// Id of the last event, and chain value, before that block.
    last_event_id: u64,
    /// Chain value before that block; `None` where reading began inside the segment and it is not known.
    chain: Option<u64>,
    /// Reading began with the first block: the segment's totals can be held against its header.
    from_start: bool,
    /// Of the segment; 0 before the first block is passed.
    first_event_id: u64,
    events: u32,
    /// What the blocks come in; of a frozen segment not known before it is read, `None` where its blocks are streamed.
    pieces: Option<Pieces>,
    streamed: bool,
    window: Ahead,
    /// Reads the pieces that come next.
    preloader: Option<Arc<SegmentPreloader>>,
    /// It has read some.
    preloaded: bool,
    /// Blocks that were passed and are not counted yet: two threads would pull the counter's line back and forth with each.
    passed: u64,
    /// A frozen segment's block that did not verify.
    refused: Option<Box<[u8; BLOCK_BYTES]>>,
    /// The first thing found wrong with a frozen segment.
    corruption: Option<Box<Corruption>>,
}

impl Drop for SegmentReader {
    fn drop(&mut self) {
        self.count_passed();
        self.leave_preloader();
    }
}

impl SegmentReader {
    pub(super) fn open(
        directory: &Arc<dyn Directory>,
        telemetry: &ReaderTelemetry,
        index: u32,
        hot: bool,
        before: Before,
    ) -> Result<Self, Error> {
        let begin = Moment::now();
        let source = if hot {
            Source::Hot(Box::new(HotSegment::open(&**directory, index)?))
        } else {
            Source::Frozen(Box::new(FrozenSegment::open(&**directory, index)?))
        };
        let pieces = match &source {
            Source::Hot(segment) => Some(Pieces::of_hot(segment, segment.geometry.num_blocks())),
            Source::Frozen(_) => None,
        };
        let header = match &source {
            Source::Hot(segment) => &segment.header,
            Source::Frozen(segment) => segment.header(),
        };
        let guards = GuardContext { segment_index: index, created_ts_ns: header.created_ts_ns };
        telemetry.record_since(ReaderTiming::OpenSegment, begin);
        Ok(Self {
            directory: Arc::clone(directory),
            telemetry: telemetry.clone(),
            index,
            source,
            before,
            guards,
            block: 0,
            given: 0,
            last_given_id: before.last_event_id,
            last_event_id: before.last_event_id,
            chain: Some(0),
            from_start: true,
            first_event_id: 0,
            events: 0,
            pieces,
            streamed: false,
            window: Ahead::default(),
            preloader: None,
            preloaded: false,
            passed: 0,
            refused: None,
            corruption: None,
        })
    }

    fn seal(&self) -> Option<Seal> {
        match &self.source {
            Source::Hot(segment) => segment.header.seal,
            Source::Frozen(segment) => Some(*segment.seal()),
        }
    }

    /// What the next segment follows on; meaningful once this one is done.
    pub(super) fn after(&self) -> Before {
        let seal = self.seal();
        Before { last_event_id: self.last_event_id, link: seal.map(|seal| seal.last_chained_checksum) }
    }

    /// Blocks that telemetry does not have yet.
    #[cfg(feature = "telemetry")]
    pub(super) fn passed(&self) -> u64 {
        self.passed
    }

    /// Gives telemetry the blocks that it does not have yet.
    pub(super) fn count_passed(&mut self) {
        self.telemetry.count(ReaderCount::Blocks, std::mem::take(&mut self.passed));
    }

    /// Whether it is read from a `.wal`.
    pub(super) fn is_hot(&self) -> bool {
        matches!(self.source, Source::Hot(_))
    }

    /// What it follows on.
    pub(super) fn before(&self) -> Before {
        self.before
    }

    /// What is wrong with a `.wal` that is not sealed, and yet has a frozen form.
    pub(super) fn not_sealed(&self) -> Corruption {
        self.corruption(Reason::SealedCounts, "it is not sealed, and there is a frozen form of it".into())
    }

    /// Counts that reading came to this segment.
    pub(super) fn count_entered(&self) {
        let form = if self.is_hot() { ReaderCount::SegmentsHot } else { ReaderCount::SegmentsFrozen };
        self.telemetry.count(form, 1);
    }

    /// Where the reader stands.
    pub(super) fn place(&self) -> (u32, u32, u32) {
        (self.index, self.block, self.given)
    }

    /// Id of the last event given out, or before the segment.
    pub(super) fn last_given_id(&self) -> u64 {
        self.last_given_id
    }

    /// Whether its header tells all about it.
    pub(super) fn is_sealed(&self) -> bool {
        self.seal().is_some()
    }

    pub(super) fn corrupt(&self, reason: Reason, detail: String) -> Error {
        self.corruption(reason, detail).into()
    }

    fn corruption(&self, reason: Reason, detail: String) -> Corruption {
        let kind = match self.source {
            Source::Hot(_) => crate::format::SegmentNameKind::Hot,
            Source::Frozen(_) => crate::format::SegmentNameKind::Frozen,
        };
        let name = crate::format::SegmentName::new(self.index, kind).to_string();
        Corruption {
            path: self.directory.path().join(name),
            segment_index: self.index,
            block: Some(self.block),
            offset: Geometry::block_offset(self.block) as u64,
            reason,
            detail,
        }
    }

    /// Gives the next events up to `limit`; of what `out` had nothing is left.
    pub(super) fn read(&mut self, limit: Option<u64>, out: &mut Batch) -> Result<Round, Error> {
        out.clear();
        match &mut self.source {
            Source::Frozen(_) => self.read_frozen(out),
            Source::Hot(_) => self.read_hot(limit, out),
        }
    }

    /// A stream cannot be read again: what was wrong with it stays.
    fn read_frozen(&mut self, out: &mut Batch) -> Result<Round, Error> {
        if let Some(corruption) = &self.corruption {
            return Err(Error::Corrupt(corruption.clone()));
        }
        let result = self.read_frozen_block(out);
        if let Err(Error::Corrupt(corruption)) = &result {
            self.corruption = Some(corruption.clone());
        }
        result
    }

    fn read_frozen_block(&mut self, out: &mut Batch) -> Result<Round, Error> {
        let mut block = [0; BLOCK_BYTES];
        let ends = self.ends_with_its_frames()?;
        let block = if !ends && self.hold_piece()? {
            if self.give_full_blocks(None, out) {
                return Ok(Round::Went);
            }
            self.block_in_window()?
        } else if ends {
            return self.hold_totals().map(|()| Round::Done);
        } else {
            let Source::Frozen(segment) = &mut self.source else { return Ok(Round::Done) };
            if !segment.next_block(&mut block)? {
                return self.hold_totals().map(|()| Round::Done);
            }
            self.telemetry.count(ReaderCount::Bytes, BLOCK_BYTES as u64);
            Box::new(block)
        };
        let verdict = self.judge(&block);
        if let Err(error) = self.hold_finalized(&verdict) {
            self.refused = Some(block);
            return Err(error);
        }
        self.give(&block, &verdict, None, out);
        self.pass(&block, &verdict);
        Ok(Round::Went)
    }

    fn read_hot(&mut self, limit: Option<u64>, out: &mut Batch) -> Result<Round, Error> {
        let Source::Hot(segment) = &self.source else { return Ok(Round::Done) };
        let (num_blocks, sealed) = (segment.geometry.num_blocks(), segment.header.seal);
        if self.block >= sealed.map_or(num_blocks, |seal| seal.block_count) {
            if sealed.is_some() {
                self.hold_totals()?;
            }
            return Ok(Round::Done);
        }
        self.hold_piece()?;
        if self.give_full_blocks(limit, out) {
            return Ok(Round::Went);
        }
        let block = self.block_in_window()?;
        let verdict = self.judge(&block);
        if verdict.state == BlockState::Newer {
            return Err(self.newer(self.block));
        }
        if sealed.is_some() {
            self.hold_finalized(&verdict)?;
        } else {
            self.hold_link(&verdict)?;
        }
        let all = self.give(&block, &verdict, limit, out);
        let passes = sealed.is_some()
            || verdict.accepted == EVENTS_PER_BLOCK
            || match self.is_followed(&block, &verdict, num_blocks) {
                // The next call meets it again, behind these events.
                Err(_) if !out.is_empty() => return Ok(Round::Went),
                followed => followed?,
            };
        if all && passes {
            self.pass(&block, &verdict);
            return Ok(Round::Went);
        }
        Ok(if out.is_empty() { Round::Nothing } else { Round::Went })
    }

    /// Looks again at a segment that gave nothing more: new bytes, perhaps a seal. `false`: it is another one now, as
    /// [`Self::is_outdated`] says.
    pub(super) fn refresh(&mut self) -> Result<bool, Error> {
        self.leave_preloader();
        self.window.piece.clear();
        let Source::Hot(held) = &self.source else { return Ok(true) };
        match HotSegment::open(&*self.directory, self.index) {
            Ok(now) if held.header.seal.is_none() && held.header.created_ts_ns == now.header.created_ts_ns => {
                self.pieces = Some(Pieces::of_hot(&now, now.geometry.num_blocks()));
                self.source = Source::Hot(Box::new(now));
                Ok(true)
            }
            Ok(_) => Ok(!self.is_outdated()),
            Err(SegmentError::Io(error)) if error.source.kind() == io::ErrorKind::NotFound => Ok(!self.is_outdated()),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the segment is another now than the one that is read: written on and perhaps sealed anew after a clean close, frozen with
    /// another end, or, while it was empty, prepared anew or removed. It must be entered again.
    pub(super) fn is_outdated(&self) -> bool {
        let Source::Hot(held) = &self.source else { return false };
        match HotSegment::open(&*self.directory, self.index) {
            Ok(now) => now.header != held.header,
            Err(SegmentError::Io(error)) if error.source.kind() == io::ErrorKind::NotFound => {
                match FrozenSegment::open(&*self.directory, self.index) {
                    Ok(frozen) => held.header.seal != Some(*frozen.seal()),
                    Err(_) => held.header.seal.is_none() && self.events == 0 && self.given == 0,
                }
            }
            Err(_) => false,
        }
    }

    fn judge(&self, block: &[u8; BLOCK_BYTES]) -> BlockVerdict {
        let context = self.context();
        let timed = self.block.is_multiple_of(VERIFY_SAMPLE).then(Moment::now);
        let verdict =
            if self.chain.is_some() { judge_block(block, &context) } else { judge_unchained_block(block, &context) };
        if let Some(begin) = timed {
            self.telemetry.record_since(ReaderTiming::Verify, begin);
        }
        verdict
    }

    fn context(&self) -> BlockContext {
        BlockContext {
            block_index: self.block,
            previous_last_id: self.last_event_id,
            previous_chain: self.chain.unwrap_or(0),
            guards: self.guards,
        }
    }

    /// Gives the block's accepted events that were not given yet and are within the limit; whether all of them are given now.
    fn give(&mut self, block: &[u8; BLOCK_BYTES], verdict: &BlockVerdict, limit: Option<u64>, out: &mut Batch) -> bool {
        let events = block[BLOCK_HEADER_BYTES..].as_chunks::<EVENT_BYTES>().0;
        let begin = self.given.min(verdict.accepted);
        let fresh = &events[begin as usize..verdict.accepted as usize];
        // Ids increase.
        let within = limit.map_or(fresh.len(), |limit| fresh.partition_point(|event| u64_at(event, 0) <= limit));
        if let Some(last) = fresh[..within].last() {
            self.last_given_id = u64_at(last, 0);
            self.given = begin + u32::try_from(within).unwrap_or(0);
            out.take_of_block(block, begin..self.given);
        }
        within == fresh.len()
    }

    fn pass(&mut self, block: &[u8; BLOCK_BYTES], verdict: &BlockVerdict) {
        let events = &block[BLOCK_HEADER_BYTES..BLOCK_HEADER_BYTES + verdict.accepted as usize * EVENT_BYTES];
        self.chain = match verdict.state {
            BlockState::Finalized(header) if u32::from(header.event_count) == verdict.accepted => {
                Some(header.chained_checksum)
            }
            _ => self.chain.map(|before| xxh64(events, before)),
        };
        if self.events == 0 && verdict.accepted > 0 {
            self.first_event_id = u64_at(block, BLOCK_HEADER_BYTES);
        }
        self.last_event_id = verdict.last_event_id;
        self.events += verdict.accepted;
        self.passed += 1;
        self.block += 1;
        self.given = 0;
    }

    /// Whether a finalized block comes after a partial one: FlashStrike flushes such.
    fn is_followed(
        &mut self,
        block: &[u8; BLOCK_BYTES],
        verdict: &BlockVerdict,
        num_blocks: u32,
    ) -> Result<bool, Error> {
        let BlockState::Finalized(header) = verdict.state else { return Ok(false) };
        if self.block + 1 >= num_blocks || u32::from(header.event_count) != verdict.accepted {
            return Ok(false);
        }
        debug_assert_eq!(u64_at(block, 0), header.first_event_id);
        let context = BlockContext {
            block_index: self.block + 1,
            previous_last_id: verdict.last_event_id,
            previous_chain: header.chained_checksum,
            guards: self.guards,
        };
        let next = judge_block(&*self.hot_block(self.block + 1)?, &context).state;
        if next == BlockState::Newer {
            return Err(self.newer(self.block + 1));
        }
        Ok(matches!(next, BlockState::Finalized(_)))
    }

    fn newer(&self, block: u32) -> Error {
        let name = crate::format::SegmentName::new(self.index, crate::format::SegmentNameKind::Hot).to_string();
        Error::Newer { path: self.directory.path().join(name), offset: Geometry::block_offset(block) as u64 }
    }

    /// Whether it says of the segments below that they are complete: it holds events up to `limit`, or it is sealed.
    pub(super) fn is_in_use(&mut self, limit: Option<u64>) -> Result<bool, Error> {
        Ok(match self.first_event_id()? {
            Some(first) => limit.is_none_or(|limit| first <= limit),
            None => self.is_sealed(),
        })
    }

    /// Whether it is in use, or was: also by bytes that prove no event. Beside a recorder these may be on their way.
    pub(super) fn was_in_use(&mut self) -> Result<bool, Error> {
        if self.is_in_use(None)? {
            return Ok(true);
        }
        let Source::Hot(segment) = &self.source else { return Ok(false) };
        let scan = scan_segment(&*self.directory, segment, 0)?;
        Ok(scan.nonzero_end > SEGMENT_HEADER_BYTES)
    }

    /// The id of the segment's first event that can be accepted now.
    pub(super) fn first_event_id(&mut self) -> Result<Option<u64>, Error> {
        if let Some(seal) = self.seal() {
            return Ok((seal.first_event_id != 0).then_some(seal.first_event_id));
        }
        let context = BlockContext { previous_last_id: 0, ..self.context() };
        let context = BlockContext { block_index: 0, previous_chain: 0, ..context };
        let block = self.hot_block(0)?;
        let verdict = judge_block(&block, &context);
        if verdict.state == BlockState::Newer {
            return Err(self.newer(0));
        }
        Ok((verdict.accepted > 0).then(|| u64_at(&*block, BLOCK_HEADER_BYTES)))
    }
}
