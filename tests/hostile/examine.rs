//! What must hold of any log directory, whatever its files say: everything that reads or opens a log is let loose on a simulated
//! machine, and held to the same few rules.
//!
//! 1. No call panics, and none goes on for ever.
//! 2. An event that is given is a true one, and ids increase. An error of the strict reader stays, with nothing behind it.
//! 3. What the strict reader gives, the salvaging one gives too. Verification finds no fault exactly where the strict reader comes to
//!    the end, and then counts the same events.
//! 4. A seek gives a true event at or after its target; in a sound log the first one.
//! 5. Readers change nothing, and neither does an opening that fails.
//! 6. After an opening the strict reader gives what it gave before, and what the recorder appended. After a salvage it comes to the end.
//! 7. No directory is opened but the log's, its own and the stage's, whose name follows from the log's identity.

#![allow(dead_code, reason = "each crate that includes this uses its own part")]

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use walrec::format::{Event, Id128, Reason};
use walrec::recorder::{self, Config, Error as OpenError, FullPolicy, WorkerKind, open_stepped};
use walrec::recovery::{self, Item, Salvager, VerifyReport, verify_on};
use walrec::storage::simulated::SimulatedSystem;
use walrec::storage::{Directory, System};

use super::decoder::{EventBytes, id_of};
use super::with_library::{bytes_of, engine_event};

/// Where the log lies.
pub const LOG: &str = "/log";
/// More items than any log here can give.
const MOST_ITEMS: usize = 2_000_000;

/// What is known of the log.
#[derive(Clone, Copy)]
pub struct Truth<'a> {
    /// Whether an event is one that was written.
    pub holds: &'a dyn Fn(&EventBytes) -> bool,
    /// Checksums were made for what was changed. Ids need not grow from segment to segment then, so a seek may end anywhere; and a guard
    /// may prove an event where none was, which salvage takes for a true one, with what its id hides behind it.
    pub forged: bool,
}

impl<'a> Truth<'a> {
    pub fn of(holds: &'a dyn Fn(&EventBytes) -> bool) -> Self {
        Self { holds, forged: false }
    }
}

/// What reading gave until it stopped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    pub events: Vec<EventBytes>,
    pub error: Option<String>,
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Found {
    pub strict: Reading,
    pub salvaged: usize,
    pub gaps: usize,
    /// Why verification objected.
    pub fault: Option<Reason>,
    /// What the opening said, if it was tried.
    pub opened: Option<Result<(), String>>,
}

impl Found {
    /// Nothing objected, and everything is there.
    pub fn is_sound(&self) -> bool {
        self.strict.error.is_none() && self.fault.is_none() && self.opened.as_ref().is_none_or(Result::is_ok)
    }
}

/// A machine that notes which directories are opened by path.
#[derive(Debug)]
struct Watched {
    machine: SimulatedSystem,
    foreign: Mutex<Option<PathBuf>>,
}

impl Watched {
    fn new(machine: &SimulatedSystem) -> Arc<Self> {
        Arc::new(Self { machine: machine.clone(), foreign: Mutex::new(None) })
    }

    /// Rule 7.
    fn note(&self, path: &Path) {
        let last = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let stage = last.strip_prefix("walrec-").is_some_and(|rest| {
            let (id, aside) = rest.split_at_checked(32).unwrap_or_default();
            id.bytes().all(|byte| byte.is_ascii_hexdigit())
                && id.len() == 32
                && (aside.is_empty() || aside.starts_with(".aside-"))
        });
        let inside = path.parent() == Some(Path::new(LOG)) && (last == "stage" || last.starts_with("stage.aside-"));
        if path != Path::new("/dev/shm") && path != Path::new(LOG) && !inside && !stage {
            *self.foreign.lock().unwrap() = Some(path.to_owned());
        }
    }

    fn check(&self) -> Result<(), String> {
        let foreign = self.foreign.lock().unwrap();
        foreign.as_ref().map_or(Ok(()), |path| Err(format!("{} was opened", path.display())))
    }
}

impl System for Watched {
    fn open_directory(&self, path: &Path, follow: bool) -> io::Result<Arc<dyn Directory>> {
        self.note(path);
        self.machine.open_directory(path, follow)
    }

    fn create_directory(&self, path: &Path) -> io::Result<bool> {
        self.note(path);
        self.machine.create_directory(path)
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        self.note(path);
        self.machine.remove_directory(path)
    }

    fn rename_directory(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.note(from);
        self.note(to);
        self.machine.rename_directory(from, to)
    }

