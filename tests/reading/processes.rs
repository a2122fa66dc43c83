//! What needs a process of its own: a follower beside a recorder, and the memory that reading takes.
//!
//! The other process is this test binary again, told by an environment variable what to do.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use crate::decoder::support::TempDir;
use crate::fixture::{Form, write_mixed};
use crate::with_library::{engine_event, keep_all, open};
use walrec::format::Event;
use walrec::recovery::{Item, Manager, Salvager, verify};

const DIR: &str = "WALREC_TEST_OTHER_DIR";
const EVENTS: &str = "WALREC_TEST_OTHER_EVENTS";

/// Runs one of the tests below, which are nothing on their own, in another process.
fn other(test: &str, dir: &Path, events: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("processes::{test}"), "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .env(EVENTS, events.to_string())
        .stdout(Stdio::inherit())
        .spawn()
        .unwrap()
}

/// Directory and events, in the other process only.
fn told() -> Option<(std::path::PathBuf, u64)> {
    let dir = std::env::var_os(DIR)?;
    Some((dir.into(), std::env::var(EVENTS).unwrap().parse().unwrap()))
}

fn now_ns() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    u64::try_from(now.as_nanos()).unwrap()
}

/// 1,000,000 events a second for `WALREC_FOLLOW_SECONDS` (5), a thousand each millisecond.
#[test]
fn a_follower_in_another_process_sees_every_event_once() {
    let seconds: u64 = std::env::var("WALREC_FOLLOW_SECONDS").map_or(5, |text| text.parse().unwrap());
    let events = seconds * 1_000_000;
    let dir = TempDir::new("follow");
    let (mut writer, manager) = open(dir.path(), &keep_all(512));
    let mut follower = other("follower", dir.path(), events);
    let begin = Instant::now();
    let mut late = Duration::ZERO;
    for burst in 0..events / 1_000 {
        let due = Duration::from_millis(burst);
        while begin.elapsed() < due {
            std::thread::sleep(Duration::from_micros(100));
        }
        late = late.max(begin.elapsed().saturating_sub(due));
        let now = now_ns();
        for id in burst * 1_000 + 1..=(burst + 1) * 1_000 {
            let event = Event { event_id: id, timestamp_ns: now, ..engine_event(1) };
            writer.append(&Event { price: i64::try_from(id * 3).unwrap(), ..event }).unwrap();
        }
    }
    eprintln!("FIGURE follower: {events} events in {:?}, appender at most {late:?} late", begin.elapsed());
    let status = follower.wait().unwrap();
    assert!(status.success(), "the follower failed");
    drop(writer);
    manager.shutdown().unwrap();
}

#[test]
fn follower() {
    let Some((dir, events)) = told() else { return };
    let mut reader = Manager::open(&dir, 0).unwrap();
    let mut batch = vec![Event::default(); 4_096];
    let mut lags = Vec::new();
    let (mut next, mut polls) = (1, 0_u64);
    let mut progress = Instant::now();
    while next <= events {
        let got = reader.read(&mut batch).unwrap();
        if got == 0 {
            polls += 1;
            assert!(progress.elapsed() < Duration::from_secs(60), "nothing more after event {}", next - 1);
            std::thread::sleep(Duration::from_micros(50));
            continue;
        }
        progress = Instant::now();
        for event in &batch[..got] {
            assert_eq!((event.event_id, event.price), (next, i64::try_from(next * 3).unwrap()));
            next += 1;
        }
        lags.push(now_ns().saturating_sub(batch[got - 1].timestamp_ns));
    }
    assert!(reader.read(&mut batch).unwrap() == 0);
    lags.sort_unstable();
    let at = |per_mille: usize| Duration::from_nanos(lags[(lags.len() - 1) * per_mille / 1_000]);
    eprintln!(
        "FIGURE follower: {} events once each, {polls} ends; lag from append: p50 {:?}, p99 {:?}, max {:?}",
        next - 1,
        at(500),
        at(990),
        at(1_000)
    );
}

/// Reading a log of `WALREC_READ_MB` (132), hot and cold, strict, salvaging and verifying: 32 MiB at the most, each.
#[test]
fn reading_takes_at_most_32_mib() {
    let megabytes: usize = std::env::var("WALREC_READ_MB").map_or(132, |text| text.parse().unwrap());
    let dir = TempDir::new("memory");
    let forms = [Form::ManyFrames, Form::Hot, Form::OneFrame, Form::ManyFrames, Form::Hot, Form::ManyFrames, Form::Hot];
    // 16.4 MB each.
    let forms: Vec<Form> = forms.into_iter().cycle().take(megabytes.div_ceil(17)).chain([Form::Hot]).collect();
    let events = write_mixed(dir.path(), &forms, 1_000);
    eprintln!("FIGURE reading: {} segments, {} MB of blocks", forms.len(), events * 64 / 1_000_000);
    for way in ["memory_of_reading", "memory_of_salvage", "memory_of_verification"] {
        assert!(other(way, dir.path(), events).wait().unwrap().success(), "{way}");
    }
}

/// The most memory that this process ever had, in KiB.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn measured(what: &str, events: u64, body: impl FnOnce() -> u64) {
    let before = peak_kib();
    let begin = Instant::now();
    assert_eq!(body(), events);
    let spent = begin.elapsed();
    let took = peak_kib() - before;
    let each = spent.as_nanos() / u128::from(events.max(1));
    eprintln!("FIGURE {what}: {events} events, {took} KiB, {each} ns an event");
    assert!(took <= 32 * 1_024, "{what} took {took} KiB");
}

#[test]
fn memory_of_reading() {
    let Some((dir, events)) = told() else { return };
    measured("reading", events, || {
        let mut reader = Manager::open(&dir, 0).unwrap();
        let mut batch = vec![Event::default(); 256];
        let mut seen = 0;
        loop {
            match reader.read(&mut batch).unwrap() {
                0 => return seen,
                got => seen += got as u64,
            }
        }
    });
}

#[test]
fn memory_of_salvage() {
    let Some((dir, events)) = told() else { return };
    measured("salvage", events, || {
        let mut reader = Salvager::open(&dir, 0).unwrap();
        let mut seen = 0;
        while let Item::Event(_) = reader.next().unwrap() {
            seen += 1;
        }
        seen
    });
}

#[test]
fn memory_of_verification() {
    let Some((dir, events)) = told() else { return };
    measured("verification", events, || verify(&dir).unwrap().events);
}
