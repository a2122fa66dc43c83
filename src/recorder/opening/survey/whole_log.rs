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
use crate::format::{Reason, SEGMENT_HEADER_BYTES};
use crate::recorder::config::LogLevel;
use crate::recorder::error::Error;
use crate::recorder::opening::forms::damage;
use crate::segment::{Corruption, FrozenSegment, HotSegment, scan_segment, verify_opened, verify_sealed};

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
    #[cold]
    #[inline(never)]
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
        let (verified, seal) = if self.catalog.hot.contains(&index) {
            let segment = HotSegment::open(self.directory, index)?;
            let Some(seal) = segment.header.seal else { return self.hold_unsealed(&segment, end) };
            (verify_sealed(self.directory, &segment), seal)
        } else {
            let mut segment = FrozenSegment::open(self.directory, index)?;
            (verify_opened(&mut segment), *segment.seal())
        };
        let link = match verified {
            Ok(link) => link,
            Err(wrong) => return Err(Error::Corrupt(damage(wrong)?)),
        };
        let wrong = if seal.event_count > 0 && seal.first_event_id <= end.last_event_id {
            Some((Reason::IdOrder, format!("event {} after {}", seal.first_event_id, end.last_event_id)))
        } else {
            wrong_link(index, link, end)
        };
        if let Some((reason, detail)) = wrong {
            return Err(self.corrupt(index, SEGMENT_HEADER_BYTES as u64, reason, detail));
        }
        let after = end.after(index, seal.last_event_id, seal.last_chained_checksum);
        Ok(Held::Sealed { end: after, events: seal.event_count })
    }

    fn hold_unsealed(&self, segment: &HotSegment, end: End) -> Result<Held, Error> {
        let index = segment.name.index;
        let scan = scan_segment(self.directory, segment, end.last_event_id)?;
        let wrong = wrong_link(index, scan.link, end).or_else(|| {
            let why = || format!("not complete below a sealed segment: {}", scan.reason.text());
            (!scan.is_complete()).then(|| (Reason::Hole, why()))
        });
        Ok(match wrong {
            None => Held::Complete(end.after(index, scan.last_event_id, scan.end_chain)),
            Some((reason, detail)) => {
                Held::Unfinished(Box::new(self.corruption(index, scan.end_offset() as u64, reason, detail)))
            }
        })
    }
}

/// What is wrong with the link of a segment's first block.
fn wrong_link(index: u32, link: Option<u64>, end: End) -> Option<(Reason, String)> {
    let link = link.filter(|_| end.index.and_then(|before| before.checked_add(1)) == Some(index))?;
    (link != end.link).then(|| (Reason::Link, format!("expected {:016x}, found {link:016x}", end.link)))
}
