//! What the fuzzers found, each as small as it can be told.

use std::path::Path;
use std::sync::Arc;

use walrec::recorder::open_stepped;

use crate::decoder::fields::{block_header, event};
use crate::decoder::id_of;
use crate::decoder::segment::block_offset;
use crate::decoder::support::golden_event;
use crate::encode::{Plan, put_event, repair_block_header, repair_blocks, repair_counts, repair_segment_header};
use crate::examine::{LOG, Truth, config, examine};
use crate::logs::{SoundLog, open_tail, sealed, small, unguarded};
use crate::memory::keep_freed_memory;

/// Event 4 of the first block is written once more, with a guard, above what the sealed block's header tells of.
fn with_guarded_event(log: &SoundLog, slot: usize, id: u64) -> Vec<u8> {
    let mut bytes = log.files["FS.00000000.wal"].to_vec();
    put_event(&mut bytes, slot, &golden_event(id));
    log.plans[0].put_guard(&mut bytes, slot);
    bytes
}

/// Right above the header's events it says that the header is old; further up it is nothing, and hides no true event.
#[test]
fn a_guarded_event_above_a_sealed_block() {
    keep_freed_memory();
    let log = small();
    let truth = |event: &_| log.holds(event);
    assert_eq!(log.plans[0].blocks, [5, 3]);
    let found = examine(&log.with("FS.00000000.wal", &with_guarded_event(&log, 5, 7)), Truth::of(&truth)).unwrap();
    let why = found.strict.error.unwrap();
    assert!(why.contains("guards prove more events") && found.strict.events.is_empty(), "{why}");
    let found = examine(&log.with("FS.00000000.wal", &with_guarded_event(&log, 12, 7)), Truth::of(&truth)).unwrap();
    assert!(found.is_sound() && found.salvaged == 8, "{found:?}");
}

/// Bytes above a partial block, in a segment that is not sealed, hide nothing of the finalized block behind it: its chain proves both. The
/// file is not padded, as FlashStrike leaves it, and is opened so too.
#[test]
fn bytes_above_a_partial_block() {
    keep_freed_memory();
    let log = small();
    let mut bytes = Plan { closed_ts_ns: 0, ..log.plans[0].clone() }.encode();
    bytes[block_offset(0) + 64 + 20 * 64] = 1;
    let found = examine(&log.with("FS.00000000.wal", &bytes), Truth::of(&|event| log.holds(event))).unwrap();
    assert!(found.is_sound() && found.strict.events.len() == 8, "{found:?}");
}

/// A segment in the middle is empty as if it were prepared: the log does not end there, whatever `wal_meta.dat` knows.
#[test]
fn an_empty_segment_below_one_with_events() {
    keep_freed_memory();
    let log = sealed();
    let empty = Plan { blocks: vec![], closed_ts_ns: 0, link: None, ..log.plans[1].clone() };
    for (what, removed, detected) in
        [("in use", "", true), ("missing", "FS.00000001.wal", true), ("last", "FS.00000002.wal", false)]
    {
        let mut files = log.files.clone();
        files.remove("wal_meta.dat");
        files.insert("FS.00000001.wal".into(), Arc::new(empty.encode()));
        files.remove(removed);
        let found = examine(&log.with_files(&files), Truth::of(&|event| log.holds(event)));
        let found = found.unwrap_or_else(|why| panic!("{what}: {why}"));
        assert_eq!(found.strict.error.is_some(), detected, "{what}: {found:?}");
    }
}

/// All segments are gone, and `wal_meta.dat` says that there were events.
#[test]
fn a_log_without_its_segments() {
    keep_freed_memory();
    let log = sealed();
    let mut files = log.files.clone();
    files.retain(|name, _| !name.starts_with("FS."));
    let found = examine(&log.with_files(&files), Truth::of(&|event| log.holds(event))).unwrap();
    assert!(found.strict.error.unwrap().contains("no segment"));
    files.remove("wal_meta.dat");
    let found = examine(&log.with_files(&files), Truth::of(&|event| log.holds(event))).unwrap();
    assert!(found.is_sound(), "{found:?}");
}

