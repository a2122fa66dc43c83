//! What the append thread, the workers and the other callers of one recorder share.
//!
//! Invariants:
//! 1. `durable` is raised by the flusher alone, only after the sync that covers it succeeded, and only grows.
//! 2. Poison is for good: the word is set once, the first cause is kept, and nothing is durable after it.
//! 3. The cursor's `end` is the stop of a [`Gate`]: dropped to 0 by anyone, raised by the append thread's slow path alone, and only
//!    while the recorder is neither poisoned nor closing.
#![allow(unsafe_code, reason = "atomics inside the mapped cursor page, pthread_self")]

use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use crossbeam_utils::CachePadded;

use super::config::{Config, LogLevel};
use super::error::Error;
use super::lifecycle::SlotNumber;
use super::meta_store::MetaStore;
use super::notices::Notices;
use crate::format::{Event, Geometry, MetaPosition};
use crate::storage::{CursorPage, Directory, Doorbell, Slot, Stage, System};
use crate::sync::{Bell, Current, Gate, Watermark, published};
use crate::telemetry::{Count, Telemetry};

/// The layout of [`Cursor`], and the rules by which it is used: a new number with every change. `include/walrec_inline.h` stores into
/// it from the engine's own code, and says the same layout a second time.
pub(crate) const CURSOR_LAYOUT: u32 = 1;

/// The append thread's place, on a page that reads as zero in a forked child.
#[repr(C, align(64))]
pub(crate) struct Cursor {
    /// Where the next event goes. Append thread only.
    pub(crate) next: *mut Event,
    /// Stores stop here; dropped to 0 by whoever wants the append thread's attention.
    pub(crate) end: AtomicUsize,
    /// The active slot's published count. Append thread only.
    pub(crate) published: *const AtomicU64,
    /// The last reservation, null for none; open while it equals `next`. Append thread only.
    pub(crate) reserved: *mut Event,
    /// 1 in the process that made the page, 0 in a forked child.
    pub(crate) alive: AtomicU32,
    _line: [u8; 28],
    /// Id of the last appended event, on a line that others may poll. Append thread stores (release).
    pub(crate) last_event_id: AtomicU64,
    /// Two lines on, so that fetching the one beside it does not pull the append thread's.
    _lines: [u64; 15],
    /// Id of the last durable event, for those who poll it by address. The flusher stores (release).
    durable_event_id: AtomicU64,
}

/// The preparer found no space.
pub(crate) const NO_SPACE_PREPARER: u32 = 1;
/// The flusher found no space.
pub(crate) const NO_SPACE_FLUSHER: u32 = 2;
/// The maintainer found no space to seal a segment.
pub(crate) const NO_SPACE_SEALING: u32 = 8;
/// The maintainer found no space to freeze or to retire one.
pub(crate) const NO_SPACE_MAINTAINER: u32 = 4;

#[derive(Debug, Default)]
pub(crate) struct Bells {
    pub(crate) prepare: Arc<Bell>,
    pub(crate) flush: Arc<Bell>,
    pub(crate) maintain: Arc<Bell>,
    pub(crate) meta: Arc<Bell>,
}

/// The middle of a recorder.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) system: Arc<dyn System>,
    pub(crate) directory: Arc<dyn Directory>,
    pub(crate) config: Config,
    pub(crate) geometry: Geometry,
    pub(crate) stage: Stage,
    pub(crate) bells: Bells,
    pub(crate) meta: MetaStore,
    pub(crate) telemetry: Telemetry,
    page: CursorPage,
    durable: Watermark,
    notices: Notices,
    /// Who waits for events that were not appended yet.
    waiting_ahead: AtomicU32,
    /// The active segment and its slot.
    active: Current,
    /// The append thread looks at it in each block: on a line that is not stored to.
    gate: CachePadded<Gate>,
    /// The first error, for good; read without a lock.
    cause: OnceLock<String>,
    /// Held while the durable position moves, and while the recorder is poisoned.
    moving: Mutex<()>,
    /// The flusher writes or syncs: other writing can wait. A hint.
    flushing: CachePadded<AtomicBool>,
    /// Which workers are waiting for space.
    pub(crate) no_space: AtomicU32,
    /// What was put off last.
    put_off: Mutex<String>,
    /// Nothing that holds this event or a later one is deleted; 0 for none.
    pub(crate) retention_floor: AtomicU64,
    /// From this index on `.wal` files count against the one below. The maintainer stores both.
    oldest_hot: AtomicU32,
    most_hot: AtomicU32,
    /// `pthread_self` of the append thread, 0 until it first calls.
    pub(crate) append_thread: CachePadded<AtomicUsize>,
}

