//! Mounts, loop devices and file systems of a test, in a mount namespace of its own.
//!
//! Invariants:
//! 1. Everything that a test mounts and every image lie below one tmpfs that only this thread, and the threads and programs that it
//!    starts, can see. When the last of them is gone, also by SIGKILL, the kernel takes the mounts and images away.
//! 2. A program that serves a mount holds no mount that needs it: it runs in a mount namespace of its own, that shares with the test's
//!    what lies in `exports`. Else the kernel, ending a killed one, would wait for its answer while taking the mounts away.
//! 3. A loop device is detached when its last user is gone. Nothing but its mount and this process uses it.
//! 4. What is left of a killed test is an empty directory. The next test removes it, if no process has the number in its name.
#![allow(unsafe_code, reason = "calls of libc that std does not have")]

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::ptr;

use crate::toolchain;

const LOOP_CONFIGURE: libc::c_ulong = 0x4c0a;
const LOOP_GET_FREE: libc::c_ulong = 0x4c82;
const LOOP_AUTOCLEAR: u32 = 4;
const BLOCK_FLUSH_BUFFERS: libc::c_ulong = 0x1261;
/// FS_IOC_SHUTDOWN, and its flag for "not even the journal is written".
const FS_SHUTDOWN: libc::c_ulong = 0x8004_587d;
const FS_SHUTDOWN_NO_LOG_FLUSH: u32 = 2;

const MOST_COPIES: usize = 4;

/// The file systems that a log is tried on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    Ext4,
    Xfs,
    Btrfs,
}

impl FileSystem {
    pub const ALL: [Self; 3] = [Self::Ext4, Self::Xfs, Self::Btrfs];

    pub fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
        }
    }

    /// Bytes of its image: little, but not so little that it refuses or behaves unlike itself.
    fn bytes(self) -> u64 {
        match self {
            Self::Ext4 => 48 << 20,
            Self::Xfs => 320 << 20,
            Self::Btrfs => 128 << 20,
        }
    }

    fn make_arguments(self) -> &'static [&'static str] {
        match self {
            Self::Ext4 => &["-q", "-F", "-b", "4096", "-E", "nodiscard"],
            Self::Xfs | Self::Btrfs => &["-q", "-f", "-K"],
        }
    }

    /// Copies of one file system may be mounted at once.
    /// How many copies of one file system may be mounted at once: an older btrfs takes them for one.
    pub fn copies(self) -> usize {
        let one = self == Self::Btrfs && !Path::new("/sys/fs/btrfs/features/temp_fsid").exists();
        if one { 1 } else { MOST_COPIES }
    }

    fn mount_options(self) -> &'static str {
        if self == Self::Xfs { "nouuid" } else { "" }
    }

    /// Whether FS_IOC_SHUTDOWN is there.
    pub fn can_shut_down(self) -> bool {
        self != Self::Btrfs
    }

    /// Why a test on it cannot run here.
    fn missing(self) -> Option<String> {
        let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
        if !known.lines().any(|line| line.trim_start_matches("nodev").trim() == self.name()) {
            return Some(format!("the kernel has no {}", self.name()));
        }
        let tool = format!("mkfs.{}", self.name());
        Command::new(&tool).arg("-V").output().err().map(|error| format!("{tool}: {error}"))
    }

    /// Makes a file system in a new image.
    pub fn make(self, image: &Path) {
        let created = File::create(image).and_then(|file| file.set_len(self.bytes()));
        created.unwrap_or_else(|error| panic!("{}: {error}", image.display()));
        let mut command = Command::new(format!("mkfs.{}", self.name()));
        command.args(self.make_arguments()).arg(image);
        toolchain::run_tool(&mut command, "");
    }
}

/// The result of a call that gives -1 for an error.
fn call(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn c_string(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("a path without a zero byte")
}

fn mount(source: &Path, target: &Path, kind: &str, flags: libc::c_ulong, options: &str) -> io::Result<()> {
    let (source, target) = (c_string(source), c_string(target));
    let (kind, options) = (c_string(Path::new(kind)), c_string(Path::new(options)));
    // SAFETY: all four are C strings that outlive the call.
    let result =
        unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, options.as_ptr().cast()) };
    call(result).map(drop)
}

fn unmount(target: &Path, flags: libc::c_int) -> io::Result<()> {
    let target = c_string(target);
    // SAFETY: the name is a C string that outlives the call.
    call(unsafe { libc::umount2(target.as_ptr(), flags) }).map(drop)
}

/// A request with a plain number as its argument.
fn request(descriptor: RawFd, request: libc::c_ulong, argument: libc::c_ulong) -> io::Result<libc::c_int> {
    // SAFETY: the requests given here take no pointer.
    call(unsafe { libc::ioctl(descriptor, request, argument) })
}

/// A thread's own mounts, with a tmpfs for its files.
pub struct Rig {
    pub directory: PathBuf,
}

