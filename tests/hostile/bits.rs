//! Bit rot: every bit of every header, random bits anywhere, and files cut at every byte.

use crate::decoder::frozen::frames_of;
use crate::decoder::segment::block_offset;
use crate::decoder::support::mix;
use crate::examine::{Found, Truth, examine, examine_briefly, examine_reading};
use crate::logs::{SoundLog, frozen, is_frozen, many_frames_log, open_tail, sealed, unguarded};
use crate::memory::keep_freed_memory;
use walrec::storage::simulated::SimulatedSystem;

type Examination = fn(&SimulatedSystem, Truth<'_>) -> Result<Found, String>;

/// How the damages of a test went.
#[derive(Default)]
struct Tally {
    detected: u64,
    harmless: u64,
}

impl Tally {
    /// Damage is detected, or everything that was written is there, in order.
    fn take(&mut self, log: &SoundLog, what: &str, found: Result<Found, String>) -> bool {
        let found = found.unwrap_or_else(|why| panic!("{}: {what}: {why}", log.name));
        if !found.is_sound() {
            self.detected += 1;
            return true;
        }
        assert!(is_whole(log, &found), "{}: {what}: nothing objects, and events are missing", log.name);
        self.harmless += 1;
        false
    }

    fn figure(&self, what: &str) {
        let all = self.detected + self.harmless;
        eprintln!("FIGURE {what}: {all}, {} detected, {} harmless, 0 wrong", self.detected, self.harmless);
    }
}

fn is_whole(log: &SoundLog, found: &Found) -> bool {
    found.strict.events.len() as u64 == log.last_event_id
}

fn changed(log: &SoundLog, file: &str, change: impl FnOnce(&mut Vec<u8>)) -> SimulatedSystem {
    let mut bytes = log.files[file].to_vec();
    change(&mut bytes);
    log.with(file, &bytes)
}

fn flip(tally: &mut Tally, log: &SoundLog, file: &str, place: usize, bit: u32, by: Examination) -> bool {
    let machine = changed(log, file, |bytes| bytes[place] ^= 1 << bit);
    tally.take(log, &format!("{file}, byte {place}, bit {bit}"), by(&machine, Truth::of(&|event| log.holds(event))))
}

/// Everything for some of the damages, reading without seeks for most: an examination takes a millisecond.
fn chosen(by: usize) -> Examination {
    match by % 8 {
        0 => examine,
        1 => examine_reading,
        _ => examine_briefly,
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

/// Where the headers of a segment's file are.
fn headers_of(log: &SoundLog, index: usize) -> Vec<std::ops::Range<usize>> {
    let (plan, name, bytes) = log.segments().nth(index).unwrap();
    if is_frozen(name) {
        // Magic to header checksum and the first block's size; the last block's end mark and checksum.
        let frames = frames_of(name, bytes).unwrap();
        return frames
            .iter()
            .flat_map(|frame| {
                let head = if frame.content_size.is_some() { 19 } else { 11 };
                [frame.begin..frame.begin + head, frame.end - 8..frame.end]
            })
            .collect();
    }
    let blocks = plan.blocks.len() + usize::from(plan.open_events > 0);
    std::iter::once(0..64).chain((0..blocks).map(block_offset).map(|begin| begin..begin + 64)).collect()
}

#[test]
fn every_bit_of_every_header() {
    keep_freed_memory();
    let mut tally = Tally::default();
    for log in [sealed(), unguarded(), frozen(), open_tail()] {
        let names: Vec<String> = log.segments().map(|(_, name, _)| name.to_owned()).collect();
        for (index, name) in names.iter().enumerate() {
            for (part, range) in headers_of(&log, index).into_iter().enumerate() {
                for place in range {
                    for bit in 0..8 {
                        let by = chosen(place + part + 3 * bit as usize);
                        let detected = flip(&mut tally, &log, name, place, bit, by);
                        // A sealed segment's headers say nothing that is not held against something.
                        let is_sealed = log.plans[index].closed_ts_ns != 0;
                        assert!(detected || !is_sealed || is_frozen(name), "{name}, byte {place}, bit {bit}");
                    }
                }
            }
        }
    }
    tally.figure("bits of segment, block and frame headers flipped");
    assert!(tally.detected > 10 * tally.harmless);
}

#[test]
fn every_bit_of_the_small_files() {
    keep_freed_memory();
    let mut tally = Tally::default();
    for log in [sealed(), open_tail()] {
        for file in ["wal_meta.dat", "walrec.id", "walrec.stage"] {
            for place in 0..log.files[file].len() {
                for bit in 0..8 {
                    flip(&mut tally, &log, file, place, bit, if bit % 4 == 0 { examine } else { examine_briefly });
                }
            }
            // Cut anywhere, it is detected or harmless too.
            for length in 0..log.files[file].len() {
                let machine = changed(&log, file, |bytes| bytes.truncate(length));
                tally.take(
                    &log,
                    &format!("{file} cut at {length}"),
                    chosen(length)(&machine, Truth::of(&|event| log.holds(event))),
                );
            }
        }
    }
    tally.figure("bits of wal_meta.dat, walrec.id, walrec.stage flipped, and each cut at every byte");
    assert!(tally.detected > 0 && tally.harmless > 0);
}

#[test]
fn random_bits() {
    keep_freed_memory();
    let (seed, flips) = (number("WALREC_SEED", 20_240_607), number("WALREC_FLIPS", 4_000));
    let mut tally = Tally::default();
    let logs = [sealed(), unguarded(), open_tail(), frozen()];
    let mut state = seed;
    let mut draw = |below: usize| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        usize::try_from(mix(state) % below as u64).unwrap()
    };
    for _ in 0..flips {
        let log = &logs[draw(logs.len())];
        let (plan, file, bytes) = log.segments().nth(draw(log.plans.len())).unwrap();
        // Most of them where something stands.
        let place = if is_frozen(file) || draw(8) == 0 {
            draw(bytes.len())
        } else {
            let block = draw(plan.blocks.len() + usize::from(plan.open_events > 0));
            let events = plan.blocks.get(block).copied().unwrap_or(plan.open_events);
            block_offset(block) + draw(64 + 64 * events)
        };
        let bit = u32::try_from(draw(8)).unwrap();
        flip(&mut tally, log, file, place, bit, chosen(draw(8)));
    }
    tally.figure(&format!("random bits flipped, seed {seed}"));
    assert!(tally.detected > flips / 2);
}

#[test]
fn cut_at_every_byte() {
    keep_freed_memory();
    let mut tally = Tally::default();
    // Every byte of the frozen forms; of a hot segment every one near what means something, and every so many.
    let stride = usize::try_from(number("WALREC_CUT_STRIDE", 1_009)).unwrap();
    for log in [frozen(), sealed(), open_tail()] {
        for (index, (_, file, bytes)) in log.segments().enumerate() {
            let headers = headers_of(&log, index);
            // Of the large ones fewer: most of them is zeros.
            let stride = if bytes.len() > 60_000 { 16 * stride + 1 } else { stride };
            let near = |length: usize| {
                let begins = headers.iter().any(|header| length.abs_diff(header.start) <= 65);
                begins || is_frozen(file) || length.is_multiple_of(stride) || bytes.len() - length <= 65
            };
            for length in (0..bytes.len()).filter(|length| near(*length)) {
                let machine = changed(&log, file, |bytes| bytes.truncate(length));
                tally.take(
                    &log,
                    &format!("{file} cut at {length}"),
                    chosen(length)(&machine, Truth::of(&|event| log.holds(event))),
                );
            }
        }
    }
    tally.figure("segments cut, hot and frozen");
    // Harmless are cuts into what stands above the last block, where that still makes a segment's size.
    assert!(tally.detected > 5 * tally.harmless);
}

/// A frozen segment of several frames that can be entered: bits of every frame's head, and of what each begins with.
#[test]
fn frames_that_can_be_entered() {
    keep_freed_memory();
    let mut tally = Tally::default();
    let log = many_frames_log();
    let file = "FS.00000000.wal.lz4";
    for range in headers_of(&log, 0) {
        for place in range.step_by(3) {
            flip(&mut tally, &log, file, place, u32::try_from(place % 8).unwrap(), examine_reading);
        }
    }
    tally.figure("bits in a frozen segment of three frames");
    assert_eq!(tally.harmless, 0);
}

/// Negative controls: damage that nothing could detect is not called detected, and a wrong event is seen.
#[test]
fn the_rules_can_be_broken() {
    let log = sealed();
    let machine = log.machine();
    assert!(examine(&machine, Truth::of(&|event| log.holds(event))).unwrap().is_sound());
    // An event that the truth does not hold.
    let why = examine(&machine, Truth::of(&|event| log.holds(event) && event[0] != 7)).unwrap_err();
    assert!(why.contains("event 7 was never written so"), "{why}");
    // A last segment of an older state, with the meta state of that time: a sound log with fewer events.
    let mut files = log.files.clone();
    files.remove("FS.00000002.wal");
    files.remove("wal_meta.dat");
    let found = examine(&log.with_files(&files), Truth::of(&|event| log.holds(event))).unwrap();
    assert!(found.is_sound() && !is_whole(&log, &found), "events are missing, and nobody says so");
    // A forged event with good checksums is not the event that was written.
    let mut bytes = log.files["FS.00000000.wal"].to_vec();
    bytes[block_offset(0) + 64 + 20] ^= 1;
    crate::encode::repair_blocks(&mut bytes, 2);
    crate::encode::repair_counts(&mut bytes, 2);
    crate::encode::repair_segment_header(&mut bytes);
    let why = examine(&log.with("FS.00000000.wal", &bytes), Truth::of(&|event| log.holds(event))).unwrap_err();
    assert!(why.contains("was never written so"), "{why}");
}
