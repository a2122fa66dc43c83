//! A reader: each step moves exactly what the test says.

#![allow(clippy::unwrap_used, reason = "a broken fixture ends the test")]

use std::path::Path;
use std::sync::Arc;

use walrec::format::{Geometry, Reason};
use walrec::recorder::{Config, WorkerKind};
use walrec::recovery::{Item, Manager, Salvager};
use walrec::storage::simulated::SimulatedSystem;
use walrec::telemetry::{ReaderCount, ReaderSnapshot, ReaderTiming};

use super::watch::{CAPACITY, LOG, SOME, Seen, Watched, config};

/// Bytes of a block, and of a segment's blocks.
const BLOCK: u64 = 16_448;
const BLOCKS: u64 = 16 * BLOCK;
/// Segments of [`log`]: 0 and 1 are frozen, the last one is not full.
const SEGMENTS: u64 = 6;
const LAST: u64 = (SEGMENTS - 1) * CAPACITY + 300;

/// A closed log.
pub fn log(seed: u64) -> SimulatedSystem {
    let machine = SimulatedSystem::new(seed);
    let config = Config { max_segments: 4, max_compressed_segments: u32::MAX, ..config() };
    let mut watched = Watched::open(&machine, &config);
    for segment in 0..SEGMENTS {
        let first = segment * CAPACITY + 1;
        watched.append(first..=LAST.min(first + CAPACITY - 1));
        for worker in [WorkerKind::Flusher, WorkerKind::Preparer, WorkerKind::Maintainer] {
            watched.settle(worker);
        }
    }
    watched.manager.shutdown().unwrap();
    let forms = (0..SEGMENTS).map(|index| machine.exists(format!("{LOG}/FS.{index:08}.wal")));
    assert_eq!(forms.collect::<Vec<_>>(), [false, false, true, true, true, true]);
    machine
}

fn open(machine: &SimulatedSystem) -> Manager {
    Manager::open_on(Arc::new(machine.clone()), Path::new(LOG), 0).unwrap()
}

/// Reads so many events, whose ids begin with `from`.
fn read(reader: &mut Manager, from: u64, events: u64) {
    for id in from..from + events {
        assert_eq!(reader.next().unwrap().map(|event| event.event_id), Some(id));
    }
}

#[test]
fn reading_step_by_step() {
    let machine = log(21);
    let mut reader = open(&machine);
    let mut seen = Seen::default();
    seen.moved(&reader.telemetry(), &[("open", 1), ("open_segment", 1), ("segments_frozen", 1)]);
    read(&mut reader, 1, 1);
    // A piece is read and judged at once: all that this segment has.
    let piece = [("events", 1), ("bytes", BLOCKS), ("blocks", 16), ("next", 1), ("verify", 1)];
    seen.moved(&reader.telemetry(), &piece);
    read(&mut reader, 2, CAPACITY - 1);
    seen.moved(&reader.telemetry(), &[("events", CAPACITY - 1)]);
    // The first piece of a segment is wanted at once, so that nothing of these is read ahead.
    read(&mut reader, CAPACITY + 1, 1);
    let piece =
        [("open_segment", 1), ("segments_frozen", 1), ("events", 1), ("bytes", BLOCKS), ("blocks", 16), ("verify", 1)];
    seen.moved(&reader.telemetry(), &piece);
    // Every fourth call that goes for more is timed.
    read(&mut reader, CAPACITY + 2, 3 * CAPACITY);
    let pieces = [
        ("open_segment", 3),
        ("segments_hot", 3),
        ("events", 3 * CAPACITY),
        ("bytes", 3 * BLOCKS),
        ("blocks", 48),
        ("verify", 3),
        ("next", 1),
    ];
    seen.moved(&reader.telemetry(), &pieces);
    let segments = |of: &ReaderSnapshot| (of.count(ReaderCount::SegmentsFrozen), of.count(ReaderCount::SegmentsHot));
    // To the end, and no further.
    read(&mut reader, 4 * CAPACITY + 2, LAST - 4 * CAPACITY - 1);
    assert!(reader.next().unwrap().is_none());
    let snapshot = reader.telemetry();
    assert_eq!((snapshot.count(ReaderCount::Events), segments(&snapshot)), (LAST, (2, 4)));
    assert_eq!(snapshot.count(ReaderCount::Blocks), (SEGMENTS - 1) * 16 + 2);
    assert_eq!(snapshot.checksum_failures.iter().sum::<u64>(), 0);
}

