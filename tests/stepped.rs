//! One small life of a log on the simulated system, by hand: appended in both ways, flushed in the middle of a block, rotated, killed,
//! recovered, closed, read. Small enough for Miri, which looks at every access to the heap-backed stage on the way
//! (`make races`); `cargo test` runs it as it is.
#![allow(clippy::unwrap_used, reason = "a test")]
#![allow(unsafe_code, reason = "builds events in reserved slots, and has the fault that Miri is to find")]

#[path = "crash_stories/machine.rs"]
#[allow(dead_code, reason = "shared with crash_stories, which uses more of it")]
mod machine;

use machine::{LOG, Recorder, event, hold, read_whole};
use walrec::recorder::{AppendError, Config, WorkerKind};
use walrec::storage::simulated::SimulatedSystem;

/// Of the first life, in the stage alone when it ends.
const KILLED_AT: u64 = 300;
const LAST: u64 = 700;
const PRICE: i64 = 5;

fn config() -> Config {
    Config { append_sample: 50, stage_slots: 3, ..machine::config() }
}

fn open(machine: &SimulatedSystem) -> Recorder {
    Recorder::open_as(machine, LOG, &config()).unwrap_or_else(|error| panic!("open: {error}"))
}

#[test]
fn a_life_of_a_log() {
    let machine = SimulatedSystem::new(machine::first_seed());
    let mut recorder = open(&machine);
    if std::env::var_os("WALREC_STEPPED_FAULT").is_some() {
        // Miri's control: far behind the end of the stage.
        let slot = recorder.writer.reserve().unwrap().as_ptr();
        // SAFETY: none. This is the fault.
        assert_ne!(unsafe { (*slot.add(1 << 20)).event_id }, u64::MAX);
    }
    recorder.append(1..=100, PRICE);
    recorder.flush();
    assert_eq!(recorder.manager.durable_event_id(), 100);
    recorder.append(101..=KILLED_AT, PRICE);
    assert_eq!(recorder.writer.append(&event(KILLED_AT, PRICE)), Err(AppendError::Order));
    recorder.kill();

    let mut recorder = open(&machine);
    assert_eq!(recorder.manager.last_event_id(), KILLED_AT);
    assert_eq!(recorder.manager.durable_event_id(), KILLED_AT);
    for id in KILLED_AT + 1..=500 {
        let mut slot = recorder.writer.reserve().unwrap();
        // SAFETY: the slot is reserved, and this thread's until the commit.
        unsafe { slot.as_mut().clone_from(&event(id, PRICE)) };
        recorder.writer.commit().unwrap();
    }
    assert_eq!(recorder.manager.meta_state().unwrap().last_event_id, 500);
    recorder.step(WorkerKind::Preparer);
    recorder.writer.rotate().unwrap();
    recorder.settle();
    recorder.append(501..=LAST, PRICE);
    assert!(recorder.manager.step(WorkerKind::Flusher).unwrap() > 0);
    let position = recorder.manager.meta_state().unwrap();
    assert_eq!(position.last_event_id, LAST);
    recorder.close();

    let events = read_whole(&machine, LOG, "a life");
    assert_eq!(hold(&events, |_| PRICE, "a life"), LAST);
}

/// Whoever has given up waiting for an event that was not there is not waited on any more: later events are flushed when their interval
/// is over, not at once.
#[test]
#[cfg(not(miri))]
fn a_wish_ends_with_its_wait() {
    use std::time::Duration;
    use walrec::recorder::{Error, SyncTimeout};

    let machine = SimulatedSystem::new(machine::first_seed());
    let config = Config { flush_interval_us: 1_000_000, ..config() };
    let mut recorder = Recorder::open_as(&machine, LOG, &config).unwrap();
    recorder.append(1..=1, PRICE);
    let flush = |recorder: &Recorder| recorder.manager.step(WorkerKind::Flusher).unwrap();
    let sync = |recorder: &Recorder, event_id, timeout| {
        let manager = &recorder.manager;
        let found = std::thread::scope(|scope| scope.spawn(|| manager.sync(event_id, timeout)).join().unwrap());
        assert!(matches!(found, Err(Error::TimedOut)), "{found:?}");
    };
    let mut put_off = 0;
    for id in 2..=30 {
        sync(
            &recorder,
            1_000_000,
            if id % 2 == 0 { SyncTimeout::WakeOnly } else { SyncTimeout::Limit(Duration::from_micros(100)) },
        );
        // What was appended when it was wished for is flushed at once.
        while flush(&recorder) > 0 {}
        assert_eq!(recorder.manager.durable_event_id(), id - 1);
        recorder.append(id..=id, PRICE);
        // A machine that stood still for the second of the interval is the one reason to flush by now.
        put_off += u32::from(flush(&recorder) == 0);
        sync(&recorder, id, SyncTimeout::WakeOnly);
        assert!(flush(&recorder) > 0, "event {id} is wanted");
    }
    assert!(put_off > 0, "every event is flushed at once");
    recorder.close();
}
