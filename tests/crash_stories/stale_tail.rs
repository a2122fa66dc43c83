//! Cut at 1000, events 1001 to 1100 appended anew, crashed again: the old events 1101 to 1200 are still on the disk, and must
//! not come back.

use walrec::format::{BLOCK_BYTES, BLOCK_HEADER_BYTES, BlockContext, EVENT_BYTES, Geometry, GuardContext, judge_block};
use walrec::recorder::OpenFlags;
use walrec::storage::simulated::{CrashOptions, EntryChanges, Sectors, SimulatedSystem, Snapshot};

use super::machine::{FIRST, LOG, Recorder, certain, event, first_seed, hold, read_whole};
use super::naive;

const CUT: u64 = 1_000;
const OLD_LAST: u64 = 1_200;
const NEW_LAST: u64 = 1_100;
const OLD: i64 = 11;
const NEW: i64 = 22;
const STATES: u64 = 600;

/// Durable up to 1000, and 1001 to 1200 written, but never synced.
fn first_life(seed: u64) -> Snapshot {
    let machine = SimulatedSystem::new(seed);
    let mut recorder = Recorder::open(&machine);
    recorder.append(1..=CUT, OLD);
    recorder.flush();
    recorder.append(CUT + 1..=OLD_LAST, OLD);
    machine.set_crash_at(machine.operations() + 1);
    recorder.flush_until_off();
    assert_eq!(recorder.manager.durable_event_id(), CUT);
    machine.snapshot_disk()
}

/// Old events above the new ones' last id whose guards hold where they lie.
fn stale_on_disk(file: &[u8], guards: GuardContext) -> u32 {
    let slots = u32::try_from(NEW_LAST).unwrap()..u32::try_from(OLD_LAST).unwrap();
    u32::try_from(slots.filter(|&slot| guards.holds(slot, &naive::event_at(file, slot))).count()).unwrap()
}

/// The control: had the new events been written over the old ones in place, how many old ones would follow them?
fn accepted_if_written_in_place(file: &[u8], guards: GuardContext) -> u64 {
    const BLOCK: u32 = 4;
    let first = BLOCK * 256;
    let mut block: [u8; BLOCK_BYTES] = naive::block(file, BLOCK);
    block[..BLOCK_HEADER_BYTES].fill(0);
    for slot in first..u32::try_from(NEW_LAST).unwrap() {
        let mut bytes = event(u64::from(slot) + 1, NEW).to_bytes();
        let guard = guards.guard(slot, &bytes);
        bytes[60..].copy_from_slice(&guard.to_le_bytes());
        let place = BLOCK_HEADER_BYTES + (slot - first) as usize * EVENT_BYTES;
        block[place..place + EVENT_BYTES].copy_from_slice(&bytes);
    }
    let context = BlockContext { block_index: BLOCK, previous_last_id: first.into(), previous_chain: 0, guards };
    u64::from(first + judge_block(&block, &context).accepted)
}

/// The cut is told, its bytes are set aside exactly, and stay where they are. `false` when this state cut elsewhere.
fn cut_is_told(after: &SimulatedSystem, before: &[u8], recorder: &Recorder, story: &str) -> bool {
    let report = recorder.manager.report();
    if report.last_event_id != CUT {
        assert!((CUT..=OLD_LAST).contains(&report.last_event_id), "{story}: {report:?}");
        return false;
    }
    let end = Geometry::end_offset(u32::try_from(CUT).unwrap());
    let nonzero_end = before.iter().rposition(|&byte| byte != 0).unwrap() + 1;
    assert_ne!(report.flags & OpenFlags::CUT, 0, "{story}: {report:?}");
    assert_eq!(report.cut_segment, 0, "{story}");
    assert_eq!(report.cut_offset, end as u64, "{story}");
    assert_eq!(report.bytes_cut, (nonzero_end - end) as u64, "{story}");
    assert_eq!(report.quarantined, 1, "{story}");
    let copy = after.read_file(format!("{LOG}/quarantine/FS.00000000.{end}"));
    assert_eq!(copy.as_deref(), Some(&before[end..nonzero_end]), "{story}: the copy");
    let file = after.read_file(FIRST).unwrap();
    assert_eq!(file[end..nonzero_end], before[end..nonzero_end], "{story}: the cut bytes in their place");
    true
}

/// Opens what a second crash left: everything up to `at_least`, old up to the cut, new above it, nothing else.
fn second_crash(after: &SimulatedSystem, at_least: u64, story: &str) {
    let recorder = Recorder::open(after);
    let events = read_whole(after, LOG, story);
    let last = hold(&events, |id| if id <= CUT { OLD } else { NEW }, story);
    assert!((at_least..=NEW_LAST).contains(&last), "{story}: {last} events, {at_least} were durable");
    assert_eq!(recorder.manager.last_event_id(), last, "{story}");
}

#[test]
fn a_stale_tail_does_not_come_back() {
    let seed = first_seed();
    let snapshot = first_life(seed);
    let (mut cuts, mut stale_states, mut stale_events, mut in_place) = (0_u64, 0_u64, 0_u64, 0_u64);
    for state in seed..seed + STATES {
        let story = format!("power cut {state}");
        let sectors = if state % 2 == 0 { Sectors::Suffix } else { Sectors::Random };
        let after = snapshot.power_cut(state, &certain(sectors, EntryChanges::Everything));
        let before = after.read_file(FIRST).unwrap();
        let guards = naive::guards_of(&before, 0);
        let stale = stale_on_disk(&before, guards);
        let mut recorder = Recorder::open(&after);
        if recorder.flags() & OpenFlags::CUT == 0 || !cut_is_told(&after, &before, &recorder, &story) {
            recorder.kill();
            continue;
        }
        cuts += 1;
        stale_states += u64::from(stale > 0);
        stale_events += u64::from(stale);
        in_place += u64::from(accepted_if_written_in_place(&before, guards) > NEW_LAST);
        // The old bytes are still there with the old place's guards when the new events have come.
        recorder.append(CUT + 1..=NEW_LAST, NEW);
        after.set_crash_at(after.operations() + 1);
        recorder.flush_until_off();
        let torn = after.snapshot_disk();
        after.set_crash_at(u64::MAX);
        drop(recorder);
        assert_eq!(stale_on_disk(&after.read_file(FIRST).unwrap(), guards), stale, "{story}");
        for way in 0..3 {
            second_crash(
                &torn.power_cut(state * 3 + way, &CrashOptions::default()),
                CUT,
                &format!("{story}, torn {way}"),
            );
        }
        // The same with everything durable before the second cut, and after a kill.
        let whole = torn.power_cut(state, &certain(Sectors::Nothing, EntryChanges::Nothing));
        let mut recorder = Recorder::open(&whole);
        recorder.append(CUT + 1..=NEW_LAST, NEW);
        recorder.flush();
        let durable = whole.snapshot();
        drop(recorder);
        second_crash(&durable.power_cut(state, &CrashOptions::default()), NEW_LAST, &format!("{story}, durable"));
        second_crash(&durable.process_crash(), NEW_LAST, &format!("{story}, killed"));
    }
    println!(
        "stale tail: seeds {seed}.., {STATES} states: cut at {CUT} in {cuts}, with {stale_events} stale events above {NEW_LAST} \
         on disk in {stale_states} of them; written on in place, {in_place} would take some"
    );
    assert!(cuts > STATES / 5 && stale_states > STATES / 5, "too few states show anything");
    // The control: the stale bytes were there, and in place they would have been taken for events.
    assert!(in_place > STATES / 10, "the stale bytes would never have come back");
}