// SAFETY: the raw pointers are inside the cursor page, which belongs to this object; the fields that are not atomics are
// touched by the append thread alone (see `Cursor`).
unsafe impl Send for Cursor {}

/// What a recorder is made of.
pub(crate) struct Parts {
    pub(crate) system: Arc<dyn System>,
    pub(crate) directory: Arc<dyn Directory>,
    pub(crate) config: Config,
    pub(crate) geometry: Geometry,
    pub(crate) stage: Stage,
    pub(crate) durable: MetaPosition,
    /// What `wal_meta.dat` says now.
    pub(crate) meta_file: MetaPosition,
    pub(crate) telemetry: Telemetry,
}

impl Shared {
    pub(crate) fn new(parts: Parts) -> Result<Self, Error> {
        let page = CursorPage::new().map_err(|error| Error::NoMemory(format!("cursor page: {error}")))?;
        let retention_floor = AtomicU64::new(parts.config.retention_floor);
        let shared = Self {
            system: parts.system,
            directory: parts.directory,
            config: parts.config,
            geometry: parts.geometry,
            stage: parts.stage,
            bells: Bells::default(),
            meta: MetaStore::of_file(parts.meta_file),
            telemetry: parts.telemetry,
            page,
            durable: Watermark::new(parts.durable.last_event_id),
            notices: Notices::default(),
            waiting_ahead: AtomicU32::new(0),
            active: Current::default(),
            gate: CachePadded::default(),
            cause: OnceLock::new(),
            moving: Mutex::default(),
            flushing: CachePadded::default(),
            no_space: AtomicU32::new(0),
            put_off: Mutex::default(),
            retention_floor,
            oldest_hot: AtomicU32::new(0),
            most_hot: AtomicU32::new(u32::MAX),
            append_thread: CachePadded::default(),
        };
        shared.meta.update(parts.durable);
        shared.cursor_atomics().2.store(parts.durable.last_event_id, Ordering::Release);
        shared.durable_mirror().store(parts.durable.last_event_id, Ordering::Release);
        shared.cursor_atomics().1.store(1, Ordering::Release);
        Ok(shared)
    }

    pub(crate) fn cursor(&self) -> NonNull<Cursor> {
        const { assert!(size_of::<Cursor>() <= crate::format::PAGE_BYTES) };
        // SAFETY: the page is mapped for as long as `self` lives, page-aligned, zeroed, and zero bytes are a valid Cursor.
        unsafe { NonNull::new_unchecked(self.page.as_ptr().cast()) }
    }

    /// `end`, `alive`, `last_event_id`: the words that other threads touch.
    fn cursor_atomics(&self) -> (&AtomicUsize, &AtomicU32, &AtomicU64) {
        let cursor = self.cursor().as_ptr();
        // SAFETY: the page lives as long as `self`; only these atomic fields are borrowed, never the whole structure.
        unsafe { (&(*cursor).end, &(*cursor).alive, &(*cursor).last_event_id) }
    }

    /// The appended id, and 128 bytes on the durable one: what a caller may poll by address.
    pub(crate) fn watermarks(&self) -> *const AtomicU64 {
        &raw const *self.cursor_atomics().2
    }

    fn durable_mirror(&self) -> &AtomicU64 {
        // SAFETY: as in `cursor_atomics`.
        unsafe { &(*self.cursor().as_ptr()).durable_event_id }
    }

    pub(crate) fn slot(&self, number: SlotNumber) -> &Slot {
        &self.stage.slots()[number.0 as usize]
    }

    /// Whether this process was forked from the recorder's.
    pub(crate) fn is_forked(&self) -> bool {
        self.cursor_atomics().1.load(Ordering::Relaxed) == 0
    }

    /// Id of the last appended event.
    pub(crate) fn last_event_id(&self) -> u64 {
        // Acquire: partner of the append thread's release; the event and its count are published.
        self.cursor_atomics().2.load(Ordering::Acquire)
    }

    /// The events in an active or written `slot` that may become durable: none with an id above the last one that is told.
    pub(crate) fn published(&self, slot: &Slot) -> u64 {
        let capacity = self.geometry.capacity();
        let id_at = |place| match u32::try_from(place) {
            Ok(place) if place < capacity => slot.event_id(place),
            _ => 0,
        };
        published(slot.published(), self.cursor_atomics().2, id_at)
    }

    /// Id of the last durable event.
    pub(crate) fn durable_event_id(&self) -> u64 {
        self.durable.get()
    }

