//! Whose stage is it? Another `stage_dir` at the next open, a copied log beside its original, an emptied /dev/shm, a stage of another
//! layout, another owner or other contents. No event is lost without a word, none is spliced in.

use walrec::format::{EVENT_BYTES, PAGE_BYTES};
use walrec::recorder::{Config, Error, OpenFlags};
use walrec::storage::simulated::SimulatedSystem;

use super::machine::{
    FIRST, LOG, MEMORY, Recorder, config, event, first_seed, hold, listening, read_whole, slots_of, stage_directory,
};

const PRICE: i64 = 7;
const DURABLE: u64 = 300;
const LAST: u64 = 500;
const COPY: &str = "/copy";

/// Offsets in a control page, as the layout has them.
const LAYOUT: usize = 8;
const STATE: usize = 12;
const SEGMENT_INDEX: usize = 64;
const PUBLISHED: usize = 256;

fn in_directory(path: &str) -> Config {
    Config { stage_dir: Some(path.into()), ..config() }
}

/// 500 events, 300 of them durable, and then the process is killed: 200 are in the stage alone.
fn killed_as(machine: &SimulatedSystem, config: &Config) {
    let mut recorder = Recorder::open_as(machine, LOG, config).unwrap();
    recorder.append(1..=DURABLE, PRICE);
    recorder.flush();
    recorder.append(DURABLE + 1..=LAST, PRICE);
    recorder.kill();
}

fn killed(seed: u64) -> SimulatedSystem {
    let machine = SimulatedSystem::new(seed);
    killed_as(&machine, &config());
    machine
}

/// The log holds exactly `1..=last`, and the recorder goes on behind it.
fn goes_on(machine: &SimulatedSystem, path: &str, mut recorder: Recorder, last: u64, story: &str) {
    assert_eq!(recorder.manager.last_event_id(), last, "{story}");
    assert_eq!(hold(&read_whole(machine, path, story), |_| PRICE, story), last, "{story}");
    recorder.append(last + 1..=last + 50, PRICE);
    recorder.close();
    assert_eq!(hold(&read_whole(machine, path, story), |_| PRICE, story), last + 50, "{story}, closed");
}

#[test]
fn another_stage_dir_at_the_next_open_loses_nothing() {
    let seed = first_seed();
    let mut from_stage = 0;
    for (first, second) in [("/ram1", "/ram2"), (MEMORY, "/ram1"), ("/ram2", MEMORY)] {
        let story = format!("seed {seed}: stage in {first}, then {second}");
        let machine = SimulatedSystem::new(seed);
        machine.mount_memory("/ram1");
        machine.mount_memory("/ram2");
        killed_as(&machine, &in_directory(first));
        let old = stage_directory(&machine, first);
        let recorder = Recorder::open_as(&machine, LOG, &in_directory(second)).unwrap();
        let report = recorder.manager.report();
        assert_eq!(report.events_from_stage, LAST - DURABLE, "{story}");
        assert_eq!(
            report.flags & (OpenFlags::STAGE_MISSING | OpenFlags::STAGE_SET_ASIDE | OpenFlags::CUT),
            0,
            "{story}"
        );
        from_stage += report.events_from_stage;
        assert!(!machine.exists(&old), "{story}: the old pool is still there");
        assert_eq!(stage_directory(&machine, second).rsplit('/').next(), old.rsplit('/').next(), "{story}");
        goes_on(&machine, LOG, recorder, LAST, &story);
        assert_eq!(machine.list(second), Some(vec![]), "{story}: left after the close");
    }
    println!("another stage_dir: seed {seed}: {from_stage} events came from the old stage, none lost");
}

/// Killed at each change that such an open makes: the one after it finds the old stage all the same, and takes it away.
#[test]
fn an_old_stage_elsewhere_is_never_forgotten() {
    let seed = first_seed();
    let mut left_behind = 0;
    for operation in 0.. {
        let story = format!("seed {seed}: killed at change {operation}");
        let machine = SimulatedSystem::new(seed);
        machine.mount_memory("/ram1");
        killed_as(&machine, &config());
        machine.set_crash_at(machine.operations() + operation);
        let opened = Recorder::open_as(&machine, LOG, &in_directory("/ram1"));
        let whole = opened.is_ok() && !machine.is_off();
        let after = machine.snapshot().process_crash();
        drop(opened);
        left_behind += u64::from(!after.list(MEMORY).unwrap().is_empty());
        let recorder = Recorder::open_as(&after, LOG, &in_directory("/ram1")).unwrap();
        assert_eq!(recorder.flags() & (OpenFlags::STAGE_MISSING | OpenFlags::STAGE_SET_ASIDE), 0, "{story}");
        goes_on(&after, LOG, recorder, LAST, &story);
        for memory in [MEMORY, "/ram1"] {
            assert_eq!(after.list(memory), Some(vec![]), "{story}: left in {memory}");
        }
        if whole {
            println!(
                "another stage_dir: seed {seed}: killed at {operation} changes, {left_behind} times with the old stage there"
            );
            assert!(left_behind > 5, "the old stage was in no danger");
            return;
        }
    }
}

