//! A hole of zeros that begins on an event or block boundary below the watermark, with valid data behind it: corruption. It is
//! never a clean end, never a place to append into, and nothing is changed.
//!
//! Three things give the watermark away: `wal_meta.dat`, events in a later segment, and events so far above that no torn write
//! reaches them.

use walrec::format::{BLOCK_HEADER_BYTES, EVENT_BYTES, Event, Geometry};
use walrec::recorder::{Config, Error, OpenFlags};
use walrec::recovery;
use walrec::storage::simulated::{CrashOptions, EntryChanges, Sectors, SimulatedSystem, Snapshot};

use super::machine::{
    CAPACITY, FIRST, LOG, Recorder, certain, config, draw, event, first_seed, hold, read, salvage, same,
};

const PRICE: i64 = 6;

/// A hole in the first segment.
#[derive(Clone, Copy, Debug)]
struct Hole {
    /// The first event that is gone.
    slot: u32,
    /// Whether the zeros begin at the header of that event's block.
    at_block: bool,
    /// Where the zeros begin and end in the file.
    begin: usize,
    end: usize,
}

impl Hole {
    /// Begins with a seed's event among the first `below`, half of the time at a block's header, and leaves events behind it among
    /// the first `used`.
    fn draw(seed: &mut u64, below: u32, used: u32) -> Self {
        let mut number = |below: u32| u32::try_from(draw(seed, below.into())).unwrap();
        let at_block = number(2) == 0;
        let slot = if at_block { number(below.div_ceil(256)) * 256 } else { number(below) };
        let most = [1, 7, 300, 2_000][number(4) as usize].min(used - slot - 1).max(1);
        let end = slot + 1 + number(most);
        let begin = Geometry::event_offset(slot) - if at_block { BLOCK_HEADER_BYTES } else { 0 };
        Self { slot, at_block, begin, end: Geometry::event_offset(end - 1) + EVENT_BYTES }
    }

    fn make(&self, machine: &SimulatedSystem) {
        let mut file = machine.read_file(FIRST).unwrap();
        assert!(file[self.end..].iter().any(|&byte| byte != 0), "{self:?}: nothing behind it");
        file[self.begin..self.end].fill(0);
        machine.write_file(FIRST, &file);
    }
}

#[derive(Default)]
struct Figures {
    holes: u64,
    at_a_block: u64,
    reader_says_corrupt: u64,
    reader_stops_below: u64,
}

/// No event from behind the hole as if nothing was missing; whether the reader says that the log is damaged.
fn reader_stops(machine: &SimulatedSystem, hole: &Hole, story: &str) -> bool {
    let (events, error) = read(machine, LOG);
    let last = hold(&events, |_| PRICE, story);
    assert!(last <= hole.slot.into(), "{story}: the reader gives {last} events");
    match error {
        Some(recovery::Error::Corrupt(_)) => true,
        None => false,
        Some(other) => panic!("{story}: the reader fails otherwise: {other}"),
    }
}

/// The hole is refused, twice, and nothing is changed by that.
fn is_corruption(machine: &SimulatedSystem, hole: &Hole, config: &Config, story: &str, figures: &mut Figures) {
    hole.make(machine);
    let before = machine.tree_hash("/");
    for _ in 0..2 {
        match Recorder::open_as(machine, LOG, config) {
            Err(Error::Corrupt(corruption)) => {
                assert!(corruption.path.starts_with(LOG), "{story}: {corruption}");
            }
            Err(error) => panic!("{story}: refused, but not as corruption: {error}"),
            Ok(recorder) => panic!("{story}: opened up to {}", recorder.manager.last_event_id()),
        }
        assert_eq!(machine.tree_hash("/"), before, "{story}: something was changed");
    }
    figures.holes += 1;
    figures.at_a_block += u64::from(hole.at_block);
    if reader_stops(machine, hole, story) {
        figures.reader_says_corrupt += 1;
    } else {
        figures.reader_stops_below += 1;
    }
}

