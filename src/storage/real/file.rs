//! One file of the real operating system: positional reads and writes, space, syncs, mappings.
#![allow(unsafe_code, reason = "calls libc where std has no call, or hides the error")]

use std::cell::UnsafeCell;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use super::{call, file_system_of, stat_of};
use crate::format::PAGE_BYTES;
use crate::storage::mapping::Mapping;
use crate::storage::{File, FileAttributes};

/// FS_IOC_SETFLAGS and the flag for "no copy on write", from the kernel's `linux/fs.h`.
const FS_IOC_SETFLAGS: libc::c_ulong = 0x4008_6602;
const FS_NOCOW_FL: libc::c_long = 0x0080_0000;
const ZERO_BYTES: usize = 1 << 16;

/// Pages of zeros, for direct writes too. Not allocated for each file: giving so large a buffer back would interrupt the append core.
/// A cell, so that the zeros lie in memory alone and take no room in the library.
#[repr(align(4096))]
struct Zeros(UnsafeCell<[u8; ZERO_BYTES]>);
// SAFETY: nothing writes to it.
unsafe impl Sync for Zeros {}
static ZEROS: Zeros = Zeros(UnsafeCell::new([0; ZERO_BYTES]));

fn zeros() -> &'static [u8; ZERO_BYTES] {
    // SAFETY: nothing writes to it.
    unsafe { &*ZEROS.0.get() }
}

#[derive(Debug)]
pub(super) struct RealFile {
    pub(super) descriptor: OwnedFd,
}

impl RealFile {
    fn raw(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }
}

fn offset_of(offset: u64) -> io::Result<libc::off_t> {
    libc::off_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput.into())
}

fn byte_count(result: i64) -> usize {
    usize::try_from(result).unwrap_or(0)
}

impl File for RealFile {
    fn attributes(&self) -> io::Result<FileAttributes> {
        let stat = stat_of(self.raw())?;
        Ok(FileAttributes { bytes: u64::try_from(stat.st_size).unwrap_or(0), links: stat.st_nlink })
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let offset = offset_of(offset)?;
        // SAFETY: the buffer may be written for its length.
        let read = || unsafe { libc::pread(self.raw(), buffer.as_mut_ptr().cast(), buffer.len(), offset) } as i64;
        call(read).map(byte_count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let offset = offset_of(offset)?;
        // SAFETY: the bytes may be read for their length.
        let write = || unsafe { libc::pwrite(self.raw(), bytes.as_ptr().cast(), bytes.len(), offset) } as i64;
        call(write).map(byte_count)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let len = offset_of(bytes)?;
        self.forbid_copy_on_write()?;
        // SAFETY: the descriptor is open.
        match call(|| i64::from(unsafe { libc::fallocate(self.raw(), 0, 0, len) })) {
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => self.fill_with_zeros(bytes),
            other => other.map(drop),
        }
    }

    fn keep_in_place(&self, bytes: u64) {
        // Without space of its own such a file would lie in the metadata, which are never overwritten. Where it fails, so will the write.
        if self.forbid_copy_on_write().is_ok_and(|forbidden| forbidden) {
            let _ = self.allocate(bytes);
        }
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let len = offset_of(bytes)?;
        // SAFETY: the descriptor is open.
        call(|| i64::from(unsafe { libc::ftruncate(self.raw(), len) })).map(drop)
    }

    fn sync_data(&self) -> io::Result<()> {
        // SAFETY: the descriptor is open.
        call(|| i64::from(unsafe { libc::fdatasync(self.raw()) })).map(drop)
    }

    fn drop_cache(&self, range: Range<u64>) {
        let begin = libc::off_t::try_from(range.start).unwrap_or(libc::off_t::MAX);
        // 0 means to the end of the file.
        let len = libc::off_t::try_from(range.end - range.start).unwrap_or(0);
        // SAFETY: the descriptor is open; the call is a hint.
        unsafe { libc::posix_fadvise(self.raw(), begin, len, libc::POSIX_FADV_DONTNEED) };
    }

    fn map(&self, bytes: usize) -> io::Result<Mapping> {
        Mapping::shared(self.descriptor.as_fd(), bytes)
    }
}

impl RealFile {
    /// `true` on a file system that copies on write. Only helps, and only while the file is empty: a refusal is no error.
    fn forbid_copy_on_write(&self) -> io::Result<bool> {
        let copies = file_system_of(self.raw())?.f_type == libc::BTRFS_SUPER_MAGIC;
        if copies {
            let flags = FS_NOCOW_FL;
            // SAFETY: the request reads one long.
            unsafe { libc::ioctl(self.raw(), FS_IOC_SETFLAGS, &raw const flags) };
        }
        Ok(copies)
    }

    /// Allocates by writing, where the file system cannot do it otherwise. Only bytes above the present end are written, and only whole
    /// pages: past the page cache nothing else can be. The rest of a page that the file ends in goes with the page.
    fn fill_with_zeros(&self, bytes: u64) -> io::Result<()> {
        let end = self.attributes()?.bytes;
        let mut offset = end.next_multiple_of(PAGE_BYTES as u64).min(bytes);
        if offset > end {
            self.set_len(offset)?;
        }
        while offset < bytes {
            let step = usize::try_from(bytes - offset).unwrap_or(ZERO_BYTES).min(ZERO_BYTES);
            (self as &dyn File).write_all_at(&zeros()[..step], offset)?;
            offset += step as u64;
        }
        Ok(())
    }
}
