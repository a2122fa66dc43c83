//! SegmentFlusher: makes events durable.
//!
//! One cycle: sample the published count; guard the new events; finalize the blocks that became full (and the last, partial
//! one, once the segment is written); write the touched pages; sync; only then publish what was sampled as durable.
//! Invariants:
//! 1. Nothing is called durable before the sync that covers it, and nothing at all after a sync failed.
//! 2. No event of segment N+1 is written before N's last block is finalized and synced: the front segment is flushed to its
//!    end before the next one is looked at.
//! 3. A cycle covers at most [`MOST_UNSYNCED_BYTES`] of new bytes, so that no torn write is longer.
//! 4. The file never holds a byte above the sampled count but zeros: pages go out from a private copy. It lies in one huge page where the
//!    system has them: a direct write out of the stage's small pages takes twice as long, which is more than the copy costs.
//!
//! Crash story, power cut within a cycle: any subset of its sectors is on disk. Events below the old watermark keep guards
//! that hold, whatever the rewritten block header says; above it, the accepted prefix ends at the first event that is not
//! there. A killed process leaves the stage, which has everything. A failed sync poisons the recorder: the page cache may look
//! clean while the disk has nothing, so a later sync would prove nothing.
//!
//! Serves `docs/FORMAT.md`, "Block header" and "Event".
#![allow(
    unsafe_code,
    reason = "reads and finalizes the bytes of stage slots that are the flusher's by the stage's rule"
)]

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{CLOSE_PAUSE, CLOSE_TRIES, WorkerError, may_retry_write};
use crate::format::{
    BLOCK_BYTES, BLOCK_HEADER_BYTES, BlockHeader, EVENT_BYTES, EVENTS_PER_BLOCK, FLAG_GUARDS, Geometry, MetaPosition,
    PAGE_BYTES, Seal, is_zero, u64_at,
};
use crate::recorder::lifecycle::{ActiveSegment, Progress, SlotNumber, WrittenSegment};
use crate::recorder::shared::{NO_SPACE_FLUSHER, NO_SPACE_SEALING, Shared};
use crate::segment::MOST_UNSYNCED_BYTES;
use crate::storage::{PageBuffer, Place, Slot};
use crate::sync::Worker;
use crate::telemetry::{Consumer, Count, Moment, Producer, Telemetry, Timing};

/// So much pending is flushed at once, whatever the interval says.
const EAGER_BYTES: usize = 256 << 10;
/// No sleep is longer: the append thread rings no bell, so only a look tells that so much is pending.
const LONGEST_SLEEP: Duration = Duration::from_millis(1);

/// A slot that the preparer may use again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FreedSlot {
    pub(crate) slot: SlotNumber,
    /// Bytes of the image, from its start, that may not be zero.
    pub(crate) used_bytes: usize,
}

/// The rings that the flusher stands between.
#[derive(Debug)]
pub(crate) struct FlusherRings {
    pub(crate) activated: Consumer<ActiveSegment>,
    pub(crate) written: Producer<WrittenSegment>,
    pub(crate) freed: Producer<FreedSlot>,
}

#[derive(Debug)]
pub(crate) struct SegmentFlusher {
    shared: Arc<Shared>,
    rings: FlusherRings,
    front: Option<Front>,
    /// Waiting for room in the maintainer's ring.
    handing_on: Option<WrittenSegment>,
    /// The chain value of the segment before the front one; `None` when the log has none.
    link: Option<u64>,
    buffer: PageBuffer,
    last_cycle: Instant,
}

#[derive(Debug)]
struct Front {
    active: ActiveSegment,
    /// Events below this slot carry their guards in the stage.
    guarded_slots: u32,
    /// What the cycle under way has finalized in the stage, not yet durable.
    staged: Progress,
    /// The partial last block has its header on disk.
    tail_done: bool,
}

impl Worker for SegmentFlusher {
    type Error = WorkerError;
    const NAME: &'static str = "walrec-flush";

    fn do_work(&mut self) -> Result<usize, WorkerError> {
        let eager = self.shared.is_sync_wanted();
        self.round(eager)
    }

    fn on_close(&mut self) -> Result<(), WorkerError> {
        let mut tries = 0;
        while !self.shared.is_poisoned() {
            if self.round(true)? > 0 {
                tries = 0;
                continue;
            }
            if self.is_drained() {
                return Ok(());
            }
            // If no write was put off, only the maintainer's ring can be in the way here.
            self.shared.bells.maintain.ring();
            let no_space = self.shared.no_space.load(Ordering::Acquire);
            if no_space & (NO_SPACE_FLUSHER | NO_SPACE_SEALING) == 0 {
                std::thread::yield_now();
                continue;
            }
            if tries == CLOSE_TRIES {
                let why = self.shared.no_space_cause();
                return Err(WorkerError::NoSpace(format!(
                    "no space to finish the last segments; the stage keeps what is not durable: {why}"
                )));
            }
            tries += 1;
            std::thread::sleep(CLOSE_PAUSE);
        }
        Ok(())
    }