/// SALVAGE opens and says so, the damaged bytes are kept, and later strict opens pass.
///
/// The segment goes to the quarantine, with a marker that each later open reports; only where nothing but `wal_meta.dat` tells of the
/// missing events may it stay, with all that comes before the hole, and the bytes behind it copied aside.
fn is_salvaged(machine: &SimulatedSystem, hole: &Hole, may_stay: bool, story: &str) {
    let damaged = machine.read_file(FIRST).unwrap();
    let recorder =
        Recorder::open_as(machine, LOG, &salvage()).unwrap_or_else(|error| panic!("{story}: salvage: {error}"));
    let report = recorder.manager.report().clone();
    recorder.close();
    let moved = !machine.exists(FIRST);
    let marked = machine.exists(format!("{LOG}/quarantine/FS.00000000.lost"));
    if moved {
        // Without an event in it, its index is used again.
        assert!(marked || (may_stay && hole.slot == 0), "{story}: no marker");
        assert!(machine.read_file(format!("{LOG}/quarantine/FS.00000000.wal")) == Some(damaged), "{story}: not kept");
    } else {
        assert!(may_stay, "{story}: the damaged segment is still there");
        assert_eq!(report.last_event_id, hole.slot.into(), "{story}: good events below the hole are gone");
        let end = Geometry::end_offset(hole.slot);
        let last = damaged.iter().rposition(|&byte| byte != 0).unwrap() + 1;
        let copy = machine.read_file(format!("{LOG}/quarantine/FS.00000000.{end}"));
        assert!(copy.as_deref() == Some(&damaged[end..last]), "{story}: no copy of what is behind the hole");
    }
    assert!(report.quarantined >= 1, "{story}: {report:?}");
    assert_ne!(
        report.flags & OpenFlags::SALVAGED,
        0,
        "{story}: durable events are lost, and no flag says it: {report:?}"
    );
    let mut recorder =
        Recorder::open_as(machine, LOG, &config()).unwrap_or_else(|error| panic!("{story}: strict after it: {error}"));
    if marked {
        assert_ne!(recorder.flags() & OpenFlags::SALVAGED, 0, "{story}: the gap is not reported again");
    }
    let last = recorder.manager.last_event_id();
    recorder.append(last + 1..=last + 10, PRICE);
    recorder.close();
}

fn tell(what: &str, seed: u64, figures: &Figures) {
    println!(
        "hole, {what}: seed {seed}, {} holes ({} at a block's header), all refused, nothing changed; the reader says CORRUPT in \
         {}, ends below the hole in {}",
        figures.holes, figures.at_a_block, figures.reader_says_corrupt, figures.reader_stops_below
    );
    assert!(figures.at_a_block > 0 && figures.at_a_block < figures.holes);
}

/// The power goes, everything written is on the disk, memory is empty.
fn all_on_disk() -> CrashOptions {
    certain(Sectors::Everything, EntryChanges::Everything)
}

/// Closed at 3000, resumed, and cut at 3500: `wal_meta.dat` says 3000.
fn known_by_meta(seed: u64) -> Snapshot {
    let machine = SimulatedSystem::new(seed);
    let mut recorder = Recorder::open(&machine);
    recorder.append(1..=3_000, PRICE);
    recorder.close();
    let mut recorder = Recorder::open(&machine);
    recorder.append(3_001..=3_500, PRICE);
    recorder.flush();
    machine.snapshot_disk()
}

#[test]
fn below_what_meta_says_is_corruption() {
    let seed = first_seed();
    let snapshot = known_by_meta(seed);
    let (mut chance, mut figures) = (seed, Figures::default());
    for number in 0..300 {
        let machine = snapshot.power_cut(seed + number, &all_on_disk());
        let hole = Hole::draw(&mut chance, 2_990, 3_000);
        let story = format!("seed {seed}, hole {number}: {hole:?}");
        is_corruption(&machine, &hole, &config(), &story, &mut figures);
        if number % 10 == 0 {
            is_salvaged(&machine, &hole, true, &story);
        }
    }
    tell("below meta", seed, &figures);
}

