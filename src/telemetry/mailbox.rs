//! A mailbox for one number and the time that belongs to it, from the append thread to the flusher.
//!
//! One at a time: while it is full, what is posted is dropped.

use std::sync::atomic::Ordering;

use crate::sync::primitives::AtomicU64;

/// An appended event whose way to the disk is timed.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    /// 0: empty, the append thread's. Else the flusher's.
    event_id: AtomicU64,
    moment: AtomicU64,
}

impl Mailbox {
    /// The append thread's.
    #[inline]
    pub(super) fn post(&self, event_id: u64, moment: u64) {
        // Acquire: partner of the release in `take`; the moment there has been read.
        if self.event_id.load(Ordering::Acquire) == 0 {
            self.moment.store(moment, Ordering::Relaxed);
            // Release: partner of the acquire in `take`.
            self.event_id.store(event_id, Ordering::Release);
        }
    }

    /// The flusher's: the moment of the event in it, when that is one up to `event_id`.
    pub(super) fn take(&self, event_id: u64) -> Option<u64> {
        // Acquire: partner of the release in `post`; the moment belongs to this event.
        let posted = self.event_id.load(Ordering::Acquire);
        if posted == 0 || posted > event_id {
            return None;
        }
        let moment = self.moment.load(Ordering::Relaxed);
        // Release: partner of the acquire in `post`.
        self.event_id.store(0, Ordering::Release);
        Some(moment)
    }
}

#[cfg(loom)]
mod models {
    use super::*;
    use crate::sync::modelled::{Weakened, fails, holds};
    use crate::sync::primitives::Arc;

    /// Event n was appended at moment 100 n.
    fn run() {
        let mailbox = Arc::new(Mailbox::default());
        let other = Arc::clone(&mailbox);
        let flushing = loom::thread::spawn(move || {
            for durable in 1..=3 {
                if let Some(moment) = other.take(durable) {
                    assert!((100..=100 * durable).contains(&moment), "model: durable {durable}, appended at {moment}");
                }
            }
        });
        for event_id in 1..=3 {
            mailbox.post(event_id, 100 * event_id);
        }
        flushing.join().unwrap();
    }

    #[test]
    fn the_moment_belongs_to_the_event() {
        holds("mailbox", run);
        fails("mailbox", Weakened::Stores, run);
        fails("mailbox", Weakened::Loads, run);
    }
}
