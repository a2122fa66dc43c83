//! SegmentPreparer: keeps segments ready for the append thread.
//!
//! A segment is ready when its file is on disk under its name, allocated and with a synced header, and its slot is zeroed, Live and
//! touched. Slots are used again last-freed first, so that the stage stays in cache. A full disk is waited out, and so is a
//! maintainer that freezes slower than segments are written.
//!
//! Crash story: the file is made as `.new`, allocated, its header synced, renamed without replacing, the directory synced; so a
//! `.wal` with a bad header is never a torn creation, and segment N's name is durable before N+1's is made. Empty prepared segments
//! of an earlier recorder are taken over: their header is written anew, with a new creation time, before they are used.
//!
//! Serves `docs/FORMAT.md`, "Names" and "Segment header".
#![allow(unsafe_code, reason = "zeroes and initializes slots that are the preparer's by the stage's rule")]

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::flusher::FreedSlot;
use super::{WorkerError, may_retry_write};
use crate::format::{PAGE_BYTES, SEGMENT_HEADER_BYTES, SegmentHeader, SegmentName, SegmentNameKind};
use crate::recorder::lifecycle::PreparedSegment;
use crate::recorder::shared::{NO_SPACE_PREPARER, Shared};
use crate::storage::{self, Access, File, PageBuffer, Place, SlotSegment};
use crate::sync::Worker;
use crate::telemetry::{Consumer, Count, Moment, Producer, Timing};

const RETRY_SLEEP: Duration = Duration::from_millis(5);
const IDLE_SLEEP: Duration = Duration::from_secs(1);

/// What the preparer goes on from.
#[derive(Debug)]
pub(crate) struct PreparerStart {
    /// The next segment to be made.
    pub(crate) next_index: u32,
    /// Creation times so far are not above this.
    pub(crate) newest_created_ts_ns: u64,
    /// Empty segments on disk that are to be taken over.
    pub(crate) empty: BTreeSet<u32>,
    /// Slots not in use, all of them possibly dirty.
    pub(crate) free: Vec<FreedSlot>,
}

#[derive(Debug)]
pub(crate) struct SegmentPreparer {
    shared: Arc<Shared>,
    prepared: Producer<PreparedSegment>,
    freed: Consumer<FreedSlot>,
    start: PreparerStart,
    header_page: PageBuffer,
}

