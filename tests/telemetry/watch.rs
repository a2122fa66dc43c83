//! What has moved since the last look, by name: so that each test says what moves, and by that also what does not.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use walrec::format::{Event, Reason};
use walrec::recorder::{Config, FullPolicy, Manager, SegmentWriter, WorkerKind, open_stepped};
use walrec::storage::simulated::SimulatedSystem;
use walrec::telemetry::{Line, Snapshot, Table};

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
pub fn values<T: Table>(snapshot: &Snapshot<T>) -> Moved {
    let counts = T::Count::LINES.iter().map(|&count| (count.line()[0].to_owned(), snapshot.count(count)));
    let timings = T::Timing::LINES.iter().map(|&timing| (timing.line()[0].to_owned(), snapshot.timing(timing).count()));
    let failures = Reason::ALL.iter().zip(&snapshot.checksum_failures);
    let failures = failures.map(|(reason, &count)| (format!("{reason:?}"), count));
    counts.chain(timings).chain(failures).collect()
}

/// For [`Seen::moved`]: by any number but 0.
pub const SOME: u64 = u64::MAX;

/// The values of the last look.
#[derive(Default)]
pub struct Seen(Moved);

impl Seen {
    /// Exactly these have moved since the last look, and by so much.
    #[track_caller]
    pub fn moved<T: Table>(&mut self, now: &Snapshot<T>, expected: &[(&str, u64)]) {
        let now = values(now);
        let since = |name: &String, value: u64| value - self.0.get(name).copied().unwrap_or(0);
        let expected: Moved = expected.iter().map(|&(name, by)| (name.to_owned(), by)).collect();
        let moved: Moved = now.iter().map(|(name, &value)| (name.clone(), since(name, value))).collect();
        let moved: Moved = moved
            .into_iter()
            .filter(|&(_, by)| by > 0)
            .map(|(name, by)| if expected.get(&name) == Some(&SOME) { (name, SOME) } else { (name, by) })
            .collect();
        assert_eq!(moved, expected, "what moved, and what was to move");
        self.0 = now;
    }

    /// What has moved up to here is of no interest.
    pub fn passed<T: Table>(&mut self, now: &Snapshot<T>) {
        self.0 = values(now);
    }
}

/// A stepped recorder on a simulated machine, and what it had measured at the last look.
pub struct Watched {
    pub machine: SimulatedSystem,
    pub writer: SegmentWriter,
    pub manager: Manager,
    seen: Seen,
}

impl Watched {
    pub fn open(machine: &SimulatedSystem, config: &Config) -> Self {
        let (writer, manager) = open_stepped(Arc::new(machine.clone()), Path::new(LOG), config)
            .unwrap_or_else(|error| panic!("open: {error}"));
        Self { machine: machine.clone(), writer, manager, seen: Seen::default() }
    }

    pub fn snapshot(&self) -> Snapshot {
        self.manager.telemetry().unwrap_or_else(|error| panic!("telemetry: {error}"))
    }

    /// Exactly these have moved since the last look, and by so much.
    #[track_caller]
    pub fn moved(&mut self, expected: &[(&str, u64)]) {
        let now = self.snapshot();
        self.seen.moved(&now, expected);
    }

    /// What has moved up to here is of no interest.
    pub fn moved_aside(&mut self) {
        let now = self.snapshot();
        self.seen.passed(&now);
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
