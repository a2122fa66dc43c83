//! A closed segment is frozen and its `.wal` retired; the oldest segments go. The power is cut, or the process killed, at each
//! operation on the way. What comes back is gapless, durable, and never shorter than what the limits keep.

use walrec::recorder::{AppendError, Config, OpenFlags, WorkerKind};
use walrec::storage::simulated::{CrashOptions, Effect, Fault, OperationKind, Repeat, SimulatedSystem};

use super::machine::{CAPACITY, LOG, Recorder, event, first_seed, listening, read, read_whole, same};

const PRICE: i64 = 5;
/// Segments kept: as they are, and compressed.
const HOT: u64 = 2;
const COLD: u64 = 2;
/// Power cuts played at each operation.
const STATES: u64 = 6;

fn config() -> Config {
    Config { max_segments: 2, max_compressed_segments: 2, ..super::machine::config() }
}

/// Appends ids up to `last`, and lets the workers work after each quarter of a segment, while the machine is on.
fn append_to(recorder: &mut Recorder, last: u64) {
    while recorder.manager.last_event_id() < last && !recorder.machine.is_off() {
        let id = recorder.manager.last_event_id() + 1;
        let appended = recorder.writer.append(&event(id, PRICE));
        assert!(
            matches!(appended, Ok(()) | Err(AppendError::Backpressure | AppendError::Failed)),
            "{id}: {appended:?}"
        );
        if appended.is_err() || id.is_multiple_of(CAPACITY / 4) || id == last {
            settle(recorder);
        }
        if appended == Err(AppendError::Failed) {
            return;
        }
    }
}

/// As `Recorder::settle`, on a machine that may go off.
fn settle(recorder: &Recorder) {
    for worker in [WorkerKind::Flusher, WorkerKind::Maintainer, WorkerKind::Meta, WorkerKind::Preparer] {
        while !recorder.machine.is_off() && recorder.manager.step(worker).is_ok_and(|done| done > 0) {}
    }
}

/// A machine with a log of `segments` and a bit, on which the recorder runs that wrote it.
fn run(machine: &SimulatedSystem, segments: u64) -> Option<Recorder> {
    let mut recorder = Recorder::open_as(machine, LOG, &config()).ok()?;
    append_to(&mut recorder, segments * CAPACITY + 10);
    Some(recorder)
}

/// The events are those of some range; gives it.
fn range(machine: &SimulatedSystem, story: &str) -> (u64, u64) {
    let events = read_whole(machine, LOG, story);
    let first = events.first().map_or(1, |event| event.event_id);
    for (id, found) in (first..).zip(&events) {
        assert!(same(found, &event(id, PRICE)), "{story}: event {id} is {found:?}");
    }
    (first, first + events.len() as u64 - 1)
}

/// Names in the log with this ending.
fn names(machine: &SimulatedSystem, ending: &str) -> Vec<String> {
    let names = machine.list(LOG).unwrap_or_default();
    let mut names: Vec<String> =
        names.into_iter().filter(|name| name.starts_with("FS.") && name.ends_with(ending)).collect();
    names.sort();
    names
}

