//! What an open costs: a log of 2,000 segments against one of 20, in turns; and where the time goes after a kill -9 at the default geometry.
//!
//! The kill is real: a child of this program appends, waits until its pool is full of prepared segments, and is killed.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use walrec::format::Geometry;
use walrec::recorder::{self, Config, SyncTimeout};
use walrec::recovery;
use walrec::segment::{Catalog, HotSegment, scan_segment};
use walrec::storage::{RealSystem, Stage, System};

use super::logs::{Payload, fresh, indices, keep_all, log_at, work};
use super::sampling::{least, median};

const CHILD_LOG: &str = "WALREC_COLD_CHILD_LOG";
const CHILD_BLOCKS: &str = "WALREC_COLD_CHILD_BLOCKS";
const CHILD_EVENTS: &str = "WALREC_COLD_CHILD_EVENTS";
const CHILD_STAGE: &str = "WALREC_COLD_CHILD_STAGE";
/// The least there is: what a log's length costs shows best where all else costs little.
const FEW_BLOCKS: u32 = 16;
const SMALL: u32 = 20;
const LARGE: u32 = 2_000;
/// Hot segments of these logs; the others are frozen.
const HOT: u32 = 8;
/// Slots of the stage, the library's default.
const SLOTS: usize = 6;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

pub fn is_child() -> bool {
    std::env::var_os(CHILD_LOG).is_some()
}

fn config(blocks: u32) -> Config {
    Config { num_blocks: blocks, max_segments: HOT, ..keep_all() }
}

/// Records, says so, and waits to be killed.
pub fn child() -> ! {
    let path = std::env::var_os(CHILD_LOG).unwrap();
    let stage_dir = std::env::var_os(CHILD_STAGE).map(PathBuf::from);
    let blocks = u32::try_from(number(CHILD_BLOCKS).unwrap()).unwrap();
    let (mut writer, manager) = recorder::open(Path::new(&path), &Config { stage_dir, ..config(blocks) }).unwrap();
    let first = manager.last_event_id() + 1;
    let last = first + number(CHILD_EVENTS).unwrap() - 1;
    for event_id in first..=last {
        writer.append(&Payload::Golden.event(event_id)).unwrap();
    }
    manager.sync(0, SyncTimeout::Forever).unwrap();
    while unsealed(Path::new(&path)).len() < SLOTS {
        std::thread::sleep(Duration::from_millis(5));
    }
    // Above what is durable: events that only the stage has.
    writer.append(&Payload::Golden.event(last + 1)).unwrap();
    println!("ready");
    std::io::stdout().flush().unwrap();
    loop {
        std::thread::park();
    }
}

/// The segment in use and the prepared ones.
fn unsealed(path: &Path) -> Vec<HotSegment> {
    let directory = RealSystem.open_directory(path, true).unwrap();
    let hot = indices(path).into_iter().filter_map(|index| HotSegment::open(&*directory, index).ok());
    hot.filter(|segment| segment.header.seal.is_none()).collect()
}

fn kill_a_recorder(path: &Path, stage: Option<&Path>, blocks: u32, events: u64) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(CHILD_LOG, path).env(CHILD_BLOCKS, blocks.to_string()).env(CHILD_EVENTS, events.to_string());
    command.envs(stage.map(|stage| (CHILD_STAGE, stage)));
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n", "the child ended by itself");
    child.kill().unwrap();
    child.wait().unwrap();
}

