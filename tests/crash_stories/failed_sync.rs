//! A sync fails once, and the next ones succeed: nothing after the failure may be called durable.

use std::path::Path;
use std::time::Duration;

use walrec::recorder::{AppendError, Error, SyncTimeout, WorkerKind};
use walrec::storage::simulated::{CrashOptions, EntryChanges, OperationKind, Repeat, Sectors, SimulatedSystem};
use walrec::storage::{Access, System as _};

use super::machine::{CAPACITY, LOG, MEMORY, Recorder, certain, event, first_seed, hold, read, read_whole};

const EIO: i32 = 5;
const PRICE: i64 = 3;
const BURST: u64 = 500;
/// Events that may still be accepted after a failure.
const GRACE: u64 = 256;
const WORKERS: [WorkerKind; 4] = [WorkerKind::Preparer, WorkerKind::Flusher, WorkerKind::Maintainer, WorkerKind::Meta];

/// A recorder that has met its failing sync.
struct Failed {
    recorder: Recorder,
    worker: WorkerKind,
    text: String,
    durable: u64,
    appended: u64,
}

/// Appends and steps until the `nth` sync fails; `None` when it never comes.
fn run(kind: OperationKind, nth: u64, seed: u64) -> Option<Failed> {
    let machine = SimulatedSystem::new(seed);
    let mut recorder = Recorder::open(&machine);
    machine.fail_next(kind, nth, EIO, Repeat::Once);
    let mut appended = 0;
    while appended < 2 * CAPACITY {
        for id in appended + 1..=appended + BURST {
            match recorder.writer.append(&event(id, PRICE)) {
                Ok(()) => appended = id,
                Err(AppendError::Backpressure) => break,
                Err(error) => panic!("sync {nth}: append {id}: {error}"),
            }
        }
        for worker in WORKERS {
            let durable = recorder.manager.durable_event_id();
            match recorder.manager.step(worker) {
                Ok(_) => {}
                Err(Error::Failed(text)) => return Some(Failed { recorder, worker, text, durable, appended }),
                Err(error) => panic!("sync {nth}: {worker:?}: {error}"),
            }
        }
    }
    None
}

/// The recorder stays poisoned, whatever is tried.
fn stays_failed(failed: &mut Failed, story: &str) {
    let Failed { recorder, text, durable, appended, .. } = failed;
    assert!(text.contains(LOG) && text.contains("os error 5"), "{story}: no file or no errno: {text}");
    let accepted = (*appended + 1..=*appended + CAPACITY)
        .take_while(|&id| recorder.writer.append(&event(id, PRICE)).is_ok())
        .count();
    *appended += accepted as u64;
    assert!(accepted as u64 <= GRACE, "{story}: {accepted} events after the failure");
    assert_eq!(recorder.writer.append(&event(*appended + 1, PRICE)), Err(AppendError::Failed), "{story}");
    for worker in WORKERS.into_iter().cycle().take(40) {
        let _ = recorder.manager.step(worker);
        assert_eq!(recorder.manager.durable_event_id(), *durable, "{story}: the watermark moved");
    }
    for timeout in [SyncTimeout::WakeOnly, SyncTimeout::Limit(Duration::ZERO), SyncTimeout::Forever] {
        match recorder.manager.sync(0, timeout) {
            Err(Error::Failed(again)) => assert_eq!(&again, text, "{story}: not the first error"),
            // Nothing was waiting when the failing sync was not the flusher's.
            Ok(()) if *durable == *appended => {}
            other => panic!("{story}: sync: {other:?}"),
        }
    }
    let (events, error) = read(&recorder.machine, LOG);
    assert!(error.is_none(), "{story}: {}", error.unwrap());
    let read = hold(&events, |_| PRICE, story);
    assert!(read <= *durable, "{story}: the reader gives event {read}, {durable} is durable");
}

/// Everything appended is there after the next open, and durable by then.
fn recovers_all(machine: &SimulatedSystem, appended: u64, story: &str) {
    let recorder = Recorder::open(machine);
    assert_eq!(recorder.manager.durable_event_id(), appended, "{story}");
    assert_eq!(hold(&read_whole(machine, LOG, story), |_| PRICE, story), appended, "{story}");
    let after = machine.snapshot().power_cut(0, &certain(Sectors::Nothing, EntryChanges::Nothing));
    recorder.kill();
    let story = format!("{story}, power cut after the open");
    drop(Recorder::open(&after));
    assert_eq!(hold(&read_whole(&after, LOG, &story), |_| PRICE, &story), appended, "{story}");
}