    fn idle_sleeps(&self) -> (Duration, Duration) {
        let interval = Duration::from_micros(self.shared.config.flush_interval_us.max(1).into());
        (short_sleep(interval, self.last_cycle.elapsed()), LONGEST_SLEEP)
    }
}

impl SegmentFlusher {
    /// `link`: the chain value of the segment before the first activated one.
    ///
    /// # Errors
    /// No memory.
    pub(crate) fn new(shared: Arc<Shared>, rings: FlusherRings, link: Option<u64>) -> io::Result<Self> {
        let buffer = PageBuffer::in_huge_pages(MOST_UNSYNCED_BYTES)?;
        Ok(Self { shared, rings, front: None, handing_on: None, link, buffer, last_cycle: Instant::now() })
    }

    /// Whether every segment that it was given has been handed on.
    pub(crate) fn is_drained(&self) -> bool {
        self.front.is_none() && self.handing_on.is_none()
    }

    /// One cycle; 0 when there was nothing to do, or nothing yet.
    pub(crate) fn round(&mut self, eager: bool) -> Result<usize, WorkerError> {
        if self.shared.is_poisoned() {
            return Ok(0);
        }
        if let Some(written) = self.handing_on.take() {
            return Ok(self.hand_on(written));
        }
        let Some(front) = self.front.take().or_else(|| self.take_next()) else { return Ok(0) };
        let (front, done) = self.work_on(front, eager)?;
        self.front = front;
        Ok(done)
    }

    fn hand_on(&mut self, written: WrittenSegment) -> usize {
        self.handing_on = self.rings.written.push(written).err();
        let done = usize::from(self.handing_on.is_none());
        if done > 0 {
            self.shared.bells.maintain.ring();
        }
        done
    }

    fn take_next(&mut self) -> Option<Front> {
        let active = self.rings.activated.pop()?;
        // A reader in another process takes the largest durable id of all slots: this one must not lag behind.
        let slot = self.shared.slot(active.segment.slot);
        slot.durable_event_id().store(self.shared.durable_event_id(), Ordering::Release);
        let progress = active.progress;
        Some(Front { active, guarded_slots: progress.durable_slots, staged: progress, tail_done: false })
    }

    fn work_on(&mut self, mut front: Front, eager: bool) -> Result<(Option<Front>, usize), WorkerError> {
        let slot = self.shared.slot(front.active.segment.slot);
        // Acquire: partner of the append thread's release. The flag first: a count read after it is final.
        let written = slot.written().load(Ordering::Acquire) != 0;
        let published = u32::try_from(self.shared.published(slot)).unwrap_or(u32::MAX);
        if published > self.shared.geometry.capacity() {
            return Err(WorkerError::Broken("the published count is beyond the segment"));
        }
        let durable = front.active.progress.durable_slots;
        if published > durable {
            if !self.is_due(durable, published, eager || written) {
                return Ok((Some(front), 0));
            }
            let target = published.min(furthest_target(durable));
            let done = self.cycle(&mut front, target, written && target == published)?;
            return Ok((Some(front), done));
        }
        if !written {
            return Ok((Some(front), 0));
        }
        if published == 0 {
            // Shut down before its first event: the file is removed with the other empty ones.
            return Ok((None, 1));
        }
        if !front.tail_done && published % EVENTS_PER_BLOCK != 0 {
            let done = self.cycle(&mut front, published, true)?;
            return Ok((Some(front), done));
        }
        let written = self.finish(front);
        Ok((None, self.hand_on(written).max(1)))
    }

    fn is_due(&self, durable: u32, published: u32, eager: bool) -> bool {
        let interval = Duration::from_micros(self.shared.config.flush_interval_us.into());
        eager
            || (published - durable) as usize * EVENT_BYTES >= EAGER_BYTES
            || interval.is_zero()
            || self.last_cycle.elapsed() >= interval
    }

    /// Makes everything below `target` durable; with `tail`, the partial last block is finalized too. 0 when the disk was full.
    fn cycle(&mut self, front: &mut Front, target: u32, tail: bool) -> Result<usize, WorkerError> {
        self.last_cycle = Instant::now();
        let shared = Arc::clone(&self.shared);
        let slot = shared.slot(front.active.segment.slot);
        let pages = finalize(slot, front, target, tail, self.link, &mut self.buffer, &shared.telemetry);
        shared.set_flushing(true);
        let outcome = self.write_and_sync(front, pages);
        shared.set_flushing(false);
        if !outcome? {
            return Ok(0);
        }
        front.tail_done = tail;
        front.staged.durable_slots = target;
        front.staged.last_event_id = slot.event_id(target - 1);
        let events = target - front.active.progress.durable_slots;
        front.active.progress = front.staged;
        let moved = shared.set_durable(front.active.segment.slot, position(&front.active), events);
        Ok(usize::from(moved))
    }

