//! Closed in order at event 300, resumed, appended to 512; the power is cut at each operation on the way.
//!
//! The second block holds 44 old events and is finalized anew when it is full: the cut may leave its new header without its new
//! events. With guards on the old events it is written on in place; without them (a log of FlashStrike) the next segment is begun.

use std::path::Path;

use walrec::format::{BLOCK_HEADER_BYTES, BlockContext, BlockHeader, EVENT_BYTES, Event, judge_block};
use walrec::storage::simulated::{CrashOptions, Sectors, SimulatedSystem};

use super::machine::{FIRST, LOG, Recorder, event, first_seed, hold, read_whole, same, slots_of};
use super::naive;

const OLD: u64 = 300;
const LAST: u64 = 512;
const STATES: u64 = 16;
/// The same while the second block is on its way to the disk with its new header.
const STATES_OF_THE_BLOCK: u64 = 250;
const PRICE: i64 = 8;
/// The second block, and the old events in it.
const BLOCK: u32 = 1;
const OLD_IN_BLOCK: u32 = 44;

/// What a machine with a cleanly closed log of 300 events holds.
type Closed = SimulatedSystem;

fn closed_by_walrec(seed: u64) -> Closed {
    let machine = SimulatedSystem::new(seed);
    let mut recorder = Recorder::open(&machine);
    recorder.append(1..=OLD, PRICE);
    recorder.close();
    machine
}

fn closed_by_flashstrike(seed: u64) -> Closed {
    let machine = SimulatedSystem::new(seed);
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/clean_300");
    for name in ["FS.00000000.wal", "wal_meta.dat"] {
        machine.write_file(format!("{LOG}/{name}"), &std::fs::read(golden.join(name)).unwrap());
    }
    machine
}

/// What a resumed run came to before the machine went off.
struct Run {
    durable: u64,
    appended: u64,
}

/// Opens, appends to 512 in two parts, closes.
fn resume(machine: &SimulatedSystem) -> Run {
    let Ok(mut recorder) = Recorder::open_as(machine, LOG, &super::machine::config()) else {
        assert!(machine.is_off());
        return Run { durable: OLD, appended: OLD };
    };
    assert_eq!(recorder.manager.last_event_id(), OLD);
    for last in [400, LAST] {
        let first = recorder.manager.last_event_id() + 1;
        recorder.append(first..=last, PRICE);
        recorder.flush_until_off();
    }
    let run = Run { durable: recorder.manager.durable_event_id(), appended: recorder.manager.last_event_id() };
    let closed = recorder.manager.shutdown();
    assert!(closed.is_ok() || machine.is_off(), "{closed:?}");
    // The close makes everything durable.
    if closed.is_ok() { Run { durable: LAST, ..run } } else { run }
}

/// The old events as the log had them, the new ones as appended. Gives the last id.
fn hold_all(events: &[Event], old: &[Event], story: &str) -> u64 {
    assert!(events.len() >= old.len(), "{story}: only {} events", events.len());
    for (found, old) in events.iter().zip(old) {
        assert!(same(found, old), "{story}: {found:?} was {old:?}");
    }
    for (id, found) in (OLD + 1..).zip(&events[old.len()..]) {
        assert!(same(found, &event(id, PRICE)), "{story}: event {id} is {found:?}");
    }
    events.len() as u64
}

struct Figures {
    operations: u64,
    states: u64,
    naive_loses: u64,
}

/// Cuts the power at each operation of a resumed run.
fn cut_everywhere(closed: &Closed, seed: u64, mut look: impl FnMut(&SimulatedSystem, &str)) -> Figures {
    let start = closed.snapshot();
    let old = read_whole(closed, LOG, "the closed log");
    assert_eq!(old.len() as u64, OLD);
    let first = start.operations();
    let mut figures = Figures { operations: 0, states: 0, naive_loses: 0 };
    for operation in first.. {
        let machine = start.process_crash();
        machine.set_crash_at(operation);
        let run = resume(&machine);
        let whole = !machine.is_off();
        let snapshot = machine.snapshot_disk();
        figures.operations += 1;
        let block_under_way = run.durable == 400 && run.appended == LAST;
        let states = if block_under_way { STATES_OF_THE_BLOCK } else { STATES };
        for state in 0..states {
            let story = format!("seed {seed}, operation {}, power cut {state}", operation - first);
            // Half of the states by sectors: the new header without its new events is one of them.
            let sectors = (state % 2 == 0).then_some(Sectors::Random);
            let options = CrashOptions { sectors, ..CrashOptions::default() };
            let after = snapshot.power_cut(seed + operation * STATES_OF_THE_BLOCK + state, &options);
            let file = after.read_file(FIRST).unwrap();
            let by_naive = naive::by_checksum_alone(&file, BLOCK, naive::guards_of(&file, 0));
            figures.naive_loses += u64::from(by_naive < OLD_IN_BLOCK);
            let recorder = Recorder::open(&after);
            let last = hold_all(&read_whole(&after, LOG, &story), &old, &story);
            assert!((run.durable..=run.appended).contains(&last), "{story}: {last}, durable {}", run.durable);
            assert_eq!(recorder.manager.last_event_id(), last, "{story}");
            look(&after, &story);
            figures.states += 1;
        }
        if whole {
            return figures;
        }
    }
    figures
}

