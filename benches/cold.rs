//! The cold paths: freezing and LZ4, scan, verification, replay, and what an open costs.
//!
//! `make bench-cold` records a generated ITCH day first and gives its log in `WALREC_COLD_ITCH`. Criterion does the timing of what can be
//! repeated at once; opens, which change the log, are measured in turns (`cold/opening.rs`). The tables at the end come from the same
//! samples: medians. Everything lies below target/tmp/cold, on the disk.
//!
//! Replay, verification and scan stand beside their bounds in tables of their own (`cold/replay.rs`).
//!
//! `WALREC_COLD_ROUNDS` sets the rounds of opening, 0 leaves it out; `WALREC_COLD_ONLY=opening` leaves all else out.

#![allow(missing_docs, reason = "a benchmark")]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on ends")]

#[path = "cold/logs.rs"]
mod logs;
#[path = "cold/opening.rs"]
mod opening;
#[path = "cold/replay.rs"]
mod replay_table;
#[path = "cold/sampling.rs"]
mod sampling;

use std::collections::VecDeque;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::Criterion;
use walrec::format::{Event, Geometry};
use walrec::recorder::{Config, Manager, SegmentWriter, WorkerKind, open_stepped};
use walrec::recovery;
use walrec::segment::{HotSegment, scan_segment};
use walrec::storage::{Access, Directory, FrameEncoder, FrozenReader, RealSystem, System};

use logs::{Payload, copy_log, events_of, fresh, indices, log_at, record, work};
use sampling::{Sampled, Work, sample};

/// Bytes of one frame of a frozen segment: 64 blocks.
const FRAME_BYTES: usize = 64 * walrec::format::BLOCK_BYTES;

fn directory(path: &Path) -> Arc<dyn Directory> {
    RealSystem.open_directory(path, true).unwrap()
}

/// The bytes that freezing takes of a segment: header and used blocks.
fn used_bytes(path: &Path, index: u32) -> usize {
    let segment = HotSegment::open(&*directory(path), index).unwrap();
    Geometry::block_offset(segment.header.seal.unwrap().block_count)
}

/// Freezes one segment after another of a copy of `hot`, each by one step of the maintainer.
struct Freezing {
    hot: PathBuf,
    copy: PathBuf,
    recorder: Option<(SegmentWriter, Manager)>,
    left: VecDeque<u32>,
}

impl Freezing {
    fn new(hot: &Path, copy: PathBuf) -> Self {
        Self { hot: hot.to_path_buf(), copy, recorder: None, left: VecDeque::new() }
    }

    fn begin_anew(&mut self) {
        drop(self.recorder.take());
        copy_log(&self.hot, &self.copy);
        let config = Config { max_segments: 2, max_compressed_segments: u32::MAX, ..Config::default() };
        let (mut writer, manager) = open_stepped(Arc::new(RealSystem), &self.copy, &config).unwrap();
        // The last two stay as they are.
        self.left = indices(&self.hot).into_iter().collect();
        self.left.truncate(self.left.len().saturating_sub(2));
        let event = Event { event_id: manager.last_event_id() + 1, ..Event::default() };
        writer.append(&event).unwrap();
        while manager.step(WorkerKind::Flusher).unwrap() > 0 {}
        self.recorder = Some((writer, manager));
    }

    /// Freezes the next segment: verified, compressed, compared, synced, renamed; and its `.wal` retired.
    fn one(&mut self) -> Duration {
        if self.left.is_empty() {
            self.begin_anew();
        }
        let index = self.left.pop_front().unwrap();
        let manager = &self.recorder.as_ref().unwrap().1;
        let begin = Instant::now();
        assert_eq!(manager.step(WorkerKind::Maintainer).unwrap(), 1);
        let took = begin.elapsed();
        assert!(!self.copy.join(format!("FS.{index:08}.wal")).exists(), "segment {index} was frozen");
        took
    }

    /// Freezes what is left, and gives the log: closed, frozen but for its last segments.
    fn finish(mut self) -> PathBuf {
        self.begin_anew();
        let (writer, manager) = self.recorder.take().unwrap();
        while manager.step(WorkerKind::Maintainer).unwrap() > 0 {}
        manager.shutdown().unwrap();
        drop(writer);
        self.copy
    }
}

/// Reads so many events, from the first on.
fn replay(path: &Path, events: u64) {
    let mut reader = recovery::Manager::open(path, 0).unwrap();
    let mut batch = vec![Event::default(); 1_024];
    let mut count = 0;
    while count < events {
        let got = reader.read(&mut batch).unwrap();
        assert!(got > 0, "the log ends after {count} events of {events}");
        count += black_box(&batch[..got]).len() as u64;
    }
}

fn timed<T>(run: impl FnOnce() -> T) -> Duration {
    let begin = Instant::now();
    black_box(run());
    begin.elapsed()
}

/// All of one payload.
struct Cold {
    payload: Payload,
    segments: usize,
    bytes_in: u64,
    bytes_out: u64,
    lines: Vec<Sampled>,
}

