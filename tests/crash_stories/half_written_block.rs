//! A block of 256 events with the watermark at 200; events 201 to 256 and the block's header were on their way to the disk.

use walrec::format::Geometry;
use walrec::storage::simulated::{CrashOptions, EntryChanges, SECTOR_BYTES, SimulatedSystem};

use super::machine::{FIRST, LOG, Recorder, first_seed, hold, read_whole};
use super::naive;

const STATES: u64 = 2_500;
const DURABLE: u32 = 200;
const APPENDED: u32 = 256;
const PRICE: i64 = 1;

/// Sectors may hold anything if no durable byte lies in them: not the header's, which it shares with the first events.
fn trash() -> CrashOptions {
    let first = Geometry::end_offset(DURABLE).next_multiple_of(SECTOR_BYTES) as u64;
    let may_trash = move |path: &str, offset: u64| path == FIRST && offset >= first;
    CrashOptions { trash: Some(Box::new(may_trash)), sectors: None, entries: Some(EntryChanges::Everything) }
}

#[test]
fn a_half_written_block_keeps_its_durable_events() {
    let seed = first_seed();
    let machine = SimulatedSystem::new(seed);
    let mut recorder = Recorder::open(&machine);
    recorder.append(1..=DURABLE.into(), PRICE);
    recorder.flush();
    assert_eq!(recorder.manager.durable_event_id(), DURABLE.into());
    recorder.append(u64::from(DURABLE) + 1..=APPENDED.into(), PRICE);
    // The write is the next operation; the sync after it never comes.
    machine.set_crash_at(machine.operations() + 1);
    recorder.flush_until_off();
    assert!(machine.is_off());
    assert_eq!(recorder.manager.durable_event_id(), DURABLE.into());
    let snapshot = machine.snapshot_disk();
    drop(recorder);

    let (options, mut ends, mut lost_by_naive) = (trash(), [0_u64; 3], 0);
    for state in seed..seed + STATES {
        let story = format!("power cut {state}");
        let after = snapshot.power_cut(state, &options);
        let file = after.read_file(FIRST).unwrap();
        let by_naive = naive::by_checksum_alone(&file, 0, naive::guards_of(&file, 0));
        lost_by_naive += u64::from(by_naive < DURABLE);
        let recorder = Recorder::open(&after);
        let events = read_whole(&after, LOG, &story);
        let recovered = hold(&events, |_| PRICE, &story);
        assert!((DURABLE.into()..=APPENDED.into()).contains(&recovered), "{story}: {recovered} events");
        assert_eq!(recorder.manager.last_event_id(), recovered, "{story}");
        assert_eq!(recorder.manager.durable_event_id(), recovered, "{story}");
        assert_eq!(recorder.manager.report().last_event_id, recovered, "{story}");
        recorder.kill();
        // Recovering once more gives the same.
        if state % 16 == 0 {
            drop(Recorder::open(&after));
            assert_eq!(hold(&read_whole(&after, LOG, &story), |_| PRICE, &story), recovered, "{story}, once more");
        }
        ends[if recovered == DURABLE.into() {
            0
        } else if recovered < APPENDED.into() {
            1
        } else {
            2
        }] += 1;
    }
    println!(
        "half-written block: seeds {seed}.., {STATES} states: recovered {DURABLE} in {}, between in {}, {APPENDED} in {}; the \
         block checksum alone loses durable events in {lost_by_naive}",
        ends[0], ends[1], ends[2]
    );
    assert!(ends.iter().all(|&count| count > STATES / 100), "the states are not mixed: {ends:?}");
    // The control: without the fall-back to guards the story goes wrong.
    assert!(lost_by_naive > STATES / 10, "only {lost_by_naive} states could show a loss");
}