#[test]
fn a_partial_block_is_written_on_and_loses_nothing() {
    let seed = first_seed();
    let figures = cut_everywhere(&closed_by_walrec(seed), seed, |_, _| {});
    println!(
        "clean close, resumed in place: seed {seed}, {} operations, {} states, nothing lost; the block checksum alone loses old \
         events in {}",
        figures.operations, figures.states, figures.naive_loses
    );
    assert!(figures.operations > 20, "only {} operations", figures.operations);
    // The control: the new header was there without its events, and only the guards save the old ones.
    assert!(figures.naive_loses > 10, "hardly a state could show a loss");
}

/// It was written on in place in the story above, so that the story is about what it says.
#[test]
fn guarded_events_are_written_on_in_place() {
    let machine = closed_by_walrec(first_seed());
    let before = machine.read_file(FIRST).unwrap();
    let run = resume(&machine);
    assert_eq!((run.durable, run.appended), (LAST, LAST));
    assert_eq!(machine.read_file(format!("{LOG}/FS.00000001.wal")), None);
    let after = machine.read_file(FIRST).unwrap();
    for slots in [slots_of(0, 256), slots_of(256, 300)] {
        assert!(after[slots.clone()] == before[slots], "old events were changed");
    }
    assert_eq!(hold(&read_whole(&machine, LOG, "resumed"), |_| PRICE, "resumed"), LAST);
}

#[test]
fn unguarded_events_are_left_alone() {
    let seed = first_seed();
    let closed = closed_by_flashstrike(seed);
    let before = closed.read_file(FIRST).unwrap();
    let slots = [slots_of(0, 256), slots_of(256, 300)];
    let figures = cut_everywhere(&closed, seed, |after, story| {
        let file = after.read_file(FIRST).unwrap();
        for slots in slots.clone() {
            assert!(file[slots.clone()] == before[slots], "{story}: old events were written");
        }
    });
    println!(
        "clean close without guards: seed {seed}, {} operations, {} states, nothing lost, no old event's bytes changed",
        figures.operations, figures.states
    );
    assert!(figures.operations > 20, "only {} operations", figures.operations);
    let machine = closed_by_flashstrike(seed);
    resume(&machine);
    let first = read_whole(&machine, LOG, "resumed");
    assert_eq!(first.len() as u64, LAST);
    let second = machine.read_file(format!("{LOG}/FS.00000001.wal")).expect("the next segment");
    assert_eq!(naive::event_at(&second, 0)[..8], (OLD + 1).to_le_bytes());
}

/// The control: what stands in the way of writing on in place. The same block, its new header on disk and its new events not: with
/// guards the old events are proven one by one, without them nothing is.
#[test]
fn a_new_header_without_guards_would_lose_the_old_events() {
    let accepted = |closed: &Closed| {
        let file = closed.read_file(FIRST).unwrap();
        let guards = naive::guards_of(&file, 0);
        let old = naive::block(&file, BLOCK);
        let mut new = old;
        for slot in OLD_IN_BLOCK..256 {
            let place = BLOCK_HEADER_BYTES + slot as usize * EVENT_BYTES;
            new[place..place + EVENT_BYTES].copy_from_slice(&event(257 + u64::from(slot), PRICE).to_bytes());
        }
        let chain = BlockHeader::from_bytes(naive::block(&file, 0)[..64].try_into().unwrap()).unwrap().chained_checksum;
        let header = BlockHeader::finalize(BLOCK, &new[BLOCK_HEADER_BYTES..], chain, 0, None);
        let mut torn = old;
        torn[..BLOCK_HEADER_BYTES].copy_from_slice(&header.to_bytes());
        let context = BlockContext { block_index: BLOCK, previous_last_id: 256, previous_chain: chain, guards };
        assert_eq!(judge_block(&old, &context).accepted, OLD_IN_BLOCK, "the block as it was closed");
        judge_block(&torn, &context).accepted
    };
    let seed = first_seed();
    let (guarded, unguarded) = (accepted(&closed_by_walrec(seed)), accepted(&closed_by_flashstrike(seed)));
    println!("clean close: control: new header, old events: {guarded} of 44 with guards, {unguarded} without");
    assert_eq!((guarded, unguarded), (OLD_IN_BLOCK, 0));
}
