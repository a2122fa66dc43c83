//! A log that is not the one its stage was left by: an older backup restored in the same boot, or the log continued on another
//! machine and brought back. No event is spliced in that does not follow; what is left out is told.

use walrec::recorder::{Config, Error, OpenFlags};
use walrec::storage::simulated::SimulatedSystem;

use super::machine::{
    CAPACITY, LOG, MEMORY, Recorder, config, first_seed, hold, listening, read_whole, salvage, stage_directory,
};

const BACKUP: &str = "/backup";
/// Who appended: before the backup was taken, after it, and elsewhere.
const EARLY: i64 = 1;
const LATE: i64 = 2;
const ELSEWHERE: i64 = 3;
/// Flags that say that something was left out.
const TELLING: u32 = OpenFlags::STAGE_SET_ASIDE | OpenFlags::STAGE_MISSING | OpenFlags::CUT | OpenFlags::SALVAGED;

/// How a backup comes back.
#[derive(Clone, Copy, Debug)]
enum Restore {
    /// Into the emptied directory, which stays the same one.
    InPlace,
    /// As another directory with the old name.
    AsNew,
    /// Over what is there: files that the backup does not have stay.
    Over,
}

fn restore(machine: &SimulatedSystem, from: &SimulatedSystem, path: &str, way: Restore) {
    match way {
        Restore::InPlace => {
            for name in machine.list(LOG).unwrap() {
                machine.remove_tree(format!("{LOG}/{name}"));
            }
        }
        Restore::AsNew => machine.remove_tree(LOG),
        Restore::Over => {}
    }
    machine.copy_tree_from(from, path, LOG);
}

/// A backup that was taken of a log, and the machine on which the log went on and was killed.
struct Backup {
    machine: SimulatedSystem,
    /// The last event in its files.
    held: u64,
    /// The last event that was appended in all.
    appended: u64,
}

/// Taken at a clean close at 300; then 301 to 600, half of them durable, and a kill.
fn taken_closed(seed: u64) -> Backup {
    let machine = SimulatedSystem::new(seed);
    let mut recorder = Recorder::open(&machine);
    recorder.append(1..=300, EARLY);
    recorder.close();
    machine.copy_tree(LOG, BACKUP);
    let mut recorder = Recorder::open(&machine);
    recorder.append(301..=450, LATE);
    recorder.flush();
    recorder.append(451..=600, LATE);
    recorder.kill();
    Backup { machine, held: 300, appended: 600 }
}

/// As [`taken_closed`], but the stage lay elsewhere when the backup was taken: its record names a place that is gone, and the stage
/// that was left waits where the next one is to be made.
fn taken_with_another_stage_dir(seed: u64) -> Backup {
    let machine = SimulatedSystem::new(seed);
    machine.mount_memory("/ram");
    let elsewhere = Config { stage_dir: Some("/ram".into()), ..config() };
    let mut recorder = Recorder::open_as(&machine, LOG, &elsewhere).unwrap();
    recorder.append(1..=300, EARLY);
    recorder.close();
    machine.copy_tree(LOG, BACKUP);
    let mut recorder = Recorder::open(&machine);
    recorder.append(301..=600, LATE);
    recorder.kill();
    Backup { machine, held: 300, appended: 600 }
}

/// Taken while the recorder ran, 200 durable; then up to `last`, all but the last 50 flushed, and a kill.
fn taken_running(seed: u64, last: u64) -> Backup {
    let machine = SimulatedSystem::new(seed);
    let mut recorder = Recorder::open(&machine);
    recorder.append(1..=200, EARLY);
    recorder.flush();
    machine.copy_tree(LOG, BACKUP);
    recorder.append(201..=last - 50, LATE);
    recorder.settle();
    recorder.append(last - 49..=last, LATE);
    recorder.kill();
    Backup { machine, held: 200, appended: last }
}

/// Taken while one recorder ran; the log was then closed, opened again and killed: another incarnation.
fn taken_in_an_earlier_opening(seed: u64) -> Backup {
    let machine = SimulatedSystem::new(seed);
    let mut recorder = Recorder::open(&machine);
    recorder.append(1..=200, EARLY);
    recorder.flush();
    machine.copy_tree(LOG, BACKUP);
    recorder.append(201..=300, LATE);
    recorder.close();
    let mut recorder = Recorder::open(&machine);
    recorder.append(301..=400, LATE);
    recorder.kill();
    Backup { machine, held: 200, appended: 400 }
}

/// What came of opening a restored log.
#[derive(Debug, Default)]
struct Outcome {
    all: u32,
    told: u32,
    corrupt: u32,
}

/// Opens the restored log and holds it to the promise: a gapless log, and a word if anything appended is not in it.
fn open_restored(backup: &Backup, story: &str, outcome: &mut Outcome) {
    let machine = &backup.machine;
    let before = machine.tree_hash("/");
    let (config, heard) = listening(config());
    let recorder = match Recorder::open_as(machine, LOG, &config) {
        Ok(recorder) => recorder,
        Err(Error::Corrupt(_)) => {
            outcome.corrupt += 1;
            assert_eq!(machine.tree_hash("/"), before, "{story}: refused, and something was changed");
            Recorder::open_as(machine, LOG, &salvage()).unwrap_or_else(|error| panic!("{story}: salvage: {error}"))
        }
        Err(error) => panic!("{story}: {error}"),
    };
    let events = read_whole(machine, LOG, story);
    let last = hold(&events, |id| if id <= backup.held.min(300) { EARLY } else { LATE }, story);
    assert_eq!(recorder.manager.last_event_id(), last, "{story}");
    assert!(last <= backup.appended, "{story}");
    if last == backup.appended {
        outcome.all += 1;
    } else {
        outcome.told += 1;
        let flags = recorder.flags();
        let told = heard.lock().unwrap().clone();
        assert!(
            flags & TELLING != 0 || outcome.corrupt > 0,
            "{story}: {} of {} events, and not a word: flags {flags}, log {told:?}",
            last,
            backup.appended
        );
    }
    recorder.close();
}

