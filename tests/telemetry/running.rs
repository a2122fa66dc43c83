//! A recorder with its threads, on the real system: workers' cycles and sleeps, the rate, the stage's flag.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use walrec::recorder::{Config, open};
use walrec::telemetry::{Count, Snapshot, Timing};

use super::watch::event;

const LIMIT: Duration = Duration::from_secs(60);

fn directory(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("telemetry-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    path
}

/// Looks until it is so, or too late.
fn wait(what: &str, look: impl Fn() -> Snapshot, so: impl Fn(&Snapshot) -> bool) -> Snapshot {
    let begin = Instant::now();
    loop {
        let snapshot = look();
        if so(&snapshot) {
            return snapshot;
        }
        assert!(begin.elapsed() < LIMIT, "{what} has not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn workers_and_rate() {
    let place = directory("workers");
    let config = Config { num_blocks: 16, append_sample: 16, ..Config::default() };
    let (mut writer, manager) = open(&place.join("log"), &config).unwrap();
    let look = || manager.telemetry().unwrap();
    assert_eq!(look().gauges.append_rate, 0);
    for id in 1..=20_000 {
        writer.append(&event(id)).unwrap();
    }
    let workers = [
        (Timing::LoopPrepare, Timing::SleepPrepare),
        (Timing::LoopFlush, Timing::SleepFlush),
        (Timing::LoopMaintain, Timing::SleepMaintain),
        (Timing::LoopMeta, Timing::SleepMeta),
    ];
    for (cycle, sleep) in workers {
        // A sleep is over and another cycle has been made; one sleeps a second at a time.
        let snapshot =
            wait("a cycle and a sleep", look, |now| now.timing(sleep).count() > 0 && now.timing(cycle).count() > 1);
        assert!(snapshot.timing(cycle).count() > snapshot.timing(sleep).count());
    }
    let snapshot = wait("a rate", look, |now| now.gauges.append_rate > 0);
    assert!(snapshot.gauges.append_rate <= 20_000_000);
    assert!(snapshot.gauges.stage_seconds < u64::MAX && snapshot.gauges.log_seconds < u64::MAX);
    assert!(snapshot.gauges.free_bytes > 0 && snapshot.gauges.free_bytes < u64::MAX);
    // It falls back to nothing when nothing comes.
    wait("a rate of 0", look, |now| now.gauges.append_rate == 0 && now.gauges.stage_seconds == u64::MAX);
    let snapshot = wait("the last event", look, |now| now.count(Count::EventsDurable) == 20_000);
    assert_eq!(snapshot.count(Count::EventsAppended), 20_000);
    assert!(
        snapshot.timing(Timing::Append).count().abs_diff(1_250) < 125,
        "{}",
        snapshot.timing(Timing::Append).count()
    );
    assert!(snapshot.timing(Timing::DurableLag).count() > 0);
    manager.shutdown().unwrap();
    // It can still be asked.
    assert_eq!(manager.telemetry().unwrap().count(Count::EventsAppended), 20_000);
    drop((writer, manager));
    let _ = std::fs::remove_dir_all(&place);
}

/// Counts seen by a thread that looks all the time only grow, and never run ahead of what was appended.
#[test]
fn looked_at_while_appends_run() {
    let place = directory("looked-at");
    let config = Config { num_blocks: 16, append_sample: 3, ..Config::default() };
    let (mut writer, manager) = open(&place.join("log"), &config).unwrap();
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let (mut last, mut looks) = (0, 0_u64);
            while last < 150_000 {
                let snapshot = manager.telemetry().unwrap();
                let appended = snapshot.count(Count::EventsAppended);
                // Of the events of this recorder, ids are counted from 1.
                assert!(appended >= last && appended <= manager.last_event_id() + 1, "{last} {appended}");
                assert!(snapshot.count(Count::EventsDurable) <= appended);
                (last, looks) = (appended, looks + 1);
            }
            looks
        });
        for id in 1..=150_000 {
            writer.append(&event(id)).unwrap();
        }
        println!("FIGURE {} snapshots beside 150,000 appends", looking.join().unwrap());
    });
    drop((writer, manager));
    let _ = std::fs::remove_dir_all(&place);
}

#[test]
fn a_stage_that_is_removed_is_flagged() {
    let place = directory("unlinked");
    let stage = place.join("stage");
    std::fs::create_dir(&stage).unwrap();
    let config = Config { num_blocks: 16, stage_dir: Some(stage.clone()), ..Config::default() };
    let (writer, manager) = open(&place.join("log"), &config).unwrap();
    let look = || manager.telemetry().unwrap();
    // Longer than the time between two looks of the maintainer.
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(look().gauges.stage_unlinked, 0);
    std::fs::remove_dir_all(&stage).unwrap();
    wait("the flag", look, |now| now.gauges.stage_unlinked == 1);
    drop((writer, manager));
    let _ = std::fs::remove_dir_all(&place);
}

/// A clean close keeps the last segment and its count. (That a closing thread which is held up loses neither was tried by hand, with a
/// sleep in the shutdown.)
#[test]
fn the_last_segment_s_count_outlives_the_shutdown() {
    let place = directory("outlives");
    for round in 0..20 {
        let log = place.join(round.to_string());
        let (mut writer, manager) = open(&log, &Config { num_blocks: 16, ..Config::default() }).unwrap();
        for id in 1..=2_560 {
            writer.append(&event(id)).unwrap();
        }
        manager.sync(0, walrec::recorder::SyncTimeout::Forever).unwrap();
        manager.shutdown().unwrap();
        assert_eq!(manager.telemetry().unwrap().count(Count::EventsAppended), 2_560);
        drop((writer, manager));
        let mut reader = walrec::recovery::Manager::open(&log, 0).unwrap();
        for id in 1..=2_560 {
            assert_eq!(reader.next().unwrap().map(|event| event.event_id), Some(id), "round {round}");
        }
    }
    let _ = std::fs::remove_dir_all(&place);
}
