//! Where the programs run: a small file system of their own, in a mount namespace of their own.
//!
//! Nothing has to be cleaned up but the image: the mounts end with the last process of the namespace, however it ends, and a loop device
//! with its mount. So runs do not disturb each other, and a killed one leaves nothing mounted. The mounting is `tests/c/small_disk.c`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use super::toolchain::{self, Outcome};

/// What `small_disk` ends with when it could not mount.
const NOT_MOUNTED: i32 = 77;
const LIMIT: Duration = Duration::from_secs(900);

/// A kind of small disk.
#[derive(Clone, Copy)]
pub struct Disk {
    /// As it is called in figures.
    pub name: &'static str,
    /// Its type, for mount.
    pub kind: &'static str,
    /// The words that make the file system; none for a tmpfs.
    pub mkfs: &'static str,
    /// Its size: as small as the file system can be.
    pub bytes: u64,
}

/// Memory: needs no root where user namespaces are allowed.
pub const TMPFS: Disk = Disk { name: "tmpfs", kind: "tmpfs", mkfs: "", bytes: 24 << 20 };
/// This one and those below need root and loop devices.
pub const EXT4: Disk = Disk { name: "ext4", kind: "ext4", mkfs: "mkfs.ext4 -q -m 0", bytes: 96 << 20 };
/// xfs
pub const XFS: Disk = Disk { name: "xfs", kind: "xfs", mkfs: "mkfs.xfs -q", bytes: 300 << 20 };
/// btrfs
pub const BTRFS: Disk = Disk { name: "btrfs", kind: "btrfs", mkfs: "mkfs.btrfs -q", bytes: 128 << 20 };
/// Names run out before space does.
pub const FEW_INODES: Disk =
    Disk { name: "ext4 with 512 inodes", kind: "ext4", mkfs: "mkfs.ext4 -q -m 0 -N 512", bytes: 96 << 20 };
/// Data and metadata share their space.
pub const MIXED: Disk = Disk { name: "btrfs, mixed", kind: "btrfs", mkfs: "mkfs.btrfs -q --mixed", bytes: 128 << 20 };
/// Cannot allocate.
pub const EXT2: Disk = Disk { name: "ext2", kind: "ext2", mkfs: "mkfs.ext2 -q -m 0", bytes: 96 << 20 };
/// Cannot allocate; blocks smaller than a page.
pub const EXT3: Disk = Disk { name: "ext3", kind: "ext3", mkfs: "mkfs.ext3 -q -m 0 -b 1024", bytes: 96 << 20 };
/// A hung disk is not to be a full one.
const ROOMY_BYTES: u64 = 384 << 20;
/// What a hung disk's image lies on: no journal and room for everything, for it is to be the disk, not a file system under test.
const OUTER_MKFS: &str = "mkfs.ext4 -q -m 0 -O ^has_journal";

/// PATH with the directories of system programs: not everybody has them there.
fn path_with_system_programs() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

fn make_file_system(words: &str, image: &Path, bytes: u64) -> bool {
    let made = fs::File::create(image).and_then(|file| file.set_len(bytes));
    made.unwrap_or_else(|error| panic!("{}: {error}", image.display()));
    let mut command = Command::new("env");
    command.arg(format!("PATH={}", path_with_system_programs())).args(words.split(' ')).arg(image);
    command.output().is_ok_and(|output| output.status.success())
}

fn mounter() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| toolchain::build("small_disk", &format!("small_disk-{}", std::process::id()), &[]))
}

/// Runs `program DISK arguments` on a fresh disk; `None`, said loudly, where that cannot be done.
pub fn run(what: &str, disk: Disk, program: &Path, arguments: &[&str]) -> Option<Outcome> {
    let work = fresh(what, disk);
    let (image, place) = (work.join("image"), work.join("disk"));
    if !disk.mkfs.is_empty() && !make_file_system(disk.mkfs, &image, disk.bytes) {
        return not_made(what, disk, &work);
    }
    let bytes = disk.bytes.to_string();
    let source = if disk.mkfs.is_empty() { Path::new(&bytes) } else { &image };
    let mut all = vec![Path::new(disk.kind), source, &place, program];
    all.extend(arguments.iter().map(Path::new));
    finish(what, disk, &work, &all)
}

/// Runs `program DISK disk OUTER arguments`: freezing OUTER hangs the device under DISK.
pub fn run_on_nested(what: &str, disk: Disk, program: &Path, arguments: &[&str]) -> Option<Outcome> {
    let work = fresh(what, disk);
    let (image, place, outer) = (work.join("image"), work.join("disk"), work.join("outer"));
    let bytes = disk.bytes.max(ROOMY_BYTES);
    if !make_file_system(OUTER_MKFS, &image, bytes + (64 << 20)) {
        return not_made(what, disk, &work);
    }
    let bytes = bytes.to_string();
    let mut all = vec![Path::new("nested"), Path::new(disk.kind), &image, &outer, Path::new(&bytes)];
    all.extend([Path::new(disk.mkfs), &place, program]);
    all.extend(arguments.iter().map(Path::new));
    finish(what, disk, &work, &all)
}

/// A work directory with the places to mount on. Images are sparse, and what is written to them stays small: they lie in memory.
fn fresh(what: &str, disk: Disk) -> PathBuf {
    let work = toolchain::fresh_directory(&what.replace(' ', "-"), !disk.mkfs.is_empty());
    for name in ["disk", "outer"] {
        let place = work.join(name);
        fs::create_dir(&place).unwrap_or_else(|error| panic!("{}: {error}", place.display()));
    }
    work
}

fn not_run(what: &str, disk: Disk, why: &str) -> Option<Outcome> {
    toolchain::announce(&format!("SKIP {what} on {}: NOT run: {why}", disk.name));
    None
}

fn not_made(what: &str, disk: Disk, work: &Path) -> Option<Outcome> {
    let _ = fs::remove_dir_all(work);
    not_run(what, disk, &format!("{} failed or is not there; `make tools` installs it", disk.mkfs))
}

fn finish(what: &str, disk: Disk, work: &Path, arguments: &[&Path]) -> Option<Outcome> {
    let path = format!("PATH={}", path_with_system_programs());
    let all: Vec<&Path> = [Path::new(&path), mounter()].iter().chain(arguments).copied().collect();
    let output = toolchain::build_directory().join(format!("{}-{}.out", what.replace(' ', "-"), std::process::id()));
    let outcome = toolchain::run(Path::new("env"), &all, &output, LIMIT);
    let _ = fs::remove_file(&output);
    let _ = fs::remove_dir_all(work);
    if outcome.status.code() == Some(NOT_MOUNTED) {
        return not_run(
            what,
            disk,
            &format!("it needs root, or user namespaces, and loop devices: {}", outcome.text.trim()),
        );
    }
    Some(outcome)
}
