//! The only layer that touches the operating system.
//!
//! Owns the seam ([`System`], [`Directory`], [`File`]) that recorder and recovery stand on, the one file that maps
//! memory, the stage, the lock, atomic replacement of small files, and LZ4. Two implementations of the seam: the real
//! one, and with the feature `simulation` one that keeps a volatile and a durable image of everything, so that a power
//! cut can be played at every step. Invariants:
//! 1. Every path is a name below a pinned directory descriptor; no link is followed, no name comes from file contents
//!    (the one exception, the stage's place in `walrec.stage`, is checked in `stage_place`).
//! 2. A failed call is reported with what was tried, on which file, and the system's own error; nothing is retried here
//!    except EINTR.
//! 3. Nothing below this line of the system decides what a log means: that is the layers above.

mod atomic_file;
mod doorbell;
mod error;
mod fork;
mod lz4;
mod lz4_frame;
mod mapping;
mod real;
#[cfg(feature = "simulation")]
pub mod simulated;
mod stage;
mod stage_record;

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::format::Id128;

pub use atomic_file::{read_small_file, replace_file, replace_sector};
pub use doorbell::Doorbell;
pub use error::{Error, MEMORY, Place};
pub use lz4::{FrozenReader, SizedFrame, read_frame, read_small_frame, sized_frame};
pub use lz4_frame::FrameEncoder;
pub use mapping::{CursorPage, HeapPages, Mapping, PageBuffer, look_for_memory, zeroed_bytes};
pub use real::RealSystem;
pub use stage::{
    ControlPage, LivePage, Slot, SlotSegment, Stage, StageIdentity, is_slot_name, remove_stage, slot_name,
    stage_directory_name,
};
pub use stage_record::{STAGE_RECORD_BYTES, StageRecord};

/// What walrec asks of the machine it runs on.
pub trait System: Send + Sync + fmt::Debug {
    /// Opens a directory; a symbolic link as its last component is followed only when `follow` (the caller's own path).
    ///
    /// # Errors
    /// The system's; `NotFound` when it is not there.
    fn open_directory(&self, path: &Path, follow: bool) -> io::Result<Arc<dyn Directory>>;
    /// Makes a directory with mode 0700, whatever the umask is, and the entry in its parent durable. `false` when it was there.
    ///
    /// # Errors
    /// The system's; the parent must be there.
    fn create_directory(&self, path: &Path) -> io::Result<bool>;
    /// Removes an empty directory.
    ///
    /// # Errors
    /// The system's.
    fn remove_directory(&self, path: &Path) -> io::Result<()>;
    /// Renames a directory to a name that is not taken.
    ///
    /// # Errors
    /// The system's; `AlreadyExists` when it is taken.
    fn rename_directory(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// `path` as an absolute path without links; it must exist.
    ///
    /// # Errors
    /// The system's.
    fn absolute_path(&self, path: &Path) -> io::Result<std::path::PathBuf>;
    /// The identity of this boot of the machine.
    ///
    /// # Errors
    /// The system's.
    fn boot_id(&self) -> io::Result<Id128>;
    /// Sixteen random bytes.
    ///
    /// # Errors
    /// The system's.
    fn random_id(&self) -> io::Result<Id128>;
    /// Wall-clock time in nanoseconds since 1970.
    fn realtime_ns(&self) -> u64;
    /// Descriptors that this process may have.
    fn descriptor_limit(&self) -> u64 {
        u64::MAX
    }
}

/// What a directory is, as far as trust goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectoryAttributes {
    /// Device and inode.
    pub identity: DirectoryIdentity,
    /// Permission bits, 0o7777 mask.
    pub mode: u32,
    /// Whether it belongs to the effective user.
    pub owned: bool,
    /// Whether it belongs to neither that user nor the superuser.
    pub foreign: bool,
    /// Whether it lies in memory (tmpfs).
    pub in_memory: bool,
}

/// Which directory this is, for as long as it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectoryIdentity {
    /// `st_dev`
    pub device: u64,
    /// `st_ino`
    pub inode: u64,
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading only.
    Read,
    /// Reading and writing through the page cache.
    Write,
    /// Reading and writing past the page cache where the file system can do that, else through it.
    WriteDirect,
}

