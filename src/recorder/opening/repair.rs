//! The repair: carries a plan out. Each step may be cut short at any point; the table is in `opening`.
//!
//! Accepted events above the position of `wal_meta.dat`, and the header of the block that it lies in, are written again and synced,
//! always: what a read shows may never have reached the disk, because a failed sync leaves clean-looking pages behind. So is the
//! header of the newest sealed segment. Nothing is ever deleted but leftovers that were on their way in or out, and empty prepared
//! segments above one that is moved away.

use std::collections::BTreeSet;
use std::io;

use super::mender::{Mender, Rebuilt};
use super::plan::{Plan, Surveyed, Torn};
use super::stage_evidence::StageEvidence;
use super::{LockedLog, OpenFlags, OpenReport};
use crate::format::{
    BLOCK_BYTES, EVENTS_PER_BLOCK, Geometry, MetaPosition, PAGE_BYTES, QUARANTINE_DIRECTORY, SEGMENT_HEADER_BYTES,
    Seal, SegmentHeader, SegmentName, SegmentNameKind, lost_marker_name,
};
use crate::recorder::config::{Config, LogLevel};
use crate::recorder::error::Error;
use crate::recorder::lifecycle::{Progress, cut_padding};
use crate::segment::Catalog;
use crate::storage::{self, Access, Directory, File, MEMORY, PageBuffer, Place, zeroed_bytes};

/// Blocks that are read, mended and synced at a time; with its two edge pages less than the longest torn write.
const WINDOW_BLOCKS: u32 = 250;

/// A segment that is written on in place.
#[derive(Debug)]
pub(super) struct Resumed {
    pub(super) file: Box<dyn File>,
    pub(super) header: SegmentHeader,
    pub(super) progress: Progress,
    pub(super) previous_last_event_id: u64,
}

impl Resumed {
    pub(super) fn name(&self) -> String {
        SegmentName::new(self.header.segment_index, SegmentNameKind::Hot).to_string()
    }
}

/// What the recorder goes on from.
#[derive(Debug)]
pub(super) struct Repaired {
    pub(super) resumed: Option<Resumed>,
    pub(super) next_index: u32,
    pub(super) newest_created_ts_ns: u64,
    pub(super) empty: BTreeSet<u32>,
    /// Chain value before the first block that will be made.
    pub(super) link: Option<u64>,
    pub(super) durable: MetaPosition,
}

pub(super) struct Repair<'a> {
    pub(super) log: &'a LockedLog,
    pub(super) config: &'a Config,
    pub(super) geometry: Geometry,
    pub(super) meta: MetaPosition,
    pub(super) evidence: &'a StageEvidence,
    pub(super) report: &'a mut OpenReport,
}

