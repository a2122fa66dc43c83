//! Which append is timed.
//!
//! The append thread's stores stop at an address; this moves the stop from the block's end down to the next event that is to be
//! timed, so that it comes to the rare branch by itself. The distances are drawn anew each time, between half of `append_sample`
//! and one and a half: a fixed one would meet the same slot of a block again and again.

use crate::format::EVENT_BYTES;

/// The append thread's plan.
#[derive(Debug)]
pub struct Sampler {
    /// `u32::MAX`: none is timed.
    every: u32,
    /// Address of the next event that is timed, as if this block had no end.
    at: usize,
    state: u32,
}

impl Sampler {
    /// One append in `every` on average is timed; `u32::MAX` none.
    #[must_use]
    pub fn new(every: u32) -> Self {
        let mut sampler = Self { every: every.max(1), at: usize::MAX, state: 0x9e37_79b9 };
        sampler.place(0);
        sampler
    }

    /// A distance, from 1 on.
    fn draw(&mut self) -> u32 {
        // xorshift; no division.
        self.state ^= self.state << 13;
        self.state ^= self.state >> 17;
        self.state ^= self.state << 5;
        let width = u64::from(self.every) + 1 - u64::from(self.every & 1);
        let above = (u64::from(self.state) * width) >> 32;
        self.every.div_ceil(2).saturating_add(u32::try_from(above).unwrap_or(0))
    }

    #[inline]
    fn place(&mut self, from: usize) {
        if self.every != u32::MAX {
            self.at = from.saturating_add((self.draw() as usize - 1) * EVENT_BYTES);
        }
    }

    /// The cursor goes from `left` (0 at first) to `first`, in another block.
    pub fn enter(&mut self, left: usize, first: usize) {
        if self.every != u32::MAX {
            self.at = first.saturating_add(self.at.saturating_sub(left));
        }
    }

    /// Where stores from `next` on are to stop.
    #[inline]
    #[must_use]
    pub fn stop(&self, next: usize, block_end: usize) -> usize {
        if self.at > next { self.at.min(block_end) } else { block_end }
    }

    /// Whether the event at `next` is to be timed.
    #[inline]
    #[must_use]
    pub fn is_due(&self, next: usize) -> bool {
        self.at == next
    }

    /// The event at `next` is being timed: on to the one after.
    #[inline]
    pub fn pass(&mut self, next: usize) {
        self.place(next + EVENT_BYTES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: usize = 256 * EVENT_BYTES;
    const GAP: usize = 64;

    /// Walks over blocks as the append thread does; gives the numbers of the timed events and how often it stopped.
    fn walk(every: u32, blocks: usize) -> (Vec<usize>, usize) {
        let mut sampler = Sampler::new(every);
        let (mut timed, mut stops, mut left) = (Vec::new(), 0, 0);
        for block in 0..blocks {
            let mut next = 1_000_000 + block * (BLOCK + GAP);
            let end = next + BLOCK;
            sampler.enter(left, next);
            let mut stop = 0;
            for slot in 0..256 {
                if next >= stop {
                    stops += 1;
                    if sampler.is_due(next) {
                        timed.push(block * 256 + slot);
                        sampler.pass(next);
                    }
                    stop = sampler.stop(next, end);
                }
                assert!(!sampler.is_due(next), "one that is due is never passed over");
                next += EVENT_BYTES;
            }
            left = next;
        }
        (timed, stops)
    }

    #[test]
    fn one_in_so_many_at_changing_places() {
        for every in [2, 3, 100, 1_024, 5_000] {
            let (timed, stops) = walk(every, 4_000);
            let expected = 4_000 * 256 / every as usize;
            assert!(timed.len().abs_diff(expected) <= expected / 10 + 2, "{every}: {} of {expected}", timed.len());
            assert!(stops <= timed.len() + 4_000, "{every}: {stops} stops");
            let places: std::collections::BTreeSet<_> = timed.iter().map(|event| event % 256).collect();
            assert!(places.len() > timed.len().min(256) / 3, "{every}: {} places", places.len());
        }
    }

    #[test]
    fn every_one_and_none() {
        assert_eq!(walk(1, 3).0, (0..3 * 256).collect::<Vec<_>>());
        assert_eq!(walk(u32::MAX, 3_000), (Vec::new(), 3_000));
        assert!(walk(u32::MAX - 1, 3_000).0.is_empty());
    }

    #[test]
    fn blocks_left_early_do_not_lose_count() {
        let mut sampler = Sampler::new(1_024);
        let (mut timed, mut left) = (0, 0);
        // A rotation after each 10 events.
        for block in 0..100_000 {
            let first = 4_096 + (block % 7) * BLOCK;
            sampler.enter(left, first);
            for slot in 0..10 {
                let next = first + slot * EVENT_BYTES;
                if sampler.is_due(next) {
                    timed += 1;
                    sampler.pass(next);
                }
            }
            left = first + 10 * EVENT_BYTES;
        }
        assert!((900..1_060).contains(&timed), "{timed} of 976");
    }
}
