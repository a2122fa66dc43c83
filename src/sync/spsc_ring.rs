//! A bounded ring with one producer and one consumer.
//!
//! Full policy: `push` gives the value back. No allocation after creation, no lock, one release store and at most one
//! acquire load a call. Each end keeps its own copy of the other's position, so that the shared lines are read only when the
//! ring looks full or empty.
//!
//! Crash story: the ring lives in ordinary memory and dies with the process; nothing durable depends on it.
#![allow(unsafe_code, reason = "the slots are shared cells, handed over by the two positions")]

use std::mem::MaybeUninit;
use std::sync::atomic::Ordering;

use crossbeam_utils::CachePadded;

use super::prefetch::{fetch_all_for_write, fetch_for_write};
use super::primitives::{Arc, AtomicUsize, SharedCell};

struct Shared<T> {
    slots: Box<[SharedCell<MaybeUninit<T>>]>,
    /// Values taken so far; stored by the consumer (release), loaded by the producer (acquire).
    taken: CachePadded<AtomicUsize>,
    /// Values put so far; stored by the producer (release), loaded by the consumer (acquire).
    put: CachePadded<AtomicUsize>,
}

// SAFETY: a slot belongs to the producer until `put` passes it and to the consumer until `taken` passes it; both are
// stored with release and loaded with acquire, so a value is wholly written before it is read and read before its slot
// is written again. Values cross threads, hence `T: Send`.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    fn slot(&self, position: usize) -> &SharedCell<MaybeUninit<T>> {
        &self.slots[position % self.slots.len()]
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        for position in self.taken.load(Ordering::Relaxed)..self.put.load(Ordering::Relaxed) {
            // SAFETY: both ends are gone; slots between the positions hold values that nobody took.
            self.slot(position).with_mut(|slot| unsafe { (*slot).assume_init_drop() });
        }
    }
}

/// The end that puts values in.
pub struct Producer<T> {
    shared: Arc<Shared<T>>,
    put: usize,
    taken_seen: usize,
}

/// The end that takes values out.
pub struct Consumer<T> {
    shared: Arc<Shared<T>>,
    taken: usize,
    put_seen: usize,
}

/// A ring for `capacity` values (at least 1).
#[must_use]
pub fn spsc_ring<T: Send>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    let slots = (0..capacity.max(1)).map(|_| SharedCell::new(MaybeUninit::uninit())).collect();
    let shared = Arc::new(Shared { slots, taken: CachePadded::default(), put: CachePadded::default() });
    let producer = Producer { shared: Arc::clone(&shared), put: 0, taken_seen: 0 };
    (producer, Consumer { shared, taken: 0, put_seen: 0 })
}

impl<T> Producer<T> {
    /// Puts `value` in.
    ///
    /// # Errors
    /// The value itself, when the ring is full.
    pub fn push(&mut self, value: T) -> Result<(), T> {
        let capacity = self.shared.slots.len();
        if self.put - self.taken_seen == capacity {
            // Acquire: partner of the consumer's release in `pop`; the slot's old value has been read.
            self.taken_seen = self.shared.taken.load(Ordering::Acquire);
            if self.put - self.taken_seen == capacity {
                return Err(value);
            }
        }
        // SAFETY: the slot lies outside taken..put, so it is the producer's.
        self.shared.slot(self.put).with_mut(|slot| unsafe { (*slot).write(value) });
        self.put += 1;
        // Release: partner of the consumer's acquire in `pop`; the value is in the slot.
        self.shared.put.store(self.put, Ordering::Release);
        Ok(())
    }

    /// Fetches what the next `push` stores to.
    pub fn fetch_next(&self) {
        self.shared.slot(self.put).with(fetch_all_for_write);
        fetch_for_write(&raw const self.shared.put);
    }

    /// Values in the ring that nobody has taken yet; may shrink at any time.
    #[must_use]
    pub fn len(&self) -> usize {
        self.put - self.shared.taken.load(Ordering::Acquire)
    }

