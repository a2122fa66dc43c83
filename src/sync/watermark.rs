//! A watermark: a number that only grows, raised by one thread, asked for and waited for by any.
//!
//! Whoever waits has said how far it wants the mark ([`Watermark::want`]) and tells by a closure when its wait is over: the mark is there,
//! or whatever else ends it. A wake-up is not lost: the waiter looks under the lock before it sleeps, and the waker passes through the
//! lock after the change and before it notifies.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crossbeam_utils::CachePadded;

use super::primitives::{AtomicU64, Condvar, Mutex};

/// The mark, and who waits for it.
#[derive(Debug)]
pub struct Watermark {
    mark: CachePadded<AtomicU64>,
    wanted: AtomicU64,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Watermark {
    /// Stands at `mark`, nothing wanted.
    #[must_use]
    pub fn new(mark: u64) -> Self {
        let mark = CachePadded::new(AtomicU64::new(mark));
        Self { mark, wanted: AtomicU64::new(0), lock: Mutex::new(()), changed: Condvar::new() }
    }

    /// Where it stands.
    pub fn get(&self) -> u64 {
        // Acquire: partner of the release in `raise`.
        self.mark.load(Ordering::Acquire)
    }

    /// Moves it up. Who waits is woken by [`Self::wake`], later.
    pub fn raise(&self, mark: u64) {
        // Release: partner of the acquire in `get`; what the mark tells of has been done.
        self.mark.store(mark, Ordering::Release);
    }

    /// Wakes everyone who waits, to look again.
    pub fn wake(&self) {
        // The lock orders the change before this with a waiter between its look and its sleep.
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    /// Waits until `done`, or `until`; `false` when the time was up.
    pub fn wait(&self, until: Option<Instant>, done: impl Fn() -> bool) -> bool {
        let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        while !done() {
            guard = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                Some(left) if left.is_zero() => return false,
                Some(left) => self.changed.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0,
                None => self.changed.wait(guard).unwrap_or_else(PoisonError::into_inner),
            };
        }
        true
    }

    /// Says that it is wanted at `mark` soon. The raiser is woken by its own bell, after this.
    pub fn want(&self, mark: u64) {
        self.wanted.fetch_max(mark, Ordering::AcqRel);
    }

    /// Whether someone wants it higher than it stands.
    pub fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Acquire) > self.get()
    }
}

#[cfg(loom)]
mod models {
    use super::*;
    use crate::sync::gate::Gate;
    use crate::sync::modelled::{HandedOver, Weakened, fails, holds};
    use crate::sync::primitives::{Arc, AtomicUsize};

    struct Parts {
        watermark: Watermark,
        gate: Gate,
        stop: AtomicUsize,
        disk: HandedOver<u64>,
    }

    impl Parts {
        fn new() -> Arc<Self> {
            let (watermark, gate, stop) = (Watermark::new(0), Gate::default(), AtomicUsize::new(9));
            Arc::new(Self { watermark, gate, stop, disk: HandedOver::new(0) })
        }

        /// As a caller of sync; whether the mark was reached.
        fn sync(&self) -> bool {
            let reached = || self.watermark.get() >= 1;
            self.watermark.wait(None, || reached() || self.gate.is_poisoned());
            if reached() {
                assert_eq!(self.disk.get(), 1, "model: the mark is ahead of what it tells of");
            }
            reached()
        }

        fn write(&self) {
            self.disk.set(1);
        }
    }

    fn run(raise: impl Fn(&Parts) + Send + Sync + Copy + 'static, expected: Option<bool>) {
        let parts = Parts::new();
        let waiters = [Arc::clone(&parts), Arc::clone(&parts)];
        let waiting = waiters.map(|parts| loom::thread::spawn(move || parts.sync()));
        raise(&parts);
        for waiter in waiting {
            let reached = waiter.join().unwrap();
            assert!(expected.is_none_or(|expected| expected == reached));
        }
    }

    fn durable(parts: &Parts) {
        parts.write();
        parts.watermark.raise(1);
        parts.watermark.wake();
    }

    fn poisoned(parts: &Parts) {
        parts.gate.poison(&parts.stop);
        parts.watermark.wake();
    }

    #[test]
    fn no_waiter_sleeps_on() {
        holds("watermark raised beside two waiters", || run(durable, Some(true)));
        fails("watermark raised", Weakened::Stores, || run(durable, Some(true)));
        holds("poisoned beside two waiters", || run(poisoned, Some(false)));
        fails("watermark raised, woken without the lock", Weakened::Nothing, || {
            run(
                |parts| {
                    parts.write();
                    parts.watermark.raise(1);
                    parts.watermark.changed.notify_all();
                },
                Some(true),
            );
        });
        fails("watermark raised after the wake", Weakened::Nothing, || {
            run(
                |parts| {
                    parts.write();
                    parts.watermark.wake();
                    parts.watermark.raise(1);
                },
                Some(true),
            );
        });
    }
}
