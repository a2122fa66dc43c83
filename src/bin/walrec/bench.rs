//! `walrec bench`: how long appends take on this machine, and how long they take to be durable on this disk.

use std::fs;
use std::hint;
use std::path::{Path, PathBuf};
use std::process;
use std::time::{Duration, Instant};

use serde::Serialize;
use walrec::format::Event;
use walrec::recorder::{self, AppendError, Config, Manager, SegmentWriter, SyncTimeout};
use walrec::telemetry::histogram::Histogram;
use walrec::telemetry::{Moment, Timing};

use crate::arguments::Bench;
use crate::failure::Failure;
use crate::latencies::{Distribution, Summary, drawing, percentiles};
use crate::listing::LogDirectory;
use crate::output::{Output, Progress, fields, grouped};

/// One append in so many has its way to the disk timed, by the recorder itself.
const DURABLE_SAMPLE: u32 = 256;
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
        if let Ok(_log) = LogDirectory::open(directory) {
            let why = "is a log itself: name a directory beside it, on the same disk";
            return Err(Failure::Usage(format!("{}: {why}", directory.display())));
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

/// Appends all events, at the rate; how long each call took, and how many had to be tried again.
fn append_all(writer: &mut SegmentWriter, options: &Bench) -> Result<(Distribution, u64), Failure> {
    let times = Histogram::default();
    times.touch();
    let (mut progress, mut backpressure) = (Progress::new(), 0);
    let begin = Instant::now();
    for event_id in 1..=options.events {
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
            backpressure += 1;
            outcome = writer.append(&event);
        }
        times.record(called.elapsed_ns());
        outcome.map_err(|error| Failure::System(format!("append of event {event_id}: {error}")))?;
        if event_id % 262_144 == 0 {
            progress.draw(event_id, options.events, "appended");
        }
    }
    progress.clear();
    Ok((Distribution { name: "append", times: times.snapshot() }, backpressure))
}

fn durable_lag(manager: &Manager) -> Result<Distribution, Failure> {
    let times = manager.telemetry()?.timing(Timing::DurableLag).clone();
    Ok(Distribution { name: "append to durable", times })
}

fn write_file(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|error| Failure::io("write", path, &error))
}

fn write_files(options: &Bench, distributions: &[Distribution]) -> Result<(), Failure> {
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
        write_file(path, &drawing(&format!("walrec: {} events, {rate}", grouped(options.events)), distributions))?;
    }
    Ok(())
}

pub(crate) fn run(options: &Bench, output: &mut Output) -> Result<(), Failure> {
    let log = TemporaryLog::make(&options.directory)?;
    let config = Config { append_sample: DURABLE_SAMPLE, ..Config::default() };
    let timer = timer_alone();
    let (mut writer, manager) = recorder::open(&log.0, &config)?;
    let begin = Instant::now();
    let (append, backpressure) = append_all(&mut writer, options)?;
    manager.sync(0, SyncTimeout::Limit(Duration::from_secs(600)))?;
    let seconds = begin.elapsed().as_secs_f64();
    let distributions = [append, durable_lag(&manager)?, timer];
    manager.shutdown()?;
    write_files(options, &distributions)?;
    #[allow(clippy::cast_precision_loss, reason = "a rate")]
    let events_per_second = options.events as f64 / seconds;
    let benched = Benched {
        directory: options.directory.display().to_string(),
        events: options.events,
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
