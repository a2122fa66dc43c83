//! Which of several places is in use: one word with the place's number and what it is used for, and a way to read words of that place
//! that all belong to the same use.
//!
//! One thread moves on from use to use and never repeats one; a place is taken into use again only after another one became the
//! current one. So a reader that finds the same use before and after has read words of this use: whatever a later use stores is
//! ordered behind a fence ([`Current::before_reuse`]) or a release store after the word had moved.

use std::sync::atomic::Ordering;

use crossbeam_utils::CachePadded;

use super::prefetch::fetch_for_write;
use super::primitives::{AtomicU64, fence};

/// None is in use.
const NONE: u64 = u64::MAX;

/// The place in use.
#[derive(Debug)]
pub struct Current(CachePadded<AtomicU64>);

impl Default for Current {
    fn default() -> Self {
        Self(CachePadded::new(AtomicU64::new(NONE)))
    }
}

impl Current {
    /// From now on it is `place`, for `purpose`. Its words have been stored.
    pub fn set(&self, purpose: u32, place: u32) {
        // Release: partner of the acquire in `get`.
        self.0.store(u64::from(purpose) << 32 | u64::from(place), Ordering::Release);
    }

    /// Purpose and place.
    pub fn get(&self) -> Option<(u32, u32)> {
        // Acquire: partner of the release in `set`.
        let packed = self.0.load(Ordering::Acquire);
        let place = u32::try_from(packed & u64::from(u32::MAX)).unwrap_or(u32::MAX);
        (packed != NONE).then(|| (u32::try_from(packed >> 32).unwrap_or(u32::MAX), place))
    }

    /// Purpose, and what `read` gives for it and the place, all of one use; `None` when none is in use. `read` loads atomics only, and may be called again.
    pub fn read<T>(&self, read: impl Fn(u32, u32) -> T) -> Option<(u32, T)> {
        loop {
            let (purpose, place) = self.get()?;
            let value = read(purpose, place);
            // Partner of `before_reuse` and of the release stores in a place: a value of a later use makes the move to it visible here.
            fence(Ordering::Acquire);
            if self.get() == Some((purpose, place)) {
                return Some((purpose, value));
            }
        }
    }

    /// Fetches what [`Self::set`] stores to.
    pub fn fetch(&self) {
        fetch_for_write(&raw const self.0);
    }

    /// Said by whoever is about to store to a place that was in use, after the current one has moved on.
    pub fn before_reuse() {
        // Release: partner of the fence in `read`.
        fence(Ordering::Release);
    }
}

#[cfg(loom)]
mod models {
    use super::*;
    use crate::sync::modelled::{Weakened, fails, holds};
    use crate::sync::primitives::Arc;
    use crate::sync::published::publish;
    use crate::sync::spsc_ring;

    /// As a slot of the stage: room for one event.
    #[derive(Default)]
    struct Place {
        count: AtomicU64,
        previous: AtomicU64,
        id: AtomicU64,
    }

    #[derive(Default)]
    struct Log {
        current: Current,
        last_id: AtomicU64,
        places: [Place; 2],
    }

    /// As the append thread: use n begins after event n and holds event n + 1.
    fn append(log: &Log, number: u32, place: u32, fenced: bool) {
        let slot = &log.places[place as usize];
        if fenced {
            Current::before_reuse();
        }
        slot.previous.store(number.into(), Ordering::Release);
        log.current.set(number, place);
        let id = u64::from(number) + 1;
        slot.id.store(id, Ordering::Relaxed);
        publish(&slot.count, &log.last_id, id);
    }

    /// As the preparer.
    fn prepare(place: &Place, fenced: bool) {
        if fenced {
            Current::before_reuse();
        }
        place.id.store(0, Ordering::Relaxed);
        place.previous.store(0, Ordering::Relaxed);
        place.count.store(0, Ordering::Relaxed);
    }

    /// As whoever asks for the appended position.
    fn look(log: &Log) -> Option<u64> {
        let position = log.current.read(|_, place| {
            let place = &log.places[place as usize];
            match place.count.load(Ordering::Acquire) {
                0 => (0, place.previous.load(Ordering::Acquire)),
                count => (count, place.id.load(Ordering::Relaxed)),
            }
        });
        let (number, (count, id)) = position?;
        assert_eq!(id, u64::from(number) + count, "model: use {number}, count {count}");
        Some(id)
    }

    /// Three uses of two places; the first place is prepared again by another thread.
    fn three_uses(preparer_fenced: bool, appender_fenced: bool) {
        let log = Arc::new(Log::default());
        let (mut freed, mut to_prepare) = spsc_ring::<u32>(1);
        let (mut prepared, mut ready) = spsc_ring::<u32>(1);
        let (reader, other) = (Arc::clone(&log), Arc::clone(&log));
        append(&log, 0, 0, true);
        let reading = loom::thread::spawn(move || {
            let first = look(&reader);
            assert!(first <= look(&reader), "model: the position goes back");
        });
        let preparing = loom::thread::spawn(move || {
            if let Some(place) = to_prepare.pop() {
                prepare(&other.places[place as usize], preparer_fenced);
                prepared.push(place).unwrap();
            }
        });
        append(&log, 1, 1, appender_fenced);
        freed.push(0).unwrap();
        // When it is not in time, the model ends with the second use.
        if let Some(place) = ready.pop() {
            append(&log, 2, place, appender_fenced);
        }
        preparing.join().unwrap();
        reading.join().unwrap();
    }

    #[test]
    fn the_position_is_never_torn() {
        holds("current place", || three_uses(true, true));
        fails("current place", Weakened::Stores, || three_uses(true, true));
        fails("current place", Weakened::Fences, || three_uses(true, true));
        fails("current place, the preparer without its fence", Weakened::Nothing, || three_uses(false, true));
        fails("current place, the appender without its fence", Weakened::Nothing, || three_uses(true, false));
    }
}
