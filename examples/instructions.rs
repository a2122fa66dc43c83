//! Whole logs and blocks for callgrind: `instructions finalize BLOCKS`, `write DIR SEGMENTS`, `verify DIR`, `replay DIR`.
//! `benches/instructions.sh` runs each at two sizes and takes the difference, so that what does not grow with the work is not counted. No
//! time is taken.
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on ends")]

use std::hint::black_box;
use std::path::Path;

use walrec::format::{BlockHeader, EVENT_BYTES, EVENTS_PER_BLOCK, Event, FLAG_GUARDS, GuardContext};
use walrec::recorder::{self, Config, SyncTimeout};
use walrec::recovery;

const BLOCKS_OF_A_SEGMENT: u32 = 64;

fn event(id: u64) -> Event {
    let mut event = Event { event_id: id, timestamp_ns: 1_700_000_000_000_000_000 + id, ..Event::default() };
    event.price = i64::try_from(1_234_500 + id % 1000).unwrap();
    event.quantity = 100;
    event.user_id = u32::try_from(id % 5000).unwrap();
    event
}

/// Guards and finalizes one block after another, as the flusher does.
fn finalize(blocks: u32) {
    let mut events = vec![0_u8; EVENTS_PER_BLOCK as usize * EVENT_BYTES];
    let guards = GuardContext { segment_index: 0, created_ts_ns: 1_700_000_000_000_000_000 };
    let mut chain = 0;
    for block in 0..blocks {
        for place in 0..EVENTS_PER_BLOCK {
            let at = place as usize * EVENT_BYTES;
            let bytes: &mut [u8; EVENT_BYTES] = (&mut events[at..at + EVENT_BYTES]).try_into().unwrap();
            let id = u64::from(block * EVENTS_PER_BLOCK + place) + 1;
            bytes[..8].copy_from_slice(&id.to_le_bytes());
            let guard = guards.guard(block * EVENTS_PER_BLOCK + place, bytes);
            bytes[60..].copy_from_slice(&guard.to_le_bytes());
        }
        chain = BlockHeader::finalize(block, black_box(&events), chain, FLAG_GUARDS, None).chained_checksum;
    }
    assert_ne!(black_box(chain), 0);
}

/// A log of hot segments, each full.
fn write(path: &Path, segments: u64) {
    let config = Config { num_blocks: BLOCKS_OF_A_SEGMENT, max_segments: u32::MAX, ..Config::default() };
    let (mut writer, manager) = recorder::open(path, &config).unwrap();
    for id in 1..=segments * u64::from(BLOCKS_OF_A_SEGMENT * EVENTS_PER_BLOCK) {
        writer.append(&event(id)).unwrap();
    }
    manager.sync(0, SyncTimeout::Forever).unwrap();
    manager.shutdown().unwrap();
}

fn replay(path: &Path) {
    let mut reader = recovery::Manager::open(path, 0).unwrap();
    let mut events = vec![Event::default(); EVENTS_PER_BLOCK as usize];
    let mut last = 0;
    loop {
        let n = reader.read(&mut events).unwrap();
        if n == 0 {
            break;
        }
        last = events[n - 1].event_id;
    }
    assert_ne!(black_box(last), 0);
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["finalize", blocks] => finalize(blocks.parse().unwrap()),
        ["write", path, segments] => write(Path::new(path), segments.parse().unwrap()),
        ["verify", path] => assert!(recovery::verify(Path::new(path)).unwrap().fault.is_none()),
        ["replay", path] => replay(Path::new(path)),
        _ => panic!("finalize BLOCKS | write DIR SEGMENTS | verify DIR | replay DIR"),
    }
}
