//! SegmentWriter: the append thread's side, and the only code on the hot path.
//!
//! One event is eight 64-bit loads and stores (a vector load of a just-written event would wait for store forwarding), a
//! prefetch ahead, and one release store of the published count. One branch leads to everything rare: the next block,
//! rotation, poison, shutdown, a forked child, a wrong id.
//!
//! Crash story: the stores go to shared memory in program order. A process killed between the event and the count leaves an
//! event that was not yet appended; after the count it is. Nothing is half recorded.
#![allow(unsafe_code, reason = "the hot path works on mapped memory through raw pointers")]

mod rotation;
mod waiting;

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::AppendError;
use super::lifecycle::{ActiveSegment, PreparedSegment, SlotNumber};
use super::shared::{Cursor, Shared, this_thread};
use crate::format::{BLOCK_BYTES, BLOCK_HEADER_BYTES, EVENT_BYTES, EVENTS_PER_BLOCK, Event, Geometry};
use crate::sync::{fetch_for_write, publish};
use crate::telemetry::{Consumer, Producer, Sampler};
#[cfg(feature = "telemetry")]
use crate::telemetry::{Moment, Timing};

/// How far ahead of the cursor lines are fetched for writing, in events: 2 KiB.
const PREFETCH_EVENTS: u32 = 32;
const WORDS: usize = EVENT_BYTES / 8;

/// Where the append thread stands.
#[derive(Clone, Copy, Debug)]
struct Place {
    slot: SlotNumber,
    /// Address after the block's last event.
    block_end: usize,
    /// Address after the segment's last block.
    segment_end: usize,
}

/// The append thread's handle. All methods belong to one thread at a time.
#[derive(Debug)]
pub struct SegmentWriter {
    cursor: NonNull<Cursor>,
    shared: Arc<Shared>,
    prepared: Consumer<PreparedSegment>,
    activated: Producer<ActiveSegment>,
    place: Option<Place>,
    sampler: Sampler,
}

// SAFETY: the cursor lies in a page owned by `shared`, which travels along; its plain fields are touched by this object alone.
unsafe impl Send for SegmentWriter {}

impl SegmentWriter {
    pub(super) fn new(
        shared: Arc<Shared>,
        prepared: Consumer<PreparedSegment>,
        activated: Producer<ActiveSegment>,
    ) -> Self {
        let sampler = Sampler::new(shared.config.append_sample);
        Self { cursor: shared.cursor(), shared, prepared, activated, place: None, sampler }
    }

    /// Appends `event`; its guard is ignored. The event is copied.
    ///
    /// No system call, allocation, lock or page fault. It waits only under [`FullPolicy::Wait`](super::config::FullPolicy::Wait), spinning.
    ///
    /// # Errors
    /// [`AppendError`]; nothing was recorded, and the same or another event may be tried again.
    #[inline]
    pub fn append(&mut self, event: &Event) -> Result<(), AppendError> {
        if self.try_append(event) { Ok(()) } else { self.append_slowly(event) }
    }

    /// The hot path of [`Self::append`] alone; `false` when the event has to go the slow way, and nothing happened.
    #[inline(always)]
    pub(crate) fn try_append(&mut self, event: &Event) -> bool {
        let Some(next) = self.next() else { return false };
        // SAFETY: as in `next`.
        if event.event_id <= unsafe { (*self.cursor.as_ptr()).last_event_id.load(Ordering::Relaxed) } {
            return false;
        }
        // SAFETY: `next` is below `end`, so it is a slot of the active segment above the published count.
        unsafe { self.store(next.as_ptr(), event) };
        true
    }

    /// The place of the next event, when it is below `end`.
    #[inline(always)]
    fn next(&self) -> Option<NonNull<Event>> {
        let cursor = self.cursor.as_ptr();
        // SAFETY: the cursor page lives as long as `shared`; `next` is this thread's, `end` an atomic.
        // Relaxed: a dropped `end` is a hint that the slow path looks into; no data hangs on it.
        let (next, end) = unsafe { ((*cursor).next, (*cursor).end.load(Ordering::Relaxed)) };
        // SAFETY: `end` is raised only above a place in a slot.
        (next.addr() < end).then(|| unsafe { NonNull::new_unchecked(next) })
    }

