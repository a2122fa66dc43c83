//! `walrec bench`: how long appends take on this machine, and how long they take to be durable on this disk.

use std::fs;
use std::hint;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use walrec::format::Event;
use walrec::recorder::{self, AppendError, Config, Manager, SegmentWriter, SyncTimeout};
use walrec::telemetry::Moment;
use walrec::telemetry::histogram::{Histogram, HistogramSnapshot};

use crate::arguments::Bench;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::latencies::{Distribution, Summary, drawing, percentiles};
use crate::listing::LogDirectory;
use crate::output::{Output, Progress, fields, grouped};

/// One append in so many has its way to the disk timed.
const DURABLE_SAMPLE: u64 = 64;
/// How long the watcher of the durable id sleeps: what is told of durability is longer by that and the timer's slack at most.
const WATCH_PAUSE: Duration = Duration::from_micros(20);
const TIMER_SAMPLES: u32 = 1_000_000;

#[derive(Serialize)]
struct Benched {
    directory: String,
    events: u64,
    rate: u64,
    seconds: f64,
    events_per_second: f64,
    backpressure: u64,
    distributions: Vec<Summary>,
}

/// A directory of its own, removed at the end.
struct TemporaryLog(PathBuf);

impl TemporaryLog {
    fn make(directory: &Path) -> Result<Self, Failure> {
        match LogDirectory::open(directory) {
            Ok(_log) => {
                let why = "is a log itself: name a directory beside it, on the same disk";
                return Err(Failure::Usage(format!("{}: {why}", directory.display())));
            }
            Err(Failure::NotFound(_)) => {}
            Err(failure) => return Err(failure),
        }
        let path = directory.join(format!("walrec-bench-{}", process::id()));
        fs::create_dir(&path).map_err(|error| Failure::io("create directory", &path, &error))?;
        Ok(Self(path))
    }
}

impl Drop for TemporaryLog {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What the clock itself takes.
fn timer_alone() -> Distribution {
    let times = Histogram::default();
    times.touch();
    for _ in 0..TIMER_SAMPLES {
        let begin = Moment::now();
        times.record(begin.elapsed_ns());
    }
    Distribution { name: "timer alone", times: times.snapshot() }
}

/// What the append thread saw.
struct Appended {
    times: Histogram,
    /// When each event in [`DURABLE_SAMPLE`] was appended.
    sampled: Vec<Moment>,
    backpressure: u64,
}

/// Appends all events, at the rate; fewer when it is interrupted.
fn append_all(writer: &mut SegmentWriter, options: &Bench, interrupt: &Interrupt) -> Result<Appended, Failure> {
    let samples = usize::try_from(options.events / DURABLE_SAMPLE).unwrap_or(0);
    // Filled and emptied: its pages are there when they are timed.
    let mut appended = Appended { times: Histogram::default(), sampled: vec![Moment::now(); samples], backpressure: 0 };
    appended.sampled.clear();
    appended.times.touch();
    let mut progress = Progress::new();
    let begin = Instant::now();
    for event_id in (1..=options.events).take_while(|_| !interrupt.came()) {
        if options.rate > 0 {
            let due = u128::from(event_id) * 1_000_000_000 / u128::from(options.rate);
            while begin.elapsed().as_nanos() < due {
                hint::spin_loop();
            }
        }
        let (price, quantity) = (100_000 + i64::from(event_id.trailing_zeros()), 100);
        let event = Event { event_id, timestamp_ns: event_id * 1_000, price, quantity, ..Event::default() };
        let called = Moment::now();
        let mut outcome = writer.append(&event);
        while outcome == Err(AppendError::Backpressure) {
            appended.backpressure += 1;
            outcome = writer.append(&event);
        }
        appended.times.record(called.elapsed_ns());
        outcome.map_err(|error| Failure::System(format!("append of event {event_id}: {error}")))?;
        if event_id.is_multiple_of(DURABLE_SAMPLE) {
            appended.sampled.push(Moment::now());
        }
        if event_id % 262_144 == 0 {
            progress.draw(event_id, options.events, "appended");
        }
    }
    progress.clear();
    Ok(appended)
}

/// When the durable id was first seen as high as it is.
struct Seen {
    at: Moment,
    durable_event_id: u64,
}

/// Looks at the durable id, one load each time, until everything is durable or the run is over.
fn watch(manager: &Manager, last: u64, over: &AtomicBool) -> Vec<Seen> {
    let mut seen: Vec<Seen> = Vec::new();
    loop {
        // Acquire: partner of the release at the end; the look after it is the last.
        let ending = over.load(Ordering::Acquire);
        let durable_event_id = manager.durable_event_id();
        if seen.last().is_none_or(|before| before.durable_event_id < durable_event_id) {
            seen.push(Seen { at: Moment::now(), durable_event_id });
        }
        if ending || durable_event_id >= last {
            return seen;
        }
        thread::sleep(WATCH_PAUSE);
    }
}

/// From each sampled append to the first look that saw it durable.
fn durable_lag(sampled: &[Moment], seen: &[Seen]) -> HistogramSnapshot {
    let times = Histogram::default();
    let mut looks = seen.iter().peekable();
    for (event_id, appended) in (1_u64..).map(|sample| sample * DURABLE_SAMPLE).zip(sampled) {
        while looks.next_if(|look| look.durable_event_id < event_id).is_some() {}
        if let Some(look) = looks.peek() {
            times.record(appended.ns_until(look.at));
        }
    }
    times.snapshot()
}

/// Records the events, everything durable at the end; its distributions, the seconds it took, and how often there was no room.
fn record(
    writer: &mut SegmentWriter,
    manager: &Manager,
    options: &Bench,
    interrupt: &Interrupt,
) -> Result<([Distribution; 2], f64, u64), Failure> {
    let over = AtomicBool::new(false);
    let begin = Instant::now();
    let (appended, seen) = thread::scope(|scope| {
        let watcher = scope.spawn(|| watch(manager, options.events, &over));
        let appended = append_all(writer, options, interrupt).and_then(|appended| {
            manager.sync(0, SyncTimeout::Limit(Duration::from_secs(600)))?;
            Ok(appended)
        });
        over.store(true, Ordering::Release);
        (appended, watcher.join())
    });
    let (seconds, appended) = (begin.elapsed().as_secs_f64(), appended?);
    let seen = seen.map_err(|_| Failure::System("the thread that watches the durable id ended by a panic".into()))?;
    let durable = Distribution { name: "append to durable", times: durable_lag(&appended.sampled, &seen) };
    let append = Distribution { name: "append", times: appended.times.snapshot() };
    Ok(([append, durable], seconds, appended.backpressure))
}

fn write_file(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|error| Failure::io("write", path, &error))
}

