//! A stepped recorder: each step moves exactly what the test says, so each is the control of all the others.

use std::time::Duration;

use walrec::recorder::{AppendError, Config, FullPolicy, WorkerKind};
use walrec::storage::simulated::{OperationKind, Repeat, SimulatedSystem};
use walrec::telemetry::{Count, Timing};

use super::watch::{CAPACITY, LOG, Watched, config, event};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// What an open of an empty log moves: one segment is made.
const OPENED: [(&str, u64); 3] = [("open_new", 1), ("prepare", 1), ("segments_prepared", 1)];

fn open(config: &Config) -> Watched {
    let mut watched = Watched::open(&SimulatedSystem::new(1), config);
    watched.moved(&OPENED);
    watched
}

#[test]
fn a_segment_s_life_step_by_step() {
    let mut watched = open(&config());
    watched.moved(&[]);
    watched.append(1..=1);
    let first = [("events_appended", 1), ("rotation", 1), ("ring_prepared", 1), ("segments_activated", 1)];
    watched.moved(&first);
    watched.append(2..=256);
    watched.moved(&[("events_appended", 255)]);
    assert_eq!(watched.step(WorkerKind::Flusher), 1);
    let cycle = [
        ("events_durable", 256),
        ("bytes_written", 5 * 4096),
        ("write", 1),
        ("sync", 1),
        ("finalize", 1),
        ("ring_activated", 1),
    ];
    watched.moved(&cycle);
    watched.append(257..=258);
    assert_eq!(watched.step(WorkerKind::Flusher), 1);
    // Still no whole block, and the page they are on.
    watched.moved(&[("events_appended", 2), ("events_durable", 2), ("bytes_written", 4096), ("write", 1), ("sync", 1)]);
    assert_eq!(watched.step(WorkerKind::Flusher), 0);
    watched.moved(&[]);
    watched.step(WorkerKind::Meta);
    watched.moved(&[]);
    watched.append(259..=CAPACITY);
    assert_eq!(watched.step(WorkerKind::Preparer), 1);
    watched.moved(&[("events_appended", CAPACITY - 258), ("open_new", 1), ("prepare", 1), ("segments_prepared", 1)]);
    watched.writer.rotate().unwrap();
    watched.moved(&[("rotation", 1), ("ring_prepared", 1), ("segments_activated", 1)]);
    watched.settle(WorkerKind::Flusher);
    let bytes = watched.snapshot().count(Count::BytesWritten) - 6 * 4096;
    assert!((15 * 16_448..15 * 16_448 + 8_192).contains(&bytes), "{bytes}");
    let flushed = [
        ("events_durable", CAPACITY - 258),
        ("bytes_written", bytes),
        ("finalize", 15),
        ("write", 1),
        ("sync", 1),
        ("segments_written", 1),
        ("ring_activated", 1),
    ];
    watched.moved(&flushed);
    assert_eq!(watched.step(WorkerKind::Maintainer), 1);
    watched.moved(&[("ring_written", 1), ("seal", 1), ("segments_sealed", 1)]);
    assert_eq!(watched.step(WorkerKind::Meta), 1);
    watched.moved(&[("meta_flush", 1)]);
    watched.settle(WorkerKind::Preparer);
    watched.moved(&[("ring_freed", 1), ("open_new", 2), ("prepare", 2), ("segments_prepared", 2)]);
    let gauges = watched.snapshot().gauges;
    let states = (gauges.prepared_now, gauges.active_now, gauges.written_now, gauges.sealed_now);
    assert_eq!(states, (2, 1, 0, 1));
    assert_eq!((gauges.last_event_id, gauges.durable_event_id), (CAPACITY, CAPACITY));
    assert_eq!(gauges.stage_room_events, 3 * CAPACITY);
    assert_eq!((gauges.free_bytes, gauges.log_seconds, gauges.stage_seconds), (u64::MAX, u64::MAX, u64::MAX));
    assert_eq!((gauges.out_of_space, gauges.poisoned, gauges.stage_unlinked), (0, 0, 0));
}

