//! SegmentPreparer: keeps segments ready for the append thread.
//!
//! A segment is ready when its file is on disk under its name, allocated and with a synced header, and its slot is zeroed, Live and
//! touched. Slots are used again last-freed first, so that the stage stays in cache. A full disk is waited out, and so is a
//! maintainer that freezes slower than segments are written.
//!
//! While the prepared ring is at least half full, a new file is also written full of zeros: the first write to an extent that is only
//! allocated makes the flusher's sync wait for the file system's journal. One piece a duty cycle, and none while the flusher is at
//! work. When the ring falls below half, the rest stays allocated only: a segment at once is worth more than a faster one.
//!
//! Crash story: the file is made as `.new`, allocated, zeroed, its header synced, renamed without replacing, the directory synced; so
//! a `.wal` with a bad header is never a torn creation, and segment N's name is durable before N+1's is made. Allocated or written,
//! what is above the header reads as zeros. Empty prepared segments of an earlier recorder are taken over: their header is written
//! anew, with a new creation time, before they are used. One of another size is replaced by a new file in one rename.
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
use crate::sync::{Current, Worker};
use crate::telemetry::{Consumer, Count, Moment, Producer, Timing};

const RETRY_SLEEP: Duration = Duration::from_millis(5);
const IDLE_SLEEP: Duration = Duration::from_secs(1);
/// So long a piece of zeros waits for the flusher.
const YIELD_SLEEP: Duration = Duration::from_micros(50);
/// Zeros written in one duty cycle: the flusher may have to wait for so many.
const ZERO_BYTES: usize = 128 << 10;

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
    making: Option<Making>,
    header_page: PageBuffer,
    zeros: PageBuffer,
}

/// A file on its way: allocated, without a header of its own yet.
#[derive(Debug)]
struct Making {
    file: Box<dyn File>,
    header: SegmentHeader,
    begin: Moment,
    /// Bytes from the start that are written.
    zeroed_bytes: usize,
    origin: Origin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// Made anew, for a name that nobody has.
    New,
    /// Made anew, for the name of an empty segment of another size. That one is not resized: a power cut could leave any size.
    Replacing,
    /// An empty segment of an earlier recorder, with its name.
    TakenOver,
}

impl Making {
    fn name(&self) -> String {
        let kind = if self.origin == Origin::TakenOver { SegmentNameKind::Hot } else { SegmentNameKind::New };
        SegmentName::new(self.header.segment_index, kind).to_string()
    }
}

impl SegmentPreparer {
    /// # Errors
    /// No memory.
    pub(crate) fn new(
        shared: Arc<Shared>,
        prepared: Producer<PreparedSegment>,
        freed: Consumer<FreedSlot>,
        start: PreparerStart,
    ) -> io::Result<Self> {
        let header_page = PageBuffer::zeroed(PAGE_BYTES)?;
        let zeros = PageBuffer::zeroed(ZERO_BYTES)?;
        Ok(Self { shared, prepared, freed, start, making: None, header_page, zeros })
    }

    /// One above the last segment made.
    pub(crate) fn next_index(&self) -> u32 {
        self.start.next_index
    }

    /// One step towards the next segment; 0 when there is no slot, no space, too many wait to be frozen, or the flusher is at work.
    fn step(&mut self) -> Result<usize, WorkerError> {
        let Some(mut making) = self.making.take().map_or_else(|| self.begin(), |making| Ok(Some(making)))? else {
            return Ok(0);
        };
        if self.wants_zeros(&making) {
            let done = if self.shared.is_flushing() { Ok(0) } else { self.write_zeros(&mut making).map(|()| 1) };
            return match done {
                Ok(done) => {
                    self.making = Some(making);
                    Ok(done)
                }
                Err(error) => self.give_up(&making, error),
            };
        }
        match self.finish_file(&making) {
            Ok(()) => self.hand_on(making).map(|()| 1),
            Err(error) => self.give_up(&making, error),
        }
    }

    /// Whether the file is to be written with more zeros: it is new, and the append thread has enough segments before it.
    fn wants_zeros(&self, making: &Making) -> bool {
        let enough = 2 * self.prepared.len() >= self.shared.stage.slots().len();
        enough && making.origin != Origin::TakenOver && making.zeroed_bytes < self.shared.geometry.padded_bytes()
    }

    /// Begins the next segment, when there is a slot for it and room in the log.
    fn begin(&mut self) -> Result<Option<Making>, WorkerError> {
        while let Some(freed) = self.freed.pop() {
            self.start.free.push(freed);
        }
        if self.start.free.is_empty() {
            return Ok(None);
        }
        let index = self.start.next_index;
        if index == u32::MAX {
            self.shared.set_no_space(NO_SPACE_PREPARER, Some("segment indices are used up"));
            return Ok(None);
        }
        if !self.shared.has_room_for(index) {
            // The maintainer rings when it has frozen one.
            return Ok(None);
        }
        let begin = Moment::now();
        let created_ts_ns = self.shared.system.realtime_ns().max(self.start.newest_created_ts_ns.saturating_add(1));
        let header = SegmentHeader { segment_index: index, created_ts_ns, seal: None };
        let (file, origin) = match self.make_file(index) {
            Err(error) => return self.wait_for_space(error).map(|_| None),
            Ok(made) => made,
        };
        let making = Making { file, header, begin, zeroed_bytes: 0, origin };
        let (path, bytes) = (self.shared.directory.path(), self.shared.geometry.padded_bytes() as u64);
        match making.file.allocate(bytes).at("allocate", path, &making.name()) {
            Ok(()) => Ok(Some(making)),
            Err(error) => self.give_up(&making, error).map(|_| None),
        }
    }

