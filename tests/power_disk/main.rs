//! Power cuts on real file systems: ext4, xfs, btrfs.
//!
//! A recorder runs on a small file system on a block device whose every write and flush is recorded: appending, rotating, syncing,
//! freezing, deleting, closing and opening again, killed and recovering. What it knows to be durable is pinned to places of that record.
//! Then the states that a power cut may leave are built from the record, mounted and opened: durable <= recovered <= appended, gapless,
//! byte-equal, the front where the limits allow; opening twice gives the same, also when the power fails between the two.
//!
//! `WALREC_POWER_DISK_STATES` sets the number of states, `WALREC_POWER_DISK_FS` the file systems (a name, or `all`), `WALREC_SEED` the seed.
//! The order of the requests depends on the machine's threads, so a failing state is kept with its record, and
//! `WALREC_POWER_DISK_CASE=DIRECTORY:STATE` plays it alone. Needs root, loop devices, FUSE, qemu-storage-daemon and the file systems'
//! tools; without them each test says that it did not run.

#[path = "../c/toolchain.rs"]
#[allow(dead_code, reason = "shared with c_face.rs, which uses more of it")]
mod toolchain;

mod campaign;
mod figures;
mod judge;
mod recording;
mod rig;
mod shut_down;
mod states;
mod story;
mod write_log;

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rig::{FileSystem, Rig};
use states::State;
use toolchain::announce;

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|error| panic!("{variable}={text}: {error}")),
        Err(_) => default,
    }
}

fn seed() -> u64 {
    number("WALREC_SEED", 20_240_811)
}

/// The file systems that the campaign is to run on: ext4 alone unless more are asked for.
fn file_systems() -> Vec<FileSystem> {
    let wanted = std::env::var("WALREC_POWER_DISK_FS").unwrap_or_else(|_| "ext4".into());
    let chosen: Vec<_> =
        FileSystem::ALL.into_iter().filter(|known| wanted == "all" || wanted == known.name()).collect();
    assert!(!chosen.is_empty(), "WALREC_POWER_DISK_FS={wanted}: want ext4, xfs, btrfs or all");
    chosen
}

/// Runs `body` on a rig of its own, or says loudly why not. One at a time: a program that is being started has, for a moment, copies of all
/// descriptors of this process, and with them the locks of logs that were closed meanwhile.
fn on_rig(name: &str, file_system: FileSystem, missing: fn() -> Option<String>, body: impl FnOnce(&Rig)) {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    build_programs();
    match missing().map_or_else(|| Rig::enter(&format!("power-disk-{name}"), file_system), Err) {
        Ok(rig) => body(&rig),
        Err(reason) => announce(&format!("NOT RUN: power_disk, {name} on {}: {reason}", file_system.name())),
    }
}

/// Lets the C library keep freed memory: each state opens a log or three, and page faults would take much of the time.
#[allow(unsafe_code, reason = "mallopt is the only way to say it")]
fn keep_freed_memory() {
    // SAFETY: the calls only set parameters of the allocator.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 32 << 20);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
    }
}

/// Once for all tests of this process.
fn build_programs() {
    static BUILT: std::sync::Once = std::sync::Once::new();
    BUILT.call_once(|| {
        keep_freed_memory();
        toolchain::build("power_disk_child", "power_disk_child", &[]);
    });
}

/// The directory and the state of a kept case.
fn case_of(text: &str) -> Option<(&str, State)> {
    let (rest, _) = text.rsplit_once(':')?;
    let (directory, _) = rest.rsplit_once(':')?;
    Some((directory, State::parse(&text[directory.len() + 1..])?))
}

#[test]
fn every_crash_state_recovers_a_durable_prefix() {
    if let Ok(case) = std::env::var("WALREC_POWER_DISK_CASE") {
        let (directory, state) = case_of(&case).expect("WALREC_POWER_DISK_CASE: want DIRECTORY:AT:KEPT");
        let recording = recording::Recording::read(Path::new(directory));
        on_rig("case", recording.file_system, || None, |rig| campaign::replay(rig, &recording, state));
        return;
    }
    let states = number("WALREC_POWER_DISK_STATES", 150);
    for file_system in file_systems() {
        on_rig("states", file_system, recording::missing, |rig| campaign::run(rig, file_system, seed(), states));
    }
}

/// The same on a recorder whose syncs do nothing.
#[test]
fn a_sync_that_lies_is_caught() {
    for file_system in file_systems() {
        on_rig("control", file_system, recording::missing, |rig| campaign::control(rig, file_system, seed()));
    }
}

#[test]
fn a_file_system_goes_down_under_a_recorder() {
    let times = number("WALREC_POWER_DISK_SHUTDOWNS", 3);
    for file_system in file_systems().into_iter().filter(|file_system| file_system.can_shut_down()) {
        on_rig("shutdown", file_system, || None, |rig| shut_down::run(rig, file_system, seed(), times));
    }
}