#[test]
fn appends_and_their_lag_are_sampled() {
    let mut watched = open(&Config { append_sample: 1, ..config() });
    watched.append(1..=300);
    let appended =
        [("events_appended", 300), ("append", 300), ("rotation", 1), ("ring_prepared", 1), ("segments_activated", 1)];
    watched.moved(&appended);
    std::thread::sleep(Duration::from_millis(5));
    watched.settle(WorkerKind::Flusher);
    let snapshot = watched.snapshot();
    // Of all that were appended meanwhile, the first was kept.
    assert_eq!(snapshot.timing(Timing::DurableLag).count(), 1);
    assert!(snapshot.timing(Timing::DurableLag).max() >= 5_000_000);
    assert!(snapshot.timing(Timing::Append).quantile(500_000) < 1_000_000);
    watched.append(301..=301);
    watched.settle(WorkerKind::Flusher);
    assert_eq!(watched.snapshot().timing(Timing::DurableLag).count(), 2);
    // Nothing new, no lag.
    watched.settle(WorkerKind::Flusher);
    assert_eq!(watched.snapshot().timing(Timing::DurableLag).count(), 2);
}

/// Built in place or given, with refusals, aborts and rotations between: the sampling disturbs none, and the log holds what was accepted.
#[test]
fn reserved_events_are_sampled_too() {
    for every in [1, 2, 3, 64] {
        let machine = SimulatedSystem::new(5);
        let mut watched = Watched::open(&machine, &Config { append_sample: every, ..config() });
        let (mut id, mut seed) = (0, 17_u64);
        while id < 3_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let writer = &mut watched.writer;
            let mut reserve = |event_id| {
                let place = writer.reserve().unwrap();
                // SAFETY: the place is the writer's until the commit.
                #[allow(unsafe_code, reason = "fills the reserved place")]
                unsafe {
                    place.write(event(event_id));
                }
            };
            match seed >> 61 {
                0 | 1 => watched.append(id + 1..=id + 1),
                2 => {
                    reserve(id);
                    assert_eq!(
                        watched.writer.commit(),
                        Err(if id == 0 { AppendError::Invalid } else { AppendError::Order })
                    );
                    assert_eq!(watched.writer.commit(), Err(AppendError::NoReservation));
                    continue;
                }
                3 => {
                    reserve(id + 1);
                    watched.writer.abort().unwrap();
                    assert_eq!(watched.writer.commit(), Err(AppendError::NoReservation));
                    continue;
                }
                4 => {
                    // Passed over by an append.
                    reserve(id + 9);
                    watched.append(id + 1..=id + 1);
                    assert_eq!(watched.writer.commit(), Err(AppendError::NoReservation));
                }
                _ => {
                    reserve(id + 1);
                    reserve(id + 1);
                    watched.writer.commit().unwrap();
                }
            }
            id += 1;
            assert_eq!(watched.manager.last_event_id(), id);
            if id % 1_000 == 0 {
                watched.settle(WorkerKind::Preparer);
                watched.writer.rotate().unwrap();
                watched.settle(WorkerKind::Flusher);
            }
        }
        watched.settle(WorkerKind::Flusher);
        let snapshot = watched.snapshot();
        assert_eq!(snapshot.count(Count::EventsAppended), 3_000);
        assert_eq!(snapshot.count(Count::EventsDurable), 3_000);
        let (sampled, expected) = (snapshot.timing(Timing::Append).count(), 3_000 / u64::from(every));
        // A refused commit takes its sample with it.
        assert!((expected / 2..=expected + expected / 3).contains(&sampled), "1 in {every}: {sampled}");
        watched.manager.shutdown().unwrap();
        drop(watched);
        let mut reader = walrec::recovery::Manager::open_on(std::sync::Arc::new(machine), LOG.as_ref(), 0).unwrap();
        for id in 1..=3_000 {
            assert_eq!(reader.next().unwrap().map(|event| event.event_id), Some(id));
        }
        assert!(reader.next().unwrap().is_none());
    }
}

#[test]
fn a_shutdown_between_a_sampled_reservation_and_its_commit_is_told() {
    let mut watched = open(&Config { append_sample: 1, ..config() });
    watched.append(1..=1);
    watched.writer.reserve().unwrap();
    watched.manager.poison("told to".into());
    assert_eq!(watched.writer.commit(), Err(AppendError::Failed));
    assert_eq!(watched.writer.append(&event(2)), Err(AppendError::Failed));
    assert_eq!(watched.manager.last_event_id(), 1);
    let mut watched = open(&Config { append_sample: 1, ..config() });
    watched.writer.reserve().unwrap();
    watched.manager.shutdown().unwrap();
    assert_eq!(watched.writer.commit(), Err(AppendError::Closed));
    assert_eq!(watched.manager.last_event_id(), 0);
}