/// The first segment full and durable but not sealed, a whole block and more in the second; meta knows nothing.
fn known_by_the_next_segment(seed: u64) -> Snapshot {
    let machine = SimulatedSystem::new(seed);
    let mut recorder = Recorder::open(&machine);
    recorder.append(1..=CAPACITY + 300, PRICE);
    recorder.flush();
    assert_eq!(recorder.manager.durable_event_id(), CAPACITY + 300);
    machine.snapshot_disk()
}

#[test]
fn below_a_later_segment_is_corruption() {
    let seed = first_seed();
    let snapshot = known_by_the_next_segment(seed);
    let (mut chance, mut figures) = (seed ^ 1, Figures::default());
    for number in 0..300 {
        let machine = snapshot.power_cut(seed + number, &all_on_disk());
        let hole = Hole::draw(&mut chance, 4_090, 4_096);
        let story = format!("seed {seed}, hole {number}: {hole:?}");
        is_corruption(&machine, &hole, &config(), &story, &mut figures);
        if number % 10 == 0 {
            is_salvaged(&machine, &hole, false, &story);
            let (events, error) = read(&machine, LOG);
            assert!(error.is_none(), "{story}: reading the salvaged log: {}", error.unwrap());
            assert_eq!(events.first().map(|event| event.event_id), Some(CAPACITY + 1), "{story}");
            assert_eq!(events.len(), 310, "{story}");
        }
    }
    tell("below a later segment", seed, &figures);
    assert_eq!(figures.reader_stops_below, 0, "the reader could see the later segment");
}

/// The end of the file, even: nothing but zeros from the hole to the end of the segment, and a later one in use.
#[test]
fn a_missing_end_below_a_later_segment_is_corruption() {
    let seed = first_seed();
    let snapshot = known_by_the_next_segment(seed);
    let (mut chance, mut corrupt) = (seed ^ 2, 0_u64);
    for number in 0..100 {
        let machine = snapshot.power_cut(seed + number, &all_on_disk());
        // Half of them whole blocks: only the link in the next segment's first block tells of those.
        let slot = u32::try_from(draw(&mut chance, CAPACITY)).unwrap();
        let slot = if number % 2 == 0 { slot / 256 * 256 } else { slot };
        let story = format!("seed {seed}, end {number}: zeros from slot {slot} on");
        let mut file = machine.read_file(FIRST).unwrap();
        let begin =
            if slot.is_multiple_of(256) { Geometry::block_offset(slot / 256) } else { Geometry::event_offset(slot) };
        file[begin..].fill(0);
        machine.write_file(FIRST, &file);
        let before = machine.tree_hash("/");
        match Recorder::open_as(&machine, LOG, &config()) {
            Err(Error::Corrupt(_)) => {}
            Err(error) => panic!("{story}: {error}"),
            Ok(recorder) => panic!("{story}: opened up to {}", recorder.manager.last_event_id()),
        }
        assert_eq!(machine.tree_hash("/"), before, "{story}: something was changed");
        let (events, error) = read(&machine, LOG);
        assert!(hold(&events, |_| PRICE, &story) <= slot.into(), "{story}: the reader goes on behind it");
        corrupt += u64::from(matches!(error, Some(recovery::Error::Corrupt(_))));
    }
    println!(
        "hole to the end of a segment before a used one: seed {seed}, 100 refused; the reader says CORRUPT in {corrupt}"
    );
    assert_eq!(corrupt, 100, "the reader ends quietly although a later segment has events");
}