    /// Makes what the buffer has of these bytes of the file durable; `false` when the disk was full.
    fn write_and_sync(&self, front: &Front, pages: Range<usize>) -> Result<bool, WorkerError> {
        let shared = &self.shared;
        let (file, name) = (&*front.active.segment.file, front.active.segment_name());
        shared.telemetry.count(Count::BytesWritten, pages.len() as u64);
        let begun = Moment::now();
        let written = file.write_all_at(&self.buffer[..pages.len()], pages.start as u64);
        match written.at("write", shared.directory.path(), &name) {
            Err(error) if may_retry_write(&error) => {
                shared.set_no_space(NO_SPACE_FLUSHER, Some(&error.to_string()));
                shared.telemetry.count(Count::WriteRetries, 1);
                // The headers made so far stay in the stage; the next try writes the same range again.
                return Ok(false);
            }
            other => other?,
        }
        shared.telemetry.record_since(Timing::Write, begun);
        let begun = Moment::now();
        file.sync_data().at("sync", shared.directory.path(), &name)?;
        shared.telemetry.record_since(Timing::Sync, begun);
        shared.set_no_space(NO_SPACE_FLUSHER, None);
        Ok(true)
    }

    /// Everything is durable and finalized: the slot goes back to the preparer, the file on to the maintainer.
    fn finish(&mut self, front: Front) -> WrittenSegment {
        let ActiveSegment { segment, progress } = front.active;
        let slot = self.shared.slot(segment.slot);
        let used_bytes = Geometry::end_offset(progress.durable_slots);
        let mut first_page = [0; PAGE_BYTES];
        let held = used_bytes.min(PAGE_BYTES);
        // SAFETY: below the published count, and the append thread has left the slot.
        first_page[..held].copy_from_slice(unsafe { slot.bytes(0, held) });
        let seal = Seal {
            block_count: progress.durable_slots.div_ceil(EVENTS_PER_BLOCK),
            event_count: progress.durable_slots,
            first_event_id: progress.first_event_id,
            last_event_id: progress.last_event_id,
            closed_ts_ns: 0,
            last_chained_checksum: progress.chain,
        };
        self.link = Some(progress.chain);
        self.shared.telemetry.count(Count::SegmentsWritten, 1);
        self.shared.meta.want_flush();
        self.shared.bells.meta.ring();
        // A reader in another process takes the largest durable id of all Live slots: the others must say it before this one falls
        // silent, and which of them is Live next is the append thread's to decide.
        let durable = self.shared.durable_event_id();
        for other in self.shared.stage.slots().iter() {
            other.durable_event_id().fetch_max(durable, Ordering::Release);
        }
        slot.set_free();
        // A dropped reservation may have left its bytes in the slot above the last event.
        let used_bytes = (used_bytes + BLOCK_HEADER_BYTES + EVENT_BYTES).min(slot.image_bytes());
        // The ring has room for every slot there is.
        if self.rings.freed.push(FreedSlot { slot: segment.slot, used_bytes }).is_ok() {
            self.shared.bells.prepare.ring();
        }
        WrittenSegment { file: segment.file, header: segment.header, geometry: segment.geometry, seal, first_page }
    }
}