#[test]
fn refused_and_waiting_appends() {
    let mut watched = open(&config());
    watched.append(1..=CAPACITY);
    let first = [("events_appended", CAPACITY), ("rotation", 1), ("ring_prepared", 1), ("segments_activated", 1)];
    watched.moved(&first);
    assert_eq!(watched.writer.append(&event(CAPACITY + 1)), Err(AppendError::Backpressure));
    watched.moved(&[("backpressure", 1)]);
    watched.machine.set_space_limit(Some(0));
    assert_eq!(watched.step(WorkerKind::Preparer), 0);
    watched.moved(&[]);
    assert_eq!(watched.writer.append(&event(CAPACITY + 1)), Err(AppendError::NoSpace));
    watched.moved(&[("no_space", 1)]);
    assert_eq!((watched.snapshot().gauges.out_of_space, watched.snapshot().gauges.free_bytes), (1, 0));
    watched.machine.set_space_limit(None);
    assert_eq!(watched.step(WorkerKind::Preparer), 1);
    assert_eq!(watched.snapshot().gauges.out_of_space, 0);

    let mut watched = open(&Config { full_policy: FullPolicy::Wait { limit_us: 2_000 }, ..config() });
    watched.append(1..=CAPACITY);
    watched.moved(&first);
    assert_eq!(watched.writer.append(&event(CAPACITY + 1)), Err(AppendError::Backpressure));
    watched.moved(&[("backpressure", 1), ("prepared_wait", 1)]);
    assert!(watched.snapshot().timing(Timing::PreparedWait).max() >= 1_900_000);
}

#[test]
fn a_maintainer_that_lags_fills_its_ring() {
    let mut watched = open(&config());
    for segment in 0..4 {
        watched.settle(WorkerKind::Preparer);
        watched.append(segment * 10 + 1..=segment * 10 + 10);
        watched.writer.rotate().err();
        watched.settle(WorkerKind::Preparer);
        watched.writer.rotate().unwrap();
        for _ in 0..4 {
            watched.step(WorkerKind::Flusher);
        }
        let full = watched.snapshot().count(Count::RingFull);
        assert_eq!(full > 0, segment == 3, "after {} segments: {full}", segment + 1);
    }
    assert_eq!(watched.snapshot().gauges.written_now, 4);
    watched.settle(WorkerKind::Maintainer);
    watched.settle(WorkerKind::Flusher);
    watched.settle(WorkerKind::Maintainer);
    assert_eq!((watched.snapshot().gauges.written_now, watched.snapshot().gauges.sealed_now), (0, 4));
}

#[test]
fn failing_writes_and_workers() {
    let mut watched = open(&config());
    watched.append(1..=10);
    let first = [("events_appended", 10), ("rotation", 1), ("ring_prepared", 1), ("segments_activated", 1)];
    watched.moved(&first);
    watched.machine.fail_next(OperationKind::Write, 1, ENOSPC, Repeat::Once);
    assert_eq!(watched.step(WorkerKind::Flusher), 0);
    watched.moved(&[("ring_activated", 1), ("write_retries", 1), ("bytes_written", 4096)]);
    assert_eq!(watched.step(WorkerKind::Flusher), 1);
    watched.moved(&[("events_durable", 10), ("bytes_written", 4096), ("write", 1), ("sync", 1)]);
    watched.append(11..=11);
    watched.machine.fail_next(OperationKind::SyncData, 1, EIO, Repeat::Once);
    assert_eq!(watched.snapshot().gauges.poisoned, 0);
    assert!(watched.manager.step(WorkerKind::Flusher).is_err());
    watched.moved(&[("events_appended", 1), ("bytes_written", 4096), ("write", 1), ("worker_errors", 1)]);
    assert_eq!(watched.snapshot().gauges.poisoned, 1);
}

#[test]
fn a_segment_that_is_gone_on_with() {
    let machine = SimulatedSystem::new(9);
    let mut watched = Watched::open(&machine, &config());
    watched.append(1..=10);
    watched.settle(WorkerKind::Flusher);
    machine.crash_process();
    let mut watched = Watched::open(&machine, &config());
    watched.moved(&[("meta_flush", 1), ("open_existing", 1), ("segments_resumed", 1)]);
    watched.append(11..=13);
    watched.moved(&[("events_appended", 3)]);
    assert_eq!(watched.snapshot().gauges.active_now, 1);
}