/// A closed log of so many segments, one block in each; taken from an earlier run if it is there.
fn log_of(segments: u32) -> PathBuf {
    let name = format!("{segments}.segments");
    let path = work(&name);
    let there = || {
        let catalog = Catalog::read(&*RealSystem.open_directory(&path, true).ok()?).ok()?;
        // Earlier rounds have added some.
        Some(catalog.frozen.len() + catalog.hot.len() >= segments as usize && log_at(&path, 0).exists())
    };
    if there() != Some(true) {
        fresh(&name);
        let (mut writer, manager) = recorder::open(&path, &config(FEW_BLOCKS)).unwrap();
        let mut event_id = 0;
        for index in 0..segments {
            for _ in 0..256 {
                event_id += 1;
                writer.append(&Payload::Golden.event(event_id)).unwrap();
            }
            if index + 1 < segments {
                writer.rotate().unwrap();
            }
        }
        manager.sync(0, SyncTimeout::Forever).unwrap();
        manager.shutdown().unwrap();
    }
    path
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// What is measured of both logs.
const STEPS: [&str; 5] = [
    "recorder's open after a clean close",
    "clean close without an append",
    "recorder's open after kill -9",
    "reader's open at the oldest event",
    "reader's open at the newest event",
];

fn turn(path: &Path) -> [f64; STEPS.len()] {
    let config = config(FEW_BLOCKS);
    let begin = Instant::now();
    let (writer, manager) = recorder::open(path, &config).unwrap();
    let open = ms(begin);
    let last = manager.last_event_id();
    let begin = Instant::now();
    manager.shutdown().unwrap();
    let close = ms(begin);
    drop((writer, manager));
    let begin = Instant::now();
    drop(recovery::Manager::open(path, 0).unwrap());
    let oldest = ms(begin);
    let begin = Instant::now();
    drop(recovery::Manager::open(path, last).unwrap());
    let newest = ms(begin);
    kill_a_recorder(path, None, FEW_BLOCKS, 50);
    let begin = Instant::now();
    let (writer, manager) = recorder::open(path, &config).unwrap();
    let killed = ms(begin);
    assert_eq!(manager.last_event_id(), last + 51);
    manager.shutdown().unwrap();
    drop((writer, manager));
    [open, close, killed, oldest, newest]
}

/// Names alone, as each open reads them.
fn names_ms(path: &Path) -> f64 {
    let directory = RealSystem.open_directory(path, true).unwrap();
    let begin = Instant::now();
    Catalog::read(&*directory).unwrap();
    ms(begin)
}

fn small_against_large(rounds: u64) {
    let paths = [log_of(SMALL), log_of(LARGE)];
    let mut found: [[Vec<f64>; 2]; STEPS.len()] = Default::default();
    let mut names: [Vec<f64>; 2] = Default::default();
    for round in 0..rounds {
        let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
        for log in order {
            names[log].push(names_ms(&paths[log]));
            for (step, took) in turn(&paths[log]).into_iter().enumerate() {
                found[step][log].push(took);
            }
        }
    }
    println!(
        "\nOpening, {FEW_BLOCKS} blocks a segment, {HOT} segments hot, the others frozen, {rounds} rounds in turns:"
    );
    println!(
        "| what | {SMALL} segments, median ms (least) | {LARGE} segments | ratio, median of pairs | of the least |"
    );
    println!("|---|---|---|---|---|");
    for (what, [small, large]) in STEPS.iter().zip(&found).chain([(&"names alone", &names)]) {
        let pairs: Vec<f64> = small.iter().zip(large).map(|(small, large)| large / small).collect();
        let (few, many) = (least(small).unwrap(), least(large).unwrap());
        let (small, large, ratio) = (median(small).unwrap(), median(large).unwrap(), median(&pairs).unwrap());
        println!("| {what} | {small:.3} ({few:.3}) | {large:.3} ({many:.3}) | {ratio:.2} | {:.2} |", many / few);
    }
}

/// The pieces of an open after a kill, each by itself, from the files as the kill left them.
const PIECES: [&str; 6] = [
    "names",
    "walk of the segment in use (read from the disk)",
    "walk of the empty prepared ones (read from the disk)",
    "walk of the same again (from the page cache)",
    "the pool that is there: mapped, present, locked",
    "the same unmapped",
];

fn pieces(path: &Path, stage: &Path) -> [f64; PIECES.len()] {
    let directory = RealSystem.open_directory(path, true).unwrap();
    let begin = Instant::now();
    Catalog::read(&*directory).unwrap();
    let names = ms(begin);
    let unsealed = unsealed(path);
    assert_eq!(unsealed.len(), SLOTS, "one in use, and five prepared");
    let mut last_event_id = 0;
    let mut walk = |segment: &HotSegment| {
        let begin = Instant::now();
        let scan = scan_segment(&*directory, segment, last_event_id).unwrap();
        last_event_id = scan.last_event_id;
        ms(begin)
    };
    let used = walk(&unsealed[0]);
    let empty: f64 = unsealed[1..].iter().map(&mut walk).sum();
    let again: f64 = unsealed[1..].iter().map(&mut walk).sum();
    let name = fs::read_dir(stage).unwrap().next().unwrap().unwrap().file_name();
    let pool = RealSystem.open_directory(&stage.join(name), false).unwrap();
    let begin = Instant::now();
    let built = Stage::build(pool, 6, Geometry::new(512).unwrap()).unwrap();
    let mapped = ms(begin);
    let begin = Instant::now();
    drop(built);
    [names, used, empty, again, mapped, ms(begin)]
}

fn after_a_kill(rounds: u64) {
    /// A third of a segment.
    const EVENTS: u64 = 41_000;
    let path = fresh("killed");
    let stage = Path::new("/dev/shm").join(format!("walrec-bench-cold-{}", std::process::id()));
    fs::create_dir(&stage).unwrap();
    let stage_dir = Some(stage.clone());
    let config = Config { stage_dir, ..config(512) };
    let mut found: [Vec<f64>; PIECES.len()] = Default::default();
    let mut opens = Vec::new();
    for round in 0..rounds {
        let _ = fs::remove_dir_all(&path);
        kill_a_recorder(&path, Some(&stage), 512, EVENTS);
        if round % 2 == 0 {
            pieces(&path, &stage).into_iter().zip(&mut found).for_each(|(took, all)| all.push(took));
        }
        let begin = Instant::now();
        let (writer, manager) = recorder::open(&path, &config).unwrap();
        if round % 2 == 1 {
            opens.push(ms(begin));
        }
        assert_eq!(manager.last_event_id(), EVENTS + 1);
        manager.shutdown().unwrap();
        drop((writer, manager));
    }
    fs::remove_dir_all(&stage).unwrap();
    println!(
        "\nOpen after kill -9 at the default geometry, {EVENTS} events in one segment, the old pool there, {rounds} rounds:"
    );
    println!("| what | median ms | least | most |");
    println!("|---|---|---|---|");
    let line = |what: &str, all: &[f64]| {
        let most = all.iter().copied().reduce(f64::max).unwrap();
        println!("| {what} | {:.2} | {:.2} | {most:.2} |", median(all).unwrap(), least(all).unwrap());
    };
    line("the open", &opens);
    PIECES.iter().zip(&found).for_each(|(what, all)| line(what, all));
}

pub fn run() {
    let rounds = number("WALREC_COLD_ROUNDS").unwrap_or(30);
    if rounds == 0 {
        println!("Opening was NOT measured: WALREC_COLD_ROUNDS is 0.");
        return;
    }
    after_a_kill(rounds);
    small_against_large(rounds);
}