/// A marker of a lost segment far above all others opens no gap; right above the newest it is passed.
#[test]
fn a_marker_far_above_the_log() {
    keep_freed_memory();
    let log = unguarded();
    for (marker, next) in [(100_000_000, "FS.00000002.wal"), (u32::MAX, "FS.00000002.wal"), (2, "FS.00000003.wal")] {
        let mut files = log.files.clone();
        files.insert(format!("quarantine/FS.{marker:08}.lost"), Arc::new(Vec::new()));
        let machine = log.with_files(&files);
        let found = examine(&machine, Truth::of(&|event| log.holds(event)));
        let found = found.unwrap_or_else(|why| panic!("{marker}: {why}"));
        assert!(found.is_sound(), "{marker}: {found:?}");
        let opened = open_stepped(Arc::new(machine.clone()), Path::new(LOG), &config(false)).unwrap();
        assert!(machine.exists(Path::new(LOG).join(next)), "{marker}: {:?}", machine.list(LOG));
        drop(opened);
    }
}

/// A salvage that gives up everything: the next strict opening is not held to what `wal_meta.dat` said before.
#[test]
fn a_salvage_that_leaves_nothing() {
    keep_freed_memory();
    let log = small();
    let mut bytes = log.files["FS.00000000.wal"].to_vec();
    let first = block_offset(0) + 64;
    event::EVENT_ID.put(&mut bytes[first..], 0);
    repair_blocks(&mut bytes, 2);
    repair_counts(&mut bytes, 2);
    repair_segment_header(&mut bytes);
    let mut files = log.files.clone();
    files.insert("FS.00000000.wal".into(), Arc::new(bytes));
    let mut meta = log.files["wal_meta.dat"].to_vec();
    meta[..8].fill(0);
    files.insert("wal_meta.dat".into(), Arc::new(meta));
    let truth = |event: &_| log.holds(event) || id_of(event) == 0;
    // The examination salvages a copy, and opens that strictly again.
    let found = examine(&log.with_files(&files), Truth { holds: &truth, forged: true }).unwrap();
    assert!(found.opened.is_some_and(|opened| opened.is_err()));
}

/// A block of a newer format above a partial one, or where a segment begins, is told if the segment is not sealed; it is neither a torn
/// tail nor the log's end, and nothing is changed.
#[test]
fn a_newer_block_where_a_log_might_end() {
    keep_freed_memory();
    let log = unguarded();
    let plan = Plan { closed_ts_ns: 0, ..log.plans[1].clone() };
    assert_eq!((plan.capacity, &plan.blocks[..]), (3, &[1, 9, 7][..]));
    let truth = |event: &_| log.holds(event);
    for (block, flags, opens) in [(2, 0, true), (2, 4, false), (0, 0, true), (0, 4, false)] {
        let mut bytes = plan.encode();
        block_header::FLAGS.put(&mut bytes[block_offset(block)..], flags);
        repair_block_header(&mut bytes, block);
        let mut files = log.files.clone();
        files.insert("FS.00000001.wal".into(), bytes.into());
        // What is known to be durable would object too.
        files.remove("wal_meta.dat");
        let found = examine(&log.with_files(&files), Truth::of(&truth)).unwrap();
        let (read, opened) = (found.strict.error, found.opened.unwrap());
        assert_eq!((read.is_none(), opened.is_ok()), (opens, opens), "{read:?}, {opened:?}");
        assert!(opens || [read.unwrap(), opened.unwrap_err()].iter().all(|why| why.contains("not known")));
    }
}

/// A segment that was made at the end of time is written on and closed.
#[test]
fn the_last_time_there_is() {
    keep_freed_memory();
    let log = open_tail();
    let bytes = Plan { created_ts_ns: u64::MAX, ..log.plans[1].clone() }.encode();
    let truth = |event: &_| log.holds(event);
    let found = examine(&log.with("FS.00000001.wal", &bytes), Truth::of(&truth)).unwrap();
    assert!(found.is_sound() && found.strict.events.len() as u64 == log.last_event_id, "{found:?}");
}