/// Frozen segments of several frames: while the reader stands at the first one of a segment, the others are read by a thread.
#[test]
fn frames_are_read_ahead() {
    const FRAMES: u64 = 4;
    const SEGMENT: u64 = FRAMES * 64 * 256;
    if std::thread::available_parallelism().is_ok_and(|processors| processors.get() < 2) {
        eprintln!("SKIP frames_are_read_ahead: NOT run: one processor, so nothing is read ahead");
        return;
    }
    let config = Config { num_blocks: 256, max_segments: 2, max_compressed_segments: u32::MAX, ..config() };
    let machine = SimulatedSystem::new(27);
    let mut watched = Watched::open(&machine, &config);
    for segment in 0..4 {
        watched.append(segment * SEGMENT + 1..=(segment + 1) * SEGMENT);
        for worker in [WorkerKind::Flusher, WorkerKind::Preparer, WorkerKind::Maintainer] {
            watched.settle(worker);
        }
    }
    watched.manager.shutdown().unwrap();
    assert!((0..2).all(|index| machine.exists(format!("{LOG}/FS.{index:08}.wal.lz4"))));
    let mut reader = open(&machine);
    let mut from = 1;
    for segment in 1..=2 {
        read(&mut reader, from, 1);
        let begin = std::time::Instant::now();
        while reader.telemetry().timing(ReaderTiming::Preload).count() < segment * (FRAMES - 1) {
            assert!(begin.elapsed() < std::time::Duration::from_secs(60), "nothing of segment {segment} is read ahead");
            std::thread::yield_now();
        }
        read(&mut reader, from + 1, SEGMENT - 1);
        from += SEGMENT;
    }
    // A hot one is not: what a thread reads has to come from another processor's cache, which takes as long as reading it.
    read(&mut reader, from, CAPACITY);
    let snapshot = reader.telemetry();
    assert_eq!(snapshot.timing(ReaderTiming::Preload).count(), 2 * (FRAMES - 1));
    assert_eq!(snapshot.count(ReaderCount::SegmentsPreloaded), 2);
    assert_eq!(snapshot.count(ReaderCount::SegmentsHot), 1);
}

#[test]
fn seeks_pass_over_events_that_are_not_given() {
    let machine = log(22);
    let mut reader = open(&machine);
    let mut seen = Seen::default();
    seen.passed(&reader.telemetry());
    let id = 3 * CAPACITY + 5 * 256 + 100;
    reader.seek(id).unwrap();
    seen.moved(&reader.telemetry(), &[("seek", 1), ("open_segment", SOME), ("segments_hot", 1)]);
    read(&mut reader, id, 10);
    let read_on = [("events", 10), ("bytes", BLOCKS - 5 * BLOCK), ("blocks", 11), ("next", 1), ("verify", 1)];
    seen.moved(&reader.telemetry(), &read_on);
    reader.seek_time(id - 5).unwrap();
    seen.moved(&reader.telemetry(), &[("seek", 1), ("open_segment", SOME), ("segments_hot", 1)]);
    read(&mut reader, id - 5, 3);
    assert_eq!(reader.telemetry().count(ReaderCount::Events), 13);
}