    fn absolute_path(&self, path: &Path) -> io::Result<PathBuf> {
        self.machine.absolute_path(path)
    }

    fn boot_id(&self) -> io::Result<Id128> {
        self.machine.boot_id()
    }

    fn random_id(&self) -> io::Result<Id128> {
        self.machine.random_id()
    }

    fn realtime_ns(&self) -> u64 {
        self.machine.realtime_ns()
    }
}

/// The strict reader, from its first event on.
pub fn read_strictly(system: &Arc<dyn System>) -> Result<Reading, String> {
    let mut reading = Reading::default();
    let mut reader = match recovery::Manager::open_on(Arc::clone(system), Path::new(LOG), 0) {
        Ok(reader) => reader,
        Err(why) => {
            reading.error = Some(why.to_string());
            return Ok(reading);
        }
    };
    let mut stops = 0;
    while stops < 3 {
        match reader.next() {
            Ok(Some(event)) if stops == 0 => reading.events.push(bytes_of(&event)),
            Ok(None) if reading.error.is_none() => stops += 1,
            Err(why) if stops == 0 => (reading.error, stops) = (Some(why.to_string()), 1),
            Err(why) if reading.error == Some(why.to_string()) => stops += 1,
            other => return Err(format!("behind {:?} the strict reader gives {other:?}", reading.error)),
        }
        if reading.events.len() > MOST_ITEMS {
            return Err("the strict reader does not end".into());
        }
    }
    Ok(reading)
}

/// The salvaging reader: its events and how many ranges.
fn read_salvaging(system: &Arc<dyn System>) -> Result<(Vec<EventBytes>, usize), String> {
    let (mut events, mut gaps) = (Vec::new(), 0);
    let mut reader = match Salvager::open_on(Arc::clone(system), Path::new(LOG), 0) {
        Ok(reader) => reader,
        Err(recovery::Error::NotFound(_)) => return Ok((events, gaps)),
        Err(why) => return Err(format!("the salvaging reader gave up: {why}")),
    };
    while events.len() + gaps < MOST_ITEMS {
        match reader.next() {
            Ok(Item::Event(event)) => events.push(bytes_of(&event)),
            Ok(Item::Gap(gap)) if gap.id_after == 0 || gap.id_after > gap.id_before => gaps += 1,
            Ok(Item::Gap(gap)) => return Err(format!("a range that ends before it begins: {gap:?}")),
            Ok(Item::End) => {
                return match reader.next() {
                    Ok(Item::End) => Ok((events, gaps)),
                    other => Err(format!("behind its end the salvaging reader gives {other:?}")),
                };
            }
            Err(why) => return Err(format!("the salvaging reader gave up after {} events: {why}", events.len())),
        }
    }
    Err("the salvaging reader does not end".into())
}

/// Rule 2.
fn hold_true(who: &str, events: &[EventBytes], truth: Truth<'_>) -> Result<(), String> {
    let mut last = 0;
    for event in events {
        if id_of(event) <= last {
            return Err(format!("{who}: event {} after {last}", id_of(event)));
        }
        last = id_of(event);
        if !(truth.holds)(event) {
            return Err(format!("{who}: event {last} was never written so: {event:02x?}"));
        }
    }
    Ok(())
}

/// Rule 3, first half: `part` lies in `whole`, in order.
fn hold_within(part: &[EventBytes], whole: &[EventBytes]) -> Result<(), String> {
    let mut rest = whole.iter();
    for event in part {
        if !rest.any(|one| one == event) {
            return Err(format!("the strict reader gives event {}, the salvaging one does not", id_of(event)));
        }
    }
    Ok(())
}

/// Rule 3, second half.
fn hold_verdict(strict: &Reading, verdict: &Result<VerifyReport, recovery::Error>) -> Result<(), String> {
    let told = match verdict {
        Ok(report) => report.fault.as_ref().map(|fault| fault.corruption.to_string()),
        Err(why) => Some(why.to_string()),
    };
    if told.is_some() != strict.error.is_some() {
        let events = strict.events.len();
        return Err(format!("verification says {told:?}, the strict reader {:?} after {events} events", strict.error));
    }
    if let (None, Ok(report)) = (&told, verdict) {
        let found = (report.events, report.first_event_id, report.last_event_id);
        let read =
            (strict.events.len() as u64, strict.events.first().map_or(0, id_of), strict.events.last().map_or(0, id_of));
        if found != read {
            return Err(format!("verification counts {found:?}, the strict reader gave {read:?}"));
        }
    }
    Ok(())
}