/// Guards the events below `target`, finalizes the blocks that are full by then, and with `tail` the last partial one, and copies what the
/// file does not have yet to `buffer`: whole pages, with zeros above the last event. Gives their place in the file. Block by block, so that
/// each is fetched into the cache once.
fn finalize(
    slot: &Slot,
    front: &mut Front,
    target: u32,
    tail: bool,
    link: Option<u64>,
    buffer: &mut [u8],
    telemetry: &Telemetry,
) -> Range<usize> {
    let header = front.active.segment.header;
    let guards = header.guards();
    let durable = front.active.progress;
    // Blocks that an earlier try has finalized but not written are made again: the same bytes.
    front.staged = durable;
    let blocks = durable.finalized_blocks..target.div_ceil(EVENTS_PER_BLOCK);
    let first_event = Geometry::event_offset(durable.durable_slots.min(target.saturating_sub(1)));
    let is_open = !tail && target / EVENTS_PER_BLOCK == blocks.start;
    let first_byte = if is_open { first_event } else { first_event.min(Geometry::block_offset(blocks.start)) };
    let (begin, end) = (first_byte - first_byte % PAGE_BYTES, Geometry::end_offset(target));
    let mut copied = begin;
    for block in blocks {
        let first = block * EVENTS_PER_BLOCK;
        let count = (target - first).min(EVENTS_PER_BLOCK);
        let unguarded = front.guarded_slots.max(first)..first + count;
        if !unguarded.is_empty() {
            let (from, to) = (Geometry::event_offset(unguarded.start), Geometry::event_offset(unguarded.end - 1));
            // SAFETY: published events of one block; the bytes of their guards are the flusher's.
            let events = unsafe { slot.bytes_mut(from, to + EVENT_BYTES) };
            guards.put_guards(unguarded.start, events.as_chunks_mut().0);
        }
        if count == EVENTS_PER_BLOCK || tail {
            let link = if block == 0 { link } else { None };
            let begun = Moment::now();
            front.staged.chain = finalize_block(slot, block, count, front.staged.chain, link).chained_checksum;
            telemetry.record_since(Timing::Finalize, begun);
        }
        if count == EVENTS_PER_BLOCK {
            front.staged.finalized_blocks = block + 1;
        }
        let block_end = Geometry::end_offset(first + count);
        // SAFETY: below the published count only this thread writes.
        let bytes = unsafe { slot.bytes(copied, block_end) };
        buffer[copied - begin..block_end - begin].copy_from_slice(bytes);
        copied = block_end;
    }
    front.guarded_slots = front.guarded_slots.max(target);
    let pages = begin..end.next_multiple_of(PAGE_BYTES);
    buffer[end - begin..pages.len()].fill(0);
    if durable.first_event_id == 0 {
        front.staged.first_event_id = slot.event_id(0);
    }
    pages
}

fn finalize_block(slot: &Slot, block: u32, count: u32, chain: u64, link: Option<u64>) -> BlockHeader {
    let begin = Geometry::block_offset(block);
    let events_begin = begin + BLOCK_HEADER_BYTES;
    // SAFETY: published events, all guarded; nobody writes them any more.
    let events = unsafe { slot.bytes(events_begin, events_begin + count as usize * EVENT_BYTES) };
    debug_assert!(!is_zero(&events[..8]) && u64_at(events, 0) != 0);
    let header = BlockHeader::finalize(block, events, chain, FLAG_GUARDS, link);
    // SAFETY: a block header in the stage is the flusher's.
    unsafe { slot.bytes_mut(begin, events_begin) }.copy_from_slice(&header.to_bytes());
    header
}

/// To the end of the interval, so long after the last cycle; when that is over, an interval.
fn short_sleep(interval: Duration, since: Duration) -> Duration {
    let left = interval.saturating_sub(since);
    if left.is_zero() { interval } else { left }.min(LONGEST_SLEEP)
}

/// The furthest slot that one cycle from `durable` may reach.
fn furthest_target(durable: u32) -> u32 {
    // Room for the page that the range begins in and the one it ends in, and for the header of each block.
    const BLOCKS: u32 = 252;
    const { assert!((BLOCKS as usize + 1) * BLOCK_BYTES + 4 * PAGE_BYTES <= MOST_UNSYNCED_BYTES) };
    durable.saturating_add(BLOCKS * EVENTS_PER_BLOCK)
}

fn position(active: &ActiveSegment) -> MetaPosition {
    MetaPosition {
        segment_index: active.segment.header.segment_index,
        offset: u32::try_from(Geometry::end_offset(active.progress.durable_slots)).unwrap_or(u32::MAX),
        last_event_id: active.progress.last_event_id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_long_the_interval_it_looks_every_millisecond() {
        let us = Duration::from_micros;
        for interval in [1, 200, 1_000, 1_000_000].map(us) {
            for since in [0, 150, 999_000, 5_000_000].map(us) {
                let sleep = short_sleep(interval, since);
                assert!(!sleep.is_zero() && sleep <= interval.min(LONGEST_SLEEP), "{interval:?}, {since:?}: {sleep:?}");
            }
        }
        assert_eq!(short_sleep(us(200), us(150)), us(50));
    }

    #[test]
    fn one_cycle_stays_within_the_longest_torn_write() {
        for durable in [0, 1, 200, 255, 256, 257, 100_000] {
            let begin = Geometry::block_offset(durable / EVENTS_PER_BLOCK) / PAGE_BYTES * PAGE_BYTES;
            let end = Geometry::end_offset(furthest_target(durable)).next_multiple_of(PAGE_BYTES);
            assert!(end - begin <= MOST_UNSYNCED_BYTES, "from {durable}: {}", end - begin);
        }
    }
}