    /// The flusher's word that everything up to `position` is on stable storage; `false` when the recorder is poisoned: what was durable then
    /// stays so for good, also when another worker failed while the flusher's sync was under way.
    /// `events` are the ones that became so.
    pub(crate) fn set_durable(&self, slot: SlotNumber, position: MetaPosition, events: u32) -> bool {
        // Held while the position moves: whoever has poisoned has seen the last of it.
        let moving = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
        if self.cause.get().is_some() {
            return false;
        }
        // Counted first: whoever sees them durable finds them counted.
        self.telemetry.count(Count::EventsDurable, events.into());
        self.meta.update(position);
        self.slot(slot).durable_event_id().store(position.last_event_id, Ordering::Release);
        self.durable.raise(position.last_event_id);
        self.durable_mirror().store(position.last_event_id, Ordering::Release);
        self.telemetry.take_durable(position.last_event_id);
        drop(moving);
        self.durable.wake();
        self.notices.ring(position.last_event_id);
        true
    }

    /// The flusher's word that the disk is its own for now, or not any more.
    pub(crate) fn set_flushing(&self, flushing: bool) {
        self.flushing.store(flushing, Ordering::Relaxed);
    }

    /// Whether the flusher is at work on the disk.
    pub(crate) fn is_flushing(&self) -> bool {
        self.flushing.load(Ordering::Relaxed)
    }

    /// Waits until `done`, or `until`; `false` when the time was up.
    pub(crate) fn wait_durable(&self, until: Option<Instant>, done: impl Fn() -> bool) -> bool {
        self.durable.wait(until, done)
    }

    /// Rings `bell` once, when `event_id` is durable or cannot become so any more.
    pub(crate) fn notify_durable(&self, event_id: u64, bell: Doorbell) {
        self.notices.add(event_id, bell);
        // Whoever raises the position, poisons or closes rings after that: what came before the bell was added is seen here.
        let ended = self.is_poisoned() || self.is_closing();
        self.notices.ring(if ended { u64::MAX } else { self.durable_event_id() });
    }

    /// Asks the flusher for everything up to `event_id`, which is appended, now.
    pub(crate) fn want_durable(&self, event_id: u64) {
        self.durable.want(event_id);
        self.bells.flush.ring();
    }

    /// Whether someone waits for more than is durable.
    pub(crate) fn is_sync_wanted(&self) -> bool {
        self.durable.is_wanted() || self.waiting_ahead.load(Ordering::Acquire) > 0
    }

