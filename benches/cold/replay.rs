//! Replay, verification, scan and finalizing of whole logs on one core and on two, beside what bounds them: memory that is read, files
//! that are read, one hash, LZ4 alone. All in turns, round by round, so that one line's ratios come from the same minutes.
//!
//! `WALREC_REPLAY_ROUNDS` sets the rounds, 0 leaves it out.

use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use walrec::format::{BLOCK_BYTES, BLOCK_HEADER_BYTES, BlockHeader, FLAG_GUARDS, SEGMENT_HEADER_BYTES, xxh64};
use walrec::recovery;
use walrec::segment::{HotSegment, scan_segment};

use super::logs::{Payload, events_of, indices, log_at};
use super::sampling::{least, median};
use super::{FRAME_BYTES, directory, replay};

/// The log's bytes in memory: blocks of all hot segments, one after another.
struct Loaded {
    blocks: Vec<u8>,
    /// Of the frozen segments: packed frames, and how long each is unpacked.
    frames: Vec<(Vec<u8>, usize)>,
    events: u64,
    cold_events: u64,
}

fn load(hot: &Path, frozen: &Path) -> Loaded {
    let (mut blocks, mut frames, mut events, mut cold_events) = (Vec::new(), Vec::new(), 0, 0);
    for index in indices(hot) {
        let bytes = std::fs::read(hot.join(format!("FS.{index:08}.wal"))).unwrap();
        blocks.extend_from_slice(bytes[SEGMENT_HEADER_BYTES..].as_chunks::<BLOCK_BYTES>().0.as_flattened());
        events += u64::from(events_of(hot, index));
        if let Ok(bytes) = std::fs::read(log_at(frozen, index)) {
            cold_events += u64::from(events_of(hot, index));
            let mut at = 0;
            while at < bytes.len() {
                // One block a frame: content size, block size, block, end mark, checksum.
                let content = u64::from_le_bytes(bytes[at + 6..at + 14].try_into().unwrap());
                let size = u32::from_le_bytes(bytes[at + 15..at + 19].try_into().unwrap());
                let packed = &bytes[at + 19..][..(size & 0x7fff_ffff) as usize];
                if size >> 31 == 0 {
                    frames.push((packed.to_vec(), usize::try_from(content).unwrap()));
                }
                at += 19 + packed.len() + 8;
            }
        }
    }
    Loaded { blocks, frames, events, cold_events }
}

/// Runs on the first processor alone, or on all.
fn pin(one: bool) {
    static ALL: std::sync::OnceLock<libc::cpu_set_t> = std::sync::OnceLock::new();
    // SAFETY: a set of processors is plain bits; the calls read and write this process's own.
    #[allow(unsafe_code, reason = "std has no call for it")]
    unsafe {
        let bytes = size_of::<libc::cpu_set_t>();
        let all = ALL.get_or_init(|| {
            let mut set = std::mem::zeroed();
            assert_eq!(libc::sched_getaffinity(0, bytes, &raw mut set), 0);
            set
        });
        let mut set = *all;
        if one {
            let first = (0..bytes * 8).find(|&cpu| libc::CPU_ISSET(cpu, all)).unwrap();
            libc::CPU_ZERO(&mut set);
            libc::CPU_SET(first, &mut set);
        }
        assert_eq!(libc::sched_setaffinity(0, bytes, &raw const set), 0);
    }
}

/// Processor time of this process so far, in seconds.
fn processor_seconds() -> f64 {
    // SAFETY: plain integers, written by the call.
    #[allow(unsafe_code, reason = "std has no call for it")]
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::getrusage(libc::RUSAGE_SELF, &raw mut usage), 0);
        usage
    };
    [usage.ru_utime, usage.ru_stime].iter().map(|time| time.tv_sec as f64 + time.tv_usec as f64 / 1e6).sum()
}

/// One thing that is measured.
struct Line<'a> {
    what: &'static str,
    /// The line that it is compared with.
    over: &'static str,
    one_core: bool,
    events: u64,
    turn: Box<dyn FnMut() + 'a>,
    seconds: Vec<f64>,
    processor: Vec<f64>,
}

impl<'a> Line<'a> {
    fn new(what: &'static str, over: &'static str, events: u64, turn: impl FnMut() + 'a) -> Self {
        let one_core = !what.ends_with("two cores");
        let (seconds, processor) = (Vec::new(), Vec::new());
        Self { what, over, one_core, events, turn: Box::new(turn), seconds, processor }
    }

    fn take_turn(&mut self) {
        pin(self.one_core);
        let (begin, processor) = (Instant::now(), processor_seconds());
        (self.turn)();
        self.seconds.push(begin.elapsed().as_secs_f64());
        self.processor.push(processor_seconds() - processor);
    }

    fn an_event(&self, seconds: f64) -> f64 {
        seconds * 1e9 / self.events as f64
    }
}

const MEMORY: &str = "memory read";
const FILES: &str = "files read";
const HASH: &str = "one XXH64 of a block at a time";
const THEIRS: &str = "LZ4 decoding alone, C library";
const OURS: &str = "LZ4 decoding alone";

