//! At the end of a segment, and of the log: what comes next, and which of the ranges that are not told yet are a loss.

use super::{Error, Gap, Pending, Salvager};
use crate::format::{Geometry, Reason, SEGMENT_HEADER_BYTES};
use crate::recovery::durable_limit::durable_limit;
use crate::segment::{Catalog, read_meta};

impl Salvager {
    /// At the end of a segment: goes to the next one in use; `false` when there is none.
    pub(super) fn leave(&mut self) -> Result<bool, Error> {
        let Some(segment) = &self.segment else { return Ok(false) };
        let (index, seal, header_holds) = (segment.index, segment.seal, segment.header_holds);
        // To list all names for each segment takes longer the more there are.
        if !self.catalog.two_follow(index) {
            self.catalog = Catalog::read(&*self.directory)?;
        }
        let in_use = self.is_later_in_use(index);
        if self.is_outdated(index, in_use)? {
            self.looked_again = seal.is_none();
            self.reopen(index)?;
            return Ok(true);
        }
        let next = self.catalog.next_above(Some(index)).filter(|_| in_use);
        let complete = seal.is_some_and(|seal| self.last >= seal.last_event_id);
        match (seal, next) {
            // Where the last event is there, zeros behind it are no loss.
            _ if complete => self.pending.retain(|pending| pending.sure || pending.gap.id_before != self.last),
            (Some(_), _) => self.pending.iter_mut().for_each(|pending| pending.sure = true),
            (None, Some(_)) => self.pending.retain(|pending| pending.sure),
            (None, None) if header_holds => return self.tail(index),
            (None, None) => self.pending.retain(|pending| pending.sure),
        }
        let Some(next) = next else {
            self.pending.retain(|pending| pending.sure);
            return self.tail(index);
        };
        let Some(opened) = self.open_segment(&self.catalog, next)? else {
            return Ok(true); // retired since the names were read: they are read again
        };
        let known = if complete { seal.map(|seal| seal.last_chained_checksum) } else { None };
        let link = known.or(self.chain.filter(|_| self.pending.is_empty()));
        let missing = next - index - 1;
        if missing > 0 {
            let lost = self.catalog.all_lost(index + 1..next);
            let reason = if lost { Reason::RecordedGap } else { Reason::MissingSegment };
            let (id_before, length) = (self.last, u64::from(missing));
            let gap = Gap { segment: index + 1, reason, offset: 0, length, id_before, id_after: 0 };
            self.pending.push(Pending { gap, sure: true });
        }
        self.link = link.filter(|_| missing == 0);
        self.enter(opened);
        Ok(true)
    }

    /// Whether the segment may have been written on, and perhaps sealed anew, since it was opened.
    fn is_outdated(&self, index: u32, later_in_use: bool) -> Result<bool, Error> {
        let Some(held) = self.segment.as_ref().filter(|held| held.is_hot && held.header_holds) else {
            return Ok(false);
        };
        if held.seal.is_none() {
            return Ok(later_in_use && !self.looked_again);
        }
        Ok(self.open_segment(&self.catalog, index)?.is_some_and(|now| now.header_holds && now.seal != held.seal))
    }

    /// At the log's end: ranges that something must have filled are told, the rest is its tail.
    fn tail(&mut self, index: u32) -> Result<bool, Error> {
        let sealed = self.segment.as_ref().is_some_and(|segment| segment.seal.is_some() || !segment.header_holds);
        let meta = read_meta(&*self.directory)?.last_event_id;
        let durable = self.limit.unwrap_or(0).max(meta);
        let short = durable > self.high && durable > self.told;
        if short && self.sought != Some((durable, self.high)) {
            // It may have become durable since its place was read: looked for once more.
            self.sought = Some((durable, self.high));
            self.limit = durable_limit(&*self.system, &*self.directory)?;
            if !sealed {
                self.reopen(index)?;
            }
            return Ok(true);
        }
        if short && self.pending.is_empty() {
            let offset =
                self.segment.as_ref().map_or(SEGMENT_HEADER_BYTES, |at| Geometry::block_offset(at.block)) as u64;
            let gap =
                Gap { segment: index, reason: Reason::BelowMeta, offset, length: 0, id_before: self.last, id_after: 0 };
            self.pending.push(Pending { gap, sure: true });
        }
        if short || (sealed && self.told < self.last.max(1) && !self.pending.is_empty()) {
            self.told = durable.max(self.last).max(1);
            self.tell(0);
        } else {
            self.pending.clear();
        }
        Ok(false)
    }
}