impl Rig {
    /// Gives the calling thread mounts of its own; the reason, when the machine does not allow a test on `file_system`.
    pub fn enter(name: &str, file_system: FileSystem) -> Result<Self, String> {
        if let Some(reason) = file_system.missing() {
            return Err(reason);
        }
        remove_left_over();
        let directory = toolchain::fresh_directory(&format!("{name}-{}", file_system.name()), false);
        let rig = Self { directory };
        // SAFETY: changes the calling thread's view of mounts and nothing else.
        call(unsafe { libc::unshare(libc::CLONE_NEWNS) }).map_err(|error| format!("no mounts of its own: {error}"))?;
        let none = Path::new("none");
        mount(none, Path::new("/"), "", libc::MS_REC | libc::MS_PRIVATE, "")
            .and_then(|()| mount(none, &rig.directory, "tmpfs", 0, "mode=0700"))
            .and_then(|()| fs::create_dir(rig.exports()))
            .and_then(|()| mount(none, &rig.exports(), "tmpfs", 0, "mode=0700"))
            .and_then(|()| mount(none, &rig.exports(), "", libc::MS_SHARED, ""))
            .map_err(|error| format!("mount: {error}"))?;
        let image = rig.directory.join("probe");
        fs::write(&image, [0; 4096]).map_err(|error| format!("{}: {error}", image.display()))?;
        LoopDevice::attach(&image).map_err(|error| format!("no loop device: {error}"))?;
        Ok(rig)
    }

    /// Where other programs mount what they serve.
    pub fn exports(&self) -> PathBuf {
        self.directory.join("exports")
    }

    /// A command that runs in a mount namespace of its own, and dies with this thread.
    pub fn server(program: &str) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "unchanged", "setpriv", "--pdeathsig", "KILL", program]);
        command
    }

    /// A new directory below it.
    pub fn fresh(&self, name: &str) -> PathBuf {
        let directory = self.directory.join(name);
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        directory
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = unmount(&self.directory, libc::MNT_DETACH);
        let _ = fs::remove_dir(&self.directory);
    }
}

/// Removes the empty directories of killed tests.
fn remove_left_over() {
    let work = toolchain::build_directory().join("work");
    for entry in fs::read_dir(work).into_iter().flatten().filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let process = name.strip_prefix("walrec-test-").and_then(|rest| rest.split_once("-power-disk"));
        if process.is_some_and(|(number, _)| !Path::new("/proc").join(number).exists()) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// What LOOP_CONFIGURE takes, from the kernel's `linux/loop.h`.
#[repr(C)]
struct LoopConfig {
    descriptor: u32,
    block_size: u32,
    device_inode_places: [u64; 5],
    number_and_keys: [u32; 3],
    flags: u32,
    names_and_key: [u8; 160],
    init: [u64; 2],
    reserved: [u64; 8],
}

const _: () = assert!(size_of::<LoopConfig>() == 304 && std::mem::offset_of!(LoopConfig, flags) == 60);

/// A block device over an image; detached when it is dropped and nothing is mounted from it.
pub struct LoopDevice {
    pub path: PathBuf,
    file: File,
}

impl LoopDevice {
    pub fn attach(image: &Path) -> io::Result<Self> {
        let control = File::options().read(true).write(true).open("/dev/loop-control")?;
        let image = File::options().read(true).write(true).open(image)?;
        let mut tries = 0;
        loop {
            let number = request(control.as_raw_fd(), LOOP_GET_FREE, 0)?;
            let path = PathBuf::from(format!("/dev/loop{number}"));
            let file = File::options().read(true).write(true).open(&path)?;
            let config = LoopConfig {
                descriptor: u32::try_from(image.as_raw_fd()).expect("a descriptor"),
                block_size: 512,
                device_inode_places: [0; 5],
                number_and_keys: [0; 3],
                flags: LOOP_AUTOCLEAR,
                names_and_key: [0; 160],
                init: [0; 2],
                reserved: [0; 8],
            };
            // SAFETY: the request reads one such structure.
            match call(unsafe { libc::ioctl(file.as_raw_fd(), LOOP_CONFIGURE, ptr::from_ref(&config)) }) {
                Ok(_) => return Ok(Self { path, file }),
                // Somebody else was faster.
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) && tries < 100 => tries += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Forgets what was read: the image was changed behind it. Nothing is mounted from it.
    pub fn forget(&self) {
        request(self.file.as_raw_fd(), BLOCK_FLUSH_BUFFERS, 0)
            .unwrap_or_else(|error| panic!("{}: {error}", self.path.display()));
    }

    pub fn mount(&self, file_system: FileSystem, target: &Path) -> io::Result<Mount> {
        mount(&self.path, target, file_system.name(), 0, file_system.mount_options())?;
        Ok(Mount { target: Some(target.to_path_buf()) })
    }
}

/// A mounted file system, unmounted when dropped.
pub struct Mount {
    target: Option<PathBuf>,
}

impl Mount {
    /// Nothing is mounted.
    pub fn none() -> Self {
        Self { target: None }
    }

    /// What another program has mounted.
    pub fn of(target: PathBuf) -> Self {
        Self { target: Some(target) }
    }

    /// Unmounts; everything is written then.
    pub fn end(mut self) {
        if let Some(target) = self.target.take() {
            unmount(&target, 0).unwrap_or_else(|error| panic!("unmount {}: {error}", target.display()));
        }
    }

    /// From now on nothing reaches the device: what is in the page cache and in the journal's memory is lost.
    pub fn cut(&self) -> io::Result<()> {
        let directory = File::open(self.target.as_deref().unwrap_or(Path::new("/")))?;
        // SAFETY: the request reads one number.
        let result =
            unsafe { libc::ioctl(directory.as_raw_fd(), FS_SHUTDOWN, ptr::from_ref(&FS_SHUTDOWN_NO_LOG_FLUSH)) };
        call(result).map(drop)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Some(target) = &self.target {
            let _ = unmount(target, libc::MNT_DETACH);
        }
    }
}
