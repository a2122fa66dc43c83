//! What the recorder noted: what must be in the log when the power fails at a place of the write log, and what may be.

use std::fs;
use std::path::Path;

use walrec::format::Event;

/// splitmix64
#[derive(Clone, Copy, Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        let mixed = mix(self.0);
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed
    }

    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("below a usize")
    }

    /// True `times` times of ten.
    pub fn of_ten(&mut self, times: usize) -> bool {
        self.below(10) < times
    }
}

pub fn mix(word: u64) -> u64 {
    let mut x = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The event that tests/c/check.h makes of this id; no guard.
pub fn event_of(event_id: u64) -> Event {
    let a = mix(event_id);
    let b = mix(a);
    let c = mix(b);
    let [a, b, c] = [a, b, c].map(u64::to_le_bytes);
    let mut user_bytes = [0; 17];
    user_bytes[..8].copy_from_slice(&a);
    user_bytes[8..16].copy_from_slice(&b);
    user_bytes[16] = c[2];
    Event {
        event_id,
        timestamp_ns: 1_700_000_000_000_000_000 + event_id * 1_000,
        price: i64::from_le_bytes(a),
        quantity: i64::from_le_bytes(b),
        user_id: u32::from_le_bytes([c[0], c[1], c[2], c[3]]),
        order_id: u32::from_le_bytes([c[4], c[5], c[6], c[7]]),
        kind: a[1],
        order_type: b[1],
        side: c[1],
        user_bytes,
        guard: 0,
    }
}

/// An id that holds from a number of entries on.
#[derive(Clone, Copy, Debug)]
struct Pin {
    id: u64,
    at: usize,
}

/// The notes of all lives of a recorder on one log.
#[derive(Clone, Debug, Default)]
pub struct Story {
    durable: Vec<Pin>,
    appending: Vec<Pin>,
    /// First events of segments, ascending.
    firsts: Vec<u64>,
    pub max_segments: u32,
    pub max_compressed_segments: u32,
}

/// What holds at one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub durable: u64,
    pub appended: u64,
    /// The limits keep this event and all after it.
    pub kept: u64,
}

impl Story {
    pub fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut story = Self::default();
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let number = |index: usize| words[index].parse::<u64>().unwrap_or_else(|_| panic!("note {line:?}"));
            let small = |index: usize| u32::try_from(number(index)).expect("a small number");
            let pin = || Pin { id: number(1), at: small(2) as usize };
            match words[0] {
                "limits" => (story.max_segments, story.max_compressed_segments) = (small(1), small(2)),
                "durable" => story.durable.push(pin()),
                "appending" => story.appending.push(pin()),
                "segment" if story.firsts.last().is_none_or(|&last| last < number(2)) => story.firsts.push(number(2)),
                "segment" => {}
                _ => panic!("note {line:?}"),
            }
        }
        story
    }

    /// What holds when the device was given `at` entries.
    pub fn bounds(&self, at: usize) -> Bounds {
        let durable = self.durable.iter().filter(|pin| pin.at <= at).map(|pin| pin.id).max().unwrap_or(0);
        let appended = self.appending.iter().filter(|pin| pin.at < at).map(|pin| pin.id).max().unwrap_or(0);
        Bounds { durable, appended, kept: self.kept(appended) }
    }

    /// The first event of the oldest of the newest segments, as many as the limits count, when `last` is the last event.
    fn kept(&self, last: u64) -> u64 {
        let begun = self.firsts.partition_point(|&first| first <= last);
        let kept = (self.max_segments as usize).saturating_add(self.max_compressed_segments as usize);
        self.firsts.get(begun.saturating_sub(kept)).copied().unwrap_or(1)
    }

    /// Whether a log may begin with this event.
    pub fn begins_a_segment(&self, first: u64) -> bool {
        self.firsts.binary_search(&first).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_follow_the_notes() {
        let pin = |id, at| Pin { id, at };
        let story = Story {
            durable: vec![pin(0, 3), pin(5, 10), pin(9, 20)],
            appending: vec![pin(5, 4), pin(9, 12)],
            firsts: vec![1, 4, 6, 8],
            max_segments: 2,
            max_compressed_segments: 1,
        };
        assert_eq!(story.bounds(4), Bounds { durable: 0, appended: 0, kept: 1 });
        assert_eq!(story.bounds(5), Bounds { durable: 0, appended: 5, kept: 1 });
        assert_eq!(story.bounds(19), Bounds { durable: 5, appended: 9, kept: 4 });
        assert_eq!(story.bounds(usize::MAX), Bounds { durable: 9, appended: 9, kept: 4 });
        assert!(story.begins_a_segment(6) && !story.begins_a_segment(5));
    }
}