/// A pinned directory. All names are plain file names in it.
pub trait Directory: Send + Sync + fmt::Debug {
    /// Its path, for messages only.
    fn path(&self) -> &Path;
    /// What it is.
    ///
    /// # Errors
    /// The system's.
    fn attributes(&self) -> io::Result<DirectoryAttributes>;
    /// Bytes that a file in it may still take; `u64::MAX` when there is no limit, or none that is known.
    ///
    /// # Errors
    /// The system's.
    fn free_bytes(&self) -> io::Result<u64>;
    /// Takes the exclusive lock, held until this object is dropped; `false` when another holds it. A forked child of the
    /// process does not keep it.
    ///
    /// # Errors
    /// The system's.
    fn try_lock(&self) -> io::Result<bool>;
    /// The names in it, without `.` and `..`, in no order.
    ///
    /// # Errors
    /// The system's.
    fn names(&self) -> io::Result<Vec<OsString>>;
    /// Opens a regular file that is there, without following a link and without blocking on a FIFO or a device.
    ///
    /// # Errors
    /// The system's; `NotFound`; `InvalidInput` when it is no regular file.
    fn open_file(&self, name: &str, access: Access) -> io::Result<Box<dyn File>>;
    /// Creates a file with mode 0600, whatever the umask is; `AlreadyExists` when the name is taken. Its entry is durable after [`Self::sync`].
    ///
    /// # Errors
    /// The system's.
    fn create_file(&self, name: &str, access: Access) -> io::Result<Box<dyn File>>;
    /// Whether somebody else than the effective user, the superuser and the directory's owner owns a file in it or may write to it.
    ///
    /// # Errors
    /// The system's; `NotFound`.
    fn is_open_to_others(&self, name: &str) -> io::Result<bool>;
    /// Opens a directory in it, without following a link.
    ///
    /// # Errors
    /// The system's.
    fn open_subdirectory(&self, name: &str) -> io::Result<Arc<dyn Directory>>;
    /// Creates a directory in it with mode 0700; `false` when it was there.
    ///
    /// # Errors
    /// The system's.
    fn create_subdirectory(&self, name: &str) -> io::Result<bool>;
    /// Renames a file in this directory, replacing what has the new name.
    ///
    /// # Errors
    /// The system's.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Renames a file in this directory to a name that is not taken, else `AlreadyExists`.
    ///
    /// # Errors
    /// The system's.
    fn rename_new(&self, from: &str, to: &str) -> io::Result<()>;
    /// Renames a file into a directory in this one, to a name that is not taken there, else `AlreadyExists`.
    ///
    /// # Errors
    /// The system's.
    fn move_into(&self, from: &str, subdirectory: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    ///
    /// # Errors
    /// The system's.
    fn remove_file(&self, name: &str) -> io::Result<()>;
    /// Makes every entry change so far durable.
    ///
    /// # Errors
    /// The system's; after one, nothing is known to be durable.
    fn sync(&self) -> io::Result<()>;
}

/// What a file is, as far as trust goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileAttributes {
    /// Size in bytes.
    pub bytes: u64,
    /// Names that lead to it.
    pub links: u64,
}

/// An open regular file.
pub trait File: Send + Sync + fmt::Debug {
    /// Its size and links.
    ///
    /// # Errors
    /// The system's.
    fn attributes(&self) -> io::Result<FileAttributes>;
    /// One read at `offset`; fewer bytes than asked only at the end of the file or by a short read, 0 at the end.
    ///
    /// # Errors
    /// The system's; EINTR is retried.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// One write at `offset`; may write fewer bytes than given. For [`Access::WriteDirect`] offset, length and address are
    /// whole pages.
    ///
    /// # Errors
    /// The system's; EINTR is retried.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;
    /// Makes the file `bytes` long with all of its space allocated; new bytes read as zero.
    ///
    /// # Errors
    /// The system's; no space leaves the file as it was or longer.
    fn allocate(&self, bytes: u64) -> io::Result<()>;
    /// Readies a new, empty file of `bytes` to be overwritten where it lies, on a file system that would write elsewhere and so need
    /// space for it; a hint.
    fn keep_in_place(&self, _bytes: u64) {}
    /// Cuts or extends the file.
    ///
    /// # Errors
    /// The system's.
    fn set_len(&self, bytes: u64) -> io::Result<()>;
    /// Makes the file's bytes, and its size as far as reading them needs it, durable.
    ///
    /// # Errors
    /// The system's; after one, nothing is known to be durable, whatever a later call says.
    fn sync_data(&self) -> io::Result<()>;
    /// Takes the file's clean pages in this range out of the page cache; a hint.
    fn drop_cache(&self, range: Range<u64>);
    /// Maps the first `bytes` of the file, shared; they must be there. The mapping outlives the file object.
    ///
    /// # Errors
    /// The system's.
    fn map(&self, bytes: usize) -> io::Result<Mapping>;
}

impl dyn File + '_ {
    /// Reads until `buffer` is full or the file ends; gives the bytes read.
    ///
    /// # Errors
    /// The first failing read's.
    pub fn read_up_to(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match self.read_at(&mut buffer[done..], offset + done as u64)? {
                0 => break,
                read => done += read,
            }
        }
        Ok(done)
    }

    /// Writes all of `bytes`; a write of nothing is `WriteZero`.
    ///
    /// # Errors
    /// The first failing write's; an unknown part may have been written.
    pub fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            match self.write_at(&bytes[done..], offset + done as u64)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => done += written,
            }
        }
        Ok(())
    }
}
