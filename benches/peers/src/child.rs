//! One act with one peer, in a process of its own: what a peer leaves running, leaks or breaks does not reach the next.
//!
//! Accepting, the opening thread is put on the first CPU, so that the peer's own threads stay there, and then on the last, where it
//! appends. Syncing, every thread waits for the disk most of the time and is left to the scheduler.
//!
//! Figures go to stdout, one a line.

use std::fs::OpenOptions;
use std::hint::{black_box, spin_loop};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::clock;
use crate::event::{Comparison, Sequence};
use crate::peer::{Outcome, Peer, Purpose};

/// Appends between two syncs of the second table.
pub const SYNC_EACH: [u64; 3] = [1, 64, 1024];
/// Bytes of the file by which a recording child tells how far it came.
pub const PROGRESS_BYTES: u64 = 8;
/// One burst: 32 MB, two thirds of walrec's default pool. More at once measures the disk, which the stream does.
const BURST: u64 = 500_000;
/// Twice walrec's default pool, so that each page of it was touched.
const WARM: u64 = 2 * 6 * 131_072;
const CALLS: usize = 200_000;
const STREAM: u64 = 4_000_000;
/// Between bursts: time for what runs behind to catch up.
const REST: Duration = Duration::from_millis(250);
/// More are not recorded before the kill, nor faster than one a microsecond.
const RECORDED: u64 = 900_000;

/// What a child does.
pub enum Act {
    /// The first table.
    Accept {
        /// The log's.
        dir: PathBuf,
        /// Of each part.
        limit: Duration,
    },
    /// The second table.
    Sync {
        /// The log's.
        dir: PathBuf,
        /// Of each part.
        limit: Duration,
    },
    /// Appends until it is killed, and says in the progress file which event was accepted last.
    Record {
        /// The log's.
        dir: PathBuf,
        /// The progress file, there and of the right size.
        progress: PathBuf,
    },
    /// Says what is left of it.
    Recover {
        /// The log's.
        dir: PathBuf,
    },
}

/// Does it.
pub fn perform<P: Peer>(act: &Act) -> Outcome<()> {
    match act {
        Act::Accept { dir, limit } => accept::<P>(dir, *limit),
        Act::Sync { dir, limit } => SYNC_EACH.iter().try_for_each(|&each| sync_each::<P>(dir, each, *limit)),
        Act::Record { dir, progress } => record::<P>(dir, progress),
        Act::Recover { dir } => {
            let mut comparison = Comparison::new();
            P::replay(dir, &mut |bytes| comparison.take(bytes))?;
            figure("whole", comparison.whole as f64);
            figure("wrong", comparison.wrong as f64);
            Ok(())
        }
    }
}

fn figure(name: &str, value: f64) {
    println!("figure {name} {value}");
}

fn open<P: Peer>(dir: &Path, purpose: Purpose) -> Outcome<P> {
    std::fs::create_dir_all(dir)?;
    if purpose == Purpose::Syncing {
        return P::open(dir, purpose);
    }
    clock::pin(0);
    let peer = P::open(dir, purpose)?;
    clock::pin(clock::cpus() - 1);
    Ok(peer)
}

/// Appends `most` events, or as many as the limit leaves time for. Gives how many, and the nanoseconds of one.
fn burst<P: Peer>(peer: &mut P, events: &mut Sequence, most: u64, limit: Duration) -> Outcome<(u64, f64)> {
    let begin = Instant::now();
    let (mut done, mut portion) = (0, 1);
    while done < most && begin.elapsed() < limit {
        for _ in 0..portion.min(most - done) {
            peer.append(events.advance())?;
        }
        done += portion.min(most - done);
        portion = 1024.min(portion * 2);
    }
    Ok((done, begin.elapsed().as_nanos() as f64 / done as f64))
}

