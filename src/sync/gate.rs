//! A gate: one thread walks up to a stop without looking at anything else, and any thread may shut the gate in front of it.
//!
//! The stop is an address that the walker compares with; where it lies is its owner's business. Shutting the gate drops it to 0.
//! Only the walker raises it again, and only if the gate is open. Invariants:
//! 1. Once the gate is shut and a raise that was under way is over, the stop is 0 for good.
//! 2. A gate that is shut stays shut.
//!
//! A raise changes the stop and then looks at the gate; shutting stores the word and then drops the stop. Both change it by
//! read-modify-writes, and so does everything else: either the drop comes later, or the raise has met it and sees the word. The
//! walker's own loads of the stop are relaxed: it may walk a little further.

use std::sync::atomic::Ordering;

use super::primitives::{AtomicBool, AtomicUsize};

/// Whether stores may go on, and why not.
#[derive(Debug, Default)]
pub struct Gate {
    poisoned: AtomicBool,
    closed: AtomicBool,
}

impl Gate {
    /// Shuts it for a fault.
    pub fn poison(&self, stop: &AtomicUsize) {
        // Release: partner of the acquire in `is_poisoned`; the cause is there.
        self.poisoned.store(true, Ordering::Release);
        Self::drop_stop(stop);
    }

    /// Shuts it for the end; `false` when that was done before.
    pub fn close(&self, stop: &AtomicUsize) -> bool {
        let first = !self.closed.swap(true, Ordering::AcqRel);
        Self::drop_stop(stop);
        first
    }

    fn drop_stop(stop: &AtomicUsize) {
        // Release: partner of the acquire in `raise`; the word is stored.
        stop.swap(0, Ordering::AcqRel);
    }

    /// The walker's: lets it go up to `to`; `false` when the gate is shut.
    pub fn raise(&self, stop: &AtomicUsize, to: usize) -> bool {
        // Acquire: partner of the release in `drop_stop`; a drop that this undoes has its word seen below.
        stop.swap(to, Ordering::AcqRel);
        let open = !self.is_poisoned() && !self.is_closed();
        if !open {
            stop.swap(0, Ordering::AcqRel);
        }
        open
    }

    /// The walker's: moves the stop that it has raised, but for one that was dropped since.
    pub fn move_stop(stop: &AtomicUsize, from: usize, to: usize) {
        // Relaxed: it takes the place of what this thread stored itself.
        let _ = stop.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Whether it was shut for a fault.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    /// Whether it was shut for the end.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

#[cfg(loom)]
mod models {
    use super::*;
    use crate::sync::modelled::{Weakened, fails, holds};
    use crate::sync::primitives::Arc;

    /// The walker raises and moves its stop while others shut the gate.
    fn walk(shut: impl Fn(&Gate, &AtomicUsize) + Copy + Send + Sync + 'static) {
        let parts = Arc::new((Gate::default(), AtomicUsize::new(0)));
        let other = Arc::clone(&parts);
        let shutting = loom::thread::spawn(move || shut(&other.0, &other.1));
        let (gate, stop) = &*parts;
        for _ in 0..2 {
            if gate.raise(stop, 20) {
                Gate::move_stop(stop, 20, 10);
            }
        }
        shutting.join().unwrap();
        assert_eq!(stop.load(Ordering::Relaxed), 0, "model: stores go on behind a shut gate");
        assert!(!gate.raise(stop, 30));
        assert_eq!(stop.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn no_stop_survives_the_shutting() {
        holds("gate, poisoned", || walk(Gate::poison));
        holds("gate, closed", || walk(|gate, stop| assert!(gate.close(stop))));
        fails("gate, poisoned", Weakened::Stores, || walk(Gate::poison));
        fails("gate, closed", Weakened::Stores, || walk(|gate, stop| assert!(gate.close(stop))));
        fails("gate, poisoned, the word stored after the drop", Weakened::Nothing, || {
            walk(|gate, stop| {
                Gate::drop_stop(stop);
                gate.poisoned.store(true, Ordering::Release);
            });
        });
    }

    #[test]
    fn a_move_that_overwrites_is_found() {
        fails("gate, stop moved whatever it is", Weakened::Nothing, || {
            let parts = Arc::new((Gate::default(), AtomicUsize::new(0)));
            let other = Arc::clone(&parts);
            let shutting = loom::thread::spawn(move || other.0.poison(&other.1));
            if parts.0.raise(&parts.1, 20) {
                parts.1.swap(10, Ordering::AcqRel);
            }
            shutting.join().unwrap();
            assert_eq!(parts.1.load(Ordering::Relaxed), 0, "model: the drop is lost");
        });
    }

    #[test]
    fn closed_once() {
        holds("gate, two closers", || {
            let parts = Arc::new((Gate::default(), AtomicUsize::new(9)));
            let other = Arc::clone(&parts);
            let second = loom::thread::spawn(move || other.0.close(&other.1));
            let first = parts.0.close(&parts.1);
            assert_ne!(first, second.join().unwrap());
        });
    }
}
