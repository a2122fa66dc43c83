//! Salvager: everything that a damaged log still holds, in order, and the ranges between that it lost.
//!
//! Threads: one at a time. Takes no lock, changes nothing, may run beside a recorder (then it goes to the durable limit).
//! Invariants:
//! 1. An event is given only when a block or its own guard proves it in its place, and ids strictly increase.
//! 2. Every step moves the position on, or ends; at the log's end the position goes back to the last event, so that what comes
//!    later is found, and nothing is given twice, since ids must increase.
//! 3. Ranges wait for the event behind them; at most a few for each segment, merged where they touch. Memory: one buffer of blocks.
//! 4. Zeros at the end of the log are its end and no range, and so is a torn tail, unless later events are known to be durable.

mod block;
mod ends;
mod measured;
mod search;
mod segment;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use self::block::{Piece, Surroundings};
use self::segment::{SalvageSegment, Step};
use super::durable_limit::durable_limit;
use super::error::Error;
use super::forms::superseded;
use super::segment_reader::{Before, SegmentReader, Target};
use crate::format::{BLOCK_BYTES, Event, Geometry, Reason};
use crate::recovery::{hold_begun, open_log};
use crate::segment::{self as segments, Catalog};
use crate::storage::{Directory, RealSystem, System};
use crate::telemetry::{Moment, ReaderCount, ReaderTelemetry, ReaderTiming};

/// A range that was passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The segment; with a missing one, the first that is missing.
    pub segment: u32,
    /// Why the bytes were not accepted.
    pub reason: Reason,
    /// Offset in the uncompressed segment.
    pub offset: u64,
    /// Bytes of the uncompressed segment; with a missing segment, how many segments are missing.
    pub length: u64,
    /// Id of the last event before it; 0 for none.
    pub id_before: u64,
    /// Id of the first event behind it; 0 for none.
    pub id_after: u64,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// An event.
    Event(Event),
    /// A range was passed.
    Gap(Gap),
    /// No more now.
    End,
}

/// A range that is not told yet.
#[derive(Clone, Copy, Debug)]
struct Pending {
    gap: Gap,
    /// Something stands there that does not verify, or must stand there.
    sure: bool,
}

/// Where reading goes on when the log has grown.
#[derive(Clone, Copy, Debug, Default)]
struct Resume {
    block: u32,
    chain: Option<u64>,
    last: u64,
}

/// A reader that passes over damage.
pub struct Salvager {
    system: Arc<dyn System>,
    directory: Arc<dyn Directory>,
    catalog: Catalog,
    segment: Option<SalvageSegment>,
    target: Target,
    /// Events above this may not be durable.
    limit: Option<u64>,
    /// The last event that was accepted, given or passed over.
    high: u64,
    /// The last event before the position: below `high` while the position is back.
    last: u64,
    /// Chain value before the next block.
    chain: Option<u64>,
    in_place: bool,
    /// Chain value at the end of the segment before, where it is known.
    link: Option<u64>,
    pending: Vec<Pending>,
    ready: VecDeque<Item>,
    resume: Resume,
    looked_again: bool,
    at_end: bool,
    /// Durable events up to this id were told to be missing.
    told: u64,
    /// The durable event that was looked for twice, and the last one that was there.
    sought: Option<(u64, u64)>,
    telemetry: ReaderTelemetry,
    /// Calls that went for more.
    advances: u32,
    /// Events given.
    events: u64,
}

impl std::fmt::Debug for Salvager {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "recovery::Salvager({}, {:?})", self.directory.path().display(), self.target)
    }
}

impl Salvager {
    /// Opens the log in `path` to be salvaged from the first event at or after `from_event_id`; 0: from the oldest there.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the id is below the oldest one and older segments were retired, or there is no log;
    /// [`Error::Io`].
    pub fn open(path: &Path, from_event_id: u64) -> Result<Self, Error> {
        Self::open_on(Arc::new(RealSystem), path, from_event_id)
    }