    /// Whether the ring was empty a moment ago.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> Consumer<T> {
    /// Takes the oldest value out.
    pub fn pop(&mut self) -> Option<T> {
        if self.taken == self.put_seen {
            // Acquire: partner of the producer's release in `push`.
            self.put_seen = self.shared.put.load(Ordering::Acquire);
            if self.taken == self.put_seen {
                return None;
            }
        }
        // SAFETY: the slot lies inside taken..put, so it holds a value and is the consumer's.
        let value = self.shared.slot(self.taken).with(|slot| unsafe { (*slot).assume_init_read() });
        self.taken += 1;
        // Release: partner of the producer's acquire in `push`; the value has been read.
        self.shared.taken.store(self.taken, Ordering::Release);
        Some(value)
    }

    /// The value that the next `pop` takes; fetches what it stores to.
    pub fn fetch_next(&mut self) -> Option<&T> {
        fetch_for_write(&raw const self.shared.taken);
        if self.taken == self.put_seen {
            // As in `pop`.
            self.put_seen = self.shared.put.load(Ordering::Acquire);
            if self.taken == self.put_seen {
                return None;
            }
        }
        // SAFETY: as in `pop`; nobody takes it while this end is borrowed.
        Some(self.shared.slot(self.taken).with(|slot| unsafe { (*slot).assume_init_ref() }))
    }
}

impl<T> std::fmt::Debug for Producer<T> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Producer(put {})", self.put)
    }
}

impl<T> std::fmt::Debug for Consumer<T> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Consumer(taken {})", self.taken)
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn gives_back_what_does_not_fit_and_keeps_the_order() {
        let (mut producer, mut consumer) = spsc_ring(2);
        assert_eq!((producer.push(1), producer.push(2), producer.push(3)), (Ok(()), Ok(()), Err(3)));
        assert_eq!(consumer.pop(), Some(1));
        assert_eq!((producer.push(3), consumer.fetch_next()), (Ok(()), Some(&2)));
        assert_eq!((consumer.pop(), consumer.pop(), consumer.pop()), (Some(2), Some(3), None));
        assert_eq!(consumer.fetch_next(), None);
    }

    #[test]
    fn drops_what_nobody_took_once() {
        let value = Arc::new(());
        let (mut producer, mut consumer) = spsc_ring(4);
        for _ in 0..3 {
            producer.push(Arc::clone(&value)).unwrap();
        }
        drop(consumer.pop());
        drop((producer, consumer));
        assert_eq!(Arc::strong_count(&value), 1);
    }

    #[test]
    fn two_threads_see_every_value_once_in_order() {
        const VALUES: u64 = if cfg!(miri) { 500 } else { 200_000 };
        let (mut producer, mut consumer) = spsc_ring(7);
        let taker = std::thread::spawn(move || {
            for expected in 0..VALUES {
                let value = loop {
                    if let Some(value) = consumer.pop() {
                        break value;
                    }
                    std::thread::yield_now();
                };
                assert_eq!(value, Box::new(expected));
            }
        });
        for value in 0..VALUES {
            let mut value = Box::new(value);
            while let Err(back) = producer.push(value) {
                value = back;
                std::thread::yield_now();
            }
        }
        taker.join().unwrap();
    }
}

#[cfg(loom)]
mod models {
    use super::*;
    use crate::sync::modelled::{Weakened, fails, holds};

    /// Three values through a ring of two places: each place is used again, or given up with a value in it.
    fn pass_on(taken: usize) {
        let (mut producer, mut consumer) = spsc_ring(2);
        let taker = loom::thread::spawn(move || {
            for expected in 0..taken {
                let value = loop {
                    match consumer.pop() {
                        Some(value) => break value,
                        None => loom::thread::yield_now(),
                    }
                };
                assert_eq!(value, Box::new(expected));
            }
        });
        let mut refused = 0;
        for value in 0..3 {
            let mut value = Box::new(value);
            while let Err(back) = producer.push(value) {
                if taken < 3 {
                    refused += 1;
                    break;
                }
                value = back;
                loom::thread::yield_now();
            }
        }
        assert!(producer.len() <= 2 && refused <= 1);
        taker.join().unwrap();
    }

    #[test]
    fn every_value_once_in_order() {
        holds("ring", || pass_on(3));
        holds("ring, given up with values in it", || pass_on(1));
        fails("ring", Weakened::Loads, || pass_on(3));
        fails("ring", Weakened::Stores, || pass_on(3));
    }
}
