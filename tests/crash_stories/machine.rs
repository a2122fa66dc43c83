//! The machine of the stories: a stepped recorder, its events, and what a log holds.

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::{Arc, Mutex};

use walrec::format::{EVENT_BYTES, Event, Geometry};
use walrec::recorder::{
    AppendError, Config, Error, FullPolicy, LogSink, Manager, SegmentWriter, WorkerKind, open_stepped,
};
use walrec::recovery;
use walrec::storage::simulated::{CrashOptions, EntryChanges, Sectors, SimulatedSystem};

pub const LOG: &str = "/log";
/// The first segment's file.
pub const FIRST: &str = "/log/FS.00000000.wal";
pub const MEMORY: &str = "/dev/shm";
/// Events of a segment of [`config`].
pub const CAPACITY: u64 = 16 * 256;
/// The bytes of an event that are the engine's: all but its guard.
const GIVEN_BYTES: usize = 60;

/// The first seed of a test.
pub fn first_seed() -> u64 {
    match std::env::var("WALREC_SEED") {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("WALREC_SEED={text} is not a number")),
        Err(_) => 20_240_607,
    }
}

/// A step of splitmix64: chance for a story, from its seed alone.
pub fn draw(seed: &mut u64, below: u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *seed;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) % below
}

pub fn config() -> Config {
    Config { num_blocks: 16, stage_slots: 3, flush_interval_us: 0, full_policy: FullPolicy::Fail, ..Config::default() }
}

pub fn salvage() -> Config {
    Config { salvage: true, ..config() }
}

/// A configuration that keeps what is said.
pub fn listening(config: Config) -> (Config, Arc<Mutex<Vec<String>>>) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let ear = Arc::clone(&heard);
    let log = LogSink::new(move |_, text| ear.lock().unwrap().push(text.to_owned()));
    (Config { log, ..config }, heard)
}

/// What a test wants to happen for certain.
pub fn certain(sectors: Sectors, entries: EntryChanges) -> CrashOptions {
    CrashOptions { trash: None, sectors: Some(sectors), entries: Some(entries) }
}

/// The event with this id; the price marks who appended it.
pub fn event(event_id: u64, price: i64) -> Event {
    let low = u32::try_from(event_id & 0xffff_ffff).unwrap();
    Event {
        event_id,
        timestamp_ns: 1_700_000_000_000_000_000 + 137 * event_id,
        price,
        quantity: -i64::from(low),
        user_id: low.wrapping_mul(2_654_435_761),
        order_id: low,
        kind: low.to_le_bytes()[0] % 4,
        order_type: low.to_le_bytes()[0] % 2,
        side: low.to_le_bytes()[0] >> 7,
        user_bytes: *b"seventeen bytes !",
        guard: 0,
    }
}

/// Whether two events are the same in all that the engine gave.
pub fn same(one: &Event, other: &Event) -> bool {
    one.to_bytes()[..GIVEN_BYTES] == other.to_bytes()[..GIVEN_BYTES]
}

/// A recorder whose workers move only when told to.
pub struct Recorder {
    pub machine: SimulatedSystem,
    pub writer: SegmentWriter,
    pub manager: Manager,
}

impl Recorder {
    pub fn open_as(machine: &SimulatedSystem, path: &str, config: &Config) -> Result<Self, Error> {
        let (writer, manager) = open_stepped(Arc::new(machine.clone()), Path::new(path), config)?;
        Ok(Self { machine: machine.clone(), writer, manager })
    }

    pub fn open(machine: &SimulatedSystem) -> Self {
        Self::open_as(machine, LOG, &config()).unwrap_or_else(|error| panic!("open: {error}"))
    }

    /// Appends events with these ids; workers that make room are stepped when there is none. Ends early on a machine that went off.
    pub fn append(&mut self, ids: RangeInclusive<u64>, price: i64) {
        for id in ids {
            let mut result = self.writer.append(&event(id, price));
            for _ in 0..8 {
                if result != Err(AppendError::Backpressure) || self.machine.is_off() {
                    break;
                }
                self.flush_until_off();
                // An error has poisoned the recorder: the append tells.
                let _ = self.manager.step(WorkerKind::Preparer);
                result = self.writer.append(&event(id, price));
            }
            if result.is_err() && self.machine.is_off() {
                return;
            }
            result.unwrap_or_else(|error| panic!("append {id}: {error}"));
        }
    }

    /// Steps a worker until it has nothing to do.
    pub fn step(&self, worker: WorkerKind) {
        while self.manager.step(worker).unwrap_or_else(|error| panic!("{worker:?}: {error}")) > 0 {}
    }

    pub fn flush(&self) {
        self.step(WorkerKind::Flusher);
    }

    /// Flushes until the machine goes off, or there is nothing more to flush.
    pub fn flush_until_off(&self) {
        while !self.machine.is_off() && self.manager.step(WorkerKind::Flusher).is_ok_and(|done| done > 0) {}
    }

    /// Lets every worker do all there is.
    pub fn settle(&self) {
        for worker in [WorkerKind::Flusher, WorkerKind::Maintainer, WorkerKind::Meta, WorkerKind::Preparer] {
            self.step(worker);
        }
    }

    pub fn flags(&self) -> u32 {
        self.manager.report().flags
    }

    pub fn close(self) {
        self.manager.shutdown().unwrap_or_else(|error| panic!("shutdown: {error}"));
    }

    /// kill -9: the files and the stage stay as they are, the recorder's end changes nothing any more.
    pub fn kill(self) {
        self.machine.crash_process();
    }
}

/// All events of a log by the strict reader, and what stopped it before the end.
pub fn read(machine: &SimulatedSystem, path: &str) -> (Vec<Event>, Option<recovery::Error>) {
    let mut events = Vec::new();
    let mut reader = match recovery::Manager::open_on(Arc::new(machine.clone()), Path::new(path), 0) {
        Ok(reader) => reader,
        Err(error) => return (events, Some(error)),
    };
    loop {
        match reader.next() {
            Ok(Some(event)) => events.push(event),
            Ok(None) => return (events, None),
            Err(error) => return (events, Some(error)),
        }
    }
}

/// All events of a log that must read to its end.
pub fn read_whole(machine: &SimulatedSystem, path: &str, story: &str) -> Vec<Event> {
    let (events, error) = read(machine, path);
    assert!(error.is_none(), "{story}: reading after {} events: {}", events.len(), error.unwrap());
    events
}

/// The log is exactly the events `1..=last`, as `price` marks them. Gives `last`.
pub fn hold(events: &[Event], price: impl Fn(u64) -> i64, story: &str) -> u64 {
    for (id, found) in (1..).zip(events) {
        assert!(
            same(found, &event(id, price(id))),
            "{story}: event {id} is {found:?}, not that of price {}",
            price(id)
        );
    }
    events.len() as u64
}

/// The directory of the stage in use below `parent`; exactly one must be there.
pub fn stage_directory(machine: &SimulatedSystem, parent: &str) -> String {
    let names: Vec<String> = machine.list(parent).unwrap_or_default();
    let stages: Vec<&String> = names.iter().filter(|name| !name.contains(".aside")).collect();
    assert_eq!(stages.len(), 1, "stages in {parent}: {names:?}");
    format!("{parent}/{}", stages[0])
}

/// The part of a file that holds the events of these slots.
pub fn slots_of(begin: u32, end: u32) -> std::ops::Range<usize> {
    Geometry::event_offset(begin)..Geometry::event_offset(end - 1) + EVENT_BYTES
}