fn write_files(options: &Bench, events: u64, distributions: &[Distribution]) -> Result<(), Failure> {
    if let Some(path) = &options.hdr {
        for (distribution, suffix) in distributions.iter().zip(["append", "durable"]) {
            let mut name = path.clone().into_os_string();
            name.push(format!(".{suffix}.hgrm"));
            write_file(Path::new(&name), &distribution.hgrm())?;
        }
    }
    if let Some(path) = &options.svg {
        let rate =
            if options.rate == 0 { "as fast as they are taken".into() } else { format!("{}/s", grouped(options.rate)) };
        write_file(path, &drawing(&format!("walrec: {} events, {rate}", grouped(events)), distributions))?;
    }
    Ok(())
}

pub(crate) fn run(options: &Bench, output: &mut Output) -> Result<(), Failure> {
    let interrupt = Interrupt::watched()?;
    let log = TemporaryLog::make(&options.directory)?;
    let timer = timer_alone();
    let (mut writer, manager) = recorder::open(&log.0, &Config::default())?;
    let ([append, durable], seconds, backpressure) = record(&mut writer, &manager, options, &interrupt)?;
    let events = append.times.count();
    let distributions = [append, durable, timer];
    manager.shutdown()?;
    write_files(options, events, &distributions)?;
    #[allow(clippy::cast_precision_loss, reason = "a rate")]
    let events_per_second = events as f64 / seconds;
    let benched = Benched {
        directory: options.directory.display().to_string(),
        events,
        rate: options.rate,
        seconds,
        events_per_second,
        backpressure,
        distributions: distributions.iter().map(Distribution::summary).collect(),
    };
    output.report(&benched, |benched| {
        let lines = [
            ("directory", benched.directory.clone()),
            (
                "events",
                format!("{} durable in {seconds:.2} s, {events_per_second:.0} a second", grouped(benched.events)),
            ),
            ("backpressure", format!("{backpressure} times")),
        ];
        format!("{}\n{}", fields(&lines), percentiles(&distributions))
    })
}