    /// Stores the event at `next` and publishes it.
    ///
    /// # Safety
    /// `next` is the cursor's, in the active slot above its published count.
    #[inline(always)]
    unsafe fn store(&mut self, next: *mut Event, event: &Event) {
        let cursor = self.cursor;
        let event_id = event.event_id;
        let from: *const u64 = (&raw const *event).cast();
        let to: *mut u64 = next.cast();
        // SAFETY: both sides are 64 bytes, aligned to 8. Volatile keeps scalar loads: the event was most likely written a moment
        // ago in smaller pieces. Atomic keeps the stores scalar too, and is for those who look at an id while the slot is used again.
        unsafe {
            prefetch_ahead_of(next);
            AtomicU64::from_ptr(to).store(event_id, Ordering::Relaxed);
            for word in 1..WORDS - 1 {
                AtomicU64::from_ptr(to.add(word)).store(from.add(word).read_volatile(), Ordering::Relaxed);
            }
            // The half beside the guard, which becomes 0.
            let last_word = u64::from(from.add(WORDS - 1).cast::<u32>().read_volatile());
            AtomicU64::from_ptr(to.add(WORDS - 1)).store(last_word, Ordering::Relaxed);
            publish_at(cursor, next, event_id);
        }
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn append_slowly(&mut self, event: &Event) -> Result<(), AppendError> {
        self.check_state().map_err(|error| self.refuse(error))?;
        self.drop_reservation();
        self.check_id(event.event_id)?;
        let next = self.make_room()?;
        #[cfg(feature = "telemetry")]
        let begin = self.begin_sample(next);
        // SAFETY: `make_room` gives a slot of the active segment.
        unsafe { self.store(next, event) };
        #[cfg(feature = "telemetry")]
        self.end_sample(begin, event.event_id);
        Ok(())
    }

    /// Appends a prefix of `events`; how many, and why it ended early.
    #[inline]
    pub fn append_batch(&mut self, events: &[Event]) -> (usize, Result<(), AppendError>) {
        for (done, event) in events.iter().enumerate() {
            if let Err(error) = self.append(event) {
                return (done, Err(error));
            }
        }
        (events.len(), Ok(()))
    }

    /// The next slot, to be filled in place (bytes 0..60; its content is unspecified) and committed. A second call gives the same
    /// slot; an append drops the reservation.
    ///
    /// # Errors
    /// [`AppendError`]; there is no reservation.
    #[inline]
    pub fn reserve(&mut self) -> Result<NonNull<Event>, AppendError> {
        if let Some(place) = self.try_reserve() { Ok(place) } else { self.reserve_slowly() }
    }

    /// The hot path of [`Self::reserve`] alone; `None` when it has to go the slow way, and nothing happened.
    #[inline(always)]
    pub(crate) fn try_reserve(&mut self) -> Option<NonNull<Event>> {
        self.next().map(|next| self.reserve_at(next))
    }

    #[inline(always)]
    fn reserve_at(&mut self, next: NonNull<Event>) -> NonNull<Event> {
        prefetch_ahead_of(next.as_ptr());
        // SAFETY: as in `next`.
        unsafe { (*self.cursor.as_ptr()).reserved = next.as_ptr() };
        next
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn reserve_slowly(&mut self) -> Result<NonNull<Event>, AppendError> {
        self.check_state()?;
        let next = self.make_room()?;
        #[cfg(feature = "telemetry")]
        if let Some(place) = self.place.filter(|_| self.sampler.is_due(next.addr())) {
            // It is the commit that is timed: it meets the stop again. `make_room` has let stores pass to the block's end.
            self.shared.move_end(place.block_end, next.addr());
        }
        NonNull::new(next).map(|next| self.reserve_at(next)).ok_or(AppendError::Invalid)
    }

    /// Appends the event that was built in the reserved slot.
    ///
    /// # Errors
    /// [`AppendError::NoReservation`], [`AppendError::Invalid`] for id 0, [`AppendError::Order`]; the reservation is dropped.
    #[inline]
    pub fn commit(&mut self) -> Result<(), AppendError> {
        if self.try_commit() { Ok(()) } else { self.commit_slowly() }
    }

    /// The hot path of [`Self::commit`] alone; `false` when it has to go the slow way, and nothing happened.
    #[inline(always)]
    pub(crate) fn try_commit(&mut self) -> bool {
        // No `next`: shut down or poisoned since the reservation, or the event is timed.
        // SAFETY: as in `next`; `next` is the reserved slot, below `end`.
        unsafe {
            let reserved = (*self.cursor.as_ptr()).reserved;
            self.next().is_some_and(|next| next.as_ptr() == reserved && self.commit_at(reserved))
        }
    }

    /// Publishes the event that was built at `next`, when its id is good. The reservation ends because `next` moves on.
    ///
    /// # Safety
    /// As [`Self::store`].
    #[inline(always)]
    unsafe fn commit_at(&mut self, next: *mut Event) -> bool {
        // SAFETY: the reserved slot is the cursor's, in the active segment, 64 bytes aligned to 8.
        unsafe {
            let cursor = self.cursor;
            let event_id = (&raw const (*next).event_id).read_volatile();
            if event_id <= (*cursor.as_ptr()).last_event_id.load(Ordering::Relaxed) {
                return false;
            }
            // The guard alone: a load of the word around it would wait for the bytes that were just filled in.
            (&raw mut (*next).guard).write_volatile(0);
            publish_at(cursor, next, event_id);
        }
        true
    }

    /// A refused call drops the reservation too; not one by another thread, whose it is not.
    #[cold]
    fn refuse(&mut self, error: AppendError) -> AppendError {
        if !matches!(error, AppendError::Forked | AppendError::Thread) {
            self.drop_reservation();
        }
        error
    }

    fn drop_reservation(&mut self) {
        // SAFETY: as in `next`.
        unsafe { (*self.cursor.as_ptr()).reserved = std::ptr::null_mut() };
    }

    /// Where the open reservation is. One that an append has passed over is not open any more.
    fn reservation(&self) -> Option<NonNull<Event>> {
        // SAFETY: as in `next`.
        let (next, reserved) = unsafe { ((*self.cursor.as_ptr()).next, (*self.cursor.as_ptr()).reserved) };
        NonNull::new(reserved).filter(|_| reserved == next)
    }

    /// The commit of an event that is timed, and every refusal.
    #[cold]
    #[inline(never)]
    pub(crate) fn commit_slowly(&mut self) -> Result<(), AppendError> {
        self.check_state().map_err(|error| self.refuse(error))?;
        let reserved = self.reservation();
        self.drop_reservation();
        let next = reserved.ok_or(AppendError::NoReservation)?.as_ptr();
        // SAFETY: the reserved slot starts with the id.
        let event_id = unsafe { (&raw const (*next).event_id).read_volatile() };
        self.check_id(event_id)?;
        self.raise_end()?;
        #[cfg(feature = "telemetry")]
        let begin = self.begin_sample(next);
        // SAFETY: the reservation is the cursor's place, which has room: `reserve` made it. The id was just found good.
        unsafe { self.commit_at(next) };
        #[cfg(feature = "telemetry")]
        self.end_sample(begin, event_id);
        Ok(())
    }

    /// Drops the reservation, also of a recorder that is shut down or poisoned.
    ///
    /// # Errors
    /// [`AppendError::Forked`] and [`AppendError::Thread`], with nothing dropped; without a reservation what else refuses a commit.
    pub fn abort(&mut self) -> Result<(), AppendError> {
        if self.shared.is_forked() {
            return Err(AppendError::Forked);
        }
        self.check_thread()?;
        let reserved = self.reservation();
        self.drop_reservation();
        if reserved.is_some() { Ok(()) } else { self.check_usable().and(Err(AppendError::NoReservation)) }
    }

    /// Closes the active segment early; one without events stays.
    ///
    /// # Errors
    /// [`AppendError`]; the active segment stays as it was.
    pub fn rotate(&mut self) -> Result<(), AppendError> {
        self.check_state()?;
        self.drop_reservation();
        let Some(place) = self.place else { return Ok(()) };
        if self.shared.slot(place.slot).published().load(Ordering::Relaxed) == 0 {
            return Ok(());
        }
        self.rotate_segment()?;
        self.raise_end().map(drop)
    }

    /// Makes the calling thread the append thread, once the old one has stopped.
    ///
    /// # Errors
    /// [`AppendError::Forked`], [`AppendError::Closed`], [`AppendError::Failed`].
    pub fn attach_thread(&mut self) -> Result<(), AppendError> {
        self.check_usable()?;
        self.drop_reservation();
        self.shared.append_thread.store(this_thread(), Ordering::Release);
        Ok(())
    }

    fn check_usable(&self) -> Result<(), AppendError> {
        if self.shared.is_forked() {
            return Err(AppendError::Forked);
        }
        if self.shared.is_closing() {
            return Err(AppendError::Closed);
        }
        if self.shared.is_poisoned() { Err(AppendError::Failed) } else { Ok(()) }
    }

    /// Everything but room: fork, shutdown, poison, thread. The first call binds the thread.
    #[inline]
    fn check_state(&self) -> Result<(), AppendError> {
        self.check_usable()?;
        self.check_thread()
    }

    #[inline]
    fn check_thread(&self) -> Result<(), AppendError> {
        let this = this_thread();
        let word = &self.shared.append_thread;
        let bound = match word.load(Ordering::Acquire) {
            0 => {
                word.compare_exchange(0, this, Ordering::AcqRel, Ordering::Acquire).map_or_else(|bound| bound, |_| this)
            }
            bound => bound,
        };
        if bound == this { Ok(()) } else { Err(AppendError::Thread) }
    }

    fn check_id(&self, event_id: u64) -> Result<(), AppendError> {
        if event_id == 0 {
            return Err(AppendError::Invalid);
        }
        if event_id <= self.shared.last_event_id() { Err(AppendError::Order) } else { Ok(()) }
    }

    /// The next slot, in this block, the next block or the next segment.
    fn make_room(&mut self) -> Result<*mut Event, AppendError> {
        let Some(place) = self.place else {
            self.rotate_segment()?;
            return self.raise_end();
        };
        // SAFETY: as in `next`.
        let next = unsafe { (*self.cursor.as_ptr()).next };
        if next.addr() < place.block_end {
            return self.raise_end();
        }
        if place.block_end < place.segment_end {
            self.enter_next_block(place, next);
        } else {
            self.rotate_segment()?;
        }
        self.raise_end()
    }

    /// Puts the cursor from the end of a block, which `next` is, on the next one of the same segment. By addresses alone: what the slot
    /// says of itself lies in lines that this thread has not seen for a while.
    fn enter_next_block(&mut self, place: Place, next: *mut Event) {
        let first = next.wrapping_byte_add(BLOCK_HEADER_BYTES);
        self.sampler.enter(next.addr(), first.addr());
        let place = Place { block_end: place.block_end + BLOCK_BYTES, ..place };
        self.place = Some(place);
        // SAFETY: as in `next`; `published` stays.
        unsafe {
            (*self.cursor.as_ptr()).next = first;
            (*self.cursor.as_ptr()).reserved = std::ptr::null_mut();
        }
        if place.block_end == place.segment_end {
            self.fetch_for_rotation(place);
        }
    }

    /// Allows stores up to the block's end again, unless someone has dropped it for a reason.
    #[inline]
    fn raise_end(&mut self) -> Result<*mut Event, AppendError> {
        let Some(place) = self.place else { return Err(AppendError::Backpressure) };
        // SAFETY: as in `next`.
        let next = unsafe { (*self.cursor.as_ptr()).next };
        if self.shared.raise_end(self.sampler.stop(next.addr(), place.block_end)) {
            return Ok(next);
        }
        self.check_usable().and(Err(AppendError::Failed))
    }

    /// Puts the cursor on event slot `event_slot` of the segment in `slot`.
    fn enter(&mut self, slot: SlotNumber, event_slot: u32) {
        let image = self.shared.slot(slot).image().as_ptr();
        let block = event_slot / EVENTS_PER_BLOCK;
        let block_end = image.addr() + Geometry::block_offset(block + 1);
        // SAFETY: as in `next`.
        let left = unsafe { (*self.cursor.as_ptr()).next }.addr();
        self.sampler.enter(left, image.addr() + Geometry::event_offset(event_slot));
        let segment_end = image.addr() + Geometry::block_offset(self.shared.geometry.num_blocks());
        self.place = Some(Place { slot, block_end, segment_end });
        // SAFETY: as in `next`; the slot is inside the image.
        unsafe {
            let cursor = self.cursor.as_ptr();
            (*cursor).next = image.add(Geometry::event_offset(event_slot)).cast();
            (*cursor).published = &raw const *self.shared.slot(slot).published();
            (*cursor).reserved = std::ptr::null_mut();
        }
    }

    /// Goes on in a segment that holds `event_slots` events already.
    pub(super) fn resume(&mut self, segment: ActiveSegment, event_slots: u32) -> Result<(), AppendError> {
        let slot = segment.segment.slot;
        self.shared.telemetry.set_events_before(slot.0, || 0_u64.wrapping_sub(event_slots.into()));
        self.shared.set_active(segment.segment.header.segment_index, slot);
        self.activate(segment)?;
        // `end` stays 0: the first append goes the slow way and binds its thread. A full block is left there too.
        let block = event_slots.div_ceil(EVENTS_PER_BLOCK).saturating_sub(1);
        self.enter(slot, block * EVENTS_PER_BLOCK);
        let image = self.shared.slot(slot).image().as_ptr();
        // SAFETY: as in `enter`; at most one byte after the block's last event, where `end` stops it.
        unsafe {
            let next = image.add(Geometry::end_offset(event_slots).max(Geometry::event_offset(0)));
            (*self.cursor.as_ptr()).next = next.cast();
        }
        Ok(())
    }

    /// The moment at which the append at `next` begins, when it is to be timed. The next one is chosen, and stores go on to there.
    #[cfg(feature = "telemetry")]
    #[inline]
    fn begin_sample(&mut self, next: *mut Event) -> Option<Moment> {
        let place = self.place.filter(|_| self.sampler.is_due(next.addr()))?;
        self.sampler.pass(next.addr());
        // `raise_end` has just let stores pass to the block's end.
        self.shared.move_end(place.block_end, self.sampler.stop(next.addr(), place.block_end));
        Some(Moment::exact())
    }

    #[cfg(feature = "telemetry")]
    #[inline]
    fn end_sample(&self, begin: Option<Moment>, event_id: u64) {
        let Some(begin) = begin else { return };
        let end = Moment::exact();
        self.shared.telemetry.record_ns(Timing::Append, begin.ns_until(end));
        self.shared.telemetry.post_appended(event_id, end);
    }
}

/// Makes the event at `next` part of the log. By the cursor's address, not the writer's field: no store between can have changed it.
///
/// # Safety
/// As [`SegmentWriter::store`], and the event is there.
#[inline(always)]
unsafe fn publish_at(cursor: NonNull<Cursor>, next: *mut Event, event_id: u64) {
    let cursor = cursor.as_ptr();
    // SAFETY: the cursor's plain fields are the append thread's; `published` points into the active slot.
    unsafe {
        publish(&*(*cursor).published, &(*cursor).last_event_id, event_id);
        (*cursor).next = next.wrapping_add(1);
    }
}

/// Fetches the line that is written some events later.
#[inline(always)]
fn prefetch_ahead_of(next: *const Event) {
    fetch_for_write(next.wrapping_add(PREFETCH_EVENTS as usize));
}
