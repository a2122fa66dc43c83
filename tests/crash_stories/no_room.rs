//! A stage that does not fit is found out before its first slot is made: memory filled to the last byte would be missing everywhere else.

use walrec::recorder::{Config, Error, OpenFlags};
use walrec::storage::simulated::{Effect, Fault, OperationKind, Repeat, SimulatedSystem};

use super::machine::{LOG, MEMORY, Recorder, config, first_seed, hold, read_whole, stage_directory};

/// The slots of [`config`] need more than this.
const TOO_LITTLE: u64 = 3 * (16 * 16_448 + 64);

/// From here on no slot can be made: trying is an error that is not a lack of space.
fn forbid_slots(machine: &SimulatedSystem) {
    let path_part = Some("/slot.".to_owned());
    let (effect, repeat) = (Effect::Errno(libc::EIO), Repeat::Forever);
    machine.inject(Fault { kind: OperationKind::Create, path_part, nth: 1, effect, repeat });
}

#[test]
fn a_stage_that_does_not_fit_is_never_begun() {
    let machine = SimulatedSystem::new(first_seed());
    machine.set_memory_limit(Some(TOO_LITTLE));
    let mut recorder = Recorder::open(&machine);
    assert_ne!(recorder.flags() & OpenFlags::STAGE_ON_DISK, 0);
    assert_eq!(machine.list(MEMORY).unwrap(), Vec::<String>::new());
    recorder.append(1..=1_000, 3);
    recorder.close();
    assert_eq!(hold(&read_whole(&machine, LOG, "on disk"), |_| 3, "on disk"), 1_000);

    // No room on the disk either: refused, with both numbers, and nothing is left of the attempt.
    forbid_slots(&machine);
    let before = machine.list(LOG).unwrap();
    machine.set_space_limit(Some(0));
    let refused = Recorder::open_as(&machine, LOG, &config()).err().unwrap();
    let text = refused.to_string();
    assert!(matches!(&refused, Error::Io(error) if error.is_no_space()), "{text}");
    assert!(text.contains("the slots need") && text.contains(" 0 are free"), "{text}");
    assert_eq!(machine.list(LOG).unwrap(), before);

    // Where the caller names the place there is no other.
    machine.set_space_limit(None);
    let explicit = Config { stage_dir: Some(MEMORY.into()), ..config() };
    let refused = Recorder::open_as(&machine, LOG, &explicit).err().unwrap().to_string();
    assert!(refused.contains(MEMORY) && refused.contains(&format!(" {TOO_LITTLE} are free")), "{refused}");
    assert_eq!(machine.list(MEMORY).unwrap(), Vec::<String>::new());
}

#[test]
fn a_pool_that_is_there_needs_no_room() {
    let machine = SimulatedSystem::new(first_seed());
    let mut recorder = Recorder::open(&machine);
    recorder.append(1..=1_000, 3);
    recorder.kill();
    let stage = stage_directory(&machine, MEMORY);
    machine.set_memory_limit(Some(0));
    let recorder = Recorder::open(&machine);
    assert_eq!((recorder.manager.last_event_id(), recorder.flags() & OpenFlags::STAGE_ON_DISK), (1_000, 0));
    assert_eq!(stage_directory(&machine, MEMORY), stage);
    recorder.close();
}
