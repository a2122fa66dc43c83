//! SegmentMaintainer: seals written segments, and keeps the log within its limits.
//!
//! Every event is durable when a segment comes here; what is left is its header: seal, sync, then the file is cut to its exact
//! size and closed. Sealing comes first; when there is nothing to seal, one segment is frozen or deleted, and it looks again (see
//! `upkeep`). Once a second it looks whether the stage still has its names.
//!
//! Crash story: the header lies in one sector, so a cut leaves it unsealed or sealed, and the blocks below it were synced before.
//! An unsealed one is walked and sealed by the next open. The cut to size needs no sync: both sizes are valid.
//!
//! Serves `docs/FORMAT.md`, "Segment header".

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::upkeep::Upkeep;
use super::{CLOSE_PAUSE, CLOSE_TRIES, WorkerError, may_retry_write};
use crate::format::{PAGE_BYTES, SEGMENT_HEADER_BYTES, SegmentHeader, SegmentName, SegmentNameKind};
use crate::recorder::config::LogLevel;
use crate::recorder::lifecycle::{WrittenSegment, cut_padding};
use crate::recorder::shared::{NO_SPACE_SEALING, Shared};
use crate::storage::{self, PageBuffer, Place};
use crate::sync::Worker;
use crate::telemetry::{Consumer, Count, Moment, Timing};

const LOOK_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct SegmentMaintainer {
    shared: Arc<Shared>,
    written: Consumer<WrittenSegment>,
    /// One that could not be sealed for lack of space.
    waiting: Option<WrittenSegment>,
    upkeep: Upkeep,
    /// The first page of the segment that is being sealed.
    page: PageBuffer,
    last_look: Instant,
    stage_gone: bool,
}

impl SegmentMaintainer {
    /// `found` begins at the oldest `.wal` that was there, and ends at the first segment that this recorder writes to.
    ///
    /// # Errors
    /// No memory.
    pub(crate) fn new(shared: Arc<Shared>, written: Consumer<WrittenSegment>, found: Range<u32>) -> io::Result<Self> {
        let upkeep = Upkeep::new(Arc::clone(&shared), found);
        let page = PageBuffer::zeroed(PAGE_BYTES)?;
        Ok(Self { shared, written, waiting: None, upkeep, page, last_look: Instant::now(), stage_gone: false })
    }

    /// Makes what freezing needs, so that no memory is asked for in the middle of the day.
    pub(crate) fn make_ready(&mut self) -> Result<(), storage::Error> {
        self.upkeep.make_ready()
    }

    fn close_next(&mut self) -> Result<usize, WorkerError> {
        let Some(segment) = self.waiting.take().or_else(|| self.written.pop()) else { return Ok(0) };
        let begin = Moment::now();
        match self.close(&segment) {
            Err(error) if may_retry_write(&error) && error.operation == "write" => {
                self.shared.set_no_space(NO_SPACE_SEALING, Some(&error.to_string()));
                self.waiting = Some(segment);
                Ok(0)
            }
            Err(error) => Err(error.into()),
            Ok(()) => {
                self.shared.set_no_space(NO_SPACE_SEALING, None);
                self.upkeep.closed(segment.header.segment_index, segment.seal.last_event_id);
                self.shared.telemetry.record_since(Timing::Seal, begin);
                self.shared.telemetry.count(Count::SegmentsSealed, 1);
                Ok(1)
            }
        }
    }

    fn close(&mut self, segment: &WrittenSegment) -> Result<(), storage::Error> {
        let name = SegmentName::new(segment.header.segment_index, SegmentNameKind::Hot).to_string();
        let path = self.shared.directory.path();
        let closed_ts_ns = self.shared.system.realtime_ns().max(segment.header.created_ts_ns.saturating_add(1));
        let seal = crate::format::Seal { closed_ts_ns, ..segment.seal };
        let header = SegmentHeader { seal: Some(seal), ..segment.header };
        self.page.copy_from_slice(&segment.first_page);
        self.page[..SEGMENT_HEADER_BYTES].copy_from_slice(&header.to_bytes());
        segment.file.write_all_at(&self.page, 0).at("write", path, &name)?;
        segment.file.sync_data().at("sync", path, &name)?;
        cut_padding(&*segment.file, segment.geometry, path, &name)?;
        segment.file.drop_cache(0..u64::MAX);
        Ok(())
    }

    fn look_after_stage(&mut self) {
        if self.stage_gone || self.last_look.elapsed() < LOOK_INTERVAL {
            return;
        }
        self.last_look = Instant::now();
        if self.shared.stage.slots().iter().any(|slot| !slot.is_linked()) {
            self.stage_gone = true;
            self.shared.telemetry.note_stage_unlinked();
            let path = self.shared.stage.directory().path().display();
            let text = format!(
                "{path}: a slot was removed from outside; until the next open, kill -9 can lose what is not durable"
            );
            self.shared.config.log.log(LogLevel::Error, &text);
        }
    }
}

impl Worker for SegmentMaintainer {
    type Error = WorkerError;
    const NAME: &'static str = "walrec-maint";
    // Freezing computes for tens of milliseconds: on a CPU that they share, the flusher must not wait for its turn.
    const NICE: i32 = 10;

    fn do_work(&mut self) -> Result<usize, WorkerError> {
        if self.shared.is_poisoned() {
            return Ok(0);
        }
        self.look_after_stage();
        let closed = self.close_next()?;
        if closed > 0 {
            // The flusher may be waiting for room in the ring.
            self.shared.bells.flush.ring();
            return Ok(closed);
        }
        self.upkeep.do_one()
    }

    fn on_close(&mut self) -> Result<(), WorkerError> {
        let mut tries = 0;
        while !self.shared.is_poisoned() && (self.close_next()? > 0 || self.waiting.is_some()) {
            if self.waiting.is_none() {
                continue;
            }
            if tries == CLOSE_TRIES {
                let why = self.shared.no_space_cause();
                return Err(WorkerError::NoSpace(format!(
                    "no space to seal the last segment; the next open seals it: {why}"
                )));
            }
            tries += 1;
            std::thread::sleep(CLOSE_PAUSE);
        }
        // What the pool's segments can leave to do: one to freeze and one to delete each. A log that was found with many more keeps
        // them for the next time.
        let most = 2 * self.shared.config.stage_slots + 8;
        for _ in 0..most {
            if self.shared.is_poisoned() || self.upkeep.do_one()? == 0 {
                break;
            }
        }
        Ok(())
    }

    fn idle_sleeps(&self) -> (Duration, Duration) {
        (LOOK_INTERVAL, LOOK_INTERVAL)
    }
}
