//! A salvage reads the whole log, as the strict reader would, and excludes each segment that would stop it.
//!
//! Without a salvage an opening reads no sealed segment, so its cost does not depend on the log. What it then says of one is the reader's
//! to find. A salvage is the way out of that: when it is done, the strict reader comes from the first event to the end. From the oldest
//! segment up, one holds if
//! 1. it is sealed or frozen, and holds exactly what its header says, or is complete as it stands;
//! 2. its first id is above the last one before it;
//! 3. its link, if it has one, is the chain value of the segment before, if that is there.
//!
//! One that is not sealed is only judged when a sealed one with events above it holds: before that the survey judges it, with the stage.

use super::Surveyor;
use crate::format::{BLOCK_BYTES, FLAG_LINK, Reason, SEGMENT_HEADER_BYTES, Seal, u16_at, u64_at};
use crate::recorder::config::LogLevel;
use crate::recorder::error::Error;
use crate::recorder::opening::forms::damage;
use crate::segment::{
    BlockReader, Corruption, FrozenSegment, HotSegment, SegmentScan, scan_segment, verify_frozen, verify_hot,
};
use crate::storage::Place;

/// What the segments so far end with.
#[derive(Clone, Copy, Debug, Default)]
struct End {
    /// The last of them.
    index: Option<u32>,
    last_event_id: u64,
    link: u64,
}

impl End {
    fn after(self, index: u32, last_event_id: u64, link: u64) -> Self {
        // One without events changes nothing but the link.
        Self { index: Some(index), last_event_id: last_event_id.max(self.last_event_id), link }
    }
}

/// A segment that holds.
enum Held {
    Sealed {
        end: End,
        events: u32,
    },
    Complete(End),
    /// Not sealed, and not complete as it stands.
    Unfinished(Box<Corruption>),
}

impl Surveyor<'_> {
    /// Excludes all segments that would stop the strict reader below the last sealed one.
    pub(super) fn exclude_what_does_not_hold(&mut self) -> Result<(), Error> {
        while !self.walk_whole_log()? {}
        Ok(())
    }

    /// `false` when an unfinished segment was excluded: what is above it is to be judged anew.
    fn walk_whole_log(&mut self) -> Result<bool, Error> {
        let mut end = End::default();
        let mut unfinished = None;
        for index in self.catalog.indices() {
            if self.excluded.contains(&index) {
                continue;
            }
            match self.hold(index, end) {
                Ok(Held::Sealed { events, .. }) if events > 0 && unfinished.is_some() => {
                    if let Some(corruption) = unfinished {
                        self.exclude(corruption);
                    }
                    return Ok(false);
                }
                Ok(Held::Sealed { end: after, .. } | Held::Complete(after)) => {
                    if unfinished.is_none() {
                        end = after;
                    }
                }
                Ok(Held::Unfinished(corruption)) => unfinished = unfinished.or(Some(corruption)),
                Err(Error::Corrupt(corruption)) => self.exclude(corruption),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    pub(super) fn exclude(&mut self, corruption: Box<Corruption>) {
        self.config.log.log(LogLevel::Error, &format!("salvage: {corruption}"));
        self.excluded.insert(corruption.segment_index);
        self.failures.push(corruption.reason);
    }

    fn hold(&self, index: u32, end: End) -> Result<Held, Error> {
        let mut block = [0; BLOCK_BYTES];
        let (seal, path) = if self.catalog.hot.contains(&index) {
            let segment = HotSegment::open(self.directory, index)?;
            let Some(seal) = segment.header.seal else { return self.hold_unsealed(&segment, end) };
            verify_hot(self.directory, index).or_else(|wrong| Err(Error::Corrupt(damage(wrong)?)))?;
            let path = self.directory.path().join(segment.name.to_string());
            if seal.block_count > 0 {
                let mut blocks = BlockReader::new(&*segment.file, segment.geometry);
                block = *blocks.block(0).at("read", &path, "")?;
            }
            (seal, path)
        } else {
            verify_frozen(self.directory, index).or_else(|wrong| Err(Error::Corrupt(damage(wrong)?)))?;
            let mut segment = FrozenSegment::open(self.directory, index)?;
            if segment.seal().block_count > 0 {
                segment.next_block(&mut block)?;
            }
            (*segment.seal(), segment.corruption(0, Reason::None).path)
        };
        let link = (u16_at(&block, 46) & FLAG_LINK != 0).then(|| u64_at(&block, 48));
        let corrupt = |reason, detail| {
            let offset = SEGMENT_HEADER_BYTES as u64;
            Error::Corrupt(Box::new(Corruption { path, segment_index: index, block: Some(0), offset, reason, detail }))
        };
        let Seal { first_event_id, last_event_id, last_chained_checksum, event_count, .. } = seal;
        if event_count > 0 && first_event_id <= end.last_event_id {
            let detail = format!("event {first_event_id} after {}", end.last_event_id);
            return Err(corrupt(Reason::IdOrder, detail));
        }
        if let Some(detail) = wrong_link(index, link, end) {
            return Err(corrupt(Reason::Link, detail));
        }
        Ok(Held::Sealed { end: end.after(index, last_event_id, last_chained_checksum), events: event_count })
    }

    fn hold_unsealed(&self, segment: &HotSegment, end: End) -> Result<Held, Error> {
        let index = segment.name.index;
        let scan = scan_segment(self.directory, segment, end.last_event_id)?;
        let SegmentScan { last_event_id, end_chain, link, .. } = scan;
        let wrong = match wrong_link(index, link, end) {
            Some(detail) => Some((Reason::Link, detail)),
            None if !scan.is_complete() => {
                Some((Reason::Hole, format!("not complete below a sealed segment: {}", scan.reason.text())))
            }
            None => None,
        };
        let Some((reason, detail)) = wrong else {
            return Ok(Held::Complete(end.after(index, last_event_id, end_chain)));
        };
        let corruption = segment.corruption(self.directory, None, scan.end_offset() as u64, reason);
        Ok(Held::Unfinished(Box::new(Corruption { detail, ..corruption })))
    }
}

/// What is wrong with the link of a segment's first block.
fn wrong_link(index: u32, link: Option<u64>, end: End) -> Option<String> {
    let link = link.filter(|_| end.index.and_then(|before| before.checked_add(1)) == Some(index))?;
    (link != end.link).then(|| format!("expected {:016x}, found {link:016x}", end.link))
}