#[test]
fn what_does_not_verify_is_counted_each_time_it_is_met() {
    let machine = log(23);
    let offset = Geometry::event_offset(2 * 256 + 3) + 20;
    machine.flip(format!("{LOG}/FS.00000002.wal"), offset, 1);
    let mut reader = open(&machine);
    reader.seek(2 * CAPACITY + 1).unwrap();
    read(&mut reader, 2 * CAPACITY + 1, 512);
    let failures = |reader: &Manager| reader.telemetry().checksum_failures[Reason::BlockChecksum.as_u32() as usize];
    assert_eq!(failures(&reader), 0);
    for met in 1..=3 {
        reader.next().unwrap_err();
        assert_eq!(failures(&reader), met);
        assert_eq!(reader.telemetry().checksum_failures.iter().sum::<u64>(), met);
    }

    // Salvage passes it, and says so. The guards prove the block's other events.
    let mut salvager = Salvager::open_on(Arc::new(machine), Path::new(LOG), 2 * CAPACITY + 1).unwrap();
    let mut seen = Seen::default();
    seen.moved(&salvager.telemetry(), &[("open", 1), ("open_segment", SOME), ("segments_hot", 1)]);
    let mut gaps = 0;
    for _ in 0..4 * 256 {
        gaps += u64::from(matches!(salvager.next().unwrap(), Item::Gap(_)));
    }
    assert_eq!(gaps, 1);
    let passed = [
        ("events", 4 * 256 - 1),
        ("bytes", 4 * BLOCK),
        ("blocks", 3),
        ("gaps", 1),
        ("BlockChecksum", 1),
        ("next", 1),
        ("verify", 1),
    ];
    seen.moved(&salvager.telemetry(), &passed);
    salvager.seek(5).unwrap();
    seen.moved(&salvager.telemetry(), &[("seek", 1), ("open_segment", SOME), ("segments_frozen", 1)]);
    assert!(matches!(salvager.next().unwrap(), Item::Event(event) if event.event_id == 5));
}

/// A segment in both forms, whose `.wal` is damaged: the other form is read, and the damage is told.
#[test]
fn a_wal_that_is_left_for_its_frozen_form_is_counted() {
    let machine = log(26);
    // Frozen by the recorder, and its `.wal` brought back as it was not.
    let wal = machine.read_file(format!("{LOG}/FS.00000002.wal")).unwrap();
    machine.write_file(format!("{LOG}/FS.00000001.wal"), &wal);
    let wrong = Reason::SegmentIndex.as_u32() as usize;
    let mut reader = open(&machine);
    read(&mut reader, 1, LAST);
    let snapshot = reader.telemetry();
    assert_eq!((snapshot.count(ReaderCount::FormSwitches), snapshot.checksum_failures[wrong]), (1, 1));
    let mut salvager = Salvager::open_on(Arc::new(machine.clone()), Path::new(LOG), 0).unwrap();
    for id in 1..=LAST {
        assert!(matches!(salvager.next().unwrap(), Item::Event(event) if event.event_id == id));
    }
    let snapshot = salvager.telemetry();
    assert_eq!((snapshot.count(ReaderCount::FormSwitches), snapshot.checksum_failures[wrong]), (1, 1));
    assert_eq!(snapshot.count(ReaderCount::Gaps), 0);
    machine.remove_tree(format!("{LOG}/FS.00000001.wal"));
    let mut reader = open(&machine);
    read(&mut reader, 1, LAST);
    assert_eq!(reader.telemetry().count(ReaderCount::FormSwitches), 0);
}

#[test]
fn a_recorded_gap_is_counted() {
    let machine = log(24);
    machine.remove_tree(format!("{LOG}/FS.00000003.wal"));
    let mut reader = open(&machine);
    reader.seek(2 * CAPACITY + 1).unwrap();
    read(&mut reader, 2 * CAPACITY + 1, CAPACITY);
    reader.next().unwrap_err();
    assert_eq!(reader.telemetry().count(ReaderCount::Gaps), 0);
    machine.write_file(format!("{LOG}/quarantine/FS.00000003.lost"), b"");
    read(&mut reader, 4 * CAPACITY + 1, 1);
    assert_eq!(reader.telemetry().count(ReaderCount::Gaps), 1);
}

/// A reader's snapshot with all sorts of values in it.
pub fn sample() -> ReaderSnapshot {
    let mut reader = open(&log(25));
    read(&mut reader, 1, LAST);
    reader.seek(2).unwrap();
    reader.telemetry()
}
