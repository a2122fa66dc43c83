//! Manager: the events of a whole log, oldest to newest, each once.
//!
//! Threads: one at a time. Takes no lock; may run beside a recorder, in the same process or another.
//!
//! A segment is left for the next one only when it is full, or sealed and read to its end, or when the next one has events: the
//! recorder never writes to a segment before the one before it is complete. What the header of the one that is left says is looked at
//! again after that: a recorder that opened the log may have written on in a sealed last segment.

mod measured;
mod search;

use std::path::Path;
use std::sync::Arc;

use super::durable_limit::durable_limit;
use super::error::Error;
use super::forms::{open_frozen_instead, retired_before, unless_retired};
use super::segment_preloader::SegmentPreloader;
use super::segment_reader::{Batch, Before, Round, SegmentReader, Target};
use crate::format::{Event, Reason, SegmentName, SegmentNameKind};
use crate::recovery::{hold_begun, open_log};
use crate::segment::{Catalog, Corruption, read_meta};
use crate::storage::{Directory, RealSystem, System};
use crate::telemetry::{Moment, ReaderCount, ReaderTelemetry, ReaderTiming};

/// A reader of one log.
pub struct Manager {
    system: Arc<dyn System>,
    directory: Arc<dyn Directory>,
    catalog: Catalog,
    segment: Option<SegmentReader>,
    /// Read and checked, not yet given out.
    batch: Batch,
    /// Events before this are passed over.
    target: Target,
    /// Events above this may not be durable; `None` while nobody writes.
    limit: Option<u64>,
    /// Reads ahead, once reading has gone on for a while.
    preloader: Option<Arc<SegmentPreloader>>,
    /// Events read one after another since the open, or the last seek; `None` once they were enough.
    in_a_row: Option<usize>,
    /// Where an unsealed segment was last found to end cleanly.
    clean_end: Option<(u32, u32, u32)>,
    telemetry: ReaderTelemetry,
    /// Calls that went for more events.
    fills: u32,
    /// Events given out.
    given: u64,
}

impl std::fmt::Debug for Manager {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "recovery::Manager({}, {:?})", self.directory.path().display(), self.target)
    }
}

