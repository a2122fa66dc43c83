//! What has moved since the last look, by name: so that each test says what moves, and by that also what does not.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use walrec::format::{Event, Reason};
use walrec::recorder::{Config, FullPolicy, Manager, SegmentWriter, WorkerKind, open_stepped};
use walrec::storage::simulated::SimulatedSystem;
use walrec::telemetry::{Count, Snapshot, Timing};

pub type Moved = BTreeMap<String, u64>;

pub const LOG: &str = "/log";
/// Events of a segment of [`config`].
pub const CAPACITY: u64 = 16 * 256;

pub fn config() -> Config {
    Config {
        num_blocks: 16,
        stage_slots: 3,
        flush_interval_us: 0,
        full_policy: FullPolicy::Fail,
        append_sample: u32::MAX,
        ..Config::default()
    }
}

pub fn event(event_id: u64) -> Event {
    Event {
        event_id,
        timestamp_ns: event_id,
        price: 1,
        quantity: 1,
        user_id: 1,
        order_id: 1,
        kind: 0,
        order_type: 0,
        side: 0,
        user_bytes: [7; 17],
        guard: 0,
    }
}

/// Counters, and the counts of the histograms.
pub fn values(snapshot: &Snapshot) -> Moved {
    let counts = Count::ALL.iter().map(|&count| (count.texts().0.to_owned(), snapshot.count(count)));
    let timings = Timing::ALL.iter().map(|&timing| (timing.texts().0.to_owned(), snapshot.timing(timing).count()));
    let failures = Reason::ALL.iter().zip(&snapshot.checksum_failures);
    let failures = failures.map(|(reason, &count)| (format!("{reason:?}"), count));
    counts.chain(timings).chain(failures).collect()
}

/// A stepped recorder on a simulated machine, and what it had measured at the last look.
pub struct Watched {
    pub machine: SimulatedSystem,
    pub writer: SegmentWriter,
    pub manager: Manager,
    seen: Moved,
}

impl Watched {
    pub fn open(machine: &SimulatedSystem, config: &Config) -> Self {
        let (writer, manager) = open_stepped(Arc::new(machine.clone()), Path::new(LOG), config)
            .unwrap_or_else(|error| panic!("open: {error}"));
        Self { machine: machine.clone(), writer, manager, seen: Moved::new() }
    }

    pub fn snapshot(&self) -> Snapshot {
        self.manager.telemetry().unwrap_or_else(|error| panic!("telemetry: {error}"))
    }

    /// Exactly these have moved since the last look, and by so much.
    #[track_caller]
    pub fn moved(&mut self, expected: &[(&str, u64)]) {
        let now = values(&self.snapshot());
        let since = |name: &String, value: u64| value - self.seen.get(name).copied().unwrap_or(0);
        let moved: Moved = now.iter().map(|(name, &value)| (name.clone(), since(name, value))).collect();
        let moved: Moved = moved.into_iter().filter(|&(_, by)| by > 0).collect();
        let expected: Moved = expected.iter().map(|&(name, by)| (name.to_owned(), by)).collect();
        assert_eq!(moved, expected, "what moved, and what was to move");
        self.seen = now;
    }

    /// What has moved up to here is of no interest.
    pub fn moved_aside(&mut self) {
        self.seen = values(&self.snapshot());
    }

    pub fn append(&mut self, ids: std::ops::RangeInclusive<u64>) {
        for id in ids {
            self.writer.append(&event(id)).unwrap_or_else(|error| panic!("append {id}: {error}"));
        }
    }

    /// One duty cycle.
    pub fn step(&self, worker: WorkerKind) -> usize {
        self.manager.step(worker).unwrap_or_else(|error| panic!("{worker:?}: {error}"))
    }

    /// Duty cycles until there is nothing to do.
    pub fn settle(&self, worker: WorkerKind) {
        while self.step(worker) > 0 {}
    }
}