/// The control: without the stage that `walrec.stage` names, those events are gone, and the open says so.
#[test]
fn an_emptied_memory_is_told() {
    let seed = first_seed();
    let machine = killed(seed);
    machine.empty_memory();
    let (config, heard) = listening(config());
    let recorder = Recorder::open_as(&machine, LOG, &config).unwrap();
    assert_ne!(recorder.flags() & OpenFlags::STAGE_MISSING, 0);
    let told = heard.lock().unwrap().join("\n");
    assert!(told.contains("its stage is gone"), "not told: {told}");
    goes_on(&machine, LOG, recorder, DURABLE, "emptied memory");
    println!("emptied /dev/shm: seed {seed}: {DURABLE} durable events kept, the rest told as lost: {told}");
}

#[test]
fn a_copy_of_a_killed_log_opens_beside_the_original() {
    let seed = first_seed();
    for copy_first in [true, false] {
        let story = format!("seed {seed}, copy {}", if copy_first { "first" } else { "second" });
        let machine = killed(seed);
        machine.copy_tree(LOG, COPY);
        let original_id = machine.read_file(format!("{LOG}/walrec.id")).unwrap();
        let stage = stage_directory(&machine, MEMORY);
        let before = machine.tree_hash(&stage);
        let open = |path: &str, last: u64, from_stage: u64| {
            let story = format!("{story}: {path}");
            let (config, heard) = listening(config());
            let recorder =
                Recorder::open_as(&machine, path, &config).unwrap_or_else(|error| panic!("{story}: {error}"));
            assert_eq!(recorder.manager.report().events_from_stage, from_stage, "{story}");
            let told = heard.lock().unwrap().iter().any(|text| text.contains(&stage) && text.contains("left as it is"));
            assert_eq!(told, path == COPY && from_stage > 0, "{story}: the stage that stays is named");
            assert_eq!(recorder.manager.last_event_id(), last, "{story}");
            (recorder, story)
        };
        if copy_first {
            let (copy, story) = open(COPY, LAST, LAST - DURABLE);
            assert_eq!(machine.tree_hash(&stage), before, "{story}: the original's stage was changed");
            assert_ne!(machine.read_file(format!("{COPY}/walrec.id")).unwrap(), original_id, "{story}");
            // Both at once, and both go on.
            let (original, story) = open(LOG, LAST, LAST - DURABLE);
            assert_eq!(machine.read_file(format!("{LOG}/walrec.id")).unwrap(), original_id, "{story}");
            assert_eq!(machine.list(MEMORY).unwrap().len(), 2, "{story}: one stage for each");
            goes_on(&machine, COPY, copy, LAST, &story);
            goes_on(&machine, LOG, original, LAST, &story);
        } else {
            let (original, story) = open(LOG, LAST, LAST - DURABLE);
            goes_on(&machine, LOG, original, LAST, &story);
            // The stage went with the original's close: the copy has what was in its files, and says so.
            let (copy, story) = open(COPY, DURABLE, 0);
            assert_ne!(copy.flags() & OpenFlags::STAGE_MISSING, 0, "{story}");
            goes_on(&machine, COPY, copy, DURABLE, &story);
            assert_eq!(read_whole(&machine, LOG, &story).len() as u64, LAST + 50, "{story}: the original was changed");
        }
    }
    println!(
        "copied log: seed {seed}: copy and original recover {LAST} each, in any order nothing is lost without a word"
    );
}