/// What bounds the others.
fn bounds<'a>(loaded: &'a Loaded, hot: &'a Path) -> Vec<Line<'a>> {
    let (events, cold) = (loaded.events, loaded.cold_events);
    let blocks = loaded.blocks.as_chunks::<BLOCK_BYTES>().0;
    let mut window = vec![0; 16 * BLOCK_BYTES];
    let (mut buffer, mut other) = (vec![0; FRAME_BYTES], vec![0; FRAME_BYTES]);
    vec![
        Line::new(MEMORY, MEMORY, events, || {
            let words = loaded.blocks.as_chunks::<8>().0;
            black_box(words.iter().fold(0_u64, |sum, word| sum ^ u64::from_le_bytes(*word)));
        }),
        Line::new(FILES, MEMORY, events, move || {
            for index in indices(hot) {
                let file = std::fs::File::open(hot.join(format!("FS.{index:08}.wal"))).unwrap();
                let mut at = SEGMENT_HEADER_BYTES as u64;
                while let Ok(read @ 1..) = file.read_at(&mut window, at) {
                    at += read as u64;
                }
            }
        }),
        Line::new(HASH, MEMORY, events, move || {
            let sums = blocks.iter().map(|block| xxh64(&block[BLOCK_HEADER_BYTES..], 0));
            black_box(sums.fold(0, |all, sum| all ^ sum));
        }),
        Line::new("finalizing", HASH, events, move || {
            let finalize = |chain, block: &[u8; BLOCK_BYTES]| {
                BlockHeader::finalize(0, &block[BLOCK_HEADER_BYTES..], chain, FLAG_GUARDS, None).chained_checksum
            };
            black_box(blocks.iter().fold(0, finalize));
        }),
        Line::new(THEIRS, MEMORY, cold, move || {
            for (packed, content) in &loaded.frames {
                let length = i32::try_from(*content).unwrap();
                assert_eq!(lz4::block::decompress_to_buffer(packed, Some(length), &mut other).unwrap(), *content);
            }
        }),
        Line::new(OURS, THEIRS, cold, move || {
            for (packed, content) in &loaded.frames {
                assert_eq!(lz4_flex::block::decompress_into(packed, &mut buffer).unwrap(), *content);
            }
        }),
    ]
}

/// What the library does with whole logs.
fn readings<'a>(loaded: &Loaded, hot: &'a Path, frozen: &'a Path) -> Vec<Line<'a>> {
    let (events, cold) = (loaded.events, loaded.cold_events);
    let scan = move || {
        let directory = directory(hot);
        let scan = |(last_event_id, count), index| {
            let segment = HotSegment::open(&*directory, index).unwrap();
            let scan = scan_segment(&*directory, &segment, last_event_id).unwrap();
            (scan.last_event_id, count + u64::from(scan.event_count))
        };
        assert_eq!(indices(hot).into_iter().fold((0, 0), scan).1, events);
    };
    let verify = |path: &Path| assert!(recovery::verify(path).unwrap().fault.is_none());
    vec![
        Line::new("scan", FILES, events, scan),
        Line::new("replay, hot, one core", FILES, events, move || replay(hot, events)),
        Line::new("replay, hot, two cores", FILES, events, move || replay(hot, events)),
        Line::new("verification, hot, one core", FILES, events, move || verify(hot)),
        Line::new("verification, hot, two cores", FILES, events, move || verify(hot)),
        Line::new("replay, frozen, one core", OURS, cold, move || replay(frozen, cold)),
        Line::new("replay, frozen, two cores", OURS, cold, move || replay(frozen, cold)),
        Line::new("verification, frozen, one core", OURS, events, move || verify(frozen)),
        Line::new("verification, frozen, two cores", OURS, events, move || verify(frozen)),
    ]
}

pub fn run(payload: Payload, hot: &Path, frozen: &Path) {
    let rounds = std::env::var("WALREC_REPLAY_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(25_u32);
    if rounds == 0 {
        println!("Replay beside its bounds was NOT measured: WALREC_REPLAY_ROUNDS is 0.");
        return;
    }
    let loaded = load(hot, frozen);
    let mut lines = bounds(&loaded, hot);
    lines.extend(readings(&loaded, hot, frozen));
    for _ in 0..rounds {
        lines.iter_mut().for_each(Line::take_turn);
    }
    pin(false);
    println!("\n{}, {rounds} rounds in turns, page cache warm; ns an event:", payload.name());
    println!("| what | least | median | processor time, least | over what | ratio of the least | median of pairs |");
    println!("|---|---|---|---|---|---|---|");
    for line in &lines {
        let over = lines.iter().find(|other| other.what == line.over).unwrap();
        let pairs = line.seconds.iter().zip(&over.seconds);
        let pairs: Vec<f64> = pairs.map(|(this, that)| line.an_event(*this) / over.an_event(*that)).collect();
        let found = line.an_event(least(&line.seconds).unwrap());
        let ratio = found / over.an_event(least(&over.seconds).unwrap());
        let (half, pairs) = (line.an_event(median(&line.seconds).unwrap()), median(&pairs).unwrap());
        let processor = line.an_event(least(&line.processor).unwrap());
        println!(
            "| {} | {found:.2} | {half:.2} | {processor:.2} | {} | {ratio:.2} | {pairs:.2} |",
            line.what, line.over
        );
    }
}
