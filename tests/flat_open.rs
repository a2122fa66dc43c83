//! Opening does not grow with the log: a log of 2,000 segments costs the calls that one of 20 costs.
//!
//! No time is measured. The simulated machine counts every call by its kind, for both logs at the same steps: they must be equal, kind
//! by kind. Reading the names is one call, however many there are; that it takes longer for more of them is all that is left
//! (`make bench-cold` has the times). A seek may look at more segments, as a binary search does. The segments are written by the
//! encoder of `tests/decoder`, with one event each.

#![allow(clippy::print_stdout, reason = "a test prints its figures")]
#![allow(clippy::unwrap_used, reason = "a broken fixture ends the test")]

mod decoder;
#[path = "decoder/encode.rs"]
mod encode;
#[path = "decoder/encode_frozen.rs"]
mod encode_frozen;
#[path = "crash_stories/machine.rs"]
#[allow(dead_code, reason = "shared with crash_stories, which uses all of it")]
mod machine;

use std::path::Path;
use std::sync::Arc;

use encode::Plan;
use encode_frozen::many_frames;
use machine::{LOG, Recorder, config, event, first_seed};
use walrec::recorder::Config;
use walrec::recovery;
use walrec::storage::simulated::{OperationKind, SimulatedSystem};

const SMALL: u32 = 20;
const LARGE: u32 = 2_000;
/// Newest segments that are hot where the others are frozen.
const HOT: u32 = 4;
const BLOCKS: usize = 16;
const PRICE: i64 = 7;

/// How the segments of a log lie on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    AllHot,
    MostlyFrozen,
}

/// Calls by kind.
type Calls = [u64; OperationKind::ALL.len()];

fn calls(machine: &SimulatedSystem) -> Calls {
    OperationKind::ALL.map(|kind| machine.calls(kind))
}

/// What `run` costs.
fn cost<T>(machine: &SimulatedSystem, run: impl FnOnce() -> T) -> (Calls, T) {
    let before = calls(machine);
    let result = run();
    let after = calls(machine);
    (std::array::from_fn(|kind| after[kind] - before[kind]), result)
}

/// A log of `segments` sealed segments with one event each, opened and closed once.
fn log_of(segments: u32, layout: Layout) -> SimulatedSystem {
    let machine = SimulatedSystem::new(first_seed());
    let mut link = None;
    for index in 0..segments {
        let created_ts_ns = 1_000 + 10 * u64::from(index);
        let plan = Plan {
            index,
            capacity: BLOCKS,
            created_ts_ns,
            closed_ts_ns: created_ts_ns + 5,
            blocks: vec![1],
            open_events: 0,
            first_event_id: 1 + u64::from(index),
            guards: true,
            link,
        };
        let bytes = plan.encode();
        link = Some(encode::chain_after(&bytes, 1));
        let hot = layout == Layout::AllHot || index + HOT >= segments;
        if hot {
            machine.write_file(format!("{LOG}/FS.{index:08}.wal"), &bytes);
        } else {
            machine.write_file(format!("{LOG}/FS.{index:08}.wal.lz4"), &many_frames(&bytes, 1).concat());
        }
    }
    let recorder = Recorder::open_as(&machine, LOG, &keep_all()).unwrap();
    assert_eq!(recorder.manager.report().last_event_id, u64::from(segments));
    recorder.close();
    machine
}

fn keep_all() -> Config {
    Config { max_segments: u32::MAX, max_compressed_segments: u32::MAX, ..config() }
}

fn open_reader(machine: &SimulatedSystem, from: u64) -> recovery::Manager {
    recovery::Manager::open_on(Arc::new(machine.clone()), Path::new(LOG), from).unwrap()
}

/// The steps of a log's life that must not grow with it, each with its cost.
fn steps(machine: &SimulatedSystem, config: &Config) -> Vec<(&'static str, Calls)> {
    let open = || Recorder::open_as(machine, LOG, config).unwrap();
    let mut steps = Vec::new();
    let mut note = |name, calls| steps.push((name, calls));

    let (calls, recorder) = cost(machine, open);
    note("open after a clean close", calls);
    let last = recorder.manager.last_event_id();
    let (calls, ()) = cost(machine, || recorder.close());
    note("clean close without an append", calls);

    let (calls, mut reader) = cost(machine, || open_reader(machine, 0));
    note("reader's open", calls);
    let (calls, first) = cost(machine, || reader.next().unwrap());
    note("reader's first event", calls);
    assert_eq!(first.unwrap().event_id, 1);
    drop(reader);

    let mut recorder = open();
    let (calls, ()) = cost(machine, || {
        recorder.writer.append(&event(last + 1, PRICE)).unwrap();
        recorder.settle();
    });
    note("first append, and all that the workers do then", calls);
    let (calls, ()) = cost(machine, || {
        recorder.writer.append(&event(last + 2, PRICE)).unwrap();
        recorder.settle();
    });
    note("second append, the same", calls);
    recorder.writer.append(&event(last + 3, PRICE)).unwrap();
    recorder.kill();

    let (calls, recorder) = cost(machine, open);
    note("open after kill -9", calls);
    assert_eq!(recorder.manager.report().events_from_stage, 1);
    let (calls, ()) = cost(machine, || recorder.close());
    note("clean close", calls);
    steps
}

fn text(calls: &Calls) -> String {
    let named = OperationKind::ALL.iter().zip(calls).filter(|(_, calls)| **calls > 0);
    named.map(|(kind, calls)| format!("{kind:?} {calls}")).collect::<Vec<_>>().join(", ")
}

#[test]
fn a_log_of_2000_segments_costs_the_calls_of_one_of_20() {
    for layout in [Layout::AllHot, Layout::MostlyFrozen] {
        let (small, large) = (log_of(SMALL, layout), log_of(LARGE, layout));
        // Too many are compressed, and a floor holds them all: each look must end at the front.
        let held = Config { max_segments: 100, max_compressed_segments: 2, retention_floor: 1, ..config() };
        let limits = [("all kept", keep_all()), ("all held by a floor", held)];
        for (kept, config) in limits.into_iter().take(if layout == Layout::AllHot { 1 } else { 2 }) {
            for ((step, few), (_, many)) in steps(&small, &config).iter().zip(steps(&large, &config)) {
                let story = format!("{layout:?}, {kept}, {step}");
                println!("{story}: {}", text(few));
                assert_eq!(text(few), text(&many), "{story}: {SMALL} against {LARGE} segments");
            }
        }
        // A binary search opens one more segment for each doubling.
        let seek = |machine: &SimulatedSystem, last: u32| cost(machine, || open_reader(machine, u64::from(last))).0;
        let opens = |calls: Calls| calls[OperationKind::Open as usize];
        let (few, many) = (opens(seek(&small, SMALL)), opens(seek(&large, LARGE)));
        println!("{layout:?}, reader's open at the last event: {few} opens against {many}");
        assert!(many <= few + u64::from((LARGE / SMALL).ilog2()) + 1, "{few} against {many}");
        // The control: what does grow is seen.
        let whole = |machine: &SimulatedSystem| {
            let verified = cost(machine, || recovery::verify_on(Arc::new(machine.clone()), Path::new(LOG)).unwrap());
            assert!(verified.1.fault.is_none(), "{:?}", verified.1.fault);
            opens(verified.0)
        };
        assert!(whole(&large) > 50 * whole(&small));
    }
}