    /// Says, while the result lives, that someone waits for events that were not appended yet.
    pub(crate) fn wait_ahead(&self) -> WaitingAhead<'_> {
        // Release: partner of the acquire above; the bell that is rung after this wakes the flusher to see it.
        self.waiting_ahead.fetch_add(1, Ordering::Release);
        WaitingAhead(&self.waiting_ahead)
    }

    /// Events appended by this recorder; the active slot's count is among them, so that nothing is counted twice.
    pub(crate) fn events_appended(&self) -> u64 {
        let events = self.active.read(|_, slot| {
            let count = self.slot(SlotNumber(slot)).published().load(Ordering::Acquire);
            self.telemetry.events_before(slot).wrapping_add(count)
        });
        events.map_or(0, |(_, events)| events)
    }

    /// Publishes the active segment, for those who ask for the appended position.
    pub(crate) fn set_active(&self, segment_index: u32, slot: SlotNumber) {
        self.active.set(segment_index, slot.0);
    }

    /// Fetches what [`Self::set_active`] stores to.
    pub(crate) fn fetch_active(&self) {
        self.active.fetch();
    }

    /// The active segment and its slot.
    pub(crate) fn active(&self) -> Option<(u32, SlotNumber)> {
        self.active.get().map(|(segment_index, slot)| (segment_index, SlotNumber(slot)))
    }

    /// The appended position: the slot's count, and the id of the event it covers, of one and the same segment.
    pub(crate) fn appended_position(&self) -> MetaPosition {
        // A slot is used again only after another segment has become active.
        let position = self.active.read(|_, slot| {
            let slot = self.slot(SlotNumber(slot));
            let count = u32::try_from(slot.published().load(Ordering::Acquire)).unwrap_or(0);
            match count {
                0 => (0, slot.previous_last_event_id().load(Ordering::Acquire)),
                count => (count, slot.event_id((count - 1).min(self.geometry.capacity() - 1))),
            }
        });
        let Some((segment_index, (count, last_event_id))) = position else { return self.meta.position() };
        let offset = u32::try_from(Geometry::end_offset(count)).unwrap_or(u32::MAX);
        MetaPosition { segment_index, offset, last_event_id }
    }

    /// The maintainer's word on which `.wal` files count, and how many may stand.
    pub(crate) fn set_hot_span(&self, oldest: u32, most: u32) {
        // Release: partner of the acquire below; a number that lags behind only lets the preparer wait, or go on, a little longer.
        self.oldest_hot.store(oldest, Ordering::Release);
        self.most_hot.store(most, Ordering::Release);
    }

    /// How many `.wal` files may stand.
    pub(crate) fn most_hot_files(&self) -> u32 {
        self.most_hot.load(Ordering::Acquire)
    }

    /// Whether segment `index` may be made: beyond that, segments are written faster than they are frozen, and the engine has to wait.
    pub(crate) fn has_room_for(&self, index: u32) -> bool {
        index.saturating_sub(self.oldest_hot.load(Ordering::Acquire)) < self.most_hot_files()
    }

    /// Poisons the recorder for good; only the first cause counts.
    pub(crate) fn poison(&self, cause: String) {
        let moving = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
        if self.cause.set(cause.clone()).is_err() {
            return;
        }
        drop(moving);
        self.gate.poison(self.cursor_atomics().0);
        for slot in self.stage.slots().iter() {
            slot.poison().store(1, Ordering::Release);
        }
        self.release_waiting();
        self.config.log.log(LogLevel::Error, &format!("poisoned: {cause}"));
    }

    /// Whether it is poisoned.
    pub(crate) fn is_poisoned(&self) -> bool {
        self.gate.is_poisoned()
    }

    /// The error that poisoned it.
    pub(crate) fn failure(&self) -> Error {
        Error::Failed(self.cause().into())
    }

    /// Its text.
    pub(crate) fn cause(&self) -> &str {
        self.cause.get().map_or("cause unknown", String::as_str)
    }

    /// Refuses appends from now on; `false` when that was done before.
    pub(crate) fn begin_closing(&self) -> bool {
        self.gate.close(self.cursor_atomics().0)
    }

    /// The append thread's: lets it store up to address `to`; `false` when appends are refused.
    pub(crate) fn raise_end(&self, to: usize) -> bool {
        self.gate.raise(self.cursor_atomics().0, to)
    }

    /// The append thread's: moves the end that it has raised to `from`, unless it was dropped.
    #[cfg(feature = "telemetry")]
    pub(crate) fn move_end(&self, from: usize, to: usize) {
        Gate::move_stop(self.cursor_atomics().0, from, to);
    }

    /// Whether appends are refused because of a shutdown.
    pub(crate) fn is_closing(&self) -> bool {
        self.gate.is_closed()
    }

    /// Ends the waits of everyone who still waits.
    pub(crate) fn release_waiting(&self) {
        self.durable.wake();
        self.notices.ring(u64::MAX);
    }

    /// The last thing for which there was no space.
    pub(crate) fn no_space_cause(&self) -> String {
        self.put_off.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes that a worker found no space, once for each time it runs out, or that it found some again.
    pub(crate) fn set_no_space(&self, worker: u32, what: Option<&str>) {
        match what {
            Some(what) => {
                what.clone_into(&mut self.put_off.lock().unwrap_or_else(PoisonError::into_inner));
                if self.no_space.fetch_or(worker, Ordering::AcqRel) & worker == 0 {
                    self.config
                        .log
                        .log(LogLevel::Warning, &format!("no space: {what}; trying again until there is some"));
                }
            }
            None => {
                if self.no_space.load(Ordering::Acquire) & worker != 0 {
                    self.no_space.fetch_and(!worker, Ordering::AcqRel);
                    self.config.log.log(LogLevel::Info, "there is space again");
                }
            }
        }
    }
}

/// A wait for events that were not appended yet.
pub(crate) struct WaitingAhead<'a>(&'a AtomicU32);

impl Drop for WaitingAhead<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

/// The calling thread, by the C library's name for it: no system call, unique among living threads, never 0.
pub(super) fn this_thread() -> usize {
    // SAFETY: the call has no conditions.
    let thread: usize = unsafe { libc::pthread_self() }.try_into().unwrap_or(1);
    thread
}

// Layout 1.
const _: () = {
    use std::mem::offset_of;
    assert!(offset_of!(Cursor, next) == 0 && size_of::<*mut Event>() == 8);
    assert!(offset_of!(Cursor, end) == 8 && size_of::<AtomicUsize>() == 8);
    assert!(offset_of!(Cursor, published) == 16);
    assert!(offset_of!(Cursor, reserved) == 24);
    assert!(offset_of!(Cursor, last_event_id) == 64);
    // walrec_watermarks_t.
    assert!(offset_of!(Cursor, durable_event_id) == 64 + 128 && size_of::<Cursor>() == 256);
    assert!(CURSOR_LAYOUT == 1);
};