    /// As [`Self::open`], on any system.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_on(system: Arc<dyn System>, path: &Path, from_event_id: u64) -> Result<Self, Error> {
        let telemetry = ReaderTelemetry::default();
        let begin = Moment::now();
        let directory = open_log(&*system, path)?;
        let mut salvager = Self {
            system,
            directory,
            catalog: Catalog::default(),
            segment: None,
            target: Target::Id(from_event_id),
            limit: None,
            high: 0,
            last: 0,
            chain: None,
            in_place: false,
            link: None,
            pending: Vec::new(),
            ready: VecDeque::new(),
            resume: Resume::default(),
            looked_again: false,
            at_end: false,
            told: 0,
            sought: None,
            telemetry,
            advances: 0,
            events: 0,
        };
        salvager.go_to(Target::Id(from_event_id))?;
        if salvager.catalog.indices().is_empty() {
            hold_begun(&*salvager.directory)?;
        }
        salvager.telemetry.record_since(ReaderTiming::Open, begin);
        Ok(salvager)
    }

    /// Goes to the first event there at or after `event_id`; 0: the oldest.
    ///
    /// # Errors
    /// As [`Self::open`]; the reader stays where it was.
    pub fn seek(&mut self, event_id: u64) -> Result<(), Error> {
        self.seek_to(Target::Id(event_id))
    }

    /// Goes to the first event there at or after `timestamp_ns`.
    ///
    /// # Errors
    /// [`Error::Io`]; the reader stays where it was.
    pub fn seek_time(&mut self, timestamp_ns: u64) -> Result<(), Error> {
        self.seek_to(Target::Time(timestamp_ns))
    }

    fn go_to(&mut self, target: Target) -> Result<(), Error> {
        let catalog = Catalog::read(&*self.directory)?;
        let start = match self.find(&catalog, target)? {
            None => None,
            Some(index) => Some(
                self.open_segment(&catalog, index)?
                    .ok_or_else(|| Error::NotFound(format!("segment {index} was retired before it was read")))?,
            ),
        };
        let limit = durable_limit(&*self.system, &*self.directory)?;
        (self.catalog, self.limit, self.target) = (catalog, limit, target);
        (self.segment, self.link, self.at_end) = (None, None, false);
        (self.last, self.high, self.told, self.sought) = (0, 0, 0, None);
        self.pending.clear();
        self.ready.clear();
        if let Some(opened) = start {
            self.enter(opened);
        }
        Ok(())
    }

    /// The next event or range; [`Item::End`] when there is no more now.
    ///
    /// # Errors
    /// [`Error::Io`]; damage is none.
    #[allow(clippy::should_implement_trait, reason = "no iterator: after its end there may be more")]
    pub fn next(&mut self) -> Result<Item, Error> {
        let item = match self.ready.pop_front() {
            Some(item) => item,
            None => self.advance_timed()?,
        };
        self.count_item(&item);
        Ok(item)
    }

    fn advance_to_next(&mut self) -> Result<Item, Error> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Ok(item);
            }
            if self.at_end && !self.look_again()? {
                return Ok(Item::End);
            }
            if !self.advance()? {
                self.at_end = true;
                if self.ready.is_empty() {
                    return Ok(Item::End);
                }
            }
        }
    }

    /// After an end: takes up what the log holds now.
    fn look_again(&mut self) -> Result<bool, Error> {
        (self.at_end, self.looked_again) = (false, false);
        self.limit = durable_limit(&*self.system, &*self.directory)?;
        if self.limit.is_some_and(|limit| limit <= self.high) {
            self.at_end = true;
            return Ok(false);
        }
        let Some(index) = self.segment.as_ref().map(|segment| segment.index) else {
            self.catalog = Catalog::read(&*self.directory)?;
            let Some(&first) = self.catalog.indices().first() else {
                self.at_end = true;
                return Ok(false);
            };
            if let Some(opened) = self.open_segment(&self.catalog, first)? {
                self.enter(opened);
            }
            return Ok(true);
        };
        self.reopen(index)?;
        Ok(true)
    }

    /// One step on; `false` at the end of what there is.
    fn advance(&mut self) -> Result<bool, Error> {
        let Some(segment) = &mut self.segment else { return Ok(false) };
        if self.limit.is_some_and(|limit| limit <= self.high) {
            // What is behind is not durable yet, and read again when it is.
            self.pending.clear();
            return Ok(false);
        }
        let (index, unsealed) = (segment.block, segment.seal.is_none());
        match segment.step(&*self.directory)? {
            Step::Block(block) => {
                if unsealed && self.limit.is_none() {
                    // A recorder may have opened the log since the last look: what was just read may not be durable.
                    self.limit = durable_limit(&*self.system, &*self.directory)?;
                }
                Ok(self.take(index, &block))
            }
            Step::Unreadable { end, reason } => {
                self.lose_blocks(index, end, reason);
                Ok(true)
            }
            Step::Cut => {
                // Frozen and retired, it is there in its new form; cut under its name, it is read as it is now.
                let (of, end) = (segment.index, segment.block_count);
                if !self.reopen(of)?
                    && let Some(gone) = &mut self.segment
                {
                    gone.block = end;
                    self.lose_blocks(index, end, Reason::FileSize);
                }
                Ok(true)
            }
            Step::End => self.leave(),
        }
    }

    fn lose_blocks(&mut self, begin: u32, end: u32, reason: Reason) {
        let length = u64::from(end - begin) * BLOCK_BYTES as u64;
        self.lose(Geometry::block_offset(begin) as u64, length, true, reason);
        self.chain = None;
    }

    /// Takes what a block holds; `false` when it reaches above the durable limit.
    fn take(&mut self, index: u32, bytes: &[u8; BLOCK_BYTES]) -> bool {
        let Some(segment) = &self.segment else { return false };
        let seal = segment.seal;
        let around = Surroundings {
            block_index: index,
            last_event_id: self.last,
            chain: self.chain,
            guards: segment.guards,
            in_place: self.in_place,
            link: self.link,
            sealed: seal.is_some() || !segment.header_holds,
            sealed_counts: seal.is_some(),
            ids: seal.map_or(1..=u64::MAX, |seal| seal.first_event_id.max(1)..=seal.last_event_id),
        };
        let salvaged = self.judge_timed(bytes, &around);
        let (high, sound) =
            (self.high, !salvaged.pieces.iter().any(|piece| matches!(piece, Piece::Range { sure: true, .. })));
        let before = Resume { block: index, chain: self.chain, last: self.last };
        if let (Some(told), Some(link)) = (salvaged.told_link, self.link)
            && told != link
            && !salvaged.pieces.is_empty()
        {
            self.lose(Geometry::block_offset(0) as u64 + 48, 8, true, Reason::Link);
        }
        for piece in salvaged.pieces {
            match piece {
                Piece::Event(event) if self.limit.is_some_and(|limit| event.event_id > limit) => {
                    self.pending.clear();
                    self.resume = before;
                    return false;
                }
                Piece::Event(event) => {
                    self.accept(event);
                    self.resume = before;
                }
                Piece::Range { bytes, sure, reason } => {
                    let offset = (Geometry::block_offset(index) + bytes.start) as u64;
                    self.lose(offset, bytes.len() as u64, sure, reason);
                }
            }
        }
        self.telemetry.count(ReaderCount::Blocks, u64::from(sound && self.high > high));
        self.chain = salvaged.chain;
        self.in_place = salvaged.in_place;
        true
    }

    fn accept(&mut self, event: Event) {
        self.last = event.event_id;
        if event.event_id <= self.high {
            self.pending.clear(); // told before
            return;
        }
        self.high = event.event_id;
        if !self.target.is_reached_by(&event) {
            self.pending.clear();
            return;
        }
        self.target = Target::Id(event.event_id.saturating_add(1));
        self.tell(event.event_id);
        self.ready.push_back(Item::Event(event));
    }

    /// Gives out the ranges that were waiting.
    fn tell(&mut self, id_after: u64) {
        let told = self.pending.drain(..).map(|pending| Item::Gap(Gap { id_after, ..pending.gap }));
        self.ready.extend(told);
    }

    fn lose(&mut self, offset: u64, length: u64, sure: bool, reason: Reason) {
        let Some(index) = self.segment.as_ref().map(|segment| segment.index) else { return };
        if let Some(last) = self.pending.last_mut()
            && last.gap.segment == index
            && last.gap.reason != Reason::MissingSegment
            && last.gap.offset + last.gap.length == offset
        {
            if sure && !last.sure {
                last.gap.reason = reason;
            }
            last.sure |= sure;
            last.gap.length += length;
            return;
        }
        let gap = Gap { segment: index, reason, offset, length, id_before: self.last, id_after: 0 };
        self.pending.push(Pending { gap, sure });
    }

    /// A segment by the names seen last, in the form that counts; frozen since, it is opened in its new form. `None`: it was retired.
    fn open_segment(&self, catalog: &Catalog, index: u32) -> Result<Option<SalvageSegment>, Error> {
        let begin = Moment::now();
        let superseded = superseded(&*self.directory, catalog, index);
        if let Some(segments::Error::Corrupt(hot)) = &superseded {
            self.telemetry.count_checksum_failure(hot.reason);
            self.telemetry.count(ReaderCount::FormSwitches, 1);
        }
        let hot = catalog.hot.contains(&index) && superseded.is_none();
        let mut opened = if hot { SalvageSegment::open(&self.directory, index, true)? } else { None };
        if opened.is_none() {
            opened = SalvageSegment::open(&self.directory, index, false)?;
        }
        self.telemetry.record_since(ReaderTiming::OpenSegment, begin);
        Ok(opened)
    }

    fn enter(&mut self, opened: SalvageSegment) {
        let header_gap = opened.header_gap;
        self.count_entered(opened.is_hot);
        self.in_place = opened.header_holds;
        self.chain = Some(0);
        self.resume = Resume { block: 0, chain: Some(0), last: self.last };
        self.looked_again = false;
        self.segment = Some(opened);
        if let Some((reason, length)) = header_gap {
            self.lose(0, length, true, reason);
        }
    }

    /// Opens the segment anew and goes back to its last event. One that was retired stays as it is, at its end: `false`.
    fn reopen(&mut self, index: u32) -> Result<bool, Error> {
        self.catalog = Catalog::read(&*self.directory)?;
        let Some(mut segment) = self.open_segment(&self.catalog, index)? else { return Ok(false) };
        self.pending.retain(|pending| pending.gap.segment < index);
        segment.go_to(self.resume.block)?;
        let exact = segment.block == self.resume.block;
        self.in_place |= segment.header_holds;
        self.chain = if segment.block == 0 { Some(0) } else { self.resume.chain.filter(|_| exact) };
        self.last = if exact { self.resume.last } else { 0 };
        self.segment = Some(segment);
        Ok(true)
    }
}