#[test]
fn every_step_of_freezing_and_deleting_can_be_cut() {
    const SEGMENTS: u64 = 6;
    let seed = first_seed();
    let begin = {
        let machine = SimulatedSystem::new(seed);
        let recorder = run(&machine, SEGMENTS - 1);
        let operations = machine.operations();
        recorder.unwrap().kill();
        operations
    };
    let end = {
        let machine = SimulatedSystem::new(seed);
        let recorder = run(&machine, SEGMENTS);
        assert_eq!((names(&machine, ".lz4").len(), names(&machine, ".del").len()), (2, 0), "{:?}", machine.list(LOG));
        let operations = machine.operations();
        recorder.unwrap().kill();
        operations
    };
    let (mut states, mut both, mut leaving, mut came_back) = (0_u64, 0_u64, 0_u64, 0_u64);
    for cut in begin..=end {
        let machine = SimulatedSystem::new(seed);
        machine.set_crash_at(cut);
        let recorder = run(&machine, SEGMENTS).unwrap();
        let (durable, appended) = (recorder.manager.durable_event_id(), recorder.manager.last_event_id());
        let snapshot = machine.snapshot();
        recorder.kill();
        let kept = ((durable - 1) / CAPACITY + 1).saturating_sub(HOT + COLD) * CAPACITY + 1;
        for state in 0..=STATES {
            let story = format!("seed {seed}, cut {cut}, state {state}");
            let machine = if state == STATES {
                snapshot.process_crash()
            } else {
                snapshot.power_cut(state ^ cut << 8, &CrashOptions::default())
            };
            states += 1;
            let (hot, frozen) = (names(&machine, ".wal"), names(&machine, ".wal.lz4"));
            both += u64::from(frozen.iter().any(|name| hot.contains(&name.trim_end_matches(".lz4").to_owned())));
            leaving += names(&machine, ".del").len() as u64;
            let mut recorder =
                Recorder::open_as(&machine, LOG, &config()).unwrap_or_else(|error| panic!("{story}: {error}"));
            let (first, last) = range(&machine, &story);
            assert!(first <= kept, "{story}: begins at {first}, {kept} must be there");
            assert!((durable..=appended).contains(&last), "{story}: ends at {last}, durable {durable}");
            assert_eq!(recorder.manager.report().first_event_id, first, "{story}");
            assert_eq!(recorder.flags() & OpenFlags::SALVAGED, 0, "{story}");
            came_back += u64::from(first < kept);
            if state % 3 == 0 {
                append_to(&mut recorder, last + 1);
                recorder.close();
                let (first, last_now) = range(&machine, &story);
                // A segment that was cut is sealed with fewer events.
                assert_eq!((first <= kept + CAPACITY, last_now), (true, last + 1), "{story}: {first}");
                assert_eq!(names(&machine, ".tmp").len() + names(&machine, ".del").len(), 0, "{story}");
            } else {
                recorder.kill();
            }
        }
    }
    println!(
        "freezing: seed {seed}, {states} states of {} operations, {both} with both forms, {leaving} with a .del, {came_back} with \
         more than the limits keep",
        end - begin + 1
    );
    assert!(both > 0 && leaving > 0 && came_back > 0);
}

#[test]
fn nothing_is_frozen_or_deleted_before_the_first_append() {
    let machine = SimulatedSystem::new(first_seed());
    let all = Config { max_segments: u32::MAX, ..config() };
    let mut recorder = Recorder::open_as(&machine, LOG, &all).unwrap();
    append_to(&mut recorder, 6 * CAPACITY);
    recorder.close();
    let before = names(&machine, "");
    let mut recorder = Recorder::open_as(&machine, LOG, &config()).unwrap();
    settle(&recorder);
    assert!(before.iter().all(|name| machine.exists(format!("{LOG}/{name}"))), "{before:?}");
    append_to(&mut recorder, 6 * CAPACITY + 1);
    assert_eq!(names(&machine, ".lz4").len(), 2);
    recorder.close();
    let untouched = names(&machine, "");
    Recorder::open_as(&machine, LOG, &Config { max_segments: 2, max_compressed_segments: 1, ..config() })
        .unwrap()
        .close();
    assert_eq!(names(&machine, ""), untouched);
}

/// A log of six whole segments, the second frozen by a recorder that kept its `.wal`; then bytes are flipped.
fn both_forms(damage: &[(&str, usize)]) -> SimulatedSystem {
    let machine = SimulatedSystem::new(first_seed());
    let all = Config { max_segments: u32::MAX, ..config() };
    let mut recorder = Recorder::open_as(&machine, LOG, &all).unwrap();
    append_to(&mut recorder, 5 * CAPACITY);
    let wal = machine.read_file(format!("{LOG}/FS.00000000.wal")).unwrap();
    recorder.close();
    let config = Config { max_segments: 5, max_compressed_segments: u32::MAX, ..config() };
    let mut recorder = Recorder::open_as(&machine, LOG, &config).unwrap();
    append_to(&mut recorder, 5 * CAPACITY + 1);
    recorder.kill();
    assert_eq!(names(&machine, ".lz4"), ["FS.00000000.wal.lz4"]);
    machine.write_file(format!("{LOG}/FS.00000000.wal"), &wal);
    for &(name, offset) in damage {
        machine.flip(format!("{LOG}/{name}"), offset, 0x10);
    }
    machine
}

