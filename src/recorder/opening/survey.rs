//! The survey: reads everything that is not sealed, and decides what the repair will do. Changes nothing. A salvage reads the sealed
//! segments too (`whole_log`).
//!
//! | what follows the accepted events of a segment | in the last used segment | before it |
//! |---|---|---|
//! | zeros to the end | written on in place, or sealed | sealed |
//! | other bytes, nothing valid far above | cut: sealed, the bytes stay | corruption |
//! | other bytes, valid ones far above | corruption | corruption |
//! | no accepted event, other bytes | set aside, its index used again | corruption |
//! | no accepted event, zeros | empty: taken over by the preparer | corruption |
//!
//! "Used" means that events were accepted, that a byte above the header is not zero, or that the segment is sealed. "Far" is more than the flusher ever has
//! unsynced. A stage that continues the files moves the end of the accepted events up before this table is read.

mod whole_log;
mod with_stage;

use std::collections::BTreeSet;

use super::forms::Forms;
use super::plan::{Plan, Surveyed, Torn};
use super::stage_evidence::StageEvidence;
use crate::format::{
    EVENTS_PER_BLOCK, Geometry, MetaPosition, Reason, SEGMENT_HEADER_BYTES, SegmentHeader, SegmentName, SegmentNameKind,
};
use crate::recorder::config::{Config, LogLevel};
use crate::recorder::error::Error;
use crate::segment::{Catalog, Corruption, EndBlock, FrozenSegment, HotSegment, SegmentScan, scan_segment};
use crate::storage::{Directory, Place};

/// Most indices that one salvage marks as lost.
const MOST_LOST: u32 = 10_000;

/// Surveys the log.
///
/// # Errors
/// [`Error`]; with salvage, damage is planned around instead.
pub(super) fn survey(
    directory: &dyn Directory,
    catalog: &Catalog,
    forms: Forms,
    meta: MetaPosition,
    evidence: &StageEvidence,
    config: &Config,
    geometry: Geometry,
) -> Result<Plan, Error> {
    let failures = Vec::new();
    let mut surveyor = Surveyor {
        directory,
        catalog,
        meta,
        evidence,
        config,
        geometry,
        excluded: forms.broken,
        failures,
        use_stage: true,
    };
    if config.salvage {
        surveyor.exclude_what_does_not_hold()?;
    }
    loop {
        match surveyor.run() {
            Ok(Outcome::Plan(mut plan)) => {
                plan.salvaged |= !forms.superseded.is_empty();
                plan.superseded = forms.superseded;
                return Ok(*plan);
            }
            Ok(Outcome::StageDisagrees(index)) => {
                let text =
                    format!("the stage and the file of segment {index} hold different events: the stage is not used");
                config.log.log(LogLevel::Warning, &text);
                surveyor.use_stage = false;
            }
            Err(Error::Corrupt(corruption))
                if config.salvage && !surveyor.excluded.contains(&corruption.segment_index) =>
            {
                surveyor.exclude(corruption);
            }
            Err(error) => return Err(error),
        }
    }
}

enum Outcome {
    Plan(Box<Plan>),
    StageDisagrees(u32),
}

struct Surveyor<'a> {
    directory: &'a dyn Directory,
    catalog: &'a Catalog,
    meta: MetaPosition,
    evidence: &'a StageEvidence,
    config: &'a Config,
    geometry: Geometry,
    excluded: BTreeSet<u32>,
    failures: Vec<Reason>,
    use_stage: bool,
}

/// What the sealed part of the log ends with.
#[derive(Debug, Default)]
struct Base {
    last_event_id: u64,
    link: Option<u64>,
    newest_created_ts_ns: u64,
    /// The newest segment, when it is hot.
    newest_hot: Option<HotSegment>,
}