/// The copy's record says `closed`, and names the place where the original's newer stage lies: that is not the copy's to take.
#[test]
fn a_copy_of_a_closed_log_leaves_the_original_its_stage() {
    let seed = first_seed();
    let machine = SimulatedSystem::new(seed);
    let mut recorder = Recorder::open(&machine);
    recorder.append(1..=100, PRICE);
    recorder.close();
    machine.copy_tree(LOG, COPY);
    let mut recorder = Recorder::open(&machine);
    recorder.append(101..=DURABLE, PRICE);
    recorder.flush();
    recorder.append(DURABLE + 1..=LAST, PRICE);
    recorder.kill();
    let stage = stage_directory(&machine, MEMORY);
    let before = machine.tree_hash(&stage);

    let copy = Recorder::open_as(&machine, COPY, &config()).unwrap_or_else(|error| panic!("copy: {error}"));
    assert_eq!(machine.tree_hash(&stage), before, "seed {seed}: opening the copy changed the original's stage");
    goes_on(&machine, COPY, copy, 100, "copy");
    assert_eq!(machine.tree_hash(&stage), before, "seed {seed}: closing the copy changed the original's stage");
    goes_on(&machine, LOG, Recorder::open(&machine), LAST, "original");
    println!("copy of a closed log: seed {seed}: the original recovered all {LAST} events after it");
}

#[test]
fn a_copy_of_an_open_log_is_locked() {
    let seed = first_seed();
    let machine = SimulatedSystem::new(seed);
    let mut original = Recorder::open(&machine);
    original.append(1..=DURABLE, PRICE);
    original.flush();
    machine.copy_tree(LOG, COPY);
    let before = (machine.tree_hash(COPY), machine.tree_hash(MEMORY));
    match Recorder::open_as(&machine, COPY, &config()) {
        Err(Error::Locked(path)) => println!("copied log: the open original locks {}", path.display()),
        Err(error) => panic!("not locked: {error}"),
        Ok(_) => panic!("the copy opened beside the open original"),
    }
    assert_eq!((machine.tree_hash(COPY), machine.tree_hash(MEMORY)), before);
    original.append(DURABLE + 1..=LAST, PRICE);
    original.close();
    assert_eq!(hold(&read_whole(&machine, LOG, "original"), |_| PRICE, "original"), LAST);
}

/// The slot's file that holds the first segment.
fn live_slot(machine: &SimulatedSystem) -> String {
    let stage = stage_directory(machine, MEMORY);
    let names = machine.list(&stage).unwrap();
    let is_live = |path: &String| {
        let page = machine.read_file(path).unwrap();
        page[STATE..STATE + 4] == [1, 0, 0, 0]
            && page[SEGMENT_INDEX..SEGMENT_INDEX + 4] == [0; 4]
            && page[PUBLISHED..PUBLISHED + 8] != [0; 8]
    };
    names.into_iter().map(|name| format!("{stage}/{name}")).find(is_live).expect("a live slot")
}

fn patch(machine: &SimulatedSystem, path: &str, offset: usize, bytes: &[u8]) {
    let mut file = machine.read_file(path).unwrap();
    file[offset..offset + bytes.len()].copy_from_slice(bytes);
    machine.write_file(path, &file);
}

#[test]
fn an_unknown_layout_is_refused_untouched() {
    let seed = first_seed();
    for layout in [0_u32, 2, u32::MAX] {
        let machine = killed(seed);
        let slot = live_slot(&machine);
        patch(&machine, &slot, LAYOUT, &layout.to_le_bytes());
        let before = machine.tree_hash("/");
        for _ in 0..2 {
            match Recorder::open_as(&machine, LOG, &config()) {
                Err(Error::Newer { path, what }) => assert!(path.starts_with(MEMORY), "{}: {what}", path.display()),
                Err(error) => panic!("layout {layout}: {error}"),
                Ok(_) => panic!("layout {layout}: opened"),
            }
            assert_eq!(machine.tree_hash("/"), before, "layout {layout}: something was changed");
        }
        // With the layout it knows, everything is there.
        patch(&machine, &slot, LAYOUT, &1_u32.to_le_bytes());
        goes_on(&machine, LOG, Recorder::open(&machine), LAST, &format!("layout {layout} put right"));
    }
    println!("unknown control-page layout: seed {seed}: refused as newer, nothing changed");
}