/// Rule 4, for ids and times around some of the events.
fn seek_around(system: &Arc<dyn System>, strict: &Reading, truth: Truth<'_>) -> Result<(), String> {
    let sound = strict.error.is_none();
    let mut chosen: Vec<EventBytes> = Vec::new();
    if !strict.events.is_empty() {
        let last = strict.events.len() - 1;
        chosen.extend([last / 3, last].map(|place| strict.events[place]));
    }
    let targets = chosen.iter().map(id_of).chain([1]);
    for target in targets {
        let expected = strict.events.iter().find(|event| id_of(event) >= target);
        let found =
            recovery::Manager::open_on(Arc::clone(system), Path::new(LOG), target).and_then(|mut reader| reader.next());
        match found {
            Ok(found) => {
                let found = found.map(|event| bytes_of(&event));
                if found.is_some_and(|event| id_of(&event) < target || !(truth.holds)(&event)) {
                    return Err(format!("seeking {target} gives {found:?}"));
                }
                if sound && !truth.forged && found.as_ref() != expected {
                    return Err(format!(
                        "seeking {target} gives {:?}, not {:?}",
                        found.as_ref().map(id_of),
                        expected.map(id_of)
                    ));
                }
            }
            // Older ones were retired.
            Err(recovery::Error::NotFound(_)) if strict.events.first().is_none_or(|first| target < id_of(first)) => {}
            Err(why) if sound && !truth.forged => return Err(format!("seeking {target} in a sound log: {why}")),
            Err(_) => {}
        }
        let salvaged = Salvager::open_on(Arc::clone(system), Path::new(LOG), target);
        if let Ok(mut reader) = salvaged
            && let Ok(Item::Event(event)) = reader.next()
            && (event.event_id < target || !(truth.holds)(&bytes_of(&event)))
        {
            return Err(format!("salvaging from {target} gives {event:?}"));
        }
    }
    for event in chosen.iter().take(1) {
        let time = Event::from_bytes(event).timestamp_ns;
        let Ok(mut reader) = recovery::Manager::open_on(Arc::clone(system), Path::new(LOG), 0) else { break };
        if let Ok(Some(found)) = reader.seek_time(time).and_then(|()| reader.next())
            && (found.timestamp_ns < time || !(truth.holds)(&bytes_of(&found)))
        {
            return Err(format!("seeking time {time} gives {found:?}"));
        }
    }
    Ok(())
}

/// Rules 1 to 5 and 7, for everything that only reads.
pub fn examine_reading(machine: &SimulatedSystem, truth: Truth<'_>) -> Result<Found, String> {
    read_all(machine, truth, Beside { salvage: true, verify: true, seek: true })
}

/// The same without seeks.
pub fn examine_briefly(machine: &SimulatedSystem, truth: Truth<'_>) -> Result<Found, String> {
    read_all(machine, truth, Beside { salvage: true, verify: true, seek: false })
}

/// What is done beside the strict reading.
#[derive(Clone, Copy, Debug, Default)]
pub struct Beside {
    pub salvage: bool,
    pub verify: bool,
    pub seek: bool,
}

/// Rules 1 to 5, for the strict reader and what is asked beside.
pub fn read_all(machine: &SimulatedSystem, truth: Truth<'_>, beside: Beside) -> Result<Found, String> {
    let before = machine.snapshot();
    let watched = Watched::new(machine);
    let system: Arc<dyn System> = watched.clone();
    let strict = read_strictly(&system)?;
    hold_true("strict reader", &strict.events, truth)?;
    let mut found = Found { strict, ..Found::default() };
    let strict = &found.strict;
    if beside.salvage {
        let (salvaged, gaps) = read_salvaging(&system)?;
        hold_true("salvaging reader", &salvaged, truth)?;
        if !truth.forged {
            hold_within(&strict.events, &salvaged)?;
        }
        (found.salvaged, found.gaps) = (salvaged.len(), gaps);
    }
    if beside.verify {
        let verdict = verify_on(Arc::clone(&system), Path::new(LOG));
        hold_verdict(strict, &verdict)?;
        found.fault = verdict.ok().and_then(|report| report.fault).map(|fault| fault.corruption.reason);
    }
    if beside.seek {
        seek_around(&system, strict, truth)?;
    }
    watched.check()?;
    if !machine.is_as_in(&before) {
        return Err("reading changed something".into());
    }
    Ok(found)
}