impl Surveyor<'_> {
    fn run(&self) -> Result<Outcome, Error> {
        let mut plan = Plan { excluded: self.excluded.clone(), failures: self.failures.clone(), ..Plan::default() };
        plan.salvaged = !self.excluded.is_empty() || !self.catalog.lost.is_empty();
        plan.set_aside = self.evidence.disagrees || self.evidence.in_the_way.is_some() || !self.use_stage;
        self.look_for_gaps(&mut plan)?;
        let indices: BTreeSet<u32> = self.catalog.indices().difference(&self.excluded).copied().collect();
        plan.segment_count = u32::try_from(indices.len()).unwrap_or(u32::MAX);
        plan.next_index = self.index_after_all();
        let (unsealed, base) = self.find_unsealed(&indices)?;
        plan.link = base.link;
        plan.last_event_id = base.last_event_id;
        plan.newest_created_ts_ns = base.newest_created_ts_ns;
        plan.newest_sealed = base.newest_hot.as_ref().map(|segment| segment.name.index);
        if let Some(index) = self.walk(unsealed, &mut plan)? {
            return Ok(Outcome::StageDisagrees(index));
        }
        if let Some(newest) = base.newest_hot.filter(|_| plan.segments.is_empty()) {
            if plan.torn.is_none() && plan.empty.is_empty() {
                self.plan_to_write_on(newest, &indices, &mut plan)?;
            } else if self.config.salvage {
                // What is above it goes, so the next opening will want to write on it: what that will not accept is set aside now.
                self.scan_sealed(&newest, self.before(newest.name.index, &indices)?.0)?;
            }
        }
        self.hold_against_watermarks(&mut plan)?;
        plan.first_event_id = self.first_event_id(&indices, &plan)?;
        Ok(Outcome::Plan(Box::new(plan)))
    }

    /// The index after the newest segment, and after those that are recorded as lost right above it: further up a marker would leave a gap
    /// that nothing records.
    fn index_after_all(&self) -> u32 {
        let lost = &self.catalog.lost;
        let Some(&newest) = self.catalog.indices().last() else {
            return lost.last().map_or(0, |newest| newest.saturating_add(1));
        };
        let mut next = newest.saturating_add(1);
        while lost.contains(&next) && next < u32::MAX {
            next += 1;
        }
        next
    }

    fn corrupt(&self, index: u32, offset: u64, reason: Reason, detail: String) -> Error {
        Error::Corrupt(Box::new(self.corruption(index, offset, reason, detail)))
    }

    fn corruption(&self, segment_index: u32, offset: u64, reason: Reason, detail: String) -> Corruption {
        let frozen = self.catalog.frozen.contains(&segment_index) && !self.catalog.hot.contains(&segment_index);
        let kind = if frozen { SegmentNameKind::Frozen } else { SegmentNameKind::Hot };
        let path = self.directory.path().join(SegmentName::new(segment_index, kind).to_string());
        Corruption { path, segment_index, block: None, offset, reason, detail }
    }

    fn look_for_gaps(&self, plan: &mut Plan) -> Result<(), Error> {
        for (first, last) in self.catalog.missing() {
            let recorded = self.catalog.lost.range(first..=last).count();
            let all = recorded == (last - first) as usize + 1;
            plan.salvaged = true;
            if all {
                let text = format!("segments {first} to {last} are missing: {}", Reason::RecordedGap.text());
                self.config.log.log(LogLevel::Warning, &text);
            } else if !self.config.salvage {
                return Err(self.corrupt(first, 0, Reason::MissingSegment, format!("{first} to {last}")));
            } else if last - first >= MOST_LOST {
                let why = format!("segments {first} to {last} are missing: too many for a salvage");
                return Err(Error::Refused { path: self.directory.path().to_path_buf(), why });
            } else {
                plan.lost.push((first, last));
            }
        }
        Ok(())
    }

    /// The unsealed segments, oldest first, and what comes before them.
    fn find_unsealed(&self, indices: &BTreeSet<u32>) -> Result<(Vec<HotSegment>, Base), Error> {
        let mut unsealed = Vec::new();
        let mut base = Base::default();
        let mut newest_sealed = None;
        for &index in indices.iter().rev() {
            let (header, hot) = self.header(index)?;
            base.newest_created_ts_ns = base.newest_created_ts_ns.max(header.created_ts_ns);
            match (header.seal, hot) {
                (Some(seal), hot) => {
                    if newest_sealed.is_none() {
                        newest_sealed = Some(index);
                        // The next segment links to this one only if nothing is missing between.
                        base.link = Some(seal.last_chained_checksum);
                        base.newest_hot = hot;
                    }
                    base.last_event_id = seal.last_event_id;
                    if seal.last_event_id != 0 {
                        break;
                    }
                }
                (None, Some(hot)) => match newest_sealed {
                    None => unsealed.push(hot),
                    // All sealed segments above it are empty, and in use all the same.
                    Some(sealed) => {
                        base.last_event_id = self.last_below(sealed, &hot)?;
                        break;
                    }
                },
                (None, None) => break,
            }
        }
        unsealed.reverse();
        let follows = match (newest_sealed, unsealed.first()) {
            (Some(sealed), Some(first)) => first.name.index == sealed + 1,
            (Some(sealed), None) => !self.excluded.contains(&(sealed.saturating_add(1))),
            _ => true,
        };
        if !follows {
            base.link = None;
        }
        Ok((unsealed, base))
    }

    /// The last event of an unsealed segment, which must be complete as it stands: `sealed`, without events, is above it. If it is not, that
    /// one is to be set aside, which costs no event.
    fn last_below(&self, sealed: u32, segment: &HotSegment) -> Result<u64, Error> {
        let scan = scan_segment(self.directory, segment, 0)?;
        if scan.is_complete() {
            return Ok(scan.last_event_id);
        }
        let detail = format!(
            "{} below it is not complete from offset {} on: {}",
            segment.name,
            scan.end_offset(),
            scan.reason.text()
        );
        Err(self.corrupt(sealed, 0, Reason::Hole, detail))
    }

    fn header(&self, index: u32) -> Result<(SegmentHeader, Option<HotSegment>), Error> {
        if self.catalog.hot.contains(&index) {
            let hot = HotSegment::open(self.directory, index)?;
            let links = hot.file.attributes().at("stat", self.directory.path(), &hot.name.to_string())?.links;
            if links > 1 {
                let text = format!("{} has {links} links: a backup by hard link must not be written to", hot.name);
                self.config.log.log(LogLevel::Warning, &text);
            }
            Ok((hot.header, Some(hot)))
        } else {
            Ok((*FrozenSegment::open(self.directory, index)?.header(), None))
        }
    }

    /// Judges the unsealed segments; gives the index of one that the stage contradicts.
    fn walk(&self, unsealed: Vec<HotSegment>, plan: &mut Plan) -> Result<Option<u32>, Error> {
        let mut found = Vec::new();
        let mut last_event_id = plan.last_event_id;
        let first_index = unsealed.first().map_or(plan.next_index, |segment| segment.name.index);
        let mut taken = BTreeSet::new();
        for segment in unsealed {
            let scan = if self.use_stage && self.evidence.proves_empty(self.directory, &segment)? {
                SegmentScan::empty(last_event_id)
            } else {
                scan_segment(self.directory, &segment, last_event_id)?
            };
            let index = segment.name.index;
            let Some((slots, last)) = self.with_stage(&segment, &scan, last_event_id, &mut taken)? else {
                return Ok(Some(index));
            };
            let first_event_id =
                if scan.end_slot > 0 { scan.first_event_id } else { self.first_in_stage(index, slots)? };
            found.push(Surveyed {
                index,
                header: segment.header,
                geometry: segment.geometry,
                scan,
                slots,
                previous_last_event_id: last_event_id,
                first_event_id,
                last_event_id: last,
                cut: false,
                resumable: false,
            });
            last_event_id = last;
        }
        let left = self
            .evidence
            .slots
            .range(first_index..)
            .filter(|(index, slot)| slot.page.published > 0 && !taken.contains(*index));
        plan.set_aside |= self.use_stage && left.count() > 0;
        plan.last_event_id = last_event_id;
        self.judge(found, plan)?;
        Ok(None)
    }

    /// The table at the top of this file.
    fn judge(&self, found: Vec<Surveyed>, plan: &mut Plan) -> Result<(), Error> {
        let is_dirty = |segment: &Surveyed| segment.scan.nonzero_end > SEGMENT_HEADER_BYTES;
        let last_used = found.iter().rposition(|segment| segment.slots > 0 || is_dirty(segment));
        let last_in_file = found.iter().rposition(is_dirty);
        for (place, mut segment) in found.into_iter().enumerate() {
            let end = Geometry::end_offset(segment.slots);
            let torn_header = segment.staged_events() == 0 && segment.scan.end_block == EndBlock::Torn;
            let tail = segment.scan.nonzero_end > end || torn_header;
            let far = segment.scan.valid_above.filter(|&offset| offset >= end);
            if let Some(offset) = far {
                let detail = format!(
                    "accepted up to offset {end}, valid data again at {offset}: {}",
                    segment.scan.reason.text()
                );
                return Err(self.corrupt(segment.index, end as u64, Reason::ValidAbove, detail));
            }
            if Some(place) < last_used {
                let open_end = segment.staged_events() == 0
                    && (segment.scan.end_block == EndBlock::Open || !segment.scan.finalized);
                let unfinished = open_end && Some(place) < last_in_file;
                if segment.slots == 0 || tail || unfinished {
                    let detail = format!("a later segment is in use: {}", segment.scan.reason.text());
                    return Err(self.corrupt(segment.index, end as u64, Reason::Hole, detail));
                }
            }
            self.hold_link(&segment, place, plan)?;
            match (segment.slots, tail) {
                (0, false) => drop(plan.empty.insert(segment.index)),
                // Only the last used one comes here: earlier ones are corruption by now.
                (0, true) => {
                    let bytes = segment.scan.nonzero_end - SEGMENT_HEADER_BYTES;
                    plan.torn = Some(Torn { index: segment.index, reason: segment.scan.reason, bytes });
                }
                (_, tail) => {
                    segment.cut = tail;
                    let guarded = segment.scan.end_block_guarded
                        || segment.slots / EVENTS_PER_BLOCK > segment.scan.end_slot / EVENTS_PER_BLOCK;
                    segment.resumable = Some(place) == last_used && self.may_write_on(&segment, guarded);
                    plan.segments.push(segment);
                }
            }
        }
        // Unused indices are given out again, in order.
        let unused = plan.empty.first().copied().into_iter().chain(plan.torn.map(|torn| torn.index)).min();
        plan.next_index = unused.unwrap_or(plan.next_index);
        Ok(())
    }

    fn may_write_on(&self, segment: &Surveyed, guarded: bool) -> bool {
        !segment.cut
            && guarded
            && segment.scan.contiguous
            && segment.geometry == self.geometry
            && segment.slots < segment.geometry.capacity()
    }

    /// Block 0's link against the chain value of the segment before, when both are known.
    fn hold_link(&self, segment: &Surveyed, place: usize, plan: &Plan) -> Result<(), Error> {
        let before = match (place, plan.segments.last()) {
            (0, _) => plan.link,
            (_, Some(before)) if before.staged_events() == 0 && before.index + 1 == segment.index => {
                Some(before.scan.end_chain)
            }
            _ => None,
        };
        match (segment.scan.link, before) {
            (Some(link), Some(chain)) if link != chain => {
                let detail = format!("expected {chain:016x}, found {link:016x}");
                Err(self.corrupt(segment.index, SEGMENT_HEADER_BYTES as u64, Reason::Link, detail))
            }
            _ => Ok(()),
        }
    }

    /// After a clean close: the last segment is written on if it can be.
    fn plan_to_write_on(&self, segment: HotSegment, indices: &BTreeSet<u32>, plan: &mut Plan) -> Result<(), Error> {
        let Some(seal) = segment.header.seal else { return Ok(()) };
        if segment.geometry != self.geometry || seal.block_count == 0 || seal.event_count >= self.geometry.capacity() {
            return Ok(());
        }
        let index = segment.name.index;
        if plan.next_index != index.saturating_add(1) {
            return Ok(());
        }
        // A second name is a backup's: unsealed again, it would be changed with the log, and the next open would refuse both.
        if segment.file.attributes().at("stat", self.directory.path(), &segment.name.to_string())?.links > 1 {
            return Ok(());
        }
        let (previous, link) = self.before(index, indices)?;
        let (scan, agrees) = self.scan_sealed(&segment, previous)?;
        let mut surveyed = Surveyed {
            index,
            header: segment.header,
            geometry: segment.geometry,
            slots: scan.end_slot,
            previous_last_event_id: previous,
            first_event_id: scan.first_event_id,
            last_event_id: scan.last_event_id,
            cut: false,
            resumable: false,
            scan,
        };
        let tail = scan.nonzero_end > scan.end_offset() || scan.end_block == EndBlock::Torn;
        surveyed.resumable = agrees && !tail && self.may_write_on(&surveyed, scan.end_block_guarded);
        if surveyed.resumable {
            plan.link = link;
            plan.segments.push(surveyed);
        }
        Ok(())
    }

    /// The blocks of a sealed segment, which follow event `previous`, and whether they are exactly what its seal says; fewer events are
    /// an error.
    fn scan_sealed(&self, segment: &HotSegment, previous: u64) -> Result<(SegmentScan, bool), Error> {
        let scan = scan_segment(self.directory, segment, previous)?;
        let Some(seal) = segment.header.seal else { return Ok((scan, false)) };
        let agrees = scan.event_count == seal.event_count
            && scan.last_event_id == seal.last_event_id
            && scan.first_event_id == seal.first_event_id
            && scan.end_chain == seal.last_chained_checksum
            && scan.end_slot.div_ceil(EVENTS_PER_BLOCK) == seal.block_count;
        if !agrees && scan.event_count < seal.event_count {
            let detail = format!("{} events by the seal, {} by the blocks", seal.event_count, scan.event_count);
            let index = segment.name.index;
            return Err(self.corrupt(index, scan.end_offset() as u64, Reason::SealedCounts, detail));
        }
        Ok((scan, agrees))
    }

    /// The last id and the chain value before segment `index`.
    fn before(&self, index: u32, indices: &BTreeSet<u32>) -> Result<(u64, Option<u64>), Error> {
        let mut link = None;
        for &earlier in indices.range(..index).rev() {
            let (header, _) = self.header(earlier)?;
            let Some(seal) = header.seal else { break };
            if earlier + 1 == index {
                link = Some(seal.last_chained_checksum);
            }
            if seal.last_event_id != 0 {
                return Ok((seal.last_event_id, link));
            }
        }
        Ok((0, link))
    }

    /// What was called durable must be there.
    fn hold_against_watermarks(&self, plan: &mut Plan) -> Result<(), Error> {
        let stage = if self.use_stage { self.evidence.durable_event_id() } else { 0 };
        for (durable, who) in [(self.meta.last_event_id, "wal_meta.dat"), (stage, "the stage of this boot")] {
            if plan.last_event_id >= durable {
                continue;
            }
            let detail = format!("{who} says that event {durable} was durable, the log ends at {}", plan.last_event_id);
            if !self.config.salvage {
                let index = plan.segments.last().map_or(plan.next_index.saturating_sub(1), |segment| segment.index);
                return Err(self.corrupt(index, 0, Reason::BelowMeta, detail));
            }
            plan.salvaged = true;
            self.config.log.log(LogLevel::Error, &format!("salvage: {detail}"));
        }
        Ok(())
    }

    fn first_event_id(&self, indices: &BTreeSet<u32>, plan: &Plan) -> Result<u64, Error> {
        for &index in indices {
            if let Some(segment) = plan.segments.iter().find(|segment| segment.index == index) {
                return Ok(segment.first_event_id);
            }
            if plan.empty.contains(&index) || plan.torn.is_some_and(|torn| torn.index == index) {
                continue;
            }
            match self.header(index)?.0.seal {
                Some(seal) if seal.first_event_id != 0 => return Ok(seal.first_event_id),
                _ => {}
            }
        }
        Ok(0)
    }
}
