//! A ring that tells how long things stand in it, and when it is full.

use super::cells::Telemetry;
use super::clock::Moment;
use super::table::{Count, Timing};
use crate::sync;

/// The end that puts values in.
#[derive(Debug)]
pub struct Producer<T> {
    ring: sync::Producer<(Moment, T)>,
    telemetry: Telemetry,
}

/// The end that takes values out.
#[derive(Debug)]
pub struct Consumer<T> {
    ring: sync::Consumer<(Moment, T)>,
    telemetry: Telemetry,
    timing: Timing,
}

/// A [`sync::spsc_ring`] that is timed as `timing`.
#[must_use]
pub fn timed_ring<T: Send>(capacity: usize, telemetry: &Telemetry, timing: Timing) -> (Producer<T>, Consumer<T>) {
    let (producer, consumer) = sync::spsc_ring(capacity);
    let producer = Producer { ring: producer, telemetry: telemetry.clone() };
    (producer, Consumer { ring: consumer, telemetry: telemetry.clone(), timing })
}

impl<T> Producer<T> {
    /// Puts `value` in.
    ///
    /// # Errors
    /// The value itself, when the ring is full.
    pub fn push(&mut self, value: T) -> Result<(), T> {
        self.ring.push((Moment::now(), value)).map_err(|(_, value)| {
            self.telemetry.count(Count::RingFull, 1);
            value
        })
    }

    /// Fetches what the next `push` stores to.
    pub fn fetch_next(&self) {
        self.ring.fetch_next();
    }

    /// Values in the ring that nobody has taken yet; may shrink at any time.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ring.len()
    }

    /// Whether the ring was empty a moment ago.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }
}

impl<T> Consumer<T> {
    /// Takes the oldest value out.
    pub fn pop(&mut self) -> Option<T> {
        let (since, value) = self.ring.pop()?;
        self.telemetry.record_since(self.timing, since);
        Some(value)
    }

    /// The value that the next `pop` takes; fetches what it stores to.
    pub fn fetch_next(&mut self) -> Option<&T> {
        let (since, value) = self.ring.fetch_next()?;
        self.telemetry.fetch_time(self.timing, since.elapsed_ns());
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_what_is_taken_and_counts_what_does_not_fit() {
        let telemetry = Telemetry::default();
        let (mut producer, mut consumer) = timed_ring(1, &telemetry, Timing::RingFreed);
        let seen = || {
            let snapshot = telemetry.snapshot();
            (snapshot.timing(Timing::RingFreed).count(), snapshot.count(Count::RingFull))
        };
        assert_eq!((producer.push('a'), seen()), (Ok(()), (0, 0)));
        assert_eq!((producer.push('b'), seen()), (Err('b'), (0, 1)));
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert_eq!((consumer.pop(), seen()), (Some('a'), (1, 1)));
        assert_eq!((consumer.pop(), seen()), (None, (1, 1)));
        assert!(telemetry.snapshot().timing(Timing::RingFreed).max() >= 1_900_000);
    }
}