#[test]
fn a_stage_directory_of_others_is_refused() {
    let seed = first_seed();
    for (mode, owned) in [(0o755, true), (0o770, true), (0o701, true), (0o700, false)] {
        let story = format!("mode {mode:o}, owned {owned}");
        let machine = killed(seed);
        let stage = stage_directory(&machine, MEMORY);
        machine.set_trust(&stage, mode, owned);
        let before = machine.tree_hash("/");
        match Recorder::open_as(&machine, LOG, &config()) {
            Err(Error::Refused { path, why }) => assert_eq!(path.to_str(), Some(stage.as_str()), "{story}: {why}"),
            Err(error) => panic!("{story}: {error}"),
            Ok(_) => panic!("{story}: opened"),
        }
        assert_eq!(machine.tree_hash("/"), before, "{story}: something was changed");
        machine.set_trust(&stage, 0o700, true);
        goes_on(&machine, LOG, Recorder::open(&machine), LAST, &story);
        // The same for one that waits where a new stage is to be made: the log is closed, the place is taken.
        machine.make_directories(&stage);
        machine.set_trust(&stage, mode, owned);
        match Recorder::open_as(&machine, LOG, &config()) {
            Err(Error::Refused { .. }) => {}
            Err(error) => panic!("{story}, taken: {error}"),
            Ok(_) => panic!("{story}, taken: opened"),
        }
    }
    println!("stage directory of others: seed {seed}: refused, nothing changed");
}

/// A slot whose counts, ids or events cannot be is not believed, and is kept aside; the files have their events all the same.
#[test]
fn a_damaged_slot_is_set_aside() {
    let seed = first_seed();
    let image = |slot: u64| PAGE_BYTES + slots_of(u32::try_from(slot).unwrap(), u32::try_from(slot + 1).unwrap()).start;
    let one_less: [u8; 8] = DURABLE.to_le_bytes();
    let huge = u64::MAX.to_le_bytes();
    let beyond = (super::machine::CAPACITY + 1).to_le_bytes();
    let damages: [(&str, usize, &[u8]); 8] = [
        ("published far beyond the capacity", PUBLISHED, &huge),
        ("published one beyond the capacity", PUBLISHED, &beyond),
        ("an id above the file's events that repeats the last one", image(DURABLE), &one_less),
        ("an id of zero", image(DURABLE + 100), &[0; 8]),
        ("an id that falls", image(LAST - 1), &[1, 0, 0, 0, 0, 0, 0, 0]),
        ("another price in the overlap", image(10) + 16, &[0x55]),
        ("another last byte in the overlap", image(DURABLE - 1) + 59, &[0x55]),
        ("another id in the overlap", image(0), &[0x55]),
    ];
    for (what, offset, bytes) in &damages {
        let machine = killed(seed);
        let slot = live_slot(&machine);
        patch(&machine, &slot, *offset, bytes);
        let damaged = machine.read_file(&slot).unwrap();
        let recorder = Recorder::open(&machine);
        let report = recorder.manager.report();
        assert_ne!(report.flags & OpenFlags::STAGE_SET_ASIDE, 0, "{what}: not told: {report:?}");
        assert_eq!(report.events_from_stage, 0, "{what}");
        let aside: Vec<String> =
            machine.list(MEMORY).unwrap().into_iter().filter(|name| name.contains("aside")).collect();
        assert_eq!(aside.len(), 1, "{what}: {aside:?}");
        let kept = slot.rsplit('/').next().unwrap();
        assert_eq!(
            machine.read_file(format!("{MEMORY}/{}/{kept}", aside[0])),
            Some(damaged),
            "{what}: not kept as it was"
        );
        goes_on(&machine, LOG, recorder, DURABLE, what);
    }
    // The control: a guard in the overlap may differ, it is no part of the event; and an undamaged slot is believed.
    let machine = killed(seed);
    patch(&machine, &live_slot(&machine), image(10) + 60, &[0x55]);
    let recorder = Recorder::open(&machine);
    assert_eq!(recorder.manager.report().events_from_stage, LAST - DURABLE);
    goes_on(&machine, LOG, recorder, LAST, "another guard");
    println!("damaged slot: seed {seed}: {} damages set aside, {DURABLE} events of the files kept", damages.len());
}

/// The control of the fixture: what the stories call durable is in the file, and the rest is not.
#[test]
fn the_rest_is_in_the_stage_alone() {
    let machine = killed(first_seed());
    let (file, slot) = (machine.read_file(FIRST).unwrap(), machine.read_file(live_slot(&machine)).unwrap());
    let (durable, last) = (u32::try_from(DURABLE).unwrap(), u32::try_from(LAST).unwrap());
    assert!(file[slots_of(durable, last)].iter().all(|&byte| byte == 0));
    let place = slots_of(last - 1, last);
    assert_eq!(slot[PAGE_BYTES + place.start..][..EVENT_BYTES], event(LAST, PRICE).to_bytes());
}