fn cold(criterion: &mut Criterion, payload: Payload, hot: &Path) -> Cold {
    let name = payload.name();
    let mut lines = Vec::new();
    let mut group = criterion.benchmark_group(name);
    // The first segment stands for all in what is measured on one alone: full, by its record.
    let first = indices(hot)[0];
    let segment = Work { events: u64::from(events_of(hot, first)), bytes: used_bytes(hot, first) as u64 };
    let indices = indices(hot);
    let events = indices.iter().map(|&index| u64::from(events_of(hot, index))).sum();
    let whole = Work { events, bytes: indices.iter().map(|&index| used_bytes(hot, index) as u64).sum() };

    let mut freezing = Freezing::new(hot, work(&format!("{name}.frozen")));
    sample(&mut group, &mut lines, "freezing", segment, || freezing.one());
    let frozen = freezing.finish();

    let bytes = std::fs::read(hot.join(format!("FS.{first:08}.wal"))).unwrap();
    let content = &bytes[walrec::format::SEGMENT_HEADER_BYTES..usize::try_from(segment.bytes).unwrap()];
    let mut encoder = FrameEncoder::new(FRAME_BYTES).unwrap();
    sample(&mut group, &mut lines, "LZ4 compression alone", segment, || {
        timed(|| content.chunks(FRAME_BYTES).map(|part| encoder.encode(part).unwrap().len()).sum::<usize>())
    });
    let frozen_name = format!("FS.{first:08}.wal.lz4");
    let mut decoded = vec![0; FRAME_BYTES];
    let in_frozen = directory(&frozen);
    sample(&mut group, &mut lines, "LZ4 decoding alone", segment, || {
        let mut reader = FrozenReader::new(in_frozen.open_file(&frozen_name, Access::Read).unwrap());
        timed(|| while reader.read_up_to(&mut decoded).unwrap() > 0 {})
    });
    let in_hot = directory(hot);
    let hot_segment = HotSegment::open(&*in_hot, first).unwrap();
    sample(&mut group, &mut lines, "scan of one segment", segment, || {
        timed(|| {
            let scan = scan_segment(&*in_hot, &hot_segment, 0).unwrap();
            assert_eq!(u64::from(scan.event_count), segment.events);
        })
    });
    let verify = |path: &Path| {
        let report = recovery::verify(path).unwrap();
        assert!(report.fault.is_none(), "{:?}", report.fault);
        assert!(report.events >= whole.events, "{} events", report.events);
    };
    sample(&mut group, &mut lines, "verification, hot", whole, || timed(|| verify(hot)));
    sample(&mut group, &mut lines, "verification, frozen", whole, || timed(|| verify(&frozen)));
    sample(&mut group, &mut lines, "replay, hot", whole, || timed(|| replay(hot, whole.events)));
    let there: Vec<u32> = indices.iter().copied().filter(|index| log_at(&frozen, *index).exists()).collect();
    let bytes_in = there.iter().map(|&index| used_bytes(hot, index) as u64).sum();
    let cold = Work { events: there.iter().map(|&index| u64::from(events_of(hot, index))).sum(), bytes: bytes_in };
    sample(&mut group, &mut lines, "replay, frozen", cold, || timed(|| replay(&frozen, cold.events)));
    group.finish();
    replay_table::run(payload, hot, &frozen);

    let bytes_out = there.iter().map(|&index| log_at(&frozen, index).metadata().unwrap().len()).sum();
    Cold { payload, segments: there.len(), bytes_in, bytes_out, lines }
}

fn print(found: &[Cold]) {
    println!("\n| payload | frozen segments | bytes in : out |");
    println!("|---|---|---|");
    for cold in found {
        let ratio = Ratio(cold.bytes_in, cold.bytes_out);
        println!("| {} | {} | {ratio} ({} : {}) |", cold.payload.name(), cold.segments, cold.bytes_in, cold.bytes_out);
    }
    println!("\n| payload | what | ns an event, median (least) | MB/s in | MB/s out |");
    println!("|---|---|---|---|---|");
    for cold in found {
        for line in &cold.lines {
            let (Some(seconds), Some(least)) = (line.median(), line.least()) else { continue };
            let rate = line.work.bytes as f64 / 1e6 / seconds;
            let packs = line.name.starts_with("freezing") || line.name.starts_with("LZ4 compression");
            let out = if packs { rate * cold.bytes_out as f64 / cold.bytes_in as f64 } else { 0.0 };
            let out = if packs { format!("{out:.0}") } else { "-".into() };
            let an_event = |seconds: f64| seconds * 1e9 / line.work.events as f64;
            let (name, what) = (cold.payload.name(), line.name);
            println!("| {name} | {what} | {:.1} ({:.1}) | {rate:.0} | {out} |", an_event(seconds), an_event(least));
        }
    }
}

/// `in : out` as one number.
struct Ratio(u64, u64);

impl std::fmt::Display for Ratio {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{:.2}", self.0 as f64 / self.1 as f64)
    }
}

fn main() {
    if opening::is_child() {
        opening::child();
    }
    match std::env::var("WALREC_COLD_ONLY").as_deref() {
        Ok("opening") => println!("Only opening was measured: WALREC_COLD_ONLY."),
        _ => streams(),
    }
    opening::run();
}

fn streams() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let mut found = Vec::new();
    match std::env::var_os("WALREC_COLD_ITCH").map(PathBuf::from) {
        Some(log) => found.push(cold(&mut criterion, Payload::Itch, &log)),
        None => println!("The ITCH day was NOT measured: WALREC_COLD_ITCH names no log (make bench-cold records one)."),
    }
    for payload in [Payload::Golden, Payload::Random] {
        let path = fresh(&format!("{}.hot", payload.name()));
        record(&path, payload);
        found.push(cold(&mut criterion, payload, &path));
    }
    print(&found);
}