impl SegmentPreparer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        prepared: Producer<PreparedSegment>,
        freed: Consumer<FreedSlot>,
        start: PreparerStart,
    ) -> Self {
        Self { shared, prepared, freed, start, header_page: PageBuffer::zeroed(PAGE_BYTES) }
    }

    /// One above the last segment made.
    pub(crate) fn next_index(&self) -> u32 {
        self.start.next_index
    }

    /// Prepares one segment; 0 when there is no slot, no space, or too many wait to be frozen.
    fn prepare_next(&mut self) -> Result<usize, WorkerError> {
        while let Some(freed) = self.freed.pop() {
            self.start.free.push(freed);
        }
        let Some(free) = self.start.free.last().copied() else { return Ok(0) };
        let index = self.start.next_index;
        if index == u32::MAX {
            self.shared.set_no_space(NO_SPACE_PREPARER, Some("segment indices are used up"));
            return Ok(0);
        }
        if !self.shared.has_room_for(index) {
            // The maintainer rings when it has frozen one.
            return Ok(0);
        }
        let begin = Moment::now();
        let created_ts_ns = self.shared.system.realtime_ns().max(self.start.newest_created_ts_ns.saturating_add(1));
        let header = SegmentHeader { segment_index: index, created_ts_ns, seal: None };
        let file = match self.make_file(&header) {
            // Nothing but a sync is final: everything else is undone and tried again when there is space.
            Err(error) if may_retry_write(&error) && !error.operation.starts_with("sync") => {
                self.shared.set_no_space(NO_SPACE_PREPARER, Some(&error.to_string()));
                return Ok(0);
            }
            other => other?,
        };
        self.shared.telemetry.record_since(Timing::OpenNew, begin);
        self.start.free.pop();
        self.start.next_index = index + 1;
        self.start.newest_created_ts_ns = created_ts_ns;
        self.start.empty.remove(&index);
        self.shared.set_no_space(NO_SPACE_PREPARER, None);
        let geometry = self.shared.geometry;
        let slot = self.shared.slot(free.slot);
        let segment = SlotSegment { segment_index: index, created_ts_ns, geometry };
        // SAFETY: the slot came back from the flusher, or was never used: it is Free and the preparer's.
        unsafe {
            slot.bytes_mut(0, free.used_bytes).fill(0);
            slot.bytes_mut(0, SEGMENT_HEADER_BYTES).copy_from_slice(&header.to_bytes());
            slot.set_live(&segment, 0, 0);
        }
        let prepared = PreparedSegment { file, header, geometry, slot: free.slot };
        // Counted before anyone can take it: no step of a segment's life is counted before the one it follows.
        self.shared.telemetry.count(Count::SegmentsPrepared, 1);
        self.shared.telemetry.record_since(Timing::Prepare, begin);
        self.prepared.push(prepared).map_err(|_| WorkerError::Broken("more prepared segments than slots"))?;
        Ok(1)
    }

    fn make_file(&mut self, header: &SegmentHeader) -> Result<Box<dyn File>, storage::Error> {
        self.header_page[..SEGMENT_HEADER_BYTES].copy_from_slice(&header.to_bytes());
        let index = header.segment_index;
        let directory = Arc::clone(&self.shared.directory);
        let path = directory.path();
        let name = SegmentName::new(index, SegmentNameKind::Hot).to_string();
        if self.start.empty.contains(&index) {
            let file = directory.open_file(&name, Access::WriteDirect).at("open", path, &name)?;
            self.fill(&*file, &name)?;
            directory.sync().at("sync directory", path, "")?;
            return Ok(file);
        }
        let new_name = SegmentName::new(index, SegmentNameKind::New).to_string();
        let file = match directory.create_file(&new_name, Access::WriteDirect) {
            // Left by a try that found no space, or could not be removed then.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                directory.remove_file(&new_name).at("remove", path, &new_name)?;
                directory.create_file(&new_name, Access::WriteDirect).at("create", path, &new_name)?
            }
            other => other.at("create", path, &new_name)?,
        };
        if let Err(error) = self.fill(&*file, &new_name) {
            drop(file);
            // Gives the space back; failing that, the next try finds the file.
            let _ = directory.remove_file(&new_name);
            return Err(error);
        }
        directory.rename_new(&new_name, &name).at("rename", path, &new_name)?;
        directory.sync().at("sync directory", path, "")?;
        Ok(file)
    }

    fn fill(&self, file: &dyn File, name: &str) -> Result<(), storage::Error> {
        let path = self.shared.directory.path();
        let bytes = self.shared.geometry.padded_bytes() as u64;
        if file.attributes().at("stat", path, name)?.bytes > bytes {
            file.set_len(bytes).at("cut", path, name)?;
        }
        file.allocate(bytes).at("allocate", path, name)?;
        file.write_all_at(&self.header_page, 0).at("write", path, name)?;
        file.sync_data().at("sync", path, name)
    }
}

impl Worker for SegmentPreparer {
    type Error = WorkerError;
    const NAME: &'static str = "walrec-prepare";

    fn do_work(&mut self) -> Result<usize, WorkerError> {
        if self.shared.is_poisoned() { Ok(0) } else { self.prepare_next() }
    }

    fn on_close(&mut self) -> Result<(), WorkerError> {
        Ok(())
    }

    fn idle_sleeps(&self) -> (Duration, Duration) {
        let sleep = if self.start.free.is_empty() { IDLE_SLEEP } else { RETRY_SLEEP };
        (sleep, sleep)
    }
}