const WAL: &str = "FS.00000000.wal";
const LZ4: &str = "FS.00000000.wal.lz4";

fn freezing_config() -> Config {
    Config { max_segments: 5, max_compressed_segments: u32::MAX, ..config() }
}

#[test]
fn of_two_forms_the_wal_counts_if_it_is_whole() {
    for damage in [&[][..], &[(LZ4, 300)], &[(LZ4, 5)]] {
        let machine = both_forms(damage);
        let mut recorder = Recorder::open_as(&machine, LOG, &freezing_config()).unwrap();
        assert_eq!(recorder.manager.report().segments_compressed, 0);
        settle(&recorder);
        assert!(machine.exists(format!("{LOG}/{WAL}")) && machine.exists(format!("{LOG}/{LZ4}")));
        assert_eq!(range(&machine, "both forms"), (1, 5 * CAPACITY + 1));
        // Frozen anew, from the one that counts.
        append_to(&mut recorder, 5 * CAPACITY + 2);
        assert!(!machine.exists(format!("{LOG}/{WAL}")) && machine.exists(format!("{LOG}/{LZ4}")));
        recorder.close();
        assert_eq!(range(&machine, "frozen anew"), (1, 5 * CAPACITY + 2));
    }
}

#[test]
fn of_two_forms_the_compressed_one_counts_if_the_wal_is_damaged() {
    for offset in [20, 50_000] {
        let machine = both_forms(&[(WAL, offset)]);
        let recorder = Recorder::open_as(&machine, LOG, &freezing_config()).unwrap();
        assert_ne!(recorder.flags() & OpenFlags::SALVAGED, 0);
        assert!(!machine.exists(format!("{LOG}/{WAL}")) && machine.exists(format!("{LOG}/quarantine/{WAL}")));
        assert_eq!(range(&machine, "the compressed form"), (1, 5 * CAPACITY + 1));
        recorder.close();
    }
}

#[test]
fn two_damaged_forms_are_corruption() {
    let machine = both_forms(&[(WAL, 50_000), (LZ4, 300)]);
    let before = machine.tree_hash(LOG);
    let refused = Recorder::open_as(&machine, LOG, &freezing_config()).err().unwrap();
    assert!(refused.to_string().contains("neither the segment nor its frozen form"), "{refused}");
    assert_eq!(machine.tree_hash(LOG), before, "nothing is changed");
    let salvage = Config { salvage: true, ..freezing_config() };
    let recorder = Recorder::open_as(&machine, LOG, &salvage).unwrap();
    assert_eq!(recorder.manager.report().first_event_id, CAPACITY + 1);
    recorder.close();
}