impl Manager {
    /// Opens the log in `path` to be read from the first event at or after `from_event_id`; 0: from the oldest there.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the id is below the oldest one and older segments were retired, or there is no such directory.
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
        let mut reader = Self {
            system,
            directory,
            catalog: Catalog::default(),
            segment: None,
            batch: Batch::default(),
            target: Target::Id(0),
            limit: None,
            preloader: None,
            in_a_row: Some(0),
            clean_end: None,
            telemetry,
            fills: 0,
            given: 0,
        };
        reader.go_to(Target::Id(from_event_id))?;
        if reader.segment.is_none() {
            hold_begun(&*reader.directory)?;
        }
        reader.telemetry.record_since(ReaderTiming::Open, begin);
        Ok(reader)
    }

    /// Goes to the first event at or after `event_id`, forward or back; 0: the oldest there.
    ///
    /// # Errors
    /// As [`Self::open`]; the reader stays where it was.
    pub fn seek(&mut self, event_id: u64) -> Result<(), Error> {
        self.seek_to(Target::Id(event_id))
    }

    /// Goes to the first event there at or after `timestamp_ns`, forward or back. Timestamps are taken as non-decreasing from
    /// block to block; within a block their order does not matter.
    ///
    /// # Errors
    /// As [`Self::next`]; the reader stays where it was.
    pub fn seek_time(&mut self, timestamp_ns: u64) -> Result<(), Error> {
        self.seek_to(Target::Time(timestamp_ns))
    }

    fn clear_batch(&mut self) {
        self.batch.clear();
    }

    fn go_on_in(&mut self, mut segment: Option<SegmentReader>) {
        if let Some(segment) = &mut segment {
            segment.count_entered();
            if let Some(before) = &mut self.segment {
                segment.take_buffers(before);
            }
        }
        self.segment = segment;
        self.read_ahead();
    }

    fn go_to(&mut self, target: Target) -> Result<(), Error> {
        let (catalog, segment) = self.find_anew(target)?;
        self.limit = durable_limit(&*self.system, &*self.directory)?;
        self.catalog = catalog;
        self.in_a_row = Some(0);
        self.go_on_in(segment);
        self.clear_batch();
        self.target = target;
        Ok(())
    }

    /// Looks for the target, again when segments were frozen or retired under the search.
    fn find_anew(&self, target: Target) -> Result<(Catalog, Option<SegmentReader>), Error> {
        const TRIES: u32 = 8;
        let mut catalog = Catalog::read(&*self.directory)?;
        for _ in 1..TRIES {
            match self.find(&catalog, target) {
                Err(error @ Error::NotFound(_)) => {
                    let now = Catalog::read(&*self.directory)?;
                    if (&now.hot, &now.frozen) == (&catalog.hot, &catalog.frozen) {
                        return Err(error);
                    }
                    catalog = now;
                }
                found => return found.map(|segment| (catalog, segment)),
            }
        }
        let segment = self.find(&catalog, target)?;
        Ok((catalog, segment))
    }

    /// Opens a segment by the names seen last; a recorder may have frozen or retired it since.
    fn enter(&self, catalog: &Catalog, index: u32, before: Before) -> Result<SegmentReader, Error> {
        let gone = |error: &Error| matches!(error, Error::Io(io) if io.source.kind() == std::io::ErrorKind::NotFound);
        let open = |hot| SegmentReader::open(&self.directory, &self.telemetry, index, hot, before);
        if catalog.hot.contains(&index) {
            match open(true) {
                Err(Error::Corrupt(hot)) => return self.frozen_instead(index, before, hot),
                Ok(hot) if catalog.frozen.contains(&index) && !hot.is_sealed() => {
                    return self.frozen_instead(index, before, hot.not_sealed().into());
                }
                Err(error) if gone(&error) => {}
                result => return result,
            }
        }
        match open(false) {
            Err(error) if gone(&error) => Err(retired_before(index)),
            result => result.map_err(|error| unless_retired(&*self.directory, index, error)),
        }
    }

    fn frozen_instead(&self, index: u32, before: Before, hot: Box<Corruption>) -> Result<SegmentReader, Error> {
        open_frozen_instead(&self.directory, &self.telemetry, index, before, hot)
    }

    /// After an error in this segment: goes over to its `.wal.lz4`, when it was read from a `.wal` that is damaged.
    fn turn_to_frozen(&mut self, error: Error) -> Result<(), Error> {
        let Some(segment) = &self.segment else { return Err(error) };
        let hot = match error {
            Error::Corrupt(hot) if segment.is_hot() => hot,
            error => return Err(unless_retired(&*self.directory, segment.index, error)),
        };
        // From its start: the target passes over what was given.
        let frozen = self.frozen_instead(segment.index, segment.before(), hot)?;
        self.go_on_in(Some(frozen));
        Ok(())
    }

    /// The next event; `None` when there is no more now: a running recorder may make more durable.
    ///
    /// # Errors
    /// [`Error`]; the same again when called again, until its cause is gone.
    #[inline]
    #[allow(clippy::should_implement_trait, reason = "no iterator: after its end there may be more")]
    pub fn next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            if let Some(event) = self.batch.next() {
                if self.target.is_reached_by(&event) {
                    self.target = Target::Id(event.event_id.saturating_add(1));
                    self.given += 1;
                    return Ok(Some(event));
                }
                continue;
            }
            if !self.fill_timed()? {
                return Ok(None);
            }
        }
    }

    /// Fills a prefix of `out`; how many, 0 when there is no more now. An error comes once nothing precedes it.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub fn read(&mut self, out: &mut [Event]) -> Result<usize, Error> {
        let mut got = 0;
        while got < out.len() {
            match self.next() {
                Ok(Some(event)) => out[got] = event,
                Ok(None) => break,
                Err(error) if got == 0 => return Err(error),
                // The events before it are given out; the next call meets it again.
                Err(_) => break,
            }
            got += 1;
            // Once the target is reached, all that follows is behind it.
            let more = self.batch.read(&mut out[got..]);
            if more > 0 {
                got += more;
                self.given += more as u64;
                self.target = Target::Id(out[got - 1].event_id.saturating_add(1));
            }
        }
        Ok(got)
    }

    /// Reads on until there is at least one event; `false` when there is none now.
    fn fill(&mut self) -> Result<bool, Error> {
        self.clear_batch();
        let (mut refreshed, mut looks) = (false, 0);
        loop {
            let Some(segment) = &mut self.segment else {
                let (catalog, segment) = self.find_anew(self.target)?;
                self.limit = durable_limit(&*self.system, &*self.directory)?;
                self.catalog = catalog;
                self.go_on_in(segment);
                if self.segment.is_none() {
                    match self.hold_empty() {
                        Ok(()) => return Ok(false),
                        Err(error) => self.look_again(error, &mut looks)?,
                    }
                }
                continue;
            };
            let round = match segment.read(self.limit, &mut self.batch) {
                Ok(round) => round,
                Err(_) if segment.is_outdated() => {
                    self.segment = None;
                    continue;
                }
                Err(error) => {
                    self.turn_to_frozen(error)?;
                    continue;
                }
            };
            if self.limit.is_none() && !segment.is_sealed() && !self.batch.is_empty() {
                // A recorder may have opened the log since the last look: what was just read may not be durable.
                self.limit = durable_limit(&*self.system, &*self.directory)?;
                if self.limit.is_some() {
                    self.batch.clear();
                    self.segment = None;
                    continue;
                }
            }
            if !self.batch.is_empty() {
                self.load_ahead();
                return Ok(true);
            }
            match round {
                Round::Went => {}
                // What the limit, the header and the next segment say is only as good as the last look.
                Round::Nothing | Round::Done if !refreshed => {
                    refreshed = true;
                    self.limit = durable_limit(&*self.system, &*self.directory)?;
                    match segment.refresh() {
                        Ok(true) => {}
                        Ok(false) => self.segment = None,
                        Err(error) => self.turn_to_frozen(error)?,
                    }
                }
                Round::Nothing | Round::Done => {
                    refreshed = false;
                    match self.go_on(round == Round::Done) {
                        Ok(true) => {}
                        Ok(false) => return Ok(false),
                        Err(error) => self.look_again(error, &mut looks)?,
                    }
                }
            }
        }
    }

    /// After an error at the end of a segment, or of the log: it counts unless what it rests on has changed. A recorder that closes removes
    /// the segments it had prepared, one that opens prepares others, and may write on.
    fn look_again(&mut self, error: Error, looks: &mut u32) -> Result<(), Error> {
        const MOST_LOOKS: u32 = 8;
        *looks += 1;
        let limit = durable_limit(&*self.system, &*self.directory)?;
        let opened = limit.is_some() && self.limit.is_none();
        let outdated = self.is_outdated();
        let now = Catalog::read(&*self.directory)?;
        let renamed = (&now.hot, &now.frozen) != (&self.catalog.hot, &self.catalog.frozen);
        if *looks > MOST_LOOKS || !(opened || outdated || renamed) {
            return Err(error);
        }
        if opened || outdated {
            self.segment = None;
        }
        (self.catalog, self.limit) = (now, limit);
        Ok(())
    }

    /// Has the pieces that come next read ahead, once reading has gone on for a while.
    fn load_ahead(&mut self) {
        /// Events after which reading is taken to go on: 16 blocks.
        const EVENTS: usize = 4_096;
        let Some(in_a_row) = &mut self.in_a_row else { return };
        *in_a_row += self.batch.len();
        if *in_a_row >= EVENTS {
            self.in_a_row = None;
            if self.preloader.is_none() {
                self.preloader = SegmentPreloader::start(&self.telemetry);
            }
            self.read_ahead();
        }
    }

    fn read_ahead(&mut self) {
        if let (Some(preloader), Some(segment), None) = (&self.preloader, &mut self.segment, self.in_a_row) {
            // What cannot be looked at now is met again by reading.
            let _ = segment.read_ahead(preloader);
        }
    }

    /// Enters the segment after `index` by the names seen last: to list them all for each segment takes longer the more there are. Not
    /// the last known one, and none that is unusual in any way: for these the names are read anew.
    fn go_on_by_known_names(&mut self, index: u32, after: Before) -> bool {
        if !self.catalog.two_follow(index) {
            return false;
        }
        match self.enter(&self.catalog, index + 1, after) {
            Ok(entered) if entered.is_sealed() && !self.is_outdated() => {
                self.go_on_in(Some(entered));
                true
            }
            _ => false,
        }
    }

    fn is_outdated(&self) -> bool {
        self.segment.as_ref().is_some_and(SegmentReader::is_outdated)
    }

    /// Enters the next segment with events, when this one is complete; `false` at the end of what may be read.
    fn go_on(&mut self, done: bool) -> Result<bool, Error> {
        let Some(segment) = &mut self.segment else { return Ok(false) };
        let index = segment.index;
        // One that is full but not sealed must be looked at as a whole, like one that ends before its end.
        let (done, after) = (done && segment.is_sealed(), segment.after());
        if done && self.go_on_by_known_names(index, after) {
            return Ok(true);
        }
        let Some(segment) = &self.segment else { return Ok(false) };
        self.catalog = Catalog::read(&*self.directory)?;
        // Behind the last index of all there is nothing, least of all this segment again.
        let Some(next) = self.catalog.next_above(Some(index)) else {
            return self.at_end(false).map(|_| false);
        };
        let gap = next - index > 1;
        if gap && !self.catalog.all_lost(index + 1..next) {
            return Err(self.missing(index + 1, next - 1));
        }
        let before = if gap { Before { link: None, ..segment.after() } } else { segment.after() };
        let mut entered = self.enter(&self.catalog, next, before)?;
        // Found once, an end without a recorder stays one.
        let seeks_bytes = self.limit.is_none() && self.clean_end != Some(segment.place());
        if !(if seeks_bytes { entered.was_in_use()? } else { entered.is_in_use(None)? }) {
            return self.at_end(false).map(|_| false);
        }
        if !done {
            // The next segment is in use: this one must be complete as it stands.
            if self.limit.is_some() && !entered.is_in_use(self.limit)? {
                return Ok(false);
            }
            let link = self.at_end(true)?.filter(|_| !gap);
            let before = Before { last_event_id: self.segment.as_ref().map_or(0, SegmentReader::last_given_id), link };
            entered = self.enter(&self.catalog, next, before)?;
        }
        if self.is_outdated() {
            self.segment = None;
            return Ok(true);
        }
        self.telemetry.count(ReaderCount::Gaps, gap.into());
        self.go_on_in(Some(entered));
        Ok(true)
    }

    /// At the end of what there is: a torn tail is an end, valid data above it is corruption, and so is an end below the limit.
    fn at_end(&mut self, later_in_use: bool) -> Result<Option<u64>, Error> {
        let Some(segment) = &mut self.segment else { return Ok(None) };
        let last = segment.last_given_id();
        let mut short = self.limit.filter(|&limit| limit > last && !later_in_use);
        if last == 0 && short.is_some() && self.catalog.next_above(None) != Some(segment.index) {
            // Reading began here: what is below its first event lies in the segments before.
            let first = segment.first_event_id()?;
            short = short.filter(|&limit| first.is_none_or(|first| first <= limit));
        }
        let Some(segment) = &self.segment else { return Ok(None) };
        if let Some(limit) = short {
            return Err(
                segment.corrupt(Reason::Hole, format!("events up to {limit} are durable, the last one here is {last}"))
            );
        }
        if self.limit.is_none() && !later_in_use && self.clean_end != Some(segment.place()) {
            let durable = read_meta(&*self.directory)?.last_event_id;
            if last < durable {
                let detail = format!("event {durable} was durable, the last one here is {last}");
                return Err(segment.corrupt(Reason::BelowMeta, detail));
            }
            self.hold_nothing_later(segment)?;
        }
        if later_in_use || (self.limit.is_none() && self.clean_end != Some(segment.place())) {
            let link = segment.hold_end(later_in_use)?;
            self.clean_end = Some(segment.place());
            return Ok(link);
        }
        Ok(None)
    }

    /// Behind the log's end stand prepared segments at the most. One with events, or a gap, says that this is no end.
    fn hold_nothing_later(&self, segment: &SegmentReader) -> Result<(), Error> {
        let unknown = Before { last_event_id: 0, link: None };
        let mut before = segment.index;
        for &index in self.catalog.indices().range(segment.index..).skip(1) {
            if !self.catalog.all_lost(before + 1..index) {
                return Err(self.missing(before + 1, index - 1));
            }
            if self.enter(&self.catalog, index, unknown)?.was_in_use()? {
                return Err(segment.corrupt(Reason::Hole, format!("segment {index} is in use")));
            }
            before = index;
        }
        Ok(())
    }

    /// A log without a segment has had no durable event.
    fn hold_empty(&self) -> Result<(), Error> {
        let durable = read_meta(&*self.directory)?.last_event_id.max(self.limit.unwrap_or(0));
        if durable == 0 {
            return Ok(());
        }
        let path = self.directory.path().join(SegmentName::new(0, SegmentNameKind::Hot).to_string());
        let detail = format!("event {durable} was durable, and there is no segment");
        let reason = Reason::BelowMeta;
        Err(Corruption { path, segment_index: 0, block: None, offset: 0, reason, detail }.into())
    }

    fn missing(&self, first: u32, last: u32) -> Error {
        if self.catalog.indices().first().is_some_and(|&oldest| oldest > first) {
            return Error::NotFound(format!("segments {first} to {last} were retired before they were read"));
        }
        self.not_there(first, last)
    }

    fn not_there(&self, first: u32, last: u32) -> Error {
        let path = self.directory.path().join(SegmentName::new(first, SegmentNameKind::Hot).to_string());
        let detail = format!("{first} to {last}");
        Corruption { path, segment_index: first, block: None, offset: 0, reason: Reason::MissingSegment, detail }.into()
    }
}