#[test]
fn what_did_not_verify_is_counted_by_its_kind() {
    let machine = SimulatedSystem::new(10);
    let mut watched = Watched::open(&machine, &config());
    watched.append(1..=10);
    watched.settle(WorkerKind::Flusher);
    machine.crash_process();
    machine.empty_memory();
    // A torn eleventh event.
    let path = format!("{LOG}/FS.00000000.wal");
    let mut file = machine.read_file(&path).unwrap();
    let place = walrec::format::Geometry::event_offset(10);
    file[place..place + 40].fill(0x5a);
    machine.write_file(&path, &file);
    let watched = Watched::open(&machine, &config());
    let failures: u64 = watched.snapshot().checksum_failures.iter().sum();
    assert_eq!(failures, 1);
    let guard = walrec::format::Reason::Guard.as_u32() as usize;
    assert_eq!(watched.snapshot().checksum_failures[guard], 1);
    drop(watched);

    // A sealed header that was damaged, and salvaged.
    let machine = SimulatedSystem::new(11);
    let mut watched = Watched::open(&machine, &config());
    watched.append(1..=CAPACITY);
    watched.manager.shutdown().unwrap();
    drop(watched);
    machine.flip(&path, 24, 1);
    let watched = Watched::open(&machine, &Config { salvage: true, ..config() });
    let header = walrec::format::Reason::HeaderChecksum.as_u32() as usize;
    assert_eq!(watched.snapshot().checksum_failures[header], 1);
    assert_eq!(watched.snapshot().checksum_failures.iter().sum::<u64>(), 1);
}

/// Fills a segment, so that all that is left of it is the maintainer's.
#[allow(clippy::unwrap_used, reason = "a broken fixture ends the test")]
fn fill(watched: &mut Watched, segment: u64) {
    watched.append(segment * CAPACITY + 1..=(segment + 1) * CAPACITY);
    watched.settle(WorkerKind::Preparer);
    watched.writer.rotate().unwrap();
    watched.settle(WorkerKind::Flusher);
    watched.settle(WorkerKind::Preparer);
    watched.moved_aside();
}

/// Two hot segments are kept and one cold one: the third sealed makes the first frozen, the fourth makes it deleted.
#[test]
fn freezing_and_deletion() {
    let config = Config { max_segments: 2, max_compressed_segments: 1, ..config() };
    let mut watched = open(&config);
    let mut bytes_out = 0;
    for segment in 0..5 {
        fill(&mut watched, segment);
        let before = watched.snapshot();
        watched.step(WorkerKind::Maintainer);
        watched.moved(&[("ring_written", 1), ("seal", 1), ("segments_sealed", 1)]);
        watched.settle(WorkerKind::Maintainer);
        let out = watched.snapshot().count(Count::FreezeBytesOut) - before.count(Count::FreezeBytesOut);
        let frozen =
            [("freeze", 1), ("segments_frozen", 1), ("freeze_bytes_in", 64 + 16 * 16_448), ("freeze_bytes_out", out)];
        let deleted = [("deletion", 1), ("segments_deleted", 1)];
        match segment {
            0 | 1 => watched.moved(&[]),
            2 => watched.moved(&frozen),
            _ => watched.moved(&[&frozen[..], &deleted[..]].concat()),
        }
        if out > 0 {
            let path = format!("{LOG}/FS.{:08}.wal.lz4", segment - 2);
            assert_eq!(watched.machine.read_file(&path).unwrap().len() as u64, out);
        }
        bytes_out += out;
    }
    let snapshot = watched.snapshot();
    assert_eq!((snapshot.count(Count::SegmentsFrozen), snapshot.count(Count::SegmentsDeleted)), (3, 2));
    assert!(bytes_out > 0 && bytes_out < snapshot.count(Count::FreezeBytesIn));
}

/// A segment that does not verify is not frozen, and counts as nothing; a deletion that is tried again counts once.
#[test]
fn what_is_not_frozen_or_twice_tried_is_counted_as_it_is() {
    let config = Config { max_segments: 2, max_compressed_segments: 1, ..config() };
    let mut watched = open(&config);
    for segment in 0..3 {
        fill(&mut watched, segment);
        watched.step(WorkerKind::Maintainer);
        watched.moved_aside();
    }
    watched.machine.flip(format!("{LOG}/FS.00000000.wal"), 20_000, 1);
    watched.settle(WorkerKind::Maintainer);
    watched.moved(&[]);

    let mut watched = open(&config);
    for segment in 0..4 {
        fill(&mut watched, segment);
        watched.step(WorkerKind::Maintainer);
    }
    while watched.snapshot().count(Count::SegmentsFrozen) < 2 {
        assert_eq!(watched.step(WorkerKind::Maintainer), 1);
    }
    watched.moved_aside();
    // The deletion's rename is done; its removal is not.
    watched.machine.fail_next(OperationKind::Remove, 1, ENOSPC, Repeat::Once);
    assert_eq!(watched.step(WorkerKind::Maintainer), 0);
    watched.settle(WorkerKind::Maintainer);
    watched.moved(&[("deletion", 1), ("segments_deleted", 1)]);
}
