//! Full disks, and disks that hang: on file systems of their own, with programs in C against the release library.
//!
//! - `full_disk.c`: appends are refused, nothing is half recorded or lost, no SIGBUS, and the recorder goes on by itself.
//! - `hung_disk.c`: the append thread does not notice a disk that hangs, nor a flusher that does not run, until the stage is full.
//! - `no_fallocate.c`: a file system that cannot allocate keeps a log all the same.
//!
//! WALREC_DISK_ROUNDS sets the rounds on a full disk (default 4), and from 50 on the rest is done at length too; WALREC_SEED the seed.
//! What needs root, a loop device or a mount namespace and finds none says that it was not run.

#[path = "../c/toolchain.rs"]
#[allow(dead_code, reason = "shared with c_face.rs, which uses more of it")]
mod toolchain;

mod ground;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use ground::{BTRFS, Disk, EXT2, EXT3, EXT4, FEW_INODES, MIXED, TMPFS, XFS};
use toolchain::Outcome;

/// One at a time: latencies are printed side by side, and the images lie in memory.
static MACHINE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn number_from(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|error| panic!("{variable}={text}: {error}")),
        Err(_) => default,
    }
}

fn rounds() -> u64 {
    number_from("WALREC_DISK_ROUNDS", 4)
}

fn at_length() -> bool {
    rounds() >= 50
}

fn seed() -> String {
    number_from("WALREC_SEED", 20_240_229).to_string()
}

fn program(name: &'static str, cell: &'static OnceLock<PathBuf>) -> &'static Path {
    cell.get_or_init(|| toolchain::build(name, &format!("{name}-{}", std::process::id()), &[]))
}

fn full_disk() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    program("full_disk", &PROGRAM)
}

fn hung_disk() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    program("hung_disk", &PROGRAM)
}

/// Figures to the terminal; a failure with all that was said.
fn judge(place: &str, outcome: Option<Outcome>) {
    let Some(outcome) = outcome else { return };
    let told = outcome.text.lines().filter(|line| line.starts_with("FIGURE") || line.starts_with("SKIP"));
    told.for_each(|line| toolchain::announce(&format!("{line} [{place}]")));
    assert!(outcome.status.success(), "{place}: {}\n{}", outcome.status, outcome.text);
}

fn full(disk: Disk) {
    let _alone = alone();
    let arguments = [rounds().to_string(), seed()];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    judge(disk.name, ground::run("full disk", disk, full_disk(), &arguments));
}

#[test]
fn full_tmpfs() {
    full(TMPFS);
}

#[test]
fn full_ext4() {
    full(EXT4);
}

#[test]
fn full_xfs() {
    full(XFS);
}

#[test]
fn full_btrfs() {
    full(BTRFS);
}

#[test]
fn out_of_inodes() {
    if at_length() {
        full(FEW_INODES);
    }
}

/// Where a sync finds no space, it has failed, and the recorder is poisoned; nothing is lost by that.
#[test]
fn out_of_metadata() {
    let _alone = alone();
    // Fewer rounds would not be sure to meet it.
    let count = rounds().max(40).to_string();
    judge(MIXED.name, ground::run("full metadata", MIXED, full_disk(), &[&count, &seed(), "syncs may fail"]));
}

/// Closed and killed logs go on where space is made by writing zeros.
#[test]
fn disks_that_cannot_allocate() {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let _alone = alone();
    for disk in [EXT2, EXT3] {
        judge(disk.name, ground::run("no fallocate", disk, program("no_fallocate", &PROGRAM), &[]));
    }
}

/// Blocks of a segment, and rounds.
fn size() -> [&'static str; 2] {
    if at_length() { ["512", "4"] } else { ["16", "1"] }
}

fn hung(disk: Disk) {
    let _alone = alone();
    judge(disk.name, ground::run_on_nested("hung disk", disk, hung_disk(), &size()));
}

#[test]
fn hung_ext4() {
    hung(EXT4);
}

#[test]
fn hung_xfs() {
    hung(XFS);
}

#[test]
fn hung_btrfs() {
    hung(BTRFS);
}

/// Stops the one thread that is called walrec-flush; the log lies on the disk of `target`.
fn frozen_flusher(hand: &str, place: &Path) {
    let _alone = alone();
    let work = toolchain::fresh_directory(hand, false);
    let output = work.join("output");
    let [blocks, rounds] = size().map(Path::new);
    let arguments = [work.as_path(), Path::new(hand), place, blocks, rounds];
    let outcome = toolchain::run(hung_disk(), &arguments, &output, Duration::from_secs(290));
    judge("the flusher alone", Some(outcome));
    let _ = std::fs::remove_dir_all(&work);
}

#[test]
fn flusher_stopped_by_ptrace() {
    frozen_flusher("trace", Path::new("-"));
}

#[test]
fn flusher_stopped_by_the_freezer() {
    // The freezer of cgroups v1 takes single threads; that of v2 whole processes.
    let freezer = Path::new("/sys/fs/cgroup/freezer");
    let group = freezer.join(format!("walrec-test-{}", std::process::id()));
    let made = std::fs::create_dir(&group).and_then(|()| std::fs::remove_dir(&group));
    if made.is_err() || !freezer.join("tasks").exists() {
        let why = "there is no freezer of cgroups v1 here to make a group in";
        toolchain::announce(&format!("SKIP frozen flusher: NOT stopped by the freezer as well: {why}"));
        return;
    }
    frozen_flusher("freezer", &group);
}

/// What is mounted ends with its process, also when it is killed while the disk hangs.
#[test]
fn nothing_stays_mounted() {
    let _alone = alone();
    let killer = toolchain::build_directory().join(format!("kill-hung-{}.sh", std::process::id()));
    let hung = hung_disk().display();
    // Killed in the middle of the first round.
    let text = format!("#!/bin/sh\n\"{hung}\" \"$1\" disk \"$3\" 512 4 &\nsleep 0.5\nkill -9 $!\nwait\nexit 3\n");
    std::fs::write(&killer, text).unwrap_or_else(|error| panic!("{}: {error}", killer.display()));
    toolchain::run_tool(Command::new("chmod").arg("+x").arg(&killer), "");
    let outcome = ground::run_on_nested("killed while hung", EXT4, &killer, &[]);
    let _ = std::fs::remove_file(&killer);
    let Some(outcome) = outcome else { return };
    assert_eq!(outcome.status.code(), Some(3), "{}", outcome.text);
    // The hand outlives what it held by a moment.
    let begin = Instant::now();
    let mut left = devices_in_use();
    while !left.is_empty() && begin.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(5));
        left = devices_in_use();
    }
    assert!(left.is_empty(), "still in use: {left:?}");
}

/// Files of `nothing_stays_mounted` that loop devices still hold.
fn devices_in_use() -> Vec<String> {
    let loops = std::fs::read_dir("/sys/block").into_iter().flatten().filter_map(Result::ok);
    let files = loops.filter_map(|entry| std::fs::read_to_string(entry.path().join("loop/backing_file")).ok());
    let own = format!("walrec-test-{}-killed-while-hung", std::process::id());
    files.filter(|file| file.contains(&own)).collect()
}