    fn make_file(&self, index: u32) -> Result<(Box<dyn File>, Origin), storage::Error> {
        let directory = &*self.shared.directory;
        let path = directory.path();
        let mut origin = Origin::New;
        if self.start.empty.contains(&index) {
            let name = SegmentName::new(index, SegmentNameKind::Hot).to_string();
            let file = directory.open_file(&name, Access::WriteDirect).at("open", path, &name)?;
            if file.attributes().at("stat", path, &name)?.bytes == self.shared.geometry.padded_bytes() as u64 {
                return Ok((file, Origin::TakenOver));
            }
            origin = Origin::Replacing;
        }
        let name = SegmentName::new(index, SegmentNameKind::New).to_string();
        let file = match directory.create_file(&name, Access::WriteDirect) {
            // Left by a try that found no space, or could not be removed then.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                directory.remove_file(&name).at("remove", path, &name)?;
                directory.create_file(&name, Access::WriteDirect)
            }
            other => other,
        };
        Ok((file.at("create", path, &name)?, origin))
    }

    fn write_zeros(&self, making: &mut Making) -> Result<(), storage::Error> {
        let zeroed = making.zeroed_bytes;
        let piece = ZERO_BYTES.min(self.shared.geometry.padded_bytes() - zeroed);
        let written = making.file.write_all_at(&self.zeros[..piece], zeroed as u64);
        written.at("write", self.shared.directory.path(), &making.name())?;
        making.zeroed_bytes = zeroed + piece;
        Ok(())
    }

    /// Header, sync, name.
    fn finish_file(&mut self, making: &Making) -> Result<(), storage::Error> {
        self.header_page[..SEGMENT_HEADER_BYTES].copy_from_slice(&making.header.to_bytes());
        let directory = &*self.shared.directory;
        let (path, name) = (directory.path(), making.name());
        making.file.write_all_at(&self.header_page, 0).at("write", path, &name)?;
        making.file.sync_data().at("sync", path, &name)?;
        let hot = SegmentName::new(making.header.segment_index, SegmentNameKind::Hot).to_string();
        match making.origin {
            Origin::New => directory.rename_new(&name, &hot).at("rename", path, &name)?,
            Origin::Replacing => directory.rename(&name, &hot).at("rename", path, &name)?,
            Origin::TakenOver => {}
        }
        directory.sync().at("sync directory", path, "")
    }

    /// The file is there: makes its slot Live and hands both to the append thread.
    fn hand_on(&mut self, making: Making) -> Result<(), WorkerError> {
        let Making { file, header, begin, .. } = making;
        let free = self.start.free.pop().ok_or(WorkerError::Broken("a prepared segment without a slot"))?;
        self.shared.telemetry.record_since(Timing::OpenNew, begin);
        self.start.next_index = header.segment_index + 1;
        self.start.newest_created_ts_ns = header.created_ts_ns;
        self.start.empty.remove(&header.segment_index);
        self.shared.set_no_space(NO_SPACE_PREPARER, None);
        let geometry = self.shared.geometry;
        let slot = self.shared.slot(free.slot);
        let segment =
            SlotSegment { segment_index: header.segment_index, created_ts_ns: header.created_ts_ns, geometry };
        // Who asks for the appended position may still look at the slot, and has to see that it is not the active one any more.
        Current::before_reuse();
        // SAFETY: the slot came back from the flusher, or was never used: it is Free and the preparer's.
        unsafe {
            slot.zero(free.used_bytes);
            slot.bytes_mut(0, SEGMENT_HEADER_BYTES).copy_from_slice(&header.to_bytes());
            slot.set_live(&segment, 0, 0);
        }
        let prepared = PreparedSegment { file, header, geometry, slot: free.slot };
        // Counted before anyone can take it: no step of a segment's life is counted before the one it follows.
        self.shared.telemetry.count(Count::SegmentsPrepared, 1);
        self.shared.telemetry.record_since(Timing::Prepare, begin);
        self.prepared.push(prepared).map_err(|_| WorkerError::Broken("more prepared segments than slots"))
    }

    /// Takes a file that could not be made away again, and waits for space if that is the cause.
    fn give_up(&self, making: &Making, error: storage::Error) -> Result<usize, WorkerError> {
        if making.origin != Origin::TakenOver {
            // Gives the space back; failing that, the next try finds the file.
            let _ = self.shared.directory.remove_file(&making.name());
        }
        self.wait_for_space(error)
    }

    /// Nothing but a sync is final: everything else is tried again, when there is space, or a descriptor.
    fn wait_for_space(&self, error: storage::Error) -> Result<usize, WorkerError> {
        if !may_retry_write(&error) || error.operation.starts_with("sync") {
            return Err(error.into());
        }
        self.shared.set_no_space(NO_SPACE_PREPARER, Some(&error.to_string()));
        Ok(0)
    }
}

impl Worker for SegmentPreparer {
    type Error = WorkerError;
    const NAME: &'static str = "walrec-prepare";

    fn do_work(&mut self) -> Result<usize, WorkerError> {
        if self.shared.is_poisoned() { Ok(0) } else { self.step() }
    }

    fn on_close(&mut self) -> Result<(), WorkerError> {
        // A half-made file is no part of the log. One that cannot be removed, the next open removes.
        if let Some(making) = self.making.take().filter(|making| making.origin != Origin::TakenOver) {
            let _ = self.shared.directory.remove_file(&making.name());
        }
        Ok(())
    }

    fn idle_sleeps(&self) -> (Duration, Duration) {
        let sleep = match self.making {
            Some(_) => YIELD_SLEEP,
            None if self.start.free.is_empty() => IDLE_SLEEP,
            None => RETRY_SLEEP,
        };
        (sleep, sleep)
    }
}