fn play(kind: OperationKind, nth: u64, seed: u64) -> Option<(WorkerKind, u64)> {
    let mut failed = run(kind, nth, seed)?;
    let story = format!("{kind:?} {nth} failed in {:?}", failed.worker);
    stays_failed(&mut failed, &story);
    let Failed { recorder, worker, text, durable, appended } = failed;
    let snapshot = recorder.machine.snapshot();
    // A power cut now: what was durable is there, and the watermark was no lie.
    for cut in 0..3 {
        let after = snapshot.power_cut(seed + cut, &CrashOptions::default());
        drop(Recorder::open(&after));
        let story = format!("{story}, power cut {cut}");
        let recovered = hold(&read_whole(&after, LOG, &story), |_| PRICE, &story);
        assert!((durable..=appended).contains(&recovered), "{story}: {recovered}, {durable} were durable");
    }
    // Killed and opened again in the same boot; the pages that look clean may still be in the cache, or be gone.
    recovers_all(&snapshot.process_crash(), appended, &format!("{story}, killed"));
    let evicted = snapshot.process_crash();
    evicted.evict_cache();
    recovers_all(&evicted, appended, &format!("{story}, killed, cache dropped"));
    // Shut down: the first error, and stage and record stay.
    match recorder.manager.shutdown() {
        Err(Error::Failed(again)) => assert_eq!(again, text, "{story}: shutdown gives another error"),
        other => panic!("{story}: shutdown: {other:?}"),
    }
    let machine = recorder.machine.clone();
    drop(recorder);
    assert_eq!(machine.list(MEMORY).unwrap().len(), 1, "{story}: the stage is gone");
    let record = machine.read_file(format!("{LOG}/walrec.stage")).unwrap();
    assert!(record.starts_with(b"open "), "{story}: {}", String::from_utf8_lossy(&record));
    recovers_all(&machine, appended, &format!("{story}, shut down"));
    Some((worker, appended - durable))
}

#[test]
fn nothing_after_a_failed_sync_is_durable() {
    let seed = first_seed();
    for kind in [OperationKind::SyncData, OperationKind::SyncDirectory] {
        let (mut positions, mut only_in_stage, mut workers) = (0_u64, 0, Vec::new());
        while let Some((worker, kept)) = play(kind, positions + 1, seed + positions) {
            positions += 1;
            only_in_stage += kept;
            if !workers.contains(&worker) {
                workers.push(worker);
            }
        }
        println!(
            "failed sync: seed {seed}, {kind:?} at {positions} positions in {workers:?}; {only_in_stage} events were appended \
             and not durable, none lost"
        );
        assert!(positions >= 4, "only {positions} positions");
        assert!(only_in_stage > 0, "no event was at stake");
    }
}

/// A partial block's events were durable, and `wal_meta.dat` tells of them; the sync of its header, made when the segment ended, fails.
/// The next open sees that header in the cache alone: sealing the segment on it would make durable events corrupt.
#[test]
fn a_tail_header_that_was_not_synced_is_written_again() {
    const LAST: u64 = 300;
    let machine = SimulatedSystem::new(first_seed());
    let mut first = Recorder::open(&machine);
    first.append(1..=LAST, PRICE);
    first.flush();
    first.kill();
    // Opening makes all of it durable, says so in wal_meta.dat, and goes on in the same segment.
    let mut second = Recorder::open(&machine);
    second.step(WorkerKind::Preparer);
    second.writer.rotate().unwrap();
    second.append(LAST + 1..=LAST + 1, PRICE);
    machine.fail_next(OperationKind::SyncData, 1, EIO, Repeat::Once);
    assert!(matches!(second.manager.step(WorkerKind::Flusher), Err(Error::Failed(_))), "the tail is synced");
    second.kill();
    recovers_all(&machine, LAST + 1, "the sync of a tail's header failed");
    println!("failed sync: a header that only the cache had was written again, all of {} events kept", LAST + 1);
}

/// The control: who syncs again and believes it loses the bytes.
#[test]
fn a_second_sync_proves_nothing() {
    let machine = SimulatedSystem::new(first_seed());
    machine.write_file("/data/file", &[1; 4096]);
    let directory = machine.open_directory(Path::new("/data"), true).unwrap();
    let file = directory.open_file("file", Access::Write).unwrap();
    machine.fail_next(OperationKind::SyncData, 1, EIO, Repeat::Once);
    file.write_all_at(&[2; 4096], 0).unwrap();
    assert_eq!(file.sync_data().unwrap_err().raw_os_error(), Some(EIO));
    file.sync_data().unwrap();
    assert_eq!(machine.read_file("/data/file"), Some(vec![2; 4096]), "the page looks clean");
    let after = machine.snapshot().power_cut(0, &certain(Sectors::Nothing, EntryChanges::Nothing));
    assert_eq!(after.read_file("/data/file"), Some(vec![1; 4096]), "the second sync made nothing durable");
    println!("failed sync: control: after a second, successful sync the write is gone");
}