impl Repair<'_> {
    fn directory(&self) -> &dyn Directory {
        &*self.log.directory
    }

    fn note(&self, level: LogLevel, text: &str) {
        self.config.log.log(level, &format!("{}: {text}", self.log.directory.path().display()));
    }

    pub(super) fn run(&mut self, plan: Plan, catalog: &Catalog) -> Result<Repaired, Error> {
        self.tell(&plan);
        self.remove_leftovers(catalog)?;
        for &index in &plan.superseded {
            self.move_aside(&SegmentName::new(index, SegmentNameKind::Hot).to_string())?;
        }
        self.move_salvaged(&plan, catalog)?;
        if let Some(index) = plan.newest_sealed {
            self.seal_again(index)?;
        }
        let mut outcome = Repaired {
            resumed: None,
            next_index: plan.next_index,
            newest_created_ts_ns: plan.newest_created_ts_ns,
            empty: plan.empty,
            link: plan.link,
            durable: MetaPosition { last_event_id: plan.last_event_id, ..self.meta },
        };
        let mut link = plan.link;
        for segment in plan.segments {
            outcome.durable = MetaPosition {
                segment_index: segment.index,
                offset: u32::try_from(Geometry::end_offset(segment.slots)).unwrap_or(u32::MAX),
                last_event_id: segment.last_event_id,
            };
            self.report.events_from_stage += u64::from(segment.staged_events());
            let (resumed, end_chain) = self.mend(&segment, link)?;
            outcome.link = if resumed.is_some() { link } else { Some(end_chain) };
            outcome.resumed = resumed;
            link = Some(end_chain);
        }
        if let Some(torn) = plan.torn {
            self.remove_empty_above(torn.index, &mut outcome.empty)?;
            if !self.move_torn(torn)? {
                // Sealed as empty instead: no index at or below it may be given out again.
                outcome.next_index = outcome.next_index.max(torn.index.saturating_add(1));
                outcome.link = Some(0);
            }
        }
        let next_index = outcome.next_index;
        outcome.empty.retain(|&index| index >= next_index);
        if plan.excluded.last().is_some_and(|&excluded| excluded.checked_add(1) == Some(next_index))
            && outcome.resumed.is_none()
        {
            outcome.link = None;
        }
        Ok(outcome)
    }

    fn tell(&mut self, plan: &Plan) {
        self.report.first_event_id = plan.first_event_id;
        self.report.segments = plan.segment_count;
        self.report.failures.clone_from(&plan.failures);
        for (set, flag) in [
            (self.evidence.missing, OpenFlags::STAGE_MISSING),
            (plan.set_aside, OpenFlags::STAGE_SET_ASIDE),
            (plan.salvaged, OpenFlags::SALVAGED),
        ] {
            self.report.flags |= if set { flag } else { 0 };
        }
        if self.evidence.missing {
            self.note(
                LogLevel::Warning,
                "the log was open in this boot and its stage is gone: events not yet durable then are lost",
            );
        }
        let events: u64 = plan.segments.iter().map(|segment| u64::from(segment.staged_events())).sum();
        if events > 0 {
            self.note(LogLevel::Info, &format!("{events} events are taken from the stage"));
        }
    }

    fn remove_leftovers(&self, catalog: &Catalog) -> Result<(), Error> {
        let path = self.directory().path();
        let names =
            catalog.leftovers.iter().map(ToString::to_string).chain(catalog.temporary.iter().map(ToString::to_string));
        let mut any = false;
        for name in names {
            self.directory().remove_file(&name).at("remove", path, &name)?;
            any = true;
        }
        if any {
            self.directory().sync().at("sync directory", path, "")?;
        }
        Ok(())
    }

    fn quarantine(&self) -> Result<std::sync::Arc<dyn Directory>, storage::Error> {
        let path = self.directory().path();
        if self.directory().create_subdirectory(QUARANTINE_DIRECTORY).at(
            "create directory",
            path,
            QUARANTINE_DIRECTORY,
        )? {
            self.directory().sync().at("sync directory", path, "")?;
        }
        self.directory().open_subdirectory(QUARANTINE_DIRECTORY).at("open", path, QUARANTINE_DIRECTORY)
    }

    /// Moves a file into the quarantine under a name that is free there.
    fn move_aside(&mut self, name: &str) -> Result<(), storage::Error> {
        let path = self.directory().path();
        let quarantine = self.quarantine()?;
        for number in 0.. {
            let to = if number == 0 { name.to_owned() } else { format!("{name}.{number}") };
            match self.directory().move_into(name, QUARANTINE_DIRECTORY, &to) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                other => {
                    other.at("move to quarantine", path, name)?;
                    break;
                }
            }
        }
        quarantine.sync().at("sync directory", quarantine.path(), "")?;
        self.directory().sync().at("sync directory", path, "")?;
        self.report.quarantined += 1;
        self.note(LogLevel::Warning, &format!("{name} was moved to {QUARANTINE_DIRECTORY}/"));
        Ok(())
    }

    fn move_salvaged(&mut self, plan: &Plan, catalog: &Catalog) -> Result<(), Error> {
        let gaps = plan.lost.iter().flat_map(|&(first, last)| first..=last);
        for index in gaps.chain(plan.excluded.iter().copied()) {
            // The marker first: a segment is never away without it.
            let quarantine = self.quarantine()?;
            let marker = lost_marker_name(index);
            match quarantine.create_file(&marker, Access::Write) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                other => drop(other.at("create", quarantine.path(), &marker)?),
            }
            quarantine.sync().at("sync directory", quarantine.path(), "")?;
            for (there, kind) in [(&catalog.hot, SegmentNameKind::Hot), (&catalog.frozen, SegmentNameKind::Frozen)] {
                if plan.excluded.contains(&index) && there.contains(&index) {
                    self.report.segments_compressed -= u32::from(!catalog.hot.contains(&index));
                    self.move_aside(&SegmentName::new(index, kind).to_string())?;
                }
            }
        }
        Ok(())
    }

    /// Empty segments above one that is to be moved away: its index would be a gap below them if the move were the last thing done. From
    /// the highest down, each removal durable before the next.
    fn remove_empty_above(&self, torn: u32, empty: &mut BTreeSet<u32>) -> Result<(), Error> {
        let path = self.directory().path();
        for index in empty.split_off(&torn).into_iter().rev() {
            let name = SegmentName::new(index, SegmentNameKind::Hot).to_string();
            self.directory().remove_file(&name).at("remove", path, &name)?;
            self.directory().sync().at("sync directory", path, "")?;
        }
        Ok(())
    }

    /// A segment without an accepted event: away, so that its index can be used again. `false` when there was no space for that and
    /// it was sealed as empty where it is.
    fn move_torn(&mut self, torn: Torn) -> Result<bool, Error> {
        let index = torn.index;
        let name = SegmentName::new(index, SegmentNameKind::Hot).to_string();
        self.report.flags |= OpenFlags::CUT;
        self.report.cut_segment = index;
        self.report.cut_offset = SEGMENT_HEADER_BYTES as u64;
        self.report.cut_reason = torn.reason;
        self.report.bytes_cut += torn.bytes as u64;
        match self.move_aside(&name) {
            // A sync that finds no space is a failed sync, and then the file may have moved.
            Err(error) if error.is_no_space() && !error.operation.starts_with("sync") => {
                let file = self.directory().open_file(&name, Access::WriteDirect).at(
                    "open",
                    self.directory().path(),
                    &name,
                )?;
                let mut page = self.read_page(&*file, &name)?;
                let old = crate::format::judge_header(&crate::format::array_at(&page, 0), index);
                let created_ts_ns = match old {
                    crate::format::HeaderVerdict::Unsealed(header) => header.created_ts_ns,
                    _ => self.log.system.realtime_ns(),
                };
                let header = SegmentHeader { segment_index: index, created_ts_ns, seal: None };
                let seal = Seal {
                    block_count: 0,
                    event_count: 0,
                    first_event_id: 0,
                    last_event_id: 0,
                    closed_ts_ns: 0,
                    last_chained_checksum: 0,
                };
                self.seal(&*file, &name, &mut page, header, seal)?;
                Ok(false)
            }
            other => {
                other?;
                Ok(true)
            }
        }
    }

    /// Makes one segment's accepted events durable, and seals it or gets it ready to be written on.
    fn mend(&mut self, segment: &Surveyed, link: Option<u64>) -> Result<(Option<Resumed>, u64), Error> {
        let name = SegmentName::new(segment.index, SegmentNameKind::Hot).to_string();
        if segment.cut {
            self.report_cut(segment, &name)?;
        }
        let path = self.directory().path();
        let file = self.directory().open_file(&name, Access::WriteDirect).at("open", path, &name)?;
        let mut resumable = segment.resumable;
        if resumable {
            // Sealing had cut the file to its exact size: a page of space may be missing now.
            match file.allocate(self.geometry.padded_bytes() as u64).at("allocate", path, &name) {
                Err(error) if error.is_no_space() && segment.header.seal.is_some() => {
                    return Ok((None, segment.scan.end_chain));
                }
                Err(error) if error.is_no_space() => resumable = false,
                other => other?,
            }
        }
        let rebuilt = self.rebuild(segment, &*file, &name, !resumable, link)?;
        let mut page = self.read_page(&*file, &name)?;
        if !resumable {
            let seal = Seal {
                block_count: segment.slots.div_ceil(EVENTS_PER_BLOCK),
                event_count: segment.event_count(),
                first_event_id: segment.first_event_id,
                last_event_id: segment.last_event_id,
                closed_ts_ns: 0,
                last_chained_checksum: rebuilt.end_chain,
            };
            self.seal(&*file, &name, &mut page, segment.header, seal)?;
            return Ok((None, rebuilt.end_chain));
        }
        let header = SegmentHeader { seal: None, ..segment.header };
        // Also when it looks unsealed already: an open that was killed here may have left that in the page cache alone, and events
        // above a sealed header would be lost.
        self.write_header(&*file, &name, &mut page, header)?;
        let progress = Progress {
            durable_slots: segment.slots,
            finalized_blocks: segment.slots / EVENTS_PER_BLOCK,
            chain: rebuilt.chain,
            first_event_id: segment.first_event_id,
            last_event_id: segment.last_event_id,
        };
        let previous_last_event_id = segment.previous_last_event_id;
        Ok((Some(Resumed { file, header, progress, previous_last_event_id }), rebuilt.end_chain))
    }

    fn report_cut(&mut self, segment: &Surveyed, name: &str) -> Result<(), Error> {
        let end = Geometry::end_offset(segment.slots);
        self.report.flags |= OpenFlags::CUT;
        self.report.cut_segment = segment.index;
        self.report.cut_offset = end as u64;
        self.report.cut_reason = segment.scan.reason;
        self.report.failures.push(segment.scan.reason);
        self.report.bytes_cut += segment.scan.nonzero_end.saturating_sub(end) as u64;
        let text = format!(
            "{name}: torn tail cut at offset {end} after event {}: {}",
            segment.last_event_id,
            segment.scan.reason.text()
        );
        self.note(LogLevel::Warning, &text);
        if let Err(error) = self.copy_aside(segment, name, end) {
            // The copy can be done without, but the system tells of a failed sync of the log's directory once only.
            if error.operation == "sync directory" && error.path == self.directory().path() {
                return Err(error.into());
            }
            self.note(LogLevel::Warning, &format!("the cut bytes stay in the segment; no copy was made: {error}"));
        }
        Ok(())
    }

    /// Copies the bytes of a cut into the quarantine. They stay where they are in any case.
    fn copy_aside(&mut self, segment: &Surveyed, name: &str, end: usize) -> Result<(), storage::Error> {
        let quarantine = self.quarantine()?;
        let copy = format!("FS.{:08}.{end}", segment.index);
        let path = self.directory().path();
        let from = self.directory().open_file(name, Access::Read).at("open", path, name)?;
        let to = match quarantine.create_file(&copy, Access::Write) {
            // A copy from an open that was cut short before it sealed the segment.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                quarantine.remove_file(&copy).at("remove", quarantine.path(), &copy)?;
                quarantine.create_file(&copy, Access::Write).at("create", quarantine.path(), &copy)?
            }
            other => other.at("create", quarantine.path(), &copy)?,
        };
        let mut buffer = zeroed_bytes(1 << 20).at(MEMORY, path, name)?;
        let mut offset = end;
        while offset < segment.scan.nonzero_end {
            let step = buffer.len().min(segment.scan.nonzero_end - offset);
            let read = from.read_up_to(&mut buffer[..step], offset as u64).at("read", path, name)?;
            if read == 0 {
                break;
            }
            let written = to.write_all_at(&buffer[..read], (offset - end) as u64).at("write", quarantine.path(), &copy);
            if let Err(error) = written {
                let _ = quarantine.remove_file(&copy);
                return Err(error);
            }
            offset += read;
        }
        to.sync_data().at("sync", quarantine.path(), &copy)?;
        quarantine.sync().at("sync directory", quarantine.path(), "")?;
        self.report.quarantined += 1;
        Ok(())
    }

    /// The recorder before this one may have been killed between writing this header and syncing it. The segments above must not be
    /// sealed before this one is.
    fn seal_again(&self, index: u32) -> Result<(), Error> {
        let name = SegmentName::new(index, SegmentNameKind::Hot).to_string();
        let path = self.directory().path();
        let file = self.directory().open_file(&name, Access::WriteDirect).at("open", path, &name)?;
        let page = self.read_page(&*file, &name)?;
        file.write_all_at(&page, 0).at("write", path, &name)?;
        file.sync_data().at("sync", path, &name)?;
        Ok(())
    }

    fn read_page(&self, file: &dyn File, name: &str) -> Result<PageBuffer, storage::Error> {
        let mut page = PageBuffer::zeroed(PAGE_BYTES).at(MEMORY, self.directory().path(), name)?;
        file.read_up_to(&mut page, 0).at("read", self.directory().path(), name)?;
        Ok(page)
    }

    fn write_header(
        &self,
        file: &dyn File,
        name: &str,
        page: &mut PageBuffer,
        header: SegmentHeader,
    ) -> Result<(), storage::Error> {
        page[..SEGMENT_HEADER_BYTES].copy_from_slice(&header.to_bytes());
        file.write_all_at(page, 0).at("write", self.directory().path(), name)?;
        file.sync_data().at("sync", self.directory().path(), name)
    }

    fn seal(
        &self,
        file: &dyn File,
        name: &str,
        page: &mut PageBuffer,
        header: SegmentHeader,
        seal: Seal,
    ) -> Result<(), storage::Error> {
        let closed_ts_ns = self.log.system.realtime_ns().max(header.created_ts_ns.saturating_add(1));
        let header = SegmentHeader { seal: Some(Seal { closed_ts_ns, ..seal }), ..header };
        self.write_header(file, name, page, header)?;
        let path = self.directory().path();
        let bytes = file.attributes().at("stat", path, name)?.bytes;
        if let Some(geometry) = Geometry::of_file(bytes) {
            cut_padding(file, geometry, path, name)?;
        }
        Ok(())
    }

    /// Walks the accepted blocks in windows: takes what only the stage has, guards it, finalizes what is full (and the last block, if
    /// the segment is to be sealed), and writes again what may not have reached the disk.
    fn rebuild(
        &self,
        segment: &Surveyed,
        file: &dyn File,
        name: &str,
        seal: bool,
        link: Option<u64>,
    ) -> Result<Rebuilt, Error> {
        let path = self.directory().path();
        let blocks = segment.slots.div_ceil(EVENTS_PER_BLOCK);
        let mut mender = Mender {
            segment,
            seal,
            link,
            evidence: self.evidence,
            meta_last: self.meta.last_event_id,
            guards: segment.header.guards(),
            last_event_id: segment.previous_last_event_id,
            rebuilt: Rebuilt { chain: 0, end_chain: 0 },
        };
        let buffer = PageBuffer::zeroed(WINDOW_BLOCKS as usize * BLOCK_BYTES + 2 * PAGE_BYTES);
        let mut buffer = buffer.at(MEMORY, path, name)?;
        let mut first = 0;
        while first < blocks {
            let last = (first + WINDOW_BLOCKS).min(blocks);
            let begin = Geometry::block_offset(first) / PAGE_BYTES * PAGE_BYTES;
            let end = Geometry::block_offset(last).next_multiple_of(PAGE_BYTES).min(segment.geometry.padded_bytes());
            let window = &mut buffer[..end - begin];
            window.fill(0);
            read_direct(file, window, begin as u64).at("read", path, name)?;
            let mut dirty = false;
            for block in first..last {
                let place = Geometry::block_offset(block) - begin;
                let bytes = &mut window[place..place + BLOCK_BYTES];
                dirty |= mender.mend(block, bytes)?;
            }
            if dirty {
                // A page whose write-back failed still knows where its block was to be. Written again in this state, it is synced to
                // a block that ext4 goes on to hold for unwritten: it reads as zeros as soon as the page is gone.
                file.drop_cache(begin as u64..end as u64);
                file.write_all_at(window, begin as u64).at("write", path, name)?;
                file.sync_data().at("sync", path, name)?;
            }
            first = last;
        }
        Ok(mender.rebuilt)
    }
}

/// Reads whole pages of a file that is open for direct access. One that was not padded ends inside a page, and from there direct access
/// can read no further, not even nothing.
fn read_direct(file: &dyn File, window: &mut [u8], offset: u64) -> io::Result<()> {
    let mut done = 0;
    while done < window.len() {
        let read = file.read_at(&mut window[done..], offset + done as u64)?;
        done += read;
        if read == 0 || !done.is_multiple_of(PAGE_BYTES) {
            if offset + done as u64 >= file.attributes()?.bytes {
                return Ok(());
            }
            // A short read: on from the page that it ended in. What was not read must not be taken for zeros.
            if read < PAGE_BYTES {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            done -= done % PAGE_BYTES;
        }
    }
    Ok(())
}