fn accept<P: Peer>(dir: &Path, limit: Duration) -> Outcome<()> {
    let mut peer = open::<P>(dir, Purpose::Accepting)?;
    let mut events = Sequence::new();
    let settle = |peer: &mut P| {
        peer.sync()?;
        thread::sleep(REST);
        Outcome::Ok(())
    };
    burst(&mut peer, &mut events, WARM, limit)?;
    let mut bursts = [0.0; 3];
    for each in &mut bursts {
        settle(&mut peer)?;
        *each = burst(&mut peer, &mut events, BURST, limit)?.1;
    }
    figure("ns an event", clock::median(&bursts));
    settle(&mut peer)?;
    single_calls(&mut peer, &mut events, limit)?;
    settle(&mut peer)?;
    if P::SYNCS {
        let begin = Instant::now();
        let (done, _) = burst(&mut peer, &mut events, STREAM, 4 * limit)?;
        peer.sync()?;
        figure("stream events/s", done as f64 / begin.elapsed().as_secs_f64());
    }
    Ok(())
}

/// Each append timed, less what the timer itself takes.
fn single_calls<P: Peer>(peer: &mut P, events: &mut Sequence, limit: Duration) -> Outcome<()> {
    let (mut calls, mut floor) = (Vec::with_capacity(CALLS), Vec::with_capacity(CALLS));
    let begin = Instant::now();
    while calls.len() < CALLS && (calls.len() % 64 != 0 || begin.elapsed() < limit) {
        let event = events.advance();
        let from = clock::begin();
        let outcome = peer.append(event);
        calls.push(clock::end() - from);
        outcome?;
        let from = clock::begin();
        floor.push(clock::end() - from);
    }
    let per_ns = clock::ticks_per_ns();
    let timer = clock::quantile(&mut floor, 0.5) as f64 / per_ns;
    figure("timer ns", timer);
    for (name, part) in [("call p50 ns", 0.5), ("call p99 ns", 0.99), ("call p99.9 ns", 0.999)] {
        figure(name, (clock::quantile(&mut calls, part) as f64 / per_ns - timer).max(0.0));
    }
    Ok(())
}

fn sync_each<P: Peer>(dir: &Path, each: u64, limit: Duration) -> Outcome<()> {
    let mut peer = open::<P>(&dir.join(format!("each-{each}")), Purpose::Syncing)?;
    let mut events = Sequence::new();
    let mut times = Vec::new();
    let mut one = || {
        let begin = Instant::now();
        for _ in 0..each {
            peer.append(events.advance())?;
        }
        peer.sync()?;
        Outcome::Ok(begin.elapsed().as_nanos() as u64)
    };
    for _ in 0..10 {
        black_box(one()?);
    }
    let begin = Instant::now();
    while begin.elapsed() < limit {
        times.push(one()?);
    }
    let seconds = begin.elapsed().as_secs_f64();
    figure(&format!("each {each} events/s"), times.len() as f64 * each as f64 / seconds);
    figure(&format!("each {each} sync p99 us"), clock::quantile(&mut times, 0.99) as f64 / 1e3);
    figure(&format!("each {each} sync us"), clock::quantile(&mut times, 0.5) as f64 / 1e3);
    Ok(())
}

fn record<P: Peer>(dir: &Path, progress: &Path) -> Outcome<()> {
    let mut peer = open::<P>(dir, Purpose::Accepting)?;
    let accepted = map_progress(progress)?;
    let mut events = Sequence::new();
    let begin = Instant::now();
    for id in 1..=RECORDED {
        while begin.elapsed() < Duration::from_micros(id) {
            spin_loop();
        }
        peer.append(events.advance())?;
        accepted.store(id, Ordering::Release);
    }
    loop {
        thread::park();
    }
}

/// A count in a file mapped shared, so that it outlives this process.
fn map_progress(path: &Path) -> Outcome<&'static AtomicU64> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let shared = crate::map::shared(&file, PROGRESS_BYTES as usize)?;
    // SAFETY: mapped for the life of the process, page-aligned, used as nothing else.
    Ok(unsafe { &*shared.cast() })
}