/// A recorder of small segments.
pub fn config(salvage: bool) -> Config {
    Config {
        num_blocks: 16,
        stage_slots: 3,
        flush_interval_us: 0,
        full_policy: FullPolicy::Fail,
        max_segments: u32::MAX,
        max_compressed_segments: u32::MAX,
        salvage,
        ..Config::default()
    }
}

/// Rules 5 to 7, for an opening. The machine is left as the opening and a clean close make it. `None`: it could not be opened.
fn open_and_close(machine: &SimulatedSystem, salvage: bool, append: bool) -> Result<Result<u64, OpenError>, String> {
    let before = machine.snapshot();
    let watched = Watched::new(machine);
    let opened = open_stepped(watched.clone(), Path::new(LOG), &config(salvage));
    watched.check()?;
    let (mut writer, manager) = match opened {
        Ok(opened) => opened,
        Err(why) => {
            // The system may refuse at any step, with a directory where a file is to go; all else is decided beforehand.
            if !matches!(why, OpenError::Io(_)) && !machine.is_as_in(&before) {
                return Err(format!("an opening changed something, and then failed: {why}"));
            }
            return Ok(Err(why));
        }
    };
    let last = manager.report().last_event_id;
    if append && last < u64::MAX {
        let added = writer.append(&Event { event_id: last + 1, ..engine_event(7) });
        let full = matches!(added, Err(recorder::AppendError::Backpressure | recorder::AppendError::NoSpace));
        if !full {
            added.map_err(|why| format!("append after open: {why}"))?;
            for worker in [WorkerKind::Flusher, WorkerKind::Maintainer, WorkerKind::Meta] {
                if let Err(why) = manager.step(worker) {
                    return failed_after_open(why);
                }
            }
        }
    }
    drop(writer);
    if let Err(why) = manager.shutdown() {
        return failed_after_open(why);
    }
    watched.check()?;
    Ok(Ok(last))
}

/// A directory that has a file's name cannot be replaced or removed: the system says so, and the recorder is poisoned.
fn failed_after_open(why: OpenError) -> Result<Result<u64, OpenError>, String> {
    if why.to_string().contains("Is a directory") { Ok(Err(why)) } else { Err(format!("after the opening: {why}")) }
}

fn copy_of(machine: &SimulatedSystem) -> SimulatedSystem {
    machine.snapshot().process_crash()
}

/// Everything: [`examine_reading`], then a strict opening of one copy and a salvaging one of another.
pub fn examine(machine: &SimulatedSystem, truth: Truth<'_>) -> Result<Found, String> {
    let mut found = examine_reading(machine, truth)?;
    let copy = copy_of(machine);
    let opened = open_and_close(&copy, false, true)?;
    if let Ok(last) = &opened {
        let system: Arc<dyn System> = Arc::new(copy);
        let after = read_strictly(&system)?;
        let given = found.strict.events.len();
        let same = after.events.get(..given) == Some(&found.strict.events[..]);
        if !same {
            return Err(format!("reading gave {given} events before the opening, then others"));
        }
        if found.strict.error.is_none() {
            if let Some(why) = after.error {
                return Err(format!("a log that was sound before the opening: {why}"));
            }
            let own = |event: &EventBytes| id_of(event) == last.wrapping_add(1);
            hold_true("after the opening", &after.events, Truth::of(&|event| own(event) || (truth.holds)(event)))?;
        }
    }
    found.opened = Some(opened.map(drop).map_err(|why| why.to_string()));
    let copy = copy_of(machine);
    match open_and_close(&copy, true, false)? {
        Ok(last) => {
            match open_and_close(&copy, false, false)? {
                // What salvage made of it, a strict opening accepts.
                Ok(_) => {}
                // A newer format is no damage that could be set aside: it waits for a library that knows it.
                Err(OpenError::Newer { .. }) => return Ok(found),
                Err(why) => return Err(format!("after a salvage up to event {last} a strict opening says: {why}")),
            }
            let after = read_strictly(&(Arc::new(copy) as Arc<dyn System>))?;
            hold_true("after the salvage", &after.events, truth)?;
            if let Some(why) = after.error.filter(|_| !truth.forged) {
                return Err(format!("after a salvage up to event {last} the strict reader stops: {why}"));
            }
        }
        Err(OpenError::Corrupt(why)) => return Err(format!("a salvage called it corrupt: {why}")),
        Err(_) => {}
    }
    Ok(found)
}