fn play(what: &str, taken: impl Fn(u64) -> Backup, ways: &[Restore]) -> Vec<String> {
    let seed = first_seed();
    let mut outcomes = Vec::new();
    for &way in ways {
        let backup = taken(seed);
        restore(&backup.machine, &backup.machine.clone(), BACKUP, way);
        let mut outcome = Outcome::default();
        open_restored(&backup, &format!("seed {seed}, {what}, {way:?}"), &mut outcome);
        outcomes.push(format!("{way:?}: {outcome:?}"));
    }
    println!("restored backup, {what}: seed {seed}: {}", outcomes.join(", "));
    outcomes
}

const ALL_WAYS: [Restore; 3] = [Restore::InPlace, Restore::AsNew, Restore::Over];

#[test]
fn a_backup_of_a_closed_log() {
    play("taken closed", taken_closed, &ALL_WAYS);
}

#[test]
fn a_backup_whose_record_names_another_place() {
    play("taken with another stage_dir", taken_with_another_stage_dir, &ALL_WAYS);
}

/// Its stage follows the files that the backup has: this is the control, nothing is lost and nothing need be said.
#[test]
fn a_backup_of_a_running_log_that_the_stage_continues() {
    let outcomes = play("taken running, same segment", |seed| taken_running(seed, 600), &ALL_WAYS);
    assert!(outcomes.iter().all(|outcome| outcome.contains("all: 1")), "{outcomes:?}");
}

/// The log has gone on to the next segments: what the stage has does not follow.
#[test]
fn a_backup_of_a_running_log_that_the_stage_has_left() {
    // Over what is there, the sealed segments stay and the backup's unsealed ones replace older ones: no story of a stage.
    let ways = [Restore::InPlace, Restore::AsNew];
    for last in [CAPACITY + 150, 2 * CAPACITY + 150] {
        play(&format!("taken running, {last} appended"), |seed| taken_running(seed, last), &ways);
    }
}

#[test]
fn a_backup_of_an_earlier_opening() {
    play("taken in an earlier opening", taken_in_an_earlier_opening, &ALL_WAYS);
}

/// Killed here with 200 events in the stage alone, continued elsewhere, brought back.
fn brought_back(closed: bool, way: Restore) {
    let seed = first_seed();
    let story = format!("seed {seed}, {} elsewhere, {way:?}", if closed { "closed" } else { "killed" });
    let here = SimulatedSystem::new(seed);
    let mut recorder = Recorder::open(&here);
    recorder.append(1..=300, EARLY);
    recorder.flush();
    recorder.append(301..=500, EARLY);
    recorder.kill();
    let stage = stage_directory(&here, MEMORY);
    let left = here.tree_hash(&stage);

    let elsewhere = SimulatedSystem::new(seed + 1);
    elsewhere.copy_tree_from(&here, LOG, LOG);
    let mut recorder = Recorder::open(&elsewhere);
    assert_eq!(recorder.manager.last_event_id(), 300, "{story}: a stage does not travel");
    recorder.append(301..=450, ELSEWHERE);
    recorder.flush();
    if closed {
        recorder.close();
    } else {
        recorder.kill();
    }

    restore(&here, &elsewhere, LOG, way);
    let (config, heard) = listening(config());
    let recorder = Recorder::open_as(&here, LOG, &config).unwrap_or_else(|error| panic!("{story}: {error}"));
    let price = |id| if id <= 300 { EARLY } else { ELSEWHERE };
    assert_eq!(hold(&read_whole(&here, LOG, &story), price, &story), 450, "{story}");
    assert_eq!(recorder.manager.report().events_from_stage, 0, "{story}");
    let heard = heard.lock().unwrap().clone();
    let aside: Vec<String> = here.list(MEMORY).unwrap().into_iter().filter(|name| name.contains("aside")).collect();
    assert_ne!(
        recorder.flags() & OpenFlags::STAGE_SET_ASIDE,
        0,
        "{story}: 200 events are left out without a word: flags {}, log {heard:?}, {MEMORY}: {:?}",
        recorder.flags(),
        here.list(MEMORY)
    );
    // Whole: under another name, or, when it looks like another directory's, where it was.
    let kept = aside.first().map_or(stage, |name| format!("{MEMORY}/{name}"));
    assert_eq!(here.tree_hash(&kept), left, "{story}: the old stage is not whole");
    recorder.close();
    println!("continued elsewhere: {story}: 450 events as continued, the old stage set aside in {kept}");
}

#[test]
fn a_log_closed_elsewhere_and_brought_back() {
    for way in ALL_WAYS {
        brought_back(true, way);
    }
}

#[test]
fn a_log_killed_elsewhere_and_brought_back() {
    for way in ALL_WAYS {
        brought_back(false, way);
    }
}