/// A closed segment that does not verify is neither frozen nor deleted; the engine goes on, and the others are frozen.
#[test]
fn a_damaged_segment_stays_and_the_engine_goes_on() {
    let machine = SimulatedSystem::new(first_seed());
    let (config, heard) = listening(config());
    let mut recorder = Recorder::open_as(&machine, LOG, &config).unwrap();
    append_to(&mut recorder, CAPACITY + 10);
    machine.flip(format!("{LOG}/{WAL}"), 50_000, 1);
    append_to(&mut recorder, 20 * CAPACITY);
    recorder.close();
    assert!(machine.exists(format!("{LOG}/{WAL}")) && !machine.exists(format!("{LOG}/{LZ4}")));
    let frozen = names(&machine, ".lz4");
    assert_eq!((frozen.len(), &*frozen[0]), (17, "FS.00000001.wal.lz4"), "nothing above it is deleted");
    let words: Vec<String> =
        heard.lock().unwrap().iter().filter(|text| text.contains("segment 0 stays as it is")).cloned().collect();
    assert!(words.len() == 1 && words[0].contains("deleted any more"), "{words:?}");
    assert!(read(&machine, LOG).1.is_some());
    // The way out that it names: deletion goes on.
    assert!(words[0].contains("WALREC_FLAG_SALVAGE"), "{words:?}");
    let mut recorder = Recorder::open_as(&machine, LOG, &Config { salvage: true, ..self::config() }).unwrap();
    append_to(&mut recorder, 20 * CAPACITY + 10);
    recorder.close();
    assert_eq!(names(&machine, ".lz4").len(), 2);
    assert_eq!(range(&machine, "salvaged").1, 20 * CAPACITY + 10);
}

#[test]
fn no_space_is_waited_out_and_a_failed_sync_is_final() {
    let frozen_after = |fault: Fault| {
        let machine = SimulatedSystem::new(first_seed());
        let mut recorder = Recorder::open_as(&machine, LOG, &config()).unwrap();
        append_to(&mut recorder, 2 * CAPACITY - 1);
        machine.inject(fault);
        append_to(&mut recorder, 2 * CAPACITY + 10);
        let first = (names(&machine, ".lz4").len(), names(&machine, ".tmp").len());
        machine.clear_faults();
        let stepped = recorder.manager.step(WorkerKind::Maintainer);
        let then = names(&machine, ".lz4").len();
        assert!(names(&machine, ".wal").len() + then >= 3);
        recorder.kill();
        (first, stepped.is_ok(), then)
    };
    let on_temp = |kind, errno| {
        let path_part = Some(".lz4.tmp".to_owned());
        Fault { kind, path_part, nth: 1, effect: Effect::Errno(errno), repeat: Repeat::Forever }
    };
    assert_eq!(frozen_after(on_temp(OperationKind::Write, libc::ENOSPC)), ((0, 0), true, 1));
    assert_eq!(frozen_after(on_temp(OperationKind::Create, libc::EDQUOT)), ((0, 0), true, 1));
    // Read back for the comparison: the segment stays, the recorder goes on.
    assert_eq!(frozen_after(on_temp(OperationKind::Read, libc::EIO)), ((0, 0), true, 0));
    let ((frozen, _), _, then) = frozen_after(on_temp(OperationKind::SyncData, libc::EIO));
    assert_eq!((frozen, then), (0, 0));
}

/// What an earlier recorder left counts from the open on: a maintainer that is slow to begin does not let more files stand than the
/// limit and the stage together allow.
#[test]
fn files_found_at_open_count_before_the_maintainer_has_looked() {
    let seed = first_seed();
    let machine = SimulatedSystem::new(seed);
    run(&machine, 5).unwrap().close();
    let mut recorder = Recorder::open_as(&machine, LOG, &config()).unwrap();
    let (mut most, mut id) = (0, recorder.manager.last_event_id());
    let stopped = loop {
        id += 1;
        let appended = recorder.writer.append(&event(id, PRICE));
        if appended.is_err() {
            recorder.flush();
            recorder.step(WorkerKind::Preparer);
            most = most.max(names(&machine, ".wal").len());
            let again = recorder.writer.append(&event(id, PRICE));
            if again.is_err() {
                break again;
            }
        }
    };
    assert_eq!(stopped, Err(AppendError::Backpressure), "event {id}");
    assert_eq!(most, (HOT + u64::from(config().stage_slots)).try_into().unwrap(), "event {id}");
    // Once it works, so does the engine, and the files stay within the limit.
    append_to(&mut recorder, id + 10 * CAPACITY);
    assert!(names(&machine, ".wal").len() <= most, "{:?}", names(&machine, ".wal"));
    recorder.close();
    assert_eq!(range(&machine, "closed").1, id + 10 * CAPACITY);
}