/// A segment of 512 blocks with 100,000 events, cut: the hole is more than 4 MiB below the last of them.
#[test]
fn far_below_valid_data_is_corruption() {
    let seed = first_seed();
    let wide = Config { num_blocks: 512, ..config() };
    let machine = SimulatedSystem::new(seed);
    let mut recorder = Recorder::open_as(&machine, LOG, &wide).unwrap();
    for last in (10_000..=100_000).step_by(10_000) {
        recorder.append(last - 9_999..=last, PRICE);
        recorder.flush();
    }
    let snapshot = machine.snapshot_disk();
    drop(recorder);
    let (mut chance, mut figures) = (seed ^ 3, Figures::default());
    for number in 0..24 {
        let machine = snapshot.power_cut(seed + number, &all_on_disk());
        let hole = Hole::draw(&mut chance, 30_000, 33_000);
        let story = format!("seed {seed}, hole {number}: {hole:?}");
        is_corruption(&machine, &hole, &wide, &story, &mut figures);
    }
    tell("more than 4 MiB below valid data", seed, &figures);
    assert_eq!(figures.reader_stops_below, 0, "the reader could see the data above");
}

/// The control: the same hole above the watermark, within what one cycle wrote, is a torn tail, and is cut.
#[test]
fn the_same_hole_in_an_unsynced_cycle_is_a_torn_tail() {
    let seed = first_seed();
    let machine = SimulatedSystem::new(seed);
    let mut recorder = Recorder::open(&machine);
    recorder.append(1..=3_000, PRICE);
    recorder.close();
    let mut recorder = Recorder::open(&machine);
    recorder.append(3_001..=3_500, PRICE);
    machine.set_crash_at(machine.operations() + 1);
    recorder.flush_until_off();
    assert_eq!(recorder.manager.durable_event_id(), 3_000);
    let snapshot = machine.snapshot_disk();
    let mut chance = seed ^ 4;
    let mut cuts = 0;
    for number in 0..100 {
        let machine = snapshot.power_cut(seed + number, &all_on_disk());
        let mut hole = Hole::draw(&mut chance, 490, 500);
        hole.slot += 3_000;
        (hole.begin, hole.end) = (Geometry::event_offset(hole.slot), Geometry::event_offset(hole.slot + 1));
        let story = format!("seed {seed}, hole {number}: {hole:?}");
        hole.make(&machine);
        let recorder = Recorder::open(&machine);
        let (events, error) = read(&machine, LOG);
        assert!(error.is_none(), "{story}: {}", error.unwrap());
        // A hole of one event in a block whose header is there: the guards below it still hold.
        assert_eq!(hold(&events, |_| PRICE, &story), hole.slot.into(), "{story}");
        assert_eq!(recorder.flags() & OpenFlags::CUT, OpenFlags::CUT, "{story}");
        assert_eq!(recorder.manager.report().cut_offset, hole.begin as u64 - skipped(hole.slot), "{story}");
        cuts += 1;
    }
    println!("hole: control: seed {seed}, {cuts} holes above the watermark were torn tails and were cut");
}

/// A cut at a block's first event begins after the last event of the block before.
fn skipped(slot: u32) -> u64 {
    if slot.is_multiple_of(256) { BLOCK_HEADER_BYTES as u64 } else { 0 }
}

/// The control of the judgement itself: without the hole the same states open, whole.
#[test]
fn without_the_hole_the_same_logs_open() {
    let seed = first_seed();
    for (snapshot, last) in [(known_by_meta(seed), 3_500), (known_by_the_next_segment(seed), CAPACITY + 300)] {
        let machine = snapshot.power_cut(seed, &all_on_disk());
        let recorder = Recorder::open(&machine);
        assert_eq!(recorder.flags() & (OpenFlags::CUT | OpenFlags::SALVAGED), 0);
        let (events, error) = read(&machine, LOG);
        assert!(error.is_none());
        assert_eq!(events.len() as u64, last);
        assert!(events.iter().zip(1..).all(|(found, id): (&Event, u64)| same(found, &event(id, PRICE))));
    }
}
