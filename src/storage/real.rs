//! The real operating system: Linux, through descriptors pinned below one directory.
//!
//! Every call is one system call with its errors passed on; EINTR is retried. Descriptors are close-on-exec. Files are
//! opened without following links and without blocking, and refused unless they are regular.
#![allow(unsafe_code, reason = "calls libc where std has no call relative to a directory descriptor")]

mod file;

use std::ffi::{CStr, CString, OsString};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use self::file::RealFile;
use super::fork::LockedDescriptor;
use super::{Access, Directory, DirectoryAttributes, DirectoryIdentity, File, System};
use crate::format::Id128;

const DIRECTORY_MODE: libc::mode_t = 0o700;
const FILE_MODE: libc::c_uint = 0o600;
const SUPERUSER: libc::uid_t = 0;

/// The machine the process runs on.
#[derive(Debug, Default, Clone, Copy)]
pub struct RealSystem;

/// The result of a call that gives -1 for an error; EINTR runs it again.
fn call(mut run: impl FnMut() -> i64) -> io::Result<i64> {
    loop {
        let result = run();
        if result >= 0 {
            return Ok(result);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

fn owned(descriptor: i64) -> io::Result<OwnedFd> {
    let raw = RawFd::try_from(descriptor).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    // SAFETY: the system has just given this descriptor to the only caller.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

fn c_string(bytes: &[u8]) -> io::Result<CString> {
    CString::new(bytes).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

/// A plain name: no path may sneak in.
fn c_name(name: &str) -> io::Result<CString> {
    if name.is_empty() || name == "." || name == ".." || name.contains('/') {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    c_string(name.as_bytes())
}

fn open_at(directory: RawFd, name: &CStr, flags: libc::c_int) -> io::Result<OwnedFd> {
    let flags = flags | libc::O_CLOEXEC;
    // SAFETY: the name is a C string that outlives the call.
    owned(call(|| i64::from(unsafe { libc::openat(directory, name.as_ptr(), flags, FILE_MODE) }))?)
}

/// `false` when it was there.
fn make_directory(parent: RawFd, name: &CStr) -> io::Result<bool> {
    // SAFETY: the name is a C string that outlives the call.
    match call(|| i64::from(unsafe { libc::mkdirat(parent, name.as_ptr(), DIRECTORY_MODE) })) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        other => other?,
    };
    // What the umask took away is the library's own access. A descriptor that needs none leads there, and follows no link.
    let made = open_at(parent, name, libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW)?;
    if stat_of(made.as_raw_fd())?.st_mode & DIRECTORY_MODE != DIRECTORY_MODE {
        let link = format!("/proc/self/fd/{}", made.as_raw_fd());
        std::fs::set_permissions(link, std::fs::Permissions::from_mode(DIRECTORY_MODE))?;
    }
    Ok(true)
}

fn stat_of(descriptor: RawFd) -> io::Result<libc::stat> {
    // SAFETY: all-zero bytes are a valid `stat`.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open and `stat` may be written.
    call(|| i64::from(unsafe { libc::fstat(descriptor, &raw mut stat) }))?;
    Ok(stat)
}

fn stat_at(directory: RawFd, name: &CStr) -> io::Result<libc::stat> {
    // SAFETY: all-zero bytes are a valid `stat`.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    let flags = libc::AT_SYMLINK_NOFOLLOW;
    // SAFETY: the name is a C string that outlives the call, and `stat` may be written.
    call(|| i64::from(unsafe { libc::fstatat(directory, name.as_ptr(), &raw mut stat, flags) }))?;
    Ok(stat)
}

fn file_system_of(descriptor: RawFd) -> io::Result<libc::statfs> {
    // SAFETY: all-zero bytes are a valid `statfs`.
    let mut stat: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open and `stat` may be written.
    call(|| i64::from(unsafe { libc::fstatfs(descriptor, &raw mut stat) }))?;
    Ok(stat)
}

impl System for RealSystem {
    fn open_directory(&self, path: &Path, follow: bool) -> io::Result<Arc<dyn Directory>> {
        let name = c_string(path.as_os_str().as_bytes())?;
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | if follow { 0 } else { libc::O_NOFOLLOW };
        let descriptor = open_at(libc::AT_FDCWD, &name, flags)?;
        Ok(Arc::new(RealDirectory::new(descriptor, path.to_path_buf())))
    }

    fn create_directory(&self, path: &Path) -> io::Result<bool> {
        let name = c_string(path.as_os_str().as_bytes())?;
        if !make_directory(libc::AT_FDCWD, &name)? {
            return Ok(false);
        }
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        self.open_directory(parent, true)?.sync()?;
        Ok(true)
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_dir(path)
    }

    fn rename_directory(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (c_string(from.as_os_str().as_bytes())?, c_string(to.as_os_str().as_bytes())?);
        rename_no_replace(libc::AT_FDCWD, &from, libc::AT_FDCWD, &to)
    }

    fn absolute_path(&self, path: &Path) -> io::Result<PathBuf> {
        std::fs::canonicalize(path)
    }

    fn boot_id(&self) -> io::Result<Id128> {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        Id128::parse(text.trim_end()).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    fn random_id(&self) -> io::Result<Id128> {
        let mut bytes = [0_u8; 16];
        // SAFETY: the buffer has 16 bytes; requests up to 256 bytes are never cut short.
        let got = call(|| unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) } as i64)?;
        if got == 16 { Ok(Id128(bytes)) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn realtime_ns(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }

    fn descriptor_limit(&self) -> u64 {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the structure may be written.
        let told = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } == 0;
        if told { limit.rlim_cur } else { u64::MAX }
    }
}

fn rename_no_replace(from_directory: RawFd, from: &CStr, to_directory: RawFd, to: &CStr) -> io::Result<()> {
    let renamed = call(|| {
        let flags = libc::RENAME_NOREPLACE;
        // SAFETY: both names are C strings that outlive the call.
        let result = unsafe { libc::renameat2(from_directory, from.as_ptr(), to_directory, to.as_ptr(), flags) };
        i64::from(result)
    });
    match renamed {
        // A file system without the flag. Nobody else takes the name between the look and the rename: these directories belong to one
        // recorder, which has locked the log's. A link and an unlink, cut short between the two, would leave one file with two names,
        // which is refused as a backup from then on.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            match stat_at(to_directory, to) {
                Ok(_) => return Err(io::ErrorKind::AlreadyExists.into()),
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Err(_) => {}
            }
            // SAFETY: as above.
            let rename = || unsafe { libc::renameat(from_directory, from.as_ptr(), to_directory, to.as_ptr()) };
            call(|| i64::from(rename())).map(drop)
        }
        other => other.map(drop),
    }
}

#[derive(Debug)]
struct RealDirectory {
    descriptor: OwnedFd,
    path: PathBuf,
    lock: Mutex<Option<LockedDescriptor>>,
}

impl RealDirectory {
    fn new(descriptor: OwnedFd, path: PathBuf) -> Self {
        Self { descriptor, path, lock: Mutex::new(None) }
    }

    fn raw(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }

    fn open(&self, name: &str, access: Access, extra: libc::c_int) -> io::Result<Box<dyn File>> {
        let descriptor = self.open_descriptor(name, access, extra).map_err(|error| match error.raw_os_error() {
            // A link; a directory; a socket, or a device without a driver: what cannot even be opened is of the wrong kind too.
            Some(libc::ELOOP | libc::EISDIR | libc::ENXIO | libc::ENODEV) => not_regular(),
            _ => error,
        })?;
        let mode = stat_of(descriptor.as_raw_fd())?.st_mode;
        if mode & libc::S_IFMT != libc::S_IFREG {
            return Err(not_regular());
        }
        if extra & libc::O_CREAT != 0 && mode & FILE_MODE != FILE_MODE {
            // What the umask took away is the library's own access.
            // SAFETY: the descriptor is open.
            call(|| i64::from(unsafe { libc::fchmod(descriptor.as_raw_fd(), FILE_MODE) }))?;
        }
        Ok(Box::new(RealFile { descriptor }))
    }

    fn open_descriptor(&self, name: &str, access: Access, extra: libc::c_int) -> io::Result<OwnedFd> {
        let name = c_name(name)?;
        let base = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY | extra;
        match access {
            Access::Read => open_at(self.raw(), &name, base | libc::O_RDONLY),
            Access::Write => open_at(self.raw(), &name, base | libc::O_RDWR),
            Access::WriteDirect => match open_at(self.raw(), &name, base | libc::O_RDWR | libc::O_DIRECT) {
                // The file system has no direct I/O; some have made the file by then.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                    open_at(self.raw(), &name, (base & !libc::O_EXCL) | libc::O_RDWR)
                }
                other => other,
            },
        }
    }
}

fn not_regular() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")
}

impl Directory for RealDirectory {
    fn path(&self) -> &Path {
        &self.path
    }

    fn attributes(&self) -> io::Result<DirectoryAttributes> {
        let stat = stat_of(self.raw())?;
        // SAFETY: the call has no conditions.
        let user = unsafe { libc::geteuid() };
        Ok(DirectoryAttributes {
            identity: DirectoryIdentity { device: stat.st_dev, inode: stat.st_ino },
            mode: stat.st_mode & 0o7777,
            owned: stat.st_uid == user,
            foreign: stat.st_uid != user && stat.st_uid != SUPERUSER,
            in_memory: file_system_of(self.raw())?.f_type == libc::TMPFS_MAGIC,
        })
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let stat = file_system_of(self.raw())?;
        // A tmpfs without a limit, and some that cannot tell, have no size.
        let known = stat.f_blocks > 0;
        let block_bytes = u64::try_from(stat.f_frsize).unwrap_or(0);
        Ok(if known { stat.f_bavail.saturating_mul(block_bytes) } else { u64::MAX })
    }

    fn try_lock(&self) -> io::Result<bool> {
        // A description of its own: the lock must not depend on who else shares the pinned one.
        let open = || open_at(self.raw(), c".", libc::O_RDONLY | libc::O_DIRECTORY);
        let lock = LockedDescriptor::try_lock(open)?;
        let locked = lock.is_some();
        if locked {
            *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = lock;
        }
        Ok(locked)
    }

    fn names(&self) -> io::Result<Vec<OsString>> {
        let descriptor = open_at(self.raw(), c".", libc::O_RDONLY | libc::O_DIRECTORY)?;
        let stream = DirectoryStream::new(descriptor)?;
        let mut names = Vec::new();
        while let Some(name) = stream.next()? {
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn open_file(&self, name: &str, access: Access) -> io::Result<Box<dyn File>> {
        self.open(name, access, 0)
    }

    fn create_file(&self, name: &str, access: Access) -> io::Result<Box<dyn File>> {
        self.open(name, access, libc::O_CREAT | libc::O_EXCL)
    }

    fn is_open_to_others(&self, name: &str) -> io::Result<bool> {
        let name = c_name(name)?;
        let stat = stat_at(self.raw(), &name)?;
        // SAFETY: the call has no conditions.
        let user = unsafe { libc::geteuid() };
        let trusted = [user, SUPERUSER, stat_of(self.raw())?.st_uid];
        Ok(!trusted.contains(&stat.st_uid) || stat.st_mode & (libc::S_IWGRP | libc::S_IWOTH) != 0)
    }

    fn open_subdirectory(&self, name: &str) -> io::Result<Arc<dyn Directory>> {
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
        let descriptor = open_at(self.raw(), &c_name(name)?, flags)?;
        Ok(Arc::new(Self::new(descriptor, self.path.join(name))))
    }

    fn create_subdirectory(&self, name: &str) -> io::Result<bool> {
        make_directory(self.raw(), &c_name(name)?)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (c_name(from)?, c_name(to)?);
        // SAFETY: both names are C strings that outlive the call.
        call(|| i64::from(unsafe { libc::renameat(self.raw(), from.as_ptr(), self.raw(), to.as_ptr()) })).map(drop)
    }

    fn rename_new(&self, from: &str, to: &str) -> io::Result<()> {
        rename_no_replace(self.raw(), &c_name(from)?, self.raw(), &c_name(to)?)
    }

    fn move_into(&self, from: &str, subdirectory: &str, to: &str) -> io::Result<()> {
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
        let target = open_at(self.raw(), &c_name(subdirectory)?, flags)?;
        rename_no_replace(self.raw(), &c_name(from)?, target.as_raw_fd(), &c_name(to)?)
    }

    fn remove_file(&self, name: &str) -> io::Result<()> {
        let name = c_name(name)?;
        // SAFETY: the name is a C string that outlives the call.
        call(|| i64::from(unsafe { libc::unlinkat(self.raw(), name.as_ptr(), 0) })).map(drop)
    }

    fn sync(&self) -> io::Result<()> {
        // SAFETY: the descriptor is open.
        call(|| i64::from(unsafe { libc::fsync(self.raw()) })).map(drop)
    }
}

/// A `DIR` of the C library.
struct DirectoryStream(std::ptr::NonNull<libc::DIR>);

impl DirectoryStream {
    fn new(descriptor: OwnedFd) -> io::Result<Self> {
        // SAFETY: the descriptor is an open directory; on success the stream owns it.
        let stream = unsafe { libc::fdopendir(descriptor.as_raw_fd()) };
        let stream = std::ptr::NonNull::new(stream).ok_or_else(io::Error::last_os_error)?;
        std::mem::forget(descriptor);
        Ok(Self(stream))
    }

    fn next(&self) -> io::Result<Option<OsString>> {
        // SAFETY: the address is this thread's errno. readdir tells its end from an error by errno alone.
        unsafe { *libc::__errno_location() = 0 };
        // SAFETY: the stream is open and used by one thread.
        let entry = unsafe { libc::readdir64(self.0.as_ptr()) };
        if entry.is_null() {
            let error = io::Error::last_os_error();
            return if error.raw_os_error() == Some(0) { Ok(None) } else { Err(error) };
        }
        // SAFETY: the entry is valid until the next call; its name is a C string.
        let name = unsafe { CStr::from_ptr((&raw const (*entry).d_name).cast()) };
        Ok(Some(OsString::from_vec(name.to_bytes().to_vec())))
    }
}

impl Drop for DirectoryStream {
    fn drop(&mut self) {
        // SAFETY: the stream is open and closed once.
        unsafe { libc::closedir(self.0.as_ptr()) };
    }
}
