//! Things published one by one: a count that covers them, and beside it the id of the last one, for those who want no more.
//!
//! One thread publishes: the thing first, then the count, then the id. Ids grow. The two are not one word, so a thread that loads both
//! may see the count a step ahead of the id; [`published`] takes that step back, so that nobody who acts on it is ever ahead of what
//! the id tells.

use std::sync::atomic::Ordering;

use super::primitives::AtomicU64;

/// The publisher's: one more, with `id`. What it is has been stored before.
#[inline(always)]
pub fn publish(count: &AtomicU64, last_id: &AtomicU64, id: u64) {
    // Release: partner of the acquire loads of whoever reads what is published; the thing itself comes first.
    count.store(count.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
    // Release: partner of the acquire of whoever polls the id.
    last_id.store(id, Ordering::Release);
}

/// How many are published, of ids not above the last one told. `id_at` gives the id of what lies at a place below the count.
pub fn published(count: &AtomicU64, last_id: &AtomicU64, id_at: impl Fn(u64) -> u64) -> u64 {
    // Acquire: partner of the release in `publish`.
    let count = count.load(Ordering::Acquire);
    match count.checked_sub(1) {
        Some(last) if id_at(last) > last_id.load(Ordering::Acquire) => last,
        _ => count,
    }
}

#[cfg(loom)]
mod models {
    use super::*;
    use crate::sync::modelled::{HandedOver, Weakened, fails, holds};
    use crate::sync::primitives::Arc;

    const IDS: [u64; 2] = [10, 20];

    struct Log {
        count: AtomicU64,
        last_id: AtomicU64,
        durable: AtomicU64,
        bodies: [HandedOver<u64>; 2],
        ids: [AtomicU64; 2],
    }

    impl Log {
        fn new() -> Arc<Self> {
            Arc::new(Self {
                count: AtomicU64::default(),
                last_id: AtomicU64::default(),
                durable: AtomicU64::default(),
                bodies: [HandedOver::new(0), HandedOver::new(0)],
                ids: Default::default(),
            })
        }

        fn append(&self) {
            for (place, id) in IDS.into_iter().enumerate() {
                self.bodies[place].set(id);
                self.ids[place].store(id, Ordering::Relaxed);
                publish(&self.count, &self.last_id, id);
            }
        }

        /// As the flusher: reads what is published and calls it durable.
        fn flush(&self, published: impl Fn(&Self) -> u64) {
            let count = published(self);
            for place in 0..count as usize {
                assert_eq!(self.bodies[place].get(), IDS[place], "model: published before it was there");
            }
            if let Some(last) = count.checked_sub(1) {
                self.durable.store(IDS[last as usize], Ordering::Release);
            }
        }

        fn look(&self) {
            let durable = self.durable.load(Ordering::Acquire);
            let last = self.last_id.load(Ordering::Acquire);
            assert!(durable <= last, "model: durable {durable}, appended {last}");
        }
    }

    fn run(count: impl Fn(&Log) -> u64 + Copy + Send + Sync + 'static) {
        let log = Log::new();
        let (flusher, reader) = (Arc::clone(&log), Arc::clone(&log));
        let flushing = loom::thread::spawn(move || flusher.flush(count));
        let reading = loom::thread::spawn(move || reader.look());
        log.append();
        flushing.join().unwrap();
        reading.join().unwrap();
    }

    fn real(log: &Log) -> u64 {
        published(&log.count, &log.last_id, |place| log.ids[place as usize].load(Ordering::Relaxed))
    }

    #[test]
    fn durable_is_never_above_appended() {
        holds("published count and last id", || run(real));
        fails("published count and last id", Weakened::Stores, || run(real));
        fails("published count and last id", Weakened::Loads, || run(real));
        fails("published count alone", Weakened::Nothing, || run(|log| log.count.load(Ordering::Acquire)));
    }
}
